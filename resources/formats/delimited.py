"""Tables as text: comma, semicolon or tab separated, the first record names the columns.

Belongs here: records to rows, and where a record starts although quoted fields hold line feeds.
Does not belong here: which columns hold what (`readers`).

A record with a broken quote would swallow the records after it. So a record of several lines counts only
if it is complete and has as many fields as there are columns; if not, its first line alone is quarantined
and reading goes on at the next one.
"""

from __future__ import annotations

import codecs
import csv
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from curation.corpus import extraction
from curation.settings import Source
from resources.formats.rows import Row, is_binary, too_large, unreadable
from resources.streams import FAULTS, Broken, File, Line, blocks, is_packed, lines, state

#: Bytes by which the character set and the separator of a file are told.
_SNIFFED = 1 << 18
_SEPARATORS = (",", "\t", ";")
_FAULTS: tuple[type[Exception], ...] = (Broken, *FAULTS)
_WIDE = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
csv.field_size_limit(2**31 - 1)  # our own limit is on the bytes of a record


@dataclass(frozen=True)
class _Dialect:
    """How a file is written: its character set, its separator, its columns, and where the records begin."""

    charset: str
    separator: str
    columns: tuple[str, ...]
    body: int


@dataclass(frozen=True)
class _Record:
    """A record as it was found: the byte at which it starts, its bytes, its fields or what is wrong."""

    at: int
    raw: bytes | None
    length: int
    fields: Sequence[str] | None
    error: str | None = None
    reason: str = "unreadable_line"


def rows(file: File, source: Source, start: int = 0, stop: int | None = None) -> Iterator[Row]:
    """The records that start in a range of bytes; the position is the first byte.

    Bytes are those of the file in UTF-8 where the file is in UTF-16.
    """
    try:
        dialect = _dialect(file, source)
    except FAULTS as error:
        yield unreadable(file.uri, start, error)
        return
    if dialect is None:
        if start == 0:
            yield Row(file.uri, 0, None, "unreadable_text", {"error": "no text, or no header"})
        return
    if not dialect.columns:
        return
    try:
        for record in _records(file, source, dialect, max(start, dialect.body), stop):
            if record.fields is not None:
                found = dict(zip(dialect.columns, record.fields, strict=True))
                yield Row(file.uri, record.at, found, None, {"bytes": record.length}, record.raw)
            elif record.raw is None:
                yield too_large(file.uri, record.at, record.length, source.max_record_bytes)
            else:
                noted = {"bytes": record.length, "error": record.error}
                yield Row(file.uri, record.at, None, record.reason, noted, record.raw)
    except Broken as broken:
        yield unreadable(file.uri, broken.at, str(broken), broken.rest or None, offset=broken.at)


def columns(file: File, source: Source) -> tuple[str, ...]:
    """The names of the columns; none where the file cannot be read."""
    try:
        dialect = _dialect(file, source)
    except FAULTS:
        return ()
    return dialect.columns if dialect else ()


def borders(file: File, source: Source, step: int) -> list[int]:
    """The first start of a record at or after each multiple of `step`, by going through the file once."""
    try:
        return list(_borders(file, source, step, state(file.path)))
    except OSError:  # the reader makes a quarantined row of it
        return []


@lru_cache(maxsize=256)
def _borders(file: File, source: Source, step: int, state: str) -> tuple[int, ...]:
    """See `borders`; remembered as long as the file stays the same."""
    found: list[int] = []
    try:
        dialect = _dialect(file, source)
        if dialect is not None:
            for record in _records(file, source, dialect, dialect.body, None):
                while record.at >= step * (len(found) + 1):
                    found.append(record.at)
    except _FAULTS:  # the reader makes a quarantined row of it
        pass
    return tuple(found)


# -- how a file is written ----------------------------------------------------------------------


