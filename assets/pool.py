"""The pool: all instruction samples in one schema.

Belongs here: the stages of the group `pool`. The methods are in `curation/pool/`, the readers in
`resources/readers.py`.
"""

from __future__ import annotations

import polars as pl

from assets import sources
from assets.stage import Run, sample_shard, stage
from curation import lineage, schemas
from curation.pool.samples import pool_samples
from curation.settings import PoolSettings
from resources import readers


@stage("pool", lineage.source(), shards=sample_shard, externals=["sample_sources"])
def raw_samples(shard: str, run: Run) -> pl.DataFrame:
    """Instruction samples as they came in, readable or not; those that the graph makes join in the pool."""
    if shard == sources.SYNTHESIS_SHARD:
        return schemas.empty("raw_samples")
    return readers.read_samples(sources.shard(run.profile, "sample", shard))


@stage(
    "pool",
    lineage.judge("raw_samples", "answers"),
    settings="pool",
    version=2,
    externals=["benchmark_sources"],
)
def sft_pool(
    raw_samples: pl.LazyFrame, answers: pl.LazyFrame, settings: PoolSettings, run: Run
) -> pl.DataFrame:
    """All samples as messages, judged for form, benchmark leaks, exact and near duplicates."""
    from_outside = raw_samples.with_columns(parents=pl.lit([], dtype=pl.List(pl.String)))
    made = answers.with_columns(native_id=pl.lit(None, dtype=pl.String))
    columns = ["record_id", "source", "uri", "shard", "native_id", "task", "messages", "parents"]
    samples = pl.concat([from_outside.select(columns), made.select(columns)]).sort("record_id").collect()
    benchmark = readers.read_benchmarks(run.profile.of_role("benchmark"))
    return pool_samples(samples, benchmark, settings)
