"""Recall of a domain from a pool: the figures of `curation evaluate recall`.

Belongs here: reading the labelled folder and the arithmetic of the figures. Does not belong here: the
method (`curation.domain`), of which exactly the functions of the assets are run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from curation import ngrams, progress, vectors
from curation.audit.plots import line_svg
from curation.domain import classifier, recall
from curation.domain.questions import choose_questions
from curation.errors import UserError
from curation.evaluation.reading import read_lines, read_table
from curation.lsa import Lsa
from curation.settings import ClassifierSettings, Profile
from curation.text import normalise

#: Times as many reviews as the chosen ones that are given in random order, to compare.
_RANDOM_TIMES = 2


def evaluate_recall(
    folder: Path,
    profile: Profile,
    *,
    baselines: bool = False,
    reviews: int = 0,
    rounds: int = 4,
    plot: Path | None = None,
) -> dict[str, float]:
    """Rank a pool for its domain by nothing but the seeds, and compare with the labels.

    With `reviews`, a simulated person answers so many questions in all from the labels, a part of them
    before each of `rounds` further trainings. With `baselines` as well, so do twice as many in random
    order. `plot` names an SVG file for the average precision against the number of reviews.

    Returns
    -------
    dict
        ap, r_precision, ap_clear, recall_at_k.<kind> (k = number of positives), top10_precision and
        top10_recall; with `reviews` the same with `reviewed.` before it, what the classifier says of its
        precision and recall (`reviewed.said.*`) and what is true (`reviewed.true.*`), and the curve
        `reviewed.ap_after.<n>`; with `baselines` <name>.ap of `centroid`, `top10` (the most similar
        seed) and `dsir`, and `random.ap_after.<n>`.

    Raises
    ------
    UserError
        A file is missing or lacks a column, or a plot is asked for without reviews.
    """
    if plot is not None and not reviews:
        raise UserError("a plot shows what reviews do", where="evaluate recall", allowed="--reviews N")
    settings, seed = profile.domain, profile.seed
    pool = _texts(read_table(folder, "pool", ["id", "text"]))
    seeds = _texts(read_lines(folder, "seeds", ["id", "text"]))
    labels = read_lines(folder, "labels", ["id", "in_domain", "kind"])
    encoder = Lsa.fit(pl.concat([pool["text"], seeds["text"]]), settings.encoder, seed)
    docs = pool.with_columns(vectors.series(encoder.transform(pool["text"])))
    known = seeds.with_columns(vectors.series(encoder.transform(seeds["text"])))
    truth = docs.select("record_id").join(
        labels, left_on="record_id", right_on="id", how="left", maintain_order="left"
    )
    study = _Study(known, docs, truth, settings.classifier, seed)
    plain = study.train(np.zeros(0, dtype=np.int64))
    points, places = vectors.matrix(docs["vector"]), vectors.matrix(known["vector"])
    near, _ = recall.nearest_documents(known["record_id"], places, docs["record_id"], points, settings.recall)
    figures = ranking_figures(truth, plain.scores_of(docs)) | _top_figures(near, truth)
    if baselines:
        positive = truth["in_domain"].to_numpy()
        for name, scores in _baselines(pool["text"], seeds["text"], points, places).items():
            figures[f"{name}.ap"] = average_precision(positive, scores)
    if reviews:
        curves = {"chosen": study.answer(plain, reviews, rounds)}
        figures |= study.figures
        if baselines:
            curves["random order"] = study.answer(
                plain, _RANDOM_TIMES * reviews, _RANDOM_TIMES * rounds, at_random=True
            )
        for name, curve in zip(("reviewed", "random"), curves.values(), strict=False):
            figures |= {f"{name}.ap_after.{asked}": ap for asked, ap in curve}
        if plot is not None:
            plot.write_text(_curves_svg(curves), encoding="utf-8")
    return figures


class _Study:
    """A simulated person who knows the labels, and what the classifier learns from the answers."""

    def __init__(
        self,
        seeds: pl.DataFrame,
        docs: pl.DataFrame,
        truth: pl.DataFrame,
        settings: ClassifierSettings,
        seed: int,
    ) -> None:
        self.seeds, self.docs, self.truth, self.settings, self.seed = seeds, docs, truth, settings, seed
        self.positive = truth["in_domain"].to_numpy().astype(bool)
        self.figures: dict[str, float] = {}

    def train(self, asked: np.ndarray) -> classifier.DomainClassifier:
        """The classifier after the documents at the places `asked` were answered."""
        answers = pl.DataFrame(
            {
                "record_id": self.docs["record_id"].gather(asked),
                "decision": np.where(self.positive[asked], "accept", "reject").astype(object).tolist(),
            },
            schema={"record_id": pl.String, "decision": pl.String},
        )
        return classifier.train_classifier(self.seeds, self.docs, answers, self.settings, self.seed)

    def answer(
        self, model: classifier.DomainClassifier, reviews: int, rounds: int, *, at_random: bool = False
    ) -> list[tuple[int, float]]:
        """Average precision after each round, from (0, without reviews) on."""
        asked = np.zeros(0, dtype=np.int64)
        scores = model.scores_of(self.docs)
        curve = [(0, average_precision(self.positive, scores))]
        order = np.random.default_rng(self.seed).permutation(self.docs.height)
        for done in progress.track(range(rounds), "rounds of reviews"):
            upto = reviews * (done + 1) // rounds
            if at_random:
                asked = order[:upto]
            else:
                new, _ = choose_questions(
                    model.features(self.docs), scores, asked, upto - len(asked), self.seed
                )
                asked = np.concatenate([asked, new])
            model = self.train(asked)
            scores = model.scores_of(self.docs)
            curve.append((len(asked), average_precision(self.positive, scores)))
        if not at_random:
            found = ranking_figures(self.truth, scores)
            found |= {
                f"said.{name}": value
                for name, value in model.measures.items()
                if name.startswith(("precision", "recall"))
            }
            inside = np.interp(scores, model.scores, model.probabilities) >= self.settings.threshold
            hits = float((inside & self.positive).sum())
            found["true.precision"] = hits / max(int(inside.sum()), 1)
            found["true.recall"] = hits / max(int(self.positive.sum()), 1)
            self.figures = {f"reviewed.{name}": value for name, value in found.items()}
        return curve


def _curves_svg(curves: dict[str, list[tuple[int, float]]]) -> str:
    asked = sorted({count for curve in curves.values() for count, _ in curve})
    lines = {
        name: [dict(curve).get(count, float("nan")) for count in asked] for name, curve in curves.items()
    }
    return line_svg(
        asked,
        lines,
        title="What reviews are worth",
        x_label="documents reviewed",
        y_label="average precision",
    )


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
