"""Does an answer belong to its prompt? A model that learns it from the pool itself.

Belongs here: two small towers, lexical overlap, and the logistic model that joins them to a probability.
Does not belong here: the limit from which a sample is dropped (`scores.quality`), or the vectors (`lsa`).

True pairs are told from shuffled ones. Everything is cross-fitted: a sample is only ever scored by the
fold's model that did not learn from it, or else the towers would know the pairs by heart.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from curation import ngrams, progress
from curation.lsa import Lsa
from curation.settings import EncoderSettings
from curation.vectors import normalise, top_k

Floats = npt.NDArray[np.floating[Any]]
Rows = npt.NDArray[np.integer[Any]]

#: The vectors that the towers start from. Fewer buckets than for search: the artefact stays small.
ENCODER = EncoderSettings(dimension=256, buckets_log2=16, max_tokens=384, fit_rows=20_000)  # type: ignore[call-arg]
#: Names of the features of a pair, in the order of the weights.
FEATURES = (
    "tells", "tower_answer", "tower_prompt", "lsa_cosine", "tf_idf_dot", "log_tf_idf_dot", "answer_covered",
    "numbers", "numbers_known", "numbers_kept", "mutual_information",
)  # fmt: skip
_BANK = 1024
#: Distinct terms at which an answer counts half.
_TERMS = 20
_BATCH, _EPOCHS, _RATE, _DROPOUT = 512, 8, 4e-3, 0.1
_NEAR = 10
#: Log-odds beyond which a tower is not more sure.
_SURE = 8.0
_BLOCK = 4_096


@dataclass(frozen=True)
class Encoded:
    """Texts as the model sees them: unit LSA vectors [n, d], TF-IDF rows, and the numbers in them."""

    vectors: np.ndarray
    terms: Any
    numbers: pl.Series

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: Rows) -> Encoded:
        return Encoded(self.vectors[rows], self.terms[rows], self.numbers.gather(rows))


@dataclass(frozen=True)
class Towers:
    """Linear maps of prompts and answers into one space, and a bank of what they make of other samples.

    Attributes
    ----------
    prompt, answer
        float32 [d, d].
    scale
        Inverse temperature of the cosine.
    prompt_bank, answer_bank
        Mapped unit rows, float32 [b, d], of samples that it learned from.
    plain_bank
        Unmapped answer vectors of the same samples: how common an answer is.
    """

    prompt: np.ndarray
    answer: np.ndarray
    scale: float
    prompt_bank: np.ndarray
    answer_bank: np.ndarray
    plain_bank: np.ndarray


@dataclass(frozen=True)
class MatchModel:
    """The fold models: `towers[k]` and `weights[k]` never saw a sample of fold k.

    `weights` is float64 [folds, features] for the features divided by `spread` [features]. There is no
    intercept: a pair whose features are all nought, of which nothing can be told, gets 0.5. `auc` tells true from shuffled pairs, cross-fitted.
    """

    encoder: Lsa
    towers: tuple[Towers, ...]
    weights: np.ndarray
    spread: np.ndarray
    auc: float

    def encode(self, texts: pl.Series) -> Encoded:
        return encode(self.encoder, texts)

    def probability(
        self, prompts: Encoded, answers: Encoded, folds: Rows, information: np.ndarray | None = None
    ) -> np.ndarray:
        """Probability in 0–1 that each answer belongs to its prompt, float64 [n]; 0.5 where it cannot be told.

        `information` is what the language model gains from the prompt, nats a token (null or NaN counts
        as unknown).
        """
        features = pair_features(self.towers, prompts, answers, folds, information)
        return _sigmoid(_linear(features, self.weights[folds], self.spread))

    def save(self, folder: Path) -> None:
        """Write the encoder and `match.npz` into the folder."""
        self.encoder.save(folder)
        arrays = {
            f"{name}_{number}": getattr(tower, name)
            for number, tower in enumerate(self.towers)
            for name in ("prompt", "answer", "prompt_bank", "answer_bank", "plain_bank")
        }
        scales = np.array([tower.scale for tower in self.towers])
        np.savez(folder / "match.npz", weights=self.weights, spread=self.spread, scales=scales, **arrays)
        (folder / "match.json").write_text(json.dumps({"auc": self.auc}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> MatchModel:
        """Read what `save` wrote."""
        with np.load(folder / "match.npz", allow_pickle=False) as file:
            towers = tuple(
                Towers(file[f"prompt_{k}"], file[f"answer_{k}"], float(scale), file[f"prompt_bank_{k}"], file[f"answer_bank_{k}"], file[f"plain_bank_{k}"])
                for k, scale in enumerate(file["scales"])
            )  # fmt: skip
            weights, spread = file["weights"], file["spread"]
        auc = json.loads((folder / "match.json").read_text(encoding="utf-8"))["auc"]
        return cls(Lsa.load(folder), towers, weights, spread, auc)


# -- texts and pairs ----------------------------------------------------------------------------


def encode(encoder: Lsa, texts: pl.Series) -> Encoded:
    """Vectors, terms and numbers of texts."""
    from scipy import sparse

    idf = np.zeros(2**encoder.buckets_log2, dtype=np.float32)
    idf[encoder.buckets] = encoder.idf
    vectors, terms = [np.zeros((0, encoder.dimension), dtype=np.float32)], []
    for start in progress.track(range(0, texts.len(), _BLOCK), "texts for the match model"):
        counts = ngrams.hashed_counts(texts.slice(start, _BLOCK), encoder.buckets_log2, encoder.max_tokens)
        weighted = ngrams.tf_idf(counts, idf)[:, encoder.buckets]
        terms.append(weighted)
        vectors.append(normalise(weighted @ encoder.components))
    numbers = texts.fill_null("").str.extract_all(r"\d+(?:\.\d+)?").list.unique()
    stacked = (
        sparse.vstack(terms, format="csr")
        if terms
        else sparse.csr_matrix((0, len(encoder.buckets)), dtype=np.float32)
    )
    return Encoded(np.concatenate(vectors), stacked, numbers)


def pair_features(
    towers: Sequence[Towers],
    prompts: Encoded,
    answers: Encoded,
    folds: Rows,
    information: np.ndarray | None = None,
) -> np.ndarray:
    """Features of pairs, float64 [n, features], each by the towers of its fold.

    The features of words and vectors are weighed by how much the answer tells at all: one that half of
    the pool has (A, yes, positive), or one of a word or two, could belong to any prompt, so for it they
    fade to nought.
    """
    n = len(folds)
    features = np.zeros((n, len(FEATURES)))
    for fold, tower in enumerate(towers):
        rows = np.flatnonzero(folds == fold)
        for start in range(0, len(rows), _BLOCK):
            part = rows[start : start + _BLOCK]
            features[part, :3] = _tower_features(tower, prompts.vectors[part], answers.vectors[part])
    terms = np.diff(answers.terms.indptr).astype(np.float64)
    features[:, 0] *= terms**2 / (terms**2 + _TERMS**2)
    features[:, 3] = np.einsum("ij,ij->i", prompts.vectors, answers.vectors)
    features[:, 4] = np.asarray(prompts.terms.multiply(answers.terms).sum(axis=1)).ravel()
    features[:, 5] = np.log(features[:, 4] + 0.01) - np.log(0.01)
    features[:, 6] = _covered(prompts.terms, answers.terms)
    features[:, 1:7] *= features[:, :1]
    features[:, 7:10] = _number_features(prompts.numbers, answers.numbers)
    if information is not None:
        features[:, 10] = np.nan_to_num(np.clip(information, -2, 4), nan=0.0)
    return features


def _tower_features(tower: Towers, prompts: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """How much the answer tells, and the log-odds of the pair against the bank's answers and prompts."""
    left, right = normalise(prompts @ tower.prompt), normalise(answers @ tower.answer)
    own = tower.scale * np.einsum("ij,ij->i", left, right)
    among_answers = _log_mean_exp(tower.scale * (left @ tower.answer_bank.T))
    among_prompts = _log_mean_exp(tower.scale * (right @ tower.prompt_bank.T))
    alike = np.exp(20 * (np.clip(answers @ tower.plain_bank.T, -1, 1) - 1)).mean(axis=1)
    known = np.any(answers != 0, axis=1) & np.any(prompts != 0, axis=1)
    tells = np.clip(-np.log(alike + 1 / len(tower.plain_bank)) / np.log(max(2, len(tower.plain_bank))), 0, 1)
    odds = np.clip(np.stack([own - among_answers, own - among_prompts]), -_SURE, _SURE)
    return np.stack([tells * known, *odds], axis=1)


