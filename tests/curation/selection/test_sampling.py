"""Sampling: the probabilities add up, the sample has its size, and frequencies meet the probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.selection import sampling
from curation.selection.geometry import exact_unit

weights = st.lists(
    st.floats(0, 1e6, allow_nan=False).map(lambda w: 0.0 if w < 1e-6 else w), min_size=1, max_size=60
)


@given(weights, st.integers(0, 70))
def test_probabilities_add_up_to_the_size(values: list[float], size: int) -> None:
    w = np.array(values)
    p = sampling.inclusion_probabilities(w, size)
    assert p.min() >= 0
    assert p.max() <= 1
    assert p.sum() == pytest.approx(min(size, (w > 0).sum()), abs=1e-9)
    assert (p[w == 0] == 0).all()


@given(weights, st.integers(1, 70))
def test_probabilities_are_proportional_below_one(values: list[float], size: int) -> None:
    w = np.array(values)
    p = sampling.inclusion_probabilities(w, size)
    free = (p > 0) & (p < 1)
    if free.sum() > 1:
        ratio = p[free] / w[free]
        assert ratio == pytest.approx(np.full(free.sum(), ratio[0]), rel=1e-9)
        assert (w[p >= 1] >= w[free].max() * (1 - 1e-9)).all()


def test_probabilities_by_hand() -> None:
    assert sampling.inclusion_probabilities(np.array([10.0, 1, 1, 1, 1]), 2).tolist() == [
        1,
        0.25,
        0.25,
        0.25,
        0.25,
    ]
    assert sampling.inclusion_probabilities(np.array([3.0, 1.0]), 1).tolist() == [0.75, 0.25]


@pytest.mark.parametrize("bad", [[-1.0, 2], [np.nan, 1], [np.inf, 1]])
def test_bad_weights_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        sampling.inclusion_probabilities(np.array(bad), 1)


def test_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="size"):
        sampling.inclusion_probabilities(np.ones(2), -1)


@given(weights, st.integers(0, 70), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_the_sample_has_exactly_its_size(values: list[float], size: int, seed: int) -> None:
    p = sampling.inclusion_probabilities(np.array(values), size)
    chosen = sampling.pivotal_sample(p, seed)
    assert chosen.sum() == round(p.sum())
    assert chosen[p == 1].all()
    assert not chosen[p == 0].any()
    assert np.array_equal(chosen, sampling.pivotal_sample(p, seed))


def test_frequencies_meet_the_probabilities() -> None:
    p = sampling.inclusion_probabilities(np.arange(1.0, 31.0) ** 2, 12)
    draws = 4000
    frequency = np.mean([sampling.pivotal_sample(p, seed) for seed in range(draws)], axis=0)
    error = np.sqrt(p * (1 - p) / draws)
    assert (np.abs(frequency - p) <= 5 * error + 1e-12).all()


def test_the_sample_is_spread_over_the_order() -> None:
    chosen = sampling.pivotal_sample(np.full(1000, 0.1), seed=0)
    places = np.flatnonzero(chosen)
    assert np.diff(places).max() <= 40
    by_hundred = np.bincount(places // 100, minlength=10)
    assert by_hundred.min() >= 9
    assert by_hundred.max() <= 11


def test_order_sample_prefers_the_probable() -> None:
    p = np.r_[np.full(50, 0.5), np.full(50, 0.05)]
    first = np.mean([(sampling.order_sample(p, seed)[:25] < 50).mean() for seed in range(200)])
    assert 0.85 < first < 0.97
    assert sorted(sampling.order_sample(p, 1)) == list(range(100))


def test_spread_order_keeps_groups_and_neighbours_together() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat([0, 1], 64)[random.permutation(128)]
    angle = random.permutation(128) / 128
    unit = exact_unit(np.column_stack([np.cos(angle), np.sin(angle)]))
    order = sampling.spread_order(unit, groups, leaf=2)
    assert sorted(order) == list(range(128))
    assert list(groups[order]) == [0] * 64 + [1] * 64
    assert np.abs(np.diff(angle[order[:64]])).mean() < 0.05


def test_accept_apart_by_hand() -> None:
    unit = exact_unit(np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [-1, 0]], dtype=np.float32))
    accepted, near, similarity = sampling.accept_apart(np.array([1, 0, 2, 3, 4]), unit, 3, 0.9)
    assert accepted.tolist() == [False, True, True, False, True]
    assert near.tolist() == [1, -1, -1, 2, -1]
    assert similarity[0] == pytest.approx(0.995, abs=1e-3)
    assert np.isnan(similarity[1])


@given(st.integers(0, 1000), st.integers(0, 40), st.floats(-1, 1))
@settings(deadline=None, max_examples=40)
def test_accepted_rows_are_apart(seed: int, size: int, limit: float) -> None:
    random = np.random.default_rng(seed)
    unit = exact_unit(random.normal(size=(40, 3)))
    accepted, near, similarity = sampling.accept_apart(random.permutation(40), unit, size, limit)
    rows = unit[accepted]
    assert accepted.sum() <= size
    assert (np.triu(rows @ rows.T, 1)[np.triu_indices(len(rows), 1)] <= limit).all()
    refused = near >= 0
    assert accepted[near[refused]].all()
    assert (similarity[refused] > limit).all()
    if accepted.sum() < size:
        assert (accepted | refused).all()


def _plain_walk(
    order: np.ndarray, unit: np.ndarray, size: int, limit: float
) -> tuple[list[int], dict[int, int]]:
    """One row after the other, beside all accepted rows."""
    accepted: list[int] = []
    refused: dict[int, int] = {}
    for row in order:
        if len(accepted) == size:
            break
        similarity = unit[accepted] @ unit[row]
        if accepted and similarity.max() > np.float32(limit):
            refused[int(row)] = accepted[int(similarity.argmax())]
        else:
            accepted.append(int(row))
    return accepted, refused


@pytest.mark.parametrize("limit", [0.7, 0.8, 0.95])
@pytest.mark.parametrize("size", [40, 900])
def test_short_vectors_do_not_change_the_walk(
    limit: float, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "_BLOCK", 64)
    random = np.random.default_rng(4)
    raw = random.normal(size=(500, 80)) / np.arange(1, 81) ** 0.7
    near = raw[random.integers(500, size=400)] + 0.02 * random.normal(size=(400, 80))
    unit, order = exact_unit(np.concatenate([raw, near, np.zeros((2, 80))])), random.permutation(902)
    assert sampling._short_bounds(unit, limit).shape[1] < 80
    accepted, near_to, similarity = sampling.accept_apart(order, unit, size, limit)
    wanted, refused = _plain_walk(order, unit, size, limit)
    assert set(np.flatnonzero(accepted)) == set(wanted)
    assert {int(row): int(near_to[row]) for row in np.flatnonzero(near_to >= 0)} == refused
    assert all(similarity[row] == unit[row] @ unit[other] for row, other in refused.items())


def test_short_vectors_bound_every_product() -> None:
    unit = exact_unit(np.random.default_rng(0).normal(size=(1_100, 64)) / np.arange(1, 65))
    short = sampling._short_bounds(unit, 0.9)
    assert short.shape[1] < 64
    assert (short @ short.T >= unit @ unit.T - 1e-5).all()


def test_the_walk_does_not_depend_on_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    unit, order = exact_unit(random.normal(size=(300, 4))), random.permutation(300)
    whole = sampling.accept_apart(order, unit, 100, 0.8)
    monkeypatch.setattr(sampling, "_BLOCK", 7)
    parts = sampling.accept_apart(order, unit, 100, 0.8)
    assert np.array_equal(whole[0], parts[0])
    assert np.array_equal(whole[2], parts[2], equal_nan=True)
