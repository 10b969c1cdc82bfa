"""The domain classifier: learned in rounds from seeds, unlabelled documents and reviews.

Belongs here: positive-unlabelled learning on vectors, and its probabilities. Does not belong here: what
a review changes around itself (`correction`), how far the probabilities can be trusted (`accuracy`), or
which documents are recalled in the end (`domain.recall`).

After DeepSeekMath (Shao et al. 2024), which trains a classifier on seeds against random pages, collects
what it finds, and repeats. What it finds is not taken for certain here: each round gives every
unlabelled document a probability, and the next round learns from these (expectation maximisation, Ward
et al. 2009). The share of the domain in the corpus is estimated anew in each round from the scores
(Elkan and Noto 2008), so that nothing rests on a count that would fit one domain and fail the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from blake3 import blake3

from curation import progress, vectors
from curation.domain.accuracy import calibrate, measure_accuracy
from curation.domain.correction import FOLDS as REVIEW_FOLDS
from curation.domain.correction import Correction, learn_correction, no_correction
from curation.settings import ClassifierSettings
from curation.verdicts import judge

_ITERATIONS = 60
_GRID, _SMOOTH = 200, 4.0
#: Probability below which an unlabelled document counts as outside the domain in the next round.
_NEGLIGIBLE = 0.05
#: Weight of all seeds together, as a share of the documents that were collected.
_SEED_SHARE = 0.25
#: 0 leaves the spreads of the dimensions as they are, 1 makes them equal.
_EVENNESS = 0.7
#: Decisions that are learned from, at most.
_MOST_REVIEWS = 2_000


@dataclass(frozen=True)
class DomainClassifier:
    """A logistic model on standardised vectors, its correction by reviews, and the map from scores to
    probabilities.

    Attributes
    ----------
    mean, spread
        Of the unlabelled vectors, float64 [d].
    weights
        Float64 [folds, d + 1]; the last column is the intercept.
    correction, reviewed
        What the reviews change, and the ids of the reviewed documents, in the order of its anchors.
    scores, probabilities
        Points of the calibration, ascending.
    measures
        Prior, rounds, and accuracy where documents were reviewed.
    """

    mean: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    correction: Correction
    reviewed: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    measures: dict[str, float]
    table: pl.DataFrame = field(default_factory=pl.DataFrame)

    def features(self, docs: pl.DataFrame) -> np.ndarray:
        """What the model sees of each document, unit rows, float64 [n, d]. `docs` has vector."""
        return _standardise(vectors.matrix(docs["vector"]).astype(np.float64), self.mean, self.spread)

    def scores_of(self, docs: pl.DataFrame) -> np.ndarray:
        """Score of each document (a logit, not calibrated), by a model that did not learn from it.

        `docs` has record_id and vector.
        """
        found = [np.zeros(0)]
        for part in docs.iter_slices(_BLOCK):
            features = self.features(part)
            scores = _score(features, self.weights, _folds(part["record_id"], len(self.weights)))
            found.append(scores + self.correction.of(features, _left_out(part["record_id"], self.reviewed)))
        return np.concatenate(found)

    def predict(self, docs: pl.DataFrame) -> pl.DataFrame:
        """Probability of each document, by a model that did not learn from it: record_id, probability.

        `docs` has record_id and vector.
        """
        probability = np.interp(self.scores_of(docs), self.scores, self.probabilities)
        return docs.select("record_id").with_columns(probability=pl.Series(probability, dtype=pl.Float64))

    def save(self, folder: Path) -> None:
        """Write `classifier.npz` and `classifier.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            folder / "classifier.npz",
            **{name: getattr(self, name) for name in _ARRAYS},
            anchors=self.correction.anchors,
            pull=self.correction.pull,
            length=np.float64(self.correction.length),
        )
        (folder / "classifier.json").write_text(json.dumps(self.measures, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> DomainClassifier:
        """Read what `save` wrote; the rows that it learned from are in the table `domain_classifier`."""
        measures = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
        with np.load(folder / "classifier.npz", allow_pickle=False) as arrays:
            correction = Correction(arrays["anchors"], arrays["pull"], float(arrays["length"]))
            return cls(**{name: arrays[name] for name in _ARRAYS}, correction=correction, measures=measures)

    def rows(self) -> pl.DataFrame:
        """Rows of the table `domain_classifier` but for run_id."""
        return self.table


_ARRAYS = ("mean", "spread", "weights", "reviewed", "scores", "probabilities")
_BLOCK = 1 << 16


def train_classifier(
    seeds: pl.DataFrame, docs: pl.DataFrame, reviewed: pl.DataFrame, settings: ClassifierSettings, seed: int
) -> DomainClassifier:
    """Learn the domain from seeds, unlabelled documents and reviews.

    Parameters
    ----------
    seeds, docs
        record_id and vector (unit, float32). Of the documents a seeded sample is taken as unlabelled.
    reviewed
        record_id and decision (accept, reject) of documents that a person has judged. Each of them is
        scored by a model that did not learn from it, so that they measure the model as well.
    settings
        Rounds, samples and shares.
    """
    labels = reviewed.filter(pl.col("decision").is_in(["accept", "reject"])).select("record_id", "decision")
    known = _sample(docs.join(labels, on="record_id"), _MOST_REVIEWS, seed)
    others = docs.join(labels, on="record_id", how="anti")
    unlabelled = _sample(others, settings.unlabelled_sample, seed)
    roles = pl.col("decision").replace_strict(
        {"accept": "accepted", "reject": "rejected"}, return_dtype=pl.String
    )
    frame = pl.concat(
        [
            seeds.select("record_id", "vector", role=pl.lit("seed")),
            known.select("record_id", "vector", role=roles),
            unlabelled.select("record_id", "vector", role=pl.lit("unlabelled")),
        ]
    )
    raw = vectors.matrix(frame["vector"]).astype(np.float64)
    role = frame["role"].to_numpy()
    free, judged = role == "unlabelled", np.isin(role, ["accepted", "rejected"])
    mean, spread = raw[free].mean(axis=0), raw[free].std(axis=0)
    features, folds = _standardise(raw, mean, spread), _folds(frame["record_id"], settings.folds)
    review_folds = _folds(known["record_id"], REVIEW_FOLDS)
    left_out = _left_out(frame["record_id"], known["record_id"].to_numpy())

    target = np.where(np.isin(role, ["seed", "accepted"]), 1.0, 0.0)
    weight = np.ones(len(role))
    positive = target > 0
    similarity = _seed_similarity(raw, np.flatnonzero(positive))
    grid, curve, prior = _posterior(similarity[free], similarity, positive * weight)
    if positive.sum() < features.shape[1]:
        # too few positives to fix a linear model: the first round learns from similarity as well
        found = np.interp(similarity[free], grid, curve)
        target[free] = np.where(found < _NEGLIGIBLE, 0.0, found)
    weights = np.zeros((settings.folds, features.shape[1] + 1))
    correction = no_correction(features.shape[1])
    collected, rounds, scores = np.zeros(0, dtype=int), 0, similarity
    for _ in progress.track(range(settings.rounds), "rounds of the domain classifier"):
        rounds += 1
        weights = np.stack(
            [
                _fit(features, target, weight * (folds != fold), weights[fold], settings.regularisation)
                for fold in range(settings.folds)
            ]
        )
        plain = _score(features, weights, folds)
        correction = learn_correction(features[judged], plain[judged], target[judged], review_folds)
        scores = plain + correction.of(features, left_out)
        grid, curve, prior = _posterior(scores[free], scores, np.where(free, target, target * weight))
        found = np.interp(scores[free], grid, curve)
        target[free] = np.where(found < _NEGLIGIBLE, 0.0, found)
        weight[role == "seed"] = max(1.0, _SEED_SHARE * target[free].sum() / max((role == "seed").sum(), 1))
        before, collected = collected, np.flatnonzero(found >= settings.threshold)
        if len(collected) and np.isin(collected, before).mean() >= settings.stop_share:
            break
    believed = np.interp(scores, grid, curve)
    calibration = calibrate(believed[judged], target[judged])
    probability = calibration.recalibrate(believed)
    measures = {"rounds": float(rounds), "estimated_share": float(prior), "collected": float(len(collected))}
    if judged.any():
        measures |= measure_accuracy(
            calibration,
            believed[role != "seed"],
            np.where(judged, target, np.nan)[role != "seed"],
            np.where(free, others.height / max(unlabelled.height, 1), 1.0)[role != "seed"],
            (probability >= settings.threshold)[role != "seed"],
        )
    table = frame.select("record_id", "role").with_columns(
        fold=pl.Series(folds, dtype=pl.UInt8),
        label=pl.Series(target.clip(0, 1)),
        probability=pl.Series(probability.clip(0, 1)),
    )
    learned = judge(table, [], role=pl.col("role"), weight=pl.Series(weight), label=pl.col("label"))
    return DomainClassifier(
        mean,
        spread,
        weights,
        correction,
        known["record_id"].to_numpy().astype("U32"),
        grid,
        calibration.recalibrate(curve),
        measures,
        learned,
    )


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


def _folds(ids: pl.Series, folds: int) -> np.ndarray:
    """Fold of each id, int64 [n]; always the same."""
    return (_hash_share(ids, "fold") * folds).astype(np.int64)


def _left_out(ids: pl.Series, reviewed: Iterable[str]) -> np.ndarray:
    """For reviewed documents their fold, else `REVIEW_FOLDS`; int64 [n]."""
    found = np.full(len(ids), REVIEW_FOLDS, dtype=np.int64)
    rows = ids.is_in(list(reviewed)).arg_true().to_numpy()
    found[rows] = _folds(ids.gather(rows), REVIEW_FOLDS)
    return found


def _standardise(raw: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Vectors with the spreads of their dimensions brought near to each other, then of unit length.

    Not to the same: rare subjects are to count, but not the noise of the last dimensions.
    """
    scaled = (raw - mean) / np.where(spread > 0, spread, 1.0) ** _EVENNESS
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    return scaled / np.where(lengths > 0, lengths, 1.0)


def _fit(
    features: np.ndarray, target: np.ndarray, weight: np.ndarray, start: np.ndarray, l2: float
) -> np.ndarray:
    """Logistic regression on soft labels, both classes of equal weight; float64 [d + 1]."""
    from scipy.optimize import minimize
    from scipy.special import expit

    used = weight > 0
    x, y, w = features[used], target[used], weight[used]
    balance = (w * (1 - y)).sum() / max((w * y).sum(), 1e-9)
    mass = w * (y * balance + 1 - y)
    label = y * balance / np.maximum(y * balance + 1 - y, 1e-12)
    mass = mass / max(mass.sum(), 1e-12)

    def loss(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        z = x @ coefficients[:-1] + coefficients[-1]
        residual = mass * (expit(z) - label)
        value = float(
            (mass * (np.logaddexp(0, z) - label * z)).sum() + 0.5 * l2 * coefficients[:-1] @ coefficients[:-1]
        )
        return value, np.append(x.T @ residual + l2 * coefficients[:-1], residual.sum())

    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS}).x)


def _score(features: np.ndarray, weights: np.ndarray, folds: np.ndarray) -> np.ndarray:
    scores = np.zeros(len(features))
    for fold in range(len(weights)):
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
