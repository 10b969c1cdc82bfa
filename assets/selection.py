"""The choice: vectors and structure of the pool, and the samples that are taken.

Belongs here: the stages of the group `selection`. The methods are in `curation/selection/`.
"""

from __future__ import annotations

import polars as pl

from assets.stage import Run, sample_shard, stage
from curation import lineage, vectors
from curation.selection import clusters as clustering
from curation.selection import strategies
from curation.settings import EncoderSettings, SelectionSettings
from resources import encoder
from resources.reviews import Reviews


def text_of() -> pl.Expr:
    """The text that stands for a sample: prompt and answer."""
    return pl.concat_str("prompt", pl.lit("\n"), "answer").alias("text")


def judged_scores(judgements: pl.LazyFrame, scores: pl.LazyFrame) -> pl.LazyFrame:
    """The scores of the samples, with the quality that the judge has a share in."""
    return scores.drop("quality").join(judgements.select("record_id", "quality"), on="record_id")


@stage("selection", lineage.learn(), settings="sample_encoder", kinds=["numpy"])
def sample_encoder(sft_pool: pl.LazyFrame, settings: EncoderSettings, run: Run) -> pl.DataFrame:
    """The encoder of the samples: LSA fitted on the pool, or a model loaded."""
    texts = sft_pool.select("record_id", text_of()).sort("record_id").collect()["text"]
    return encoder.describe(encoder.fit_encoder(settings, texts, run.seed, run.artefact), run.place)


@stage(
    "selection", lineage.judge("sft_pool"), shards=sample_shard, settings="sample_encoder", kinds=["numpy"]
)
def embeddings(
    sft_pool: pl.LazyFrame, sample_encoder: pl.LazyFrame, settings: EncoderSettings, run: Run
) -> pl.DataFrame:
    """A unit vector of every sample, of its prompt and answer."""
    samples = sft_pool.select("record_id", "shard", text_of()).collect()
    return encoder.embed(encoder.load_encoder(settings, run.learned("sample_encoder")), samples, run.lake)


@stage(
    "selection",
    lineage.judge("scores"),
    settings="selection",
    fields=["cluster_method", "clusters", "neighbours", "exact_neighbours"],
    version=3,
    kinds=["numba", "polars"],
)
def clusters(
    scores: pl.LazyFrame,
    embeddings: pl.LazyFrame,
    sft_pool: pl.LazyFrame,
    settings: SelectionSettings,
    run: Run,
) -> pl.DataFrame:
    """The cluster of every sample that the scores kept, its terms, and how dense it is around the sample.

    What the scores drop has no part in the clusters: noise would form some of its own, and shift others.
    """
    samples = (
        scores.select("record_id")
        .join(embeddings.select("record_id", "vector"), on="record_id")
        .join(sft_pool.select("record_id", text_of()), on="record_id")
        .collect()
    )
    points = vectors.matrix(samples["vector"])
    table = clustering.cluster_samples(samples["record_id"], points, samples["text"], settings, run.seed)
    run.note(**clustering.describe(table, samples["record_id"], points, settings, run.seed))
    return table


@stage(
    "selection",
    lineage.judge("judgements"),
    settings="selection",
    version=4,
    externals=["sample_decisions"],
    resources=["reviews"],
)
def sft_set(
    judgements: pl.LazyFrame,
    scores: pl.LazyFrame,
    sft_pool: pl.LazyFrame,
    embeddings: pl.LazyFrame,
    clusters: pl.LazyFrame,
    settings: SelectionSettings,
    reviews: Reviews,
    run: Run,
) -> pl.DataFrame:
    """The choice: diversity weight × quality weight, sampled without replacement within the budget."""
    samples = (
        strategies.join_pool(judged_scores(judgements, scores), sft_pool, clusters)
        .join(embeddings.select("record_id", "vector"), on="record_id")
        .collect()
    )
    points, decisions = vectors.matrix(samples["vector"]), reviews.decisions("sample")
    return strategies.select_samples(samples.drop("vector"), points, settings, run.seed, decisions)
