"""Would a person keep this sample? The figures of `curation evaluate verdicts`.

Belongs here: reading the labelled folder, keeping files apart, and the arithmetic of the figures.
Does not belong here: the scores (`curation.scores`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from curation.errors import UserError
from curation.evaluation.intervals import interval
from curation.evaluation.preference import letters, without
from curation.evaluation.reading import read_lines
from curation.records import digest
from curation.scores import language_model as lm
from curation.scores import quality, reward
from curation.settings import Profile

#: What a verdict counts beside one of `removed`: an edited sample was worth an effort.
_WEIGHTS = {"kept": 1.0, "edited": 0.5, "removed": 1.0}


def evaluate_verdicts(folder: Path, profile: Profile, *, train: Path | None = None) -> dict[str, float]:
    """How well a score tells what people removed or edited from what they kept.

    Without `train` the score is the combined quality that the assets learn from the rows themselves,
    without a label. With it, a model of the verdicts in `train` is asked. Where `train` is `folder`, the
    files (`proofread_file`) are split into two halves, in alphabetical order by turns; each half is scored by the
    model of the other one, and rows are compared within their half.

    Returns
    -------
    dict
        auc.removed and auc.edited, against kept rows, with `.low` and `.high` (the 95 % interval, by
        bootstrap); removed and kept, the numbers of such rows; with two halves also auc.removed.<half>.

    Raises
    ------
    UserError
        A file is missing or lacks a column, there is one file only, or the verdicts are too few to learn from.
    """
    rows = _read(folder)
    half = np.zeros(rows.height, dtype=np.int64)
    if train is None:
        score = unlabelled_quality(rows["prompt"], rows["answer"], profile)
    elif train.resolve() != folder.resolve():
        score = _model(without(_read(train), rows["prompt"]), profile).reward(rows["prompt"], rows["answer"])
    else:
        half = rows["file"].rank("dense").to_numpy().astype(np.int64) % 2
        if len(np.unique(half)) < 2:
            raise UserError(
                "has one file only, which cannot be split",
                where=str(folder),
                allowed="--train with another folder",
            )
        score = np.full(rows.height, np.nan)
        for one in np.unique(half):
            model = _model(rows.filter(half != one), profile)
            score[half == one] = model.reward(
                rows["prompt"].filter(half == one), rows["answer"].filter(half == one)
            )
    return figures(rows, score, half, profile.seed)


def _read(folder: Path) -> pl.DataFrame:
    """prompt, answer, verdict, file; a folder without file names is one file."""
    rows = read_lines(folder, "rows", ["instruction", "output", "verdict"])
    given = pl.col("input").cast(pl.String).fill_null("") if "input" in rows.columns else pl.lit("")
    file = (
        pl.col("proofread_file").cast(pl.String).fill_null("")
        if "proofread_file" in rows.columns
        else pl.lit("")
    )
    asked = pl.col("instruction").cast(pl.String).fill_null("")
    return rows.select(
        prompt=pl.when(given == "").then(asked).otherwise(asked + "\n" + given),
        answer=pl.col("output").cast(pl.String).fill_null(""),
        verdict=pl.col("verdict").cast(pl.String),
        file=file,
    ).filter(pl.col("verdict").is_in(list(_WEIGHTS)))  # fmt: skip


def unlabelled_quality(prompts: pl.Series, told: pl.Series, profile: Profile) -> np.ndarray:
    """The combined quality as the assets learn it from these samples alone, float64 [n]."""
    ids = pl.Series("record_id", [digest(str(row), *texts) for row, texts in enumerate(zip(prompts, told, strict=True))])  # fmt: skip
    pool = pl.DataFrame({"record_id": ids, "shard": [""] * len(ids), "prompt": prompts, "answer": told})
    settings, seed = profile.scores, profile.seed
    model = lm.train_language_model(prompts.to_list(), told.to_list(), settings.language_model, seed)

    def predict(asked: pl.Series, answers: pl.Series) -> pl.DataFrame:
        return lm.score_answers(model, asked, answers, settings.language_model)

    nobody = pl.DataFrame(schema={"target": pl.String, "decision": pl.String})
    measured = pool.hstack(predict(prompts, told))
    learned = quality.train_quality(measured.sort("record_id"), nobody, settings.quality, seed, predict)
    return quality.score_samples(learned, measured)["quality"].to_numpy()


def _model(rows: pl.DataFrame, profile: Profile) -> reward.RewardModel:
    """A model of the verdicts; what people removed or edited weighs as much as what they kept."""
    good = (rows["verdict"] == "kept").to_numpy().astype(np.float64)
    weight = rows["verdict"].replace_strict(_WEIGHTS, return_dtype=pl.Float64).to_numpy()
    balance = (weight @ good) / max(1e-9, weight @ (1 - good))
    return reward.fit_verdicts(
        rows["prompt"], rows["answer"], good, profile.seed, weight * np.where(good == 1, 1.0, balance)
    )


def figures(rows: pl.DataFrame, score: np.ndarray, half: np.ndarray, seed: int) -> dict[str, float]:
    """The figures, from rows with prompt and verdict, the score of each and the half that it is in."""
    verdict = rows["verdict"].to_numpy()
    questions = letters(rows["prompt"])
    found: dict[str, float] = {}
    for bad in ("removed", "edited"):

        def auc(drawn: np.ndarray, bad: str = bad) -> float:
            return stratified_auc(score[drawn], verdict[drawn] == bad, verdict[drawn] == "kept", half[drawn])

        chosen = np.flatnonzero((verdict == bad) | (verdict == "kept"))
        if not (verdict == bad).any() or not (verdict == "kept").any():
            continue
        low, high = interval(questions.gather(chosen), lambda drawn, chosen=chosen, auc=auc: auc(chosen[drawn]), seed, rounds=200)  # type: ignore[misc]  # fmt: skip
        found |= {f"auc.{bad}": auc(chosen), f"auc.{bad}.low": low, f"auc.{bad}.high": high}
        if len(np.unique(half)) > 1:
            for one in np.unique(half):
                found[f"auc.{bad}.half{one}"] = auc(chosen[half[chosen] == one])
        found[bad] = float((verdict == bad).sum())
    return found | {"kept": float((verdict == "kept").sum())}


def stratified_auc(score: np.ndarray, bad: np.ndarray, good: np.ndarray, stratum: np.ndarray) -> float:
    """Share of pairs of a bad and a good row of one stratum in which the good one scores higher; a tie counts half."""
    from scipy.stats import rankdata

    right, pairs = 0.0, 0
    for one in np.unique(stratum):
        mine = stratum == one
        low, high = score[mine & bad], score[mine & good]
        ranks = rankdata(np.concatenate([high, low]))[: len(high)]
        right += float(ranks.sum()) - len(high) * (len(high) + 1) / 2
        pairs += len(low) * len(high)
    return right / pairs if pairs else float("nan")