def _log_mean_exp(values: np.ndarray) -> np.ndarray:
    largest = values.max(axis=1)
    return np.log(np.exp(values - largest[:, None]).mean(axis=1)) + largest


def _covered(prompts: Any, answers: Any) -> np.ndarray:
    """Share of the answer's squared TF-IDF weight in terms that the prompt holds."""
    held = prompts.copy()
    held.data = np.ones_like(held.data)
    return np.asarray(answers.multiply(answers).multiply(held).sum(axis=1)).ravel()


def _number_features(prompts: pl.Series, answers: pl.Series) -> np.ndarray:
    """Whether both hold numbers, and then the shares of the answer's and of the prompt's that are shared."""
    frame = pl.DataFrame({"asked": prompts, "told": answers})
    asked, told = pl.col("asked").list.len(), pl.col("told").list.len()
    shared = pl.col("asked").list.set_intersection("told").list.len()
    both = (asked > 0) & (told > 0)
    return (
        frame.select(both.alias("both"), known=pl.when(both).then(shared / told).otherwise(0.0), kept=pl.when(both).then(shared / asked).otherwise(0.0))
        .cast(pl.Float64)
        .to_numpy()
    )  # fmt: skip


# -- learning -----------------------------------------------------------------------------------


def shuffled_partners(prompts: np.ndarray, answers: pl.Series, seed: int) -> np.ndarray:
    """For each row another one whose answer is not its own, int64 [n]; -1 where there is none.

    One half are drawn at random, the other among the `_NEAR` most similar prompts: telling those apart
    is what the model is needed for.
    """
    n = len(prompts)
    if n < 2:
        return np.full(n, -1, dtype=np.int64)
    generator = np.random.default_rng(seed)
    partners = (np.arange(n) + generator.integers(1, n, n)) % n
    _, near = top_k(prompts, prompts, min(_NEAR + 1, n))
    chosen = near[np.arange(n), generator.integers(0, near.shape[1], n)]
    partners = np.where((generator.random(n) < 0.5) & (chosen >= 0), chosen, partners)
    same = (answers.gather(partners) == answers).to_numpy()
    again = (np.arange(n) + generator.integers(1, n, n)) % n
    partners[same] = again[same]
    partners[(answers.gather(partners) == answers).to_numpy()] = -1
    return partners


