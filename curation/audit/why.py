"""Why is this record in the training set, or why not: its whole chain of decisions.

Belongs here: finding the record that a person means, and collecting what every table says of it, of
what it was made from and of what was made from it. Does not belong here: printing (the command line).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from curation import schemas

#: `scan(table)` gives all rows of a table, whatever their verdict.
Scan = Callable[[str], pl.LazyFrame]
_ID = re.compile(r"[0-9a-f]{32}")
_PREFIX = re.compile(r"[0-9a-f]{6,32}")
#: Columns that are too bulky to show, or shown in another way.
_HIDDEN = (
    "record_id",
    "verdict",
    "reason",
    "evidence",
    "run_id",
    "body",
    "vector",
    "signature",
    "bands",
    "content_hash",
)
_TEXTS = ("text", "prompt", "answer", "term", "instruction", "title", "body")
_SNIPPET = 80
_MOST_CHILDREN = 5


@dataclass(frozen=True)
class Step:
    """What one table says of the record."""

    table: str
    record_id: str
    verdict: str
    reason: str | None
    evidence: dict[str, Any]
    run_id: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Trace:
    """The chain of a record: its own steps, those of its parents, and what was made of it."""

    record_id: str
    about: str
    steps: list[Step]
    parents: list[Trace] = field(default_factory=list)
    children: list[tuple[str, str, str]] = field(default_factory=list)
    #: other records that the evidence names, with the beginning of their text
    others: dict[str, str] = field(default_factory=dict)


def find(target: str, scan: Scan, most: int = 10) -> list[tuple[str, str, str]]:
    """Records that `target` may mean, as (record_id, table, snippet), best kind of match first.

    `target` is a record id or the beginning of one, an id that the source gave, a URI (or the end of
    one), a keyword, or a piece of the text.
    """
    ways: list[Callable[[str, Sequence[str]], pl.Expr | None]] = [
        lambda table, names: pl.col("record_id") == target if _ID.fullmatch(target) else None,
        lambda table, names: (
            pl.col("record_id").str.starts_with(target) if _PREFIX.fullmatch(target) else None
        ),
        lambda table, names: pl.col("native_id") == target if "native_id" in names else None,
        lambda table, names: pl.col("uri") == target if "uri" in names else None,
        lambda table, names: pl.col("term") == target if "term" in names else None,
        lambda table, names: (
            pl.col("uri").str.ends_with(target) if "uri" in names and "/" in target else None
        ),
        lambda table, names: _holds(target, names),
    ]
    for way in ways:
        found: dict[str, tuple[str, str, str]] = {}
        for table in schemas.TABLES:
            names = list(schemas.columns(table))
            matches = way(table, names)
            if matches is None:
                continue
            texts = [name for name in _TEXTS if name in names]
            rows = scan(table).filter(matches).select("record_id", *texts).head(most + 1).collect()
            for row in rows.iter_rows(named=True):
                found.setdefault(row["record_id"], (row["record_id"], table, _snippet(row)))
        if found:
            return list(found.values())[: most + 1]
    return []


def _holds(target: str, names: Sequence[str]) -> pl.Expr | None:
    """Whether a text column holds the target."""
    tests = [
        pl.col(name).str.contains(target, literal=True)
        for name in ("text", "prompt", "answer")
        if name in names
    ]
    if "body" in names:
        tests.append(pl.col("body").bin.contains(target.encode()))
    return pl.any_horizontal(tests) if tests else None


def _snippet(row: dict[str, Any]) -> str:
    for name in _TEXTS:
        value = row.get(name)
        if value:
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            text = " ".join(text.split())
            return text[:_SNIPPET] + ("…" if len(text) > _SNIPPET else "")
    return ""


def trace(record_id: str, scan: Scan, *, depth: int = 3) -> Trace:
    """The chain of decisions on a record, through every table that holds it.

    Parameters
    ----------
    record_id
        Id of the record.
    scan
        Gives all rows of a table.
    depth
        How far back parents are followed.
    """
    steps = list(_steps(record_id, scan))
    parent_ids = sorted(
        {parent for step in steps for parent in step.values.get("parents") or []} - {record_id}
    )
    referred = sorted(
        {other for step in steps for other in _references(step.evidence)} - {record_id, *parent_ids}
    )
    return Trace(
        record_id=record_id,
        about=_about(record_id, scan),
        steps=steps,
        parents=[trace(parent, scan, depth=depth - 1) for parent in parent_ids] if depth else [],
        children=list(_children(record_id, scan)),
        others={other: _about(other, scan) for other in referred},
    )


def _steps(record_id: str, scan: Scan) -> Iterator[Step]:
    for table in schemas.TABLES:
        wanted = [
            name for name in schemas.columns(table) if name not in ("body", "vector", "signature", "bands")
        ]
        rows = scan(table).filter(pl.col("record_id") == record_id).select(wanted).collect()
        for row in rows.iter_rows(named=True):
            yield Step(
                table,
                record_id,
                row["verdict"],
                row["reason"],
                json.loads(row["evidence"]),
                row["run_id"],
                {name: value for name, value in row.items() if name not in _HIDDEN and value is not None},
            )


def _children(record_id: str, scan: Scan) -> Iterator[tuple[str, str, str]]:
    """Rows that name the record as a parent: (table, record_id, verdict or reason)."""
    for table in schemas.TABLES:
        if "parents" in schemas.columns(table):
            rows = scan(table).filter(pl.col("parents").list.contains(record_id)).head(_MOST_CHILDREN)
            for row in rows.select("record_id", "verdict", "reason").collect().iter_rows():
                yield table, row[0], row[2] or row[1]


def _references(value: Any) -> Iterator[str]:
    """Record ids anywhere in the evidence."""
    if isinstance(value, str):
        if _ID.fullmatch(value):
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def _about(record_id: str, scan: Scan) -> str:
    """The beginning of a record's text: its cleaned text if there is one, else its title or bytes."""
    for name in _TEXTS:
        for table in schemas.TABLES:
            if name in schemas.columns(table):
                rows = scan(table).filter(pl.col("record_id") == record_id).select(name).head(1).collect()
                snippet = _snippet(rows.row(0, named=True)) if rows.height else ""
                if snippet:
                    return snippet
    return ""
