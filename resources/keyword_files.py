"""Tables of keywords as files that a person can open: CSV, XLSX, JSONL.

Belongs here: writing the table, and reading one that was filled in. Does not belong here: what the
decisions in it mean (`curation.domain.reviews`) or storing them (`resources.reviews`).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import polars as pl

from curation.errors import UserError

_FORMATS = ".csv, .xlsx, .jsonl"
#: Columns in the order of the file; the last three are for the person to fill in.
COLUMNS = (
    "term", "score", "suggested", "seed_docs", "general_docs", "log_odds", "z_score", "tf_idf", "text_rank",
    "part_of_speech", "known", "example", "decision", "merge_into", "note",
)  # fmt: skip


def write_keywords(table: pl.DataFrame, file: Path) -> None:
    """Write a table of keywords; the end of the name says how.

    Raises
    ------
    UserError
        The name ends in something else, or the file cannot be written.
    """
    writers: dict[str, Callable[[], object]] = {
        # with a byte order mark Excel reads Chinese right
        ".csv": lambda: table.write_csv(file, include_bom=True),
        ".xlsx": lambda: table.write_excel(file, "keywords", autofit=True, freeze_panes=(1, 1)),
        ".jsonl": lambda: table.write_ndjson(file),
    }
    writer = writers.get(file.suffix.lower())
    if writer is None:
        raise UserError(
            f"cannot write {file.suffix or 'a name without an ending'}", where=str(file), allowed=_FORMATS
        )
    try:
        writer()
    except OSError as error:
        raise UserError(f"cannot write: {error.strerror or error}", where=str(file)) from None


def read_keywords(file: Path) -> pl.DataFrame:
    """Read a table of keywords that a person has filled in, all columns as strings.

    Raises
    ------
    UserError
        The name has another ending, or the file cannot be read.
    """
    readers: dict[str, Callable[[bytes], pl.DataFrame]] = {
        ".csv": lambda data: pl.read_csv(_unicode(data), infer_schema=False),
        ".xlsx": lambda data: pl.read_excel(io.BytesIO(data), infer_schema_length=0),
        ".jsonl": lambda data: pl.read_ndjson(data, infer_schema_length=None),
    }
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise UserError(
            f"cannot read {file.suffix or 'a name without an ending'}", where=str(file), allowed=_FORMATS
        )
    try:
        return reader(file.read_bytes()).select(pl.all().cast(pl.String, strict=False))
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror or error}", where=str(file)) from None
    except Exception as error:  # the readers raise what they like
        raise UserError(
            f"cannot read: {str(error).splitlines()[0]}", where=str(file), allowed=_FORMATS
        ) from None


def _unicode(data: bytes) -> bytes:
    """UTF-8 of a file that is in UTF-8, or in GB 18030 as Excel saves it in China."""
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("gb18030", "replace").encode()
    return data.removeprefix(b"\xef\xbb\xbf")
