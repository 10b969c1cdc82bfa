"""An answer that was given to another prompt scores low, a class label does not."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.lsa import Lsa
from curation.scores import mismatch
from curation.scores.quality import folds_of

FOLDS = 2


def fitted(pool: pl.DataFrame) -> tuple[mismatch.MatchModel, mismatch.Encoded, mismatch.Encoded, np.ndarray]:
    encoder = Lsa.fit(
        pl.concat([pool["prompt"], pool["answer"]]),
        mismatch.ENCODER.model_copy(update={"dimension": 32, "buckets_log2": 12}),
        1,
    )
    prompts, answers = (mismatch.encode(encoder, pool[name]) for name in ("prompt", "answer"))
    folds = folds_of(pool["record_id"], FOLDS)
    towers = mismatch.fit_towers(prompts, answers, folds, FOLDS, 1)
    partners = mismatch.shuffled_partners(prompts.vectors, pool["answer"], 1)
    rows = np.flatnonzero(partners >= 0)
    true = mismatch.pair_features(towers, prompts, answers, folds)
    shuffled = mismatch.pair_features(towers, prompts.take(rows), answers.take(partners[rows]), folds[rows])
    return mismatch.fit_match(encoder, towers, true, folds, shuffled, folds[rows]), prompts, answers, folds


@pytest.fixture(scope="module")
def model(pool: pl.DataFrame) -> tuple[mismatch.MatchModel, mismatch.Encoded, mismatch.Encoded, np.ndarray]:
    return fitted(pool)


def test_answers_of_other_prompts_score_low(pool: pl.DataFrame, model) -> None:  # type: ignore[no-untyped-def]
    match, prompts, answers, folds = model
    own = match.probability(prompts, answers, folds)
    rows = np.arange(len(pool))
    others = match.probability(prompts, answers.take((rows + 97) % len(rows)), folds)
    long = (pool["answer"].str.len_chars() > 10).to_numpy()
    assert np.median(own[long]) > 0.7
    assert np.median(others[long & ~np.isin(rows, (rows[~long] - 97) % len(rows))]) < 0.3
    assert match.auc > 0.85


def test_class_labels_are_neutral(pool: pl.DataFrame, model) -> None:  # type: ignore[no-untyped-def]
    match, prompts, answers, folds = model
    label = pool["answer"].is_in(["菜", "城市"]).to_numpy()
    scores = match.probability(prompts, answers, folds)[label]
    assert ((scores > 0.35) & (scores < 0.65)).all()
    flipped = match.probability(
        prompts.take(np.flatnonzero(label)), answers.take(np.flatnonzero(label)[::-1]), folds[label]
    )
    assert (flipped > 0.35).all()


def test_what_the_language_model_gains_counts(pool: pl.DataFrame, model) -> None:  # type: ignore[no-untyped-def]
    match, prompts, answers, folds = model
    gains = np.where(np.arange(len(pool)) % 2 == 0, 1.0, np.nan)
    features = mismatch.pair_features(match.towers, prompts, answers, folds, gains)
    assert features[::2, -1].tolist() == [1.0] * len(features[::2])
    assert not features[1::2, -1].any()


def test_save_and_load(pool: pl.DataFrame, model, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    match, prompts, answers, folds = model
    match.save(tmp_path)
    again = mismatch.MatchModel.load(tmp_path)
    assert np.array_equal(
        again.probability(again.encode(pool["prompt"]), again.encode(pool["answer"]), folds),
        match.probability(prompts, answers, folds),
    )


def test_the_same_seed_gives_the_same_model(pool: pl.DataFrame, model) -> None:  # type: ignore[no-untyped-def]
    again, *_ = fitted(pool)
    assert np.array_equal(again.weights, model[0].weights)
    assert np.array_equal(again.towers[0].prompt, model[0].towers[0].prompt)


def test_empty_texts_can_be_scored(model) -> None:  # type: ignore[no-untyped-def]
    match = model[0]
    empty = match.encode(pl.Series(["", "茶"], dtype=pl.String))
    assert np.isfinite(match.probability(empty, empty, np.array([0, 1]))).all()
    assert (
        len(
            match.probability(
                empty.take(np.array([], dtype=int)),
                empty.take(np.array([], dtype=int)),
                np.array([], dtype=int),
            )
        )
        == 0
    )


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from("甲乙丙"), max_size=12))
def test_a_partner_is_another_row_with_another_answer(answers: list[str]) -> None:
    points = np.random.default_rng(0).normal(size=(len(answers), 4)).astype(np.float32)
    partners = mismatch.shuffled_partners(points, pl.Series(answers, dtype=pl.String), 1)
    assert len(partners) == len(answers)
    assert all(partner == -1 or answers[partner] != answers[row] for row, partner in enumerate(partners))
