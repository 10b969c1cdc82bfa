"""The quality of samples: models that learn it from the pool itself, and the verdict on their scores.

Belongs here: training on made-up defects and on reviews, scoring a shard, the verdicts.
Does not belong here: the single measures (`scores.rules`, `scores.mismatch`, `scores.truncation`,
`scores.language_model`), how defects are made (`scores.made_up`), where the limit lies (`scores.limits`)
or how soundness becomes part of the quality (`scores.combination`).

Every model is cross-fitted. The fold of a sample is a hash of its record_id, so that a shard can be
scored with nothing but the artefact, each sample by the models that did not learn from it.

Soundness is a logistic model with signs held fixed: it never falls when the answer matches its prompt
better, and never rises with truncation, repetition, garbled text, mark-up, a foreign script, advertising,
missing marks, refusals, echoes or the language model's surprise; a longer answer is never worse. Its rank
within the pool is what is reported, and what has a limit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from blake3 import blake3
from threadpoolctl import threadpool_limits

from curation import progress
from curation.lsa import Lsa
from curation.pool.samples import conversation
from curation.records import digest
from curation.scores import answers, mismatch, rules, truncation
from curation.scores.combination import PARTS, Combination, combine, information
from curation.scores.confident import Confident, confident_learning
from curation.scores.limits import Indicator, Limit, fit_indicator, noise_limit
from curation.scores.made_up import SWAPS, made_up_defects
from curation.scores.reward import RewardModel
from curation.settings import ScoreSettings
from curation.verdicts import Rule, judge

#: Measures answers to prompts: columns loss_conditional, loss_alone, entropy (as `language_model.score_answers`).
Predict = Callable[[pl.Series, pl.Series], pl.DataFrame]
#: The scores that can drop a sample, the made-up defects that show in each, and the reason.
INDICATORS = {
    "mismatch": (("swap",), "answer_mismatch"),
    "truncation": (("cut",), "truncated"),
    "repetition": (("repeat",), "repetition"),
    "garble": (("garble",), "mojibake"),
    "markup": (("wrap",), "boilerplate"),
    "language_mismatch": (("foreign",), "wrong_language"),
    "surprise": (("scramble",), "unpredictable"),
    "unsoundness": (("stub", "strip", "echo", "refuse", "advertise"), "below_quality"),
}
#: Features of the combined quality; all but the last count against a sample.
FEATURES = (
    "mismatch", "truncation", "repetition", "garble", "markup", "language_mismatch", "spam", "unpunctuated",
    "refusal", "echo", "surprise", "length",
)  # fmt: skip
LANGUAGE_MODEL = ("loss_conditional", "loss_alone", "ppl", "ifd", "ifd_ppl", "entropy")
_LOSSES = ("loss_conditional", "loss_alone", "entropy")
#: Characters of an answer at which its surprise counts half: that of a few words is chance.
_SURPRISE_CHARS = 30
_ARRAYS = ("weights", "spread")
#: Columns of `QualityModel.rows`, before they are judged.
ROWS = {
    "record_id": pl.String,
    "model": pl.String,
    "feature": pl.String,
    "weight": pl.Float64,
    "auc": pl.Float64,
}
#: A person's decision weighs as much as so many examples.
_REVIEW_WEIGHT = 5.0


@dataclass(frozen=True)
class QualityModel:
    """All that scoring a shard needs.

    Attributes
    ----------
    match, truncation
        The models of mismatch and truncation.
    weights
        Float64 [folds, features + 1] of the soundness, for `FEATURES` divided by `spread`
        [features]; the last column is the intercept.
    surprise
        The usual surprise, which takes the place of an unknown one.
    combination
        How soundness, information and reward become the quality.
    confident
        How many answers belong to other prompts, by confident learning.
    indicators
        What each score of `INDICATORS` says of its defect.
    limit
        On the largest of these probabilities.
    auc
        Sound samples against made-up defects, cross-fitted, of the soundness.
    trained_on
        Sound samples learned from.
    """

    match: mismatch.MatchModel
    truncation: truncation.TruncationModel
    weights: np.ndarray
    spread: np.ndarray
    surprise: float
    combination: Combination
    confident: Confident
    indicators: dict[str, Indicator]
    limit: Limit
    auc: float
    trained_on: int

    @property
    def folds(self) -> int:
        return len(self.weights)

    def save(self, folder: Path) -> None:
        """Write the models into the folder, as npz and json."""
        folder.mkdir(parents=True, exist_ok=True)
        self.match.save(folder)
        self.truncation.save(folder)
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        mix = self.combination
        np.savez(folder / "quality.npz", importance=mix.importance, quantiles=mix.quantiles, **arrays)
        about = {name: getattr(self, name) for name in ("surprise", "auc", "trained_on")}
        about["fitted"] = mix.fitted
        about["indicators"] = {name: asdict(one) for name, one in self.indicators.items()}
        about["limit"], about["confident"] = asdict(self.limit), asdict(self.confident)
        (folder / "quality.json").write_text(json.dumps(about, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> QualityModel:
        """Read what `save` wrote."""
        about = json.loads((folder / "quality.json").read_text(encoding="utf-8"))
        about["limit"], about["confident"] = Limit(**about["limit"]), Confident(**about["confident"])
        about["indicators"] = {
            name: Indicator(one["share"], tuple(one["values"]), tuple(one["probabilities"]))
            for name, one in about["indicators"].items()
        }
        with np.load(folder / "quality.npz", allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS}
            mix = Combination(file["importance"], file["quantiles"], about.pop("fitted"))
        match, ending = mismatch.MatchModel.load(folder), truncation.TruncationModel.load(folder)
        return cls(match=match, truncation=ending, combination=mix, **arrays, **about)

    def rows(self, path: str | None = None, rewards: RewardModel | None = None) -> pl.DataFrame:
        """The models as rows of the table `quality_model`, but for `run_id`: mean weights over the folds."""
        parts: list[tuple[str, Sequence[str], np.ndarray, float | None]] = [
            ("quality", FEATURES, self.weights, self.auc),
            ("mismatch", mismatch.FEATURES, self.match.weights, self.match.auc),
            ("truncation", truncation.feature_names(), self.truncation.weights, self.truncation.auc),
            ("combination", PARTS, self.combination.importance[None], None),
        ]
        if rewards is not None:
            parts.append(("reward", answers.FEATURES, rewards.weights[:1], rewards.accuracy))
        rows = [
            (digest("quality_model", model, feature), model, feature, float(weight), auc)
            for model, names, weights, auc in parts
            for feature, weight in zip(
                names, weights.mean(axis=0), strict=False
            )  # without intercept and hashed ones
        ]
        frame = pl.DataFrame(rows, schema=ROWS, orient="row")
        about = frame.with_columns(
            trained_on=pl.lit(self.trained_on, dtype=pl.UInt32), path=pl.lit(path, dtype=pl.String)
        )
        return judge(about, [], auc=pl.col("auc"), folds=self.folds)


def folds_of(record_ids: pl.Series, n_folds: int) -> np.ndarray:
    """Fold of each record, int64 [n]: a hash of its id, the same in every run."""
    hashes = [int.from_bytes(blake3(name.encode()).digest(length=4), "big") for name in record_ids]
    return np.array(hashes, dtype=np.int64) % n_folds


# -- scores -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Batch:
    """Samples as the models see them; `losses` has the columns of the language model, null if unknown."""

    seen: pl.DataFrame
    answers: pl.Series
    prompt: mismatch.Encoded
    answer: mismatch.Encoded
    folds: np.ndarray
    losses: pl.DataFrame

    def take(self, rows: np.ndarray) -> _Batch:
        return _Batch(
            self.seen[rows],
            self.answers.gather(rows),
            self.prompt.take(rows),
            self.answer.take(rows),
            self.folds[rows],
            self.losses[rows],
        )

    @property
    def information(self) -> np.ndarray:
        """What the prompt tells about the answer, nats a token (pointwise mutual information); NaN if unknown."""
        gain = self.losses["loss_alone"] - self.losses["loss_conditional"]
        return gain.fill_null(np.nan).to_numpy()

    def pair_features(self, towers: tuple[mismatch.Towers, ...]) -> np.ndarray:
        return mismatch.pair_features(towers, self.prompt, self.answer, self.folds, self.information)


def _single_scores(
    match: mismatch.MatchModel, ending: truncation.TruncationModel, batch: _Batch
) -> pl.DataFrame:
    """The columns `FEATURES`, and match."""
    probability = match.probability(batch.prompt, batch.answer, batch.folds, batch.information)
    return batch.seen.with_columns(
        match=probability,
        mismatch=1 - probability,
        truncation=ending.probability(batch.answers, batch.folds).round(9),  # its solver's last bits vary
        surprise=(batch.losses["loss_conditional"] - batch.losses["entropy"])
        * (pl.col("answer_chars") / (pl.col("answer_chars") + _SURPRISE_CHARS)),
        length=pl.col("answer_chars").clip(1, 600).log(),
    ).select("match", *FEATURES)


def _design(scores: pl.DataFrame, surprise: float) -> np.ndarray:
    """The features of the combined quality, float64 [n, features]; probabilities as log-odds."""
    odds = {
        name: (pl.col(name).clip(0.001, 0.999) / (1 - pl.col(name).clip(0.001, 0.999))).log()
        for name in ("mismatch", "truncation")
    }
    return (
        scores.select(FEATURES)
        .with_columns(surprise=pl.col("surprise").fill_nan(None).fill_null(surprise), **odds)
        .to_numpy()
    )


def _combined(weights: np.ndarray, design: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Log-odds of being sound, float64 [n], each row by the weights of its fold."""
    chosen = weights[folds]
    logit: np.ndarray = np.einsum("ij,ij->i", design, chosen[:, :-1]) + chosen[:, -1]
    return logit


