"""Decisions of people: an append-only store, and files of decisions beside it.

Belongs here: adding and reading decisions, and their version. Does not belong here: what a decision
does to a record (the stage that reads it).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import dagster as dg
import orjson
import polars as pl

from curation.domain.reviews import KeywordDecision, synonyms_of
from curation.errors import UserError
from curation.records import digest

Kind = Literal["keyword", "document", "sample"]
Decision = Literal["accept", "reject", "add", "merge", "edit"]
COLUMNS = ("kind", "target", "decision", "reviewer", "at", "note", "edited")
_SCHEMA = dict.fromkeys(COLUMNS, pl.String)


class Reviews(dg.ConfigurableResource):
    """Decisions on keywords, documents and samples.

    `store` is an SQLite file that decisions are appended to, in transactions; `files` are JSONL files
    that are read as they are. Of several decisions on one target the latest counts. `edited` is JSON
    text of what takes the target's place: a sample as edited, or the term that a keyword is merged into.
    """

    store: str
    files: list[str] = []

    def add(
        self,
        kind: Kind,
        target: str,
        decision: Decision,
        reviewer: str,
        note: str = "",
        edited: str | None = None,
    ) -> None:
        """Append a decision."""
        self._append([(kind, target, decision, reviewer, _now(), note, edited)])

    def add_keywords(self, made: Iterable[KeywordDecision], reviewer: str) -> int:
        """Append the decisions that differ from those in force, all or none; how many there were.

        Raises
        ------
        UserError
            With them, terms would be merged in a circle.
        """
        before = self.decisions("keyword")
        in_force = {
            row["target"]: (row["decision"], row["edited"], row["note"] or "")
            for row in before.iter_rows(named=True)
        }
        at, rows = _now(), []
        for one in {one.term: one for one in made}.values():
            edited = None if one.into is None else orjson.dumps(one.into).decode()
            if in_force.get(one.term) != (one.decision, edited, one.note):
                rows.append(("keyword", one.term, one.decision, reviewer, at, one.note, edited))
        changed = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
        synonyms_of(pl.concat([before, changed]).unique("target", keep="last", maintain_order=True))
        self._append(rows)
        return len(rows)

    def _append(self, rows: Iterable[tuple[str | None, ...]]) -> None:
        with self._open() as connection:
            connection.executemany("INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def decisions(self, kind: Kind) -> pl.DataFrame:
        """The decision in force on each target of a kind: columns `COLUMNS`, sorted by target."""
        rows = [row for file in self.files for row in self._read_file(file)]
        if Path(self.store).exists():
            with self._open() as connection:
                rows += [
                    dict(zip(COLUMNS, row, strict=True))
                    for row in connection.execute("SELECT * FROM decisions")
                ]
        return (
            pl.DataFrame(rows, schema=_SCHEMA)
            .filter(pl.col("kind") == kind)
            .sort("at", nulls_last=False, maintain_order=True)
            .unique("target", keep="last")
            .sort("target")
        )

    def version(self, kind: Kind) -> str:
        """Version of the decisions of a kind: it changes when, and only when, one of them does."""
        return digest(self.decisions(kind).write_ndjson())

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        Path(self.store).parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.store, timeout=30)) as connection, connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS decisions (kind TEXT NOT NULL, target TEXT NOT NULL, decision TEXT NOT NULL, "
                "reviewer TEXT NOT NULL, at TEXT NOT NULL, note TEXT, edited TEXT)"
            )
            yield connection

    @staticmethod
    def _read_file(file: str) -> Iterator[dict[str, Any]]:
        try:
            lines = Path(file).read_bytes().split(b"\n")
        except OSError as error:
            raise UserError(f"cannot read the decisions: {error.strerror}", where=file) from None
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
                kind, decision = row["kind"], row["decision"]
                row = {name: row.get(name) for name in COLUMNS}
                row["target"] = str(row["target"])
                row["edited"] = None if row["edited"] is None else orjson.dumps(row["edited"]).decode()
            except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
                raise UserError(
                    "not a decision",
                    where=f"{file}, line {number}",
                    allowed="an object with kind, target, decision, reviewer, at, note",
                ) from None
            if kind not in get_args(Kind):
                raise UserError(
                    f"kind {kind!r}", where=f"{file}, line {number}", allowed=", ".join(get_args(Kind))
                )
            if decision not in get_args(Decision):
                raise UserError(
                    f"decision {decision!r}",
                    where=f"{file}, line {number}",
                    allowed=", ".join(get_args(Decision)),
                )
            yield row


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
