"""Reading labelled folders.

Belongs here: files that may or may not be gzipped, and clear errors about what is missing.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from curation.errors import UserError


def read_lines(folder: Path, stem: str, needed: Sequence[str]) -> pl.DataFrame:
    """The rows of `<stem>.jsonl` or `<stem>.jsonl.gz`.

    Raises
    ------
    UserError
        Neither file is there, it cannot be read, or a needed column is missing.
    """
    for name, opener in ((f"{stem}.jsonl", open), (f"{stem}.jsonl.gz", gzip.open)):
        file = folder / name
        if file.exists():
            try:
                with opener(file, "rb") as handle:  # type: ignore[operator]
                    rows = pl.read_ndjson(handle.read(), infer_schema_length=None)
            except (OSError, EOFError, pl.exceptions.PolarsError) as error:
                raise UserError(f"cannot be read: {error}", where=str(file)) from None
            return _with_columns(rows, file, needed)
    raise UserError(f"has neither {stem}.jsonl nor {stem}.jsonl.gz", where=str(folder))


def read_table(folder: Path, stem: str, needed: Sequence[str]) -> pl.DataFrame:
    """The rows of `<stem>.parquet`.

    Raises
    ------
    UserError
        The file is not there, it cannot be read, or a needed column is missing.
    """
    file = folder / f"{stem}.parquet"
    if not file.exists():
        raise UserError(f"has no {file.name}", where=str(folder))
    try:
        rows = pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"cannot be read: {error}", where=str(file)) from None
    return _with_columns(rows, file, needed)


def _with_columns(rows: pl.DataFrame, file: Path, needed: Sequence[str]) -> pl.DataFrame:
    missing = [column for column in needed if column not in rows.columns]
    if missing:
        raise UserError(f"lacks the column {', '.join(missing)}", where=str(file))
    return rows
