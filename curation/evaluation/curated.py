"""A labelled pool of samples as the stages leave it.

Belongs here: reading the folder that several tasks measure, and running the functions of the assets on
it, up to the clusters. Does not belong here: the methods (`curation.pool`, `curation.scores`,
`curation.selection`) or the arithmetic of figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from curation.errors import UserError
from curation.evaluation.reading import read_lines
from curation.lsa import Lsa
from curation.pool.samples import pool_samples
from curation.records import record_id
from curation.scores import language_model as lm
from curation.scores import quality
from curation.selection import clusters
from curation.settings import Profile

#: What stands for a sample where vectors are made.
TEXT = pl.concat_str(pl.col("prompt", "answer").fill_null(""), separator="\n")


@dataclass(frozen=True)
class Curated:
    """The rows of a folder, in their order.

    Attributes
    ----------
    pool
        Judged for form, leaks and duplicates (columns of the table SftPool).
    scored
        record_id, reason (null: kept by the pool and by the scores), scores.
    truth
        id and the columns of the labels; for the figures only.
    """

    pool: pl.DataFrame
    scored: pl.DataFrame
    truth: pl.DataFrame


@dataclass(frozen=True)
class Structure:
    """What may be chosen: `rows` of the pool sorted by record_id, their `scores`, `vectors` [n, d] and `clusters`."""

    rows: pl.DataFrame
    scores: pl.DataFrame
    vectors: np.ndarray
    clusters: pl.DataFrame
    encoder: Lsa


def curate_folder(folder: Path, profile: Profile) -> Curated:
    """Run pool and scores on a labelled folder.

    Raises
    ------
    UserError
        A file is missing or lacks a column, or the profile names a language model to load: here one is
        trained on the pool.
    """
    no_model_to_load(profile)
    data = read_lines(folder, "data", ["id", "instruction", "output"])
    labels = read_lines(folder, "labels", ["id", "defect"])
    pool, scored = curate(data, folder, profile)
    return Curated(pool, scored, data.select("id").join(labels, on="id", how="left", maintain_order="left"))


def structure(curated: Curated, profile: Profile) -> Structure:
    """Vectors, by an encoder fitted on the pool, and clusters of what the scores kept."""
    sound = curated.pool.filter(pl.col("verdict") == "kept").sort("record_id")
    encoder = Lsa.fit(sound.select(TEXT).to_series(), profile.sample_encoder, profile.seed)
    scores = curated.scored.filter(pl.col("reason").is_null())
    rows = sound.filter(pl.col("record_id").is_in(scores["record_id"].implode()))
    texts = rows.select(TEXT).to_series()
    vectors = encoder.transform(texts)
    table = clusters.cluster_samples(rows["record_id"], vectors, texts, profile.selection, profile.seed)
    return Structure(rows, scores, vectors, table, encoder)


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
