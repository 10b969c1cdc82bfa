"""From which score on a sample is dropped, when nobody has labelled any.

Belongs here: estimating a limit from the scores of a pool and of made-up defects.
Does not belong here: the scores, or the verdict (`scores.quality`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Standard errors that are allowed for where a share is estimated from few rows.
_ERRORS = 1.0
#: Limits that fewer of the made-up defects reach say nothing about the pool: its defects may be others.
_CLEAR = 0.1
#: Of what a limit drops, at least this share must be defects, by estimate.
_PRECISION = 1 / 3
#: A limit is raised as long as this share of the defects that the lowest would find is still found.
_STILL_FOUND = 0.99


@dataclass(frozen=True)
class Limit:
    """From which value of a score on a sample is dropped, and what was estimated there.

    `value` is None where no limit does more good than harm. `defects` is the estimated share of the pool
    with the defect, `false_positives` the share of sound samples at or above the limit, `found` the share
    of made-up defects there.
    """

    value: float | None
    defects: float
    false_positives: float
    found: float


def estimate_limit(pool: np.ndarray, defects: np.ndarray, rate: float) -> Limit:
    """A limit of a score that drops at most `rate` of the sound samples.

    Parameters
    ----------
    pool
        Scores (the higher, the worse), float [n], of samples of which an unknown share has the defect.
    defects
        Scores, float [m], of samples that are known to have it.
    rate
        False positive rate.

    Notes
    -----
    With a(t) and d(t) the shares of the pool and of the defects that score at least t, the share of the
    pool that has the defect is at most a(t) / d(t) for every t; the smallest is taken, with a standard
    error of each (mixture proportion estimation: Blanchard, Lee & Scott 2010, "Semi-supervised novelty
    detection"). What is left of a(t) is sound. Of the limits that keep to the rate, the highest that
    finds nearly as many defects as the lowest is taken. Of what it drops a third must be defects by this
    estimate, so that in a clean pool nothing is dropped to fill a quota.
    """
    pool, defects = pool[np.isfinite(pool)], defects[np.isfinite(defects)]
    if not len(pool) or not len(defects):
        return Limit(None, 0.0, 0.0, 0.0)
    limits = np.unique(np.concatenate([pool, defects]))
    above = 1 - np.searchsorted(np.sort(pool), limits) / len(pool)
    found = 1 - np.searchsorted(np.sort(defects), limits) / len(defects)
    most = above + _ERRORS * np.sqrt(above * (1 - above) / len(pool)) + 1 / len(pool)
    least = found - _ERRORS * np.sqrt(found * (1 - found) / len(defects))
    clear = least >= _CLEAR
    share = float(np.min(most[clear] / least[clear])) if clear.any() else 1.0
    share = min(max(share, 0.0), 1.0)
    sound = np.clip(above - share * found, 0, None) / max(1e-12, 1 - share)
    good = (sound <= rate) & (share * found >= _PRECISION * above) & (found > 0) & (above < 1)
    if not good.any():
        return Limit(None, share, 0.0, 0.0)
    chosen = int(np.flatnonzero(good & (found >= _STILL_FOUND * found[good].max()))[-1])
    return Limit(float(limits[chosen]), share, float(sound[chosen]), float(found[chosen]))
