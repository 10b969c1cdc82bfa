"""Bytes of files: local or behind an fsspec URL, packed or not, never more of them than is allowed.

Belongs here: opening a file, unpacking it as it streams, cutting what comes out into lines, and the limits
against files that unpack without end. Does not belong here: what the bytes mean (`formats`), which files
a source has (`sources`).
"""

from __future__ import annotations

import bz2
import gzip
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

#: Bytes read at once; few where what was unpacked just before a break would be lost with the block.
BLOCK = 1 << 22
_SMALL_BLOCK = 1 << 16
#: Endings of files that are unpacked as they are read.
PACKED = (".gz", ".bz2", ".zst")
#: A packed file may always unpack to this many bytes; what is larger must keep to the ratio.
_FREE_BYTES = 100_000_000
#: What a store may say of a file that tells one state of it from another.
_MARKS = {"size", "etag", "lastmodified", "last_modified", "mtime", "created", "updated", "generation", "md5", "md5hash", "content_md5"}  # fmt: skip
#: What a broken file, disk or connection raises.
FAULTS: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error)


class File(NamedTuple):
    """A file of a source: `uri` is its path below the source's folder, so that the folder can move.

    `path` is a local path, or that of another file system with the same methods (UPath).
    """

    uri: str
    path: Path


class Broken(Exception):
    """A file that breaks off at a byte, with what was read of the line that starts there."""

    def __init__(self, error: str, at: int, rest: bytes = b"") -> None:
        super().__init__(error)
        self.at, self.rest = at, rest


def said(error: Exception) -> str:
    """What went wrong, without the path (a folder may move)."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class Line(NamedTuple):
    """A line: the (unpacked) byte at which it starts, its bytes (None where too long), their number."""

    at: int
    data: bytes | None
    length: int


def opened(path: Path) -> IO[bytes]:
    """A file, open for reading.

    Raises
    ------
    OSError
        It cannot be opened; failures of connections, whatever they raise, come as OSError too.
    """
    try:
        return path.open("rb")
    except OSError:
        raise
    except Exception as error:  # every fsspec backend has errors of its own
        raise OSError(f"{type(error).__name__}: {error}") from error


def size(path: Path) -> int:
    """Bytes of a file as it lies there, packed or not. Raises OSError where nobody can tell."""
    try:
        return int(path.stat().st_size)
    except OSError:
        raise
    except Exception as error:  # see `opened`
        raise OSError(f"{type(error).__name__}: {error}") from error


def state(path: Path) -> str:
    """What tells one state of a file from another: size and time of change, or what the store says of it.

    Raises OSError.
    """
    if isinstance(path, Path):
        look = path.stat()
        return f"{look.st_size} {look.st_mtime_ns}"
    try:
        told = path.fs.info(path.path)
    except OSError:
        raise
    except Exception as error:  # see `opened`
        raise OSError(f"{type(error).__name__}: {error}") from error
    return " ".join(f"{name}={told[name]}" for name in sorted(told) if name.lower() in _MARKS)


def is_packed(path: Path) -> bool:
    """Whether a file is packed, by its name."""
    return path.suffix.lower() in PACKED


def read_whole(path: Path, limit: int) -> bytes | None:
    """All bytes of a file; None where it has more than `limit`. Raises OSError."""
    with opened(path) as file:
        body = _read(file, limit + 1)
        while len(body) <= limit and (more := _read(file, limit + 1 - len(body))):
            body += more
    return body if len(body) <= limit else None


def blocks(path: Path, ratio: int, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The bytes of a file from `start` to `stop`, or, of a packed one, all of them unpacked.

    Raises
    ------
    OSError, EOFError, zlib.error
        The file breaks off, or unpacks to more than `ratio` times its size.
    """
    with opened(path) as file:
        if not is_packed(path):
            file.seek(start)
            left = sys.maxsize if stop is None else stop - start
            while left > 0 and (block := _read(file, min(BLOCK, left))):
                left -= len(block)
                yield block
            return
        limit, unpacked = max(_FREE_BYTES, ratio * size(path)), 0
        for block in _unpacked(file, path.suffix.lower()):
            unpacked += len(block)
            if unpacked > limit:
                raise OSError(f"unpacks to more than {limit} bytes (max_unpacked_ratio {ratio})")
            yield block


def _unpacked(file: IO[bytes], suffix: str) -> Iterator[bytes]:
    stream: Any
    if suffix == ".zst":
        import pyarrow as pa

        with pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd") as stream:
            yield from iter(lambda: stream.read(_SMALL_BLOCK), b"")
        return
    with gzip.open(file) if suffix == ".gz" else bz2.open(file) as stream:
        yield from iter(lambda: stream.read1(BLOCK), b"")  # read1 hands out what comes before a break


def _read(file: IO[bytes], count: int) -> bytes:
    try:
        return file.read(count)
    except FAULTS:
        raise
    except Exception as error:  # see `opened`
        raise OSError(f"{type(error).__name__}: {error}") from error


def lines(stream: Iterator[bytes], longest: int, start: int = 0) -> Iterator[Line]:
    """The lines of a stream of blocks; of one with more than `longest` bytes, only the length is kept.

    Only a line feed ends a line: U+2028 and the like are legal inside texts. A byte order mark at byte 0
    is no part of the first line.

    Raises
    ------
    Broken
        The stream breaks off; all lines before that have been yielded.
    """
    at, head, lost = start, b"", 0

    def line(head: bytes) -> Line:
        length = lost + len(head)
        if at == 0:
            head = head.removeprefix(b"\xef\xbb\xbf")
        return Line(at, None if lost or length > longest else head, length)

    try:
        for block in stream:
            *ended, tail = block.split(b"\n")
            for piece in ended:
                yield (one := line(head + piece if head else piece))
                at += one.length + 1
                head, lost = b"", 0
            head = head + tail if head else tail
            if lost or len(head) > longest:
                head, lost = b"", lost + len(head)
    except FAULTS as error:
        raise Broken(said(error), at, head) from None
    if head or lost:
        yield line(head)


def line_start(path: Path, at: int) -> int:
    """The first start of a line at or after a byte; the end of the file where there is none."""
    if at == 0:
        return 0
    with opened(path) as file:
        file.seek(at - 1)
        at -= 1
        while block := _read(file, _SMALL_BLOCK):
            if (found := block.find(b"\n")) >= 0:
                return at + found + 1
            at += len(block)
    return at
