"""Spherical k-means whose result does not depend on machines or threads.

Belongs here: training centres and assigning rows to them. Does not belong here: what a cluster is for
(`clusters`, `curation.indexes`).
"""

from __future__ import annotations

import numpy as np

from curation import progress
from curation.selection.geometry import exact_unit
from curation.vectors import top_k


def train(unit: np.ndarray, k: int, seed: int, rows_each: int = 256, iterations: int = 20) -> np.ndarray:
    """Centres of spherical k-means, float32 [k, d], unit rows on the grid.

    Lloyd's iterations with centres scaled back to unit length after each (Dhillon and Modha, 2001,
    "Concept decompositions for large sparse text data"), from seeded starting rows. All sums are exact,
    so that neither threads nor machines change the result.

    Parameters
    ----------
    unit
        float32 [n, d], n >= k, unit rows on the grid.
    rows_each
        The centres are trained on a seeded sample of so many rows a centre, at most.
    """
    random = np.random.default_rng(seed)
    sample = unit[np.sort(random.permutation(len(unit))[: k * rows_each])]
    centres = sample[np.sort(random.permutation(len(sample))[:k])]
    for _ in progress.track(range(iterations), "clusters"):
        nearest, similarity = assign(sample, centres)
        sums, sizes = _sums(sample, nearest, k)
        empty = np.flatnonzero(sizes == 0)
        sums[empty] = sample[np.argsort(similarity, kind="stable")[: len(empty)]]  # the worst served
        updated = exact_unit(sums)
        if np.array_equal(updated, centres):
            break
        centres = updated
    return centres


def assign(vectors: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most similar centre of each row (ties: the lowest), int64 [n], and the similarity, float64 [n]."""
    similarity, nearest = top_k(vectors, centres, 1)
    return nearest[:, 0], similarity[:, 0].astype(np.float64)


def _sums(unit: np.ndarray, nearest: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the rows of each cluster, float64 [k, d] (exact), and their number, [k]."""
    from curation import vector_kernels

    sums = np.zeros((k, unit.shape[1]))
    vector_kernels.add_to_groups(unit, nearest, sums)
    return sums, np.bincount(nearest, minlength=k)
