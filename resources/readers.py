"""Records read out of files: documents, instruction samples, benchmark questions.

Belongs here: one row for every line, row, page, chapter or file of a shard, readable or not, as a table.
Does not belong here: what a row of a format is (`formats`), which files make a shard (`sources`), websites
(`crawler`), or what is to be thought of a text (`curation`).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import orjson
import polars as pl

from curation import schemas
from curation.errors import UserError
from curation.progress import report
from curation.records import record_id
from curation.settings import Fields, Source
from curation.verdicts import REASONS
from resources.formats import columnar, delimited, epub, jsonl, pages, warc, wikipedia
from resources.formats.columnar import Batch
from resources.formats.rows import Row, declared_charset, is_binary, is_page
from resources.sources import WHOLE_FILES, Shard, format_of, plan_shards, shard_files
from resources.streams import File, state

__all__ = [
    "declared_charset",
    "is_binary",
    "is_page",
    "read_benchmark",
    "read_benchmarks",
    "read_documents",
    "read_samples",
]

#: Kinds whose rows are records with named fields; of all others a row is a document.
RECORD_KINDS = ("jsonl", "parquet", "csv", "huggingface")
#: Rows are put into columns when there are so many of them, or their bodies have so many bytes.
_PART_ROWS, _PART_BYTES = 20_000, 1 << 24
#: Rows that are looked at together; if one of them needs a closer look, all do.
_LIST_ROWS = 2_048
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


class _Refused(Exception):
    """A row that cannot be used: a code of the registry and what is wrong."""

    def __init__(self, reason: str, error: str) -> None:
        super().__init__(error)
        self.reason = reason


def read_documents(shard: Shard) -> pl.DataFrame:
    """The documents of a shard of files: the table `raw_crawl` without `run_id`.

    One row for every line that is not blank (JSONL), record (CSV), row (Parquet, Arrow), page (WARC,
    Wikipedia), chapter (EPUB) or file (HTML, text, Markdown), in order. The position is the byte at which
    it starts, the number of the row or chapter, or 0. The body is the text in UTF-8, or the bytes of the
    page or file; for a record that could not be read, the bytes as they are.

    Raises
    ------
    UserError
        A field that the source names is not a column of its file.
    """
    if shard.source.kind == "web":
        raise ValueError("a website is crawled (resources.crawler), not read")
    if shard.source.kind in RECORD_KINDS:
        text = shard.source.fields.text
        return _frame("raw_crawl", shard, _read(shard, _document, [[text]], _documents))
    return _frame("raw_crawl", shard, map(_page, _pages(shard)))


def read_samples(shard: Shard) -> pl.DataFrame:
    """The instruction samples of a shard: the table `raw_samples` without `run_id`.

    Instruction, input and output become two messages (input below the instruction, if there is one).
    Conversations (lists of role and content, or of from and value) are read where the source names
    their field, and where a row has `messages` or `conversations` and no instruction.

    Raises
    ------
    UserError
        The source is not made of records, or a field that it names is no column of its file.
    """
    _must_hold_records(shard.source, "samples")
    fields = shard.source.fields
    needed = (
        [[fields.messages]]
        if fields.messages
        else [[fields.instruction, *_CONVERSATIONS], [fields.output, *_CONVERSATIONS]]
    )
    return _frame("raw_samples", shard, _read(shard, _sample, needed))


def _must_hold_records(source: Source, what: str) -> None:
    if source.kind not in RECORD_KINDS:
        raise UserError(
            f"kind {source.kind} holds no {what}",
            where=f"source {source.name}",
            allowed=", ".join(RECORD_KINDS),
        )


def read_benchmarks(sources: Sequence[Source]) -> pl.DataFrame:
    """The questions of all benchmarks: columns `id` and `text`; without a source, none."""
    nothing = pl.DataFrame(schema={"id": pl.String, "text": pl.String})
    return pl.concat([nothing, *(read_benchmark(source) for source in sources)])


def read_benchmark(source: Source) -> pl.DataFrame:
    """The questions of a benchmark with their options: columns `id` and `text`.

    Reads a question with a list of options, with columns A, B, C, ... (as C-Eval and CMMLU have), or
    a text alone. What cannot be read stands as it is: the words of a question are in it all the same.

    Raises
    ------
    UserError
        The source is not made of records.
    """
    _must_hold_records(source, "questions")
    rows = [
        (_benchmark_id(row, source.fields), _question(row, source.fields))
        for shard in plan_shards([source])
        for row in _rows(_records(shard))
    ]
    return pl.DataFrame(rows, schema={"id": pl.String, "text": pl.String}, orient="row").filter(
        pl.col("text") != ""
    )


# -- from rows to tables ------------------------------------------------------------------------


def _read(
    shard: Shard,
    convert: Callable[[Mapping[str, Any], Fields], dict[str, Any]],
    needed: Sequence[Sequence[str]],
    convert_many: Callable[[Batch | Sequence[Row], Fields], pl.DataFrame | None] = lambda many, fields: None,
) -> Iterator[dict[str, Any] | pl.DataFrame]:
    """The records of a shard in the columns that `convert` fills: many at once where that is possible."""
    fields = shard.source.fields
    columns = {name for name in fields.model_dump().values() if name} | set(_CONVERSATIONS)
    for many in _together(_records(shard, needed, columns)):
        frame = convert_many(many, fields)
        if frame is not None:
            yield frame
            continue
        for row in many.rows() if isinstance(many, Batch) else many:
            out = _columns(row)
            if row.found is not None:
                out["native_id"] = _native_id(row.found, fields.id)
                try:
                    out |= convert(row.found, fields)
                except _Refused as refused:
                    out["evidence"] = _json({**row.noted, "error": str(refused)})
                    out |= {"reason": refused.reason, "body": row.raw or _as_json(row.found)}
            yield out


def _together(items: Iterable[Row | Batch]) -> Iterator[Batch | list[Row]]:
    """Rows in lists of some thousand; batches as they are."""
    rows: list[Row] = []
    weight = 0
    for item in items:
        if rows and (isinstance(item, Batch) or len(rows) >= _LIST_ROWS or weight >= _PART_BYTES):
            yield rows
            rows, weight = [], 0
        if isinstance(item, Batch):
            yield item
        else:
            rows.append(item)
            weight += len(item.raw or b"")
    if rows:
        yield rows


def _columns(row: Row) -> dict[str, Any]:
    """What every row of a table has."""
    return {
        "uri": row.uri,
        "position": row.position,
        "reason": row.reason,
        "evidence": _json(row.noted),
        "body": row.raw,
        "place": row.place or row.uri,
    }


def _page(row: Row) -> dict[str, Any]:
    """A page or chapter in the columns of `raw_crawl`."""
    return _columns(row) | dict(row.found or {})


def _json(noted: Mapping[str, Any]) -> str:
    return orjson.dumps(noted).decode() if noted else "{}"


def _frame(table: str, shard: Shard, items: Iterable[dict[str, Any] | pl.DataFrame]) -> pl.DataFrame:
    """The rows as their table, with identity and verdict."""
    types = {name: dtype for name, dtype in schemas.columns(table).items() if name != "run_id"}
    given = {
        name: dtype
        for name, dtype in types.items()
        if name not in ("record_id", "source", "shard", "verdict")
    } | {"place": pl.String()}
    parts = list(_parts(items, given))
    verdicts = {code: reason.verdict for code, reason in REASONS.items()}
    frame = pl.concat([pl.DataFrame(schema=given), *parts], rechunk=False).with_columns(
        source=pl.lit(shard.source.name),
        shard=pl.lit(shard.key),
        verdict=pl.col("reason").replace_strict(verdicts, default="kept", return_dtype=types["verdict"]),
    )
    return frame.with_columns(record_id=_record_ids(shard, frame)).select(list(types))


def _parts(
    items: Iterable[dict[str, Any] | pl.DataFrame], types: Mapping[str, Any]
) -> Iterator[pl.DataFrame]:
    """Rows as frames of some thousand; so never more than these are Python objects at once."""
    values: dict[str, list[Any]] = {name: [] for name in types}
    done = rows = weight = 0
    for item in chain(items, [None]):
        at_end = item is None or isinstance(item, pl.DataFrame)
        if rows and (at_end or rows >= _PART_ROWS or weight >= _PART_BYTES):
            yield pl.DataFrame(values, schema=types)
            for column in values.values():
                column.clear()
            rows = weight = 0
        if isinstance(item, pl.DataFrame):
            missing = [
                pl.lit(None, dtype).alias(name) for name, dtype in types.items() if name not in item.columns
            ]
            yield item.with_columns(missing).select(list(types))
            done += item.height
        elif item is not None:
            get = item.get
            for name, column in values.items():
                column.append(get(name))
            rows, weight, done = rows + 1, weight + len(get("body") or b""), done + 1
        if item is None or at_end or done % 10_000 == 0:
            report("read rows", done)


def _record_ids(shard: Shard, frame: pl.DataFrame) -> pl.Series:
    """Ids of the rows: by the source's own id, or by position where it has none or repeats one."""
    source, native = shard.source.name, pl.col("native_id")
    if shard.source.kind not in RECORD_KINDS or not shard.source.fields.id:
        own = pl.lit(None, pl.String)
    elif shard.path and (shard.start or shard.stop is not None):
        first = native.hash().replace_strict(_repeats(shard), default=None, return_dtype=pl.Int64)
        own = pl.when(first.is_null() | (first == pl.col("position"))).then(native)
    else:
        own = pl.when(pl.int_range(pl.len()).over("place", "native_id") == 0).then(native)
    places = frame.select("place", "position", own.alias("own"))
    return pl.Series(
        [
            record_id(source, place, position if own is None else own)
            for place, position, own in places.iter_rows()
        ],
        dtype=pl.String,
    )


