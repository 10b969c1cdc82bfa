"""Mean similarity to the 10 nearest neighbours of 50,000 vectors: ours beside faiss `IndexFlatIP`; and by cells.

The inverted file that is used for large sets is measured beside the exact search as well.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from bench.measure import compare, embeddings, timed
from curation.indexes import mean_similarity, neighbours
from curation.selection.geometry import exact_unit

ROWS, K, ROUNDS = 50_000, 10, 2


def _faiss(unit: np.ndarray) -> np.ndarray:
    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(unit)
    similarity, _ = index.search(unit, K + 1)
    return similarity[:, 1:].mean(axis=1)


def _ours(unit: np.ndarray, exact_rows: int) -> np.ndarray:
    found = neighbours(unit, K, exact_rows)
    return mean_similarity(found.similarity, found.index)


def run() -> dict[str, Any]:
    """CPU seconds of both, the largest difference, and seconds and correlation of the approximation."""
    unit = exact_unit(embeddings(ROWS))
    for rows in (0, ROWS):  # compiled before it is measured
        _ours(unit[:2_000], rows)
    figures, mine, theirs = compare(lambda: _ours(unit, ROWS), lambda: _faiss(unit), "faiss", ROUNDS)
    seconds, approximate = timed(lambda: _ours(unit, 0))
    return {
        "rows": ROWS,
        **figures,
        "largest_difference": float(np.abs(mine - theirs).max().round(7)),
        "cells_cpu_seconds": round(seconds, 3),
        "cells_correlation": round(float(np.corrcoef(approximate, theirs)[0, 1]), 5),
    }
