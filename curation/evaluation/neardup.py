"""Similarity of texts: the figures of `curation evaluate neardup`.

Belongs here: reading the labelled folder and the arithmetic of the figures. Does not belong here: the
measures of similarity (`curation.corpus.minhash`, `curation.lsa`), of which exactly the functions of
the assets are run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from curation import text
from curation.corpus import minhash
from curation.errors import UserError
from curation.evaluation.reading import read_lines
from curation.lsa import Lsa
from curation.settings import DedupSettings, Profile


def evaluate_neardup(folder: Path, profile: Profile) -> dict[str, float]:
    """Compare the similarity of pairs of texts with what people say of them.

    Returns
    -------
    dict
        auc.<file> and auc.<file>.<kind> (rows of a kind that has one label only are compared with those
        of the other label in its file), spearman.sts. Rows are compared as `sft_pool` judges near
        duplicates, by the mean of the Jaccard similarities of their parts: first lines (the
        instructions) and the rest; with `whole.` by that of the whole rows. Short questions and sts are compared by the cosine of LSA vectors
        fitted on them; with `jaccard.` by Jaccard similarity.

    Raises
    ------
    UserError
        A file is missing, cannot be read or lacks a column, or the profile names an encoder to load:
        here one is fitted.
    """
    if profile.sample_encoder.kind != "lsa":
        raise UserError("evaluate fits its own encoder", where="sample_encoder.kind", allowed="lsa")
    rows, pairs = (read_lines(folder, name, ["a", "b", "label", "kind"]) for name in ("sft_pairs", "pairs"))
    scored = read_lines(folder, "sts_scores", ["a", "b", "score"])
    dedup = profile.pool.dedup
    whole = _texts(rows)
    by_parts = np.mean([_jaccard(part, dedup) for part in _parts(whole)], axis=0)
    metrics = auc_by_kind("sft_pairs", rows, by_parts)
    metrics |= _beside("whole", auc_by_kind("sft_pairs", rows, _jaccard(whole, dedup)))
    short = _texts(pairs)
    metrics |= auc_by_kind("pairs", pairs, _cosine(short, profile))
    metrics |= _beside("jaccard", auc_by_kind("pairs", pairs, _jaccard(short, dedup)))
    graded = _texts(scored)
    scores = scored["score"].cast(pl.Float64).to_numpy()
    metrics["spearman.sts"] = spearman(_cosine(graded, profile), scores)
    metrics["jaccard.spearman.sts"] = spearman(_jaccard(graded, dedup), scores)
    return metrics


def _texts(rows: pl.DataFrame) -> pl.Series:
    """The normal forms of all first texts and, after them, of all second ones."""
    both = pl.concat([rows[name].cast(pl.String).fill_null("") for name in ("a", "b")])
    return text.normalise(both)["text"]


def _parts(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    """First lines, and what stands below them."""
    lines = texts.str.split("\n")
    return lines.list.first(), lines.list.slice(1).list.join("\n")


def _jaccard(texts: pl.Series, settings: DedupSettings) -> np.ndarray:
    """Similarity of each first text and its second, as the verifier of duplicates measures it."""
    firsts, seconds = np.arange(len(texts)).reshape(2, -1)
    counts = minhash.shingle_counts(texts, settings.ngram) if settings.template_records else None
    return minhash.jaccard(
        texts, firsts, seconds, settings.ngram, counts=counts, common=settings.template_records
    )


def _cosine(texts: pl.Series, profile: Profile) -> np.ndarray:
    """Cosine of the vectors of each first text and its second."""
    points = Lsa.fit(texts, profile.sample_encoder, profile.seed).transform(texts)
    firsts, seconds = points.reshape(2, -1, points.shape[1])
    cosine: np.ndarray = (firsts * seconds).sum(axis=1)
    return cosine


def auc_by_kind(name: str, rows: pl.DataFrame, scores: np.ndarray) -> dict[str, float]:
    """`auc.<name>` and `auc.<name>.<kind>` of scores; `rows` has label (1: the same) and kind.

    A kind with one label only is compared with the rows of the other label of all kinds; there is no
    figure where only one label is there.
    """
    from sklearn.metrics import roc_auc_score

    labels = rows["label"].cast(pl.Int8).to_numpy()
    if len(np.unique(labels)) < 2:
        return {}
    metrics = {f"auc.{name}": float(roc_auc_score(labels, scores))}
    for kind in rows["kind"].drop_nulls().unique().sort():
        mine = (rows["kind"] == kind).fill_null(False).to_numpy()
        own = np.unique(labels[mine])
        chosen = mine if len(own) == 2 else mine | (labels != own[0])
        metrics[f"auc.{name}.{kind}"] = float(roc_auc_score(labels[chosen], scores[chosen]))
    return metrics


def spearman(one: np.ndarray, two: np.ndarray) -> float:
    """Rank correlation; 0 where one of them does not vary."""
    from scipy.stats import spearmanr

    if len(np.unique(one)) < 2 or len(np.unique(two)) < 2:
        return 0.0
    return float(spearmanr(one, two).statistic)


def _beside(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}.{name}": value for name, value in metrics.items()}
