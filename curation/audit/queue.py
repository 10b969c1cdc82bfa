"""What a person should look at next.

Belongs here: ranking keywords, documents and samples by how much a decision on them would tell.
Does not belong here: taking the decisions (the review page) or acting on them (the stages).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from curation import verdicts
from curation.records import digest
from curation.selection import sampling
from curation.selection.geometry import exact_unit
from curation.settings import AuditSettings

_SHOWN = 600
#: Two documents in the queue are less similar than this: near ones would get the same answer.
_APART = 0.85
#: Scores of a sample that can speak against it, turned so that high is good.
_GOOD = ("match", "quality")
_BAD = ("truncation", "repetition", "garble", "markup", "language_mismatch", "ppl")
_QUEUED: dict[str, pl.DataType] = {
    "parents": pl.List(pl.String),
    "kind": pl.String(),
    "target": pl.String(),
    "priority": pl.Float64(),
    "why": pl.String(),
    "text": pl.String(),
}


def review_queue(
    keywords: pl.DataFrame,
    documents: pl.DataFrame,
    samples: pl.DataFrame,
    decisions: pl.DataFrame,
    settings: AuditSettings,
    *,
    threshold: float = 0.5,
    vectors: np.ndarray | None = None,
) -> pl.DataFrame:
    """The records whose review would help most, at most `settings.queue` of each kind.

    Give rows of every verdict: what was dropped by a narrow margin is as doubtful as what was kept.

    Parameters
    ----------
    keywords
        record_id, term, score, seed_docs, general_docs, example, verdict.
    documents
        record_id, probability, similarity, text, verdict.
    samples
        record_id, prompt, answer, quality and any of match, truncation, repetition, garble, markup,
        language_mismatch, ppl, verdict.
    decisions
        kind and target of what a person has decided already; these are not asked again.
    threshold
        Probability from which a document is recalled.
    vectors
        float32 [n, d], one a row of `documents`: keeps documents that are alike from being asked twice.

    Returns
    -------
    Rows of the table ReviewQueue (without `run_id`), by kind and falling priority.
    """
    parts = [
        _keyword_queue(_undecided(keywords, decisions, "keyword", "term"), settings.queue),
        _document_queue(documents, decisions, vectors, threshold, settings.queue),
        _sample_queue(_undecided(samples, decisions, "sample", "record_id"), settings.queue),
    ]
    queue = pl.concat(
        [part.select(pl.col(name).cast(kind) for name, kind in _QUEUED.items()) for part in parts]
    )
    ids = [
        digest("review_queue", kind, target) for kind, target in queue.select("kind", "target").iter_rows()
    ]
    queue = queue.with_columns(pl.col("priority").round(9), pl.Series("record_id", ids, dtype=pl.String))
    queue = queue.sort("kind", "priority", "target", descending=[False, True, False])
    return verdicts.judge(queue, [], kind=pl.col("kind"), priority=pl.col("priority"), why=pl.col("why"))


def _undecided(frame: pl.DataFrame, decisions: pl.DataFrame, kind: str, key: str) -> pl.DataFrame:
    decided = decisions.filter(pl.col("kind") == kind)["target"].cast(pl.String)
    return frame.filter(~pl.col(key).is_in(decided.implode()))


def _share(value: pl.Expr) -> pl.Expr:
    """Rank of a value as a share of the rows, 0 for the lowest, 1 for the highest; ties share
    their mean, and null is in the middle."""
    return ((value.rank("average") - 1) / (value.count().cast(pl.Float64) - 1).clip(1)).fill_null(0.5)


def _keyword_queue(keywords: pl.DataFrame, size: int) -> pl.DataFrame:
    """Terms next to the limit: priority 1 - |rank - rank of the limit| / rows.

    The limit lies between the worst kept and the best dropped score. Where nothing was dropped, the
    worst kept terms are nearest to it.
    """
    kept = keywords["verdict"].cast(pl.String) == "kept"
    above = (pl.col("score").rank("ordinal", descending=True) - kept.sum() - 0.5).abs()
    return (
        keywords.sort("record_id")
        .with_columns(
            priority=1 - above / max(keywords.height, 1), was_kept=pl.col("verdict").cast(pl.String) == "kept"
        )
        .sort("priority", "record_id", descending=[True, False])
        .head(size)
        .select(
            pl.concat_list("record_id").alias("parents"),
            pl.lit("keyword").alias("kind"),
            pl.col("term").alias("target"),
            "priority",
            pl.format(
                "{}, its score {} lies next to the limit; in {} seeds and {} of the sampled general documents",
                pl.when("was_kept").then(pl.lit("kept")).otherwise(pl.lit("dropped")),
                pl.col("score").round(2),
                "seed_docs",
                "general_docs",
            ).alias("why"),
            pl.concat_str(
                pl.col("term"), pl.col("example").str.slice(0, _SHOWN), separator="\n", ignore_nulls=True
            ).alias("text"),
        )
    )


def _document_queue(
    documents: pl.DataFrame,
    decisions: pl.DataFrame,
    vectors: np.ndarray | None,
    threshold: float,
    size: int,
) -> pl.DataFrame:
    """Documents next to the classifier's threshold t (uncertainty sampling), unlike each other.

    Priority: 1 - |p - t| / max(t, 1 - t). A document near to a seed that the classifier rejects gets
    half of its similarity rank on top: there the two ways of recall disagree.
    """
    distance = (pl.col("probability") - threshold).abs() / max(threshold, 1 - threshold)
    disagree = (pl.col("probability") < threshold) & pl.col("similarity").is_not_null()
    ranked = (
        documents.with_row_index("_row")
        .with_columns(
            _clash=pl.when(disagree).then(_share(pl.col("similarity")) / 2).otherwise(0.0),
            _doubt=1 - distance,
        )
        .with_columns(priority=pl.col("_doubt") + pl.col("_clash"))
        .sort("priority", "record_id", descending=[True, False])
    )
    ranked = _undecided(ranked, decisions, "document", "record_id")
    if vectors is not None and ranked.height:
        unit = exact_unit(vectors)
        apart, _, _ = sampling.accept_apart(ranked["_row"].to_numpy().astype(np.int64), unit, size, _APART)
        ranked = ranked.filter(pl.Series(apart[ranked["_row"].to_numpy()]))
    clash = pl.format(
        "near to a seed (similarity {}), but the classifier says {}",
        pl.col("similarity").round(3),
        pl.col("probability").round(3),
    )
    doubt = pl.format(
        "its probability {} lies next to the limit {}", pl.col("probability").round(3), pl.lit(threshold)
    )
    return ranked.head(size).select(
        pl.concat_list("record_id").alias("parents"),
        pl.lit("document").alias("kind"),
        pl.col("record_id").alias("target"),
        "priority",
        pl.when(pl.col("_clash") > pl.col("_doubt") / 2).then(clash).otherwise(doubt).alias("why"),
        pl.col("text").str.slice(0, _SHOWN).fill_null(""),
    )


def _sample_queue(samples: pl.DataFrame, size: int) -> pl.DataFrame:
    """Samples whose scores contradict each other.

    Each score becomes a rank share g in [0, 1] that is high for good. Priority: g(quality) * (1 - g of
    the worst other score), so high quality with one very bad sign, kept or dropped, comes first.
    """
    shares = {name: _share(pl.col(name)) for name in _GOOD if name in samples.columns}
    shares |= {name: 1 - _share(pl.col(name)) for name in _BAD if name in samples.columns}
    quality = shares.pop("quality")
    if not shares or not samples.height:
        return pl.DataFrame(schema=_QUEUED)
    named = samples.sort("record_id").with_columns(
        quality.alias("_quality"), *(share.alias(f"_{name}") for name, share in shares.items())
    )
    worst = pl.min_horizontal(f"_{name}" for name in shares)
    sign: pl.Expr = pl.lit(None, dtype=pl.String)
    for name in reversed(list(shares)):
        shown = pl.format(f"its {name} {{}}", pl.col(name).round(3))
        sign = pl.when(pl.col(f"_{name}") == worst).then(shown).otherwise(sign)
    return (
        named.with_columns(priority=pl.col("_quality") * (1 - worst), _worst=worst, _sign=sign)
        .sort("priority", "record_id", descending=[True, False])
        .head(size)
        .select(
            pl.concat_list("record_id").alias("parents"),
            pl.lit("sample").alias("kind"),
            pl.col("record_id").alias("target"),
            "priority",
            pl.format(
                "{} with quality {} (better than {} % of the pool), but {} is worse than that of {} %",
                pl.col("verdict").cast(pl.String),
                pl.col("quality").round(3),
                (pl.col("_quality") * 100).round(0).cast(pl.Int64),
                "_sign",
                ((1 - pl.col("_worst")) * 100).round(0).cast(pl.Int64),
            ).alias("why"),
            pl.concat_str(
                pl.col("prompt").str.slice(0, _SHOWN),
                pl.col("answer").str.slice(0, _SHOWN),
                separator="\n\n",
                ignore_nulls=True,
            ).alias("text"),
        )
    )
