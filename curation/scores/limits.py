"""How likely each sample is a defect, and from where on it is dropped, when nobody has labelled any.

Belongs here: what a score says of a defect, estimated from the scores of a pool and of made-up defects, and
the one limit on the probabilities of all scores together.
Does not belong here: the scores, or the verdict (`scores.quality`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Standard errors that are allowed for where a share is estimated from few rows.
_ERRORS = 1.0
#: Values that fewer of the made-up defects reach say nothing about the pool: its defects may be others.
_CLEAR = 0.1
#: A score by which more of the pool could be defects does not tell sound samples from others.
_MOST = 0.5
#: Of what is dropped, at least this share must be defects, by estimate.
_PRECISION = 1 / 3
#: No estimate is surer than this.
_SURE = 0.999


@dataclass(frozen=True)
class Indicator:
    """What the values of a score say of one defect.

    Attributes
    ----------
    share
        Estimated share of the pool that has the defect.
    values, probabilities
        Rising: at each value the probability of the defect; linear between them.
    """

    share: float
    values: tuple[float, ...]
    probabilities: tuple[float, ...]

    def probability(self, scores: np.ndarray) -> np.ndarray:
        """Probability of the defect, float64 [n]; 0 where the score is not known."""
        if not self.values:
            return np.zeros(len(scores))
        found = np.interp(np.nan_to_num(scores, nan=-np.inf), self.values, self.probabilities)
        return np.where(np.isnan(scores), 0.0, found)


@dataclass(frozen=True)
class Limit:
    """From which probability on a sample is dropped, and what was estimated there.

    `value` is None where no limit does more good than harm. `defects` is the estimated share of the pool
    with any defect, `false_positives` the share of sound samples at or above the limit, `found` the share
    of the defects there.
    """

    value: float | None
    defects: float
    false_positives: float
    found: float


def fit_indicator(pool: np.ndarray, defects: np.ndarray, most: float = _MOST) -> Indicator:
    """How a score (the higher, the worse) tells of a defect.

    Parameters
    ----------
    pool
        Scores, float [n], of samples of which an unknown share has the defect; NaN is not known.
    defects
        Scores, float [m], of samples that are known to have it.
    most
        Share of the pool from which on the score is taken to tell nothing.

    Notes
    -----
    With a(t) and d(t) the shares of the pool and of the defects that score at least t, the share of the
    pool that has the defect is at most a(t) / d(t) for every t; the smallest, with a standard error of
    each, is taken for the share p (mixture proportion estimation: Blanchard, Lee & Scott 2010,
    "Semi-supervised novelty detection"). The probability of the defect at t is then p times the ratio of
    the two densities, one less the local false discovery rate (Efron 2007, "Size, power and false
    discovery rates"). The ratio is estimated by isotonic regression: it never falls.
    """
    from sklearn.isotonic import IsotonicRegression

    pool, defects = pool[np.isfinite(pool)], defects[np.isfinite(defects)]
    share = _share(pool, defects) if len(pool) and len(defects) else 0.0
    if not 0 < share < most:
        return Indicator(share, (), ())
    label = np.repeat([0.0, 1.0], [len(pool), len(defects)])
    weight = np.repeat([1 / len(pool), share / len(defects)], [len(pool), len(defects)])
    # of the pool and the share of defects put beside it, how much is the latter: u = r / (1 + r)
    fitted = IsotonicRegression().fit(np.concatenate([pool, defects]), label, weight)
    part = np.minimum(fitted.y_thresholds_, 0.5)
    ratio = np.minimum(part / (1 - part), _SURE)
    return Indicator(share, tuple(fitted.X_thresholds_.tolist()), tuple(ratio.tolist()))


def _share(pool: np.ndarray, defects: np.ndarray) -> float:
    """Largest share of the pool that can have the defect."""
    values = np.unique(np.concatenate([pool, defects]))
    above = 1 - np.searchsorted(np.sort(pool), values) / len(pool)
    found = 1 - np.searchsorted(np.sort(defects), values) / len(defects)
    most = above + _ERRORS * np.sqrt(above * (1 - above) / len(pool)) + 1 / len(pool)
    least = found - _ERRORS * np.sqrt(found * (1 - found) / len(defects))
    clear = least >= _CLEAR
    return min(1.0, float(np.min(most[clear] / least[clear]))) if clear.any() else 1.0


def noise_limit(noise: np.ndarray, rate: float) -> Limit:
    """The lowest limit on the probability of being a defect that drops at most `rate` of the sound samples.

    To drop by the probability is to find the most defects for any number of sound samples that are lost
    (Neyman & Pearson): each score gets the part of the rate that is worth most to it. Of what is dropped
    a third must be defects by this estimate, so that in a clean pool nothing is dropped to fill a quota.
    """
    values, rows = np.unique(-noise, return_counts=True)
    values = -values
    defects = np.cumsum(values * rows)
    sound = np.cumsum((1 - values) * rows)
    if not len(noise) or not defects[-1]:
        return Limit(None, 0.0, 0.0, 0.0)
    share = float(defects[-1] / len(noise))
    good = (sound <= rate * sound[-1]) & (defects >= _PRECISION * (defects + sound)) & (values > 0)
    if not good.any():
        return Limit(None, share, 0.0, 0.0)
    chosen = int(np.flatnonzero(good)[-1])
    return Limit(
        float(values[chosen]),
        share,
        float(sound[chosen] / max(1e-12, sound[-1])),
        float(defects[chosen] / defects[-1]),
    )
