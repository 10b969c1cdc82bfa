"""A person's decisions: whom they are about, and what they do.

Belongs here: resolving the target of a decision to a record, applying decisions to the recalled
documents, synonyms of terms, and a table of terms that a person has filled in. Does not belong here:
storing decisions (`resources.reviews`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from curation.errors import UserError
from curation.verdicts import Rule, judge

#: What a person can decide on a keyword.
KEYWORD_DECISIONS = ("accept", "reject", "add", "merge")

_COLUMNS = ("decision", "reviewer", "at", "note")


def resolve(decisions: pl.DataFrame, records: pl.LazyFrame) -> pl.DataFrame:
    """Decisions by record_id: columns record_id, decision, reviewer, at, note, sorted by record_id.

    Parameters
    ----------
    decisions
        Columns target, decision, reviewer, at, note. A target is a record_id, a URI or the source's id.
    records
        record_id, uri, native_id of the records. Targets that name none of them are left out; of
        several decisions on one record the latest counts.
    """
    named = records.filter(
        pl.any_horizontal(
            pl.col(name).is_in(decisions["target"].implode()) for name in ("record_id", "uri", "native_id")
        )
    ).select("record_id", "uri", "native_id")
    names = pl.concat(
        [named.select("record_id", target=pl.col(name)) for name in ("record_id", "native_id", "uri")]
    ).collect()
    return (
        decisions.join(names.drop_nulls().unique(), on="target")
        .sort("at", "target")
        .unique("record_id", keep="last", maintain_order=True)
        .sort("record_id")
        .select("record_id", *_COLUMNS)
    )


def apply_reviews(docs: pl.DataFrame, reviewed: pl.DataFrame) -> pl.DataFrame:
    """Judge recalled documents by a person's decisions: the rejected are dropped, all others stay.

    Parameters
    ----------
    docs
        Columns of the table `domain_docs` but decided_by and the verdict's.
    reviewed
        From `resolve`.
    """
    joined = docs.join(reviewed, on="record_id", how="left", maintain_order="left").with_columns(
        decided_by="reviewer", suggested=pl.when(pl.col("decision").is_not_null()).then(pl.lit("accept"))
    )
    measured = {name: pl.col(name) for name in ("suggested", "decision", "decided_by", "at", "note")}
    judged = judge(
        joined,
        [Rule("rejected_by_reviewer", pl.col("decision") == "reject", measured)],
        probability=pl.col("probability"),
    )
    return judged.drop(*_COLUMNS, "suggested")


@dataclass(frozen=True)
class KeywordDecision:
    """What a person decided on a term; `into` is the term that it is merged into."""

    term: str
    decision: str
    into: str | None = None
    note: str = ""


def read_keyword_decisions(table: pl.DataFrame, where: str) -> Iterator[KeywordDecision]:
    """The decisions in a table of terms that a person has filled in.

    Parameters
    ----------
    table
        Columns term and decision, and merge_into and note if there are any; others are passed over,
        and so are rows without a decision.
    where
        Names the table in errors.

    Raises
    ------
    UserError
        A column is missing, a row has no term or an unknown decision, or merges into nothing or itself.
    """
    missing = [name for name in ("term", "decision") if name not in table.columns]
    if missing:
        raise UserError(
            f"no column {', '.join(missing)}", where=where, allowed="term, decision, merge_into, note"
        )
    wanted = [name for name in ("term", "decision", "merge_into", "note") if name in table.columns]
    for number, row in enumerate(table.select(wanted).iter_rows(named=True), 1):
        term, decision, into, note = (
            str(row.get(name) or "").strip() for name in ("term", "decision", "merge_into", "note")
        )
        place = f"{where}, row {number}"
        if not decision and not into:
            continue
        if not term:
            raise UserError("a decision without a term", where=place)
        if decision.lower() not in KEYWORD_DECISIONS:
            raise UserError(f"decision {decision!r}", where=place, allowed=", ".join(KEYWORD_DECISIONS))
        merge = decision.lower() == "merge"
        if merge != bool(into) or into == term:
            raise UserError(
                f"{term!r} merged into {into!r}"
                if merge
                else f"merge_into {into!r} with decision {decision!r}",
                where=place,
                allowed="decision merge together with another term in merge_into",
            )
        yield KeywordDecision(term, decision.lower(), into or None, note)


def with_decisions(table: pl.DataFrame, decisions: pl.DataFrame) -> pl.DataFrame:
    """The keyword table, the best score first, with the columns decision, merge_into and note.

    Terms that were decided on after the table was made come last, with nothing measured.
    """
    in_force = decisions.select(
        "decision", "note", term="target",
        merge_into=pl.when(pl.col("decision") == "merge").then(pl.col("edited").str.json_decode(pl.String)),
    )  # fmt: skip
    joined = table.join(in_force, on="term", how="full", coalesce=True)
    return joined.sort("score", "term", descending=[True, False], nulls_last=True)


def synonyms_of(decisions: pl.DataFrame) -> dict[str, str]:
    """For each term that a person merged into another, the term that it is counted as at last.

    Parameters
    ----------
    decisions
        Columns target, decision and edited (JSON text: the other term) of decisions on keywords.

    Raises
    ------
    UserError
        Terms are merged in a circle, or into nothing.
    """
    merged = decisions.filter(pl.col("decision") == "merge")
    into = (
        dict(zip(merged["target"], map(_other_term, merged["target"], merged["edited"]), strict=True))
        if merged.height
        else {}
    )
    found = {}
    for term in into:
        chain = [term]
        while chain[-1] in into:
            chain.append(into[chain[-1]])
            if chain[-1] in chain[:-1]:
                raise UserError(f"merged in a circle: {' → '.join(chain)}", where="decisions on keywords")
        found[term] = chain[-1]
    return found


def _other_term(term: str, edited: str | None) -> str:
    try:
        other = json.loads(edited or "null")
    except json.JSONDecodeError:
        other = None
    if not isinstance(other, str) or not other:
        raise UserError(
            f"{term!r} is merged into no term",
            where="decisions on keywords",
            allowed="another term under edited",
        )
    return other
