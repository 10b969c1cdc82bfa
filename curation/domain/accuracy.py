"""How far the domain classifier's probabilities can be trusted.

Belongs here: recalibration by reviewed documents, and precision and recall with their intervals.
Does not belong here: the classifier (`classifier`).

What a person was asked about is no random sample: mostly the doubtful were asked. The share of hits
among the reviewed would therefore say nothing of the corpus. What carries over is how often the
classifier is right at a given logit. That curve is a Gaussian process over the logit with a logistic
likelihood of the decisions (Laplace's approximation): where many were reviewed it is known, where few
were it is wide open. Draws of it, and of the documents by it, give precision and recall of the corpus.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from curation.domain.correction import posterior_mode

#: Logits at which the curve is drawn.
_KNOTS = np.linspace(-14.0, 14.0, 57)
#: Prior of the curve: slope of its mean (what is learned from unlabelled documents tends to be too sure),
#: and standard deviation and length, in logits, of what it may differ by.
_SLOPE, _SPREAD, _LENGTH = 0.75, 1.5, 3.0
_DRAWS, _LEVEL = 2_000, 0.95


@dataclass(frozen=True)
class Calibration:
    """The logit of being right at each knot: its mean and covariance, float64 [k] and [k, k]."""

    mean: np.ndarray
    covariance: np.ndarray

    @cached_property
    def draws(self) -> np.ndarray:
        """Seeded draws of the curve as probabilities, float64 [draws, k]."""
        from scipy.special import expit

        values, turn = np.linalg.eigh(self.covariance)
        root = turn * np.sqrt(np.maximum(values, 0.0))
        noise = np.random.default_rng(0).standard_normal((_DRAWS, len(values)))
        return np.asarray(expit(self.mean + noise @ root.T))

    def recalibrate(self, probability: np.ndarray) -> np.ndarray:
        """The mean of the curve at each probability, made monotone; float64 of the same shape."""
        curve = np.maximum.accumulate(self.draws.mean(axis=0))
        return np.interp(_logit(probability), _KNOTS, curve)


def calibrate(probability: np.ndarray, labels: np.ndarray) -> Calibration:
    """Learn how often a classifier is right.

    Parameters
    ----------
    probability
        Of the reviewed documents, by a model that did not learn from them, float64 [m].
    labels
        1 accepted, 0 rejected, [m]. Without any, the prior stands.
    """
    prior = _SPREAD**2 * np.exp(-0.5 * ((_KNOTS[:, None] - _KNOTS) / _LENGTH) ** 2)
    mean = _SLOPE * _KNOTS
    if not len(labels):
        return Calibration(mean, prior)
    knot = _nearest(_logit(probability))
    at = prior[np.ix_(knot, knot)]
    weights, curvature, _ = posterior_mode(at, mean[knot], labels)
    beside = prior[:, knot]
    root = np.sqrt(curvature)
    inner = np.eye(len(knot)) + root[:, None] * at * root
    shrunk = np.linalg.solve(inner, root[:, None] * beside.T)
    return Calibration(mean + beside @ weights, prior - (beside * root) @ shrunk)


def measure_accuracy(
    calibration: Calibration,
    probability: np.ndarray,
    labels: np.ndarray,
    mass: np.ndarray,
    collected: np.ndarray,
) -> dict[str, float]:
    """Precision and recall of what is collected, each with its 95 % interval (`_low`, `_high`).

    Parameters
    ----------
    calibration
        From `calibrate`.
    probability
        Of every document before recalibration, float64 [n].
    labels
        1 accepted, 0 rejected, NaN where nobody has judged, float64 [n].
    mass
        How many documents of the corpus each stands for, float64 [n].
    collected
        Whether it is in, bool [n].
    """
    judged = ~np.isnan(labels)
    knot = _nearest(_logit(probability))
    known = np.where(judged, labels, 0.0) * mass
    generator = np.random.default_rng(1)
    hits, missed = (
        generator.binomial(_counts(knot[rows & ~judged], mass[rows & ~judged]), calibration.draws).sum(axis=1)
        + known[rows].sum()
        for rows in (collected, ~collected)
    )
    shares = {
        "precision": hits / max(float(mass[collected].sum()), 1e-9),
        "recall": hits / np.maximum(hits + missed, 1e-9),
    }
    tail = (1 - _LEVEL) / 2
    figures = {"reviewed": float(judged.sum())}
    for name, share in shares.items():
        low, middle, high = np.quantile(share, [tail, 0.5, 1 - tail])
        figures |= {name: float(middle), f"{name}_low": float(low), f"{name}_high": float(high)}
    return figures


def _counts(knot: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """How many documents of the corpus lie at each knot, int64 [k]."""
    return np.round(np.bincount(knot, mass, len(_KNOTS))).astype(np.int64)


def _logit(probability: np.ndarray) -> np.ndarray:
    clipped = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def _nearest(logits: np.ndarray) -> np.ndarray:
    """The knot next to each logit."""
    step = _KNOTS[1] - _KNOTS[0]
    return np.clip(np.round((logits - _KNOTS[0]) / step), 0, len(_KNOTS) - 1).astype(np.int64)
