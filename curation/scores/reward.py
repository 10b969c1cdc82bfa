"""Which of two answers would a person prefer? A linear reward model, learned from pairs or verdicts.

Belongs here: the Bradley–Terry model of pairs, the logistic model of single verdicts, their choice of
penalty by cross-validation. Does not belong here: the features (`scores.answers`), or a model that is
read with transformers (`scores.classifier`).

Bradley & Terry (1952), "Rank analysis of incomplete block designs": the better of two answers wins with
probability sigmoid(r(better) - r(worse)). The reward r is linear in features of prompt and answer, so
that this is a logistic regression on differences of features.

What is liked differs between languages, and what can be known of an answer depends on whether there are
others to its prompt. So every feature has one weight for all and one more for each such domain: what the
domains share is learned from all, the rest from their own (Daumé 2007, "Frustratingly easy domain
adaptation").
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from curation import progress
from curation.errors import UserError
from curation.lsa import Lsa
from curation.records import digest
from curation.scores import answers
from curation.scores.mismatch import encode
from curation.settings import EncoderSettings

#: The vectors of the model, fitted on the texts that it learns from.
ENCODER = EncoderSettings(dimension=64, buckets_log2=16, max_tokens=384, fit_rows=20_000)  # type: ignore[call-arg]
#: Penalties, and then how much the vectors count beside the named features: the best of each is taken.
_PENALTIES = (0.3, 0.1, 0.03, 0.01)
_VECTOR_SCALES = (0.3, 0.0, 0.1, 1.0)
_FOLDS = 3
#: Standard deviations beyond which a feature counts no more.
_CLIP = 4.0
_FEWEST = 10


@dataclass(frozen=True)
class RewardModel:
    """A reward that is linear in features of prompt and answer.

    Attributes
    ----------
    encoder
        Vectors of texts.
    mean, spread
        Of the features as they were learned from, float64 [f]; an unknown feature counts as its mean.
    weights
        Float64 [5, f]: for all, for prompts in Chinese and not, for prompts with other answers and without.
    intercept
        0 for a model of pairs.
    accuracy
        Cross-validated: of pairs the share that is told right, of verdicts the AUC.
    trained_on
        Pairs or verdicts learned from.
    """

    encoder: Lsa
    mean: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    intercept: float
    accuracy: float
    trained_on: int

    def reward(self, prompts: pl.Series, told: pl.Series) -> np.ndarray:
        """The reward of each answer, log-odds, float64 [n].

        Answers to one prompt are compared with each other (see `answers.features`): hand them over together.
        For a model of pairs only the difference of two answers to one prompt is a probability.
        """
        design, domains = _design(self.encoder, prompts, told)
        standard = _standard(design, self.mean, self.spread)
        reward: np.ndarray = np.einsum("ij,ij->i", standard, domains @ self.weights) + self.intercept
        return reward

    def rows(self) -> list[tuple[str, float]]:
        """The named features and their weights for all domains."""
        return list(zip(answers.FEATURES, self.weights[0, : len(answers.FEATURES)].tolist(), strict=True))

    def save(self, folder: Path) -> None:
        """Write the encoder, `reward.npz` and `reward.json` into the folder."""
        self.encoder.save(folder)
        np.savez(folder / "reward.npz", mean=self.mean, spread=self.spread, weights=self.weights)
        about = {name: getattr(self, name) for name in ("intercept", "accuracy", "trained_on")}
        (folder / "reward.json").write_text(json.dumps(about, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> RewardModel:
        """Read what `save` wrote."""
        about = json.loads((folder / "reward.json").read_text(encoding="utf-8"))
        with np.load(folder / "reward.npz", allow_pickle=False) as file:
            return cls(encoder=Lsa.load(folder), **{name: file[name] for name in file.files}, **about)


def _design(encoder: Lsa, prompts: pl.Series, told: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Features and domains of answers.

    Returns
    -------
    The named features, then the vectors of answer, of prompt times answer, and of prompt, float64 [n, f];
    1 for the domains that each belongs to, float64 [n, 5].
    """
    asked, answer = encode(encoder, prompts), encode(encoder, told)
    named = answers.features(prompts, told, asked, answer)
    chinese = prompts.str.contains(r"\p{Han}").to_numpy()
    compared = named["consensus"].is_finite().to_numpy()
    domains = np.stack([np.ones(len(chinese)), chinese, ~chinese, compared, ~compared], axis=1)
    vectors = (answer.vectors, asked.vectors * answer.vectors, asked.vectors)
    return np.hstack([named.to_numpy(), *vectors]), domains.astype(np.float64)


