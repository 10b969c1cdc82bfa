"""Measures: hand-computed values, and their bounds for any input."""

from __future__ import annotations

import json
import math

import hypothesis
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from curation import schemas
from curation.audit import measures
from curation.selection.geometry import exact_unit

counts = st.lists(st.integers(0, 1000), min_size=1, max_size=20)


def test_diversity_of_equal_and_of_orthogonal_rows() -> None:
    same, apart = exact_unit(np.ones((5, 4))), exact_unit(np.eye(4))
    assert measures.vendi_score(same) == pytest.approx(1, abs=1e-6)
    assert measures.vendi_score(apart) == pytest.approx(4)
    assert measures.mean_pairwise_distance(same) == pytest.approx(0, abs=1e-3)
    assert measures.mean_pairwise_distance(apart) == pytest.approx(1)
    assert measures.near_duplicates(same) == 10
    assert measures.near_duplicates(apart) == 0


def test_mean_pairwise_distance_equals_the_sum_over_pairs() -> None:
    unit = exact_unit(np.random.default_rng(0).normal(size=(30, 6)))
    pairs = [1 - float(unit[i] @ unit[j]) for i in range(30) for j in range(i)]
    assert measures.mean_pairwise_distance(unit) == pytest.approx(np.mean(pairs), abs=1e-9)


def test_vendi_equals_the_eigenvalues_of_the_kernel() -> None:
    unit = exact_unit(np.random.default_rng(0).normal(size=(12, 5)))
    kernel = (unit @ unit.T).astype(np.float64)
    values = np.linalg.eigvalsh(kernel / np.trace(kernel))
    values = values[values > 1e-12]
    assert measures.vendi_score(unit) == pytest.approx(math.exp(-(values * np.log(values)).sum()))


def test_near_duplicates_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = exact_unit(np.random.default_rng(0).normal(size=(50, 2)))
    whole = measures.near_duplicates(unit)
    assert whole > 10
    monkeypatch.setattr(measures, "_BLOCK", 7)
    assert measures.near_duplicates(unit) == whole


def test_coverage_by_hand() -> None:
    unit = exact_unit(np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], dtype=np.float32))
    chosen = np.array([True, False, False, False])
    nearest = measures.nearest_chosen(unit, chosen)
    assert nearest == pytest.approx([1, 0.995, 0, 0.0995], abs=1e-3)
    assert measures.neighbourhood_coverage(nearest, np.array([0.9, 0.9, 0.9, 0.9])) == 0.5
    assert measures.facility_location(nearest) == pytest.approx(0.5236, abs=1e-3)
    assert measures.cluster_coverage(np.array([0, 0, 1, 1]), chosen) == 0.5


def test_entropy_in_bits() -> None:
    assert measures.entropy(np.array([5, 5, 5, 5])) == pytest.approx(2)
    assert measures.entropy(np.array([5, 0])) == 0
    assert measures.entropy(np.array([])) == 0


@given(counts, counts)
def test_divergences_are_bounded(one: list[int], other: list[int]) -> None:
    size = min(len(one), len(other))
    p, q = np.array(one[:size]), np.array(other[:size])
    assert -1e-12 <= measures.js_divergence(p, q) <= 1
    assert measures.js_divergence(p, q) == pytest.approx(measures.js_divergence(q, p))
    assert measures.kl_divergence(p, q) >= -1e-12
    assert measures.kl_divergence(p, p) == pytest.approx(0)


def test_divergence_by_hand() -> None:
    p, q = np.array([1, 0]), np.array([0, 1])  # smoothed: 0.75, 0.25 against 0.25, 0.75
    assert measures.kl_divergence(p, q) == pytest.approx(0.5 * math.log2(3))
    assert measures.js_divergence(p, q) == pytest.approx(1 + 0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))


def test_distinct_2_counts_chinese_words_within_rows() -> None:
    words = measures.Words.of(pl.Series(["我们 喜欢 苹果", "我们 喜欢 香蕉", None]), np.array([0, 1, 2]))
    assert words.distinct(2) == pytest.approx(3 / 4)
    assert words.among(np.array([0])).distinct(2) == 1
    assert words.among(np.array([2])).distinct(2) == 0


def test_distinct_n_by_hand() -> None:
    words = measures.Words(np.array([0, 0, 0, 1, 1]), np.array([0, 1, 0, 0, 1]), 2)
    assert words.distinct(1) == pytest.approx(2 / 5)
    assert words.distinct(2) == pytest.approx(2 / 3)  # 01, 10, 01
    assert words.distinct(3) == 1
    assert measures.Words(np.array([0]), np.array([0]), 1).distinct(2) == 0


def test_the_worked_example_of_coverage() -> None:
    found = measures.scene_coverage(np.array([10_000, 8_000, 6_000, 5_000, 0]), np.full(5, 10_000))
    assert found.scenes == pytest.approx(0.8)
    assert found.samples == pytest.approx(0.58)
    assert found.samples_covered == pytest.approx(0.725)


def test_coverage_with_weights_and_more_than_the_target() -> None:
    found = measures.scene_coverage(np.array([20, 5, 0]), np.array([10, 10, 10]), np.array([2, 1, 1]))
    assert found.samples == pytest.approx(0.5 + 0.125)
    assert found.samples_covered == pytest.approx((2 + 0.5) / 3)
    assert measures.scene_coverage(np.zeros(2), np.ones(2)).samples_covered == 0
    for wrong in ((np.ones(0), np.ones(0)), (np.ones(2), np.zeros(2)), (np.ones(2), np.ones(3))):
        with pytest.raises(ValueError, match="must be"):
            measures.scene_coverage(*wrong)


