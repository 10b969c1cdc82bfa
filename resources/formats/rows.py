"""What the formats have in common: a row as it was found, and what the bytes of a text say about themselves.

Belongs here: `Row`, and telling pages, texts and binary formats apart. Does not belong here: any format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from resources.streams import said

#: Bytes in which a page says what it is.
_HEAD = 2_048
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)  # fmt: skip
_CHARSET = re.compile(rb"<(?:meta|\?xml)[^>]*?(?:charset|encoding)\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)", re.I)
_BOMS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_MAGIC = (b"%PDF-", b"PK\x03\x04", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"\x1f\x8b", b"Rar!", b"\x7fELF")


class Row(NamedTuple):
    """One line, row, page or chapter. `found` is None where it could not be read, for the reason given.

    `found` holds the fields of a record by their names in the file, or, of a page, columns of the table
    `raw_crawl`. `place` is the file that the row lies in, where `uri` is another address.
    """

    uri: str
    position: int
    found: Mapping[str, Any] | None
    reason: str | None = None
    noted: Mapping[str, Any] = {}
    raw: bytes | None = None
    place: str | None = None


def too_large(uri: str, position: int, length: int | None, limit: int, **noted: object) -> Row:
    """The row of something with more bytes than a record may have; the bytes stay where they are."""
    told = {} if length is None else {"bytes": length}
    return Row(uri, position, None, "too_large", {**told, **noted, "limits": {"max_record_bytes": limit}})


def unreadable(
    uri: str, position: int, error: Exception | str, raw: bytes | None = None, **noted: object
) -> Row:
    """The row of a file, or of a part of it, that cannot be read."""
    told = said(error) if isinstance(error, Exception) else error
    return Row(uri, position, None, "unreadable_file", {"error": told, **noted}, raw)


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