def _repeats(shard: Shard) -> Mapping[int, int]:
    """For every id that the file of a slice gives more than once, by its hash: the first row with it."""
    (file,) = shard_files(shard)
    return _repeats_of(shard.source, file, state(file.path))


@lru_cache(maxsize=8)
def _repeats_of(source: Source, file: File, state: str) -> Mapping[int, int]:
    """See `_repeats`; remembered, so that the file is gone through once for all of its slices.

    Two ids with one 64-bit hash would count as the same id given twice, which harms nothing.
    """
    whole, name = Shard(source.name, source, str(file.path)), source.fields.id or ""
    hashes, positions = array("Q"), array("q")
    for part in _together(_records(whole, columns=[name])):
        found = _rows([part] if isinstance(part, Batch) else part)
        rows = [(_native_id(row.found, name), row.position) for row in found if row.found is not None]
        known = pl.DataFrame(rows, schema={"id": pl.String, "at": pl.Int64}, orient="row").drop_nulls()
        hashes.extend(known["id"].hash())
        positions.extend(known["at"])
    seen = pl.DataFrame({"hash": np.frombuffer(hashes, np.uint64), "at": np.frombuffer(positions, np.int64)})
    twice = seen.filter(pl.col("hash").is_duplicated()).group_by("hash").agg(pl.col("at").min())
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


