"""Choosing a fixed number of rows with given probabilities.

Belongs here: inclusion probabilities from weights, the pivotal design that meets them exactly, an
order in which near rows stand together, and the walk that keeps choices apart.
Does not belong here: what the weights mean (`weights`) or which rows compete (`strategies`).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from curation import progress
from curation.vectors import DECIMALS

_BLOCK = 1_024
_TINY = 1e-9
#: Numbers of principal coordinates tried for the bound on similarities, rows that they are tried on, and
#: what one exact product costs beside one of a block, by the dimension.
_DIMENSIONS, _SAMPLE, _EXACT_COST = (16, 32, 64, 128, 256), 512, 20
#: Error of a bound in float32, at most.
_SLACK = 1e-4


def inclusion_probabilities(weights: np.ndarray, size: int) -> np.ndarray:
    """π_i = min(1, c * w_i) with the one c for which they add up to `size`.

    Exact: with the weights in falling order, the k largest are certain (π = 1) for the smallest k for
    which c = (size - k) / (sum of the others) leaves no other probability above 1. See Tillé, 2006,
    "Sampling algorithms", chapter 2.

    Parameters
    ----------
    weights
        float64 [n], at least 0 and finite.
    size
        Wanted sum; where fewer rows have a weight above 0, all of those get 1.

    Raises
    ------
    ValueError
        A weight is negative or not finite, or `size` is negative.
    """
    weights = np.asarray(weights, dtype=np.float64)
    if size < 0:
        raise ValueError(f"size is {size}; allowed: 0 or more")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("weights must be finite and at least 0")
    positive = weights > 0
    if size >= positive.sum():
        return positive.astype(np.float64)
    if size == 0:
        return np.zeros(len(weights))
    falling = np.sort(weights)[::-1]
    rest = np.cumsum(falling[::-1])[::-1]  # sum of this weight and all smaller ones
    fits = (size - np.arange(size)) * falling[:size] <= rest[:size] * (1 + 1e-12)
    k = int(np.argmax(fits)) if fits.any() else size - 1
    return np.minimum(1.0, (size - k) / rest[k] * weights)


@cache
def _pivotal_kernel() -> Any:
    import numba

    @numba.njit(cache=True)
    def pivotal(probabilities: Any, uniform: Any, chosen: Any) -> None:
        holder, held = -1, 0.0
        for row in range(len(probabilities)):
            p = probabilities[row]
            if p <= 0.0:
                continue
            if p >= 1.0:
                chosen[row] = True
                continue
            if holder < 0:
                holder, held = row, p
                continue
            together = held + p
            if together < 1.0 - 1e-9:  # one takes all, the other is out
                if uniform[row] * together < p:
                    holder = row
                held = together
            elif together <= 1.0 + 1e-9:  # exactly one of the two
                chosen[row if uniform[row] * together < p else holder] = True
                holder, held = -1, 0.0
            else:  # one is in, the other keeps what is left over
                left = together - 1.0
                if uniform[row] * (2.0 - together) < 1.0 - p:
                    chosen[holder] = True
                    holder = row
                else:
                    chosen[row] = True
                held = left
        if holder >= 0 and held > 0.5:
            chosen[holder] = True

    return pivotal


def pivotal_sample(probabilities: np.ndarray, seed: int) -> np.ndarray:
    """A sample in which each row is chosen with exactly its probability, of fixed size.

    The ordered pivotal method (Deville and Tillé, 1998; Chauvet, 2012): rows compete in their order,
    two at a time, for their joint probability. Since neighbours in the order compete with each other,
    the sample is spread over it: between two chosen rows lies about one unit of probability.

    Parameters
    ----------
    probabilities
        float64 [n] in [0, 1]. Where they add up to an integer, exactly so many rows are chosen.

    Returns
    -------
    bool [n].
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    clean = np.where(probabilities > 1 - _TINY, 1.0, np.where(probabilities < 1e-15, 0.0, probabilities))
    chosen = np.zeros(len(clean), dtype=np.bool_)
    _pivotal_kernel()(clean, np.random.default_rng(seed).random(len(clean)), chosen)
    return chosen


def order_sample(probabilities: np.ndarray, seed: int) -> np.ndarray:
    """All rows in the order of a random draw in which the more probable tend to come first.

    Pareto order sampling (Rosén, 1997): ascending in (u / (1 - u)) / (π / (1 - π)) with u uniform; the
    first rows are a sample with nearly the given probabilities, whatever their number.

    Returns
    -------
    int64 [n]: row numbers.
    """
    p = np.clip(np.asarray(probabilities, dtype=np.float64), 1e-12, 1 - 1e-12)
    u = np.clip(np.random.default_rng([seed, 1]).random(len(p)), 1e-12, 1 - 1e-12)
    return np.argsort((u / (1 - u)) * ((1 - p) / p), kind="stable")


def spread_order(unit: np.ndarray, groups: np.ndarray, leaf: int = 8) -> np.ndarray:
    """An order in which rows that are near to each other stand near to each other.

    Group by group; inside a group the rows are halved along their direction of largest spread, again
    and again, down to `leaf` rows, which stay in the order given. A sample that is spread over this
    order is spread over the space.

    Parameters
    ----------
    unit, groups
        float32 [n, d] vectors and int [n] group of each row.

    Returns
    -------
    int64 [n]: row numbers.
    """
    by_group = np.argsort(groups, kind="stable")
    parts = np.split(by_group, np.flatnonzero(np.diff(groups[by_group])) + 1)[::-1]
    done: list[np.ndarray] = []
    while parts:
        rows = parts.pop()
        if len(rows) <= leaf:
            done.append(rows)
            continue
        along = np.round(_main_axis(unit[rows]), DECIMALS)
        rows = rows[np.argsort(along, kind="stable")]
        parts += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
    return np.concatenate(done) if done else np.empty(0, dtype=np.int64)


