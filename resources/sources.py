"""What a source consists of: its files, the shards they are read in, and the version of each shard.

Belongs here: finding the files of a source, cutting them into shards, hashing the bytes of a shard.
Does not belong here: reading records out of a shard (`readers`) or fetching pages (`crawler`).

Files lie in local folders or behind any fsspec URL (s3://, http://, memory://, ...).
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

import orjson
from blake3 import blake3

from curation.errors import UserError
from curation.records import HASH_BYTES, digest
from curation.settings import Source
from resources.formats import columnar, delimited, warc, wikipedia
from resources.streams import FAULTS, PACKED, File, is_packed, line_start, opened, said, size, state

#: Shards of one role at most. From 100 partitions on, Dagster records the version of the last one only
#: when a stage reads them all; a few are left for shards that the graph makes itself.
MAX_SHARDS = 96
#: Files of a document each that are read as one shard.
HTML_FILES = 1_000


def _packed(*names: str) -> tuple[str, ...]:
    return tuple(name + packed for name in names for packed in ("", *PACKED))


#: Names that files of a format have, when the source is a folder.
SUFFIXES = {
    "jsonl": _packed(".jsonl", ".ndjson"),
    "parquet": (".parquet",),
    "arrow": (".arrow",),
    "csv": _packed(".csv", ".tsv"),
    "html": (".html", ".htm", ".xhtml", ".shtml"),
    "text": (".txt",),
    "markdown": (".md", ".markdown"),
    "epub": (".epub",),
    "warc": (".warc", ".warc.gz", ".warc.zst", ".wet", ".wet.gz"),
    "wikipedia": _packed(".xml"),
}
#: Formats in which a file is one document; those whose files can be cut, and by what.
WHOLE_FILES = ("html", "text", "markdown")
_CUT_BY_BYTES, _CUT_BY_ROWS = ("jsonl", "csv", "warc", "wikipedia"), ("parquet", "arrow")
#: What a Hugging Face dataset folder may hold its rows in, in the order in which they are looked for.
_DATASET_FORMATS = ("arrow", "parquet", "jsonl", "csv")
#: Wildcards in a URL; there a question mark begins a query.
_REMOTE_MAGIC = re.compile(r"[*\[]")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_NAME_CHARS = 40
_MALFORMED: tuple[type[Exception], ...] = (*FAULTS, ValueError, LookupError, TypeError)


@dataclass(frozen=True)
class Shard:
    """A part of a source that is read on its own.

    `path` names the one file that it lies in, with `start` and `stop` in bytes (the shard owns the lines,
    records or pages that start there) or rows (Parquet); `stop` None is the end of the file. Without a
    path, the shard is a website (`kind` web) or the files `start` to `stop` of `files(source)`.
    """

    key: str
    source: Source
    path: str | None = None
    start: int = 0
    stop: int | None = None


class _Piece(NamedTuple):
    """The files `first` to `last` of a source, or, if that is one file, part `part` of it."""

    first: int
    last: int
    part: int


# -- finding files ------------------------------------------------------------------------------


def files(source: Source) -> list[File]:
    """The files of a source, sorted by URI. Links are followed, each folder is gone through once.

    Raises
    ------
    UserError
        Nothing is there, nothing of that kind, or the place cannot be reached.
    """
    place = source.path or ""
    found = _remote(source, place) if "://" in place else _local(source, place)
    if not found:
        expected = ", ".join(name for name in _suffixes(source) if not name.endswith(PACKED))
        raise UserError(
            f"no {source.kind} file at {place}",
            where=f"source {source.name}",
            allowed=f"a file, a glob, or a folder with {expected} files",
        )
    return sorted(found)


def format_of(source: Source, found: Sequence[File]) -> str:
    """The format of a source's files: its kind, or, of a Hugging Face dataset, what it holds its rows in."""
    return source.kind if source.kind != "huggingface" else _dataset_format(file.uri for file in found[:1])


def shard_files(shard: Shard) -> list[File]:
    """The files that a shard lies in."""
    found = files(shard.source)
    if shard.path is None:
        return found[shard.start : shard.stop]
    return [one for one in found if str(one.path) == shard.path]