def _documents(many: Batch | Sequence[Row], fields: Fields) -> pl.DataFrame | None:
    """What `_document` makes of each row, for many rows at once; None where a row needs a closer look."""
    return _documents_of_batch(many, fields) if isinstance(many, Batch) else _documents_of_rows(many, fields)


def _documents_of_rows(rows: Sequence[Row], fields: Fields) -> pl.DataFrame | None:
    found = [row.found or {} for row in rows]
    texts = [one.get(fields.text) for one in found]
    if not all(type(text) is str for text in texts):
        return None
    return _text_columns(pl.Series(texts, dtype=pl.String)).with_columns(
        uri=pl.Series([row.uri for row in rows]),
        place=pl.Series([row.uri for row in rows]),
        position=pl.Series([row.position for row in rows]),
        native_id=pl.Series([_native_id(one, fields.id) for one in found], dtype=pl.String),
        title=pl.Series([_text_or_none(one, fields.title) for one in found], dtype=pl.String),
        evidence=pl.Series([_json(row.noted) for row in rows]),
    )


def _documents_of_batch(batch: Batch, fields: Fields) -> pl.DataFrame | None:
    import pyarrow as pa

    kept = [name for name in (fields.id, fields.text, fields.title) if name in batch.data.schema.names]
    try:
        batch.data.validate(full=True)
        found = pl.from_arrow(batch.data.select(list(dict.fromkeys(kept))))
    except pa.ArrowException:
        return None
    assert isinstance(found, pl.DataFrame)
    nothing = pl.repeat(None, found.height, dtype=pl.String, eager=True)
    text, title, own = (
        found[name] if name and name in kept else nothing for name in (fields.text, fields.title, fields.id)
    )
    if (
        text.null_count()
        or text.dtype not in (pl.String, pl.Binary)
        or title.dtype != pl.String
        or not (own.dtype == pl.String or own.dtype.is_integer())
    ):
        return None
    return _text_columns(text).with_columns(
        uri=pl.lit(batch.uri),
        place=pl.lit(batch.uri),
        position=pl.int_range(batch.position, batch.position + text.len(), dtype=pl.Int64),
        native_id=own.cast(pl.String).replace("", None),
        title=title,
        evidence=pl.lit("{}"),
    )