def _standard(design: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Standardised features, an unknown one 0, none beyond `_CLIP`."""
    standard: np.ndarray = np.clip(np.nan_to_num((design - mean) / spread, nan=0.0), -_CLIP, _CLIP)
    return standard


# -- learning -----------------------------------------------------------------------------------


@threadpool_limits.wrap(limits=1)
def fit_pairs(prompts: pl.Series, chosen: pl.Series, rejected: pl.Series, seed: int) -> RewardModel:
    """Learn from pairs of answers of which the first is better.

    Raises
    ------
    UserError
        There are fewer than ten pairs.
    """
    _check_rows(len(prompts), "pairs")
    both = pl.concat([prompts, prompts]), pl.concat([chosen.rename("told"), rejected.rename("told")])
    encoder = Lsa.fit(pl.concat([prompts.rename("told").unique(maintain_order=True), both[1]]), ENCODER, seed)
    design, domains = _design(encoder, *both)
    mean, spread = _moments(design)
    better, worse = np.split(_standard(design, mean, spread), 2)
    rows, ones = _Rows(better - worse, domains[: len(better)]), np.ones(len(better))
    return _fitted(encoder, mean, spread, rows, ones, ones, prompts)


@threadpool_limits.wrap(limits=1)
def fit_verdicts(
    prompts: pl.Series, told: pl.Series, good: np.ndarray, seed: int, weight: np.ndarray | None = None
) -> RewardModel:
    """Learn from verdicts on single samples; `good` is 1 or 0, `weight` what each counts (1 if not given).

    Raises
    ------
    UserError
        There are fewer than ten samples, or all verdicts are the same.
    """
    _check_rows(len(prompts), "verdicts")
    if len(np.unique(good)) < 2:
        raise UserError("all verdicts are the same", where="verdicts", allowed="good and bad ones")
    encoder = Lsa.fit(pl.concat([prompts.rename("told"), told.rename("told")]), ENCODER, seed)
    design, domains = _design(encoder, prompts, told)
    mean, spread = _moments(design)
    weight = np.ones(len(good)) if weight is None else weight
    rows = _Rows(_standard(design, mean, spread), domains)
    return _fitted(encoder, mean, spread, rows, good, weight, prompts, intercept=True)


def _check_rows(rows: int, what: str) -> None:
    if rows < _FEWEST:
        raise UserError(
            f"{rows} {what} are too few to learn from", where="reward model", allowed=f"{_FEWEST} or more"
        )


def _moments(design: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(design)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, design, 0).sum(axis=0) / count
    spread = np.sqrt(np.where(known, (design - mean) ** 2, 0).sum(axis=0) / count)
    return mean, np.where(spread > 1e-9, spread, 1.0)


@dataclass(frozen=True)
class _Rows:
    """Standardised features [n, f] and domains [n, d] of what is learned from."""

    features: np.ndarray
    domains: np.ndarray

    def adapted(self, vectors: float) -> np.ndarray:
        """The features for all and then for each domain, float64 [n, d * f]; vectors are scaled."""
        scaled = self.features * _column_scale(self.features.shape[1], vectors)
        return np.hstack([scaled * domain[:, None] for domain in self.domains.T])


def _fitted(
    encoder: Lsa,
    mean: np.ndarray,
    spread: np.ndarray,
    rows: _Rows,
    label: np.ndarray,
    weight: np.ndarray,
    prompts: pl.Series,
    *,
    intercept: bool = False,
) -> RewardModel:
    """Penalty and scale by cross-validation over prompts, then all rows; log-odds calibrated on the held-out ones."""
    from sklearn.metrics import roc_auc_score

    folds = prompt_folds(prompts, _FOLDS)

    def held_out(penalty: float, x: np.ndarray) -> np.ndarray:
        logit = np.zeros(len(x))
        for fold in np.unique(folds):
            seen, rest = folds != fold, folds == fold
            if seen.any():
                w = _logistic(x[seen], label[seen], weight[seen], penalty, intercept)
                logit[rest] = x[rest] @ w[:-1] + w[-1]
        return logit

    def loss(logit: np.ndarray) -> float:
        return float(weight @ np.logaddexp(0, -(2 * label - 1) * logit))

    tried = {}
    x = rows.adapted(_VECTOR_SCALES[0])
    for penalty in progress.track(_PENALTIES, "reward model: penalty"):
        tried[penalty, _VECTOR_SCALES[0]] = held_out(penalty, x)
    penalty = min(tried, key=lambda one: loss(tried[one]))[0]
    for scale in progress.track(_VECTOR_SCALES[1:], "reward model: vectors"):
        tried[penalty, scale] = held_out(penalty, rows.adapted(scale))
    penalty, scale = min(tried, key=lambda one: loss(tried[one]))
    logit = tried[penalty, scale]
    fitted = _logistic(rows.adapted(scale), label, weight, penalty, intercept)
    fitted *= calibration(logit, label, weight)
    weights = fitted[:-1].reshape(rows.domains.shape[1], -1) * _column_scale(len(mean), scale)
    accuracy = float(roc_auc_score(label, logit)) if intercept else float(np.mean(logit > 0))
    return RewardModel(encoder, mean, spread, weights, float(fitted[-1]), accuracy, len(label))


def prompt_folds(prompts: pl.Series, folds: int) -> np.ndarray:
    """Fold of each prompt, int64 [n]: a hash of its letters, so that the same question is in one fold."""
    flat = prompts.str.replace_all(r"[^\p{L}\p{N}]", "").str.to_lowercase()
    return np.array([int(digest(one)[:8], 16) % folds for one in flat], dtype=np.int64)


def _column_scale(columns: int, vectors: float) -> np.ndarray:
    named = len(answers.FEATURES)
    return np.repeat([1.0, vectors], [named, columns - named])


def _logistic(
    x: np.ndarray, label: np.ndarray, weight: np.ndarray, penalty: float, intercept: bool
) -> np.ndarray:
    """Minimises the mean logistic loss + penalty / 2 |w|²; weights and the intercept (0 if there is none)."""
    from scipy.optimize import minimize

    live = np.flatnonzero(x.any(axis=0))
    z = np.hstack([x[:, live], np.ones((len(x), int(intercept)))])
    share, sign = weight / weight.sum(), 2 * label - 1
    shrink = np.repeat([penalty, 0.0], [len(live), int(intercept)])

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (z @ w)
        slope = -share * sign / (1 + np.exp(np.clip(margin, -500, 500)))
        return float(share @ np.logaddexp(0, -margin) + 0.5 * (shrink * w) @ w), z.T @ slope + shrink * w

    found = minimize(loss, np.zeros(z.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    weights = np.zeros(x.shape[1] + 1)
    weights[live] = found[: len(live)]
    weights[-1] = found[-1] if intercept else 0.0
    return weights


def calibration(
    logit: np.ndarray, label: np.ndarray | None = None, weight: np.ndarray | None = None
) -> float:
    """By how much held-out log-odds are to be stretched to be calibrated (Platt 1999, without a shift).

    Without labels they are the margins of pairs, which should be above 0.
    """
    ones = np.ones(len(logit))
    label, weight = ones if label is None else label, ones if weight is None else weight
    return float(np.clip(_logistic(logit[:, None], label, weight, 1e-4, False)[0], 0.1, 10.0))
