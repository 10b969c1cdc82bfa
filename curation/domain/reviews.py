"""A person's decisions on documents: whom they are about, and what they do.

Belongs here: resolving the target of a decision to a record, and applying decisions to the recalled
documents. Does not belong here: storing decisions (`resources.reviews`).
"""

from __future__ import annotations

import polars as pl

from curation.verdicts import Rule, judge

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
        decided_by="reviewer"
    )
    measured = {name: pl.col(name) for name in ("decision", "decided_by", "at", "note")}
    judged = judge(
        joined,
        [Rule("rejected_by_reviewer", pl.col("decision") == "reject", measured)],
        probability=pl.col("probability"),
    )
    return judged.drop(*_COLUMNS)
