"""The lake: one Parquet file a table or shard, the only place where truth is stored.

Belongs here: paths, stamped atomic writes, lazy reads, artefact folders, the log of runs, and the
Dagster IO manager on top. Does not belong here: which tables exist or what they mean.

Every file carries a stamp in its footer: the code version and the input versions it was made from,
the id of the run that decided, and the version of its own data. So the file itself says whether it
is stale, whatever instance or process wrote it, and data and stamp can never come apart.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import dagster as dg
import polars as pl
from upath import UPath

from curation import schemas, verdicts
from curation.records import digest

_STAMP = "curation"


@dataclass(frozen=True)
class Stamp:
    """What a file of the lake was made from. `version` identifies its data (not when it was made)."""

    asset: str
    shard: str | None = None
    code_version: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    version: str = ""
    #: for an unsharded table of sharded rows: the version of each shard's rows
    shard_versions: dict[str, str] = field(default_factory=dict)
    #: rows by verdict, and by reason
    counts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Id of the run that decides: equal code, settings and inputs give an equal id."""
        inputs = json.dumps(self.inputs, sort_keys=True)
        return digest("run", self.asset, self.shard or "", self.code_version, inputs)

    @property
    def rows(self) -> int:
        return sum(self.counts.values())

    def made_like(self, other: Stamp) -> bool:
        """Whether both were made by the same code, with the same settings, from the same inputs."""
        return self.code_version == other.code_version and self.inputs == other.inputs


@dataclass(frozen=True)
class Draft:
    """A table or shard on its way into the lake."""

    frame: pl.DataFrame
    stamp: Stamp


class Drafts:
    """Drafts of many shards, made one at a time, and metadata that is known when all are written."""

    def __init__(self, drafts: Iterator[Draft], metadata: Callable[[], dict[str, Any]]) -> None:
        self._drafts, self.metadata = drafts, metadata

    def __iter__(self) -> Iterator[Draft]:
        return self._drafts


def data_versions(frame: pl.DataFrame) -> tuple[str, dict[str, str]]:
    """Version of the rows of a table, and of the rows of each shard if it has a column `shard`."""
    steady = frame.drop(*schemas.VOLATILE, strict=False)
    if "fetched_at" in frame.columns:
        steady = steady.with_columns(pl.col("evidence").str.replace_all(schemas.VOLATILE_EVIDENCE, ""))
    layout = str(dict(steady.schema))
    hashes = steady.hash_rows()

    def version(values: pl.Series) -> str:
        return digest(layout, values.to_numpy().tobytes().hex())

    by_shard: dict[str, str] = {}
    if "shard" in frame.columns and frame.height:
        parts = pl.DataFrame({"shard": frame["shard"], "hash": hashes}).partition_by("shard", as_dict=True)
        by_shard = {str(key[0]): version(part["hash"]) for key, part in sorted(parts.items())}
    return version(hashes), by_shard


