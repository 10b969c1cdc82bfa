"""The checks recount what was written, and a bad table stops the run."""

import polars as pl
import pytest

from assets.stage import STAGES
from curation.errors import RunFailed
from curation_dagster.checks import check_schema, count
from resources.lake import Draft


def rewrite(world, asset, shard, change):
    """Change a table behind the back of the graph."""
    lake = world.lake
    stamp = lake.stamp(asset, shard)
    rows = lake.scan(asset, [shard] if shard else None, kept=False).drop("run_id").collect()
    lake.write(Draft(change(rows), stamp))


def test_what_was_just_written_passes(world):
    world.run()
    for stage in STAGES.values():
        assert count(stage, world.lake).ok
        assert check_schema(stage, world.lake).passed


def test_a_lost_row_is_noticed_by_recounting(world):
    world.run()
    shard = world.lake.shards("clean_docs")[0]
    rewrite(world, "clean_docs", shard, lambda rows: rows.head(2))
    counted = count(STAGES["clean_docs"], world.lake, [shard])
    assert (counted.lost, counted.ok) == (1, False)
    assert count(STAGES["clean_docs"], world.lake, world.lake.shards("clean_docs")[1:]).ok


def test_a_value_out_of_bounds_is_noticed(world):
    world.run()
    shard = world.lake.shards("clean_docs")[0]
    rewrite(world, "clean_docs", shard, lambda rows: rows.with_columns(language=pl.lit("klingon")))
    result = check_schema(STAGES["clean_docs"], world.lake, [shard])
    assert not result.passed
    assert "klingon" in str(result.metadata["failures"])


def test_a_failed_check_stops_the_run(world, monkeypatch):
    stage = STAGES["clean_docs"]
    body = stage.body
    monkeypatch.setitem(
        stage.__dict__, "body", lambda raw_crawl, settings, shard: body(raw_crawl, settings, shard).head(1)
    )
    with pytest.raises(RunFailed, match="check conservation of clean_docs failed"):
        world.run()
    assert "unique_docs" not in world.calls
