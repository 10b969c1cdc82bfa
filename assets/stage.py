"""What a stage of the graph is, and how it becomes a Dagster asset.

Belongs here: `@stage`, which turns a short function on frames into an asset with its schema,
relation, code version, metadata and per-shard writing. Does not belong here: any stage, or any
method.

A stage's function names what it needs by its parameters: an upstream table (a LazyFrame of its kept
rows; only the shard's rows where both are sharded), `settings` (its section of the profile), `shard`,
`run`, or one of the stage's `resources`.
"""

import inspect
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets import metadata, sources
from curation import progress, schemas
from curation.lineage import Relation
from curation.records import digest
from curation.settings import Profile
from resources.lake import Draft, Drafts, Lake, Stamp, combined_version
from resources.reviews import Reviews

document_shard = dg.DynamicPartitionsDefinition(name="document_shard")
sample_shard = dg.DynamicPartitionsDefinition(name="sample_shard")

#: Every stage of the graph by the name of its table, in the order in which the modules are imported.
STAGES: "dict[str, Stage]" = {}
#: Tags of a run that passes over what is fresh already, but for the stages that it names.
ONLY_STALE, FORCED = "curation/only_stale", "curation/forced"
_KNOWN = ("settings", "shard", "run")


@dataclass(frozen=True)
class Run:
    """One execution of a stage on one shard (or on the whole)."""

    run_id: str
    seed: int
    profile: Profile
    lake: Lake
    asset: str
    notes: dict[str, Any] = field(default_factory=dict)
    #: called once the table is written
    afterwards: list[Callable[[], None]] = field(default_factory=list)

    @property
    def place(self) -> str:
        """Where this run puts what it learns, below the lake."""
        return f"_artefacts/{self.asset}/{self.run_id}"

    @property
    def artefact(self) -> Path:
        """Folder for what this run learns."""
        folder = Path(str(self.lake.artefact(self.asset, self.run_id)))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def learned(self, asset: str) -> Path:
        """Folder of what another stage learned when it was last made.

        Raises
        ------
        RuntimeError
            That stage was never made.
        """
        stamp = self.lake.stamp(asset)
        if stamp is None:
            raise RuntimeError(f"{asset} was never made")
        return Path(str(self.lake.artefact(asset, stamp.run_id)))

    def remember(self, name: str, table: pl.DataFrame) -> None:
        """Leave a table to later runs of this stage, who may do without it."""
        buffer = io.BytesIO()
        table.write_parquet(buffer, compression="zstd")
        folder = self.lake.artefact(self.asset, self.run_id)
        self.lake.write_bytes(folder / f"{name}.parquet", buffer.getbuffer())

    def recall(self, name: str) -> pl.DataFrame | None:
        """The table of that name that this stage remembered when it was last made, if there is one."""
        stamp = self.lake.stamp(self.asset)
        file = self.lake.artefact(self.asset, stamp.run_id) / f"{name}.parquet" if stamp else None
        return pl.read_parquet(io.BytesIO(file.read_bytes())) if file and file.exists() else None

    def export(self, name: str, lines: Iterable[str]) -> str:
        """Write a file for others below `exports/` in the lake, and return its path there."""
        place = f"exports/{name}"
        self.lake.write_bytes(self.lake.folder / place, "".join(lines).encode("utf-8"))
        return place

    def note(self, **entries: Any) -> None:
        """Add entries to the asset's metadata in the Dagster UI."""
        self.notes.update(entries)


