"""Confident learning: how many answers of the pool do not belong to their prompts, and which.

Belongs here: the estimate from probabilities that a model gave to samples that it had not seen. Does not
belong here: the probabilities (`scores.mismatch`), or the verdict, which they reach by another way
(`scores.limits`).

Northcutt, Jiang & Chuang 2021, "Confident learning: estimating uncertainty in dataset labels" (JAIR 70),
for the two labels that are given here: every answer of the pool is said to belong to its prompt, every
shuffled one not to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Confident:
    """From which probabilities on a label is believed, and how many samples of the pool bear a wrong one.

    Attributes
    ----------
    belongs, alien
        Mean probability of its own label among the samples of the pool, and among the shuffled ones.
    rate
        Estimated share of the pool whose answer does not belong to its prompt.
    """

    belongs: float
    alien: float
    rate: float

    def doubted(self, match: np.ndarray) -> np.ndarray:
        """Samples that are confidently another one's, Boolean [n], by the probability of belonging [n]."""
        return ((1 - match) >= self.alien) & ~((match >= self.belongs) & (match >= 0.5))


def confident_learning(pool: np.ndarray, shuffled: np.ndarray) -> Confident:
    """Estimate the wrong labels from the cross-fitted probabilities of belonging, of pool and shuffled pairs.

    The off-diagonal count of the confident joint, calibrated to the size of the pool: rows that are
    confident of neither label are taken to be like those that are.
    """
    if not len(pool) or not len(shuffled):
        return Confident(1.0, 1.0, 0.0)
    thresholds = Confident(float(pool.mean()), float((1 - shuffled).mean()), 0.0)
    alien = thresholds.doubted(pool)
    counted = alien.sum() + ((pool >= thresholds.belongs) & ~alien).sum()
    return Confident(thresholds.belongs, thresholds.alien, float(alien.sum() / max(1, counted)))