def _dialect(file: File, source: Source) -> _Dialect | None:
    """How the file is written; None where it is no text in any character set."""
    head = b""
    try:
        for block in blocks(
            file.path, source.max_unpacked_ratio, 0, None if is_packed(file.path) else _SNIFFED
        ):
            head += block
            if len(head) >= _SNIFFED:
                break
    except FAULTS:  # what comes before a break is read
        if not head:
            raise
    charset = next((name for name, mark in _WIDE.items() if head.startswith(mark)), None)
    if charset is None:
        # a cut in the middle of a character must not make the set unlikely
        whole = head[:_SNIFFED] if len(head) < _SNIFFED else head[: head.rfind(b"\n", 0, _SNIFFED) + 1]
        text, charset = extraction.decode(whole, None) if whole else ("", "utf-8")
        if text is None and is_binary(whole.replace(b"\0", b"")):  # single NUL bytes make no image
            return None
        charset = charset or "utf-8"  # then lines that are no UTF-8 are refused one by one
    names = _Dialect(charset, ",", (), 0)
    for line in lines(_stream(file, source, names, 0, None), source.max_record_bytes):
        if line.data is None:
            return names
        if not line.data.strip():
            continue
        try:
            text = line.data.decode(_inner(charset))
            separator = max(_SEPARATORS, key=text.count)
            titles = next(csv.reader([text.rstrip("\r")], delimiter=separator), [])
        except (UnicodeDecodeError, csv.Error):
            return None
        if "\0" in text:
            return None
        columns = tuple(name.strip() for name in titles)
        return _Dialect(charset, separator, columns, line.at + line.length + 1)
    return names


def _inner(charset: str) -> str:
    """The character set of the lines: UTF-16 is read as UTF-8, so that a line feed is one byte."""
    return "utf-8" if charset in _WIDE else charset


def _stream(file: File, source: Source, dialect: _Dialect, start: int, stop: int | None) -> Iterator[bytes]:
    if dialect.charset not in _WIDE:
        return blocks(file.path, source.max_unpacked_ratio, start, stop)
    texts = codecs.iterdecode(blocks(file.path, source.max_unpacked_ratio), dialect.charset, "replace")
    wide = (text.encode("utf-8") for text in texts)
    return wide if start == 0 else _skip(wide, start)


def _skip(stream: Iterator[bytes], count: int) -> Iterator[bytes]:
    """A stream without its first bytes."""
    for block in stream:
        if block[count:]:
            yield block[count:]
        count = max(0, count - len(block))


# -- records ------------------------------------------------------------------------------------


def _records(
    file: File, source: Source, dialect: _Dialect, start: int, stop: int | None
) -> Iterator[_Record]:
    """The records that start in a range of bytes."""
    stream = _stream(file, source, dialect, start, stop)
    incoming = lines(stream, source.max_record_bytes, start)
    again: deque[Line] = deque()
    quote, charset = b'"', _inner(dialect.charset)
    separator, count = dialect.separator, len(dialect.columns)
    broken: Broken | None = None

    def take() -> Line | None:
        nonlocal broken
        try:
            return again.popleft() if again else next(incoming, None)
        except Broken as error:
            broken = error
            return None

    while (line := take()) is not None:
        if stop is not None and line.at >= stop:
            return
        if line.data is None:
            yield _Record(line.at, None, line.length, None)
            continue
        if not line.data.strip():
            continue
        try:
            text = line.data.decode(charset)
        except UnicodeDecodeError as error:
            yield _Record(line.at, line.data, line.length, None, str(error), "unreadable_text")
            continue
        if quote not in line.data:
            fields: list[str] = text.removesuffix("\r").split(separator)
            taken = [line]
            error_said = None
        else:
            taken, fields, error_said = _quoted(line, text, take, dialect, source.max_record_bytes)
        if error_said is None and len(fields) != count:
            error_said = f"{len(fields)} fields for {count} columns"
        if error_said is None:
            raw = b"\n".join(one.data or b"" for one in taken)
            yield _Record(line.at, raw, len(raw), fields)
        else:
            again.extendleft(reversed(taken[1:]))
            yield _Record(line.at, line.data, line.length, None, error_said)
    if broken is not None:
        raise broken


def _quoted(
    first: Line, text: str, take: Callable[[], Line | None], dialect: _Dialect, longest: int
) -> tuple[list[Line], list[str], str | None]:
    """The lines of a record that begins with a line in which there is a quote, its fields, what is wrong."""
    taken = [first]
    charset = _inner(dialect.charset)

    def feed() -> Iterator[str]:
        yield text + "\n"
        length = first.length
        while (line := take()) is not None:
            taken.append(line)
            length += line.length + 1
            if line.data is None or length > longest:
                return
            try:
                yield line.data.decode(charset) + "\n"
            except UnicodeDecodeError:
                return

    try:
        return taken, next(csv.reader(feed(), delimiter=dialect.separator, strict=True), []), None
    except csv.Error as error:
        # of a quote that nothing ends, what is said would depend on what comes next
        return taken, [], str(error) if len(taken) == 1 else "a quoted field does not end"
