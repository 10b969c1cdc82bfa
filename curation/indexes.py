"""Nearest vectors in large sets: exactly, or nearly so by an index with measured loss.

Belongs here: inverted files (IVF), HNSW, neighbours within a set, and how much an index loses.
Does not belong here: exact search (`vectors`) and what nearness is for (`domain`, `selection`).

An index looks at a part of the base only. How large a part is not set but found: the effort is doubled
until a seeded sample of the queries, searched exactly as well, agrees as far as wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from curation import progress
from curation.selection import kmeans
from curation.selection.geometry import exact_unit, has_direction
from curation.vectors import DECIMALS, Coded, Heaps, fast_integers, in_threads, top_k

Index = Literal["exact", "ivf", "hnsw"]
Lists = tuple[np.ndarray, np.ndarray]

#: Queries that are searched exactly as well.
_SAMPLE = 1_000
_QUERIES = 65_536
#: The cells of an inverted file are trained on so many rows a cell, in so many iterations.
_TRAINED_ON, _ITERATIONS = 64, 8
#: Links of an HNSW node, and candidates while it is built.
_LINKS, _CANDIDATES = 32, 80
_LEAST_EFFORT = 8


@dataclass(frozen=True)
class Found:
    """Lists of nearest rows, and how they were found.

    Attributes
    ----------
    similarity, index
        [q, k] as `vectors.top_k` gives them.
    method
        The index used; `effort` is the number of cells or candidates looked at for each query (None:
        all were).
    agreement
        What was measured on a sample of the queries beside exact search (1 where the search is exact).
    """

    similarity: np.ndarray
    index: np.ndarray
    method: Index
    effort: int | None
    agreement: float


def recall(exact: Lists, found: Lists) -> float:
    """Share of the true nearest that were found, or others as near (ties)."""
    kth = np.where(exact[1] >= 0, exact[0], np.inf).min(axis=1, keepdims=True)
    wanted = (exact[1] >= 0).sum()
    return float(((found[1] >= 0) & (found[0] >= kth)).sum() / wanted) if wanted else 1.0


def correlation(exact: Lists, found: Lists) -> float:
    """Pearson correlation of the mean similarity of each list (1 where both are the same)."""
    one, other = mean_similarity(*exact), mean_similarity(*found)
    if np.array_equal(one, other):
        return 1.0
    spread = float(one.std() * other.std())
    return float(((one - one.mean()) * (other - other.mean())).mean() / spread) if spread > 0 else 0.0


def mean_similarity(similarity: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Mean of each list, float64 [q], in [-1, 1], rounded; 0 where it is empty."""
    total = np.where(index >= 0, similarity, 0.0).sum(axis=1, dtype=np.float64)
    return np.clip(total / np.maximum((index >= 0).sum(axis=1), 1), -1.0, 1.0).round(DECIMALS)


def nearest(
    queries: np.ndarray, base: np.ndarray, k: int, method: Index, least_recall: float, seed: int
) -> Found:
    """The k most similar base rows of each query, by an index that finds `least_recall` of them.

    Parameters
    ----------
    queries, base
        Unit vectors, float32 [q, d] and [n, d].
    method
        `exact`; `ivf`: only the cells nearest to the query are searched (Jégou et al., 2011), better
        for many queries; `hnsw`: a graph is walked (Malkov and Yashunin, 2018; faiss), better for few
        queries in a base that is used again.
    """
    return _search(queries, base, k, method, least_recall, seed, recall, None)


def neighbours(
    unit: np.ndarray, k: int, exact_rows: int, least_correlation: float = 0.998, seed: int = 0
) -> Found:
    """The k most similar other rows of each row of a set.

    Exactly up to `exact_rows` rows; beyond, by inverted file, such that the mean similarities correlate
    with the exact ones by at least `least_correlation` on the sample. The default leaves room for the
    luck of the sample: 0.995 is what the whole set should have.
    """
    method: Index = "exact" if len(unit) <= exact_rows else "ivf"
    return _search(unit, unit, k, method, least_correlation, seed, correlation, np.arange(len(unit)))


def _search(
    queries: np.ndarray, base: np.ndarray, k: int, method: Index, target: float, seed: int,
    measure: Callable[[Lists, Lists], float], own: np.ndarray | None,
) -> Found:  # fmt: skip
    if method == "exact" or not len(queries) or not len(base) or k == 0:
        return Found(*top_k(queries, base, k, own), "exact", None, 1.0)
    index = Cells(base, seed) if method == "ivf" else Graph(base)
    sample = np.random.default_rng(seed).permutation(len(queries))[:_SAMPLE]
    asked, left_out = queries[sample], None if own is None else own[sample]
    exact = top_k(asked, base, k, left_out)
    effort, agreement = least_effort(index, asked, exact, target, measure, left_out)
    return Found(*index.search(queries, k, effort, own), method, effort, round(agreement, 6))


