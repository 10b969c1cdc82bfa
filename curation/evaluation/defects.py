"""Finding defective samples: the figures of `curation evaluate defects`.

Belongs here: reading the labelled folder and the arithmetic of the figures. Does not belong here: the
methods (`curation.pool`, `curation.scores`), of which exactly the functions of the assets are run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from curation.errors import UserError
from curation.evaluation.reading import read_lines
from curation.pool.samples import pool_samples
from curation.records import record_id
from curation.scores import language_model as lm
from curation.scores import quality
from curation.settings import Profile

#: The score that should find a kind of defect; others are looked for by the soundness.
SCORES = {
    "answer_swap": -pl.col("match"),
    "truncated": pl.col("truncation"),
    "repetition": pl.col("repetition"),
    "mojibake": pl.col("garble"),
    "html_boilerplate": pl.col("markup"),
    "wrong_language": pl.col("language_mismatch"),
}
DUPLICATES = ("exact_dup", "near_dup")
#: Found by a rule or not at all: there is no score to rank by.
_WITHOUT_SCORE = (*DUPLICATES, "empty", "benchmark_leak")


def evaluate_defects(folder: Path, profile: Profile) -> dict[str, float]:
    """Curate a pool with planted defects and compare with the labels.

    Returns
    -------
    dict
        recall.<kind> (share of the rows that are dropped), auc.<kind> (of the score that should find it,
        against rows without a label), null_dropped, defects_left (share of the labelled rows that are
        kept), kept_defect_share (share of labelled rows among the kept). Of a duplicate and its original
        either may go: the other is not counted as lost.

    Raises
    ------
    UserError
        A file is missing or lacks a column, or the profile names a language model to load: here one is
        trained on the pool.
    """
    no_model_to_load(profile)
    data = read_lines(folder, "data", ["id", "instruction", "output"])
    labels = read_lines(folder, "labels", ["id", "defect"])
    _, judged = curate(data, folder, profile)
    truth = data.select("id").join(labels, on="id", how="left", maintain_order="left")
    return figures(truth.hstack(judged.drop("record_id")))


def no_model_to_load(profile: Profile) -> None:
    """Raise a UserError if the profile names a language model: here one is trained on the pool."""
    if profile.scores.language_model.model:
        raise UserError(
            "evaluate trains its own language model", where="scores.language_model.model", allowed="null"
        )


def _samples(data: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """The rows as samples, as the reader of the assets would hand them on."""
    question = pl.col("instruction").fill_null("")
    given = pl.col("input").fill_null("") if "input" in data.columns else pl.lit("")
    turns = [("user", pl.when(given == "").then(question).otherwise(question + "\n" + given)), ("assistant", pl.col("output").fill_null(""))]  # fmt: skip
    ids = data["id"].cast(pl.String)
    return data.select(
        record_id=pl.Series([record_id("sft", str(folder), name) for name in ids], dtype=pl.String),
        source=pl.lit("sft"),
        uri=pl.lit(str(folder)),
        shard=pl.lit("sft"),
        native_id=ids,
        task=pl.lit(None, dtype=pl.String),
        messages=pl.concat_list(pl.struct(role=pl.lit(role), content=content) for role, content in turns),
        parents=pl.lit([], dtype=pl.List(pl.String)),
    )


def _benchmark(folder: Path) -> pl.DataFrame:
    """The questions that must not leak, options one a line; none where the folder has no such file."""
    if not any((folder / f"benchmark.jsonl{suffix}").exists() for suffix in ("", ".gz")):
        return pl.DataFrame(schema={"id": pl.String, "text": pl.String})
    rows = read_lines(folder, "benchmark", ["id", "question"])
    options = pl.col("options").list.join("\n").fill_null("") if "options" in rows.columns else pl.lit("")
    return rows.select(
        pl.col("id").cast(pl.String), text=(pl.col("question") + "\n" + options).str.strip_chars()
    )


def curate(data: pl.DataFrame, folder: Path, profile: Profile) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What the assets make of the rows, in their order: the pool; and record_id, reason (null: kept), scores."""
    pool = pool_samples(_samples(data, folder), _benchmark(folder), profile.pool)
    kept = _kept(pool)
    settings, seed = profile.scores, profile.seed
    model = lm.train_language_model(
        kept["prompt"].to_list(), kept["answer"].to_list(), settings.language_model, seed
    )

    def predict(prompts: pl.Series, answers: pl.Series) -> pl.DataFrame:
        return lm.score_answers(model, prompts, answers, settings.language_model)

    reviews = pl.DataFrame(schema={"target": pl.String, "decision": pl.String})
    # what the pool has dropped is scored too, but only for the figures
    measured = pool.drop("evidence").hstack(predict(pool["prompt"], pool["answer"]))
    learned = quality.train_quality(_kept(measured), reviews, settings.quality, seed, predict)
    measured = measured.drop("verdict")
    scores = quality.judge_scores(quality.score_samples(learned, measured), learned, settings.quality)
    reasons = pl.coalesce(pl.lit(pool["reason"]), pl.col("reason")).alias("reason")
    return pool, scores.with_columns(reasons).drop("shard", "verdict", "evidence")


def _kept(pool: pl.DataFrame) -> pl.DataFrame:
    return pool.filter(pl.col("verdict") == "kept").sort("record_id")


def figures(rows: pl.DataFrame) -> dict[str, float]:
    """The figures, from one row a sample: id, defect, `of` (the original of a duplicate), reason, scores."""
    from sklearn.metrics import roc_auc_score

    rows = rows if "of" in rows.columns else rows.with_columns(of=pl.lit(None, dtype=pl.String))
    is_copy = pl.col("defect").is_in(DUPLICATES)
    dropped = pl.col("reason").is_not_null()
    gone = rows.filter(dropped)["id"].implode()
    originals = rows.filter(is_copy)["of"].drop_nulls().implode()
    for_a_copy = pl.col("reason").is_in(["duplicate_of", "near_duplicate_of"]) & pl.col("id").is_in(originals)
    rows = rows.with_columns(
        found=dropped | (is_copy & pl.col("of").is_in(gone).fill_null(False)), lost=dropped & ~for_a_copy
    )
    null, defective = rows.filter(pl.col("defect").is_null()), rows.filter(pl.col("defect").is_not_null())
    found: dict[str, float] = {}
    for kind in defective["defect"].unique().sort():
        mine = defective.filter(pl.col("defect") == kind)
        found[f"recall.{kind}"] = _share(mine["found"])
        if kind not in _WITHOUT_SCORE and null.height:
            score = pl.concat([mine, null]).select(SCORES.get(kind, -pl.col("soundness"))).to_series()
            truth = np.repeat([1, 0], [mine.height, null.height])
            found[f"auc.{kind}"] = float(roc_auc_score(truth, score.to_numpy()))
    left = defective.filter(~pl.col("found")).height
    return found | {
        "null_dropped": _share(null["lost"]),
        "defects_left": left / max(1, defective.height),
        "kept_defect_share": left / max(1, rows.filter(~dropped).height),
    }


def _share(flags: pl.Series) -> float:
    return float(flags.cast(pl.Float64).mean() or 0.0)  # type: ignore[arg-type]
