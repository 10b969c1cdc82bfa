"""Columnar files: Parquet, and the Arrow files of Hugging Face datasets.

Belongs here: the rows of a range as record batches, and the faults that cost a row group or a row.
Does not belong here: which columns hold what (`readers`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from resources.formats.rows import Row, unreadable
from resources.streams import File, opened

#: Rows that are taken out of a file at once.
BATCH_ROWS = 8_192


class Batch(NamedTuple):
    """Rows of a file: their URI, the number of the first one, and the rows as an Arrow record batch."""

    uri: str
    position: int
    data: Any

    def rows(self) -> Iterator[Row]:
        """The rows one by one; one with bytes that are no UTF-8 in a text is unreadable."""
        try:
            for at, found in enumerate(self.data.to_pylist(), self.position):
                yield Row(self.uri, at, found)
        except UnicodeDecodeError as error:
            if self.data.num_rows == 1:
                yield Row(self.uri, self.position, None, "unreadable_text", {"error": str(error)})
                return
            for index in range(self.data.num_rows):
                yield from Batch(self.uri, self.position + index, self.data.slice(index, 1)).rows()


@contextmanager
def _parquet(file: File) -> Iterator[Any]:
    """A Parquet file, open. Raises OSError or ArrowException."""
    from pyarrow import parquet

    with opened(file.path) as handle, parquet.ParquetFile(handle) as found:
        yield found


@contextmanager
def _arrow(file: File) -> Iterator[Any]:
    """Schema and record batches of an Arrow stream or file. Raises OSError or ArrowException.

    A local file is mapped, so that batches that are passed over are not read.
    """
    import pyarrow as pa

    with pa.memory_map(str(file.path)) if isinstance(file.path, Path) else opened(file.path) as handle:
        is_file = handle.read(6) == b"ARROW1"
        handle.seek(0)
        if is_file:
            found = pa.ipc.open_file(handle)
            yield found.schema, (found.get_batch(index) for index in range(found.num_record_batches))
        else:
            stream = pa.ipc.open_stream(handle)
            yield stream.schema, iter(stream)


def columns(file: File, form: str) -> tuple[str, ...]:
    """Names of the columns of a Parquet or Arrow file; none where it cannot be read."""
    import pyarrow as pa

    try:
        if form == "parquet":
            with _parquet(file) as found:
                return tuple(found.schema_arrow.names)
        with _arrow(file) as (schema, _):
            return tuple(schema.names)
    except (OSError, pa.ArrowException):
        return ()


def count_rows(file: File, form: str) -> int:
    """Rows of a Parquet or Arrow file, without reading them.

    0 where it cannot be read, or where counting would mean fetching it (Arrow behind a URL). Raises OSError.
    """
    import pyarrow as pa

    try:
        if form == "parquet":
            with _parquet(file) as found:
                return int(found.metadata.num_rows)
        if not isinstance(file.path, Path):
            return 0
        with _arrow(file) as (_, batches):
            return sum(batch.num_rows for batch in batches)
    except pa.ArrowException:
        return 0


def parquet_rows(
    file: File, names: Collection[str] | None, start: int = 0, stop: int | None = None
) -> Iterator[Row | Batch]:
    """The rows of a Parquet file from `start` to `stop`; of a broken row group each is unreadable."""
    import pyarrow as pa

    try:
        with _parquet(file) as found:
            read = None if names is None else [name for name in found.schema_arrow.names if name in names]
            first = 0
            for group in range(found.num_row_groups):
                last = first + found.metadata.row_group(group).num_rows
                low, high = max(start, first), min(last if stop is None else stop, last)
                at = first
                try:
                    for data in (
                        found.iter_batches(BATCH_ROWS, row_groups=[group], columns=read) if low < high else ()
                    ):
                        begin, end = max(low - at, 0), min(high - at, data.num_rows)
                        if begin < end:
                            yield Batch(file.uri, at + begin, data.slice(begin, end - begin))
                        at += data.num_rows
                except (OSError, pa.ArrowException) as error:
                    for row in range(max(at, low), high):
                        yield unreadable(file.uri, row, error, row_group=group)
                first = last
    except (OSError, pa.ArrowException) as error:
        yield unreadable(file.uri, start, error)


def arrow_rows(
    file: File, names: Collection[str] | None, start: int = 0, stop: int | None = None
) -> Iterator[Row | Batch]:
    """The rows of an Arrow file from `start` to `stop`; what comes before a break is read."""
    import pyarrow as pa

    at = 0
    try:
        with _arrow(file) as (schema, batches):
            read = [name for name in schema.names if names is None or name in names]
            for data in batches:
                low, high = (
                    max(start, at),
                    at + data.num_rows if stop is None else min(stop, at + data.num_rows),
                )
                for begin in range(low, high, BATCH_ROWS):
                    part = data.select(read).slice(begin - at, min(BATCH_ROWS, high - begin))
                    yield Batch(file.uri, begin, part)
                at += data.num_rows
                if stop is not None and at >= stop:
                    return
    except (OSError, pa.ArrowException) as error:
        yield unreadable(file.uri, max(at, start), error)
