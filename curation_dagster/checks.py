"""Blocking checks of every table, recounted from what was written.

Belongs here: the two checks that each stage gets, its schema and the conservation of its rows.
Does not belong here: the rules themselves (`curation.schemas`, `curation.verdicts.conservation`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import dagster as dg
import pandera.errors
import polars as pl

from assets.stage import STAGES, Stage
from curation import schemas
from curation.verdicts import Conservation, conservation
from resources.lake import Lake


def checks(stage: Stage) -> Iterator[dg.AssetChecksDefinition]:
    """The schema check and the conservation check of a stage."""

    @dg.asset_check(
        asset=stage.name,
        name="schema",
        description="Columns, types and bounds are those of the table's model.",
        blocking=True,
        required_resource_keys={"lake"},
    )
    def schema(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        return check_schema(stage, context.resources.lake, _shards(context, stage))

    @dg.asset_check(
        asset=stage.name,
        name="conservation",
        description="Rows in = kept + dropped + quarantined; none lost, invented, doubled or without a reason.",
        blocking=True,
        required_resource_keys={"lake"},
    )
    def conserved(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        counted = count(stage, context.resources.lake, _shards(context, stage))
        return dg.AssetCheckResult(passed=counted.ok, metadata=asdict(counted))

    yield schema
    yield conserved


def _shards(context: dg.AssetCheckExecutionContext, stage: Stage) -> Sequence[str] | None:
    return list(context.partition_keys) if stage.shards else None


def check_schema(stage: Stage, lake: Lake, shards: Sequence[str] | None = None) -> dg.AssetCheckResult:
    """Validate a table shard by shard against its pandera model."""
    model = schemas.TABLES[stage.name]
    for shard in shards if shards is not None else [None]:
        rows = lake.scan(stage.name, [shard] if shard else None, kept=False).collect()
        try:
            model.validate(rows, lazy=True)
        except pandera.errors.SchemaErrors as error:
            failures = error.failure_cases.select(pl.all().cast(pl.String)).head(20)
            return dg.AssetCheckResult(passed=False, metadata={"shard": shard or "", "failures": dg.MetadataValue.json(failures.to_dicts())})  # fmt: skip
    return dg.AssetCheckResult(passed=True, metadata={"columns": len(schemas.columns(stage.name))})


def count(stage: Stage, lake: Lake, shards: Sequence[str] | None = None) -> Conservation:
    """Recount a stage against the kept rows of its inputs, from the Parquet."""
    output = lake.scan(stage.name, shards, kept=False)
    if not stage.relation.of:
        return conservation(stage.relation.kind, None, output)
    inputs = []
    for name in stage.relation.of:
        upstream = STAGES[name]
        frame = lake.scan(name, shards if upstream.shards is stage.shards else None)
        if shards is not None and "shard" in schemas.columns(name):
            frame = frame.filter(pl.col("shard").is_in(list(shards)))
        inputs.append(frame.select("record_id"))
    return conservation(stage.relation.kind, pl.concat(inputs), output)
