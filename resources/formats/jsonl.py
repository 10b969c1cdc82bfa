"""JSON lines: one object a line.

Belongs here: lines to rows. Does not belong here: which keys hold what (`readers`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import orjson

from curation.settings import Source
from resources.formats.rows import Row, too_large, unreadable
from resources.streams import Broken, File, blocks, lines


def rows(file: File, source: Source, start: int = 0, stop: int | None = None) -> Iterator[Row]:
    """The lines that start in a range of bytes; blank ones are no rows. The position is the first byte."""
    before = cache(lambda: _count_lines(file, source, start))
    stream = blocks(file.path, source.max_unpacked_ratio, start, stop)
    uri, loads = file.uri, orjson.loads
    try:
        for number, (at, line, length) in enumerate(lines(stream, source.max_record_bytes, start), 1):
            if line is None:
                yield too_large(uri, at, length, source.max_record_bytes, line=before() + number)
                continue
            try:
                found = loads(line)
                error = None if type(found) is dict else f"a {type(found).__name__}, not an object"
            except orjson.JSONDecodeError as wrong:
                if not line.strip():
                    continue
                error = str(wrong)
            if error is None:
                yield Row(uri, at, found, None, {"bytes": len(line)}, line)
            else:
                noted = {"bytes": len(line), "line": before() + number, "error": error}
                yield Row(uri, at, None, "unreadable_line", noted, line)
    except Broken as broken:
        yield unreadable(uri, broken.at, str(broken), broken.rest or None, offset=broken.at)


def _count_lines(file: File, source: Source, before: int) -> int:
    """Line feeds before a byte."""
    if not before:
        return 0
    return sum(block.count(b"\n") for block in blocks(file.path, source.max_unpacked_ratio, 0, before))
