"""A small graph of real tables with toy methods, to test the wiring fast."""

import json
import os
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

import assets
from assets.stage import STAGES, document_shard, stage
from curation import lineage
from curation.records import digest
from curation.verdicts import Rule, judge
from curation_dagster import plan, runner
from curation_dagster.build import build_defs, build_resources


class World:
    """A profile on three files of lines, and what was executed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[str] = []
        self.sets: list[str] = []
        for name in ("a", "b", "c"):
            self.write(name, ["茶" * 5, "水", "杯" * 8])
        self.path = str(folder / "profile.yaml")
        Path(self.path).write_text(
            "lake: lake\nsources: [{name: files, role: document, kind: jsonl, path: data}]\n"
        )

    def write(self, name: str, texts: list[str]) -> None:
        file = self.folder / "data" / f"{name}.jsonl"
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n".join(json.dumps({"text": text}) for text in texts) + "\n")

    @property
    def resources(self):
        return build_resources(self.path, self.sets)

    @property
    def lake(self):
        return self.resources["lake"]

    @property
    def outside(self) -> plan.Outside:
        return plan.Outside.of(self.resources["profile"].load(), self.lake, self.resources["reviews"])

    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(runner.home(self.lake)))

    def run(self, *, select=(), force=()) -> runner.Done:
        self.calls.clear()
        with self.instance() as instance:
            resources = self.resources
            return runner.bring_up_to_date(
                build_defs(self.path, self.sets),
                instance,
                resources["profile"].load(),
                resources["lake"],
                resources["reviews"],
                plan.select(list(select)),
                set(force),
            )


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    before = dict(STAGES)
    STAGES.clear()
    world = World(tmp_path)
    _declare(world)
    monkeypatch.setattr(assets, "load", lambda: None)
    monkeypatch.setattr(assets, "extra", lambda: [_catalog])
    yield world
    STAGES.clear()
    STAGES.update(before)
    os.environ.pop("DAGSTER_HOME", None)


@dg.asset(name="catalog")
def _catalog():
    return dg.MaterializeResult()


def _declare(world: World) -> None:
    from assets import sources
    from resources import readers

    @stage("corpus", lineage.source(), shards=document_shard, externals=["document_sources"])
    def raw_crawl(shard, run):
        """Lines of the files."""
        world.calls.append(f"raw_crawl {shard}")
        return readers.read_documents(sources.shard(run.profile, "document", shard))

    @stage("corpus", lineage.judge("raw_crawl"), shards=document_shard, settings="corpus.clean")
    def clean_docs(raw_crawl, settings, shard):
        """Texts, judged by their length."""
        world.calls.append(f"clean_docs {shard}")
        texts = raw_crawl.with_columns(text=pl.col("body").cast(pl.String))
        counted = texts.with_columns(
            n_chars=pl.col("text").str.len_chars(), content_hash=pl.col("record_id"), language=pl.lit("zh")
        )
        return judge(
            counted.drop("verdict", "reason", "evidence"),
            [Rule("too_short", pl.col("n_chars") < settings.min_chars, {"n_chars": pl.col("n_chars")})],
        )

    @stage("corpus", lineage.judge("clean_docs"))
    def unique_docs(clean_docs):
        """All of them."""
        world.calls.append("unique_docs")
        return judge(
            clean_docs.select(
                "record_id", "source", "shard", duplicate_of=pl.lit(None), similarity=pl.lit(None)
            ),
            [],
        )

    @stage("domain", lineage.judge("unique_docs"), shards=document_shard)
    def doc_embeddings(unique_docs, clean_docs, shard):
        """Vectors."""
        world.calls.append(f"doc_embeddings {shard}")
        joined = unique_docs.select("record_id", "shard").join(
            clean_docs.select("record_id", "text"), on="record_id"
        )
        return judge(joined.select("record_id", "shard", vector=pl.concat_list(pl.lit(1.0), pl.lit(0.0))), [])


def stranger() -> str:
    """An id that no record has."""
    return digest("stranger")
