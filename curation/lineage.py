"""How the rows of a table relate to the rows that it was made of.

Belongs here: the names of the relations; each implies the conservation check of its table.
Does not belong here: the check itself (`verdicts.conservation`) or which asset has which relation
(the asset declares it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["source", "judge", "expand", "merge", "learn"]


@dataclass(frozen=True)
class Relation:
    """`kind` of the relation and the upstream tables `of` whose kept rows are answered for."""

    kind: Kind
    of: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(self.of)})" if self.of else self.kind


def source() -> Relation:
    """Rows come in from outside the lake; each is there once, readable or not."""
    return Relation("source")


def judge(*of: str) -> Relation:
    """1:1: every kept row of `of` comes out once, under the same id, with a verdict."""
    return Relation("judge", of)


def expand(of: str) -> Relation:
    """1:N: rows are made from rows; each names its `parents`, and every parent is answered for."""
    return Relation("expand", (of,))


def merge(of: str) -> Relation:
    """N:1: rows stand for groups of rows; `parents` names the members, and none is missing."""
    return Relation("merge", (of,))


def learn() -> Relation:
    """A model or a table about the whole; where its rows rest on records, `parents` names them."""
    return Relation("learn")
