"""Recall of a domain from a pool: the figures of `curation evaluate recall`.

Belongs here: reading the labelled folder and the arithmetic of the figures. Does not belong here: the
method (`curation.domain`), of which exactly the functions of the assets are run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from curation import ngrams, vectors
from curation.domain import classifier, recall
from curation.evaluation.reading import read_lines, read_table
from curation.lsa import Lsa
from curation.settings import Profile
from curation.text import normalise


def evaluate_recall(folder: Path, profile: Profile, *, baselines: bool = False) -> dict[str, float]:
    """Rank a pool for its domain by nothing but the seeds, and compare with the labels.

    Returns
    -------
    dict
        ap, r_precision, ap_clear, recall_at_k.<kind> (k = number of positives), top10_precision and
        top10_recall; with `baselines` <name>.ap of `centroid`, `top10` (the most similar seed) and `dsir`.

    Raises
    ------
    UserError
        A file is missing or lacks a column.
    """
    settings, seed = profile.domain, profile.seed
    pool = _texts(read_table(folder, "pool", ["id", "text"]))
    seeds = _texts(read_lines(folder, "seeds", ["id", "text"]))
    labels = read_lines(folder, "labels", ["id", "in_domain", "kind"])
    encoder = Lsa.fit(pl.concat([pool["text"], seeds["text"]]), settings.encoder, seed)
    docs = pool.with_columns(vectors.series(encoder.transform(pool["text"])))
    known = seeds.with_columns(vectors.series(encoder.transform(seeds["text"])))
    reviewed = pl.DataFrame(
        schema=dict.fromkeys(("record_id", "decision", "reviewer", "at", "note"), pl.String)
    )
    model = classifier.train_classifier(known, docs, reviewed, settings.classifier, seed)
    points, places = vectors.matrix(docs["vector"]), vectors.matrix(known["vector"])
    near = recall.nearest_documents(known["record_id"], places, docs["record_id"], points, settings.recall)
    truth = docs.select("record_id").join(
        labels, left_on="record_id", right_on="id", how="left", maintain_order="left"
    )
    figures = ranking_figures(truth, model.scores_of(docs))
    figures |= _top_figures(near, truth)
    if baselines:
        positive = truth["in_domain"].to_numpy()
        for name, scores in _baselines(pool["text"], seeds["text"], points, places).items():
            figures[f"{name}.ap"] = average_precision(positive, scores)
    return figures


def _texts(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(record_id=pl.col("id").cast(pl.String), text=normalise(frame["text"])["text"])


def average_precision(positive: np.ndarray, scores: np.ndarray) -> float:
    """Mean of the precision at each positive, the rows ranked by falling score."""
    ranked = positive[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    return float(precision[ranked].mean()) if ranked.any() else 0.0


def ranking_figures(truth: pl.DataFrame, scores: np.ndarray) -> dict[str, float]:
    """Figures of a ranking: `truth` has in_domain and kind, and ambiguous and near_domain where known."""
    positive = truth["in_domain"].to_numpy().astype(bool)
    k = int(positive.sum())
    top = np.zeros(len(positive), dtype=bool)
    top[np.argsort(-scores, kind="stable")[:k]] = True
    doubtful = np.zeros(len(positive), dtype=bool)
    for name in ("ambiguous", "near_domain"):
        if name in truth.columns:
            doubtful |= truth[name].fill_null(False).to_numpy().astype(bool)
    clear = ~doubtful | positive
    figures = {
        "ap": average_precision(positive, scores),
        "r_precision": float(positive[top].mean()) if k else 0.0,
        "ap_clear": average_precision(positive[clear], scores[clear]),
    }
    for kind in sorted(set(truth.filter(pl.Series(positive))["kind"].drop_nulls())):
        of_kind = positive & (truth["kind"] == kind).fill_null(False).to_numpy()
        figures[f"recall_at_k.{kind}"] = float(top[of_kind].mean())
    return figures


def _top_figures(near: pl.DataFrame, truth: pl.DataFrame) -> dict[str, float]:
    found = near.filter(pl.col("verdict") == "kept")["doc_id"].unique()
    positive = truth.filter("in_domain")["record_id"]
    hits = len(set(found) & set(positive))
    return {"top10_precision": hits / max(found.len(), 1), "top10_recall": hits / max(positive.len(), 1)}


def _baselines(
    pool: pl.Series, seeds: pl.Series, points: np.ndarray, places: np.ndarray
) -> dict[str, np.ndarray]:
    """Scores of the pool by cheap methods."""
    centroid = points @ vectors.normalise(places.mean(axis=0, keepdims=True))[0]
    nearest = vectors.top_k(points, places, 1)[0][:, 0]
    return {"centroid": centroid, "top10": nearest, "dsir": _dsir(pool, seeds)}


def _dsir(pool: pl.Series, seeds: pl.Series, buckets_log2: int = 13) -> np.ndarray:
    """DSIR (Xie et al. 2023): log importance weight of hashed uni- and bigrams, a mean over the n-grams."""
    counts, target = (
        ngrams.hashed_counts(texts, buckets_log2, 512, longest=2, words=False) for texts in (pool, seeds)
    )
    p_target, p_raw = ((np.asarray(one.sum(axis=0)).ravel() + 1e-2) for one in (target, counts))
    ratio = np.log(p_target / p_target.sum()) - np.log(p_raw / p_raw.sum())
    total = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    return np.asarray(counts @ ratio).ravel() / total
