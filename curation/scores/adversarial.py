"""Which samples could pass for trusted ones? A discriminator that is taught in rounds.

Belongs here: the discriminator, its rounds, and the probability of being of the trusted kind. Does not belong
here: who is trusted (the profile and its reviews), the features (`scores.answers`, `scores.mismatch`), or the
limit from which a sample is dropped (`scores.quality`).

Some samples are trusted, of the rest nothing is known: learning from positive and unlabelled samples. The
rounds are the two steps of Liu et al. 2002, "Partially supervised classification of text documents": first
the rest is taken for negative, and the held-out scores of the trusted samples, which stand among it as spies,
say where the reliable negatives end; then the discriminator learns from these alone. As in DSGAN (Qin et al.
2018), where a generator brings the samples that a discriminator cannot tell from true ones, the rest that
scores as a trusted sample does joins their side, and the next discriminator has to tell the others from it
too. A sample is scored only by a model that did not learn from it, as in adversarial filtering (Zellers et
al. 2018, "SWAG"; Le Bras et al. 2020, "Adversarial filters of dataset biases"); there is no network and no
game of gradients here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from curation import progress
from curation.errors import UserError
from curation.lsa import Lsa
from curation.records import digest
from curation.scores import answers
from curation.scores.limits import Indicator, fit_indicator
from curation.scores.mismatch import encode
from curation.scores.quality import folds_of
from curation.settings import ScoreSettings

#: Trusted samples, and others, that are needed to tell one from the other.
_FEWEST = 50
#: Dimensions of the vectors that are read, the first: the later ones tell single topics apart.
_DIMENSIONS = 64
#: Quantiles of the trusted samples' own scores: below the first is a reliable negative, above the other joins.
_RELIABLE, _JOINS = 0.05, 0.5
#: Parts of the cross-fitting inside a round, and reliable negatives below which there is nothing more to learn.
_PARTS, _FEW_NEGATIVES = 3, 10
#: What a sample that joined weighs beside a trusted one, at most; all of them never weigh more than all of these.
_JOINED = 0.5
_PENALTY = 100.0
#: Standard deviations beyond which a feature counts no more.
_CLIP = 4.0
_ARRAYS = ("mean", "spread", "weights")


@dataclass(frozen=True)
class TrustModel:
    """The discriminators and what their scores mean.

    Attributes
    ----------
    mean, spread
        Of the features, float64 [f].
    weights
        Float64 [folds, f + 1]: row k never saw a sample of fold k; the last column is the intercept.
    kind
        Probability of being of the trusted kind by the score; its `share` is that of the rest which is.
    sources, accepted, rejected
        What is trusted: samples of these sources and accepted ones (record_ids), but no rejected ones.
    auc
        Trusted samples against the rest, cross-fitted.
    trusted, joined, rounds
        Samples that were trusted, those of the rest that joined them (mean of the folds), and the rounds
        that it took (the most of a fold).
    """

    mean: np.ndarray
    spread: np.ndarray
    weights: np.ndarray
    kind: Indicator
    sources: tuple[str, ...]
    accepted: tuple[str, ...]
    rejected: tuple[str, ...]
    auc: float
    trusted: int
    joined: int
    rounds: int

    @threadpool_limits.wrap(limits=1)
    def trust(self, samples: pl.DataFrame, encoder: Lsa) -> pl.Series:
        """Probability that each sample (record_id, source, prompt, answer) is of the trusted kind, Float64 in 0–1.

        It is 1 for what is trusted. `encoder` is the one that the model was fitted with.
        """
        standard = _standard(_features(encoder, samples), self.mean, self.spread)
        chosen = self.weights[folds_of(samples["record_id"], len(self.weights))]
        score = np.einsum("ij,ij->i", standard, chosen[:, :-1]) + chosen[:, -1]
        by_source = pl.col("source").is_in(self.sources) & ~pl.col("record_id").is_in(self.rejected)
        given = samples.select(by_source | pl.col("record_id").is_in(self.accepted)).to_series()
        found = np.where(given.fill_null(False), 1.0, self.kind.probability(score))
        return pl.Series("trust", found.round(9), dtype=pl.Float64)  # the last bits of a sum may vary

    def save(self, folder: Path) -> None:
        """Write `trust.npz` and `trust.json` into the folder."""
        np.savez(folder / "trust.npz", **{name: getattr(self, name) for name in _ARRAYS})
        about = {name: value for name, value in asdict(self).items() if name not in _ARRAYS}
        (folder / "trust.json").write_text(json.dumps(about, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> TrustModel:
        """Read what `save` wrote."""
        about = json.loads((folder / "trust.json").read_text(encoding="utf-8"))
        kind = about.pop("kind")
        about["kind"] = Indicator(kind["share"], tuple(kind["values"]), tuple(kind["probabilities"]))
        about |= {name: tuple(about[name]) for name in ("sources", "accepted", "rejected")}
        with np.load(folder / "trust.npz", allow_pickle=False) as file:
            return cls(**{name: file[name] for name in _ARRAYS}, **about)


@threadpool_limits.wrap(limits=1)
def fit_trust(
    pool: pl.DataFrame, decisions: pl.DataFrame, encoder: Lsa, settings: ScoreSettings, seed: int
) -> TrustModel:
    """Learn what tells the trusted samples of a pool from the rest.

    Parameters
    ----------
    pool
        record_id, source, prompt, answer.
    decisions
        A person's decisions: target (a record_id) and decision. An accepted sample is trusted; a rejected one
        is not, whatever its source, and is a negative in every round.
    encoder
        Vectors of texts (those of the match model).
    settings
        `trusted_sources`, `trust_rounds`, `folds`, and `train_rows`, the most that are learned from.

    Raises
    ------
    UserError
        Fewer than 50 samples are trusted, or fewer than 50 are not.
    """
    from sklearn.metrics import roc_auc_score

    reviewed = _reviewed(decisions)
    frame = _labelled(pool, reviewed, settings, seed)
    trusted, rejected = ((frame["label"] == label).fill_null(False).to_numpy() for label in (1, 0))
    _check(trusted, pool, settings)
    folds = folds_of(frame["record_id"], settings.folds)
    design = _features(encoder, frame)
    mean = np.nanmean(design, axis=0)
    spread = np.maximum(np.nanstd(design, axis=0), 1e-6)
    x = _standard(design, mean, spread)
    score, found = np.zeros(len(x)), []
    for fold in progress.track(range(settings.folds), "discriminators"):
        rows, mine = np.flatnonzero(folds != fold), folds == fold
        found.append(_in_rounds(x[rows], trusted[rows], rejected[rows], settings.trust_rounds, seed))
        score[mine] = _scores(x[mine], found[-1].weights)
    return TrustModel(
        mean,
        spread,
        np.stack([one.weights for one in found]),
        fit_indicator(score[~trusted], score[trusted], most=np.inf),
        settings.trusted_sources,
        tuple(reviewed.filter(pl.col("person") == 1)["record_id"]),
        tuple(reviewed.filter(pl.col("person") == 0)["record_id"]),
        float(roc_auc_score(trusted, score)),
        int(trusted.sum()),
        round(float(np.mean([one.joined for one in found]))),
        max(one.rounds for one in found),
    )


def _reviewed(decisions: pl.DataFrame) -> pl.DataFrame:
    """record_id and `person`, 1 accepted, 0 rejected, sorted."""
    decided = decisions.filter(pl.col("decision").is_in(["accept", "reject"]))
    return (
        decided.unique("target", keep="last", maintain_order=True)
        .select(
            record_id=pl.col("target").cast(pl.String), person=(pl.col("decision") == "accept").cast(pl.Int8)
        )
        .sort("record_id")
    )


def _labelled(pool: pl.DataFrame, reviewed: pl.DataFrame, settings: ScoreSettings, seed: int) -> pl.DataFrame:
    """The rows to learn from, sorted by record_id, with `label`: 1 trusted, 0 rejected, else null.

    Of either side at most half of `train_rows`, those first on which a person decided.
    """
    by_source = pl.when(pl.col("source").is_in(settings.trusted_sources)).then(pl.lit(1, pl.Int8))
    order = pl.Series("order", [digest(str(seed), name) for name in pool["record_id"]], dtype=pl.String)
    return (
        pool.with_columns(order)
        .join(reviewed, on="record_id", how="left", maintain_order="left")
        .with_columns(label=pl.coalesce("person", by_source))
        .sort(pl.col("person").is_null(), "order")
        .filter(pl.int_range(pl.len()).over(pl.col("label").eq_missing(1)) < settings.train_rows // 2)
        .sort("record_id")
    )


def _check(trusted: np.ndarray, pool: pl.DataFrame, settings: ScoreSettings) -> None:
    count, rest = int(trusted.sum()), int((~trusted).sum())
    if count < _FEWEST:
        sources = ", ".join(pool["source"].unique().drop_nulls().sort())
        raise UserError(
            f"{count} trusted samples are too few to tell others by (trusted sources: "
            f"{', '.join(settings.trusted_sources)})",
            where="scores.quality.trusted_sources",
            allowed=f"{_FEWEST} samples or more, from {sources} or accepted in review",
        )
    if rest < _FEWEST:
        raise UserError(
            f"{rest} samples that are not trusted are too few to tell from the others",
            where="scores.quality.trusted_sources",
            allowed=f"{_FEWEST} or more",
        )


def _features(encoder: Lsa, samples: pl.DataFrame) -> np.ndarray:
    """Named features, and vectors of answer, of prompt times answer, and of prompt, float64 [n, f]."""
    prompts, told = (samples[name].fill_null("") for name in ("prompt", "answer"))
    asked, answer = encode(encoder, prompts), encode(encoder, told)
    named = answers.own_features(prompts, told, asked, answer).to_numpy()
    left, right = asked.vectors[:, :_DIMENSIONS], answer.vectors[:, :_DIMENSIONS]
    return np.hstack([named, right, left * right, left]).astype(np.float64)


def _standard(design: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Standardised features, an unknown one 0, none beyond `_CLIP`."""
    return np.clip(np.nan_to_num((design - mean) / spread, nan=0.0), -_CLIP, _CLIP)


