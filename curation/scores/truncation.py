"""Was an answer cut off? A linear model that learns it from answers that were cut on purpose.

Belongs here: the model of endings. Does not belong here: the features of endings (`scores.rules`), or
the limit from which a sample is dropped (`scores.quality`).

Whether a missing full stop says anything depends on the pool: so the model is trained on its own
answers, whole and cut inside a sentence. Beside the features of `rules.endings` it knows the last
characters and words: some words end a text, others hardly ever do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curation import progress
from curation.scores import rules
from curation.scores.made_up import cut_off

_BUCKETS = 2**14
_BLOCK = 20_000
#: Characters at the end that are cut into words.
_TAIL = 16


@dataclass(frozen=True)
class TruncationModel:
    """The fold models: row k of `weights` [folds, features + 1] never saw an answer of fold k.

    The last column is the intercept. `auc` tells cut from whole answers, cross-fitted; `trained_on`
    answers were learned from, each whole and cut.
    """

    weights: np.ndarray
    auc: float
    trained_on: int

    def probability(self, answers: pl.Series, folds: np.ndarray) -> np.ndarray:
        """Probability in 0–1 that each answer is cut off, at even odds, float64 [n]; 0 for an empty one."""
        logit = np.zeros(len(folds))
        for start in range(0, len(folds), _BLOCK):
            rows = slice(start, start + _BLOCK)
            features = _features(answers.slice(start, _BLOCK))
            for fold in range(len(self.weights)):
                mine = folds[rows] == fold
                logit[rows][mine] = features[mine] @ self.weights[fold, :-1] + self.weights[fold, -1]
        empty = (answers.fill_null("").str.strip_chars() == "").to_numpy()
        return np.where(empty, 0.0, 1 / (1 + np.exp(-np.clip(logit, -30, 30))))

    def save(self, folder: Path) -> None:
        """Write `truncation.npz` into the folder."""
        about = np.array([self.auc, self.trained_on], dtype=np.float64)
        np.savez(folder / "truncation.npz", weights=self.weights, about=about)

    @classmethod
    def load(cls, folder: Path) -> TruncationModel:
        """Read what `save` wrote."""
        with np.load(folder / "truncation.npz", allow_pickle=False) as file:
            return cls(file["weights"], float(file["about"][0]), int(file["about"][1]))


def fit_truncation(answers: pl.Series, folds: np.ndarray, n_folds: int, seed: int) -> TruncationModel:
    """Learn from answers that are believed whole.

    Parameters
    ----------
    answers
        Strings; those that are too short to be cut are learned from as whole ones only.
    folds
        Fold of each, int [n].
    """
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(seed)
    cut = [cut_off(answer, generator) for answer in answers]
    could = np.array([answer is not None for answer in cut], dtype=bool)
    shorter = pl.Series([answer for answer in cut if answer is not None], dtype=pl.String)
    features = sparse.vstack([_features(answers), _features(shorter)], format="csr")
    label = np.concatenate([np.zeros(len(folds)), np.ones(len(shorter))])
    both = np.concatenate([folds, folds[could]])
    weights = np.zeros((n_folds, features.shape[1] + 1))
    for fold in progress.track(range(n_folds), "truncation model"):
        rows = np.flatnonzero(both != fold)
        if len(np.unique(label[rows])) == 2:
            fitted = LogisticRegression(
                C=0.3, class_weight="balanced", solver="liblinear", random_state=seed
            ).fit(features[rows], label[rows])
            weights[fold] = np.append(fitted.coef_[0], fitted.intercept_[0])
    score = np.zeros(len(label))
    for fold in range(n_folds):
        score[both == fold] = features[both == fold] @ weights[fold, :-1] + weights[fold, -1]
    auc = float(roc_auc_score(label, score)) if len(np.unique(label)) == 2 else 0.5
    return TruncationModel(weights, auc, len(shorter))


def feature_names() -> list[str]:
    """Names of the first features; the rest are hashed characters and words."""
    return rules.endings(pl.Series([""])).columns


def _features(answers: pl.Series) -> Any:
    """Sparse float64 [n, named features + buckets]."""
    from scipy import sparse
    from sklearn.feature_extraction import FeatureHasher

    named = sparse.csr_matrix(rules.endings(answers).to_numpy())
    tails = answers.fill_null("").str.strip_chars_end().str.tail(_TAIL)
    if not len(tails):
        return sparse.csr_matrix((0, named.shape[1] + _BUCKETS))
    hasher = FeatureHasher(_BUCKETS, input_type="string", alternate_sign=False)
    return sparse.hstack([named, hasher.transform(_tail_terms(tails))], format="csr")


def _tail_terms(tails: pl.Series) -> list[list[str]]:
    """What the end of each text is made of: its last characters, words, and the kinds of characters."""
    import rjieba

    shapes = (
        tails.str.replace_all(r"\p{Han}", "汉")
        .str.replace_all(r"[A-Z]", "X")
        .str.replace_all(r"[a-zÀ-ɏ]", "x")
        .str.replace_all(r"\d", "0")
    )
    terms = []
    for tail, shape in zip(tails, shapes, strict=True):
        words = rjieba.cut(tail)
        last = ["/".join(words[-size:]) for size in (1, 2) if len(words) >= size]
        terms.append(
            [f"{size}:{tail[-size:]}" for size in (1, 2, 3)]
            + [f"w:{word}" for word in last]
            + [f"s{size}:{shape[-size:]}" for size in (2, 4)]
        )
    return terms