def _rewards(frame: pl.DataFrame) -> np.ndarray:
    """What the reward model gives, float64 [n]; NaN where there is none."""
    return _known(frame["reward"]) if "reward" in frame.columns else np.full(frame.height, np.nan)


def _texts(pool: pl.DataFrame) -> pl.DataFrame:
    """record_id, prompt and answer, and raw_prompt and raw_answer as they came in."""
    raw = conversation(pool["messages"]) if "messages" in pool.columns else pool
    measured = [name for name in (*_LOSSES, "reward") if name in pool.columns]
    frame = pool.select("record_id", pl.col("prompt", "answer").fill_null(""), *measured)
    return frame.with_columns(raw_prompt=raw["prompt"].fill_null(""), raw_answer=raw["answer"].fill_null(""))


def _losses(frame: pl.DataFrame, rows: int) -> pl.DataFrame:
    """The columns of the language model that the models use; null where they were not measured."""
    columns = {
        name: frame[name] if name in frame.columns else pl.repeat(None, rows, eager=True) for name in _LOSSES
    }
    return pl.DataFrame(columns).cast(pl.Float64)


# -- training -----------------------------------------------------------------------------------


@threadpool_limits.wrap(limits=1)  # sums in the same order on every machine
def train_quality(
    pool: pl.DataFrame,
    decisions: pl.DataFrame,
    settings: ScoreSettings,
    seed: int,
    predict: Predict | None = None,
) -> QualityModel:
    """Learn what a sound sample of this pool looks like.

    Parameters
    ----------
    pool
        The pool's kept samples: record_id, prompt, answer, messages (the texts as they came in; without
        it prompt and answer are taken), the columns of the language model where it measured them, and
        reward where there is a reward model.
    decisions
        A person's decisions: target (a record_id) and decision; accept and reject count, others do not.
    settings
        At most `train_rows` samples, a seeded choice (`training_samples`), are learned from.
    predict
        The language model that measured the pool, if there is one: measures made-up answers.

    Notes
    -----
    Sound is what shows no defect to the fixed rules and what nobody rejected. Some of it is not: the
    limit allows for that (see `limits.fit_indicator`).
    """
    frame = _sample(_reviewed(_texts(pool), decisions), settings.train_rows, seed)
    folds = folds_of(frame["record_id"], settings.folds)
    encoder = Lsa.fit(pl.concat([frame["prompt"], frame["answer"]]), mismatch.ENCODER, seed)
    seen = rules.features(frame["raw_prompt"], frame["raw_answer"])
    prompt, answer = (mismatch.encode(encoder, frame[name]) for name in ("prompt", "answer"))
    known = _Batch(seen, frame["answer"], prompt, answer, folds, _losses(frame, frame.height))
    sound = np.flatnonzero(_believed_sound(seen, frame["reviewed"]))

    towers = mismatch.fit_towers(prompt.take(sound), answer.take(sound), folds[sound], settings.folds, seed)
    ending = truncation.fit_truncation(frame["answer"].gather(sound), folds[sound], settings.folds, seed)
    examples, spoilt, kinds = _examples(frame, known, sound, encoder, settings, seed, predict)
    swapped = spoilt.take(np.flatnonzero(kinds == "swap"))
    match = mismatch.fit_match(
        encoder,
        towers,
        examples.pair_features(towers),
        examples.folds,
        swapped.pair_features(towers),
        swapped.folds,
    )
    model = QualityModel(
        match,
        ending,
        np.zeros((settings.folds, len(FEATURES) + 1)),
        np.ones(len(FEATURES)),
        0.0,
        combine(np.zeros((0, 3)), np.zeros(0), settings),
        Confident(1.0, 1.0, 0.0),
        {},
        Limit(None, 0.0, 0.0, 0.0),
        0.5,
        len(sound),
    )
    return _combine(model, known, examples, spoilt, kinds, frame, settings)