def _suffixes(source: Source) -> tuple[str, ...]:
    """Names that the files of a source have."""
    if source.kind == "huggingface":
        return tuple(name for form in _DATASET_FORMATS for name in SUFFIXES[form])
    return SUFFIXES[source.kind]


def _local(source: Source, place: str) -> list[File]:
    path = Path(place)
    closed: list[str] = []
    if path.is_dir():
        base, found = path, _wanted(source, _below(path, _walk(place, closed)), True)
    elif glob.has_magic(place) and not path.exists():
        base = _fixed_part(path)
        found = _wanted(source, _below(base, _glob(place, base, closed)), False)
    else:
        # a link that leads nowhere is a file that cannot be read
        return [File(path.name, path)] if path.exists() or path.is_symlink() else []
    return found + _below(base, closed)


def _below(base: Path, places: Iterable[str]) -> list[File]:
    return [File(Path(one).relative_to(base).as_posix(), Path(one)) for one in places]


def _walk(place: str, closed: list[str]) -> Iterator[str]:
    """Everything below a folder that is no folder. Folders that cannot be opened are added to `closed`.

    Links are followed, but no folder is gone through twice, so that a link upwards does no harm.
    """
    seen = {os.path.realpath(place)}
    for folder, inside, names in os.walk(
        place, followlinks=True, onerror=lambda error: closed.append(error.filename)
    ):
        below = [os.path.join(folder, name) for name in inside]
        real = {
            one: os.path.realpath(one) for one in sorted(below, key=lambda one: (os.path.islink(one), one))
        }
        first = {path: one for one, path in reversed(real.items()) if path not in seen}
        seen |= first.keys()
        inside[:] = sorted(os.path.basename(one) for one in first.values())
        yield from (os.path.join(folder, name) for name in names)


def _glob(pattern: str, base: Path, closed: list[str]) -> Iterator[str]:
    """Files that match a pattern; `**` matches any number of folders."""
    if "**" not in pattern:
        yield from (one for one in glob.iglob(pattern) if not os.path.isdir(one))
        return
    from fsspec.utils import glob_translate

    matches = re.compile(glob_translate(pattern)).match
    yield from (one for one in _walk(str(base), closed) if matches(one))


def _fixed_part(pattern: Path) -> Path:
    """The folder before the first component with a wildcard."""
    for folder in reversed(pattern.parents):
        if glob.has_magic(folder.name):
            return folder.parent
    return pattern.parent


def _remote(source: Source, place: str) -> list[File]:
    """Files behind an fsspec URL: a file, a folder or a glob."""
    from upath import UPath

    scheme = place.partition("://")[0]
    try:
        path = UPath(place)
        system, inner = path.fs, path.path
        if _REMOTE_MAGIC.search(inner):
            base, found, named = str(_fixed_part(Path(inner))), system.glob(inner), False
        elif system.isfile(inner):
            return [File(path.name, _url(place, path.storage_options))]
        else:
            base, found, named = inner, system.find(inner), True
    except ImportError as error:
        extra = "pip install 'curation-dagster[s3]'" if scheme.startswith("s3") else str(error)
        raise UserError(
            f"{scheme}:// needs a package that is not installed", where=f"source {source.name}", allowed=extra
        ) from None
    except (FileNotFoundError, NotADirectoryError):
        return []
    except Exception as error:  # every fsspec backend has errors of its own
        raise UserError(
            f"cannot list {place}: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            where=f"source {source.name}",
            allowed="a URL that fsspec can read, such as s3://bucket/folder",
        ) from None
    base = base.rstrip("/")
    inside = [
        File(one.removeprefix(base).lstrip("/"), _url(system.unstrip_protocol(one), path.storage_options))
        for one in found
    ]
    return _wanted(source, inside, named)


def _url(place: str, options: Mapping[str, Any]) -> Path:
    """A path behind a URL; it has the methods of `Path`, if not its type."""
    from upath import UPath

    return cast(Path, UPath(place, **options))


