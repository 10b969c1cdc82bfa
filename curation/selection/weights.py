"""How much each sample counts in the choice.

Belongs here: the equations that turn quality, cluster size, density and reviews into weights.
Does not belong here: choosing with them (`sampling`, `strategies`) or the scores themselves.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from curation import progress
from curation.selection.geometry import has_direction
from curation.settings import SelectionSettings
from curation.vectors import DECIMALS, normalise

#: Lowest value of each factor, so that every sample keeps some chance and no weight is zero.
FLOOR = 0.001
#: Rows that densities are measured against, at most; beyond, against a sample of so many.
_BASE_ROWS = 50_000
#: Reviews that the overall share of accepted samples counts as, in each cluster.
_PRIOR = 5.0
_BLOCK = 2_048


def scarcity(share: float, settings: SelectionSettings) -> float:
    """s = max(0, 1 - share * neighbours), or what the settings say: how few neighbourhoods can have a choice of their own.

    It is 1 where next to nothing is chosen, so that one sample must stand for many, and 0 from the share
    on at which every neighbourhood has a choice. To go on asking for the best and most central samples
    would then only move the choice away from the pool.
    """
    if settings.scarcity is not None:
        return settings.scarcity
    return max(0.0, 1.0 - share * settings.neighbours)


def quality_weight(settings: SelectionSettings, scarce: float) -> pl.Expr:
    """(1 - p) ** (h (1 - s)) * (P / (P + p)) ** (2 s) * q ** (a s): p is the chance that the sample is defective (`noise`).

    h is `harm`, the number of sound samples whose lesson one defective sample undoes. Where room is plenty (s = 0)
    that is all: most samples are hardly doubtful, and what is a little more so than others is as often hard as it is
    wrong. Where room is scarce (s = 1), a surer one can be had for each: a sample as doubtful as the mean P of
    the pool counts a quarter. q is the quality in [0, 1], a is `quality_power`, s the `scarcity`. A null p counts as
    0, a null q as 0; no factor goes below `FLOOR`.
    """
    quality = pl.col("quality").fill_null(0.0).fill_nan(0.0).clip(FLOOR, 1.0)
    noise = pl.col("noise").fill_null(0.0).fill_nan(0.0).clip(0.0, 1.0)
    mean = pl.max_horizontal(noise.mean(), pl.lit(FLOOR))
    surer = (mean / (mean + noise)).clip(FLOOR, 1.0)
    harmless = (1.0 - noise).pow(settings.harm * (1 - scarce)).clip(FLOOR, 1.0)
    return harmless * surer.pow(2 * scarce) * quality.pow(settings.quality_power * scarce)


def diversity_weight(settings: SelectionSettings, scarce: float) -> pl.Expr:
    """(b ** ((1 + s) / 2) * e ** s) ** a: rare clusters count more, and samples that others have near.

    - b = sqrt(m / n_c): inverse of the cluster's size n_c, relative to the mean size m. Large subjects
      stay larger, but do not crowd out the small ones, the less so the scarcer the room.
    - e = sqrt(1 + v): v is the number of samples in whose neighbourhood this one lies (`clusters.covers`).
      As everyone has equally many neighbours, v is as large in thin places as in crowded ones. A sample
      that lies far from everything is as often broken as it is rare, and covers little but itself.
    - s is the `scarcity`, a is `diversity_power`.
    """
    balance = (pl.len() / pl.col("cluster").n_unique() / pl.len().over("cluster")).sqrt()
    cover = (1 + pl.col("covers").fill_null(0)).sqrt()
    return (balance.pow((1 + scarce) / 2) * cover.pow(scarce)).pow(settings.diversity_power)


def with_weights(scored: pl.DataFrame, settings: SelectionSettings, share: float) -> pl.DataFrame:
    """Add `scarcity`, `quality_weight`, `diversity_weight` and the product of the two, `weight`, above 0.

    `scored` has `quality`, `cluster`, `covers` and, where it is known, `noise`; `share` is that of the
    pool that is chosen. The sizes are those of the frame, so it must hold the whole pool.
    """
    scarce = scarcity(share, settings)
    noise = [] if "noise" in scored.columns else [pl.lit(None, dtype=pl.Float64).alias("noise")]
    return (
        scored.with_columns(noise)
        .with_columns(
            pl.lit(scarce, dtype=pl.Float64).alias("scarcity"),
            quality_weight(settings, scarce).cast(pl.Float64).alias("quality_weight"),
            diversity_weight(settings, scarce).cast(pl.Float64).alias("diversity_weight"),
        )
        .with_columns(weight=pl.col("quality_weight") * pl.col("diversity_weight"))
    )


# -- method 2: clusters -------------------------------------------------------------------------


def cluster_sums(unit: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Sum of the rows of each cluster, float64 [clusters, d] (exact)."""
    from curation import vector_kernels

    sums = np.zeros((int(cluster.max()) + 1 if len(cluster) else 0, unit.shape[1]))
    vector_kernels.add_to_groups(unit, cluster.astype(np.int64), sums)
    return sums


