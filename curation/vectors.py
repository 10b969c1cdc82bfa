"""Vectors in tables and the exact search among them.

Belongs here: moving vectors between Polars and NumPy, unit length, exact top-k by inner product.
Does not belong here: how texts become vectors (`lsa`, `resources.encoder`) or what is near (`domain`,
`selection`).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import polars as pl

from curation import progress

#: Similarities are rounded to this many decimals before they are compared, so that equal vectors tie
#: whatever the block or the thread that multiplied them.
DECIMALS = 6
#: Neighbours beyond the k-th that are looked at, so that ties can go to the lower index.
_TIES = 8


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
    rows = np.nan_to_num(np.asarray(vectors, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return rows * scale.astype(np.float32)[:, None]


def top_k(
    queries: np.ndarray, base: np.ndarray, k: int, block: int = 16_384
) -> tuple[np.ndarray, np.ndarray]:
    """The k base vectors with the largest inner product for each query, exactly (faiss, brute force).

    Parameters
    ----------
    queries, base
        float32 [q, d] and [n, d]; unit rows make the product a cosine.
    block
        Queries searched at once, between two reports of progress.

    Returns
    -------
    similarity [q, k] float32, descending, rounded to `DECIMALS`; index [q, k] int64. Ties go to the
    lower index. Where the base has fewer than k rows, the rest is -inf and -1.
    """
    similarity = np.full((len(queries), k), -np.inf, dtype=np.float32)
    index = np.full((len(queries), k), -1, dtype=np.int64)
    if not len(queries) or not len(base) or k == 0:
        return similarity, index
    import faiss

    queries, base = (np.ascontiguousarray(points, dtype=np.float32) for points in (queries, base))
    found = min(k + _TIES, len(base))
    for first in progress.track(range(0, len(queries), block), "nearest neighbours"):
        rows = slice(first, first + block)
        products, places = faiss.knn(queries[rows], base, found, metric=faiss.METRIC_INNER_PRODUCT)
        products = np.round(products, DECIMALS)
        order = np.lexsort((places, -products), axis=1)[:, :k]
        similarity[rows, : order.shape[1]] = np.take_along_axis(products, order, axis=1)
        index[rows, : order.shape[1]] = np.take_along_axis(places, order, axis=1)
    return similarity, index


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
