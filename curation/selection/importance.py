"""Importance resampling: a choice whose n-grams are distributed like those of a target sample.

Belongs here: DSIR's weights and the draw by Gumbel top-k. Does not belong here: which rows are the target
(`strategies`).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from curation import ngrams

#: Hashed buckets (2 to this power), and tokens of a text that are read.
_BUCKETS_LOG2, _TOKENS = 13, 512
#: Count that is added to every bucket.
_SMOOTHING = 1.0


def log_importance(texts: pl.Series, target: np.ndarray) -> np.ndarray:
    """DSIR: sum over the n-grams g of a text of count(g) (ln p_target(g) - ln p_pool(g)); float64 [n].

    Xie et al., 2023, "Data selection for language models via importance resampling". Uni- and bigrams of
    characters (words in scripts that have them), hashed into 8,192 buckets, smoothed by one count each.

    Parameters
    ----------
    texts
        The pool.
    target
        bool [n]: which rows of it are the target sample.
    """
    counts = ngrams.hashed_counts(texts, _BUCKETS_LOG2, _TOKENS, longest=2, words=False).astype(np.float64)
    pool = np.asarray(counts.sum(axis=0)).ravel() + _SMOOTHING
    wanted = np.asarray(counts[np.flatnonzero(target)].sum(axis=0)).ravel() + _SMOOTHING
    ratio = np.log(wanted / wanted.sum()) - np.log(pool / pool.sum())
    return np.asarray(counts @ ratio).ravel().round(9)


def gumbel_order(log_weight: np.ndarray, seed: int) -> np.ndarray:
    """All rows in the order of successive draws without replacement, by weight; int64 [n].

    The rows of the k largest log w + Gumbel noise are k such draws (Vieira, 2014; Kool et al., 2019).
    """
    noise = np.random.default_rng([seed, 5]).gumbel(size=len(log_weight))
    return np.argsort(-(log_weight + noise), kind="stable")


def gumbel_probabilities(log_weight: np.ndarray, size: int) -> np.ndarray:
    """Chance of each row to be among the first `size` of `gumbel_order`; float64 [n], sums to `size`.

    Row i is drawn at an exponential time of rate w_i, and the choice is what came before the time of the
    last draw; with that time held at t, the chance is 1 - exp(-w_i t), and t is where they sum to `size`
    (Rosén, 1997; exact in the limit of large pools).
    """
    n = len(log_weight)
    if size >= n:
        return np.ones(n)
    if size <= 0:
        return np.zeros(n)
    low, high = -log_weight.max() - 50.0, -log_weight.min() + 50.0  # of ln t
    for _ in range(200):
        middle = (low + high) / 2
        total = -np.expm1(-np.exp(np.minimum(log_weight + middle, 700.0))).sum()
        low, high = (middle, high) if total < size else (low, middle)
    chance = -np.expm1(-np.exp(np.minimum(log_weight + high, 700.0)))
    return np.asarray(np.minimum(chance * (size / chance.sum()), 1.0))
