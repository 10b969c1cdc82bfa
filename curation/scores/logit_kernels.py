"""Compiled loops over logits. Importing it imports numba, so import it where it is used.

Belongs here: what a row of logits says of its target and of its own uncertainty, in two passes over
the row while it is in the processor's cache. Does not belong here: where the logits come from
(`likelihood`).

The exponential is the polynomial of Cephes' `expf` (Moshier 1989), good to 2e-7; written out, it
compiles to vector instructions, which a call of the library's does not.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

#: Columns whose two largest values are kept side by side, so that the loop becomes vector instructions.
_LANES = 64
_LOWEST = np.float32(-1e30)
#: Exponents below this underflow.
_FLOOR = np.float32(-87)
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_LOG2E, _LN2_HIGH, _LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
_C0, _C1, _C2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_C3, _C4, _C5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)


@njit(cache=True, nogil=True, fastmath=True, inline="always")
def _exp(x: np.float32) -> np.float32:
    """exp(x) for x in [-87, 0]."""
    power = np.floor(x * _LOG2E + _HALF)
    rest = x - power * _LN2_HIGH - power * _LN2_LOW
    series = ((((_C0 * rest + _C1) * rest + _C2) * rest + _C3) * rest + _C4) * rest + _C5
    scale = np.int32((np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (series * rest * rest + rest + _ONE) * scale


@njit(cache=True, nogil=True, fastmath=True)
def _two_largest(row: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.float32, np.float32]:
    """The largest and the second largest of a row; `first` and `second` are scratch of `_LANES`."""
    first[:] = _LOWEST
    second[:] = _LOWEST
    whole = len(row) - len(row) % _LANES
    for start in range(0, whole, _LANES):
        part = row[start : start + _LANES]
        for lane in range(_LANES):
            value, top, below = part[lane], first[lane], second[lane]
            lesser = value if value < top else top
            second[lane] = lesser if lesser > below else below
            first[lane] = value if value > top else top
    largest, runner_up = _LOWEST, _LOWEST
    for value in first:
        runner_up = max(runner_up, min(largest, value))
        largest = max(largest, value)
    for value in second:
        runner_up = max(runner_up, value)
    for value in row[whole:]:
        runner_up = max(runner_up, min(largest, value))
        largest = max(largest, value)
    return largest, runner_up


@njit(cache=True, nogil=True, fastmath=True)
def token_statistics(logits: np.ndarray, targets: np.ndarray, found: np.ndarray) -> None:
    """Fill `found` float64 [n, 4] from `logits` float32 [n, v] and `targets` int64 [n].

    Its columns: NLL of the target, entropy, least confidence 1 - p₁, and margin p₁ - p₂ of the two
    likeliest tokens (0 where they tie); in nats.
    """
    first, second = np.empty(_LANES, np.float32), np.empty(_LANES, np.float32)
    for place in range(len(logits)):
        row = logits[place]
        top, runner_up = _two_largest(row, first, second)
        total, weighted = _ZERO, _ZERO
        for column in range(len(row)):
            below = row[column] - top
            below = below if below > _FLOOR else _FLOOR
            weight = _exp(below)
            total += weight
            weighted += weight * below
        log_total = math.log(total)
        found[place, 0] = log_total - (row[targets[place]] - top)
        found[place, 1] = max(0.0, log_total - weighted / total)
        found[place, 2] = 1 - 1 / total
        found[place, 3] = (1 - math.exp(runner_up - top)) / total
