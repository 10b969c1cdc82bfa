"""Records read out of files: documents, instruction samples, benchmark questions.

Belongs here: one row for every line, row or file of a shard, readable or not. Does not belong here:
which files make a shard (`sources`), websites (`crawler`), or what is to be thought of a text (`curation`).
"""

from __future__ import annotations

import gzip
import re
import sys
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from curation import schemas
from curation.errors import UserError
from curation.progress import track
from curation.records import record_id
from curation.settings import Fields, Source
from curation.verdicts import REASONS
from resources.sources import File, Shard, plan_shards, shard_files

#: Bytes read at once; few where what was unpacked just before a break would be lost with the block.
_BLOCK = 1 << 22
_SMALL_BLOCK = 1 << 16
#: Bytes in which a page says what it is.
_HEAD = 2_048
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)  # fmt: skip
_CHARSET = re.compile(rb"<(?:meta|\?xml)[^>]*?(?:charset|encoding)\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)", re.I)
_BOMS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_MAGIC = (b"%PDF-", b"PK\x03\x04", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"\x1f\x8b", b"Rar!", b"\x7fELF")
#: Names of speakers in conversations (ShareGPT, OpenAI and their kin), by role.
_ROLES = {
    **dict.fromkeys(("system",), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model"), "assistant"),
    **dict.fromkeys(("tool", "function", "function_call", "observation"), "tool"),
}
_CONVERSATIONS = ("messages", "conversations")
_QUESTIONS = ("question", "text", "prompt", "instruction")
_OPTIONS = ("options", "choices")


class _Broken(Exception):
    """A file that breaks off at a byte, with what was read of the line that starts there."""

    def __init__(self, error: str, at: int, rest: bytes) -> None:
        super().__init__(error)
        self.at, self.rest = at, rest


class _Refused(Exception):
    """A row that cannot be used: a code of the registry and what is wrong."""

    def __init__(self, reason: str, error: str) -> None:
        super().__init__(error)
        self.reason = reason


@dataclass(frozen=True)
class _Row:
    """One line, row or file. `found` is None where it could not be read, for the reason given."""

    uri: str
    position: int
    found: Mapping[str, Any] | None
    reason: str | None = None
    noted: Mapping[str, Any] = field(default_factory=dict)
    raw: bytes | None = None


def read_documents(shard: Shard) -> pl.DataFrame:
    """The documents of a shard of files: the table `raw_crawl` without `run_id`.

    One row for every line that is not blank (JSONL), row (Parquet) or file (HTML), in order. The
    position is the byte at which the line starts, the number of the row, or 0. The body is the text in
    UTF-8, or the bytes of the file; for what could not be read, the bytes as they are.

    Raises
    ------
    UserError
        A field that the source names is not a column of its Parquet file.
    """
    if shard.source.kind == "web":
        raise ValueError("a website is crawled (resources.crawler), not read")
    if shard.source.kind == "html":
        return _frame(
            "raw_crawl", shard, [_html(one) for one in track(shard_files(shard), "read files", every=100)]
        )
    return _frame("raw_crawl", shard, _read(shard, _document, [[shard.source.fields.text]]))


def read_samples(shard: Shard) -> pl.DataFrame:
    """The instruction samples of a shard: the table `raw_samples` without `run_id`.

    Instruction, input and output become two messages (input below the instruction, if there is one).
    Conversations (lists of role and content, or of from and value) are read where the source names
    their field, and where a row has `messages` or `conversations` and no instruction.

    Raises
    ------
    UserError
        The source is not made of lines or rows, or a field that it names is no column of its file.
    """
    fields = shard.source.fields
    if shard.source.kind not in ("jsonl", "parquet"):
        raise UserError(
            f"kind {shard.source.kind} holds no samples",
            where=f"source {shard.source.name}",
            allowed="jsonl, parquet",
        )
    needed = (
        [[fields.messages]]
        if fields.messages
        else [[fields.instruction, *_CONVERSATIONS], [fields.output, *_CONVERSATIONS]]
    )
    return _frame("raw_samples", shard, _read(shard, _sample, needed))


def read_benchmarks(sources: Sequence[Source]) -> pl.DataFrame:
    """The questions of all benchmarks: columns `id` and `text`; without a source, none."""
    nothing = pl.DataFrame(schema={"id": pl.String, "text": pl.String})
    return pl.concat([nothing, *(read_benchmark(source) for source in sources)])


def read_benchmark(source: Source) -> pl.DataFrame:
    """The questions of a benchmark with their options: columns `id` and `text`.

    Reads a question with a list of options, with columns A, B, C, ... (as C-Eval and CMMLU have), or
    a text alone. What cannot be read stands as it is: the words of a question are in it all the same.
    """
    rows = [
        (_benchmark_id(row, source.fields), _question(row, source.fields))
        for shard in plan_shards([source])
        for row in _rows(shard)
    ]
    return pl.DataFrame(rows, schema={"id": pl.String, "text": pl.String}, orient="row").filter(
        pl.col("text") != ""
    )


# -- what a body is -----------------------------------------------------------------------------


def declared_charset(body: bytes) -> str | None:
    """The character set that a page says it is in: by its byte order mark or a meta tag."""
    for mark, name in _BOMS.items():
        if body.startswith(mark):
            return name
    found = _CHARSET.search(body, 0, _HEAD)
    return found[1].decode("ascii").lower() if found else None


def is_page(body: bytes) -> bool:
    """Whether it is a whole HTML page."""
    return _PAGE.match(body, 0, _HEAD) is not None


def is_binary(body: bytes) -> bool:
    """Whether it is no text at all: a well-known binary format, or NUL bytes outside of UTF-16."""
    wide = body.startswith((b"\xff\xfe", b"\xfe\xff"))
    return body.startswith(_MAGIC) or (not wide and b"\0" in body[:_HEAD])


# -- from rows to tables ------------------------------------------------------------------------


def _read(
    shard: Shard,
    convert: Callable[[Mapping[str, Any], Fields], dict[str, Any]],
    needed: Sequence[Sequence[str]],
) -> Iterator[dict[str, Any]]:
    """One dict for every row of a shard, in the columns that `convert` fills."""
    fields = shard.source.fields
    columns = {*fields.model_dump().values(), *_CONVERSATIONS}
    for row in track(_rows(shard, needed, columns), "read rows", every=10_000):
        out: dict[str, Any] = {
            "uri": row.uri,
            "position": row.position,
            "reason": row.reason,
            "body": row.raw,
        }
        noted = dict(row.noted)
        if row.found is not None:
            out["native_id"] = _native_id(row.found, fields.id)
            try:
                out |= convert(row.found, fields)
            except _Refused as refused:
                noted["error"] = str(refused)
                out |= {"reason": refused.reason, "body": row.raw or _as_json(row.found)}
        out["evidence"] = orjson.dumps(noted).decode()
        yield out


def _frame(table: str, shard: Shard, rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """The rows as their table, with identity and verdict."""
    types = {name: dtype for name, dtype in schemas.columns(table).items() if name != "run_id"}
    filled = {
        name: dtype
        for name, dtype in types.items()
        if name not in ("record_id", "source", "shard", "verdict")
    }
    values: dict[str, list[Any]] = {name: [] for name in filled}
    for row in rows:
        for name, column in values.items():
            column.append(row.get(name))
    verdicts = {code: reason.verdict for code, reason in REASONS.items()}
    frame = pl.DataFrame(values, schema=filled).with_columns(
        source=pl.lit(shard.source.name),
        shard=pl.lit(shard.key),
        verdict=pl.col("reason").replace_strict(verdicts, default="kept", return_dtype=types["verdict"]),
    )
    return frame.with_columns(record_id=_record_ids(shard, frame)).select(list(types))


def _record_ids(shard: Shard, frame: pl.DataFrame) -> pl.Series:
    """Ids of the rows: by the source's own id, or by position where it has none or repeats one."""
    source = shard.source.name
    marked = frame.select("uri", "position", "native_id")
    if shard.path and (shard.start or shard.stop is not None) and shard.source.fields.id:
        repeats = _repeats(shard)
        later = [
            native is not None and position != repeats.get(native, position)
            for position, native in marked.select("position", "native_id").iter_rows()
        ]
    else:
        first = pl.int_range(pl.len()).over("uri", "native_id") == 0
        later = marked.select(~first & pl.col("native_id").is_not_null()).to_series().to_list()
    return pl.Series(
        [
            record_id(source, uri, position if native is None or repeated else native)
            for (uri, position, native), repeated in zip(marked.iter_rows(), later, strict=True)
        ],
        dtype=pl.String,
    )


def _repeats(shard: Shard) -> Mapping[str, int]:
    """For every id that the file of a slice gives more than once: the position of the first row with it."""
    look = Path(shard.path or "").stat()
    return _repeats_of(shard.source, shard.path or "", look.st_size, look.st_mtime_ns)


@lru_cache(maxsize=8)
def _repeats_of(source: Source, path: str, size: int, modified: int) -> Mapping[str, int]:
    """See `_repeats`; remembered, so that the file is gone through once for all of its slices."""
    whole = Shard(source.name, source, path)
    name = source.fields.id or ""
    places = (
        (_native_id(row.found, name), row.position)
        for row in _rows(whole, columns=[name])
        if row.found is not None
    )
    seen = pl.DataFrame(places, schema={"id": pl.String, "position": pl.Int64}, orient="row")
    twice = (
        seen.drop_nulls().filter(pl.col("id").is_duplicated()).group_by("id").agg(pl.col("position").min())
    )
    return dict(twice.iter_rows())


def _native_id(found: Mapping[str, Any], name: str | None) -> str | None:
    """The source's own id: a text or a whole number."""
    value = found.get(name) if name else None
    return (
        str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None
    )


def _text(found: Mapping[str, Any], name: str) -> str:
    """A text that must be there; it may be empty."""
    value = found.get(name)
    if value is None:
        raise _Refused("missing_field", f"{name} is missing")
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _Refused("unreadable_text", f"{name}: {error}") from None
    if not isinstance(value, str):
        raise _Refused("unreadable_line", f"{name} is a {type(value).__name__}, not text")
    return value


def _text_or_none(found: Mapping[str, Any], name: str | None) -> str | None:
    value = found.get(name) if name else None
    return value if isinstance(value, str) else None


def _as_json(found: Mapping[str, Any]) -> bytes:
    """A row of a table that cannot be used, as it was found."""
    return orjson.dumps(dict(found), default=repr, option=orjson.OPT_NON_STR_KEYS)


def _document(found: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    value = found.get(fields.text)
    body = value if isinstance(value, bytes) else _text(found, fields.text).encode("utf-8")
    page = is_page(body)
    return {
        "title": _text_or_none(found, fields.title),
        "body": body,
        "media_type": "text/html" if page else "text/plain",
        "charset": declared_charset(body) if isinstance(value, bytes) else "utf-8",
    }


def _html(file: File) -> dict[str, Any]:
    out: dict[str, Any] = {"uri": file.uri, "position": 0, "evidence": "{}"}
    try:
        body = file.path.read_bytes()
    except OSError as error:
        return out | {
            "reason": "unreadable_file",
            "evidence": orjson.dumps({"error": str(error.strerror)}).decode(),
        }
    noted = orjson.dumps({"bytes": len(body)}).decode()
    if is_binary(body):
        return out | {"body": body, "reason": "not_text", "evidence": noted}
    return out | {
        "body": body,
        "media_type": "text/html",
        "charset": declared_charset(body),
        "evidence": noted,
    }


def _sample(found: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    named = fields.messages or next(
        (name for name in _CONVERSATIONS if name in found and fields.instruction not in found), None
    )
    if named:
        messages = _messages(found, named)
    else:
        question, given = _text(found, fields.instruction), found.get(fields.input) if fields.input else None
        if given is not None:
            given = _text(found, str(fields.input))
        messages = [
            {"role": "user", "content": f"{question}\n{given}" if given else question},
            {"role": "assistant", "content": _text(found, fields.output)},
        ]
    return {"task": _text_or_none(found, fields.task), "messages": messages, "body": None}


def _messages(found: Mapping[str, Any], name: str) -> list[dict[str, str]]:
    """A conversation as role and content."""
    turns = found.get(name)
    if turns is None or turns == []:
        raise _Refused("missing_field", f"{name} is missing or empty")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise _Refused("unreadable_line", f"{name} is not a list of messages")
    messages = []
    for turn in turns:
        who = turn.get("role", turn.get("from"))
        role = _ROLES.get(who.strip().lower()) if isinstance(who, str) else None
        if role is None:
            raise _Refused("unreadable_line", f"{name}: unknown role {who!r}")
        messages.append({"role": role, "content": _text(turn, "content" if "content" in turn else "value")})
    return messages


def _question(row: _Row, fields: Fields) -> str:
    """A benchmark question with its options, one a line."""
    found = row.found
    if found is None:
        return (row.raw or b"").decode("utf-8", "replace")
    names = [name for name in (fields.text, *_QUESTIONS) if isinstance(found.get(name), str)]
    if not names:
        return "\n".join(value for value in found.values() if isinstance(value, str))
    listed = next((found[name] for name in _OPTIONS if found.get(name)), None)
    if isinstance(listed, Mapping):
        listed = listed.get("text", list(listed.values()))  # ARC has {"text": [...], "label": [...]}
    if not isinstance(listed, list):
        listed = [found[letter] for letter in "ABCDEFGH" if letter in found]
    return "\n".join([found[names[0]], *(str(option) for option in listed if option is not None)])


def _benchmark_id(row: _Row, fields: Fields) -> str:
    return _native_id(row.found or {}, fields.id or "id") or f"{row.uri}#{row.position}"


# -- from files to rows -------------------------------------------------------------------------


def _rows(
    shard: Shard, needed: Sequence[Sequence[str]] = (), columns: Collection[str] | None = None
) -> Iterator[_Row]:
    """The rows of all files of a shard.

    Of Parquet files, one column of each group that is `needed` must be there, and only `columns` are read.
    """
    for file in shard_files(shard):
        start, stop = (shard.start, shard.stop) if shard.path else (0, None)
        if shard.source.kind == "parquet":
            yield from _parquet_rows(file, shard.source, start, stop, needed, columns)
        else:
            yield from _json_rows(file, start, stop)


def _json_rows(file: File, start: int, stop: int | None) -> Iterator[_Row]:
    """The lines of a JSONL file that start in a range of bytes; blank ones are no rows."""
    before = cache(lambda: _count_lines(file.path, start))
    try:
        for number, (at, line) in enumerate(_lines(file.path, start, stop), 1):
            if not line.strip():
                continue
            try:
                found = orjson.loads(line)
                error = None if isinstance(found, dict) else f"a {type(found).__name__}, not an object"
            except orjson.JSONDecodeError as wrong:
                error = str(wrong)
            if error is None:
                yield _Row(file.uri, at, found, noted={"bytes": len(line)}, raw=line)
            else:
                noted = {"bytes": len(line), "line": before() + number, "error": error}
                yield _Row(file.uri, at, None, "unreadable_line", noted, line)
    except _Broken as broken:
        noted = {"error": str(broken), "offset": broken.at}
        yield _Row(file.uri, broken.at, None, "unreadable_file", noted, broken.rest or None)


def _lines(path: Path, start: int, stop: int | None) -> Iterator[tuple[int, bytes]]:
    """Each line with the (unpacked) byte at which it starts.

    Only a line feed ends a line: U+2028 and the like are legal inside JSON texts. A byte order mark
    is skipped.
    """
    at, rest = start, b""
    try:
        for block in _blocks(path, start, stop):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                yield at, line.removeprefix(b"\xef\xbb\xbf") if at == 0 else line
                at += len(line) + 1
    except (OSError, EOFError, zlib.error) as error:
        raise _Broken(str(error), at, rest) from None
    if rest:
        yield at, rest.removeprefix(b"\xef\xbb\xbf") if at == 0 else rest


def _blocks(path: Path, start: int, stop: int | None) -> Iterator[bytes]:
    """The bytes of a file from `start` to `stop`, or, of a compressed one, all of them unpacked."""
    if path.suffix == ".gz":
        with gzip.open(path) as packed:  # read1 hands out what comes before a break
            yield from iter(lambda: packed.read1(_BLOCK), b"")  # type: ignore[attr-defined]
    elif path.suffix == ".zst":
        import pyarrow as pa

        with pa.input_stream(str(path), compression="zstd") as stream:
            yield from iter(lambda: stream.read(_SMALL_BLOCK), b"")
    else:
        with path.open("rb") as file:
            file.seek(start)
            left = sys.maxsize if stop is None else stop - start
            while left and (block := file.read(min(_BLOCK, left))):
                left -= len(block)
                yield block


def _count_lines(path: Path, before: int) -> int:
    return sum(block.count(b"\n") for block in _blocks(path, 0, before)) if before else 0


def _parquet_rows(
    file: File,
    source: Source,
    start: int,
    stop: int | None,
    needed: Sequence[Sequence[str]],
    columns: Collection[str] | None,
) -> Iterator[_Row]:
    """The rows of a Parquet file from `start` to `stop`; of a broken row group each is unreadable."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(file.path)
    except (OSError, pa.ArrowException) as error:
        yield _Row(file.uri, start, None, "unreadable_file", {"error": str(error)})
        return
    with opened:
        names = opened.schema_arrow.names
        for choice in needed:
            if not set(choice) & set(names):
                raise UserError(
                    f"{file.uri} has no column {choice[0]!r}",
                    where=f"source {source.name}",
                    allowed=", ".join(names),
                )
        read = None if columns is None else [name for name in names if name in columns]
        first = 0
        for group in range(opened.num_row_groups):
            last = first + opened.metadata.row_group(group).num_rows
            low, high = max(start, first), min(last if stop is None else stop, last)
            at = first
            try:
                for batch in (
                    opened.iter_batches(8_192, row_groups=[group], columns=read) if low < high else ()
                ):
                    begin, end = max(low - at, 0), min(high - at, batch.num_rows)
                    if begin < end:
                        yield from _batch_rows(file.uri, at + begin, batch.slice(begin, end - begin))
                    at += batch.num_rows
            except (OSError, pa.ArrowException) as error:
                noted = {"error": str(error), "row_group": group}
                for row in range(max(at, low), high):
                    yield _Row(file.uri, row, None, "unreadable_file", noted)
            first = last


def _batch_rows(uri: str, position: int, batch: Any) -> Iterator[_Row]:
    """The rows of a record batch; one with bytes that are no UTF-8 in a text is unreadable."""
    try:
        for at, found in enumerate(batch.to_pylist(), position):
            yield _Row(uri, at, found)
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            yield _Row(uri, position, None, "unreadable_text", {"error": str(error)})
            return
        for index in range(batch.num_rows):
            yield from _batch_rows(uri, position + index, batch.slice(index, 1))
