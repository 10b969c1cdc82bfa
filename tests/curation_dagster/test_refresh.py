"""A website is crawled again when its crawl has become too old, and not before."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets.corpus import raw_crawl
from curation.schemas import empty
from curation_dagster import plan
from curation_dagster.build import build_resources
from resources import crawler, readers

PROFILE = """
lake: lake
sources:
  - {{name: site, role: document, kind: web, urls: [https://example.com/], crawl: {crawl}}}
  - {{name: files, role: document, kind: jsonl, path: data}}
"""


@pytest.fixture
def web(world, monkeypatch):
    read, numbers = readers.read_documents, iter(range(100))

    def documents(shard):
        """The files as ever; of the website one page, fetched now."""
        if shard.source.kind != "web":
            return read(shard)
        row = read_first.with_columns(
            source=pl.lit("site"), shard=pl.lit(shard.key), record_id=pl.lit("0" * 32)
        )
        return row.with_columns(fetched_at=pl.lit(datetime.now(UTC).isoformat()))

    def crawled(**settings):
        world.path = str(world.folder / f"profile{next(numbers)}.yaml")  # a profile is read once in a process
        Path(world.path).write_text(PROFILE.format(crawl=json.dumps(settings)))

    crawled(refresh_hours=24)
    (first, *_) = [shard for shard in plan.sources.shards(world.resources["profile"].load(), "document") if shard.source.kind != "web"]  # fmt: skip
    read_first = read(first).head(1)
    monkeypatch.setattr(readers, "read_documents", documents)
    world.crawled = crawled
    return world


def age(world, hours):
    """Make the crawl so many hours old."""
    stamp = world.lake.stamp("raw_crawl", "site")
    file = Path(world.lake.root) / "_runs" / f"{stamp.run_id}.json"
    made = datetime.now(UTC) - timedelta(hours=hours)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"finished_at": made.isoformat()}))


def certain(world):
    return [
        (one.stage.name, one.shard, one.why)
        for one in plan.stale(world.outside, plan.select([]))
        if one.certain
    ]


def test_an_old_crawl_is_stale_and_is_repeated_once(web):
    web.run()
    assert certain(web) == []
    age(web, 23)
    assert web.run().made == []
    for _ in range(2):
        age(web, 25)
        assert certain(web) == [("raw_crawl", "site", "not crawled for 24 hours")]
        made = web.run().made
        assert made == [("raw_crawl", "site")]  # the page is the same, so nothing below is made anew
        assert web.run().made == []
    web.run(force={"raw_crawl"})
    assert web.run().made == []


def test_without_the_setting_a_crawl_never_becomes_stale(web):
    web.run()
    age(web, 100_000)
    web.crawled()
    assert certain(web) == []
    web.crawled(refresh_hours=24)
    assert len(certain(web)) == 1
    web.run()
    web.crawled()
    assert certain(web) == []
    web.crawled(max_depth=3)
    assert certain(web) == [("raw_crawl", "site", "changed: document_sources")]


def test_the_journal_of_a_crawl_lies_in_the_lake_until_the_table_is_written(tmp_path, monkeypatch):
    (tmp_path / "profile.yaml").write_text(
        "lake: lake\nsources: [{name: site, role: document, kind: web, urls: [https://example.com/]}]\n"
    )
    folder = tmp_path / "lake" / "_crawl" / "site"
    seen = []

    def crawl(source, shard, place, previous):
        place.mkdir(parents=True)
        (place / "journal.jsonl").touch()
        seen.append((source.name, shard, place, previous.collect().height))
        if len(seen) == 2:
            raise OSError("the network is gone")
        return page

    page = empty("raw_crawl").drop("run_id").clear(1).with_columns(
        record_id=pl.lit("0" * 32), source=pl.lit("site"), uri=pl.lit("https://example.com/"), shard=pl.lit("site"),
        position=pl.lit(0), verdict=pl.lit("kept", dtype=empty("raw_crawl").schema["verdict"]), evidence=pl.lit("{}"),
    )  # fmt: skip
    monkeypatch.setattr(crawler, "crawl", crawl)
    resources = build_resources(str(tmp_path / "profile.yaml"), [])
    asset = raw_crawl.asset(resources["profile"].load())
    with dg.instance_for_test() as instance:
        instance.add_dynamic_partitions("document_shard", ["site"])
        for fails in (False, True):
            done = dg.materialize(
                [asset], resources=resources, instance=instance, partition_key="site", raise_on_error=False
            )
            assert done.success is not fails
            assert folder.exists() is fails  # what a failed crawl has fetched is there for the next one
    assert [(name, shard, place, rows) for name, shard, place, rows in seen] == [
        ("site", "site", folder, 0),
        ("site", "site", folder, 1),
    ]