def _wanted(source: Source, found: list[File], by_name: bool) -> list[File]:
    """Of the files below a folder those that the source's kind reads; those of a glob are all wanted."""
    if source.kind == "huggingface":
        return _dataset(found)
    return [one for one in found if not by_name or one.uri.lower().endswith(SUFFIXES[source.kind])]


def _dataset(found: list[File]) -> list[File]:
    """The files with the rows of a Hugging Face dataset.

    A dataset that was saved to disk names its files in `state.json` (others beside them are caches);
    one as it lies on the hub has Parquet, JSONL or CSV files below it, in one format.
    """
    rows = [
        one
        for one in found
        if one.uri.lower().endswith(tuple(name for form in _DATASET_FORMATS for name in SUFFIXES[form]))
    ]
    if not rows:
        return []
    form = _dataset_format(one.uri for one in rows)
    rows = [one for one in rows if one.uri.lower().endswith(SUFFIXES[form])]
    if form != "arrow":
        return rows
    named = {name for state in found if state.uri.endswith("state.json") for name in _named_by(state)}
    return [one for one in rows if one.uri in named or (not named and not one.path.name.startswith("cache-"))]


def _dataset_format(uris: Iterable[str]) -> str:
    """The first of the formats of datasets that files have; by default the one of the hub."""
    endings = [uri.lower() for uri in uris]
    found = (form for form in _DATASET_FORMATS if any(uri.endswith(SUFFIXES[form]) for uri in endings))
    return next(found, "parquet")


def _named_by(state: File) -> list[str]:
    """URIs of the files that the `state.json` of a saved dataset names."""
    try:
        with opened(state.path) as file:
            listed = orjson.loads(file.read(1 << 24))["_data_files"]
        folder = state.uri.rpartition("/")[0]
        return [f"{folder}/{one['filename']}".lstrip("/") for one in listed]
    except _MALFORMED:
        return []


# -- shards -------------------------------------------------------------------------------------