def training_samples(
    pool: pl.DataFrame, decisions: pl.DataFrame, settings: ScoreSettings, seed: int
) -> pl.DataFrame:
    """The rows of a pool that `train_quality` learns from, sorted by record_id."""
    chosen = _sample(_reviewed(pool.select("record_id"), decisions), settings.train_rows, seed)
    return chosen.select("record_id").join(pool, on="record_id", how="left", maintain_order="left")


def _reviewed(frame: pl.DataFrame, decisions: pl.DataFrame) -> pl.DataFrame:
    """With `reviewed`: 1 accepted, 0 rejected, else null."""
    verdicts = (
        decisions.filter(pl.col("decision").is_in(["accept", "reject"]))
        .unique("target", keep="last", maintain_order=True)
        .select(
            record_id=pl.col("target").cast(pl.String),
            reviewed=(pl.col("decision") == "accept").cast(pl.Float64),
        )
    )
    return frame.join(verdicts, on="record_id", how="left", maintain_order="left")


def _sample(frame: pl.DataFrame, rows: int, seed: int) -> pl.DataFrame:
    """All reviewed rows and, of the others, a seeded choice that does not depend on their order."""
    order = pl.Series("order", [digest(str(seed), name) for name in frame["record_id"]], dtype=pl.String)
    ranked = frame.with_columns(order).sort(pl.col("reviewed").is_null(), "order").head(rows)
    return ranked.sort("record_id").drop("order")


