"""Vectors in tables and the exact search among them.

Belongs here: moving vectors between Polars and NumPy, unit length, exact top-k by inner product.
Does not belong here: approximate search (`indexes`), how texts become vectors (`lsa`,
`resources.encoder`) or what is near (`domain`, `selection`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation import progress

#: Similarities are rounded to this many decimals before they are compared, so that equal vectors tie
#: whatever the block or the thread that multiplied them.
DECIMALS = 6
_BLOCK = 65_536
#: Queries and base rows multiplied at once: 4 MB of products, which stay in the cache.
_QUERIES, _COLUMNS = 512, 2_048
#: Pairs up to which threads (and torch) are not worth their start.
_SMALL = 1 << 22
_NO_ROW = np.iinfo(np.int64).max


def matrix(series: pl.Series) -> np.ndarray:
    """A column of vectors as a float32 array [n, d]; without a copy where it is one Float32 chunk.

    Raises
    ------
    ValueError
        A vector is null or the vectors differ in length.
    """
    if series.len() == 0:
        return np.zeros((0, 0), dtype=np.float32)
    column = series.cast(pl.List(pl.Float32))
    lengths = column.list.len()
    if lengths.null_count() or lengths.min() != lengths.max():
        raise ValueError(f"column {series.name!r} does not hold vectors of one length")
    if lengths[0] == 0:
        return np.zeros((series.len(), 0), dtype=np.float32)
    return column.explode().to_numpy().reshape(series.len(), -1)


def series(vectors: np.ndarray, name: str = "vector") -> pl.Series:
    """An array [n, d] as a List(Float32) column."""
    if vectors.size == 0:
        return pl.Series(name, [[] for _ in vectors], dtype=pl.List(pl.Float32))
    return pl.Series(name, np.ascontiguousarray(vectors, dtype=np.float32)).cast(pl.List(pl.Float32))


def normalise(vectors: np.ndarray) -> np.ndarray:
    """The rows scaled to unit length, float32 [n, d]; rows of zeros (or not finite) become zeros."""
    unit = np.array(vectors, dtype=np.float32)
    for start in range(0, len(unit), _BLOCK):  # in blocks: no second copy of a large array
        rows = unit[start : start + _BLOCK]
        np.nan_to_num(rows, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
        scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        rows *= scale.astype(np.float32)[:, None]
    return unit


# -- exact search -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coded:
    """Vectors as they are multiplied, and how far that is from what they are.

    Attributes
    ----------
    points
        float32 [n, d]: the vectors themselves.
    codes
        int8 or float32 [n, d]: row i times `scale[i]` is nearly `points[names[i]]`.
    names
        int64 [n].
    scale, error, length
        float32 [n]: factor of the codes, distance between vector and code, norm of the vector.
    """

    points: np.ndarray
    codes: np.ndarray
    names: np.ndarray
    scale: np.ndarray
    error: np.ndarray
    length: np.ndarray

    @property
    def products(self) -> type[np.generic]:
        """Type of the inner products of the codes."""
        return np.int32 if self.codes.dtype == np.int8 else np.float32

    @classmethod
    def of(cls, points: np.ndarray, integers: bool, names: np.ndarray | None = None) -> Coded:
        """Code the rows in the order of `names` (by default as they stand), as int8 or as they are."""
        from curation import vector_kernels

        points = np.ascontiguousarray(points, dtype=np.float32)
        n, d = points.shape
        order = np.arange(n) if names is None else names
        scale, error, length = (np.zeros(len(order), dtype=np.float32) for _ in range(3))
        rounding = np.float32(6e-8 * max(d, 64))  # of a float32 product of d terms, at most
        if integers and d > 1:  # torch's int8 product of vectors of one dimension is wrong
            codes = np.empty((len(order), d), dtype=np.int8)
            vector_kernels.quantise(
                points, points.view(np.int32), order, codes, scale, scale.view(np.int32), error, length
            )
        else:
            codes = points if names is None else points[names]
            scale[:] = 1.0
            length[:] = np.sqrt(np.einsum("ij,ij->i", codes, codes))
        return cls(points, codes, order, scale, error * np.float32(1.0001) + rounding * length, length)


def fast_integers() -> bool:
    """Whether the CPU multiplies int8 (AVX-512 VNNI) several times as fast as float32."""
    import torch

    return bool(torch.cpu.get_capabilities().get("avx512_vnni", False))


class Heaps:
    """The k best base rows of each query so far.

    `own` (int64 [q], -1 for none) is the base row that is left out for each query. What is kept does
    not depend on the order in which base rows are shown.
    """

    def __init__(self, queries: Coded, k: int, own: np.ndarray | None = None) -> None:
        q = len(queries.points)
        self.queries = queries
        self.own = np.full(q, -1, dtype=np.int64) if own is None else own
        self.similarity = np.full((q, k), -np.inf)
        self.index = np.full((q, k), _NO_ROW, dtype=np.int64)

    def show(self, rows: np.ndarray, base: Coded, first: int, last: int) -> None:
        """Show the base rows `names[first:last]` to the queries `rows` (int64)."""
        from curation import vector_kernels

        mine = self.queries
        room = np.empty(min(len(rows), _QUERIES) * min(last - first, _COLUMNS), dtype=base.products)
        for some in (rows[start : start + _QUERIES] for start in range(0, len(rows), _QUERIES)):
            codes = mine.codes[some]
            for start in range(first, last, _COLUMNS):
                part = slice(start, min(start + _COLUMNS, last))
                vector_kernels.keep_best(
                    _products(codes, base.codes[part], room), some, base.names[part], mine.points, base.points,
                    mine.scale, mine.error, mine.length,
                    base.scale[part], base.error[part], base.length[part],
                    self.own, DECIMALS, self.similarity, self.index,
                )  # fmt: skip

    def sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Similarity float32 and index int64 [q, k] as `top_k` gives them."""
        order = np.lexsort((self.index, -self.similarity), axis=1)
        index = np.take_along_axis(self.index, order, axis=1)
        similarity = np.take_along_axis(self.similarity, order, axis=1).astype(np.float32)
        return similarity, np.where(index == _NO_ROW, -1, index)


