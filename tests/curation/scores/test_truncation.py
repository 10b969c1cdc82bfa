"""Answers that were cut off are told from whole ones."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation.scores import truncation
from curation.scores.quality import folds_of


@pytest.fixture(scope="module")
def model(pool: pl.DataFrame) -> truncation.TruncationModel:
    return truncation.fit_truncation(pool["answer"], folds_of(pool["record_id"], 2), 2, 1)


def test_cut_answers_score_high(pool: pl.DataFrame, model: truncation.TruncationModel) -> None:
    folds = folds_of(pool["record_id"], 2)
    whole = model.probability(pool["answer"], folds)
    cut = model.probability(pool["answer"].str.head(25), folds)
    long = (pool["answer"].str.len_chars() > 30).to_numpy()
    assert np.median(whole[long]) < 0.1
    assert np.median(cut[long]) > 0.9
    assert model.auc > 0.95
    assert 0 < model.trained_on <= len(pool)


def test_class_labels_are_not_cut(pool: pl.DataFrame, model: truncation.TruncationModel) -> None:
    label = pool["answer"].is_in(["菜", "城市"]).to_numpy()
    assert (model.probability(pool["answer"], folds_of(pool["record_id"], 2))[label] < 0.5).all()


def test_save_and_load(pool: pl.DataFrame, model: truncation.TruncationModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    again = truncation.TruncationModel.load(tmp_path)
    folds = folds_of(pool["record_id"], 2)
    assert np.array_equal(again.probability(pool["answer"], folds), model.probability(pool["answer"], folds))
    assert (again.auc, again.trained_on) == (model.auc, model.trained_on)


def test_nothing_to_learn_from() -> None:
    model = truncation.fit_truncation(pl.Series(["茶"]), np.array([0]), 2, 1)
    assert model.probability(pl.Series(["", "茶水很"]), np.array([0, 1])).tolist() == [0.0, 0.5]