def _text_columns(text: pl.Series) -> pl.DataFrame:
    """Body, media type and charset of texts (String) or of what may be pages in any charset (Binary)."""
    body, is_text = text.cast(pl.Binary), text.dtype == pl.String
    # most texts are no page, which their first character tells
    could_be_page = text.str.contains(r"^\x{FEFF}?[\t-\r ]*<") if is_text else text.is_not_null()
    rows = could_be_page.arg_true()
    page = could_be_page.scatter(
        rows, pl.Series([is_page(one) for one in body.gather(rows)], dtype=pl.Boolean)
    )
    charset = "utf-8" if is_text else pl.Series([declared_charset(one) for one in body], dtype=pl.String)
    return pl.DataFrame({"body": body}).with_columns(
        media_type=pl.when(page).then(pl.lit("text/html")).otherwise(pl.lit("text/plain")),
        charset=pl.lit(charset),
    )


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


def _question(row: Row, fields: Fields) -> str:
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


def _benchmark_id(row: Row, fields: Fields) -> str:
    return _native_id(row.found or {}, fields.id or "id") or f"{row.uri}#{row.position}"


# -- from files to rows -------------------------------------------------------------------------


def _rows(items: Iterable[Row | Batch]) -> Iterator[Row]:
    """Rows one by one."""
    for item in items:
        if isinstance(item, Batch):
            yield from item.rows()
        else:
            yield item


def _records(
    shard: Shard, needed: Sequence[Sequence[str]] = (), columns: Collection[str] | None = None
) -> Iterator[Row | Batch]:
    """The records of all files of a shard.

    Of files with columns, one of each group that is `needed` must be there, and only `columns` are read.
    """
    start, stop = (shard.start, shard.stop) if shard.path else (0, None)
    source = shard.source
    for file in shard_files(shard):
        form = format_of(source, [file])
        if form == "jsonl":
            yield from jsonl.rows(file, source, start, stop)
            continue
        there = delimited.columns(file, source) if form == "csv" else columnar.columns(file, form)
        for choice in needed if there else ():
            if not set(choice) & set(there):
                raise UserError(
                    f"{file.uri} has no column {choice[0]!r}",
                    where=f"source {source.name}",
                    allowed=", ".join(there)[:500],
                )
        if form == "csv":
            yield from delimited.rows(file, source, start, stop)
        else:
            read = columnar.parquet_rows if form == "parquet" else columnar.arrow_rows
            yield from read(file, columns, start, stop)


def _pages(shard: Shard) -> Iterator[Row]:
    """The documents of all files of a shard, where a row is a page, a chapter or a file."""
    start, stop = (shard.start, shard.stop) if shard.path else (0, None)
    source = shard.source
    for file in shard_files(shard):
        if source.kind in WHOLE_FILES:
            yield pages.row(file, source)
        elif source.kind == "epub":
            yield from epub.rows(file, source)
        else:
            read = {"warc": warc.rows, "wikipedia": wikipedia.rows}[source.kind]
            yield from read(file, source, start, stop)
