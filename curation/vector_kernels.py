"""Compiled loops over many vectors at once.

Belongs here: numba kernels that `vectors`, `indexes` and `selection` run on float32 arrays [n, d] and on
blocks of inner products. Does not belong here: threads, blocks and settings (their callers' affair).

All kernels run on the calling thread and release the GIL. Importing this module imports numba, so it is
imported inside functions only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

#: Sums may be taken in any order and fused: exact for vectors on the grid (`selection.geometry`); for
#: others the last bit may depend on the machine's vector width, never on threads or blocks.
_ANY_ORDER = {"reassoc", "contract"}

_HALF = np.float32(0.5)
_127 = np.float32(127.0)
#: Products that are looked at together: one test spares them all.
_RUN = 128


@njit(cache=True, nogil=True, fastmath=_ANY_ORDER)
def dot(one: Any, other: Any) -> Any:
    """Inner product of two float32 vectors, summed in float64."""
    total = 0.0
    for place in range(len(one)):
        total += np.float64(one[place]) * np.float64(other[place])
    return total


@njit(cache=True, nogil=True, fastmath=_ANY_ORDER)
def _dot32(one: Any, other: Any) -> Any:
    """Inner product in float32: without error for unit vectors on the grid."""
    total = np.float32(0.0)
    for place in range(len(one)):
        total += one[place] * other[place]
    return total


@njit(cache=True, nogil=True)
def _largest(bits: Any) -> Any:
    """Bits of the largest absolute value: without their sign, floats stand in the order of their bits."""
    largest = np.int32(0)
    for place in range(len(bits)):
        largest = max(largest, bits[place] & np.int32(0x7FFFFFFF))
    return largest


@njit(cache=True, nogil=True, fastmath=_ANY_ORDER)
def _lost(row: Any, code: Any, scale: Any) -> Any:
    """Squared distance between a row and scale * code."""
    total = np.float32(0.0)
    for place in range(len(row)):
        gap = row[place] - scale * np.float32(code[place])
        total += gap * gap
    return total


# -- search --------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def quantise(
    points: Any, bits: Any, order: Any, codes: Any, scale: Any, scale_bits: Any, error: Any, length: Any
) -> None:
    """Rows `points[order]` as int8 `codes` times `scale`; `error` is the distance lost, `length` the norm.

    Symmetric, each row on a scale of its own. `bits` and `scale_bits` are `points` and `scale` seen as
    int32.
    """
    for place in range(len(order)):
        row, code = points[order[place]], codes[place]
        scale_bits[place] = _largest(bits[order[place]])
        largest = scale[place]
        inverse = _127 / largest if largest > 0 else np.float32(0.0)
        for column in range(len(row)):
            value = row[column] * inverse
            code[column] = np.int8(value + (_HALF if value >= 0 else -_HALF))
        scale[place] = largest / _127
        error[place] = np.sqrt(_lost(row, code, scale[place]))
        length[place] = np.sqrt(_dot32(row, row))


@njit(cache=True, nogil=True)
def _sink(similarity: Any, index: Any) -> None:
    """Restore the heap below its root: the root is the worst (less similar, or as similar and later)."""
    k, place = len(similarity), 0
    while True:
        child = 2 * place + 1
        if child >= k:
            return
        other = child + 1
        if other < k and (
            similarity[other] < similarity[child]
            or (similarity[other] == similarity[child] and index[other] > index[child])
        ):
            child = other
        if similarity[place] < similarity[child] or (
            similarity[place] == similarity[child] and index[place] >= index[child]
        ):
            return
        similarity[place], similarity[child] = similarity[child], similarity[place]
        index[place], index[child] = index[child], index[place]
        place = child


@njit(cache=True, nogil=True)
def _bound(product: Any, scale: Any, error: Any, length: Any, q: Any) -> Any:
    """Largest inner product that an approximate one may stand for; `q` is the query's (scale, error, length)."""
    return np.float32(product) * (q[0] * scale) + (q[2] * error + q[1] * length)