def _main_axis(points: np.ndarray, iterations: int = 6) -> np.ndarray:
    """Place of each point along the direction of largest spread, by power iteration; [n]."""
    centred = points.astype(np.float64)
    centred -= centred.mean(axis=0)
    axis = centred[np.argmax(np.einsum("ij,ij->i", centred, centred))]
    for _ in range(iterations):
        axis = centred.T @ (centred @ axis)
        length = np.linalg.norm(axis)
        if length < 1e-12:
            return np.zeros(len(points))
        axis /= length
    return centred @ axis


def accept_apart(
    order: np.ndarray, unit: np.ndarray, size: int, max_similarity: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Walk the rows in order and accept each that is not too near to an accepted one, up to `size`.

    As in DEITA (Liu et al., 2024), compared with *accepted* rows only, so the result does not depend
    on how the walk is cut into blocks. Blocks of short vectors say which pairs could be too near; only
    these are multiplied in full.

    Parameters
    ----------
    order
        int [m] row numbers, best first.
    unit
        float32 [n, d] unit vectors on the grid (rows of zeros are near to nothing).
    max_similarity
        Cosine similarity above which a row is refused.

    Returns
    -------
    accepted bool [n]; for a refused row the accepted row that it is nearest to, int64 [n] (-1 for all
    others), and the similarity between them, float64 [n] (NaN for all others).
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from curation import vector_kernels

    limit, size = float(np.float32(max_similarity)), max(size, 0)
    accepted = np.zeros(len(unit), dtype=bool)
    refused_for, similarity = np.full(len(unit), -1, dtype=np.int64), np.full(len(unit), np.nan)
    names, count = np.empty(min(size, len(order)), dtype=np.int64), 0
    with threadpool_limits(1, "blas"):  # many small products: threads only wait for each other
        short = _short_bounds(unit, limit)
        for start in range(0, len(order), _BLOCK):
            if count >= size:
                break
            rows = order[start : start + _BLOCK]
            nearest = np.full(len(rows), -np.inf, dtype=np.float32)
            who = np.full(len(rows), -1, dtype=np.int64)
            for first in range(0, count, 2 * _BLOCK):
                others = names[first : min(first + 2 * _BLOCK, count)]
                bounds = short[rows] @ short[others].T
                vector_kernels.nearest_above(bounds, limit, _SLACK, rows, others, unit, nearest, who)
            bounds = short[rows] @ short[rows].T
            more = vector_kernels.walk(bounds, limit, _SLACK, rows, unit, size - count, nearest, who)
            names[count : count + more] = rows[who == -2]
            count += more
            refused = who >= 0
            refused_for[rows[refused]], similarity[rows[refused]] = who[refused], nearest[refused]
            progress.report("keeping choices apart", count, size)
    accepted[names[:count]] = True
    return accepted, refused_for, similarity


def earlier_similarity(unit: np.ndarray, cluster: np.ndarray, to_centre: np.ndarray) -> np.ndarray:
    """How near each row is to any row of its cluster that lies farther from the centre; float64 [n].

    The first of each cluster, which has none before it, gets -2. Ties in `to_centre` go to the lower row.
    """
    nearest = np.full(len(unit), -2.0)
    order = np.lexsort((np.arange(len(unit)), to_centre, cluster))
    for rows in np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1) if len(order) else []:
        points = unit[rows]
        for start in range(0, len(rows), _BLOCK):
            stop = min(start + _BLOCK, len(rows))
            products = points[start:stop] @ points[:stop].T
            products[np.arange(stop)[None, :] >= np.arange(start, stop)[:, None]] = -2.0
            nearest[rows[start:stop]] = products.max(axis=1)
    return nearest.round(DECIMALS)


def _short_bounds(unit: np.ndarray, limit: float) -> np.ndarray:
    """Shorter vectors, float32 [n, m + 1], whose inner products bound those of `unit` from above.

    With p(x) the first m principal coordinates of x and r(x) the rest, x.y <= p(x).p(y) + |r(x)| |r(y)|.
    m is the number for which the products, and the pairs of a sample that they leave above the limit,
    cost least.
    """
    n, d = unit.shape if unit.ndim == 2 else (len(unit), 0)
    if n < _BLOCK:
        return unit
    some = unit[:: max(1, n // (4 * _BLOCK))]
    axes = np.linalg.eigh((some.T @ some).astype(np.float64))[1][:, ::-1].astype(np.float32)
    sample = unit[:: max(1, n // _SAMPLE)][:_SAMPLE]
    turned = sample @ axes
    costs = {}
    for m in (m for m in _DIMENSIONS if m < d):
        short = _with_rest(turned[:, :m], sample)
        left = np.triu(short @ short.T > limit, 1).sum() / (len(sample) * (len(sample) - 1) / 2)
        costs[m] = m + left * _EXACT_COST * d
    m = min(costs, key=lambda m: costs[m], default=d)
    if not costs or costs[m] >= d:
        return unit
    short = np.empty((n, m + 1), dtype=np.float32)
    for start in range(0, n, 16 * _BLOCK):
        part = unit[start : start + 16 * _BLOCK]
        short[start : start + 16 * _BLOCK] = _with_rest(part @ axes[:, :m], part)
    return short


def _with_rest(coordinates: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Coordinates of some of the dimensions, and the length of what they leave out."""
    left = np.einsum("ij,ij->i", unit, unit) - np.einsum("ij,ij->i", coordinates, coordinates)
    return np.column_stack([coordinates, np.sqrt(np.maximum(left, 0.0))])
