"""Clusters: what belongs together is together, named by its words, whatever the order and the threads."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from curation import schemas
from curation.selection import clusters, groupings
from curation.selection.geometry import exact_unit
from curation.settings import SelectionSettings

TEXTS = {
    0: ["糖尿病患者应控制血糖", "血糖偏高的糖尿病患者要少吃甜食", "糖尿病患者的血糖监测方法"],
    1: ["番茄炒鸡蛋的做法", "鸡蛋和番茄怎么炒更香", "番茄鸡蛋面的做法"],
    2: ["计算三角形的面积", "三角形面积公式是底乘高除以二", "已知三角形面积求高"],
}


def _pool(rows: int = 3) -> tuple[pl.Series, np.ndarray, pl.Series]:
    random = np.random.default_rng(0)
    texts, vectors = [], []
    for group, group_texts in TEXTS.items():
        for text in group_texts[:rows]:
            texts.append(text)
            vectors.append(np.eye(8)[group] + random.normal(scale=0.05, size=8))
    return (
        pl.Series([f"{i:032x}" for i in range(len(texts))]),
        np.array(vectors, dtype=np.float32),
        pl.Series(texts),
    )


def test_groups_are_found_and_named() -> None:
    rows = clusters.cluster_samples(*_pool(), SelectionSettings(clusters=3), seed=0)
    found = rows["cluster"].to_numpy().reshape(3, 3)
    assert (found == found[:, :1]).all()
    assert len(set(found[:, 0])) == 3
    terms = dict(rows.select("cluster", "terms").unique().iter_rows())
    assert "血糖" in terms[found[0, 0]]
    assert "番茄" in terms[found[1, 0]]
    assert "三角形" in terms[found[2, 0]]
    assert (rows["to_centre"] > 0.9).all()


def test_rows_fit_the_table() -> None:
    rows = clusters.cluster_samples(*_pool(), SelectionSettings(), seed=0)
    schemas.conform("clusters", rows.with_columns(run_id=pl.lit("0" * 32)))
    assert rows["verdict"].cast(pl.String).unique().to_list() == ["kept"]
    assert json.loads(rows["evidence"][0])["neighbours"] == 8


def test_the_order_of_the_input_does_not_matter() -> None:
    ids, vectors, texts = _pool()
    shuffled = np.random.default_rng(5).permutation(len(ids))
    one = clusters.cluster_samples(ids, vectors, texts, SelectionSettings(), seed=3)
    other = clusters.cluster_samples(
        ids[shuffled], vectors[shuffled], texts[shuffled], SelectionSettings(), seed=3
    )
    assert one.equals(other)


def test_clusters_are_numbered_by_size() -> None:
    random = np.random.default_rng(1)
    vectors = np.concatenate([np.eye(4)[[0]].repeat(5, 0), np.eye(4)[[1]].repeat(9, 0)]) + random.normal(
        scale=0.01, size=(14, 4)
    )
    cluster, similarity = clusters.spherical_kmeans(exact_unit(vectors), 2, seed=0)
    assert list(cluster) == [1] * 5 + [0] * 9
    assert similarity.min() > 0.99


def test_rows_without_direction_have_a_cluster_of_their_own() -> None:
    ids, vectors, texts = _pool()
    vectors[4] = 0
    rows = clusters.cluster_samples(ids, vectors, texts, SelectionSettings(clusters=2), seed=0)
    assert rows.filter(pl.col("cluster") == rows["cluster"].max())["record_id"].to_list() == [ids[4]]
    assert rows["to_neighbours"][4] == 0
    assert not json.loads(rows["evidence"][4])["has_vector"]


@pytest.mark.parametrize(
    ("rows", "wanted", "count"), [(0, 0, 0), (1, 0, 1), (100, 0, 10), (100, 7, 7), (5, 9, 5)]
)
def test_cluster_count(rows: int, wanted: int, count: int) -> None:
    assert clusters.cluster_count(rows, SelectionSettings(clusters=wanted)) == count


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_tiny_pools(rows: int) -> None:
    ids, vectors, texts = _pool()
    got = clusters.cluster_samples(ids[:rows], vectors[:rows], texts[:rows], SelectionSettings(), seed=0)
    assert got.height == rows
    schemas.conform("clusters", got.with_columns(run_id=pl.lit("0" * 32)))


def test_equal_rows_do_not_break_the_clustering() -> None:
    cluster, _ = clusters.spherical_kmeans(exact_unit(np.ones((20, 4))), 5, seed=0)
    assert set(cluster) == {0}


def test_terms_leave_out_stop_words_and_single_texts() -> None:
    texts = pl.Series(["请问血糖怎么控制"] * 6 + ["请问血糖高 特特特特"])
    terms = clusters.cluster_terms(pl.Series([0] * 7), pl.Series([0.5] * 7), texts)["terms"][0].split()
    assert "血糖" in terms
    assert "请问" not in terms
    assert not [term for term in terms if "特特" in term]


def _blobs() -> tuple[pl.Series, np.ndarray, pl.Series, np.ndarray]:
    """Four groups of 40 rows, and one row far from all."""
    random = np.random.default_rng(3)
    group = np.append(np.repeat(np.arange(4), 40), 4)
    vectors = 3 * np.eye(12)[group] + random.normal(scale=0.2, size=(161, 12))
    ids = pl.Series([f"{i:032x}" for i in range(161)])
    return ids, vectors.astype(np.float32), pl.Series(["血糖"] * 161), group


@pytest.mark.parametrize("method", list(groupings.GROUPINGS))
def test_every_method_finds_clear_groups(method: str) -> None:
    ids, vectors, texts, group = _blobs()
    settings = SelectionSettings(cluster_method=method, clusters=4)  # type: ignore[arg-type]
    rows = clusters.cluster_samples(ids, vectors, texts, settings, seed=0)
    schemas.conform("clusters", rows.with_columns(run_id=pl.lit("0" * 32)))
    assert groupings.agreement(rows["cluster"].to_numpy()[:160], group[:160]) > (
        0.6 if method in ("one_pass", "kcenter", "kmeans", "mini_batch") else 0.95
    )
    assert not rows["fits"][160]
    assert rows["fits"][:160].mean() > 0.9  # type: ignore[operator]
    shuffled = np.random.default_rng(5).permutation(161)
    again = clusters.cluster_samples(ids[shuffled], vectors[shuffled], texts[shuffled], settings, seed=0)
    assert rows.equals(again)
    found = clusters.describe(rows, ids[shuffled], vectors[shuffled], settings, seed=0)
    assert found["silhouette"] > 0.3
    assert found["clusters"] == rows["cluster"].n_unique()
    assert found["inertia"] == pytest.approx((1 - rows["to_centre"]).sum())
    assert ("agreement_with_kmeans" in found) == (method != "kmeans")


@pytest.mark.parametrize("method", list(groupings.GROUPINGS))
@pytest.mark.parametrize("rows", [0, 1, 2, 7])
def test_every_method_bears_tiny_pools_and_rows_without_direction(method: str, rows: int) -> None:
    ids, vectors, texts, _ = _blobs()
    vectors[1] = 0
    settings = SelectionSettings(cluster_method=method)  # type: ignore[arg-type]
    got = clusters.cluster_samples(ids[:rows], vectors[:rows], texts[:rows], settings, seed=0)
    assert got.height == rows
    if rows > 1:
        assert got["cluster"][1] == got["cluster"].max()
        assert not got["fits"][1]
    clusters.describe(got, ids[:rows], vectors[:rows], settings, seed=0)


def test_what_a_row_covers_by_hand() -> None:
    similarity = np.array([[0.9, 0.5], [0.9, 0.8], [0.8, 0.5]], dtype=np.float32)
    index = np.array([[1, 2], [0, 2], [1, 0]])
    # radii 0.7, 0.85, 0.65: row 0 is near to 1, row 1 to 0 and 2, row 2 to nobody
    assert clusters.covers(similarity, index, similarity.mean(axis=1)).tolist() == [1, 2, 0]