def _believed_sound(seen: pl.DataFrame, reviewed: pl.Series) -> np.ndarray:
    """Rows that show no defect to the fixed rules, unless a person decided, Boolean [n]."""
    clean = pl.all_horizontal(
        pl.col("repetition") < 0.25, pl.col("garble") < 0.02, pl.col("markup") < 0.2, pl.col("spam") < 0.3,
        pl.col("language_mismatch") < 0.3, pl.col("refusal") == 0, pl.col("echo") == 0, pl.col("answer_chars") > 0,
    )  # fmt: skip
    rows = seen.with_columns(reviewed).select(
        pl.when(reviewed.is_null()).then(clean).otherwise(pl.col("reviewed") == 1)
    )
    return rows.to_series().to_numpy()


def _examples(
    frame: pl.DataFrame,
    known: _Batch,
    sound: np.ndarray,
    encoder: Lsa,
    settings: ScoreSettings,
    seed: int,
    predict: Predict | None,
) -> tuple[_Batch, _Batch, np.ndarray]:
    """Sound samples, spoilt copies of sound samples, and the kind of each of these."""
    rows = np.sort(np.random.default_rng(seed + 1).permutation(sound)[: SWAPS * settings.made_up])
    prompts, answers = frame["prompt"].gather(sound), frame["answer"].gather(sound)
    made = made_up_defects(prompts, answers, known.prompt.vectors[sound], settings.made_up, seed)
    of = sound[made["row"].to_numpy()]
    asked, told = frame["prompt"].gather(of), made["answer"]
    losses = _losses(predict(asked, told) if predict else pl.DataFrame(), len(of))
    encoded = mismatch.encode(encoder, told)
    spoilt = _Batch(
        rules.features(asked, told), told, known.prompt.take(of), encoded, known.folds[of], losses
    )
    return known.take(rows), spoilt, made["kind"].to_numpy()