@njit(cache=True, nogil=True)
def _reaching(products: Any, scale: Any, error: Any, length: Any, limit: Any, q: Any) -> Any:
    """How many products of one query may reach the limit."""
    count = np.int32(0)
    for place in range(len(products)):  # from 0 on: else the compiler does not vectorise it
        bound = _bound(products[place], scale[place], error[place], length[place], q)
        count += np.int32(bound >= limit)
    return count


@njit(cache=True, nogil=True)
def keep_best(
    products: Any, rows: Any, names: Any, queries: Any, base: Any,
    q_scale: Any, q_error: Any, q_length: Any, b_scale: Any, b_error: Any, b_length: Any,
    own: Any, decimals: int, similarity: Any, index: Any,
) -> None:  # fmt: skip
    """Bring each query's k best up to date with a block of approximate products.

    With q = q' + e and b = b' + f, where q' and b' are what was multiplied, q.b is at most
    q'.b' + |q'| |f| + |e| |b|. Only pairs for which that bound reaches the k-th best so far are
    multiplied again, exactly: what is kept is that of an exact search, whatever the approximation.

    Parameters
    ----------
    products
        int32 or float32 [m, n]: times `q_scale[rows]` and `b_scale` the approximate inner products.
    rows, names
        int64: rows `queries[rows]` [m] against rows `base[names]` [n].
    q_scale, q_error, q_length
        float32, one a query (all of them); `b_scale`, `b_error`, `b_length`: one a column.
    own
        int64, one a query: the base row that is left out (-1: none).
    similarity, index
        float64 and int64 [queries, k], heaps with the worst first; changed in place.
    """
    unit = 10.0**decimals
    for place in range(len(rows)):
        row = rows[place]
        best, who, query, line = similarity[row], index[row], queries[row], products[place]
        q = (q_scale[row], q_error[row], q_length[row] + q_error[row])
        limit = np.float32(best[0] - 2.0 / unit)
        for start in range(0, len(names), _RUN):
            run = slice(start, min(start + _RUN, len(names)))
            if not _reaching(line[run], b_scale[run], b_error[run], b_length[run], limit, q):
                continue
            for column in range(run.start, run.stop):
                name = names[column]
                bound = _bound(line[column], b_scale[column], b_error[column], b_length[column], q)
                if not bound >= limit or name == own[row]:  # also where it is not a number
                    continue
                exact = np.rint(dot(query, base[name]) * unit) / unit + 0.0  # no negative zero
                if exact > best[0] or (exact == best[0] and name < who[0]):
                    best[0], who[0] = exact, name
                    _sink(best, who)
                    limit = np.float32(best[0] - 2.0 / unit)


@njit(cache=True, nogil=True)
def similarities(queries: Any, base: Any, index: Any, decimals: int) -> Any:
    """Exact inner products of each query with its base rows `index` [q, m], rounded; -inf for -1."""
    unit = 10.0**decimals
    found = np.full(index.shape, -np.inf)
    for row in range(len(queries)):
        for place in range(index.shape[1]):
            if index[row, place] >= 0:
                found[row, place] = np.rint(dot(queries[row], base[index[row, place]]) * unit) / unit + 0.0
    return found


@njit(cache=True, nogil=True)
def add_to_groups(points: Any, group: Any, sums: Any) -> None:
    """Add each row to `sums[group]`, float64 [groups, d]: without error for vectors on the grid."""
    for row in range(len(group)):
        point, total = points[row], sums[group[row]]
        for place in range(len(point)):
            total[place] += point[place]


# -- choosing ------------------------------------------------------------------------------------

_BLOCK = 256


@njit(cache=True, nogil=True)
def _catch_up(
    unit: Any, row: Any, centres: Any, count: Any, near: Any, seen: Any, best: Any, best_row: Any
) -> None:
    """Show a row the centres that it has not seen, until it can no longer win."""
    similarity, place = near[row], seen[row]
    while place < count and (similarity < best or (similarity == best and row < best_row)):
        similarity = max(similarity, _dot32(unit[row], centres[place]))
        place += 1
    near[row], seen[row] = similarity, place


