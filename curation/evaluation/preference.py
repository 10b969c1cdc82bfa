"""Which of two answers did a person prefer? The figures of `curation evaluate preference`.

Belongs here: reading the labelled folder, keeping questions that are measured out of the training, and the
arithmetic of the figures. Does not belong here: the reward model (`curation.scores.reward`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from curation.evaluation.intervals import interval
from curation.evaluation.reading import read_lines
from curation.scores import reward
from curation.settings import Profile

_FOLDS = 5


def evaluate_preference(folder: Path, profile: Profile, *, train: Path | None = None) -> dict[str, float]:
    """Share of pairs of which the reward model puts the chosen answer first.

    No question is in the training of the model that judges its answers: by cross-validation over
    questions or, with `train` naming another folder of the layout, by leaving the questions of `folder`
    out of it.

    Returns
    -------
    dict
        accuracy.<kind>.<lang>, longer.<kind>.<lang> ("the longer answer wins", beside it; a tie counts
        half), accuracy.human_zh and longer.human_zh (of the pairs that people judged, in Chinese), and
        gain.human_zh, the difference of the two; with `.low` and `.high` the ends of the 95 % interval of
        the last three, by bootstrap over questions.

    Raises
    ------
    UserError
        A file is missing or lacks a column, or there are too few pairs to learn from.
    """
    rows = read_pairs(folder)
    ahead = np.full(rows.height, np.nan)
    if train is None or train.resolve() == folder.resolve():
        folds = reward.prompt_folds(rows["prompt"], _FOLDS)
        for fold in np.unique(folds):
            model = learn(rows.filter(folds != fold), profile.seed)
            ahead[folds == fold] = margins(model, rows.filter(folds == fold))
    else:
        ahead = margins(learn(without(read_pairs(train), rows["prompt"]), profile.seed), rows)
    return figures(rows, ahead, profile.seed)


def read_pairs(folder: Path) -> pl.DataFrame:
    """prompt, chosen, rejected, kind, lang and human (false where the file does not say)."""
    rows = read_lines(folder, "chosen_rejected", ["prompt", "chosen", "rejected", "kind", "lang"])
    human = pl.col("human").fill_null(False) if "human" in rows.columns else pl.lit(False)
    texts = pl.col("prompt", "chosen", "rejected").cast(pl.String).fill_null("")
    return rows.select(
        texts, pl.col("kind", "lang").cast(pl.String).fill_null(""), human=human.cast(pl.Boolean)
    )


def without(rows: pl.DataFrame, prompts: pl.Series) -> pl.DataFrame:
    """The rows that ask none of these questions."""
    return rows.filter(~letters(rows["prompt"]).is_in(letters(prompts).implode()))


def letters(texts: pl.Series) -> pl.Series:
    """What is left of texts without marks, spaces and case: the same for the same question."""
    return texts.str.replace_all(r"[^\p{L}\p{N}]", "").str.to_lowercase()


def learn(rows: pl.DataFrame, seed: int) -> reward.RewardModel:
    """The reward model of these pairs."""
    return reward.fit_pairs(rows["prompt"], rows["chosen"], rows["rejected"], seed)


def margins(model: reward.RewardModel, rows: pl.DataFrame) -> np.ndarray:
    """By how much the chosen answer is ahead of the rejected one, float64 [n]."""
    told = pl.concat([rows["chosen"].rename("told"), rows["rejected"].rename("told")])
    chosen, rejected = np.split(model.reward(pl.concat([rows["prompt"], rows["prompt"]]), told), 2)
    return np.asarray(chosen - rejected)


def figures(rows: pl.DataFrame, ahead: np.ndarray, seed: int) -> dict[str, float]:
    """The figures, from pairs and by how much the chosen answer is ahead in each."""
    longer = (
        rows["chosen"].str.len_chars().cast(pl.Int64) - rows["rejected"].str.len_chars().cast(pl.Int64)
    ).to_numpy()
    right, by_length = ((np.sign(side) + 1) / 2 for side in (ahead, longer))
    found: dict[str, float] = {}
    for kind, lang in rows.select("kind", "lang").unique().sort("kind", "lang").iter_rows():
        mine = ((rows["kind"] == kind) & (rows["lang"] == lang)).to_numpy()
        found[f"accuracy.{kind}.{lang}"] = float(right[mine].mean())
        found[f"longer.{kind}.{lang}"] = float(by_length[mine].mean())
    people = np.flatnonzero((rows["human"] & (rows["lang"] == "zh")).to_numpy())
    if not len(people):
        return found
    questions = letters(rows["prompt"]).gather(people)
    for name, values in (("accuracy", right), ("longer", by_length), ("gain", right - by_length)):
        mine = values[people]
        low, high = interval(questions, lambda drawn, mine=mine: float(mine[drawn].mean()), seed)  # type: ignore[misc]
        found |= {
            f"{name}.human_zh": float(mine.mean()),
            f"{name}.human_zh.low": low,
            f"{name}.human_zh.high": high,
        }
    return found
