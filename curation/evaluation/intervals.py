"""How sure a figure is: bootstrap over groups of rows that belong together.

Belongs here: resampling. Does not belong here: the figures.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

_ROUNDS = 1_000


def interval(
    groups: pl.Series, statistic: Callable[[np.ndarray], float], seed: int, rounds: int = _ROUNDS
) -> tuple[float, float]:
    """The 95 % percentile interval of a statistic of row numbers, int64 [m], when whole groups are redrawn.

    Answers to one question are not independent of each other: whoever resamples rows believes too much
    (cluster bootstrap: Field & Welsh 2007).
    """
    generator = np.random.default_rng(seed)
    codes = groups.rank("dense").to_numpy().astype(np.int64) - 1
    order, sizes = np.argsort(codes, kind="stable"), np.bincount(codes)
    members = np.split(order, np.cumsum(sizes)[:-1])
    found = [
        statistic(np.concatenate([members[one] for one in generator.integers(0, len(members), len(members))]))
        for _ in range(rounds)
    ]
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)