def _combine(
    model: QualityModel,
    known: _Batch,
    examples: _Batch,
    spoilt: _Batch,
    kinds: np.ndarray,
    frame: pl.DataFrame,
    settings: ScoreSettings,
) -> QualityModel:
    """The combined quality, its ranks and the limit, from the single scores of all that was measured."""
    from sklearn.metrics import roc_auc_score

    reviewed = frame["reviewed"]
    scores, sound, defective = (
        _single_scores(model.match, model.truncation, batch) for batch in (known, examples, spoilt)
    )
    decided = np.flatnonzero(reviewed.is_not_null().to_numpy())
    label = np.concatenate(
        [np.ones(sound.height), np.zeros(defective.height), reviewed.gather(decided).to_numpy()]
    )
    weight = np.concatenate([np.ones(sound.height), np.full(defective.height, sound.height / max(1, defective.height)), np.full(len(decided), _REVIEW_WEIGHT)])  # fmt: skip
    folds = np.concatenate([examples.folds, spoilt.folds, known.folds[decided]])
    usual = sound["surprise"].fill_nan(None).mean()
    surprise = float(usual) if isinstance(usual, float) else 0.0
    design = _design(pl.concat([sound, defective, scores[decided]]), surprise)
    spread = np.maximum(design.std(axis=0), 1e-6) if len(design) else model.spread
    weights = np.stack([
        _fit_monotone(design / spread, label, weight, folds != fold)
        for fold in progress.track(range(settings.folds), "quality model")
    ])  # fmt: skip
    n_made = sound.height + defective.height
    combined = _combined(weights, (design / spread)[:n_made], folds[:n_made])
    everything = _combined(weights, _design(scores, surprise) / spread, known.folds)
    bad = _combined(weights, _design(defective, surprise) / spread, spoilt.folds)
    told, rewards = information(known.answers), _rewards(frame)
    combination = combine(np.stack([everything, told, rewards], axis=1), _known(reviewed), settings)
    pool = scores.with_columns(unsoundness=1 - combination.soundness(everything))
    made = defective.with_columns(unsoundness=1 - combination.soundness(bad))
    indicators = _indicators(pool, made, kinds)
    return replace(
        model,
        weights=weights,
        spread=spread,
        surprise=surprise,
        combination=combination,
        confident=confident_learning(
            scores["match"].to_numpy(), defective["match"].to_numpy()[kinds == "swap"]
        ),
        indicators=indicators,
        limit=noise_limit(_noise(pool, indicators).max(axis=1), settings.false_positive_rate),
        auc=float(roc_auc_score(label[:n_made], combined)) if sound.height and defective.height else 0.5,
    )


def _indicators(pool: pl.DataFrame, defective: pl.DataFrame, kinds: np.ndarray) -> dict[str, Indicator]:
    return {
        name: fit_indicator(_known(pool[name]), _known(defective[name])[np.isin(kinds, shows)])
        for name, (shows, _) in INDICATORS.items()
    }


def _known(values: pl.Series) -> np.ndarray:
    """Values, NaN where they are not known."""
    return values.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _noise(scores: pl.DataFrame, indicators: dict[str, Indicator]) -> np.ndarray:
    """Probability of each defect of `INDICATORS` by its score, float64 [n, defects]."""
    return np.stack([indicators[name].probability(_known(scores[name])) for name in INDICATORS], axis=1)


