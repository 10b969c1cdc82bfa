"""The budget in tokens, quotas and floors, mixtures, reviews: kept to, and said in the evidence."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from curation import schemas
from curation.selection import budget, strategies
from curation.settings import SelectionSettings

N = 120


def _pool() -> tuple[pl.DataFrame, np.ndarray]:
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "record_id": [f"{i:032x}" for i in range(N)],
            "shard": ["a"] * N,
            "messages": pl.Series(
                [
                    [
                        {"role": "user", "content": "问题？"},
                        {"role": "assistant", "content": "答" * (1 + i % 20)},
                    ]
                    for i in range(N)
                ],
                dtype=schemas.Messages,
            ),
            "quality": random.random(N),
            "cluster": pl.Series(random.integers(0, 6, N), dtype=pl.Int32),
            "covers": random.integers(0, 9, N),
            "source": ["web"] * 80 + ["books"] * 30 + ["forum"] * 10,
            "language": ["zh"] * 100 + ["en"] * 20,
        }
    )
    return frame, random.normal(size=(N, 10)).astype(np.float32)


def _chosen(rows: pl.DataFrame) -> pl.DataFrame:
    return _pool()[0].join(rows.filter(pl.col("reason").is_null()).select("record_id"), on="record_id")


@pytest.mark.parametrize("strategy", ["default", "random", "longest", "kcenter"])
def test_quotas_and_floors_are_kept_to(strategy: str) -> None:
    frame, vectors = _pool()
    settings = SelectionSettings(
        budget=30, strategy=strategy, quotas={"source": {"web": 0.3}, "language": {"*": 0.8}},
        floors={"source": {"forum": 0.2}},
    )  # type: ignore[arg-type]  # fmt: skip
    rows = strategies.select_samples(frame, vectors, settings, seed=0)
    source = dict(_chosen(rows)["source"].value_counts().iter_rows())
    language = dict(_chosen(rows)["language"].value_counts().iter_rows())
    assert sum(source.values()) == 30
    assert source["web"] <= 9
    assert source["forum"] >= 6
    assert max(language.values()) <= 24
    full = rows.filter(pl.col("reason") == "over_quota")
    assert full.height or strategy == "default"  # whose probabilities keep to the quotas
    assert {json.loads(text)["full"] for text in full["evidence"]} <= {"source", "language"}


def test_the_default_meets_the_limits_by_its_probabilities() -> None:
    frame, vectors = _pool()
    settings = SelectionSettings(budget=30, quotas={"source": {"web": 0.5}})
    rows = strategies.select_samples(frame, vectors, settings, seed=0)
    chance = rows.join(frame.select("record_id", "source"), on="record_id")
    assert chance["inclusion_probability"].sum() == pytest.approx(30)
    web = chance.filter(pl.col("source") == "web")["inclusion_probability"].sum()
    assert web == pytest.approx(15, abs=0.01)


def test_tokens_as_the_budget() -> None:
    frame, vectors = _pool()
    assert budget.tokens_of(frame)[:2].to_list() == [4, 5]  # 问 题 ？ and the answer
    rows = strategies.select_samples(frame, vectors, SelectionSettings(budget_tokens=200), seed=0)
    spent = int(budget.tokens_of(_chosen(rows)).sum())
    assert 195 <= spent <= 200
    assert json.loads(rows["evidence"][0])["limits"]["budget_tokens"] == 200


def test_tokens_of_words_and_marks() -> None:
    one = pl.DataFrame({"messages": [[{"role": "user", "content": "GPU 有 16GB，对吗?"}]]})
    assert budget.tokens_of(one).to_list() == [7]


def test_near_copies_do_not_use_up_a_quota() -> None:
    frame, vectors = _pool()
    vectors[:10] = vectors[0]
    settings = SelectionSettings(budget=40, strategy="random", quotas={"source": {"web": 0.5}})
    rows = strategies.select_samples(frame, vectors, settings, seed=1)
    assert _chosen(rows).height == 40
    assert (_chosen(rows)["source"] == "web").sum() == 20


def test_a_mixture_draws_from_each_in_proportion() -> None:
    frame, vectors = _pool()
    frame = frame.with_columns(ifd=pl.Series(np.random.default_rng(3).uniform(0.3, 1.2, N)))
    settings = SelectionSettings(budget=20, strategy="mix", mix={"quality_top": 3, "random": 1})
    rows = strategies.select_samples(frame, vectors, settings, seed=0)
    assert rows["inclusion_probability"].sum() == pytest.approx(20)
    noted = pl.DataFrame([json.loads(text) for text in rows["evidence"]])
    mixed = 0.75 * noted["chance_quality_top"] + 0.25 * noted["chance_random"]
    assert noted["inclusion_probability"].to_list() == pytest.approx(mixed.to_list(), abs=1e-8)
    best = frame.sort("quality", descending=True).head(20)["record_id"]
    assert 13 <= _chosen(rows)["record_id"].is_in(best.implode()).sum() <= 18


def test_what_was_rejected_is_not_chosen_and_its_cluster_weighs_less() -> None:
    frame, vectors = _pool()
    of = frame.filter(pl.col("cluster") == 2)["record_id"]
    decisions = pl.DataFrame({"target": of.head(6), "decision": ["reject"] * 5 + ["accept"]})
    rows = strategies.select_samples(frame, vectors, SelectionSettings(budget=30), 0, decisions)
    rejected = rows.filter(pl.col("reason") == "rejected_by_reviewer")
    assert rejected["record_id"].to_list() == sorted(of.head(5))
    assert rejected["inclusion_probability"].to_list() == [0.0] * 5
    assert rows["inclusion_probability"].sum() == pytest.approx(30)
    factors = rows.with_columns(
        factor=pl.col("evidence").str.json_path_match("$.review_factor").cast(pl.Float64)
    )
    assert factors.filter(pl.col("cluster") == 2)["factor"].max() < 1
    assert (factors.filter(pl.col("cluster") != 2)["factor"] == 1).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"mix": {}},
        {"mix": {"mix": 1}},
        {"floors": {"source": {"a": 0.7, "b": 0.6}}},
        {"floors": {"source": {"a": 0.5}}, "quotas": {"source": {"*": 0.2}}},
        {"quotas": {"colour": {"red": 0.1}}},
    ],
)
def test_settings_that_cannot_be_met(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SelectionSettings(**wrong)  # type: ignore[arg-type]