@njit(cache=True, nogil=True)
def farthest_first(unit: Any, picks: Any, first: int, last: int, centres: Any, near: Any, seen: Any) -> None:
    """Fill `picks[first:last]`: always the row least similar to the most similar earlier pick.

    `near` (float32 [n]) is each row's similarity to the first `seen` (int64 [n]) picks, and so a lower
    bound for all; +inf once it is picked. `centres` (float32 [picks, d]) are the picked vectors. Rows
    stand in blocks of 256, each with its smallest bound, and the blocks are visited from the smallest.
    """
    n = len(near)
    blocks = (n + _BLOCK - 1) // _BLOCK
    floor = np.empty(blocks, dtype=np.float32)
    for block in range(blocks):
        floor[block] = near[block * _BLOCK : min((block + 1) * _BLOCK, n)].min()
    visited = np.full(blocks, -1, dtype=np.int64)
    for count in range(first, last):
        best, best_row = np.float32(np.inf), n
        # A good rival early spares the others: the most promising blocks first, then all in order.
        for step in range(min(8, blocks) + blocks):
            block = int(np.argmin(floor)) if step < min(8, blocks) else step - min(8, blocks)
            begin, end = block * _BLOCK, min((block + 1) * _BLOCK, n)
            if visited[block] == count or floor[block] > best or (floor[block] == best and begin > best_row):
                continue
            visited[block] = count
            for row in range(begin, end):
                if near[row] < best or (near[row] == best and row < best_row):
                    _catch_up(unit, row, centres, count, near, seen, best, best_row)
                    if seen[row] == count and (near[row] < best or (near[row] == best and row < best_row)):
                        best, best_row = near[row], row
            floor[block] = near[begin:end].min()
        picks[count] = best_row
        centres[count] = unit[best_row]
        near[best_row] = np.inf
        seen[best_row] = last
        block = best_row // _BLOCK
        floor[block] = near[block * _BLOCK : min((block + 1) * _BLOCK, n)].min()


@njit(cache=True, nogil=True)
def _above(bounds: Any, limit: Any) -> Any:
    count = np.int32(0)
    for place in range(len(bounds)):
        count += np.int32(bounds[place] > limit)
    return count


@njit(cache=True, nogil=True)
def nearest_above(
    bounds: Any, limit: Any, slack: Any, rows: Any, names: Any, unit: Any, nearest: Any, who: Any
) -> None:
    """The most similar of `unit[names]` to each of `unit[rows]`, where it is more similar than `limit`.

    `bounds` (float32 [rows, names]) are upper bounds of the similarities up to `slack`: only pairs
    above the limit are multiplied. `nearest` (float32) and `who` (int64) are raised in place; ties stay
    with the earlier name.
    """
    for place in range(len(rows)):
        line = bounds[place]
        for start in range(0, len(names), _RUN):
            stop = min(start + _RUN, len(names))
            least = np.float32(max(limit, np.float64(nearest[place])) - slack)
            if not _above(line[start:stop], least):
                continue
            for column in range(start, stop):
                if line[column] > least:
                    similarity = _dot32(unit[rows[place]], unit[names[column]])
                    if similarity > limit and similarity > nearest[place]:
                        nearest[place], who[place] = similarity, names[column]


@njit(cache=True, nogil=True)
def walk(bounds: Any, limit: Any, slack: Any, rows: Any, unit: Any, room: int, nearest: Any, who: Any) -> int:
    """Walk a block of rows: a row that `nearest_above` found nothing for is accepted, up to `room`.

    `bounds` (float32 [rows, rows]) are upper bounds of the similarities inside the block. Rows refused
    for one of the block get it in `nearest` and `who`, accepted ones -2 in `who`, and those that come
    when there is no room left -1. Returns how many were accepted.
    """
    taken = np.empty(len(rows), dtype=np.int64)
    count = 0
    for place in range(len(rows)):
        if count >= room:
            who[place:] = -1
            break
        for earlier in range(count):
            bound = np.float64(bounds[place, taken[earlier]])
            if bound > max(limit, np.float64(nearest[place])) - slack:
                similarity = _dot32(unit[rows[place]], unit[rows[taken[earlier]]])
                if similarity > limit and similarity > nearest[place]:
                    nearest[place], who[place] = similarity, rows[taken[earlier]]
        if who[place] < 0:
            who[place] = -2
            taken[count] = place
            count += 1
    return count
