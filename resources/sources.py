"""What a source consists of: its files, the shards they are read in, and the version of each shard.

Belongs here: finding the files of a source, cutting them into shards, hashing the bytes of a shard.
Does not belong here: reading records out of a shard (`readers`) or fetching pages (`crawler`).
"""

from __future__ import annotations

import glob
import mmap
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from curation.errors import UserError
from curation.records import HASH_BYTES, digest
from curation.settings import Source

#: Shards of one role at most. From 100 partitions on, Dagster records the version of the last one only
#: when a stage reads them all; a few are left for shards that the graph makes itself.
MAX_SHARDS = 96
#: HTML files that are read as one shard.
HTML_FILES = 1_000
#: Names that files of a kind have, when the source is a folder.
SUFFIXES = {
    "jsonl": tuple(name + packed for name in (".jsonl", ".ndjson") for packed in ("", ".gz", ".zst")),
    "parquet": (".parquet",),
    "html": (".html", ".htm", ".xhtml", ".shtml"),
}
_COMPRESSED = (".gz", ".zst")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_NAME_CHARS = 40


@dataclass(frozen=True)
class Shard:
    """A part of a source that is read on its own.

    `path` names the one file that it lies in, with `start` and `stop` in bytes (JSONL; the shard owns
    the lines that start there) or rows (Parquet); `stop` None is the end of the file. Without a path,
    the shard is a website (`kind` web) or the files `start` to `stop` of `files(source)`.
    """

    key: str
    source: Source
    path: str | None = None
    start: int = 0
    stop: int | None = None


class File(NamedTuple):
    """A file of a source: `uri` is its path below the source's folder, so that the folder can move."""

    uri: str
    path: Path


class _Piece(NamedTuple):
    """The files `first` to `last` of a source, or, if that is one file, part `part` of it."""

    first: int
    last: int
    part: int


def files(source: Source) -> list[File]:
    """The files of a source, sorted by URI.

    Raises
    ------
    UserError
        Nothing is there, or nothing of that kind.
    """
    place = source.path or ""
    path = Path(place)
    if path.is_file():
        return [File(path.name, path)]
    if path.is_dir():
        found = [
            File(one.relative_to(path).as_posix(), one)
            for one in path.rglob("*")
            if one.name.lower().endswith(SUFFIXES[source.kind]) and one.is_file()
        ]
    else:
        base = _fixed_part(path)
        found = [
            File(Path(one).relative_to(base).as_posix(), Path(one))
            for one in glob.iglob(place, recursive=True)
            if Path(one).is_file()
        ]
    if not found:
        raise UserError(
            f"no {source.kind} file at {place}",
            where=f"source {source.name}",
            allowed=f"a file, a glob, or a folder with {', '.join(SUFFIXES[source.kind])} files",
        )
    return sorted(found)


def shard_files(shard: Shard) -> list[File]:
    """The files that a shard lies in."""
    found = files(shard.source)
    if shard.path is None:
        return found[shard.start : shard.stop]
    return [one for one in found if str(one.path) == shard.path]


