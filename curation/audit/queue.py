"""What a person should look at next.

Belongs here: ranking keywords, documents and samples by how much a decision on them would tell.
Does not belong here: taking the decisions (the review page) or acting on them (the stages).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from curation import verdicts
from curation.domain.questions import choose_questions
from curation.records import digest
from curation.settings import AuditSettings

_SHOWN = 600
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
    features: np.ndarray,
    seed: int,
) -> pl.DataFrame:
    """The records whose review would help most, at most `settings.queue` of each kind.

    Give rows of every verdict: what was dropped by a narrow margin is as doubtful as what was kept.

    Parameters
    ----------
    keywords
        record_id, term, score, seed_docs, general_docs, example, verdict.
    documents
        record_id, probability, score (the classifier's logit), host_share, text, verdict.
    samples
        record_id, prompt, answer, quality and any of match, truncation, repetition, garble, markup,
        language_mismatch, ppl, verdict.
    decisions
        kind and target of what a person has decided already; these are not asked again.
    features
        What the domain classifier sees of each document, unit rows, float64 [n, d].
    seed
        For the documents that are drawn at random.

    Returns
    -------
    Rows of the table ReviewQueue (without `run_id`), by kind and falling priority.
    """
    parts = [
        _keyword_queue(_undecided(keywords, decisions, "keyword", "term"), settings.queue),
        _document_queue(documents, decisions, features, settings, seed),
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
    documents: pl.DataFrame, decisions: pl.DataFrame, features: np.ndarray, settings: AuditSettings, seed: int
) -> pl.DataFrame:
    """Documents that teach the domain classifier most, and those that their host speaks for.

    Priority: the doubt that an answer takes away, in documents, as a share of the largest. A fifth of the
    queue goes to documents that are not recalled though a good share of their host's pages is (their
    priority is that share), the most probable first.
    """
    order = documents["record_id"].arg_sort()
    documents, features = documents[order], features[order.to_numpy()]
    decided = decisions.filter(pl.col("kind") == "document")["target"].cast(pl.String)
    is_asked = documents["record_id"].is_in(decided.implode())
    by_host = (
        documents.filter(
            ~is_asked
            & (pl.col("verdict").cast(pl.String) != "kept")
            & (pl.col("host_share") >= settings.host_share)
        )
        .sort("probability", "record_id", descending=[True, False])
        .head(settings.queue // 5)
        .with_columns(priority="host_share")
    )
    asked = (is_asked | documents["record_id"].is_in(by_host["record_id"].implode())).arg_true().to_numpy()
    places, gains = choose_questions(
        features, documents["score"].to_numpy(), asked, settings.queue - by_host.height, seed
    )
    telling = documents[places].with_columns(priority=pl.Series(gains / max(gains.max(initial=0.0), 1e-12)))
    doubt = pl.format(
        "its probability is {}; an answer settles as much doubt as {} documents have",
        pl.col("probability").round(3),
        pl.Series("gain", gains).round(1),
    )
    of_host = pl.format(
        "not recalled (probability {}), but {} % of the pages of its host are",
        pl.col("probability").round(3),
        (pl.col("host_share") * 100).round(0).cast(pl.Int64),
    )
    return pl.concat(
        part.select(
            pl.concat_list("record_id").alias("parents"),
            pl.lit("document").alias("kind"),
            pl.col("record_id").alias("target"),
            "priority",
            why.alias("why"),
            pl.col("text").str.slice(0, _SHOWN).fill_null(""),
        )
        for part, why in ((telling, doubt), (by_host, of_host))
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
