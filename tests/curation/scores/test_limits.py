"""The limit holds the false positive rate without labels, shares it out well, and drops nothing from a clean pool."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.scores.limits import Indicator, Limit, fit_indicator, noise_limit


def scores(share: float, seed: int, rows: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    sound, bad = generator.normal(0, 1, rows), generator.normal(4, 1, int(share * rows))
    return sound, bad, generator.normal(4, 1, 2_000)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_the_rate_holds_among_the_sound_and_most_defects_are_found(share: float) -> None:
    sound, bad, made_up = scores(share, 1)
    indicator = fit_indicator(np.concatenate([sound, bad]), made_up)
    good, noise = indicator.probability(sound), indicator.probability(bad)
    limit = noise_limit(np.concatenate([good, noise]), 0.01)
    assert limit.value is not None
    assert (good >= limit.value).mean() < 0.02
    assert (noise >= limit.value).mean() > 0.85
    assert indicator.share == pytest.approx(share / (1 + share), rel=0.4)
    assert limit.defects == pytest.approx(share / (1 + share), rel=0.4)


def test_probabilities_are_calibrated() -> None:
    sound, bad, made_up = scores(0.1, 4)
    pool, truth = np.concatenate([sound, bad]), np.repeat([0, 1], [len(sound), len(bad)])
    found = fit_indicator(pool, made_up).probability(pool)
    for low, high in ((0.0, 0.1), (0.1, 0.7), (0.7, 1.0)):
        near = (found >= low) & (found < high)
        assert truth[near].mean() == pytest.approx(found[near].mean(), abs=0.15)


def test_the_score_that_tells_more_gets_more_of_the_rate() -> None:
    generator = np.random.default_rng(5)
    clear, dim = (fit_indicator(np.concatenate([generator.normal(size=9_500), generator.normal(gap, 1, 500)]), generator.normal(gap, 1, 2_000)) for gap in (4, 2))  # fmt: skip
    sound = np.stack([one.probability(generator.normal(size=9_000)) for one in (clear, dim)], axis=1)
    bad = np.stack([clear.probability(generator.normal(4, 1, 500)), dim.probability(generator.normal(size=500))], axis=1)  # fmt: skip
    hard = np.stack([clear.probability(generator.normal(size=500)), dim.probability(generator.normal(2, 1, 500))], axis=1)  # fmt: skip
    noise = np.concatenate([sound, bad, hard]).max(axis=1)
    limit = noise_limit(noise, 0.02)
    assert limit.value is not None
    assert (bad.max(axis=1) >= limit.value).mean() > 0.9 > (hard.max(axis=1) >= limit.value).mean() > 0.05


def test_a_clean_pool_loses_next_to_nothing() -> None:
    sound, _, made_up = scores(0.0, 2)
    noise = fit_indicator(sound, made_up).probability(sound)
    limit = noise_limit(noise, 0.05)
    assert limit.value is None or (noise >= limit.value).mean() < 0.003


def test_scores_that_do_not_tell_drop_nothing() -> None:
    generator = np.random.default_rng(3)
    for pool, made_up in ((np.zeros(500), np.zeros(100)), (generator.normal(size=5_000), generator.normal(size=1_000))):  # fmt: skip
        noise = fit_indicator(pool, made_up).probability(pool)
        assert not noise.any()
        assert noise_limit(noise, 0.05).value is None


def test_nothing_to_estimate_from() -> None:
    nothing, some = np.zeros(0), np.ones(3)
    for pool, made_up in ((nothing, some), (some, nothing), (np.full(3, np.nan), some)):
        assert fit_indicator(pool, made_up) == Indicator(0.0, (), ())
    assert noise_limit(nothing, 0.01) == Limit(None, 0.0, 0.0, 0.0)


def test_unknown_scores_say_nothing() -> None:
    indicator = Indicator(0.1, (0.0, 1.0), (0.2, 0.8))
    assert indicator.probability(np.array([np.nan, -1.0, 0.5, 2.0])).tolist() == [0.0, 0.2, 0.5, 0.8]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.floats(0, 0.5),
)
def test_what_is_estimated_keeps_its_bounds_and_ignores_the_order(
    pool: list[float], made_up: list[float], rate: float
) -> None:
    indicator = fit_indicator(np.array(pool), np.array(made_up))
    assert 0 <= indicator.share <= 1
    noise = indicator.probability(np.array(pool))
    assert ((noise >= 0) & (noise < 1)).all()
    assert (np.diff(indicator.probability(np.sort(pool))) >= 0).all()
    limit = noise_limit(noise, rate)
    assert 0 <= limit.found <= 1
    assert 0 <= limit.false_positives <= rate + 1e-12
    again = fit_indicator(np.array(pool[::-1]), np.array(made_up[::-1]))
    assert again.values == indicator.values
    assert again.probabilities == pytest.approx(indicator.probabilities)
