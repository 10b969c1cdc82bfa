"""Files for training, and the card that goes with them.

Belongs here: the stages of the group `exports`. The methods are in `curation/exports/`.
"""

from __future__ import annotations

import polars as pl

from assets.funnel import funnel
from assets.stage import STAGES, Run, stage
from curation import lineage
from curation.exports import card, formats, preference, resampling
from curation.settings import ExportSettings
from resources.reviews import Reviews


@stage("exports", lineage.judge("sft_set"), settings="exports", kinds=["polars", "file"])
def sft_files(
    sft_set: pl.LazyFrame, sft_pool: pl.LazyFrame, settings: ExportSettings, run: Run
) -> pl.DataFrame:
    """The final set as JSONL in each format; every line names its record."""
    rows, files = formats.sft_files(_final(sft_set, sft_pool), settings, run.seed)
    run.note(written=[run.export(name, lines) for name, lines in files.items()])
    return rows


@stage(
    "exports",
    lineage.merge("judgements"),
    settings="exports",
    externals=["sample_decisions"],
    resources=["reviews"],
    kinds=["polars", "file"],
)
def rm_files(
    judgements: pl.LazyFrame,
    sft_pool: pl.LazyFrame,
    clusters: pl.LazyFrame,
    sft_set: pl.LazyFrame,
    settings: ExportSettings,
    reviews: Reviews,
    run: Run,
) -> pl.DataFrame:
    """Pairs of a better and a worse answer for a reward model, each naming the samples it came from."""
    samples = _samples(judgements, sft_pool, clusters, sft_set)
    rows = preference.preference_pairs(samples, reviews.decisions("sample"), settings, run.seed)
    run.note(written=run.export(f"{settings.name}.rm.jsonl", preference.rm_lines(rows)))
    return rows


@stage("exports", lineage.judge("judgements"), settings="exports", kinds=["polars", "file"])
def ppo_files(
    judgements: pl.LazyFrame,
    sft_pool: pl.LazyFrame,
    clusters: pl.LazyFrame,
    sft_set: pl.LazyFrame,
    settings: ExportSettings,
    run: Run,
) -> pl.DataFrame:
    """Prompts for reinforcement learning: not in the final set, of good quality, from all clusters."""
    samples = _samples(judgements, sft_pool, clusters, sft_set)
    chosen = samples.filter("selected")["record_id"]
    rows = preference.ppo_prompts(samples, chosen, settings, run.seed)
    run.note(written=run.export(f"{settings.name}.ppo.jsonl", preference.ppo_lines(rows)))
    return rows


@stage(
    "exports",
    lineage.learn(),
    settings="exports",
    watches=["unique_docs", "domain_docs", "answers", "rm_files", "ppo_files"],
    version=2,
    all_rows=["sft_files"],
    kinds=["markdown"],
)
def dataset_card(
    sft_files: pl.LazyFrame, sft_set: pl.LazyFrame, sft_pool: pl.LazyFrame, settings: ExportSettings, run: Run
) -> pl.DataFrame:
    """The card of the dataset: counts, sources, the funnel with its reasons, and how it was chosen."""
    is_able = pl.col("reason").is_null() | (pl.col("reason") == "over_represented")
    able = (
        sft_files.filter(is_able)
        .select("record_id", "times")
        .collect()
        .join(_final(sft_set, sft_pool), on="record_id")
        .sort("record_id")
    )
    samples = able.filter(pl.col("times") > 0)
    tables = [row for row in funnel(run.lake, STAGES) if row["group"] not in ("exports", "audit")]
    lines = int(samples["times"].sum())
    figures = card.card_figures(
        samples, {f"{settings.name}.{name}.jsonl": lines for name in settings.formats}
    )
    if settings.resample:
        figures |= resampling.resampling_figures(able, settings.resample)
    profile = run.profile.model_dump(mode="json", exclude={"lake", "sources", "reviews"})
    text = card.dataset_card(settings.name, figures, tables, profile, samples.head(3))
    return card.card_rows(figures, run.export("README.md", [text]))


def _final(sft_set: pl.LazyFrame, sft_pool: pl.LazyFrame) -> pl.DataFrame:
    """The final set with all that files and card say of it."""
    return (
        sft_set.select("record_id", "messages", "cluster")
        .join(sft_pool.select("record_id", "source", "language", "task"), on="record_id")
        .collect()
    )


def _samples(
    judgements: pl.LazyFrame, sft_pool: pl.LazyFrame, clusters: pl.LazyFrame, sft_set: pl.LazyFrame
) -> pl.DataFrame:
    """The scored samples with their messages, cluster, and whether they are in the final set."""
    return (
        judgements.select("record_id", "quality")
        .join(sft_pool.select("record_id", "messages"), on="record_id")
        .join(clusters.select("record_id", "cluster"), on="record_id")
        .join(sft_set.select("record_id", selected=pl.lit(True)), on="record_id", how="left")
        .with_columns(pl.col("selected").fill_null(False))
        .sort("record_id")
        .collect()
    )