def plan_shards(sources: Sequence[Source]) -> list[Shard]:
    """The shards of the sources, in order; a look at names, sizes and Parquet footers only.

    A large JSONL or Parquet file is cut into slices, HTML files and very many small files are put
    together. There are at most `MAX_SHARDS`: slices grow when there would be more.

    Raises
    ------
    UserError
        A source has no files.
    """
    limit = max(1, MAX_SHARDS // max(1, len(sources)))
    return [shard for source in sources for shard in _plan(source, limit)]


def version(shard: Shard) -> str:
    """Hash of the bytes of a shard; for a website of how it is crawled, since a crawl is repeated only
    when it is asked for."""
    source = shard.source
    if source.kind == "web":
        return digest(*source.urls, source.crawl.model_dump_json())
    sliced = (shard.start, shard.stop) if shard.path else (0, None)
    bytes_read, rows_read = (sliced, "") if source.kind == "jsonl" else ((0, None), str(sliced))
    parts = [rows_read]
    for one in shard_files(shard):
        try:
            look = one.path.stat()
            parts += [one.uri, _hash(str(one.path), look.st_size, look.st_mtime_ns, *bytes_read)]
        except OSError as error:  # the reader makes a quarantined row of it
            parts += [one.uri, f"unreadable: {error.strerror}"]
    return digest(*parts)


# -- planning -----------------------------------------------------------------------------------


def _fixed_part(pattern: Path) -> Path:
    """The folder before the first component with a wildcard."""
    for folder in reversed(pattern.parents):
        if glob.has_magic(folder.name):
            return folder.parent
    return pattern.parent


def _plan(source: Source, limit: int) -> Iterator[Shard]:
    if source.kind == "web":
        yield Shard(source.name, source)
        return
    found = files(source)
    sizes = [_size(source, one.path) for one in found]
    whole = [source.kind == "html" or one.path.suffix in _COMPRESSED for one in found]
    target = {"html": HTML_FILES, "parquet": source.shard_rows, "jsonl": source.shard_bytes}[source.kind]
    together = source.kind == "html" or len(found) > limit
    while len(pieces := list(_cut(sizes, whole, target, together))) > limit:
        target *= 2
    runs = 0
    for piece in pieces:
        one = found[piece.first]
        if source.kind == "html" or piece.last - piece.first > 1:
            key = f"{source.name}~~{runs}"
            runs += 1
            shard = Shard(key, source, None, piece.first, piece.last)
        else:
            start, stop = _range(source, one.path, piece.part * target, target, sizes[piece.first])
            if piece.part and start >= (sizes[piece.first] if stop is None else stop):
                # a line of the slice before reaches over all of this one
                continue
            shard = Shard(f"{source.name}~{_safe(one.uri)}~{piece.part}", source, str(one.path), start, stop)
        yield Shard(source.name, source, shard.path, shard.start, shard.stop) if len(pieces) == 1 else shard


def _cut(sizes: Sequence[int], whole: Sequence[bool], target: int, together: bool) -> Iterator[_Piece]:
    """Cut files into parts of `target` units, and put small ones `together` up to as much."""
    first = filled = 0
    for index, size in enumerate(sizes):
        parts = 1 if whole[index] else max(1, -(-size // target))
        if first < index and (parts > 1 or not together or filled + size > target):
            yield _Piece(first, index, 0)
            first, filled = index, 0
        if parts > 1:
            yield from (_Piece(index, index + 1, part) for part in range(parts))
            first = index + 1
        else:
            filled += size
    if first < len(sizes):
        yield _Piece(first, len(sizes), 0)


def _size(source: Source, path: Path) -> int:
    """Size of a file in the unit that its kind is cut by: bytes, rows or files. 0 if it is unreadable."""
    if source.kind == "html":
        return 1
    try:
        return _rows(path) if source.kind == "parquet" else path.stat().st_size
    except OSError:
        return 0


def _rows(path: Path) -> int:
    """Rows of a Parquet file by its footer."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return int(parquet.read_metadata(path).num_rows)
    except pa.ArrowException:
        return 0


def _range(source: Source, path: Path, start: int, length: int, size: int) -> tuple[int, int | None]:
    """Where a slice of a file begins and ends: whole rows, or bytes at the borders of lines."""
    stop = start + length
    if source.kind == "jsonl" and size > length:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            start, stop = (_line_start(view, at) for at in (start, stop))
    return start, stop if stop < size else None


def _line_start(view: mmap.mmap, at: int) -> int:
    """The first start of a line at or after a byte."""
    if at == 0 or at >= len(view):
        return min(at, len(view))
    return view.find(b"\n", at - 1) + 1 or len(view)


def _safe(uri: str) -> str:
    """A file name that is safe in keys and as part of a file name, different for different URIs."""
    name = _UNSAFE.sub("-", uri)
    return name if name == uri and len(uri) <= _NAME_CHARS else f"{name[-_NAME_CHARS:]}~h{digest(uri)[:12]}"


# -- hashing ------------------------------------------------------------------------------------


@lru_cache(maxsize=100_000)
def _hash(path: str, size: int, modified: int, start: int, stop: int | None) -> str:
    """Hash of bytes of a file; remembered as long as its size and time of change stay the same."""
    hasher = blake3(max_threads=blake3.AUTO)
    if start == 0 and stop is None:
        hasher.update_mmap(path)
    else:
        block = 1 << 26
        end = size if stop is None else stop
        with open(path, "rb") as file:
            file.seek(start)
            for at, after in pairwise([*range(start, end, block), end]):
                hasher.update(file.read(after - at))
    return hasher.hexdigest(length=HASH_BYTES)