def centre_similarity(unit: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Cosine similarity of each row to the mean of its cluster, float64 [n], rounded."""
    centres = normalise(cluster_sums(unit, cluster))
    return np.einsum("ij,ij->i", unit, centres[cluster], dtype=np.float64).round(DECIMALS)


def cluster_similarities(unit: np.ndarray, cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean cosine similarity between rows of the same cluster, and of different clusters.

    Returns
    -------
    within float64 [clusters], over the pairs x != y (1 for a cluster of one row, or of none); between
    float64 [clusters, clusters], over the pairs x of c, y of d (the diagonal is without meaning).
    """
    sums = cluster_sums(unit, cluster)
    size = np.bincount(cluster, minlength=len(sums)).astype(np.float64)
    own = np.bincount(
        cluster, np.einsum("ij,ij->i", unit, unit, dtype=np.float64), minlength=len(sums)
    )  # similarities of rows with themselves
    pairs = size * (size - 1)
    within = np.divide(
        np.einsum("ij,ij->i", sums, sums) - own, pairs, out=np.ones(len(sums)), where=pairs > 0
    )
    between = sums @ sums.T / np.maximum(np.outer(size, size), 1)
    return within.round(DECIMALS), between.round(DECIMALS)


def closeness_correction(within: np.ndarray, between: np.ndarray) -> np.ndarray:
    """min(1, s_cc / max_d s_cd) for each cluster c, at least `FLOOR`; float64 [clusters].

    s_cc is the mean similarity within c, s_cd that between c and d. Where the rows of a cluster are on
    average nearer to another cluster than to each other, the two are one subject that was cut in two,
    and c counts less by as much.
    """
    others = between.copy()
    np.fill_diagonal(others, -np.inf)
    nearest = others.max(axis=1, initial=-np.inf)
    ratio = np.divide(within, nearest, out=np.ones(len(within)), where=nearest > np.maximum(within, 0))
    return np.clip(ratio, FLOOR, 1.0)


def cluster_weights(unit: np.ndarray, cluster: np.ndarray, quality: np.ndarray) -> pl.DataFrame:
    """W_c = D_c * Q_c * K_c: what each cluster's share of the budget is proportional to.

    - D_c = 1 - s_cc, the mean distance between the rows of c: how much there is to see in it (at least
      `FLOOR`; of a single row nothing is known, it counts as the mean of the others).
    - Q_c, the mean of `quality` (float64 [n], the quality weight of each row) over c.
    - K_c, the correction for clusters that lie close to each other (`closeness_correction`).

    Returns
    -------
    One row a cluster: cluster, rows, spread (D_c), quality (Q_c), closeness (K_c), weight (W_c).
    Clusters without rows have weight 0.
    """
    within, between = cluster_similarities(unit, cluster)
    size = np.bincount(cluster, minlength=len(within))
    spread = np.where(size > 1, 1 - within, np.nan)
    spread = np.where(np.isnan(spread), np.nanmean(spread) if (size > 1).any() else 1.0, spread)
    spread = np.clip(spread, FLOOR, None)
    mean_quality = np.bincount(cluster, quality, minlength=len(within)) / np.maximum(size, 1)
    closeness = closeness_correction(within, between)
    return pl.DataFrame(
        {
            "cluster": np.arange(len(within)),
            "rows": size,
            "spread": spread,
            "quality": mean_quality,
            "closeness": closeness,
            "weight": np.where(size > 0, spread * mean_quality * closeness, 0.0),
        }
    )


# -- method 3: neighbours -----------------------------------------------------------------------


def neighbour_density(unit: np.ndarray, threshold: float, seed: int) -> np.ndarray:
    """r_i = sum of cos(x_i, x_j) over all rows j with cos >= threshold, the row itself as 1; float64 [n].

    Up to a constant factor this is the mean similarity of the pool to row i where whatever lies below
    the threshold counts as 0. In pools of more than 50,000 rows the others are a seeded sample of that
    many, scaled up: an unbiased estimate. Rows of zeros have no neighbours.
    """
    n = len(unit)
    base = np.arange(n)
    if n > _BASE_ROWS:
        base = np.sort(np.random.default_rng([seed, 3]).permutation(n)[:_BASE_ROWS])
    others = unit[base]
    scale = (n - 1) / max(len(base) - 1, 1)
    density = np.ones(n)
    limit = np.float32(threshold)
    for start in progress.track(range(0, n, _BLOCK), "density"):
        rows = slice(start, min(start + _BLOCK, n))
        near = unit[rows] @ others.T
        near[near < limit] = 0.0
        own = np.searchsorted(base, np.arange(rows.start, rows.stop))
        is_base = (own < len(base)) & (
            base[np.minimum(own, len(base) - 1)] == np.arange(rows.start, rows.stop)
        )
        near[np.flatnonzero(is_base), own[is_base]] = 0.0
        density[rows] += scale * near.sum(axis=1, dtype=np.float64)
    return np.where(has_direction(unit), density, 1.0).round(DECIMALS)


def neighbour_weight(unit: np.ndarray, quality: np.ndarray, threshold: float, seed: int) -> np.ndarray:
    """q_i / r_i: quality weight (float64 [n]) times the inverse of the density; float64 [n].

    k rows that are equal share the weight of one, so that a crowded place counts no more than a thin
    one, however many rows it holds.
    """
    return quality / neighbour_density(unit, threshold, seed)


# -- reviews ------------------------------------------------------------------------------------


def review_factor(cluster: np.ndarray, accepted: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    """How reviews move the weight of each row, by its cluster; float64 [n].

    f_c = ((a_c + 5 p) / (a_c + r_c + 5)) / p with a_c accepted and r_c rejected rows of the cluster and
    p = (a + 1) / (a + r + 2) their overall share: the cluster's share of accepted samples, shrunk towards
    the overall one as by five reviews, relative to it. 1 where nothing of the cluster was reviewed.

    Parameters
    ----------
    cluster, accepted, rejected
        int [n]; bool [n]: which rows a person accepted, and which rejected.
    """
    count = int(cluster.max()) + 1 if len(cluster) else 0
    yes, no = (np.bincount(cluster, which, minlength=count) for which in (accepted, rejected))
    overall = (yes.sum() + 1) / (yes.sum() + no.sum() + 2)
    factor: np.ndarray = ((yes + _PRIOR * overall) / (yes + no + _PRIOR) / overall)[cluster]
    return factor