def least_effort(
    index: Cells | Graph, queries: np.ndarray, exact: Lists, target: float,
    measure: Callable[[Lists, Lists], float] = recall, own: np.ndarray | None = None,
) -> tuple[int, float]:  # fmt: skip
    """The effort from which the lists of an index agree with the `exact` ones by `target`, and how far they do.

    Full effort, which finds all, where no less is enough.
    """
    k, effort = exact[1].shape[1], min(_LEAST_EFFORT, index.most)
    agreement = measure(exact, index.search(queries, k, effort, own))
    while agreement < target and effort < index.most:
        effort = min(2 * effort, index.most)
        agreement = measure(exact, index.search(queries, k, effort, own))
    return effort, agreement


class Cells:
    """An inverted file: the base in cells of k-means, of which a query looks at the nearest."""

    def __init__(self, base: np.ndarray, seed: int) -> None:
        n = len(base)
        count = max(1, round(np.sqrt(n)))
        rows = np.sort(np.random.default_rng(seed).permutation(n)[: count * _TRAINED_ON])
        sample = exact_unit(base[rows])
        sample = sample[has_direction(sample)]
        self.most = max(1, min(count, len(sample)))
        self.centres = (
            kmeans.train(sample, self.most, seed, _TRAINED_ON, _ITERATIONS) if len(sample) else base[:1]
        )
        cell = kmeans.assign(base, self.centres)[0]
        self.starts = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=self.most))])
        self.base = Coded.of(base, fast_integers(), np.argsort(cell, kind="stable"))

    def search(self, queries: np.ndarray, k: int, probes: int, own: np.ndarray | None) -> Lists:
        """The k most similar rows in the `probes` cells nearest to each query."""
        heaps = Heaps(Coded.of(queries, fast_integers()), k, own)
        nearest = top_k(queries, self.centres, probes)[1]

        def search(rows: np.ndarray) -> None:
            for ranks in (slice(1), slice(1, None)):  # the nearest cell first: it spares the others much
                cell = nearest[rows, ranks].ravel()
                by_cell = np.argsort(cell, kind="stable")
                who = rows[by_cell // max(cell.size // len(rows), 1)]
                cuts = np.searchsorted(cell[by_cell], np.arange(self.most + 1))
                for number in range(self.most):
                    first, last = self.starts[number], self.starts[number + 1]
                    if first < last and cuts[number] < cuts[number + 1]:
                        heaps.show(who[cuts[number] : cuts[number + 1]], self.base, first, last)

        in_threads(search, len(queries), _QUERIES, "neighbours in cells")
        return heaps.sorted()


class Graph:
    """A navigable small-world graph (HNSW) by faiss; built on one thread, so that it is always the same."""

    def __init__(self, base: np.ndarray) -> None:
        import faiss
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        self.most, self.base = len(base), np.ascontiguousarray(base, dtype=np.float32)
        self.graph = faiss.IndexHNSWFlat(base.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
        self.graph.hnsw.efConstruction = _CANDIDATES
        with threadpool_limits(1):
            for start in progress.track(range(0, len(base), _QUERIES), "graph of documents"):
                self.graph.add(self.base[start : start + _QUERIES])

    def search(self, queries: np.ndarray, k: int, candidates: int, own: np.ndarray | None) -> Lists:
        """The k most similar of the `candidates` that the walk ends with."""
        import faiss

        from curation import vector_kernels

        wanted = min(max(candidates, k + 1), self.most)
        points = np.ascontiguousarray(queries, dtype=np.float32)
        _, index = self.graph.search(
            points,
            wanted,
            params=faiss.SearchParametersHNSW(efSearch=wanted),  # type: ignore[attr-defined]
        )
        if own is not None:
            index[index == own[:, None]] = -1
        similarity = vector_kernels.similarities(points, self.base, index, DECIMALS)
        order = np.lexsort((index, -similarity), axis=1)[:, :k]
        lists = np.full((len(points), k), -np.inf, dtype=np.float32), np.full((len(points), k), -1)
        for full, part in zip(lists, (similarity, index), strict=True):
            full[:, : order.shape[1]] = np.take_along_axis(part, order, axis=1)
        return lists
