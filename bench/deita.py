"""DEITA's filter over 20,000 vectors, best first: ours beside faiss, one search and one add a row.

Faiss runs on one thread: it searches for one vector at a time, and more threads only wait.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from bench.measure import compare, embeddings
from curation.selection.geometry import exact_unit
from curation.selection.sampling import accept_apart

ROWS, COPIES, LIMIT, ROUNDS = 20_000, 4_000, 0.9, 3


def _pool() -> np.ndarray:
    """Rows, a fifth of which are near copies of others."""
    random, vectors = np.random.default_rng(2), embeddings(ROWS)
    noise = random.standard_normal((COPIES, vectors.shape[1]), dtype=np.float32)
    vectors[-COPIES:] = vectors[:COPIES] + noise * random.uniform(0.005, 0.04, (COPIES, 1)).astype(np.float32)
    return exact_unit(vectors)


def _faiss(unit: np.ndarray, order: np.ndarray) -> np.ndarray:
    index, accepted = faiss.IndexFlatIP(unit.shape[1]), np.zeros(len(unit), dtype=bool)
    for row in order:
        vector = unit[row : row + 1]
        if index.ntotal == 0 or index.search(vector, 1)[0][0, 0] <= np.float32(LIMIT):
            index.add(vector)
            accepted[row] = True
    return accepted


def run() -> dict[str, Any]:
    """CPU seconds of both, and whether the same rows are accepted."""
    unit, order = _pool(), np.random.default_rng(3).permutation(ROWS)
    accept_apart(order[:3_000], unit, ROWS, LIMIT)  # compiled before it is measured
    faiss.omp_set_num_threads(1)
    figures, mine, theirs = compare(
        lambda: accept_apart(order, unit, ROWS, LIMIT)[0], lambda: _faiss(unit, order), "faiss", ROUNDS
    )
    return {
        "rows": ROWS,
        **figures,
        "accepted": int(mine.sum()),
        "same_rows": bool(np.array_equal(mine, theirs)),
    }
