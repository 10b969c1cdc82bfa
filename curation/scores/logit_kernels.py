"""Compiled loops over logits. Importing it imports numba, so import it where it is used.

Belongs here: what the logits at a position say of its target and of their own uncertainty, those of some
tokens at a time while they are in the processor's cache; and the numbers that the compiled loops of a
model share. Does not belong here: where the logits come from (`likelihood`).

Logits are [tokens, positions], so that the loops over positions become vector instructions, and the
exponential is written out, since a call of the library's would not become one. A bfloat16 is given by its
bits, as uint16.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from curation.scores.tiles import multiply

#: Tokens whose logits are looked at together: at all positions they fit into the processor's cache.
_BLOCK = 64
_LOWEST = np.float32(-1e30)
#: Powers of two below this underflow.
_FLOOR = np.float32(-126)
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_LOG2E = np.float32(math.log2(math.e))
#: Of the polynomial that is nearest to 2^x on [-1/2, 1/2], with 1 for x = 0: good to 1e-7.
_C1, _C2, _C3 = np.float32(0.69314698), np.float32(0.24022242), np.float32(5.5507337e-2)
_C4, _C5 = np.float32(9.6715126e-3), np.float32(1.3264727e-3)


def wide(value: Any) -> Any:
    """A float32, or the bits of a bfloat16, as float32. In compiled code only."""


@overload(wide, inline="always", strict=False)
def _wide(value: Any) -> Any:
    if isinstance(value, types.Integer):
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: value


@njit(cache=True, nogil=True, fastmath=True, inline="always")
def exp(x: np.float32) -> np.float32:
    """exp(x) for x <= 87."""
    power = max(x * _LOG2E, _FLOOR)
    whole = np.floor(power + _HALF)
    rest = power - whole
    series = ((((_C5 * rest + _C4) * rest + _C3) * rest + _C2) * rest + _C1) * rest + _ONE
    return np.int32(np.float32(series).view(np.int32) + (np.int32(whole) << np.int32(23))).view(np.float32)


def start_gathering(positions: int) -> np.ndarray:
    """What is gathered of positions of which no logit has been seen: float64 [5, positions].

    The largest and the second largest logit, the sums of w = exp(logit - largest) and of w · (logit -
    largest), the target's logit.
    """
    return np.repeat([_LOWEST, _LOWEST, 0.0, 0.0, 0.0], positions).reshape(5, -1).astype(np.float64)


@njit(cache=True, nogil=True, fastmath=True)
def _keep_two_largest(row: np.ndarray, top: np.ndarray, runner_up: np.ndarray) -> None:
    for place in range(len(top)):
        value, largest, second = wide(row[place]), top[place], runner_up[place]
        lesser = value if value < largest else largest
        runner_up[place] = lesser if lesser > second else second
        top[place] = value if value > largest else largest


@njit(cache=True, nogil=True, fastmath=True)
def _add_weights(row: np.ndarray, top: np.ndarray, total: np.ndarray, weighted: np.ndarray) -> None:
    for place in range(len(top)):
        below = wide(row[place]) - top[place]
        weight = exp(below)
        total[place] += weight
        weighted[place] += weight * below


@njit(cache=True, nogil=True, fastmath=True)
def _add_block(top: np.ndarray, total: np.ndarray, weighted: np.ndarray, state: np.ndarray) -> None:
    """Move the sums of a block below the new largest to those below the largest before."""
    tops, totals, weights = state[0], state[2], state[3]
    for place in range(len(top)):
        shift = max(np.float32(tops[place]) - top[place], _FLOOR)
        shrink = exp(shift)
        weights[place] = (weights[place] + totals[place] * shift) * shrink + weighted[place]
        totals[place] = totals[place] * shrink + total[place]
        tops[place] = top[place]
        total[place], weighted[place] = _ZERO, _ZERO


@njit(cache=True, nogil=True, fastmath=True)
def gather(logits: np.ndarray, start: int, targets: np.ndarray, state: np.ndarray) -> None:
    """Add the logits of the tokens from `start` on, `logits` [some, n], to `state` float64 [5, n]."""
    count = len(targets)
    top, runner_up = np.empty(count, np.float32), np.empty(count, np.float32)
    total, weighted = np.zeros(count, np.float32), np.zeros(count, np.float32)
    for place in range(count):
        top[place], runner_up[place] = state[0, place], state[1, place]
    for first in range(0, len(logits), _BLOCK):
        block = logits[first : first + _BLOCK]
        for token in range(len(block)):
            _keep_two_largest(block[token], top, runner_up)
        for token in range(len(block)):
            _add_weights(block[token], top, total, weighted)
        _add_block(top, total, weighted, state)
        for place in range(count):
            token = targets[place] - start
            if first <= token < first + len(block):
                state[4, place] = wide(logits[token, place])
    for place in range(count):
        state[1, place] = runner_up[place]


@njit(cache=True, nogil=True, fastmath=True)
def gather_products(weight: np.ndarray, hidden: np.ndarray, targets: np.ndarray, state: np.ndarray) -> None:
    """The same of logits weight [tokens, d] · hidden [d, at least n], float32, which are never stored whole.

    The columns of `hidden` are filled up to a multiple of `LANES`.
    """
    block = np.zeros((_BLOCK, weight.shape[1]), np.float32)
    logits = np.empty((_BLOCK, hidden.shape[1]), np.float32)
    for start in range(0, len(weight), _BLOCK):
        part = weight[start : start + _BLOCK]
        for token in range(len(part)):
            for column in range(part.shape[1]):
                block[token, column] = part[token, column]
        multiply(block, hidden, len(hidden), hidden.shape[1], logits)
        gather(logits[: len(part)], start, targets, state)


@njit(cache=True, nogil=True, fastmath=True)
def token_statistics(state: np.ndarray, found: np.ndarray) -> None:
    """Fill `found` float64 [n, 4] from what was gathered of all logits.

    Its columns: NLL of the target, entropy, least confidence 1 - p₁, and margin p₁ - p₂ of the two
    likeliest tokens (0 where they tie); in nats.
    """
    for place in range(len(found)):
        top, runner_up, total, weighted, target = state[:, place]
        log_total = math.log(total)
        found[place, 0] = log_total - (target - top)
        found[place, 1] = max(0.0, log_total - weighted / total)
        found[place, 2] = 1 - 1 / total
        found[place, 3] = (1 - math.exp(runner_up - top)) / total
