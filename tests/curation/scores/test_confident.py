"""Confident learning counts the answers of other prompts, by hand and on a made-up pool."""

import numpy as np
import pytest

from curation.scores.confident import Confident, confident_learning


def test_the_confident_joint_by_hand() -> None:
    pool = np.array([0.9, 0.8, 0.7, 0.1, 0.05])  # mean 0.51
    shuffled = np.array([0.2, 0.1, 0.3])  # their own label: mean 0.8
    found = confident_learning(pool, shuffled)
    assert (found.belongs, found.alien) == (pytest.approx(0.51), pytest.approx(0.8))
    assert found.doubted(pool).tolist() == [False, False, False, True, True]
    assert found.rate == pytest.approx(2 / 5)


def test_a_row_that_is_confident_of_both_goes_to_the_likelier() -> None:
    low = Confident(belongs=0.3, alien=0.4, rate=0)
    assert low.doubted(np.array([0.6, 0.5, 0.45, 0.2])).tolist() == [False, False, True, True]


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_the_rate_of_a_made_up_pool(share: float) -> None:
    generator = np.random.default_rng(0)
    alien = generator.random(20_000) < share
    logit = generator.normal(np.where(alien, -3, 3), 1.0)
    shuffled = 1 / (1 + np.exp(-generator.normal(-3, 1.0, 2_000)))
    found = confident_learning(1 / (1 + np.exp(-logit)), shuffled)
    assert found.rate == pytest.approx(share, rel=0.4)


def test_nothing_to_estimate_from() -> None:
    for pool, shuffled in ((np.zeros(0), np.ones(2)), (np.ones(2), np.zeros(0))):
        assert confident_learning(pool, shuffled).rate == 0