def plan_shards(sources: Sequence[Source]) -> list[Shard]:
    """The shards of the sources, in order; a look at names, sizes and Parquet footers.

    A large file is cut into slices at the borders of lines, records, pages or rows; files of a document
    each and very many small files are put together. There are at most `MAX_SHARDS`: slices grow when
    there would be more. Large CSV files are gone through once, since only that tells where a quoted
    field ends. What is packed as one stream cannot be cut.

    Raises
    ------
    UserError
        A source has no files.
    """
    limit = max(1, MAX_SHARDS // max(1, len(sources)))
    return [shard for source in sources for shard in _plan(source, limit)]


def version(shard: Shard) -> str:
    """Hash of the bytes of a shard; behind a URL, of what the store says of the file (size, ETag, time).

    For a website it is a hash of how it is crawled: what it holds now nobody knows without crawling it.
    """
    source = shard.source
    if source.kind == "web":
        return digest(*source.urls, source.crawl.model_dump_json(exclude={"refresh_hours"}))
    sliced = (shard.start, shard.stop) if shard.path else (0, None)
    found = shard_files(shard)
    local = all(isinstance(one.path, Path) for one in found)
    by_bytes = local and format_of(source, found) in _CUT_BY_BYTES
    bytes_read, part = (sliced, "") if by_bytes else ((0, None), str(sliced))
    parts = [part, str(source.max_record_bytes), str(source.max_unpacked_ratio)]
    for one in found:
        try:
            parts += [one.uri, _version(one.path, *bytes_read)]
        except OSError as error:  # the reader makes a quarantined row of it
            parts += [one.uri, f"unreadable: {said(error)}"]
    return digest(*parts)


# -- planning -----------------------------------------------------------------------------------


def _plan(source: Source, limit: int) -> Iterator[Shard]:
    if source.kind == "web":
        yield Shard(source.name, source)
        return
    found = files(source)
    form = format_of(source, found)
    sizes = [_size(form, one) for one in found]
    target, most = source.shard_rows if form in _CUT_BY_ROWS else source.shard_bytes, HTML_FILES
    whole = [length <= target or not _can_be_cut(form, one) for one, length in zip(found, sizes, strict=True)]
    single = form in WHOLE_FILES
    together = single or len(found) > limit
    while len(pieces := list(_cut(sizes, whole, target, most if single else len(found), together))) > limit:
        target, most = 2 * target, 2 * most
    runs = 0
    for piece in pieces:
        one = found[piece.first]
        if single or piece.last - piece.first > 1:
            key = f"{source.name}~~{runs}"
            runs += 1
            shard = Shard(key, source, None, piece.first, piece.last)
        else:
            start, stop = _range(source, form, one, piece.part, target, sizes[piece.first])
            if piece.part and start >= (sizes[piece.first] if stop is None else stop):
                # a line of the slice before reaches over all of this one
                continue
            shard = Shard(f"{source.name}~{_safe(one.uri)}~{piece.part}", source, str(one.path), start, stop)
        yield Shard(source.name, source, shard.path, shard.start, shard.stop) if len(pieces) == 1 else shard


def _cut(
    sizes: Sequence[int], whole: Sequence[bool], target: int, most: int, together: bool
) -> Iterator[_Piece]:
    """Cut files into parts of `target` units, and put small ones `together` up to as much, `most` at once."""
    first = filled = 0
    for index, size_ in enumerate(sizes):
        parts = 1 if whole[index] else max(1, -(-size_ // target))
        full = not together or filled + size_ > target or index - first >= most
        if first < index and (parts > 1 or full):
            yield _Piece(first, index, 0)
            first, filled = index, 0
        if parts > 1:
            yield from (_Piece(index, index + 1, part) for part in range(parts))
            first = index + 1
        else:
            filled += size_
    if first < len(sizes):
        yield _Piece(first, len(sizes), 0)


def _size(form: str, file: File) -> int:
    """Size of a file in the unit that its format is cut by: rows or bytes. 0 if it is unreadable."""
    try:
        return columnar.count_rows(file, form) if form in _CUT_BY_ROWS else size(file.path)
    except FAULTS:
        return 0


def _can_be_cut(form: str, file: File) -> bool:
    """Whether reading can begin in the middle of a file."""
    if form not in _CUT_BY_BYTES:
        return form in _CUT_BY_ROWS
    if form == "warc" or (form == "wikipedia" and file.path.suffix.lower() == ".bz2"):
        try:
            return (warc if form == "warc" else wikipedia).can_be_cut(file.path)
        except FAULTS:
            return False
    return not is_packed(file.path)


def _range(
    source: Source, form: str, file: File, part: int, length: int, total: int
) -> tuple[int, int | None]:
    """Where a slice of a file begins and ends: whole rows, or bytes at the borders of records."""
    start, stop = part * length, (part + 1) * length
    if form in _CUT_BY_BYTES and total > length:
        start, stop = (_border(source, form, file, at, length, total) for at in (start, stop))
    return start, stop if stop < total else None


def _border(source: Source, form: str, file: File, at: int, length: int, total: int) -> int:
    """The first start of a record at or after a byte."""
    if at == 0 or at >= total:
        return min(at, total)
    if form == "csv":
        found = delimited.borders(file, source, length)
        return found[at // length - 1] if at // length <= len(found) else total
    try:
        finder = {"jsonl": line_start, "warc": warc.border, "wikipedia": wikipedia.border}[form]
        return finder(file.path, at)
    except FAULTS:
        return total


def _safe(uri: str) -> str:
    """A file name that is safe in keys and as part of a file name, different for different URIs."""
    name = _UNSAFE.sub("-", uri)
    return name if name == uri and len(uri) <= _NAME_CHARS else f"{name[-_NAME_CHARS:]}~h{digest(uri)[:12]}"


# -- hashing ------------------------------------------------------------------------------------


def _version(path: Path, start: int, stop: int | None) -> str:
    """What identifies the bytes of a file. Raises OSError."""
    if isinstance(path, Path):
        look = path.stat()
        return _hash(str(path), look.st_size, look.st_mtime_ns, start, stop)
    return digest(state(path))


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
