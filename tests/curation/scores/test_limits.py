"""Limits hold the false positive rate without labels, and drop nothing from a clean pool."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.scores.limits import Limit, estimate_limit


def scores(share: float, seed: int, rows: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    sound, bad = generator.normal(0, 1, rows), generator.normal(4, 1, int(share * rows))
    return sound, bad, generator.normal(4, 1, 2_000)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_the_rate_holds_among_the_sound_and_most_defects_are_found(share: float) -> None:
    sound, bad, made_up = scores(share, 1)
    limit = estimate_limit(np.concatenate([sound, bad]), made_up, 0.01)
    assert limit.value is not None
    assert (sound >= limit.value).mean() < 0.02
    assert (bad >= limit.value).mean() > 0.85
    assert limit.defects == pytest.approx(share / (1 + share), rel=0.4)
    assert limit.found == pytest.approx((made_up >= limit.value).mean())


def test_a_clean_pool_loses_next_to_nothing() -> None:
    sound, _, made_up = scores(0.0, 2)
    limit = estimate_limit(sound, made_up, 0.05)
    assert limit.value is None or (sound >= limit.value).mean() < 0.003


def test_scores_that_do_not_tell_have_no_limit() -> None:
    generator = np.random.default_rng(3)
    assert estimate_limit(np.zeros(500), np.zeros(100), 0.05).value is None
    limit = estimate_limit(generator.normal(size=5_000), generator.normal(size=1_000), 0.02)
    assert limit.false_positives <= 0.02


def test_nothing_to_estimate_from() -> None:
    nothing, some = np.zeros(0), np.ones(3)
    for pool, made_up in ((nothing, some), (some, nothing), (np.full(3, np.nan), some)):
        assert estimate_limit(pool, made_up, 0.01) == Limit(None, 0.0, 0.0, 0.0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.floats(0, 0.5),
)
def test_what_is_estimated_keeps_its_bounds_and_ignores_the_order(
    pool: list[float], made_up: list[float], rate: float
) -> None:
    limit = estimate_limit(np.array(pool), np.array(made_up), rate)
    assert 0 <= limit.defects <= 1
    assert 0 <= limit.found <= 1
    assert 0 <= limit.false_positives <= rate
    assert limit == estimate_limit(np.array(pool[::-1]), np.array(made_up[::-1]), rate)