@given(counts, counts)
@hypothesis.settings(deadline=None)
def test_divergences_agree_with_scipy(one: list[int], other: list[int]) -> None:
    size = min(len(one), len(other))
    p, q = np.array(one[:size]), np.array(other[:size])
    assert measures.js_divergence(p, q) == pytest.approx(
        jensenshannon(p + 0.5, q + 0.5, base=2) ** 2, abs=1e-9
    )
    assert measures.kl_divergence(p, q) == pytest.approx(entropy(p + 0.5, q + 0.5, base=2), abs=1e-9)
    assert measures.entropy(p + 1) == pytest.approx(entropy(p + 1, base=2), abs=1e-9)


def test_divergence_in_embedding_space() -> None:
    random = np.random.default_rng(0)
    one, same = (exact_unit(random.normal(size=(400, 8)) + 3 * np.eye(8)[0]) for _ in range(2))
    other = exact_unit(random.normal(size=(400, 8)) + 3 * np.eye(8)[1])
    near, far = measures.embedding_js(one, same, 8), measures.embedding_js(one, other, 8)
    assert 0 <= near < 0.05
    assert 0.5 < far <= 1
    assert measures.embedding_js(one[:0], other) == 0


def test_bootstrap_interval_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(size=400)
    low, high = measures.interval(lambda rows: float(values[rows].mean()), 400, seed=1)
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)
    assert (low, high) == measures.interval(lambda rows: float(values[rows].mean()), 400, seed=1)
    with pytest.raises(ValueError, match="at least one row"):
        measures.interval(lambda rows: 0.0, 0, seed=1)


def test_resampling_meets_the_reference() -> None:
    groups = np.repeat([0, 1, 2], [700, 200, 100])
    assert measures.resampling_rates(groups, np.array([1, 1, 2]))[[0, 700, 900]] == pytest.approx(
        [250 / 700, 1.25, 5]
    )
    rows = measures.resample(groups, np.array([1, 1, 2]), seed=0)
    assert np.bincount(groups[rows]).tolist() == [250, 250, 500]
    assert np.bincount(rows[groups[rows] == 0]).max() == 1
    assert set(np.bincount(rows)[900:]) == {5}
    with pytest.raises(ValueError, match="no group"):
        measures.resampling_rates(groups, np.zeros(3))


def test_share_of_rows_with_a_near_duplicate() -> None:
    unit = exact_unit(np.array([[1, 0], [1, 0.01], [0, 1], [-1, 0]]))
    assert measures.near_duplicate_share(unit) == 0.5
    assert measures.near_duplicate_share(unit[:1]) == 0


def _pool(n: int = 80) -> tuple[pl.DataFrame, np.ndarray]:
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "record_id": [f"{i:032x}" for i in range(n)],
            "cluster": pl.Series(random.integers(0, 6, n), dtype=pl.Int32),
            "to_neighbours": np.full(n, 0.6),
            "quality": random.random(n),
            "prompt": [f"请解释第{i}条" for i in range(n)],
            "answer": ["这是答案" * int(k) for k in random.integers(1, 9, n)],
            "language": ["zh", "en"] * (n // 2),
        }
    )
    return frame, random.normal(size=(n, 8)).astype(np.float32)


def test_side_by_side() -> None:
    frame, vectors = _pool()
    frame = frame.with_columns(noise=1 - pl.col("quality"))
    chosen = frame.sort("quality", descending=True).head(20)["record_id"]
    rows = measures.measure_selection(frame, vectors, chosen, seed=0)
    schemas.conform("selection_report", rows.with_columns(run_id=pl.lit("0" * 32)))
    by_name = {row["measure"]: row for row in rows.iter_rows(named=True)}
    assert by_name["samples"]["selected"] == by_name["samples"]["random"] == 20
    assert by_name["samples"]["pool"] == 80
    assert by_name["mean_quality"]["selected"] > by_name["mean_quality"]["random"]
    assert by_name["noise"]["pool"] == pytest.approx(1 - by_name["mean_quality"]["pool"])
    assert by_name["noise"]["selected"] < by_name["noise"]["random"]
    assert by_name["cluster_js"]["pool"] == 0
    assert by_name["neighbourhood_coverage"]["pool"] == by_name["cluster_coverage"]["pool"] == 1
    assert by_name["language_share.zh"]["pool"] == 0.5
    noted = json.loads(by_name["vendi_score"]["evidence"])
    divergence = json.loads(by_name["cluster_js"]["evidence"])
    assert divergence["selected_low"] < divergence["selected_high"]
    assert json.loads(by_name["samples"]["evidence"])["selected_low"] is None
    assert 0 <= by_name["embedding_js"]["selected"] <= 1
    assert by_name["sample_coverage"]["selected"] <= by_name["sample_coverage_covered"]["selected"] <= 1
    assert noted["random_low"] <= by_name["vendi_score"]["random"] <= noted["random_high"]
    shuffled = np.random.default_rng(1).permutation(80)
    assert rows.equals(
        measures.measure_selection(frame[shuffled], vectors[shuffled], chosen.reverse(), seed=0)
    )


@pytest.mark.parametrize("rows", [0, 2])
def test_nothing_chosen(rows: int) -> None:
    frame, vectors = _pool()
    got = measures.measure_selection(frame[:rows], vectors[:rows], pl.Series([], dtype=pl.String), seed=0)
    assert got.filter(pl.col("measure") == "samples")["selected"].to_list() == [0]
    schemas.conform("selection_report", got.with_columns(run_id=pl.lit("0" * 32)))


def test_every_measure_says_what_it_is() -> None:
    assert all(says and more in (True, False, None) for says, more in measures.MEASURES.values())
    assert "zh" in measures.describe("language_share.zh")[0]
