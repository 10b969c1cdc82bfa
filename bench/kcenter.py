"""K-Center-Greedy, 1,000 picks of 100,000 vectors: ours beside one matrix-vector product a pick."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.measure import compare, embeddings
from curation.selection.geometry import exact_unit
from curation.selection.greedy import k_center_greedy

ROWS, PICKS, ROUNDS, SEED = 100_000, 1_000, 3, 0


def _one_product_a_pick(unit: np.ndarray) -> np.ndarray:
    """The plain algorithm, keeping each row's similarity to the nearest pick."""
    picks = np.empty(PICKS, dtype=np.int64)
    picks[0] = np.random.default_rng(SEED).integers(len(unit))
    near = np.full(len(unit), -np.inf, dtype=np.float32)
    for count in range(PICKS):
        if count:
            picks[count] = np.argmin(near)
        np.maximum(near, unit @ unit[picks[count]], out=near)
        near[picks[count]] = np.inf
    return picks


def run() -> dict[str, Any]:
    """CPU seconds of both and whether the picks are the same; on topics and on vectors without structure."""
    results: dict[str, Any] = {"rows": ROWS, "picks": PICKS}
    random = np.random.default_rng(5).standard_normal((ROWS, 384), dtype=np.float32)
    for name, vectors in (("topics", embeddings(ROWS)), ("isotropic", random)):
        unit = exact_unit(vectors)
        k_center_greedy(unit[:1_000], 10, SEED)  # compiled before it is measured
        figures, mine, theirs = compare(
            lambda unit=unit: k_center_greedy(unit, PICKS, SEED)[0],  # type: ignore[misc]
            lambda unit=unit: _one_product_a_pick(unit),  # type: ignore[misc]
            "one_product",
            ROUNDS,
        )
        results[name] = {**figures, "same_picks": bool(np.array_equal(mine, theirs))}
    return results
