"""Compiled loops of a decoder's layers. Importing it imports numba, so import it where it is used.

Belongs here: what lies between the products with the weights: norm, attention, gate. Does not belong
here: the products, nor which layers there are (`decoder`).

Activations are float32, or bfloat16 given by its bits as uint16; all sums are in float32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from curation.scores.logit_kernels import exp, wide
from curation.scores.tiles import LANES, ROWS, multiply, total

_ZERO, _ONE, _MOST, _LOWEST = np.float32(0), np.float32(1), np.float32(80), np.float32(-1e30)

#: Sums keep their order: a loop that may be reordered comes out otherwise when it is compiled than when it is
#: read from the cache.
_EXACT = {"nnan", "ninf", "nsz"}


def narrow(value: Any, like: Any) -> Any:
    """A float32 as it is or, where `like` is the bits of a bfloat16, as such bits. In compiled code only."""


@overload(narrow, inline="always", strict=False)
def _narrow(value: Any, like: Any) -> Any:
    if isinstance(like, types.Integer):

        def rounded(value, like):  # type: ignore[no-untyped-def]
            bits = np.float32(value).view(np.uint32)
            return np.uint16(
                (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
            )

        return rounded
    return lambda value, like: np.float32(value)


@njit(cache=True, nogil=True, fastmath=_EXACT)
def add_and_norm(
    states: np.ndarray, added: np.ndarray, weight: np.ndarray, epsilon: float, found: np.ndarray
) -> None:
    """Add to the float32 states [n, d] what a layer found, and write their RMSNorm to `found`."""
    width = states.shape[1]
    for place in range(len(states)):
        state, more, out = states[place], added[place], found[place]
        for column in range(width):
            state[column] += wide(more[column])
        scale = np.float32(1 / math.sqrt(total(state, True) / width + epsilon))
        for column in range(width):
            out[column] = narrow(state[column] * scale * weight[column], out[column])


@njit(cache=True, nogil=True, fastmath=_EXACT, error_model="numpy")  # no check of each divisor
def gate(gates: np.ndarray, values: np.ndarray) -> None:
    """SwiGLU: silu(gates) · values, in place of the gates."""
    for place in range(len(gates)):
        opened, value = gates[place], values[place]
        for column in range(len(opened)):
            x = wide(opened[column])
            share = _ONE / (_ONE + exp(min(-x, _MOST)))
            opened[column] = narrow(x * share * wide(value[column]), opened[column])


@njit(cache=True, nogil=True, fastmath=_EXACT)
def _turned(row: np.ndarray, cos: np.ndarray, sin: np.ndarray, scale: np.float32, found: np.ndarray) -> None:
    """A head of a query or key turned by its position (rotary embedding), in float32."""
    half = len(row) // 2
    for column in range(half):
        one, other = wide(row[column]) * scale, wide(row[column + half]) * scale
        found[column] = one * cos[column] - other * sin[column]
        found[column + half] = other * cos[column + half] + one * sin[column + half]


@njit(cache=True, nogil=True)
def _whole(number: int) -> int:
    return (number + LANES - 1) // LANES * LANES


@njit(cache=True, nogil=True, fastmath=_EXACT)
def attend(
    queries: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    ends: np.ndarray,
    cos: np.ndarray,
    sin: np.ndarray,
    scale: float,
) -> None:
    """Causal attention within each sequence, in place of the queries [n, heads · d].

    Keys and values [n, groups · d] are shared by the heads of a group; `cos` and `sin` [positions, d];
    sequences follow each other, and end before `ends`.
    """
    width = cos.shape[1]
    groups, heads = keys.shape[1] // width, queries.shape[1] // width
    longest, start = 0, 0
    for end in ends:
        longest, start = max(longest, end - start), end
    room, room_of_head = _whole(longest) | LANES, _whole(width)  # odd: rows at powers of two evict each other
    key, value = np.zeros((width, room), np.float32), np.zeros((room, room_of_head), np.float32)
    turned, told = np.zeros((ROWS, width), np.float32), np.zeros((ROWS, room_of_head), np.float32)
    shares = np.zeros((ROWS, room), np.float32)
    start = 0
    for end in ends:
        for group in range(groups):
            columns = slice(group * width, (group + 1) * width)
            for place in range(end - start):
                _turned(keys[start + place, columns], cos[place], sin[place], _ONE, turned[0])
                for column in range(width):
                    key[column, place] = turned[0, column]
                    value[place, column] = wide(values[start + place, group * width + column])
            for head in range(group * (heads // groups), (group + 1) * (heads // groups)):
                columns = slice(head * width, (head + 1) * width)
                for first in range(0, end - start, ROWS):
                    last = min(first + ROWS, end - start)
                    seen = _whole(last)
                    for place in range(first, last):
                        _turned(queries[start + place, columns], cos[place], sin[place], np.float32(scale), turned[place - first])  # fmt: skip
                    multiply(turned, key, width, seen, shares)
                    for place in range(first, last):
                        _softmax(shares[place - first, :seen], place + 1)
                    multiply(shares, value, seen, room_of_head, told)
                    for place in range(first, last):
                        row, mixed = queries[start + place, columns], told[place - first]
                        for column in range(width):
                            row[column] = narrow(mixed[column], row[column])
        start = end


@njit(cache=True, nogil=True, fastmath=_EXACT, inline="always")
def _ordered(bits: np.int32) -> np.int32:
    """The bits of floats as integers that stand in the same order; and back."""
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@njit(cache=True, nogil=True, fastmath=_EXACT)
def _largest(row: np.ndarray) -> np.float32:
    """The largest of a row: of integers, since of floats compilers take it one by one."""
    top = _ordered(np.float32(_LOWEST).view(np.int32))
    for column in range(len(row)):
        top = max(top, _ordered(np.float32(row[column]).view(np.int32)))
    return _ordered(top).view(np.float32)


@njit(cache=True, nogil=True, fastmath=_EXACT)
def _softmax(row: np.ndarray, seen: int) -> None:
    """Softmax of the first `seen` of a row, in place; the others become 0."""
    top = _largest(row[:seen])
    for column in range(seen):
        row[column] = exp(row[column] - top)
    row[seen:] = _ZERO
    share = _ONE / total(row, False)
    for column in range(seen):
        row[column] *= share
