"""Greedy maximisers: rows taken one by one, each the one that adds most.

Belongs here: K-Center-Greedy, facility location and graph cut on a graph of nearest neighbours, all lazy.
Does not belong here: which of them is used (`strategies`) and how neighbours are found (`curation.indexes`).

The gain of a row can only shrink as others are taken (submodularity), so a gain that was worked out
earlier bounds the one of now, and only rows whose bound leads are looked at again (Minoux, 1978).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import numpy as np

from curation import indexes, progress

#: Picks between two reports of progress.
_PICKS = 100
#: How much a pair inside the choice costs beside one across, in the graph cut (above 1/2 gains turn negative).
_REDUNDANCY = 0.5


def k_center_greedy(unit: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows that cover the pool: greedily the one farthest from its nearest chosen row.

    Gonzalez, 1985; Sener and Savarese, 2018. A distance can only shrink as rows are chosen, so old
    distances are upper bounds: a row is shown the picks that it has not seen only while its bound could
    still win. The result is that of the plain algorithm.

    Parameters
    ----------
    unit
        float32 [n, d] unit vectors on the grid.
    size
        Rows to choose; the first is drawn with the seed. Ties go to the lower row.

    Returns
    -------
    rows int64 [min(size, n)] in the order chosen, and an upper bound of each row's distance 1 - cosine
    to the nearest of them, float64 [n].
    """
    from curation import vector_kernels

    size = min(size, len(unit))
    picks, centres = np.empty(size, dtype=np.int64), np.empty((size, unit.shape[1]), dtype=np.float32)
    near = np.full(len(unit), -np.inf, dtype=np.float32)
    seen = np.zeros(len(unit), dtype=np.int64)  # picks that a row's similarity knows of
    if size:
        picks[0] = np.random.default_rng(seed).integers(len(unit))
        centres[0], near[picks[0]] = unit[picks[0]], np.inf
    for start in progress.track(range(1, size, _PICKS), "k-center"):
        vector_kernels.farthest_first(unit, picks, start, min(start + _PICKS, size), centres, near, seen)
    bound = 1.0 - near.astype(np.float64)
    bound[picks] = 0.0
    return picks, bound


def similarity_graph(unit: np.ndarray, k: int, exact_rows: int, seed: int) -> Any:
    """Similarities of each row to itself (1) and its k nearest, both ways; scipy.sparse.csr_matrix [n, n].

    Symmetric, without negative entries. Rows that are not among each other's nearest count as unlike:
    that is what makes a pool of a million rows fit.
    """
    from scipy import sparse

    n = len(unit)
    found = indexes.neighbours(unit, max(0, min(k, n - 1)), exact_rows, seed=seed)
    place = (found.index >= 0) & (found.similarity > 0)
    rows = np.repeat(np.arange(n), place.sum(axis=1))
    one_way = sparse.csr_matrix(
        (found.similarity[place].astype(np.float64), (rows, found.index[place])), shape=(n, n)
    )
    graph = one_way.maximum(one_way.T) + sparse.identity(n, format="csr")
    graph.sort_indices()
    return graph.tocsr()


def lazy_greedy(
    first: np.ndarray, gain: Callable[[int], float], take: Callable[[int], None], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Take `size` rows, each the one of largest gain; ties go to the lower row.

    Parameters
    ----------
    first
        float64 [n]: gains before anything is taken. Gains must never grow.
    gain, take
        The gain of a row as things stand, and what is to be done when a row is taken.

    Returns
    -------
    rows int64 [min(size, n)] in the order taken, and the gain of each when it was taken, float64.
    """
    heap = [(-value, row) for row, value in enumerate(first.tolist())]
    heapq.heapify(heap)
    size = min(size, len(heap))
    picks, gains = np.empty(size, dtype=np.int64), np.empty(size)
    for step in progress.track(range(size), "greedy choice", every=_PICKS):
        while True:
            bound, row = heap[0]
            value = gain(row)
            if -value <= bound + 1e-12:
                break
            heapq.heapreplace(heap, (-value, row))
        heapq.heappop(heap)
        picks[step], gains[step] = row, value
        take(row)
    return picks, gains


def facility_location(
    graph: Any, size: int, candidates: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows that stand for the pool: greedily maximise F(S) = sum over i of max_{j in S} w_ij.

    Lin and Bilmes, 2011, "A class of submodular functions for document summarization"; the greedy
    choice reaches at least 1 - 1/e of the best.

    Parameters
    ----------
    graph
        Symmetric similarities (`similarity_graph`).
    candidates
        int64: rows that may be taken (None: all). All rows of the graph are to be stood for.

    Returns
    -------
    Rows in the order taken, and their gains.
    """
    best = np.zeros(graph.shape[0])
    names = np.arange(graph.shape[0]) if candidates is None else candidates
    starts, index, weight = graph.indptr, graph.indices, graph.data

    def gain(place: int) -> float:
        part = slice(starts[names[place]], starts[names[place] + 1])
        return float(np.maximum(weight[part] - best[index[part]], 0.0).sum())

    def take(place: int) -> None:
        part = slice(starts[names[place]], starts[names[place] + 1])
        np.maximum.at(best, index[part], weight[part])

    first = np.add.reduceat(weight, starts[:-1])[names] if len(names) else np.zeros(0)
    picks, gains = lazy_greedy(first, gain, take, size)
    return names[picks], gains


def graph_cut(graph: Any, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows like the pool but unlike each other: f(S) = sum_{i, j in S} w_ij - L sum_{i in S, j in S} w_ij, L = 1/2.

    The first sum is over all i of the pool. Iyer et al., 2021, "Submodular combinatorial information
    measures". The gain of j is its degree less 2 L times its similarity to those taken, less L w_jj.

    Returns
    -------
    Rows in the order taken, and their gains.
    """
    starts, index, weight = graph.indptr, graph.indices, graph.data
    gains = np.asarray(graph.sum(axis=1)).ravel() - _REDUNDANCY * graph.diagonal()

    def take(row: int) -> None:
        part = slice(starts[row], starts[row + 1])
        gains[index[part]] -= 2 * _REDUNDANCY * weight[part]

    return lazy_greedy(gains.copy(), lambda row: float(gains[row]), take, size)
