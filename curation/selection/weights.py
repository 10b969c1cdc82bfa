"""How much each sample counts in the choice.

Belongs here: the equations that turn quality, cluster size and density into weights.
Does not belong here: choosing with them (`sampling`, `strategies`) or the scores themselves.
"""

from __future__ import annotations

import polars as pl

from curation.settings import SelectionSettings

#: Lowest value of each factor, so that every sample keeps some chance and no weight is zero.
FLOOR = 0.001
#: Quantile of the mean similarity to neighbours from which a place counts as too dense.
DENSE = 0.9


def quality_weight(settings: SelectionSettings, quality: str = "quality") -> pl.Expr:
    """q ** a: the quality in [0, 1], at least `FLOOR` (null counts as 0), to the power `quality_power`.

    With a = 0 quality does not matter; with a = 2 a sample of quality 1 weighs four times one of 0.5.
    """
    return pl.col(quality).fill_null(0.0).fill_nan(0.0).clip(FLOOR, 1.0).pow(settings.quality_power)


def diversity_weight(
    settings: SelectionSettings, cluster: str = "cluster", to_neighbours: str = "to_neighbours"
) -> pl.Expr:
    """(b * s) ** a: rare clusters and sparse neighbourhoods count more; a is `diversity_power`.

    - b = sqrt(m / n_c): inverse of the cluster's size n_c, relative to the mean size m. With the square
      root a cluster's share of the choice grows as the root of its size: large subjects stay larger,
      but no longer crowd out the small ones.
    - s = min(1, (1 - r) / (1 - t)): inverse density. r is the mean similarity to the nearest neighbours
      and t its 0.9 quantile over the pool. A sample in a denser place than nine tenths of the pool
      counts in proportion to its mean distance from its neighbours. All others count alike: a sample
      that lies far from everything is as often broken as it is rare, and covers little but itself.
    """
    mean_size = pl.len() / pl.col(cluster).n_unique()
    balance = (mean_size / pl.len().over(cluster)).sqrt()
    similarity = pl.col(to_neighbours).fill_null(0.0).fill_nan(0.0).clip(-1.0, 1.0)
    room = (1 - similarity.quantile(DENSE, "linear")).clip(FLOOR, None)
    sparse = ((1 - similarity) / room).clip(FLOOR, 1.0)
    return (balance * sparse).pow(settings.diversity_power)


def with_weights(scored: pl.DataFrame, settings: SelectionSettings) -> pl.DataFrame:
    """Add `quality_weight`, `diversity_weight` and their product `weight`; all above 0.

    `scored` has `quality`, `cluster` and `to_neighbours`. The quantile and the sizes are those of the
    frame, so it must hold the whole pool.
    """
    return scored.with_columns(
        quality_weight(settings).cast(pl.Float64).alias("quality_weight"),
        diversity_weight(settings).cast(pl.Float64).alias("diversity_weight"),
    ).with_columns(weight=pl.col("quality_weight") * pl.col("diversity_weight"))
