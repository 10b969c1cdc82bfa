"""The 10 nearest of 1,000 queries in 100,000 and 1,000,000 vectors: ours beside faiss `IndexFlatIP`.

Faiss has its index ready; ours takes the bare vectors. Approximate indexes are set to find 95 %: what they
cost to build, then the search. HNSW is built for the smaller set only, for that takes some minutes a million.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from bench.measure import compare, embeddings, timed
from curation import indexes
from curation.vectors import top_k

QUERIES, K, SIZES, ROUNDS = 1_000, 10, (100_000, 1_000_000), 3
RECALL = 0.95
INDEXES: dict[int, dict[str, Any]] = {
    100_000: {"ivf": lambda base: indexes.Cells(base, 0), "hnsw": indexes.Graph},
    1_000_000: {"ivf": lambda base: indexes.Cells(base, 0)},
}


def run() -> dict[str, Any]:
    """CPU seconds of both, and the share of faiss's neighbours (or others as near) among ours."""
    queries, results = embeddings(QUERIES, seed=7), dict[str, Any]()
    top_k(queries[:10], queries, K)  # compiled before it is measured
    for size in SIZES:
        base = embeddings(size)
        index = faiss.IndexFlatIP(base.shape[1])
        index.add(base)
        figures, mine, theirs = compare(
            lambda base=base: top_k(queries, base, K),  # type: ignore[misc]
            lambda index=index: index.search(queries, K),  # type: ignore[misc]
            "faiss",
            ROUNDS,
        )
        found = mine[0] >= theirs[0][:, -1:] - 1e-6
        same = np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(mine[1], theirs[1], strict=True)])
        results[f"{size:,}"] = {
            **figures,
            "recall_at_10": round(float(found.mean()), 5),
            "same_rows": round(float(same), 5),
        }
        for method, build in INDEXES[size].items():
            seconds, made = timed(lambda base=base, build=build: build(base))  # type: ignore[misc]
            effort, recall = indexes.least_effort(made, queries, mine, RECALL)
            shown, _, _ = compare(
                lambda made=made, effort=effort: made.search(queries, K, effort, None),  # type: ignore[misc]
                lambda index=index: index.search(queries, K),  # type: ignore[misc]
                "faiss",
                ROUNDS,
            )
            results[f"{size:,}.{method}"] = {
                "build_cpu_seconds": round(seconds, 1),
                **shown,
                "effort": effort,
                "recall_at_10": round(recall, 5),
            }
    return results