def _fit_monotone(
    features: np.ndarray, label: np.ndarray, weight: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Logistic regression with L2; no weight above 0 but that of the last feature, which is not below.

    Returns the weights and the intercept, float64 [features + 1]; nought where there is one class only.
    """
    from scipy.optimize import minimize

    n_features = features.shape[1]
    rows = rows if len(np.unique(label[rows])) == 2 else np.ones(len(label), dtype=bool)
    if len(np.unique(label[rows])) < 2:
        return np.zeros(n_features + 1)
    x = np.hstack([features[rows], np.ones((int(rows.sum()), 1))])
    sign, share = 2 * label[rows] - 1, weight[rows] / weight[rows].sum()

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x @ w)
        penalty = np.append(w[:-1], 0.0) * 1e-3
        slope = -share * sign / (1 + np.exp(np.clip(margin, -500, 500)))
        return float(share @ np.logaddexp(0, -margin) + 0.5 * penalty @ w), x.T @ slope + penalty

    bounds = [(None, 0.0)] * (n_features - 1) + [(0.0, None), (None, None)]
    found: np.ndarray = minimize(loss, np.zeros(n_features + 1), jac=True, method="L-BFGS-B", bounds=bounds).x
    return found


# -- scoring ------------------------------------------------------------------------------------


@threadpool_limits.wrap(limits=1)
def score_samples(model: QualityModel, samples: pl.DataFrame) -> pl.DataFrame:
    """Score samples, each by the models that did not learn from it.

    Parameters
    ----------
    samples
        record_id, shard, prompt, answer, messages, and the columns of the language model where it
        measured them: loss_conditional, loss_alone, ppl, ifd, ifd_ppl, entropy; reward and
        conflicts_with where they are known.

    Returns
    -------
    record_id, shard, the columns of the language model (null where there are none), match, truncation,
    repetition, garble, markup, language_mismatch, surprise (null where it is unknown), doubted, conflicts_with, soundness, reward (null without a model)
    and quality, in the order given.
    """
    frame = _texts(samples)
    seen = rules.features(frame["raw_prompt"], frame["raw_answer"])
    prompt, answer = (model.match.encode(frame[name]) for name in ("prompt", "answer"))
    folds = folds_of(frame["record_id"], model.folds)
    batch = _Batch(seen, frame["answer"], prompt, answer, folds, _losses(samples, samples.height))
    scores = _single_scores(model.match, model.truncation, batch)
    combined = _combined(model.weights, _design(scores, model.surprise) / model.spread, folds)
    rewards = _rewards(frame)
    ranks = model.combination.ranks(np.stack([combined, information(frame["answer"]), rewards], axis=1))
    conflicts = (
        samples["conflicts_with"]
        if "conflicts_with" in samples.columns
        else pl.Series([None] * samples.height, dtype=pl.String)
    )
    measured = [
        (pl.col(name) if name in samples.columns else pl.lit(None)).cast(pl.Float64).alias(name)
        for name in LANGUAGE_MODEL
    ]
    return samples.select("record_id", "shard", *measured).hstack(
        scores.select(
            "match", "truncation", "repetition", "garble", "markup", "language_mismatch", "surprise",
            doubted=pl.Series(model.confident.doubted(scores["match"].to_numpy()), dtype=pl.Boolean),
            conflicts_with=conflicts,
            soundness=pl.Series(ranks[:, 0], dtype=pl.Float64),
            reward=pl.Series(rewards, dtype=pl.Float64).fill_nan(None),
            quality=pl.Series(model.combination.quality(ranks), dtype=pl.Float64),
        )
    )  # fmt: skip


def judge_scores(scores: pl.DataFrame, model: QualityModel, settings: ScoreSettings) -> pl.DataFrame:
    """Judge scored samples (`score_samples`): the columns of the table `scores`, but for `run_id`.

    A sample's noise is the largest probability of a defect by any of its scores. From the model's limit on
    it is dropped; the reason is that of the score which speaks so clearly, and the evidence names it. Where
    there are trusted sources the column `trust` has a limit as well.
    """
    names = list(INDICATORS)
    told = scores.with_columns(mismatch=1 - pl.col("match"), unsoundness=1 - pl.col("soundness"))
    noise = _noise(told, model.indicators)
    limit = model.limit.value
    clearest = pl.Series(np.array(names)[noise.argmax(axis=1)] if len(noise) else [], dtype=pl.String)
    over = pl.lit(False) if limit is None else pl.col("noise") >= limit
    measured = {"noise": pl.col("noise"), "clearest": pl.col("_clearest")}
    limits = {} if limit is None else {"max_noise": limit}
    rules_of = [
        Rule(reason, over & (pl.col("_clearest") == name), measured | {name: pl.col(name)}, limits)
        for name, (_, reason) in INDICATORS.items()
    ]
    low = Rule(
        "below_quality",
        pl.col("soundness") < settings.min_quality,
        {"soundness": pl.col("soundness")},
        {"min_quality": settings.min_quality},
    )
    unlike = Rule(
        "untrusted",
        pl.col("trust") < settings.min_trust,
        {"trust": pl.col("trust")},
        {"min_trust": settings.min_trust},
    )
    judged = judge(
        told.with_columns(noise=pl.Series(noise.max(axis=1), dtype=pl.Float64), _clearest=clearest),
        [*rules_of, low, *([unlike] if settings.trusted_sources else [])],
        ifd=pl.col("ifd"),
        entropy=pl.col("entropy"),
        conflicts_with=pl.col("conflicts_with"),
    )
    return judged.drop("mismatch", "unsoundness", "_clearest")
