"""Web archives (WARC, ISO 28500; also the WET texts of Common Crawl): one row for each page that was fetched.

Belongs here: records to rows, and where a record starts in a packed file. Does not belong here: crawling
(`crawler`), extracting the text of a page (`curation.corpus`).

In a packed archive every record is a member of its own (gzip) or a frame (Zstandard), so that reading can
begin at any of them, and goes on at the next one after a broken record.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from curation.settings import Source
from resources.formats.rows import Row, declared_charset, is_binary, is_page, too_large, unreadable
from resources.streams import FAULTS, File, opened, size

_PAGES = ("text/html", "application/xhtml+xml")
_TEXTS = (*_PAGES, "text/plain", "text/markdown")
_BLOCK = 1 << 20
#: Bytes of a record by which it is told from an accident.
_PEEK = 1 << 16
#: Bytes at the beginning of an archive in which a second record must start if it can be cut.
_LOOK = 1 << 26
_STARTS = {
    ".gz": re.compile(rb"\x1f\x8b\x08"),
    ".zst": re.compile(rb"\x28\xb5\x2f\xfd"),
    ".warc": re.compile(rb"WARC/1\.[01]\r?\n"),
}
#: A Zstandard archive that begins with a dictionary cannot be read from its middle.
_DICTIONARY = b"\x5d\x2a\x4d\x18"


def rows(file: File, source: Source, start: int = 0, stop: int | None = None) -> Iterator[Row]:
    """Responses, resources, conversions and revisits that start in a range of bytes of the (packed) file.

    The URI is that of the page, the source's own id the record's, the position the byte at which its
    member starts. Requests, metadata and the archive's own information are no rows. What is broken between
    two good records is one row.
    """
    at, last, told = start, start - 1, False
    end = float("inf") if stop is None else stop
    try:
        while at < end:
            with opened(file.path) as handle:
                handle.seek(at)
                try:
                    for record in _records(handle):
                        # records of one member begin at the same byte: they are counted on from there
                        position = max(record.stream_pos, last + 1)
                        if position >= end:
                            return
                        last, row = position, _row(record, file, position, source)
                        told = row.reason == "unreadable_file"
                        yield row
                    return
                except FAULTS as error:
                    if not told:
                        last, told = max(at, last + 1), True
                        yield unreadable(file.uri, last, error, offset=last)
            at = border(file.path, max(last, at) + 1)
    except FAULTS as error:
        yield unreadable(file.uri, last + 1, error)


def can_be_cut(path: Path) -> bool:
    """Whether reading can begin at any record: the first ones are members of their own. Raises OSError."""
    with opened(path) as file:
        if file.read(4) == _DICTIONARY:
            return False
    return border(path, 1, within=_LOOK) < size(path)


def border(path: Path, at: int, within: int | None = None) -> int:
    """The first start of a record at or after a byte (`within` so many bytes); the end of the file without one.

    Raises OSError.
    """
    start = _STARTS.get(path.suffix.lower(), _STARTS[".warc"])
    last = size(path) if within is None else min(size(path), at + within)
    with opened(path) as file:
        file.seek(at)
        kept = b""
        while at < last and (block := file.read(_BLOCK)):
            seen, first = kept + block, at - len(kept)
            for found in start.finditer(seen):
                if _is_start(path, first + found.start()):
                    return first + found.start()
            at += len(block)
            kept = seen[-16:]
    return size(path)


def _is_start(path: Path, at: int) -> bool:
    """Whether a record starts at a byte."""
    with opened(path) as file:
        file.seek(at)
        try:
            first = next(iter(_records(io.BytesIO(file.read(_PEEK)))), None)
        except FAULTS:
            return False
    return first is not None and first.stream_pos == 0


def _records(stream: IO[bytes]) -> Iterator[Any]:
    from fastwarc.warc import ArchiveIterator, conversion, resource, response, revisit

    wanted = response | resource | conversion | revisit
    return iter(ArchiveIterator(stream, record_types=wanted, parse_http=False))


def _row(record: Any, file: File, position: int, source: Source) -> Row:
    """The row of a record. One whose bytes end too early, or are packed wrongly, is unreadable."""
    from fastwarc.warc import revisit

    uri = (record.headers.get("WARC-Target-URI") or file.uri).strip("<>")
    noted: dict[str, Any] = {"file": file.uri, "offset": position, "bytes": record.content_length}
    told: dict[str, Any] = {"native_id": record.record_id, "fetched_at": record.headers.get("WARC-Date")}

    def refused(reason: str, **more: object) -> Row:
        return Row(uri, position, told, reason, noted | more, None, file.uri)

    if record.record_type == revisit:
        return refused("not_text", error="a revisit: the page had not changed")
    limit = source.max_record_bytes
    charset = kind = None
    plain = True
    try:
        if record.is_http:
            record.parse_http(auto_decode="all", strict_mode=False)
            head = record.http_headers
            told["status"] = status = head.status_code
            kind = _media_type(head.get("Content-Type"))
            charset = record.http_charset
            plain = not (head.get("Content-Encoding") or head.get("Transfer-Encoding"))
            if status is not None and 300 <= status < 400 and head.get("Location"):
                return refused("redirected", target=head.get("Location"))
            if status is not None and not 200 <= status < 300:
                return refused("http_error")
        else:
            kind = _media_type(record.headers.get("Content-Type"))
        told |= {"media_type": kind, "charset": charset}
        if kind and kind not in _TEXTS:
            return refused("not_text")
        body = _payload(record, limit)
    except FAULTS as error:
        return refused("unreadable_file", error=str(error))
    if len(body) > limit:
        return too_large(uri, position, None, limit, **noted)._replace(found=told, place=file.uri)
    if plain and len(body) < record.content_length:
        return refused("unreadable_file", error=f"the archive ends after {len(body)} bytes of it")
    if is_binary(body):
        return refused("not_text")
    kind = kind or ("text/html" if is_page(body) else "text/plain")
    charset = charset.lower() if charset else declared_charset(body) if kind in _PAGES else None
    told |= {"body": body, "media_type": kind, "charset": charset}
    return Row(uri, position, told, None, noted, None, file.uri)


def _media_type(header: str | None) -> str | None:
    return (header or "").partition(";")[0].strip().lower() or None


def _payload(record: Any, limit: int) -> bytes:
    """The bytes of a page, unpacked, one more than the limit at most."""
    body = b""
    while len(body) <= limit and (block := record.reader.read(limit + 1 - len(body))):
        body += block
    return body