class Lake(dg.ConfigurableResource):
    """Tables as Parquet below a folder or fsspec URL."""

    root: str

    # -- paths ----------------------------------------------------------------------------------

    @property
    def folder(self) -> UPath:
        return UPath(self.root)

    @property
    def is_local(self) -> bool:
        return isinstance(self.folder, Path)

    def path(self, asset: str, shard: str | None = None) -> UPath:
        """File of a table, or of one shard of it."""
        name = self.folder / asset
        return name.with_name(f"{asset}.parquet") if shard is None else name / f"{shard}.parquet"

    def artefact(self, asset: str, run_id: str) -> UPath:
        """Folder for what a run of an asset learned. The run id is in it, so it never changes."""
        return self.folder / "_artefacts" / asset / run_id

    def workspace(self, *names: str) -> Path:
        """Local folder for work under way, which outlives a killed process: below the lake, or, for a
        lake that is not a local folder, below the user's cache."""
        if self.is_local:
            return Path(str(self.folder)).joinpath(*names)
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        return (cache / "curation-dagster" / digest(self.root)).joinpath(*names)

    # -- reading --------------------------------------------------------------------------------

    def shards(self, asset: str) -> list[str]:
        """Shards of a table that have been written, sorted."""
        folder = self.folder / asset
        return sorted(file.stem for file in folder.glob("*.parquet")) if folder.exists() else []

    def exists(self, asset: str, shard: str | None = None) -> bool:
        return bool(self.path(asset, shard).exists())

    def scan(self, asset: str, shards: Sequence[str] | None = None, *, kept: bool = True) -> pl.LazyFrame:
        """Rows of a table as one LazyFrame: the kept ones, or all. Empty if nothing was written.

        `shards` limits a sharded table to those of its shards that exist.
        """
        if self.exists(asset):
            files = [self.path(asset)]
        else:
            present = self.shards(asset)
            wanted = present if shards is None else [shard for shard in shards if shard in set(present)]
            files = [self.path(asset, shard) for shard in wanted]
        if not files:
            return schemas.empty(asset).lazy()
        if self.is_local:
            frame = pl.scan_parquet([str(file) for file in files])
        else:
            contents: list[IO[bytes]] = [io.BytesIO(file.read_bytes()) for file in files]
            frame = pl.scan_parquet(contents)
        return verdicts.kept(frame) if kept else frame

    def stamp(self, asset: str, shard: str | None = None) -> Stamp | None:
        """Stamp of a file, or None if the file is missing or was not written by us."""
        file = self.path(asset, shard)
        if not file.exists():
            return None
        try:
            footer = pl.read_parquet_metadata(str(file) if self.is_local else io.BytesIO(file.read_bytes()))
            return Stamp(**json.loads(footer[_STAMP]))
        except (pl.exceptions.PolarsError, KeyError, TypeError, ValueError, OSError):
            return None

    # -- writing --------------------------------------------------------------------------------

    def write(self, draft: Draft) -> Stamp:
        """Write a table or shard atomically and return its completed stamp.

        A killed process leaves the old file or the new one, never a torn one: the file is written
        under a temporary name, flushed to disk and renamed (object stores do the same by themselves).
        """
        stamp = draft.stamp
        frame = schemas.conform(stamp.asset, draft.frame.with_columns(run_id=pl.lit(stamp.run_id)))
        version, shard_versions = data_versions(frame)
        tally = verdicts.verdict_counts(frame)
        counts = dict.fromkeys(verdicts.VERDICTS, 0)
        for verdict, rows in tally.group_by("verdict").agg(pl.col("rows").sum()).iter_rows():
            counts[verdict] = rows
        reasons = dict(tally.drop_nulls("reason").select("reason", "rows").sort("reason").iter_rows())
        stamp = replace(
            stamp,
            version=version,
            shard_versions=shard_versions if stamp.shard is None else {},
            counts=counts,
            reasons=reasons,
        )
        buffer = io.BytesIO()
        frame.write_parquet(
            buffer,
            compression="zstd",
            compression_level=3,
            row_group_size=25_000,
            metadata={_STAMP: json.dumps(asdict(stamp), sort_keys=True)},
        )
        self.write_bytes(self.path(stamp.asset, stamp.shard), buffer.getbuffer())
        return stamp

    def write_bytes(self, file: UPath, content: bytes | memoryview) -> None:
        """Put a file in place atomically."""
        file.parent.mkdir(parents=True, exist_ok=True)
        if not self.is_local:
            file.write_bytes(bytes(content))
            return
        temporary = Path(str(file.with_name(f".{file.name}.{uuid.uuid4().hex}")))
        try:
            with temporary.open("wb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, str(file))
        finally:
            temporary.unlink(missing_ok=True)

    def remove_shard(self, asset: str, shard: str) -> None:
        """Remove one shard of a table, once its source is no longer part of the profile."""
        self.path(asset, shard).unlink(missing_ok=True)

    def clear_artefacts(self, asset: str, keep: str) -> None:
        """Remove artefacts of earlier runs of an asset."""
        folder = self.folder / "_artefacts" / asset
        if folder.exists() and self.is_local:
            for old in folder.iterdir():
                if old.name != keep:
                    shutil.rmtree(str(old), ignore_errors=True)

    # -- log of runs ----------------------------------------------------------------------------

    def log_run(self, stamp: Stamp, *, dagster_run_id: str, seconds: float) -> None:
        """Note when a run was executed, by which Dagster run, and how long it took."""
        file = self.folder / "_runs" / f"{stamp.run_id}.json"
        entry = {
            "run_id": stamp.run_id,
            "asset": stamp.asset,
            "shard": stamp.shard,
            "dagster_run_id": dagster_run_id,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "rows": stamp.rows,
        }
        self.write_bytes(file, json.dumps(entry, indent=1).encode())

    def run_log(self, run_id: str) -> dict[str, Any] | None:
        """What `log_run` noted of a run."""
        file = self.folder / "_runs" / f"{run_id}.json"
        return json.loads(file.read_text()) if file.exists() else None


class LakeIOManager(dg.ConfigurableIOManager):
    """Moves tables between Dagster and the lake.

    Downstream always gets ONE LazyFrame of the kept rows, whatever the number of partitions.
    Upstream hands over one `Draft`, or `Drafts`, one a partition, which are written as they come: a
    run over many partitions never holds more than one in memory.
    """

    root: str

    @property
    def lake(self) -> Lake:
        return Lake(root=self.root)

    def handle_output(self, context: dg.OutputContext, obj: Draft | Drafts) -> None:
        for draft in [obj] if isinstance(obj, Draft) else obj:
            self.lake.write(draft)
        if isinstance(obj, Drafts):
            context.add_output_metadata(obj.metadata())

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        asset = context.asset_key.path[-1]
        shards = list(context.asset_partition_keys) if context.has_asset_partitions else None
        return self.lake.scan(asset, shards)


def combined_version(stamps: Iterable[Stamp]) -> str:
    """One version for several files of a table."""
    return digest(*(f"{stamp.shard}={stamp.version}" for stamp in stamps))


def iter_stamps(lake: Lake, asset: str) -> Iterator[Stamp]:
    """Stamps of all files of a table."""
    whole = lake.stamp(asset)
    if whole is not None:
        yield whole
        return
    for shard in lake.shards(asset):
        stamp = lake.stamp(asset, shard)
        if stamp is not None:
            yield stamp
