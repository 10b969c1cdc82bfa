"""Clusters: what belongs together is together, named by its words, whatever the order and the threads."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from curation import schemas
from curation.selection import clusters
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
