"""Proof and oversight: measures, the report, the comparison of strategies, what to review, the catalog.

Belongs here: the stages of the group `audit`, and the catalog of views. The methods are in
`curation/audit/`.
"""

# Dagster reads the annotation of `catalog`'s context: no postponed annotations here.

import os
from pathlib import Path

import dagster as dg
import polars as pl

from assets.funnel import funnel
from assets.selection import judged_scores
from assets.stage import STAGES, Run, stage
from curation import lineage, schemas, vectors
from curation.audit import comparison, measures, plots, queue, report
from curation.domain.classifier import DomainClassifier
from curation.domain.recall import host_shares
from curation.scores.trials import NgramTrials, fine_tuning, from_scratch
from curation.selection import strategies
from curation.settings import AuditSettings
from curation.verdicts import KEPT
from resources import language_model as models
from resources.reviews import Reviews


def _pool(
    judgements: pl.LazyFrame,
    scores: pl.LazyFrame,
    sft_pool: pl.LazyFrame,
    clusters: pl.LazyFrame,
    embeddings: pl.LazyFrame,
) -> pl.DataFrame:
    """The scored samples with their texts, clusters and vectors."""
    return (
        strategies.join_pool(judged_scores(judgements, scores), sft_pool, clusters)
        .join(clusters.select("record_id", "terms"), on="record_id")
        .join(scores.select("record_id", "verb_object"), on="record_id")
        .join(embeddings.select("record_id", "vector"), on="record_id")
        .sort("record_id")
        .collect()
    )


def _with_dropped(kept: pl.DataFrame, sft_pool: pl.LazyFrame) -> pl.DataFrame:
    """The scored samples, which may be held out, and all that was dropped before, which has no vector."""
    dropped = sft_pool.join(kept.select("record_id").lazy(), on="record_id", how="anti").collect()
    nothing = pl.lit([0.0] * (len(kept["vector"][0]) if kept.height else 0), dtype=pl.List(pl.Float32))
    able = kept.with_columns(kept=True, heldout=True, group=pl.col("cluster").cast(pl.String))
    return pl.concat(
        [
            able,
            dropped.select(
                "record_id", "prompt", "answer", "duplicate_of", kept=False, heldout=False, vector=nothing
            ),
        ],
        how="diagonal_relaxed",
    )


@stage(
    "audit",
    lineage.learn(),
    settings="audit",
    fields=[
        "strategies",
        "comparison_model",
        "comparison_seeds",
        "comparison_share",
        "comparison_epochs",
        "comparison_whole",
        "comparison_heldout",
    ],
    also=["selection", "scores.language_model"],
    version=3,
    all_rows=["sft_pool"],
    kinds=["pytorch"],
)
def strategy_comparison(
    judgements: pl.LazyFrame,
    scores: pl.LazyFrame,
    sft_pool: pl.LazyFrame,
    clusters: pl.LazyFrame,
    embeddings: pl.LazyFrame,
    language_model: pl.LazyFrame,
    settings: AuditSettings,
    run: Run,
) -> pl.DataFrame:
    """What each strategy does to a model that is trained on its choice, with the same tokens."""
    kept = _pool(judgements, scores, sft_pool.filter(KEPT), clusters, embeddings)
    pool = _with_dropped(kept, sft_pool)
    model_settings = run.profile.scores.language_model
    if model_settings.model:
        trials = fine_tuning(lambda: models.load_base_model(model_settings), model_settings)
    else:
        learned = models.load_language_model(model_settings, run.learned("language_model"))
        trials = from_scratch(learned.tokenizer, model_settings)
    trainer = NgramTrials(trials) if settings.comparison_model == "ngrams" else trials
    compared = comparison.compare_strategies(
        pool, vectors.matrix(pool["vector"]), trainer, comparison.arms_of(pool, settings), settings, run.profile.selection, run.seed,
        run.artefact / "trainings.jsonl",
    )  # fmt: skip
    run.note(comparison=comparison.comparison_svg(compared), verdict=comparison.verdict_sentence(compared))
    return compared


