"""Does the reward rank answers as people's stars do? The figures of `curation evaluate quality`.

Belongs here: reading the labelled folders, keeping the subject that is measured out of the training, and the
arithmetic of the figures. Does not belong here: the scores (`curation.scores`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from curation.evaluation.intervals import interval
from curation.evaluation.neardup import spearman
from curation.evaluation.preference import learn, letters, read_pairs, without
from curation.evaluation.reading import read_lines
from curation.evaluation.verdicts import unlabelled_quality
from curation.settings import Profile


def evaluate_quality(folder: Path, profile: Profile, *, train: Path | None = None) -> dict[str, float]:
    """Rank correlation of the reward with the score that people gave.

    With `train`, a folder in the layout of `preference`, the reward model of each subject learns from the
    pairs of other subjects (those whose kind does not name it) that ask none of its questions. Without,
    the score is the combined quality that the assets would learn from the rows themselves, without a
    label.

    Returns
    -------
    dict
        spearman (with `.low` and `.high`, by bootstrap over questions), spearman.<subject>,
        within_question (mean over questions of three and more answers), length_spearman; and
        gpt4_spearman where the rows have that score.

    Raises
    ------
    UserError
        A file is missing or lacks a column, or there are too few pairs to learn from.
    """
    rows = read_lines(folder, "human_scores_zh", ["instruction", "output", "human_score"])
    subject = pl.col("subject").cast(pl.String).fill_null("") if "subject" in rows.columns else pl.lit("")
    rows = rows.with_columns(pl.col("instruction", "output").cast(pl.String).fill_null(""), subject=subject)
    score = (
        unlabelled_quality(rows["instruction"], rows["output"], profile)
        if train is None
        else _by_other_subjects(rows, read_pairs(train), profile.seed)
    )
    return figures(rows, score, profile.seed)


def _by_other_subjects(rows: pl.DataFrame, pairs: pl.DataFrame, seed: int) -> np.ndarray:
    """The reward of each row by the model of its subject, float64 [n]."""
    found = np.full(rows.height, np.nan)
    for subject in rows["subject"].unique().sort():
        mine = (rows["subject"] == subject).to_numpy()
        own = rows.filter(mine)
        others = pairs if subject == "" else pairs.filter(~pairs["kind"].str.contains(subject, literal=True))
        model = learn(without(others, own["instruction"]), seed)
        found[mine] = model.reward(own["instruction"], own["output"])
    return found


def figures(rows: pl.DataFrame, score: np.ndarray, seed: int) -> dict[str, float]:
    """The figures, from rows with human_score, subject, instruction and output, and the score of each."""
    human = rows["human_score"].cast(pl.Float64).to_numpy()
    questions = letters(rows["instruction"])
    low, high = interval(questions, lambda drawn: spearman(score[drawn], human[drawn]), seed, rounds=300)
    found = {"spearman": spearman(score, human), "spearman.low": low, "spearman.high": high}
    for subject in rows["subject"].unique().sort():
        mine = (rows["subject"] == subject).to_numpy()
        found[f"spearman.{subject}"] = spearman(score[mine], human[mine])
    within = [
        spearman(score[mine], human[mine])
        for mine in questions.to_frame("question").with_row_index("row").group_by("question", maintain_order=True).agg("row")["row"]
        if len(mine) > 2 and len(np.unique(human[mine])) > 1
    ]  # fmt: skip
    found["within_question"] = float(np.mean(within)) if within else 0.0
    found["length_spearman"] = spearman(rows["output"].str.len_chars().to_numpy(), human)
    if "gpt4_score" in rows.columns:
        known = rows["gpt4_score"].cast(pl.Float64).is_not_null().to_numpy()
        found["gpt4_spearman"] = spearman(rows["gpt4_score"].cast(pl.Float64).to_numpy()[known], human[known])
    return found
