"""How often each sample is in the SFT files, so that these have a wanted distribution.

Belongs here: the wanted shares of a profile as numbers, the repeats, and how far the distribution was and is
from the wanted one. Does not belong here: the design of the resampling (`audit.measures.resample`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from curation.audit.measures import js_divergence, kl_divergence, resample, resampling_rates
from curation.errors import UserError
from curation.settings import Resampling

#: Group of the samples that have no value.
_NONE = "–"


def group_of(samples: pl.DataFrame, settings: Resampling) -> pl.Series:
    """What each sample is grouped by, as text."""
    return samples[settings.by].cast(pl.String).fill_null(_NONE).alias("group")


def wanted_shares(group: pl.Series, shares: Mapping[str, float]) -> dict[str, float]:
    """Share of each group, those that are named and those that the samples have; they add up to 1.

    Groups that are not named share what is left in the proportions that they have. Where there are none, or
    nothing is left, the named ones are scaled to 1.
    """
    counts = dict(group.value_counts().sort("group").iter_rows())
    left = max(0.0, 1 - sum(shares.values()))
    others = sum(count for name, count in counts.items() if name not in shares)
    rest = {name: left * count / others for name, count in counts.items() if name not in shares}
    wanted = {name: shares[name] if name in shares else rest[name] for name in sorted({*shares, *counts})}
    total = sum(wanted.values())
    return {name: share / total for name, share in wanted.items()}


def repeats(group: pl.Series, settings: Resampling, seed: int) -> pl.DataFrame:
    """For each sample `times` that it is in the files, and its `rate`, the mean of that over seeds.

    As many lines as there were samples. A sample of group g has the rate n q_g / n_g, rounded up or down by
    chance: see `measures.resample`. A group that the samples lack stays empty.

    Raises
    ------
    UserError
        None of the samples belongs to a group with a share.
    """
    wanted = wanted_shares(group, settings.shares) if len(group) else {}
    if len(group) and not any(wanted[name] for name in group.unique()):
        there = ", ".join(group.unique().sort())
        raise UserError(
            f"no chosen sample has one of the values {', '.join(sorted(settings.shares))}; there are {there}",
            where="exports.resample.shares",
        )
    names, reference = list(wanted), np.array(list(wanted.values()))
    numbers = np.searchsorted(names, group.to_numpy()).astype(np.int64) if names else np.zeros(0, np.int64)
    taken = resample(numbers, reference, seed) if names else np.zeros(0, np.int64)
    rates = resampling_rates(numbers, reference) if names else np.zeros(0)
    times = pl.Series("times", np.bincount(taken, minlength=len(group)), dtype=pl.UInt32)
    return pl.DataFrame([times, pl.Series("rate", rates, dtype=pl.Float64).round(9)])


def resampling_figures(samples: pl.DataFrame, settings: Resampling) -> dict[str, float]:
    """Samples of each group before and lines after, the lines wanted, and the divergences of both from these;
    and how often the sample that is repeated most is in a file.

    Parameters
    ----------
    samples
        All samples that could be written: `times`, and the column that the settings group by.
    """
    group = group_of(samples, settings)
    wanted = wanted_shares(group, settings.shares) if len(group) else {}
    counted = (
        samples.select("times").with_columns(group).group_by("group").agg(pl.len(), pl.col("times").sum())
    )
    counts = {
        name: (rows, times) for name, rows, times in counted.select("group", "len", "times").iter_rows()
    }
    columns = {
        "before": [counts.get(name, (0, 0))[0] for name in wanted],
        "wanted": [share * len(group) for share in wanted.values()],
        "after": [counts.get(name, (0, 0))[1] for name in wanted],
    }
    figures = {
        f"{when}.{settings.by}.{name}": float(value)
        for when, values in columns.items()
        for name, value in zip(wanted, values, strict=True)
    }
    reference = np.array(columns["wanted"], dtype=np.float64)
    for when in ("before", "after"):
        own = np.array(columns[when], dtype=np.float64)
        figures[f"kl_{when}"] = kl_divergence(own, reference)
        figures[f"js_{when}"] = js_divergence(own, reference)
    return figures | {"most_times": float(samples["times"].max() or 0)}  # type: ignore[arg-type]