@stage(
    "audit",
    lineage.learn(),
    settings="audit",
    fields=["scenes"],
    watches=["unique_docs", "domain_docs", "answers"],
    version=4,
    all_rows=["sft_set"],
    kinds=["html"],
)
def selection_report(
    judgements: pl.LazyFrame,
    scores: pl.LazyFrame,
    sft_pool: pl.LazyFrame,
    clusters: pl.LazyFrame,
    embeddings: pl.LazyFrame,
    sft_set: pl.LazyFrame,
    strategy_comparison: pl.LazyFrame,
    settings: AuditSettings,
    run: Run,
) -> pl.DataFrame:
    """The choice beside a random one and the whole pool, as measures and as a page that opens offline."""
    pool, judged = _pool(judgements, scores, sft_pool, clusters, embeddings), sft_set.collect()
    points = vectors.matrix(pool["vector"])
    chosen = judged.filter(pl.col("verdict") == "kept")["record_id"]
    measured = measures.measure_selection(pool, points, chosen, run.seed, settings.scenes)
    tables = [row for row in funnel(run.lake, STAGES) if row["group"] not in ("exports", "audit")]
    page = report.selection_report_html(
        pool,
        points,
        judged,
        measured,
        tables,
        title=f"Selection: {run.profile.name}",
        seed=run.seed,
        comparison=strategy_comparison.collect(),
    )
    run.note(page=run.export("report.html", [page]), funnel=plots.funnel_svg(tables))
    if scenes := report.scenes_svg(measured):
        run.note(scenes=scenes)
    return measured


@stage(
    "audit",
    lineage.learn(),
    settings="audit",
    fields=["queue"],
    also=["domain.classifier"],
    all_rows=["keyword_table", "recalled_docs", "scores"],
    externals=["keyword_decisions", "document_decisions", "sample_decisions"],
    resources=["reviews"],
)
def review_queue(
    keyword_table: pl.LazyFrame,
    recalled_docs: pl.LazyFrame,
    clean_docs: pl.LazyFrame,
    doc_embeddings: pl.LazyFrame,
    domain_classifier: pl.LazyFrame,
    scores: pl.LazyFrame,
    sft_pool: pl.LazyFrame,
    settings: AuditSettings,
    reviews: Reviews,
    run: Run,
) -> pl.DataFrame:
    """What a person should look at next: terms, documents and samples whose review would help most."""
    documents = (
        recalled_docs.join(clean_docs.select("record_id", "uri", "text"), on="record_id")
        .join(doc_embeddings.select("record_id", "vector"), on="record_id")
        .sort("record_id")
        .collect()
    )
    model = DomainClassifier.load(run.learned("domain_classifier"))
    is_recalled = documents.select("uri", recalled=KEPT)
    documents = documents.with_columns(
        host_shares(is_recalled), score=pl.Series(model.scores_of(documents), dtype=pl.Float64)
    )
    samples = (
        scores.join(sft_pool.select("record_id", "prompt", "answer"), on="record_id")
        .sort("record_id")
        .collect()
    )
    decisions = pl.concat(reviews.decisions(kind) for kind in ("keyword", "document", "sample"))
    return queue.review_queue(
        keyword_table.collect(),
        documents,
        samples,
        decisions,
        settings,
        model.features(documents),
        run.seed,
    )


@dg.asset(
    group_name="audit",
    description="A small DuckDB file with a view for each table of the lake, swapped in when it is whole.",
    kinds={"duckdb"},
    deps=["review_queue", "dataset_card", "selection_report"],
    required_resource_keys={"lake", "catalog"},
)
def catalog(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Rebuild the catalog. Readers of the old file keep it; no two writers ever share one."""
    lake, duckdb = context.resources.lake, context.resources.catalog
    new = Path(duckdb.database)
    new.unlink(missing_ok=True)
    new.parent.mkdir(parents=True, exist_ok=True)
    views = {}
    with duckdb.get_connection() as connection:
        for table in schemas.TABLES:
            files = (
                [lake.path(table)]
                if lake.exists(table)
                else [lake.path(table, shard) for shard in lake.shards(table)]
            )
            if files:
                places = ", ".join("'" + str(file).replace("'", "''") + "'" for file in files)
                connection.execute(f'CREATE VIEW "{table}" AS SELECT * FROM read_parquet([{places}])')
                views[table] = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
    final = new.with_name("catalog.duckdb")
    os.replace(new, final)
    return dg.MaterializeResult(
        metadata={"path": dg.MetadataValue.path(str(final)), "rows": dg.MetadataValue.json(views)}
    )