def fit_towers(
    prompts: Encoded, answers: Encoded, folds: Rows, n_folds: int, seed: int
) -> tuple[Towers, ...]:
    """Towers of each fold, learned from the true pairs of the other folds."""
    import torch

    towers, threads = [], torch.get_num_threads()
    torch.set_num_threads(1)  # sums in the same order on every machine
    try:
        for fold in progress.track(range(n_folds), "match model"):
            rows = np.flatnonzero(folds != fold)
            rows = rows if len(rows) else np.arange(len(folds))
            towers.append(_fit_tower(prompts.vectors[rows], answers.vectors[rows], seed + fold))
    finally:
        torch.set_num_threads(threads)
    return tuple(towers)


def _fit_tower(prompts: np.ndarray, answers: np.ndarray, seed: int) -> Towers:
    """Symmetric InfoNCE with in-batch negatives (van den Oord et al. 2018), Adam with one cosine cycle.

    The maps start from the identity, that is from LSA similarity, so that few samples do no harm.
    """
    import torch
    from torch.nn import functional

    n, dimension = prompts.shape
    if not n:
        same, nothing = np.eye(dimension, dtype=np.float32), np.zeros((1, dimension), dtype=np.float32)
        return Towers(same, same, 1.0, nothing, nothing, nothing)
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.eye(dimension, requires_grad=True) for _ in range(2)]
    log_scale = torch.tensor(2.5, requires_grad=True)
    batch = min(_BATCH, n)
    steps = max(1, n // batch) * _EPOCHS
    optimiser = torch.optim.AdamW(
        [{"params": maps, "weight_decay": 1e-4}, {"params": [log_scale], "weight_decay": 0.0}], lr=_RATE
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps, pct_start=0.1)
    sides = [torch.from_numpy(np.ascontiguousarray(side)) for side in (prompts, answers)]
    for step in range(steps):
        if step % max(1, n // batch) == 0:
            order = torch.randperm(n, generator=generator)
            place = 0
        chosen = order[place : place + batch]
        place += batch
        mapped = []
        for side, turn in zip(sides, maps, strict=True):
            kept = torch.rand(len(chosen), dimension, generator=generator) >= _DROPOUT
            mapped.append(functional.normalize((side[chosen] * kept) @ turn, dim=1))
        logits = log_scale.exp() * mapped[0] @ mapped[1].T
        target = torch.arange(len(chosen))
        loss = functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    left, right = (turn.detach().numpy() for turn in maps)
    bank = np.sort(np.random.default_rng(seed).permutation(n)[:_BANK])
    return Towers(
        left,
        right,
        float(log_scale.detach().exp()),
        normalise(prompts[bank] @ left),
        normalise(answers[bank] @ right),
        answers[bank],
    )


def fit_match(
    encoder: Lsa,
    towers: tuple[Towers, ...],
    true: np.ndarray,
    true_folds: Rows,
    shuffled: np.ndarray,
    shuffled_folds: Rows,
) -> MatchModel:
    """The logistic models of the folds, from features of true and of shuffled pairs (`pair_features`)."""
    from sklearn.metrics import roc_auc_score

    features, folds = np.concatenate([true, shuffled]), np.concatenate([true_folds, shuffled_folds])
    label = np.concatenate([np.ones(len(true)), np.zeros(len(shuffled))])
    spread = np.maximum(features.std(axis=0), 1e-6) if len(features) else np.ones(len(FEATURES))
    weights = np.stack(
        [_fit_logistic(features / spread, label, folds != fold) for fold in range(len(towers))]
    )
    score = _linear(features, weights[folds], spread)
    auc = float(roc_auc_score(label, score)) if len(np.unique(label)) == 2 else 0.5
    return MatchModel(encoder, towers, weights, spread, auc)


def _fit_logistic(features: np.ndarray, label: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Weights [features]; both classes weigh the same. Nought where only one class is there."""
    from sklearn.linear_model import LogisticRegression

    rows = rows if len(np.unique(label[rows])) == 2 else np.ones(len(label), dtype=bool)
    if len(np.unique(label[rows])) < 2:
        return np.zeros(features.shape[1])
    model = LogisticRegression(C=1.0, class_weight="balanced", fit_intercept=False, max_iter=500)
    weights: np.ndarray = model.fit(features[rows], label[rows]).coef_[0]
    return weights


def _linear(features: np.ndarray, weights: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Log-odds [n] of rows [n, f] with weights [n, f] each."""
    logit: np.ndarray = np.einsum("ij,ij->i", features / spread, weights)
    return logit


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(logit, -30, 30)))
