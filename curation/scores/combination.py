"""One quality from soundness, information and reward, for choosing among sound samples.

Belongs here: the ranks, their weighted mean, and the weights. Does not belong here: the measures
(`scores.quality`, `scores.reward`).

With the ranks s of the soundness, i of the information (the number of distinct letters of the answer) and r
of the reward, the quality is the rank of

    1 / (a / s + b / i + c / r)

the weighted harmonic mean: it never falls when one of them rises, and one cannot make up for another. The
weights are those of the profile or, with enough reviews, fitted to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from curation.settings import ScoreSettings

#: What the quality is made of.
PARTS = ("soundness", "information", "reward")
_QUANTILES = np.linspace(0, 1, 1001)
#: A rank below this counts as much; and it says no more of what people reject, where weights are fitted.
_LOWEST, _LOWEST_FITTED = 1e-4, 0.02


@dataclass(frozen=True)
class Combination:
    """What a shard needs to rank its samples within the pool.

    Attributes
    ----------
    importance
        What each of `PARTS` counts, float64 [3], 1 in all; 0 for a reward that there is not.
    quantiles
        Of each of `PARTS` in the pool, and of their mean, float64 [4, 1001].
    fitted
        Whether the importance was fitted to reviews.
    """

    importance: np.ndarray
    quantiles: np.ndarray
    fitted: bool = False

    def ranks(self, measures: np.ndarray) -> np.ndarray:
        """Ranks in the pool, 0–1, of `PARTS` [n, 3]; in the middle where one is not known (NaN)."""
        columns = [np.interp(values, among, _QUANTILES) for values, among in zip(measures.T, self.quantiles, strict=False)]  # fmt: skip
        return np.nan_to_num(np.stack(columns, axis=1), nan=0.5)

    def soundness(self, values: np.ndarray) -> np.ndarray:
        """Rank in the pool, 0–1, of the soundness alone, float64 [n]."""
        return np.interp(values, self.quantiles[0], _QUANTILES)

    def quality(self, ranks: np.ndarray) -> np.ndarray:
        """The combined quality, a rank in 0–1, of ranks [n, 3]."""
        return np.interp(_mean(ranks, self.importance), self.quantiles[-1], _QUANTILES)


def information(told: pl.Series) -> np.ndarray:
    """Number of distinct letters and digits of each answer, float64 [n]: what is said again adds nothing."""
    letters = told.fill_null("").str.replace_all(r"[^\p{L}\p{N}]", "").str.to_lowercase()
    return letters.str.split("").list.n_unique().cast(pl.Float64).to_numpy() * (letters != "").to_numpy()


def combine(measures: np.ndarray, reviewed: np.ndarray, settings: ScoreSettings) -> Combination:
    """Learn the ranks of a pool and the weights.

    Parameters
    ----------
    measures
        `PARTS` of its samples, float64 [n, 3]; the reward is NaN in all where there is none.
    reviewed
        1 accepted, 0 rejected, else NaN, float64 [n].
    """
    rewarded = bool(np.isfinite(measures[:, 2]).any())
    reward, told = settings.reward_weight if rewarded else 0.0, settings.information_weight
    importance = np.array([(1 - reward) * (1 - told), (1 - reward) * told, reward])
    known = [column[np.isfinite(column)] for column in measures.T]
    quantiles = np.stack([_quantiles_of(column) for column in (*known, known[2][:0])])
    ranks = Combination(importance, quantiles).ranks(measures)
    decided, live = np.isfinite(reviewed), slice(3 if rewarded else 2)
    fitted = fit_importance(ranks[decided, live], reviewed[decided], settings.fit_weights_from)
    if fitted is not None:
        importance = np.zeros(3)
        importance[live] = fitted
    quantiles[-1] = _quantiles_of(_mean(ranks, importance))
    return Combination(importance, quantiles, fitted is not None)


def fit_importance(ranks: np.ndarray, accepted: np.ndarray, fewest: int) -> np.ndarray | None:
    """Weights of the harmonic mean that tell accepted from rejected samples best, float64 [parts].

    Logistic regression on the inverse ranks [n, parts] with no weight below 0, so that the quality stays
    monotone. None where there are fewer than `fewest` samples, or of one kind fewer than a tenth of that,
    or where none of the parts tells.
    """
    from scipy.optimize import minimize

    if len(accepted) < fewest or min(accepted.sum(), (1 - accepted).sum()) < fewest / 10:
        return None
    inverse = 1 / np.maximum(ranks, _LOWEST_FITTED)
    scale = np.maximum(inverse.std(axis=0), 1e-9)
    x = np.hstack([-inverse / scale, np.ones((len(ranks), 1))])
    sign = 2 * accepted - 1

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x @ w)
        slope = -sign / (1 + np.exp(np.clip(margin, -500, 500))) / len(x)
        shrink = np.append(w[:-1], 0.0) * 1e-3
        return float(np.logaddexp(0, -margin).mean() + 0.5 * shrink @ w), x.T @ slope + shrink

    bounds = [(0.0, None)] * ranks.shape[1] + [(None, None)]
    found = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x[:-1] / scale
    return np.asarray(found / found.sum()) if found.sum() > 0 else None


def _mean(ranks: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """Weighted harmonic mean of ranks [n, 3]."""
    mean: np.ndarray = 1 / (1 / np.maximum(ranks, _LOWEST) @ importance)
    return mean


def _quantiles_of(values: np.ndarray) -> np.ndarray:
    return np.quantile(values, _QUANTILES) if len(values) else _QUANTILES