def _products(one: np.ndarray, other: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Inner products of all pairs of rows, written to the beginning of `room`."""
    out = room[: len(one) * len(other)].reshape(len(one), len(other))
    if one.dtype != np.int8:
        return np.matmul(one, other.T, out=out)
    import torch

    torch._int_mm(torch.from_numpy(one), torch.from_numpy(other).T, out=torch.from_numpy(out))
    return out


def in_threads(work: Callable[[np.ndarray], None], rows: int, most: int, what: str) -> None:
    """Call `work` on ranges of row numbers, at most so many rows each, in as many threads as there are CPUs.

    Each thread multiplies on its own: the threads inside BLAS and torch would wait for each other.
    """
    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    threads = torch.get_num_threads()
    size = max(1, min(most, -(-rows // threads)))
    parts = [np.arange(start, min(start + size, rows)) for start in range(0, rows, size)]

    def alone() -> None:
        torch.get_num_threads()  # torch sets up its threads on the first call
        threadpool_limits(1, "openmp")

    with threadpool_limits(1), ThreadPoolExecutor(threads, initializer=alone) as pool:
        for _ in progress.track(pool.map(work, parts), what, total=len(parts)):
            pass


def top_k(
    queries: np.ndarray, base: np.ndarray, k: int, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k base vectors with the largest inner product for each query, exactly.

    Blocks of products are taken in int8 where the CPU is fast at that, else in float32; a bound on what
    is lost says which pairs could be among the best, and these are multiplied again in full. So the
    result does not depend on the CPU, the blocks or the threads.

    Parameters
    ----------
    queries, base
        float32 [q, d] and [n, d], finite; unit rows make the product a cosine.
    own
        int64 [q]: a base row that is left out for each query (-1: none).

    Returns
    -------
    similarity [q, k] float32, descending, rounded to `DECIMALS`; index [q, k] int64. Ties go to the
    lower index. Where there are fewer than k rows, the rest is -inf and -1.
    """
    if not len(queries) or not len(base) or k == 0:
        shape = (len(queries), k)
        return np.full(shape, -np.inf, dtype=np.float32), np.full(shape, -1, dtype=np.int64)
    large = len(queries) * len(base) > _SMALL
    integers = large and fast_integers()
    coded = Coded.of(base, integers)
    heaps = Heaps(coded if queries is base else Coded.of(queries, integers), k, own)

    def search(rows: np.ndarray) -> None:
        heaps.show(rows, coded, 0, len(base))

    if large:
        in_threads(search, len(queries), _QUERIES, "nearest neighbours")
    else:
        search(np.arange(len(queries)))
    return heaps.sorted()


def merge_top_k(parts: Iterable[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    """One top-k list from those of several parts of a base (with indices into the whole base).

    Each part is (similarity [q, any], index [q, any]) as `top_k` gives it; the result likewise [q, k].
    """
    pairs = list(parts)
    similarity = np.concatenate([pair[0] for pair in pairs], axis=1)
    index = np.concatenate([pair[1] for pair in pairs], axis=1)
    last = np.where(index < 0, np.iinfo(np.int64).max, index)
    order = np.lexsort((last, -similarity), axis=1)[:, :k]
    return np.take_along_axis(similarity, order, axis=1), np.take_along_axis(index, order, axis=1)
