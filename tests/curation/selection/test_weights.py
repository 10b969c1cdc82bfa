"""Weights: the equations on hand-made pools whose right weights are worked out by hand, and what they do."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from curation.audit.measures import entropy
from curation.selection import budget, importance, sampling, strategies, weights
from curation.selection.geometry import exact_unit
from curation.selection.weights import with_weights
from curation.settings import SelectionSettings


def _frame(cluster: list[int], quality: list[float] | None = None, **columns: object) -> pl.DataFrame:
    n = len(cluster)
    return pl.DataFrame(
        {
            "record_id": [f"{i:032x}" for i in range(n)],
            "shard": ["a"] * n,
            "messages": [[{"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}]] * n,
            "quality": quality or [1.0] * n,
            "cluster": pl.Series(cluster, dtype=pl.Int32),
            "covers": [0] * n,
            **columns,
        }
    )


def _choose(name: str, frame: pl.DataFrame, vectors: np.ndarray, size: int, seed: int = 0, **settings: object) -> strategies.Choice:  # fmt: skip
    chosen = SelectionSettings(budget=size, strategy=name, **settings)  # type: ignore[arg-type]
    pool, unit = strategies.prepare(frame, vectors, chosen)
    return strategies.STRATEGIES[name](pool, unit, size, seed, chosen)


# -- the default --------------------------------------------------------------------------------


def test_weights_by_hand() -> None:
    frame = pl.DataFrame(
        {
            "quality": [1.0, 0.25, None, 1.0],
            "noise": [0.1, 0.0, None, 0.3],  # 0.1 in the mean, a null counted as 0
            "cluster": [0, 0, 0, 1],
            "covers": [0, 3, 0, 15],
        }
    )
    settings = SelectionSettings(quality_power=2, diversity_power=1, neighbours=10)
    got = with_weights(frame, settings, share=0.05)
    assert got["scarcity"].to_list() == [0.5] * 4  # half of the neighbourhoods have a choice
    harm = 0.9**5, 0.7**5
    assert got["quality_weight"].to_list() == pytest.approx([harm[0] / 2, 0.25, 0.001, harm[1] / 4])
    common, rare = (2 / 3) ** (3 / 8), 2 ** (3 / 8)  # mean size 2, sizes 3 and 1
    assert got["diversity_weight"].to_list() == pytest.approx([common, common * 2**0.5, common, rare * 2])
    assert got["weight"].to_list() == (got["quality_weight"] * got["diversity_weight"]).to_list()
    flat = with_weights(frame.drop("noise"), SelectionSettings(quality_power=0, diversity_power=0), 0.01)
    assert flat["weight"].to_list() == [1, 1, 1, 1]
    whole = with_weights(frame, settings.model_copy(update={"scarcity": 1.0}), share=0.05)
    assert whole["quality_weight"].to_list() == pytest.approx([0.25, 0.0625, 1e-6, 0.0625])


def test_where_every_neighbourhood_has_a_choice_only_crowds_count_less() -> None:
    frame = _frame([0] * 30 + [1] * 10, [0.1, 0.9] * 20, covers=[9, 0] * 20)
    chance = _choose("default", frame, np.eye(40), 8, neighbours=5).probability
    assert chance is not None
    share = 8 / (30**0.75 + 10**0.75)  # of a cluster of n rows n ** (3 / 4)
    assert chance.tolist() == pytest.approx([share / 30**0.25] * 30 + [share / 10**0.25] * 10)
    few = _choose("default", frame, np.eye(40), 4, neighbours=5).probability
    assert few is not None
    assert few[0] != pytest.approx(few[1])


# -- method 1 -----------------------------------------------------------------------------------

#: Two clusters: three rows at growing angles from the first axis, and two about the second.
ANGLES = np.deg2rad([0.0, 10.0, 38.0, 90.0, 80.0])
PLANE = np.column_stack([np.cos(ANGLES), np.sin(ANGLES)])


def test_representatives_by_hand() -> None:
    # the mean of 0, 10 and 38 degrees lies at 15.9: 10 is nearest, then 0, then 38
    frame = _frame([0, 0, 0, 1, 1])
    nearest = _choose("kmeans_nearest", frame, PLANE, 4)
    assert nearest.order[[0, 2, 4]].tolist() == [1, 0, 2]  # rounds of one row of each cluster
    assert sorted(nearest.order[[1, 3]].tolist()) == [3, 4]
    assert nearest.row_notes["rank_in_cluster"].to_list()[:3] == [2, 1, 3]
    farthest = _choose("kmeans_farthest", frame, PLANE, 4)
    assert farthest.order[[0, 2, 4]].tolist() == [2, 0, 1]
    drawn = _choose("kmeans_random", frame, PLANE, 4)
    assert drawn.probability.tolist() == pytest.approx([2 / 3] * 3 + [1, 1])  # type: ignore[union-attr]
    firsts = {int(_choose("kmeans_random", frame, PLANE, 1, seed).order[0]) for seed in range(20)}
    assert firsts == {0, 1, 2}


# -- method 2 -----------------------------------------------------------------------------------


def test_cluster_weights_by_hand() -> None:
    # cluster 0: two rows at a right angle, D = 1; cluster 1: two rows with cosine 0.6, D = 0.4
    unit = exact_unit(np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0.6, 0.8]]))
    table = weights.cluster_weights(unit, np.array([0, 0, 1, 1]), np.array([1.0, 0.5, 1.0, 1.0]))
    assert table["spread"].to_list() == pytest.approx([1.0, 0.4], abs=1e-3)
    assert table["quality"].to_list() == pytest.approx([0.75, 1.0])
    assert table["closeness"].to_list() == [1, 1]
    assert table["weight"].to_list() == pytest.approx([0.75, 0.4], abs=1e-3)
    # shares 0.75 : 0.4 of a budget of 1; in cluster 0 the rows share 2 : 1 by their own quality
    chance = _choose("cluster_weighted", _frame([0, 0, 1, 1], [1.0, 0.5, 1.0, 1.0]), unit, 1, quality_power=1, scarcity=1).probability  # fmt: skip
    total = 0.75 + 0.4
    assert chance.tolist() == pytest.approx([0.5 / total, 0.25 / total, 0.2 / total, 0.2 / total], abs=1e-3)  # type: ignore[union-attr]


def test_clusters_that_lie_close_to_each_other_count_less() -> None:
    within, between = np.array([0.9, 0.4, 0.5]), np.array([[0, 0.6, 0.1], [0.6, 0, 0.2], [0.1, 0.2, 0]])
    assert weights.closeness_correction(within, between).tolist() == pytest.approx([1, 0.4 / 0.6, 1])
    assert weights.closeness_correction(np.array([0.3]), np.array([[0.5]])).tolist() == [1]


def test_similarities_of_clusters_equal_the_means_over_pairs() -> None:
    random = np.random.default_rng(0)
    unit, cluster = exact_unit(random.normal(size=(30, 4))), random.integers(0, 3, 30)
    within, between = weights.cluster_similarities(unit, cluster)
    cosine = (unit @ unit.T).astype(np.float64)
    for c in range(3):
        mine = np.flatnonzero(cluster == c)
        pairs = cosine[np.ix_(mine, mine)][~np.eye(len(mine), dtype=bool)]
        assert within[c] == pytest.approx(pairs.mean(), abs=1e-6)
        assert between[c, (c + 1) % 3] == pytest.approx(
            cosine[np.ix_(mine, cluster == (c + 1) % 3)].mean(), abs=1e-6
        )


# -- method 3 -----------------------------------------------------------------------------------


def test_neighbour_weights_by_hand() -> None:
    # rows 0 to 2 are equal, row 3 has cosine 0.85 with them, row 4 stands alone (0.6 is below 0.8)
    unit = exact_unit(np.array([[1, 0]] * 3 + [[0.85, (1 - 0.85**2) ** 0.5]] + [[-0.6, 0.8]]))
    density = weights.neighbour_density(unit, 0.8, seed=0)
    assert density.tolist() == pytest.approx([3.85, 3.85, 3.85, 1 + 3 * 0.85, 1], abs=2e-3)
    assert weights.neighbour_weight(unit, np.array([1, 1, 0.5, 1, 1]), 0.8, 0).tolist() == pytest.approx(
        [1 / 3.85, 1 / 3.85, 0.5 / 3.85, 1 / 3.55, 1], abs=1e-3
    )
    chance = _choose("neighbour_weighted", _frame([0] * 5), unit, 1).probability
    total = 3 / 3.85 + 1 / 3.55 + 1
    assert chance.tolist() == pytest.approx([1 / 3.85 / total] * 3 + [1 / 3.55 / total, 1 / total], abs=1e-3)  # type: ignore[union-attr]


def test_densities_against_a_sample_are_unbiased(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    unit = exact_unit(
        random.normal(size=(10, 6))[random.integers(0, 10, 2000)] + random.normal(scale=0.05, size=(2000, 6))
    )
    whole = weights.neighbour_density(unit, 0.8, seed=0)
    monkeypatch.setattr(weights, "_BASE_ROWS", 700)
    means = np.mean([weights.neighbour_density(unit, 0.8, seed) for seed in range(5)], axis=0)
    assert np.corrcoef(whole, means)[0, 1] > 0.99
    assert means.mean() == pytest.approx(whole.mean(), rel=0.02)


def _crowded(sizes: list[int]) -> tuple[pl.DataFrame, np.ndarray]:
    """One cluster a size, of rows with a cosine of about 0.97 to each other."""
    random = np.random.default_rng(1)
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    vectors = np.eye(32)[cluster] + random.normal(scale=0.03, size=(len(cluster), 32))
    return _frame(cluster.tolist()), vectors


def test_neighbour_weights_flatten_one_crowded_and_nine_thin_clusters() -> None:
    frame, vectors = _crowded([910] + [10] * 9)
    most = np.log2(10)
    spread = {}
    for name in ("neighbour_weighted", "random"):
        counts = np.zeros(10)
        for seed in range(5):
            order = _choose(name, frame, vectors, 50, seed).order[:50]
            counts += np.bincount(frame["cluster"].to_numpy()[order], minlength=10)
        spread[name] = entropy(counts) / most
    assert spread["neighbour_weighted"] >= 0.95
    assert spread["random"] < 0.35


# -- reviews, limits, target --------------------------------------------------------------------


def test_reviews_move_the_weights_of_their_clusters() -> None:
    cluster = np.array([0] * 4 + [1] * 4 + [2])
    accepted = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0], dtype=bool)
    rejected = np.array([0, 0, 0, 0, 1, 1, 0, 0, 0], dtype=bool)
    factor = weights.review_factor(cluster, accepted, rejected)
    overall = 4 / 7
    assert factor[0] == pytest.approx((3 + 5 * overall) / 8 / overall)
    assert factor[4] == pytest.approx((5 * overall) / 7 / overall)
    assert factor[8] == pytest.approx(1)
    assert weights.review_factor(cluster, accepted & False, rejected & False).tolist() == pytest.approx(
        [1.0] * 9
    )


def test_raked_probabilities_keep_to_quotas_and_floors() -> None:
    column = pl.Series("source", ["a"] * 60 + ["b"] * 30 + ["c"] * 10)
    groups = budget.Groups.of(column, {"c": 0.25}, {"a": 0.4}, 20)
    assert groups.most.tolist() == [8, 20, 20]
    assert groups.least.tolist() == [0, 0, 5]
    weight = budget.rake(np.ones(100), [groups], 20)
    chance = sampling.inclusion_probabilities(weight, 20)
    sums = [chance[:60].sum(), chance[60:90].sum(), chance[90:].sum()]
    assert sum(sums) == pytest.approx(20)
    assert sums[0] == pytest.approx(8, abs=1e-3)
    assert sums[2] >= 5 - 1e-3
    assert chance[60:90].std() == pytest.approx(0)


def test_importance_prefers_what_is_like_the_target() -> None:
    texts = pl.Series(["糖尿病患者要控制血糖"] * 5 + ["番茄炒鸡蛋要先炒鸡蛋"] * 5)
    target = np.array([True] + [False] * 9)
    weight = importance.log_importance(texts, target)
    assert weight[:5].min() > weight[5:].max()
    chance = importance.gumbel_probabilities(weight, 4)
    assert chance.sum() == pytest.approx(4)
    assert chance[:5].min() > chance[5:].max()


def test_gumbel_draws_meet_their_probabilities() -> None:
    log_weight = np.log(np.r_[np.full(100, 4.0), np.full(100, 1.0)])
    draws = 400
    taken = np.zeros(200)
    for seed in range(draws):
        taken[importance.gumbel_order(log_weight, seed)[:40]] += 1
    chance = importance.gumbel_probabilities(log_weight, 40)
    assert taken[:100].mean() / draws == pytest.approx(chance[:100].mean(), abs=0.01)
    assert importance.gumbel_probabilities(log_weight, 200).tolist() == [1.0] * 200
    assert importance.gumbel_probabilities(log_weight, 0).sum() == 0
