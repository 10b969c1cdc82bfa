"""The choice: every row judged, the size is the budget, near choices refused, and each strategy does what it says."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from scipy.stats import t

from curation import schemas
from curation.audit.measures import mean_pairwise_distance, vendi_score
from curation.errors import UserError
from curation.selection import greedy, strategies
from curation.selection.geometry import exact_unit
from curation.settings import SelectionSettings
from curation.verdicts import conservation


def _pool(n: int = 60, seed: int = 0) -> tuple[pl.DataFrame, np.ndarray]:
    random = np.random.default_rng(seed)
    messages = [
        [
            {"role": "user", "content": f"问题{i}"},
            {"role": "assistant", "content": "答" * int(random.integers(1, 50))},
        ]
        for i in range(n)
    ]
    frame = pl.DataFrame(
        {
            "record_id": [f"{i:032x}" for i in range(n)],
            "shard": ["a"] * n,
            "messages": pl.Series(messages, dtype=schemas.Messages),
            "quality": random.random(n),
            **{score: random.uniform(0.2, 1.3, n) for score in ("ifd", "ifd_ppl", "entropy")},
            "ppl": random.uniform(2, 90, n),
            "task": [("qa", "写作", None)[i % 3] for i in range(n)],
            "language": [("zh", "en")[i % 4 == 0] for i in range(n)],
            "cluster": pl.Series(random.integers(0, 5, n), dtype=pl.Int32),
            "covers": random.integers(0, 9, n),
        }
    )
    return frame, random.normal(size=(n, 12)).astype(np.float32)


@pytest.mark.parametrize("strategy", list(strategies.STRATEGIES))
def test_every_row_is_judged_and_the_budget_is_met(strategy: str) -> None:
    frame, vectors = _pool()
    settings = SelectionSettings(budget=17, strategy=strategy)  # type: ignore[arg-type]
    rows = strategies.select_samples(frame, vectors, settings, seed=1)
    assert conservation("judge", frame.lazy().select("record_id"), rows.lazy()).ok
    assert rows["verdict"].cast(pl.String).value_counts().sort("verdict").rows() == [
        ("dropped", 43),
        ("kept", 17),
    ]
    assert rows["inclusion_probability"].sum() == pytest.approx(17)
    schemas.conform("sft_set", rows.with_columns(run_id=pl.lit("0" * 32)))
    assert json.loads(rows["evidence"][0])["limits"]["budget"] == 17


@pytest.mark.parametrize("strategy", list(strategies.STRATEGIES))
def test_same_input_same_choice_whatever_the_order(strategy: str) -> None:
    frame, vectors = _pool()
    settings = SelectionSettings(budget=0.25, strategy=strategy)  # type: ignore[arg-type]
    shuffled = np.random.default_rng(9).permutation(frame.height)
    one = strategies.select_samples(frame, vectors, settings, seed=4)
    assert one.equals(strategies.select_samples(frame[shuffled], vectors[shuffled], settings, seed=4))


@pytest.mark.parametrize("strategy", list(strategies.STRATEGIES))
def test_every_row_says_how_it_was_taken_or_why_not(strategy: str) -> None:
    frame, vectors = _pool()
    rows = strategies.select_samples(frame, vectors, SelectionSettings(budget=17, strategy=strategy), seed=1)  # type: ignore[arg-type]
    noted = pl.DataFrame([json.loads(text) for text in rows["evidence"]], infer_schema_length=None)
    kept = (rows["verdict"] == "kept").to_numpy()
    assert noted["strategy"].unique().to_list() == [strategy]
    assert sorted(noted["place"]) == list(range(1, 61))
    assert (
        noted.filter(kept)["place"].max()
        <= noted.filter(~pl.Series(kept) & rows["reason"].eq("over_budget"))["place"].min()
    )  # type: ignore[operator]
    assert noted["gain"].null_count() < 60
    certain = noted["inclusion_probability"].is_in([0.0, 1.0]).all()
    drawn = ("default", "random", "kmeans_random", "cluster_weighted", "neighbour_weighted", "stratified", "dsir", "mix")  # fmt: skip
    assert certain == (strategy not in drawn)
    if certain:
        assert ((noted["inclusion_probability"] == 1).to_numpy() == kept).all()
        assert noted.filter(kept)["place"].to_list().count(1) == 1


@pytest.mark.parametrize("strategy", ["ifd_top", "deita", "superfiltering", "uncertain", "ppl_worst"])
def test_a_score_that_is_not_there_is_named(strategy: str) -> None:
    frame, vectors = _pool()
    missing = strategies.NEEDS[strategy]
    settings = SelectionSettings(strategy=strategy)  # type: ignore[arg-type]
    for without in (frame.drop(missing), frame.with_columns(pl.lit(None, dtype=pl.Float64).alias(missing))):
        with pytest.raises(UserError, match=f"needs the score {missing}"):
            strategies.select_samples(without, vectors, settings, seed=0)


def _kept(strategy: str, frame: pl.DataFrame, vectors: np.ndarray, size: int) -> list[int]:
    settings = SelectionSettings(budget=size, strategy=strategy, max_similarity=1)  # type: ignore[arg-type]
    rows = strategies.select_samples(frame, vectors, settings, seed=0)
    return np.flatnonzero((rows["verdict"] == "kept").to_numpy()).tolist()


def test_rankings_by_hand() -> None:
    frame, vectors = _pool(6)
    frame = frame.with_columns(
        ifd=pl.Series([0.5, 1.4, 0.9, 0.7, None, 0.95]),
        ifd_ppl=pl.Series([0.5, 1.4, 0.9, 0.7, None, 0.95]),
        entropy=pl.Series([9.0, 1, 5, 2, 3, 4]),
        ppl=pl.Series([1.0, 99, 3, 4, 5, 2]),
        quality=pl.Series([0.1, 0.2, 0.8, 0.9, 0.3, 0.4]),
    )
    assert _kept("ifd_top", frame, vectors, 2) == [2, 5]  # 1.4 is not below 1
    assert _kept("deita", frame, vectors, 2) == [2, 3]  # 0.72 and 0.63
    rated = frame.with_columns(evol=pl.Series([3.0, 30.0, 9.0, 8.0, 31.0, 2.0]))
    assert _kept("deita", rated, vectors, 2) == [1, 4]  # what the scorer models say goes before
    assert _kept("deita", rated.with_columns(evol=pl.lit(None, pl.Float64)), vectors, 2) == [2, 3]
    assert _kept("uncertain", frame, vectors, 2) == [2, 5]  # of 2, 3, 5
    assert _kept("ppl_worst", frame, vectors, 2) == [2, 3]


def test_deita_refuses_what_is_near_to_an_accepted_row() -> None:
    frame, vectors = _pool(6)
    vectors = np.eye(6, 12)
    vectors[1] = [0.93, (1 - 0.93**2) ** 0.5, *[0] * 10]
    frame = frame.with_columns(ifd=pl.lit(1.0), quality=pl.Series([0.9, 0.8, 0.1, 0.2, 0.3, 0.4]))
    rows = strategies.select_samples(frame, vectors, SelectionSettings(budget=2, strategy="deita"), seed=0)
    assert rows["reason"][1] == "too_similar"
    assert json.loads(rows["evidence"][1])["limits"]["max_similarity"] == 0.9
    assert (rows["verdict"] == "kept").to_list() == [True, False, False, False, False, True]


def test_semdedup_keeps_the_farthest_and_what_is_unlike_it() -> None:
    frame, _ = _pool(5)
    angle = np.deg2rad([0, 4, 8, 60, 100])
    frame = frame.with_columns(cluster=pl.lit(0, dtype=pl.Int32))
    vectors = np.column_stack([np.cos(angle), np.sin(angle)])
    # the mean lies at about 33 degrees: 100 is farthest, then 0, 60, 4, 8 (27 from it, as 60 is)
    assert _kept("semdedup", frame, vectors, 3) == [0, 3, 4]


def test_strata_get_the_same_number() -> None:
    frame, vectors = _pool()
    frame = frame.with_columns(task=pl.Series(["a"] * 50 + ["b"] * 6 + ["c"] * 4))
    rows = strategies.select_samples(
        frame, vectors, SelectionSettings(budget=12, strategy="stratified"), seed=0
    )
    kept = frame.filter(rows["verdict"] == "kept")["task"].value_counts().sort("task")["count"].to_list()
    assert kept == [4, 4, 4]


def test_one_pass_keeps_the_widest_distance_that_fills_the_budget() -> None:
    frame, vectors = _pool()
    rows = strategies.select_samples(
        frame, vectors, SelectionSettings(budget=10, strategy="one_pass"), seed=0
    )
    kept = exact_unit(vectors)[(rows["verdict"] == "kept").to_numpy()]
    radius = json.loads(rows["evidence"][0])["radius"]
    assert len(kept) == 10
    assert (1 - np.triu(kept @ kept.T, 1)).min() >= radius - 1e-6
    assert radius > 0.1


def test_another_seed_draws_another_sample() -> None:
    frame, vectors = _pool()
    draws = [strategies.select_samples(frame, vectors, SelectionSettings(budget=10), seed) for seed in (0, 1)]
    assert not draws[0]["verdict"].equals(draws[1]["verdict"])


def test_another_seed_gives_the_same_measures_within_their_interval() -> None:
    frame, vectors = _pool(400)
    unit = exact_unit(vectors)
    found = []
    for seed in range(12):
        rows = strategies.select_samples(frame, vectors, SelectionSettings(budget=60), seed)
        kept = (rows["verdict"] == "kept").to_numpy()
        found.append((mean_pairwise_distance(unit[kept]), vendi_score(unit[kept]), frame["quality"].to_numpy()[kept].mean()))  # fmt: skip
    before, after = np.array(found[:10]), np.array(found[10:])
    tail = 0.05 / after.size / 2  # the six comparisons hold together at 95 % (Bonferroni)
    half = t.ppf(1 - tail, 9) * before.std(axis=0, ddof=1) * np.sqrt(1.1)
    assert (np.abs(after - before.mean(axis=0)) <= half).all()


def test_longest_and_quality_top() -> None:
    frame, vectors = _pool()
    frame = frame.with_columns(chars=pl.col("messages").list.last().struct.field("content").str.len_chars())
    for strategy, column in (("longest", "chars"), ("quality_top", "quality")):
        settings = SelectionSettings(budget=10, strategy=strategy, max_similarity=1)  # type: ignore[arg-type]
        rows = strategies.select_samples(frame, vectors, settings, seed=0)
        kept = rows.filter(pl.col("verdict").cast(pl.String) == "kept")["record_id"]
        assert (
            frame.filter(pl.col("record_id").is_in(kept.implode()))[column].min()
            >= frame[column].sort(descending=True)[9]
        )


def test_near_choices_are_refused_and_their_places_refilled() -> None:
    frame, vectors = _pool(20)
    vectors[1:6] = vectors[0] * np.array([[2.0], [3], [4], [5], [6]])
    frame = frame.with_columns(quality=pl.when(pl.int_range(pl.len()) < 6).then(1.0).otherwise(0.2))
    settings = SelectionSettings(budget=8, strategy="quality_top")
    rows = strategies.select_samples(frame, vectors, settings, seed=0)
    refused = rows.filter(pl.col("reason") == "too_similar")
    assert refused["record_id"].to_list() == frame["record_id"][1:6].to_list()
    assert {json.loads(text)["close_to"] for text in refused["evidence"]} == {frame["record_id"][0]}
    assert (rows["verdict"].cast(pl.String) == "kept").sum() == 8
    refilled = [json.loads(text)["took_a_refused_place"] for text in rows["evidence"]]
    assert sum(refilled) == 5


def test_fewer_than_the_budget_where_all_are_alike() -> None:
    frame, _ = _pool(10)
    rows = strategies.select_samples(frame, np.ones((10, 3)), SelectionSettings(budget=4), seed=0)
    assert (rows["verdict"].cast(pl.String) == "kept").sum() == 1
    assert rows["reason"].drop_nulls().unique().to_list() == ["too_similar"]


def test_quality_and_rare_clusters_are_preferred() -> None:
    frame, vectors = _pool(400)
    frame = frame.with_columns(
        cluster=pl.when(pl.int_range(pl.len()) < 20).then(0).otherwise(1).cast(pl.Int32)
    )
    chosen = pl.concat(
        strategies.select_samples(
            frame, vectors, SelectionSettings(budget=40, quality_power=2, scarcity=1), seed
        )
        .filter(pl.col("reason").is_null())
        .select("record_id")
        for seed in range(20)
    ).join(frame, on="record_id")
    assert chosen["quality"].mean() > 0.65  # type: ignore[operator]
    assert (chosen["cluster"] == 0).mean() > 0.08  # type: ignore[operator]


def _plain_k_center(unit: np.ndarray, size: int, first: int) -> list[int]:
    picks = [first]
    while len(picks) < size:
        distance = 1 - (unit @ unit[picks].T).max(axis=1).astype(np.float64)
        distance[picks] = -np.inf
        picks.append(int(np.argmax(distance)))
    return picks


@pytest.mark.parametrize("seed", range(4))
def test_lazy_k_center_equals_the_plain_one(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greedy, "_PICKS", 7)
    random = np.random.default_rng(seed)
    unit = exact_unit(random.normal(size=(600, 5)))
    unit[random.random(600) < 0.1] = 0  # rows without direction, and equal rows
    unit[random.integers(600, size=60)] = unit[random.integers(600, size=60)]
    picks, bound = greedy.k_center_greedy(unit, 60, seed)
    assert picks.tolist() == _plain_k_center(unit, 60, int(picks[0]))
    true = 1 - (unit @ unit[picks].T).max(axis=1)
    assert (bound >= true - 1e-6)[~np.isin(np.arange(600), picks)].all()


def test_k_center_of_equal_rows() -> None:
    picks, _ = greedy.k_center_greedy(exact_unit(np.ones((6, 3))), 4, seed=0)
    assert picks[1:].tolist() == [row for row in range(6) if row != picks[0]][:3]


@pytest.mark.parametrize(("rows", "size", "count"), [(0, 3, 0), (3, 0, 0), (2, 5, 2)])
def test_k_center_of_few_rows(rows: int, size: int, count: int) -> None:
    picks, bound = greedy.k_center_greedy(exact_unit(np.eye(4)[:rows]), size, seed=0)
    assert len(set(picks.tolist())) == count
    assert len(bound) == rows


@pytest.mark.parametrize(
    ("rows", "budget", "wanted"),
    [(100, 0.1, 10), (3, 0.1, 1), (100, 7, 7), (5, 7, 5), (0, 0.5, 0), (10, 1, 1)],
)
def test_budget(rows: int, budget: float, wanted: int) -> None:
    assert strategies.budget_of(rows, SelectionSettings(budget=budget)) == wanted


@pytest.mark.parametrize("strategy", list(strategies.STRATEGIES))
def test_empty_pool(strategy: str) -> None:
    frame, vectors = _pool(0)
    rows = strategies.select_samples(frame, vectors, SelectionSettings(strategy=strategy), seed=0)  # type: ignore[arg-type]
    assert rows.height == 0
    schemas.conform("sft_set", rows.with_columns(run_id=pl.lit("0" * 32)))
