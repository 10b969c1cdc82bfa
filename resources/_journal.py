"""What a crawl has fetched so far, on disk, so that one that was killed goes on from there.

Belongs here: the file. Does not belong here: what an entry says (`_spider` writes, `crawler` reads).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

Entry = dict[str, Any]


class Journal:
    """Entries by URI in a file of JSON lines, of which only the places are held in memory.

    The first line names the job. A journal of another job is emptied; what follows a line that is torn
    or no JSON is cut off.
    """

    def __init__(self, path: Path, job: str) -> None:
        self._file = path.open("a+b")  # reads anywhere, writes at the end
        self._places: dict[str, int] = {}
        end = 0
        for line, entry in _lines(self._file):
            if end == 0 and entry != {"job": job}:
                break
            if "uri" in entry:
                self._places[entry["uri"]] = end
            end += len(line)
        self._file.truncate(end)
        if end == 0:
            self.add({"job": job})

    def __contains__(self, uri: str) -> bool:
        return uri in self._places

    def get(self, uri: str) -> Entry | None:
        """The entry of a URI."""
        if uri not in self._places:
            return None
        self._file.seek(self._places[uri])
        entry: Entry = orjson.loads(self._file.readline())
        return entry

    def add(self, entry: Entry) -> None:
        """Append an entry; it outlives the process from then on."""
        if "uri" in entry:
            self._places[entry["uri"]] = self._file.seek(0, 2)
        self._file.write(orjson.dumps(entry) + b"\n")
        self._file.flush()


def read(path: Path) -> Iterator[Entry]:
    """The entries of a journal in the order of writing, without its first line."""
    with path.open("rb") as file:
        yield from (entry for _, entry in _lines(file) if "job" not in entry)


def _lines(file: Any) -> Iterator[tuple[bytes, Entry]]:
    file.seek(0)
    while (line := file.readline()).endswith(b"\n"):
        try:
            entry = orjson.loads(line)
        except orjson.JSONDecodeError:
            return
        if not isinstance(entry, dict):
            return
        yield line, entry