@dataclass(frozen=True)
class Stage:
    """One table of the graph and the function that makes it."""

    name: str
    group: str
    body: Callable[..., pl.DataFrame | pl.LazyFrame]
    relation: Relation
    shards: dg.DynamicPartitionsDefinition | None
    settings: str | None
    fields: tuple[str, ...]
    also: tuple[str, ...]
    version: int
    externals: tuple[str, ...]
    resources: tuple[str, ...]
    all_rows: tuple[str, ...]
    watches: tuple[str, ...]
    kinds: frozenset[str]

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(inspect.signature(self.body).parameters)

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the upstream tables that the function takes, in the order of its parameters."""
        return tuple(name for name in self.parameters if name not in (*_KNOWN, *self.resources))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of all upstream tables."""
        return (*self.loaded, *(name for name in self.watches if name not in self.loaded))

    @property
    def description(self) -> str:
        return inspect.cleandoc(self.body.__doc__ or "")

    def code_version(self, profile: Profile) -> str:
        """Hash of the method's version and of every setting that the stage depends on."""
        include = set(self.fields) or None
        section = profile.section(self.settings).model_dump_json(include=include) if self.settings else ""
        section += "".join(profile.section(path).model_dump_json() for path in self.also)
        columns = json.dumps({name: str(dtype) for name, dtype in schemas.columns(self.name).items()})
        return digest(self.name, str(self.version), str(profile.seed), section, columns)[:16]

    def stamp(self, profile: Profile, lake: Lake, shard: str | None, reviews: Reviews) -> Stamp:
        """What the stage would be made from now: its code version and the versions of its inputs."""
        inputs = {name: self._input_version(lake, STAGES[name], shard) for name in self.inputs}
        inputs |= {name: sources.version(name, shard, profile, reviews, lake) for name in self.externals}
        return Stamp(self.name, shard, self.code_version(profile), inputs)

    def _input_version(self, lake: Lake, upstream: "Stage", shard: str | None) -> str:
        if upstream.shards is None:
            stamp = lake.stamp(upstream.name)
            if stamp is None:
                return ""
            if shard is not None and "shard" in schemas.columns(upstream.name):
                return stamp.shard_versions.get(shard, "")
            return stamp.version
        wanted = [shard] if self.shards is upstream.shards and shard else lake.shards(upstream.name)
        return combined_version(s for s in (lake.stamp(upstream.name, one) for one in wanted) if s)

    def execute(
        self, shard: str | None, frames: dict[str, pl.LazyFrame], run: Run, resources: dict[str, Any]
    ) -> pl.DataFrame:
        """Run the function on one shard (or on the whole) and return its table."""
        settings = run.profile.section(self.settings) if self.settings else None
        known = {"settings": settings, "shard": shard, "run": run}
        arguments: dict[str, Any] = {}
        for name in self.parameters:
            if name in frames:
                frame = run.lake.scan(name, kept=False) if name in self.all_rows else frames[name]
                narrowed = shard is not None and "shard" in schemas.columns(name)
                arguments[name] = frame.filter(pl.col("shard") == shard) if narrowed else frame
            else:
                arguments[name] = known[name] if name in known else resources[name]
        return self.body(**arguments).lazy().collect()

    def asset(self, profile: Profile) -> dg.AssetsDefinition:
        """The Dagster asset of this stage under a profile."""
        stage = self

        @dg.asset(
            name=self.name,
            group_name=self.group,
            description=self.description,
            code_version=self.code_version(profile),
            partitions_def=self.shards,
            backfill_policy=dg.BackfillPolicy.single_run() if self.shards else None,
            ins={name: dg.AssetIn(key=name) for name in self.loaded},
            deps=[dg.AssetKey(name) for name in (*self.externals, *self.watches) if name not in self.loaded],
            required_resource_keys={"lake", "profile", "reviews", *self.resources},
            io_manager_key="io_manager",
            kinds=set(self.kinds),
            metadata=metadata.definition(self.name, self.relation),
        )
        def compute(context: dg.AssetExecutionContext, **frames: Any) -> Any:
            shards = list(context.partition_keys) if stage.shards else [None]
            notes: dict[str, Any] = {}
            lake = context.resources.lake
            return Drafts(
                stage._drafts(context, frames, shards, notes),
                lambda: metadata.written(lake, stage.name, shards, notes),
            )

        return compute

    def _drafts(
        self,
        context: dg.AssetExecutionContext,
        frames: dict[str, pl.LazyFrame],
        shards: Sequence[str | None],
        notes: dict[str, Any],
    ) -> Iterator[Draft]:
        """Run shard by shard; the IO manager writes each before the next begins.

        A run that brings things up to date passes over what is fresh already, so that one that was
        killed goes on where it stopped.
        """
        lake: Lake = context.resources.lake
        profile: Profile = context.resources.profile.load()
        resources = {name: getattr(context.resources, name) for name in self.resources}
        tags = context.run.tags
        only_stale = tags.get(ONLY_STALE) == "true" and self.name not in tags.get(FORCED, "").split(",")
        versions = []
        with progress.listen(metadata.log_progress(context)):
            for shard in progress.track(shards, self.name):
                started = time.monotonic()
                stamp = self.stamp(profile, lake, shard, context.resources.reviews)
                written = lake.stamp(self.name, shard) if only_stale else None
                if written is None or not written.made_like(stamp):
                    run = Run(stamp.run_id, profile.seed, profile, lake, self.name, notes)
                    yield Draft(self.execute(shard, frames, run, resources), stamp)
                    written = lake.stamp(self.name, shard)
                    if written is None:
                        raise RuntimeError(f"{self.name} was not written")
                    for call in run.afterwards:
                        call()
                    seconds = time.monotonic() - started
                    lake.log_run(written, dagster_run_id=context.run.run_id, seconds=seconds)
                    if shard is None:
                        lake.clear_artefacts(self.name, keep=written.run_id)
                versions.append(written.version)
        context.set_data_version(context.asset_key, dg.DataVersion(digest(*versions)))


def stage(
    group: str,
    relation: Relation,
    *,
    shards: dg.DynamicPartitionsDefinition | None = None,
    settings: str | None = None,
    fields: Sequence[str] = (),
    also: Sequence[str] = (),
    version: int = 1,
    externals: Sequence[str] = (),
    resources: Sequence[str] = (),
    all_rows: Sequence[str] = (),
    watches: Sequence[str] = (),
    kinds: Sequence[str] = ("polars",),
) -> Callable[[Callable[..., Any]], Stage]:
    """Declare a stage.

    Parameters
    ----------
    group
        Group in the Dagster UI.
    relation
        How its rows relate to those of its inputs; the conservation check follows from it.
    shards
        Partitions, if each shard is worked on by itself.
    settings
        Dotted path of its section in the profile; a change of it makes the table stale.
    fields
        The fields of that section that it depends on, where these are not all.
    also
        Further sections that it reads from `run.profile`.
    version
        Raise it when the method changes in a way that the settings do not show.
    externals
        What it reads from outside the lake (see `assets.sources`).
    resources
        Resources that its function takes by name.
    all_rows
        Inputs that are taken with all their rows, not only the kept ones (to audit them).
    watches
        Tables whose counts it tells of, without reading their rows.
    """

    def declare(body: Callable[..., Any]) -> Stage:
        name = body.__name__
        if name not in schemas.TABLES:
            raise ValueError(f"stage {name} has no table in curation.schemas.TABLES")
        STAGES[name] = Stage(name, group, body, relation, shards, settings, tuple(fields), tuple(also), version, tuple(externals), tuple(resources), tuple(all_rows), tuple(watches), frozenset(kinds))  # fmt: skip
        return STAGES[name]

    return declare
