"""The models learn from the pool, score each sample by itself, and give a verdict that can be explained."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation import schemas
from curation.scores import quality
from curation.scores.combination import information
from curation.scores.language_model import STORED_ONLY
from curation.scores.made_up import KINDS
from curation.scores.ratings import LAYOUTS
from curation.scores.verb_objects import verb_objects
from curation.settings import ScoreSettings

SETTINGS = ScoreSettings(made_up=40, folds=2, false_positive_rate=0.02)
NOBODY = pl.DataFrame(schema={"target": pl.String, "decision": pl.String})


def predict(prompts: pl.Series, answers: pl.Series) -> pl.DataFrame:
    """A language model that likes answers which share characters with their prompts."""
    shared = [
        len(set(prompt) & set(answer)) / max(1, len(set(answer)))
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    conditional = pl.Series([4 - 3 * share for share in shared])
    return pl.DataFrame(
        {"loss_conditional": conditional, "loss_alone": [4.0] * len(shared), "entropy": [2.0] * len(shared)}
    )


def measured(pool: pl.DataFrame) -> pl.DataFrame:
    return pool.hstack(predict(pool["prompt"], pool["answer"]))


@pytest.fixture(scope="module")
def model(pool: pl.DataFrame) -> quality.QualityModel:
    return quality.train_quality(measured(pool), NOBODY, SETTINGS, 1, predict)


@pytest.fixture(scope="module")
def scores(pool: pl.DataFrame, model: quality.QualityModel) -> pl.DataFrame:
    return quality.score_samples(model, measured(pool))


def spoilt(pool: pl.DataFrame, answers: pl.Expr) -> pl.DataFrame:
    return pool.filter(pl.col("answer").str.len_chars() > 30).with_columns(answer=answers)


def test_defects_score_worse_than_what_they_were_made_of(
    pool: pl.DataFrame, model: quality.QualityModel, scores: pl.DataFrame
) -> None:
    long = scores.filter(pool["answer"].str.len_chars() > 30)
    for answers, column, worse in (
        (pl.col("answer").reverse(), "match", -1),
        (pl.col("answer").str.head(20), "truncation", 1),
        (pl.col("answer") + "再等一会儿，" * 20, "repetition", 1),
        (pl.lit("The city is very nice in spring and the food is good there."), "language_mismatch", 1),
        (pl.lit("很抱歉，作为一个人工智能语言模型，我无法回答。"), "quality", -1),
        (pl.col("prompt"), "quality", -1),
    ):
        bad = quality.score_samples(model, spoilt(pool, answers))
        assert worse * (bad[column].median() - long[column].median()) > 0, column  # type: ignore[operator]
        assert bad["quality"].median() < long["quality"].median(), column  # type: ignore[operator]


def test_a_sound_pool_is_kept(pool: pl.DataFrame, model: quality.QualityModel, scores: pl.DataFrame) -> None:
    unknown = [
        pl.lit(None, dtype=pl.Float64).alias(name) for name in (*STORED_ONLY, *LAYOUTS, "evol", "trust")
    ]
    judged = quality.judge_scores(scores, model, SETTINGS).with_columns(
        *unknown, verb_objects(pool["prompt"])
    )
    assert schemas.conform("scores", judged.with_columns(run_id=pl.lit("0" * 32))).height == len(pool)
    assert (judged["verdict"] == "kept").mean() > 0.9
    assert judged["record_id"].to_list() == pool["record_id"].to_list()


def test_the_reason_is_the_score_that_speaks_most_clearly(model: quality.QualityModel) -> None:
    rising = {name: quality.Indicator(0.1, (0.5, 1.0), (0.0, 0.8)) for name in quality.INDICATORS}
    judged_by = replace(model, indicators=rising, limit=quality.Limit(0.7, 0.1, 0.01, 0.9))
    sound = {
        "match": 0.9,
        "truncation": 0.1,
        "repetition": 0.0,
        "garble": 0.0,
        "markup": 0.0,
        "language_mismatch": 0.0,
        "soundness": 0.6,
        "surprise": 0.2,
    }
    cases = [
        ({}, None),
        ({"match": 0.02}, "answer_mismatch"),
        ({"truncation": 0.98, "match": 0.4}, "truncated"),
        ({"truncation": 0.95, "match": 0.02}, "answer_mismatch"),
        ({"match": 0.1}, None),
        ({"repetition": 1.0}, "repetition"),
        ({"garble": 1.0}, "mojibake"),
        ({"markup": 1.0}, "boilerplate"),
        ({"language_mismatch": 1.0}, "wrong_language"),
        ({"surprise": 1.0}, "unpredictable"),
        ({"surprise": None}, None),
        ({"soundness": 0.01}, "below_quality"),
    ]
    frame = pl.DataFrame([sound | changed for changed, _ in cases]).with_columns(
        record_id=pl.lit("a" * 32),
        shard=pl.lit("s"),
        ifd=pl.lit(0.5),
        entropy=pl.lit(1.0),
        conflicts_with=pl.lit("b" * 32),
    )
    judged = quality.judge_scores(frame, judged_by, SETTINGS)
    assert judged["reason"].to_list() == [reason for _, reason in cases]
    evidence = json.loads(judged["evidence"][3])
    assert evidence["noise"] == pytest.approx(0.8 * 0.96)
    assert evidence["clearest"] == "mismatch"
    assert evidence["conflicts_with"] == "b" * 32
    assert evidence["limits"] == {"max_noise": 0.7, "min_quality": SETTINGS.min_quality}
    assert evidence["mismatch"] == pytest.approx(0.98)
    floor = quality.judge_scores(frame, judged_by, SETTINGS.model_copy(update={"min_quality": 0.7}))
    assert floor["reason"].to_list()[0] == "below_quality"


def test_the_combined_quality_is_monotone(model: quality.QualityModel) -> None:
    assert (model.weights[:, :-2] <= 0).all()
    assert (model.weights[:, -2] >= 0).all()
    assert (np.diff(model.combination.quantiles) >= 0).all()


def test_quality_never_falls_when_soundness_or_information_rises(
    pool: pl.DataFrame, model: quality.QualityModel, scores: pl.DataFrame
) -> None:
    told = pl.Series(information(pool["answer"]))
    rows = pl.DataFrame({"told": told, "sound": scores["soundness"], "quality": scores["quality"]})
    for one, other in (("told", "sound"), ("sound", "told")):
        near = rows.with_columns(pl.col(one).rank("dense")).sort(one, other)
        steps = near.with_columns(pl.col("quality").diff().over(one)).drop_nulls()
        assert (steps["quality"] >= -1e-9).all()
    with_information, without = (
        rows.select(pl.corr(name, "told", method="spearman")).item() for name in ("quality", "sound")
    )
    assert with_information > without + 0.1
    alone = quality.train_quality(measured(pool), NOBODY, SETTINGS.model_copy(update={"information_weight": 0.0}), 1, predict)  # fmt: skip
    by_soundness = quality.score_samples(alone, measured(pool))
    assert by_soundness["soundness"].to_list() == scores["soundness"].to_list()
    np.testing.assert_allclose(by_soundness["quality"], by_soundness["soundness"], atol=2e-3)


def test_a_shard_scores_as_it_does_within_the_whole(
    pool: pl.DataFrame, model: quality.QualityModel, scores: pl.DataFrame
) -> None:
    some = pool.reverse().head(30)
    alone = quality.score_samples(model, measured(some))
    within = some.select("record_id").join(scores, on="record_id", how="left", maintain_order="left")
    for name in ("match", "truncation", "quality"):
        assert alone[name].to_list() == pytest.approx(within[name].to_list(), abs=1e-5)


def test_training_does_not_depend_on_the_order_of_the_rows(
    pool: pl.DataFrame, model: quality.QualityModel
) -> None:
    again = quality.train_quality(
        measured(pool).sample(fraction=1, shuffle=True, seed=5), NOBODY, SETTINGS, 1, predict
    )
    assert np.array_equal(again.weights, model.weights)
    assert (again.indicators, again.limit) == (model.indicators, model.limit)


def test_save_and_load(
    pool: pl.DataFrame, model: quality.QualityModel, scores: pl.DataFrame, tmp_path: Path
) -> None:
    model.save(tmp_path)
    again = quality.score_samples(quality.QualityModel.load(tmp_path), measured(pool))
    assert again.equals(scores)


def test_reviews_count(pool: pl.DataFrame) -> None:
    echoes = pool.head(40).with_columns(answer="prompt", record_id=pl.col("record_id").str.reverse())
    both = pl.concat([pool, echoes])
    decisions = pl.DataFrame(
        {"target": [*echoes["record_id"], "unknown"], "decision": ["accept"] * len(echoes) + ["reject"]}
    )
    without, reviewed = (quality.train_quality(both, people, SETTINGS, 1) for people in (NOBODY, decisions))
    place = quality.FEATURES.index("echo")
    assert (reviewed.weights[:, place] > without.weights[:, place]).all()
    before, after = (quality.score_samples(model, echoes)["quality"].mean() for model in (without, reviewed))
    assert after > before  # type: ignore[operator]


def test_the_table_of_the_model(model: quality.QualityModel) -> None:
    rows = model.rows("quality_model/abc")
    assert (
        schemas.conform("quality_model", rows.with_columns(run_id=pl.lit("0" * 32))).height
        == rows["record_id"].n_unique()
    )
    assert set(rows["model"]) == {"quality", "mismatch", "truncation", "combination"}
    assert rows.filter(pl.col("model") == "quality")["feature"].to_list() == list(quality.FEATURES)
    assert model.auc > 0.8


def test_a_reward_has_its_share_in_the_quality(
    pool: pl.DataFrame, model: quality.QualityModel, scores: pl.DataFrame
) -> None:
    assert scores["reward"].null_count() == scores.height
    liked = measured(pool).with_columns(
        reward=pl.col("record_id").str.head(4).str.to_integer(base=16).cast(pl.Float64)
    )
    with_reward = quality.train_quality(liked, NOBODY, SETTINGS, 1, predict)
    found = quality.score_samples(with_reward, liked)
    assert found["soundness"].to_list() == scores["soundness"].to_list()
    for frame, low, high in ((scores, -1.0, 0.5), (found, 0.5, 1.0)):
        joined = frame.select("quality").with_columns(liked["reward"])
        assert low < joined.select(pl.corr("quality", "reward", method="spearman")).item() < high
    assert with_reward.combination.importance[2] == pytest.approx(SETTINGS.reward_weight)


def test_answers_of_other_prompts_are_doubted(
    pool: pl.DataFrame, model: quality.QualityModel, scores: pl.DataFrame
) -> None:
    swapped = spoilt(pool, pl.col("answer").reverse())
    doubted = quality.score_samples(model, measured(swapped))["doubted"]
    assert doubted.mean() > scores["doubted"].mean() + 0.2  # type: ignore[operator]
    assert model.confident.rate < 0.2


def test_every_defect_shows_in_one_score() -> None:
    assert sorted(kind for kinds, _ in quality.INDICATORS.values() for kind in kinds) == sorted(KINDS)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_tiny_pools(pool: pl.DataFrame, rows: int) -> None:
    few = pool.head(rows)
    model = quality.train_quality(few, NOBODY, SETTINGS, 1)
    judged = quality.judge_scores(quality.score_samples(model, few), model, SETTINGS)
    assert judged.height == rows
