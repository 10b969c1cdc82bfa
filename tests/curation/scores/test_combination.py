"""The quality is monotone in its parts, and its weights are stated or fitted to reviews."""

import numpy as np
import polars as pl
import pytest

from curation.scores.combination import combine, fit_importance, information
from curation.settings import ScoreSettings

UNKNOWN = np.full(400, np.nan)


def measures(rewarded: bool = True) -> np.ndarray:
    found = np.random.default_rng(0).normal(size=(400, 3))
    return found if rewarded else np.column_stack([found[:, :2], UNKNOWN])


def test_a_mean_by_hand() -> None:
    settings = ScoreSettings(information_weight=0.25, reward_weight=0.2)
    mix = combine(measures(), UNKNOWN, settings)
    np.testing.assert_allclose(mix.importance, [0.8 * 0.75, 0.8 * 0.25, 0.2])
    ranks = np.array([[0.5, 0.25, 0.1], [0.9, 0.9, 0.9]])
    low, high = 1 / (0.6 / 0.5 + 0.2 / 0.25 + 0.2 / 0.1), 0.9
    everything = mix.ranks(measures())
    mean = 1 / (1 / np.maximum(everything, 1e-4) @ mix.importance)
    assert mix.quality(ranks) == pytest.approx([(mean < low).mean(), (mean < high).mean()], abs=0.01)


@pytest.mark.parametrize("part", range(3))
def test_quality_never_falls_when_a_part_rises(part: int) -> None:
    mix = combine(measures(), UNKNOWN, ScoreSettings())
    rising = np.full((50, 3), 0.4)
    rising[:, part] = np.linspace(0, 1, 50)
    assert (np.diff(mix.quality(rising)) >= 0).all()
    assert mix.quality(rising)[-1] > mix.quality(rising)[0]


def test_without_a_reward_it_counts_nothing() -> None:
    mix = combine(measures(rewarded=False), UNKNOWN, ScoreSettings())
    assert mix.importance.tolist() == [0.5, 0.5, 0]
    assert mix.ranks(measures(rewarded=False)[:3])[:, 2].tolist() == [0.5] * 3


def test_weights_are_fitted_to_enough_reviews_and_stay_monotone() -> None:
    generator = np.random.default_rng(1)
    found = measures()
    # people look at the reward, somewhat at the soundness, and dislike what is informative
    liking = 3 * found[:, 2] + found[:, 0] - found[:, 1] + generator.normal(size=400)
    reviewed = (liking > 0).astype(float)
    settings = ScoreSettings(fit_weights_from=100)
    mix = combine(found, reviewed, settings)
    assert mix.fitted
    assert mix.importance.sum() == pytest.approx(1)
    assert mix.importance[2] > mix.importance[0] > mix.importance[1] == 0
    some = np.where(np.arange(400) < 90, reviewed, np.nan)
    assert not combine(found, some, settings).fitted
    assert fit_importance(mix.ranks(found), np.ones(400), 100) is None
    assert fit_importance(1 - mix.ranks(found)[:, 2:], reviewed, 100) is None


def test_information_counts_what_is_not_said_again() -> None:
    told = pl.Series(["好，好，好！", "山 水 Aa a", "", None, "。。"])
    assert information(told).tolist() == [1, 3, 0, 0, 0]
