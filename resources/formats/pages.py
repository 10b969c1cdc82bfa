"""Files that are one document each: HTML pages, plain text, Markdown.

Belongs here: a whole file to its row. Does not belong here: decoding or extracting it (`curation.corpus`).
"""

from __future__ import annotations

from curation.settings import Source
from resources.formats.rows import Row, declared_charset, is_binary, too_large, unreadable
from resources.streams import FAULTS, File, read_whole, size

MEDIA_TYPES = {"html": "text/html", "text": "text/plain", "markdown": "text/markdown"}


def row(file: File, source: Source) -> Row:
    """The row of a file. The body is its bytes as they are; a byte order mark or a page names its charset."""
    try:
        body = read_whole(file.path, source.max_record_bytes)
        if body is None:
            return too_large(file.uri, 0, size(file.path), source.max_record_bytes)
    except FAULTS as error:
        return unreadable(file.uri, 0, error)
    noted = {"bytes": len(body)}
    if is_binary(body):
        return Row(file.uri, 0, None, "not_text", noted, body)
    charset = declared_charset(body) if source.kind == "html" else _marked(body)
    found = {"body": body, "media_type": MEDIA_TYPES[source.kind], "charset": charset}
    return Row(file.uri, 0, found, None, noted)


def _marked(body: bytes) -> str | None:
    """The character set that a byte order mark names."""
    return declared_charset(body[:3])
