"""The documents nearest to the seeds, and the keywords they hold.

Belongs here: the top-k of each seed, which languages it can reach, keyword hits, and the verdict that puts both together with the
classifier's. Does not belong here: the classifier (`domain.classifier`) or encoding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from curation import indexes, vectors
from curation.records import digest
from curation.settings import ClassifierSettings, RecallSettings
from curation.verdicts import Rule, judge

#: Pages that a host must have before its share of recalled pages says anything.
HOST_PAGES = 10
#: Documents of a language that are compared with the seeds, and how many there must be.
_COMPARED, _LEAST = 1_000, 20
#: Nearness to the seeds, as a share of what is usual, below which a language is out of reach.
_REACH = 1 / 3


def nearest_documents(
    seed_ids: Iterable[str],
    seed_vectors: np.ndarray,
    doc_ids: Iterable[str],
    doc_vectors: np.ndarray,
    settings: RecallSettings,
    seed: int = 0,
) -> tuple[pl.DataFrame, indexes.Found]:
    """For each seed its `per_seed` most similar documents, exactly or by the index that is set.

    Parameters
    ----------
    seed_vectors, doc_vectors
        Unit vectors, float32 [s, d] and [n, d].

    Returns
    -------
    Rows of the table `nearest_docs` but for run_id, by seed and rank, and how they were found. Documents
    below `min_similarity` are dropped; a seed without any document has one dropped row. The evidence says
    which share of the nearest documents the index finds, as measured on a sample of the seeds.
    """
    seed_names, doc_names = list(seed_ids), list(doc_ids)
    lists = indexes.nearest(
        seed_vectors, doc_vectors, settings.per_seed, settings.index, settings.index_recall, seed
    )
    similarity, index = lists.similarity, lists.index
    seeds = np.repeat(np.arange(len(seed_names)), similarity.shape[1])
    found = pl.DataFrame(
        {
            "seed_id": pl.Series([seed_names[place] for place in seeds], dtype=pl.String),
            "doc_id": pl.Series(
                [doc_names[place] if place >= 0 else None for place in index.ravel()], dtype=pl.String
            ),
            "rank": pl.Series(
                np.tile(np.arange(1, similarity.shape[1] + 1), len(seed_names)), dtype=pl.UInt32
            ),
            "similarity": pl.Series(similarity.ravel().astype(np.float64)),
        }
    ).filter(pl.col("doc_id").is_not_null() | (pl.col("rank") == 1))
    ids = [digest("nearest", seed, doc or "") for seed, doc in found.select("seed_id", "doc_id").iter_rows()]
    found = found.with_columns(
        pl.Series("record_id", ids, dtype=pl.String),
        pl.concat_list("seed_id").alias("parents"),
        similarity=pl.when(pl.col("doc_id").is_not_null()).then("similarity"),
    )
    far = pl.col("doc_id").is_null() | (pl.col("similarity") < settings.min_similarity)
    measured = {
        "similarity": pl.col("similarity"),
        "rank": pl.col("rank"),
        "seed_id": pl.col("seed_id"),
        "doc_id": pl.col("doc_id"),
    }
    rows = judge(
        found,
        [Rule("not_recalled", far, measured, {"min_similarity": settings.min_similarity})],
        index=lists.method,
        index_recall=lists.agreement,
    )
    return rows, lists


def language_reach(seeds: pl.DataFrame, docs: pl.DataFrame) -> pl.DataFrame:
    """How near to the seeds documents of each language come: what an encoder cannot compare stays far.

    A document is as near as the seed that is nearest to it, a language as the median of its documents.
    That of the seeds' commonest language is what is usual; where there are too few documents of it, that of
    the seeds to each other.

    Parameters
    ----------
    seeds, docs
        language and vector (unit). Of the documents the first of each language are compared.

    Returns
    -------
    language, documents, reach (nearness as a share of what is usual) and out_of_reach (Boolean), by
    language; languages of few documents are left out.
    """
    points = vectors.matrix(seeds["vector"])
    counted = docs["language"].value_counts().filter(pl.col("count") >= _LEAST).sort("language")
    near = {}
    for language in counted["language"] if len(points) else []:
        some = docs.filter(pl.col("language") == language).head(_COMPARED)
        near[language] = _nearness(vectors.matrix(some["vector"]), points)
    own = seeds["language"].mode().sort().first()
    usual = near.get(own) or _nearness(points, points, np.arange(len(points)))
    reach = [
        near[language] / usual if usual > 0 and language in near else 0.0 for language in counted["language"]
    ]
    return counted.select(
        "language",
        documents="count",
        reach=pl.Series(reach, dtype=pl.Float64).round(4),
        out_of_reach=pl.Series([one < _REACH for one in reach], dtype=pl.Boolean),
    )


def _nearness(points: np.ndarray, seeds: np.ndarray, own: np.ndarray | None = None) -> float:
    """Median similarity of the rows to the seed nearest to each; 0 where there is none."""
    best = vectors.top_k(points, seeds, 1, own)[0][:, 0]
    return max(0.0, float(np.median(np.where(np.isfinite(best), best, 0.0)))) if len(best) else 0.0


def keyword_hits(docs: pl.DataFrame, terms: Sequence[str]) -> pl.DataFrame:
    """The terms that each document holds: record_id and `keywords`, distinct, in order of the text.

    `docs` has record_id and text. Longer terms win over shorter ones that begin at the same place.
    """
    if not terms:
        return docs.select("record_id", keywords=pl.lit([], dtype=pl.List(pl.String)))
    hits = pl.col("text").str.extract_many(list(terms), ascii_case_insensitive=True, leftmost=True)
    return docs.select("record_id", keywords=hits.list.unique(maintain_order=True))


def judge_recall(
    docs: pl.DataFrame,
    probability: pl.DataFrame,
    nearest: pl.DataFrame,
    hits: pl.DataFrame,
    reviewed: pl.DataFrame,
    settings: ClassifierSettings,
) -> pl.DataFrame:
    """Judge every document: recalled by a seed, by the classifier, or not.

    Parameters
    ----------
    docs
        record_id, source, shard of every unique document.
    probability
        record_id and probability by the domain classifier.
    nearest
        The kept rows of `nearest_documents`.
    hits
        record_id and keywords.
    reviewed
        record_id, decision and reviewer: what a person accepted is recalled in any case.
    """
    best = (
        nearest.sort("similarity", "seed_id", descending=[True, False])
        .unique("doc_id", keep="first", maintain_order=True)
        .select("seed_id", "rank", "similarity", record_id="doc_id")
    )
    accepted = reviewed.filter(pl.col("decision") == "accept").select("record_id", accepted_by="reviewer")
    joined = (
        docs.select("record_id", "source", "shard")
        .join(probability, on="record_id", how="left", maintain_order="left")
        .join(best, on="record_id", how="left", maintain_order="left")
        .join(hits, on="record_id", how="left", maintain_order="left")
        .join(accepted, on="record_id", how="left", maintain_order="left")
        .with_columns(pl.col("probability").fill_null(0.0))
    )
    by_seed, by_model = pl.col("seed_id").is_not_null(), pl.col("probability") >= settings.threshold
    by_person = pl.col("accepted_by").is_not_null()
    joined = joined.with_columns(
        channel=pl.when(by_seed & by_model)
        .then(pl.lit("both"))
        .when(by_seed)
        .then(pl.lit("seed"))
        .when(by_model)
        .then(pl.lit("classifier"))
        .when(by_person)
        .then(pl.lit("reviewer"))
    )
    measured = {
        name: pl.col(name)
        for name in ("probability", "seed_id", "rank", "similarity", "channel", "keywords", "accepted_by")
    }
    return judge(
        joined,
        [
            Rule(
                "not_recalled", ~(by_seed | by_model | by_person), measured, {"threshold": settings.threshold}
            )
        ],
    )


def host_shares(docs: pl.DataFrame) -> pl.Series:
    """Which share of the pages of its host is recalled, for each document; Float64, null where there is none.

    `docs` has uri and recalled (Boolean). Only hosts with at least `HOST_PAGES` pages count. After
    DeepSeekMath, which takes a host of whose pages over 10 % were collected for one of the domain.
    """
    host = pl.col("uri").str.extract(r"^\w+://([^/?#]+)")
    share = pl.col("recalled").mean().over(host)
    counts = host.is_not_null() & (pl.len().over(host) >= HOST_PAGES)
    return docs.select(host_share=pl.when(counts).then(share)).to_series()
