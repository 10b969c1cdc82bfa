"""The domain classifier: learned in rounds from seeds and unlabelled documents.

Belongs here: positive-unlabelled learning on vectors, its probabilities, and its measured accuracy.
Does not belong here: which documents are recalled in the end (`domain.recall`).

After DeepSeekMath (Shao et al. 2024), which trains a classifier on seeds against random pages, collects
what it finds, and repeats. What it finds is not taken for certain here: each round gives every
unlabelled document a probability, and the next round learns from these (expectation maximisation, Ward
et al. 2009). The share of the domain in the corpus is estimated anew in each round from the scores
(Elkan and Noto 2008), so that nothing rests on a count that would fit one domain and fail the next.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from blake3 import blake3

from curation import progress, vectors
from curation.settings import ClassifierSettings
from curation.verdicts import judge

#: Folds of the cross-fitting: no document is scored by a model that learned from it.
FOLDS = 2
_L2, _ITERATIONS = 1e-3, 60
_GRID, _SMOOTH = 200, 4.0
#: Probability below which an unlabelled document counts as outside the domain in the next round.
_NEGLIGIBLE = 0.05
#: Weight of all seeds together, as a share of the documents that were collected.
_SEED_SHARE = 0.25
_REVIEW_WEIGHT = 5.0


@dataclass(frozen=True)
class DomainClassifier:
    """A logistic model on standardised vectors, with the map from its scores to probabilities.

    Attributes
    ----------
    mean, spread
        Of the unlabelled vectors, float64 [d].
    weights
        Float64 [folds, d + 1]; the last column is the intercept.
    scores, probabilities
        Points of the calibration, ascending.
    measures
        Prior, rounds, and accuracy on held-out reviewed documents where there are any.
    """

    mean: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    measures: dict[str, float]
    table: pl.DataFrame = field(default_factory=pl.DataFrame)

    def scores_of(self, docs: pl.DataFrame) -> np.ndarray:
        """Score of each document (a logit, not calibrated), by the model that did not learn from it."""
        features = _standardise(vectors.matrix(docs["vector"]).astype(np.float64), self.mean, self.spread)
        return _score(features, self.weights, _folds(docs["record_id"]))

    def predict(self, docs: pl.DataFrame) -> pl.DataFrame:
        """Probability of each document, by the model that did not learn from it: record_id, probability.

        `docs` has record_id and vector.
        """
        probability = np.interp(self.scores_of(docs), self.scores, self.probabilities)
        return docs.select("record_id").with_columns(probability=pl.Series(probability, dtype=pl.Float64))

    def save(self, folder: Path) -> None:
        """Write `classifier.npz` and `classifier.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            name: getattr(self, name) for name in ("mean", "spread", "weights", "scores", "probabilities")
        }
        np.savez(folder / "classifier.npz", **arrays)
        (folder / "classifier.json").write_text(json.dumps(self.measures, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> DomainClassifier:
        """Read what `save` wrote; the rows that it learned from are in the table `domain_classifier`."""
        measures = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
        with np.load(folder / "classifier.npz", allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in arrays.files}, measures=measures)

    def rows(self) -> pl.DataFrame:
        """Rows of the table `domain_classifier` but for run_id."""
        return self.table


def train_classifier(
    seeds: pl.DataFrame, docs: pl.DataFrame, reviewed: pl.DataFrame, settings: ClassifierSettings, seed: int
) -> DomainClassifier:
    """Learn the domain from seeds, unlabelled documents and reviews.

    Parameters
    ----------
    seeds, docs
        record_id and vector (unit, float32). Of the documents a seeded sample is taken as unlabelled.
    reviewed
        record_id and decision (accept, reject) of documents that a person has judged; a share of them is
        held out to measure on.
    settings
        Rounds, samples and shares.
    """
    labels = reviewed.filter(pl.col("decision").is_in(["accept", "reject"])).select("record_id", "decision")
    known = docs.join(labels, on="record_id").sort("record_id")
    unlabelled = _sample(docs.join(labels, on="record_id", how="anti"), settings.unlabelled_sample, seed)
    frame = pl.concat(
        [
            seeds.select("record_id", "vector", role=pl.lit("seed")),
            known.select(
                "record_id",
                "vector",
                role=pl.col("decision").replace({"accept": "accepted", "reject": "rejected"}),
            ),
            unlabelled.select("record_id", "vector", role=pl.lit("unlabelled")),
        ]
    )
    raw = vectors.matrix(frame["vector"]).astype(np.float64)
    role = frame["role"].to_numpy()
    free = role == "unlabelled"
    mean, spread = raw[free].mean(axis=0), raw[free].std(axis=0)
    features, folds = _standardise(raw, mean, spread), _folds(frame["record_id"])
    heldout = np.isin(role, ["accepted", "rejected"]) & (
        _hash_share(frame["record_id"], "heldout") < settings.heldout_share
    )

    target = np.where(np.isin(role, ["seed", "accepted"]), 1.0, 0.0)
    weight = np.where(np.isin(role, ["accepted", "rejected"]), _REVIEW_WEIGHT, 1.0) * ~heldout
    positive = target > 0
    similarity = _seed_similarity(raw, np.flatnonzero(positive & (weight > 0)))
    grid, curve, prior = _posterior(similarity[free], similarity, np.where(positive, weight, 0.0))
    if positive.sum() < features.shape[1]:
        # too few positives to fix a linear model: the first round learns from similarity as well
        found = np.interp(similarity[free], grid, curve)
        target[free] = np.where(found < _NEGLIGIBLE, 0.0, found)
    weights = np.zeros((FOLDS, features.shape[1] + 1))
    collected, rounds, scores = np.zeros(0, dtype=int), 0, similarity
    for _ in progress.track(range(settings.rounds), "rounds of the domain classifier"):
        rounds += 1
        weights = np.stack(
            [_fit(features, target, weight * (folds != fold), weights[fold]) for fold in range(FOLDS)]
        )
        scores = _score(features, weights, folds)
        sure = np.where(free, target, target * weight)
        grid, curve, prior = _posterior(scores[free], scores, sure)
        found = np.interp(scores[free], grid, curve)
        target[free] = np.where(found < _NEGLIGIBLE, 0.0, found)
        weight[role == "seed"] = max(1.0, _SEED_SHARE * target[free].sum() / max((role == "seed").sum(), 1))
        before, collected = collected, np.flatnonzero(found >= settings.threshold)
        if len(collected) and np.isin(collected, before).mean() >= settings.stop_share:
            break
    probability = np.interp(scores, grid, curve)
    measures = {"rounds": float(rounds), "estimated_share": float(prior), "collected": float(len(collected))}
    measures |= _accuracy(target[heldout], probability[heldout] >= settings.threshold)
    table = frame.select("record_id", "role").with_columns(
        split=pl.Series(np.where(heldout, "heldout", "train")),
        label=pl.Series(target.clip(0, 1)),
        probability=pl.Series(probability.clip(0, 1)),
    )
    learned = judge(table, [], role=pl.col("role"), weight=pl.Series(weight), label=pl.col("label"))
    return DomainClassifier(mean, spread, weights, grid, curve, measures, learned)


def _seed_similarity(points: np.ndarray, positives: np.ndarray, nearest: int = 10) -> np.ndarray:
    """Mean cosine similarity of each row to the positive rows nearest to it, itself left out; float64 [n].

    A mean over several seeds, since one odd seed may be near to any short text.
    """
    similarity = (points @ points[positives].T).astype(np.float64)
    similarity[positives, np.arange(len(positives))] = -np.inf
    k = min(nearest, max(len(positives) - 1, 1))
    best = -np.partition(-similarity, k - 1, axis=1)[:, :k]
    return np.asarray(np.where(np.isfinite(best), best, 0.0).mean(axis=1))


def _sample(docs: pl.DataFrame, size: int, seed: int) -> pl.DataFrame:
    """A seeded sample that does not depend on the order of the rows."""
    docs = docs.sort("record_id")
    if docs.height <= size:
        return docs
    rows = np.random.default_rng(seed).choice(docs.height, size, replace=False)
    return docs[np.sort(rows)]


def _hash_share(ids: pl.Series, salt: str) -> np.ndarray:
    """A number in [0, 1) for each id, always the same."""
    hashes = [int.from_bytes(blake3(f"{salt}/{one}".encode()).digest(length=4), "big") for one in ids]
    return np.array(hashes, dtype=np.float64) / 2**32


def _folds(ids: pl.Series) -> np.ndarray:
    return (_hash_share(ids, "fold") * FOLDS).astype(np.int64)


def _standardise(raw: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Vectors with each dimension at mean 0 and spread 1, then of unit length: rare subjects count."""
    scaled = (raw - mean) / np.where(spread > 0, spread, 1.0)
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    return scaled / np.where(lengths > 0, lengths, 1.0)


def _fit(features: np.ndarray, target: np.ndarray, weight: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Logistic regression on soft labels, both classes of equal weight; float64 [d + 1]."""
    from scipy.optimize import minimize
    from scipy.special import expit

    used = weight > 0
    x, y, w = features[used], target[used], weight[used]
    balance = (w * (1 - y)).sum() / max((w * y).sum(), 1e-9)
    mass = w * (y * balance + 1 - y)
    label = y * balance / np.maximum(y * balance + 1 - y, 1e-12)
    mass = mass / mass.sum()

    def loss(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        z = x @ coefficients[:-1] + coefficients[-1]
        residual = mass * (expit(z) - label)
        value = float(
            (mass * (np.logaddexp(0, z) - label * z)).sum()
            + 0.5 * _L2 * coefficients[:-1] @ coefficients[:-1]
        )
        return value, np.append(x.T @ residual + _L2 * coefficients[:-1], residual.sum())

    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS}).x)


def _score(features: np.ndarray, weights: np.ndarray, folds: np.ndarray) -> np.ndarray:
    scores = np.zeros(len(features))
    for fold in range(FOLDS):
        rows = folds == fold
        scores[rows] = features[rows] @ weights[fold, :-1] + weights[fold, -1]
    return scores


def _posterior(
    unlabelled: np.ndarray, labelled: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Probability of the domain as a function of the score, and the domain's share of the unlabelled.

    With densities f_u of the unlabelled and f_p of the positives, the share is the ratio f_u / f_p where
    positives prevail (above their mean score), and p = share * f_p / f_u, made monotone.
    """
    from scipy.ndimage import gaussian_filter1d

    low, high = min(unlabelled.min(), labelled.min()), max(unlabelled.max(), labelled.max())
    edges = np.linspace(low - 0.01, high + 0.01, _GRID + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    f_u = gaussian_filter1d(
        np.histogram(unlabelled, edges)[0] / max(len(unlabelled), 1), _SMOOTH, mode="nearest"
    )
    counts = np.histogram(labelled, edges, weights=weight)[0]
    f_p = gaussian_filter1d(counts / max(counts.sum(), 1e-12), _SMOOTH, mode="nearest")
    top = middle >= np.average(labelled, weights=weight)
    share = min(1.0, float(f_u[top].sum() / max(f_p[top].sum(), 1e-12)))
    ratio = np.clip(share * f_p / np.maximum(f_u, 1e-12), 0.0, 1.0)
    return middle, np.maximum.accumulate(ratio), share


def _accuracy(truth: np.ndarray, said: np.ndarray) -> dict[str, float]:
    """Precision and recall on held-out reviewed documents, with 95 % Wilson intervals."""
    figures: dict[str, float] = {"heldout": float(len(truth))}
    for name, hits, cases in (
        ("precision", truth[said], said.sum()),
        ("recall", said[truth == 1], (truth == 1).sum()),
    ):
        if cases:
            low, high = _wilson(float(hits.sum()), float(cases))
            figures |= {name: float(hits.sum() / cases), f"{name}_low": low, f"{name}_high": high}
    return figures


def _wilson(hits: float, cases: float, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a proportion."""
    share = hits / cases
    middle = (share + z * z / (2 * cases)) / (1 + z * z / cases)
    half = z / (1 + z * z / cases) * math.sqrt(share * (1 - share) / cases + z * z / (4 * cases * cases))
    return max(0.0, middle - half), min(1.0, middle + half)