@dataclass(frozen=True)
class _Taught:
    """A discriminator (float64 [f + 1], the intercept last), and how many joined in how many rounds."""

    weights: np.ndarray
    joined: int
    rounds: int


def _in_rounds(x: np.ndarray, trusted: np.ndarray, rejected: np.ndarray, most: int, seed: int) -> _Taught:
    """Teach a discriminator in at most so many rounds; they end when nobody joins or leaves any more."""
    parts = np.arange(len(x)) % _PARTS  # the rows are in the order of a hash
    joined, negative = np.zeros(len(x), dtype=bool), ~trusted
    rounds = 1
    while rounds < most:
        score = np.zeros(len(x))
        for part in range(_PARTS):
            others = parts != part
            weights = _discriminator(x[others], trusted[others], joined[others], negative[others], seed)
            score[~others] = _scores(x[~others], weights)
        low, high = np.quantile(score[trusted], (_RELIABLE, _JOINS))
        now = ~trusted & ~rejected & (score >= high)
        reliable = rejected | (~trusted & (score < low))
        if np.array_equal(now, joined) or reliable.sum() < _FEW_NEGATIVES:
            break
        joined, negative, rounds = now, reliable, rounds + 1
    return _Taught(_discriminator(x, trusted, joined, negative, seed), int(joined.sum()), rounds)


def _discriminator(
    x: np.ndarray, trusted: np.ndarray, joined: np.ndarray, negative: np.ndarray, seed: int
) -> np.ndarray:
    """Logistic model of the trusted and the joined against the negatives; both sides weigh the same in all."""
    from sklearn.linear_model import LogisticRegression

    share = min(_JOINED, float(trusted.sum()) / max(1, int(joined.sum())))
    rows = np.flatnonzero(trusted | joined | negative)
    label, weight = (trusted | joined)[rows], np.where(joined, share, 1.0)[rows]
    sides = np.where(label, weight[label].sum(), weight[~label].sum())
    model = LogisticRegression(C=1 / _PENALTY, max_iter=500, random_state=seed)
    fitted = model.fit(x[rows], label, sample_weight=weight / sides * len(rows) / 2)
    return np.append(fitted.coef_[0], fitted.intercept_[0])


def _scores(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log-odds [n] of rows [n, f]."""
    score: np.ndarray = x @ weights[:-1] + weights[-1]
    return score
