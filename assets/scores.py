"""Scores: how likely, how hard, how sound each sample is.

Belongs here: the stages of the group `scores`. The methods are in `curation/scores/`.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from assets.stage import Run, sample_shard, stage
from curation import lineage
from curation.audit import plots
from curation.scores import adversarial, classifier, conflicts, judge, quality, reward
from curation.scores import language_model as lm
from curation.scores.causal import LanguageModel
from curation.scores.experience import experienced
from curation.scores.verb_objects import verb_objects
from curation.settings import JudgeSettings, LanguageModelSettings, ScoreSettings
from curation.synthesis.costs import Account, Cap
from resources import language_model as models
from resources import rating_model as raters
from resources import reward_model as rewards
from resources.chat import ChatModel
from resources.reviews import Reviews

#: What `quality_model` learns, below its folder.
_REWARD, _CONFLICTS = "reward", "conflicts.parquet"


@stage(
    "scores",
    lineage.learn(),
    settings="scores.language_model",
    version=3,
    kinds=["pytorch", "transformers"],
)
def language_model(sft_pool: pl.LazyFrame, settings: LanguageModelSettings, run: Run) -> pl.DataFrame:
    """The language model that scores the samples: trained on the pool itself, or one that is loaded."""
    if settings.model and not settings.pre_experience:
        return lm.curve_rows(models.load_language_model(settings).curve, settings.model)
    samples = sft_pool.select("record_id", "prompt", "answer").sort("record_id").collect()
    texts = samples["prompt"].to_list(), samples["answer"].to_list()
    checkpoint = run.artefact / "training.safetensors"
    if settings.pre_experience:
        model = experienced(models.load_base_model(settings), *texts, settings, run.seed, checkpoint)
    else:
        model = lm.train_language_model(*texts, settings, run.seed, checkpoint)
    model.save(run.artefact)
    checkpoint.unlink(missing_ok=True)
    lines = {"training": model.curve["loss"], "held out": model.curve["heldout_loss"]}
    run.note(loss=plots.line_svg(model.curve["step"], lines, "Loss, nats per token", x_label="step"))
    return lm.curve_rows(model.curve, run.place)


@stage(
    "scores",
    lineage.learn(),
    settings="scores.quality",
    also=["scores.language_model"],
    version=4,
    externals=["sample_decisions", "preference_pairs"],
    resources=["reviews"],
    kinds=["numpy"],
)
def quality_model(
    sft_pool: pl.LazyFrame, language_model: pl.LazyFrame, settings: ScoreSettings, reviews: Reviews, run: Run
) -> pl.DataFrame:
    """What a sound sample of this pool looks like, learned from made-up defects, reviews and preferred answers."""
    pool = sft_pool.select("record_id", "source", "prompt", "answer", "messages").sort("record_id").collect()
    decisions = reviews.decisions("sample")
    samples = quality.training_samples(pool, decisions, settings, run.seed)
    judge_by, how = _language_model(run), run.profile.scores.language_model
    linear = _learn_reward(settings, run)
    measured = samples.hstack(models.score_once(judge_by, samples, how, run.lake)).with_columns(
        _rewards(samples, settings, run, run.artefact)
    )
    model = quality.train_quality(
        measured,
        decisions,
        settings,
        run.seed,
        lambda asked, told: lm.score_answers(judge_by, asked, told, how),
    )
    model.save(run.artefact)
    if settings.trusted_sources:
        trust = adversarial.fit_trust(pool, decisions, model.match.encoder, settings, run.seed)
        trust.save(run.artefact)
        run.note(
            trusted_samples=trust.trusted,
            taken_for_trusted=trust.joined,
            share_of_the_trusted_kind=trust.kind.share,
            auc_of_trusted_samples=trust.auc,
            rounds_of_the_discriminator=trust.rounds,
        )
    contradicted = conflicts.find_conflicts(pool)
    contradicted.write_parquet(run.artefact / _CONFLICTS)
    run.note(
        noise_share=model.limit.defects,
        noise_by_score={name: one.share for name, one in model.indicators.items()},
        doubted_share_by_confident_learning=model.confident.rate,
        contradicted_samples=contradicted.height,
        weights_of_quality=dict(zip(quality.PARTS, model.combination.importance.tolist(), strict=True)),
        weights_fitted_to_reviews=model.combination.fitted,
    )
    return model.rows(run.place, linear)


@stage(
    "scores",
    lineage.judge("sft_pool"),
    shards=sample_shard,
    settings="scores.quality",
    also=["scores.language_model"],
    version=5,
    kinds=["pytorch", "numpy"],
)
def scores(
    sft_pool: pl.LazyFrame,
    language_model: pl.LazyFrame,
    quality_model: pl.LazyFrame,
    settings: ScoreSettings,
    run: Run,
) -> pl.DataFrame:
    """Every sample's perplexity, IFD, entropy, match, truncation and the rest, and its combined quality."""
    samples = (
        sft_pool.select("record_id", "source", "shard", "prompt", "answer", "messages")
        .sort("record_id")
        .collect()
    )
    measured = models.score_once(_language_model(run), samples, run.profile.scores.language_model, run.lake)
    learned = run.learned("quality_model")
    known = (
        samples.with_columns(_rewards(samples, settings, run, learned))
        .hstack(measured)
        .join(pl.read_parquet(learned / _CONFLICTS), on="record_id", how="left", maintain_order="left")
    )
    model = quality.QualityModel.load(learned)
    scored = quality.score_samples(model, known).with_columns(_trust(samples, model, settings, learned))
    judged = quality.judge_scores(scored, model, settings)
    rated = raters.rate_once(samples, settings, run.profile.scores.language_model, run.lake)
    return judged.hstack([*measured.select(lm.STORED_ONLY), *rated, verb_objects(samples["prompt"])])


@stage(
    "scores",
    lineage.judge("scores"),
    settings="scores.judge",
    also=["synthesis.chat"],
    resources=["chat"],
)
def judgements(
    scores: pl.LazyFrame, sft_pool: pl.LazyFrame, settings: JudgeSettings, chat: ChatModel, run: Run
) -> pl.DataFrame:
    """A chat model's scores by a rubric, of some samples, and the quality with them in it; off without a chat model."""
    samples = (
        scores.select("record_id", "shard", "quality")
        .join(sft_pool.select("record_id", "language", "messages"), on="record_id")
        .sort("record_id")
        .collect()
    )
    cap = Cap(settings.cap_tokens, settings.cap_money, settings.prompt_price, settings.answer_price)
    account, model = Account(cap), settings.model or chat.model
    ask = chat.chat(account, model=model, temperature=settings.temperature, max_tokens=settings.max_tokens)
    judged = judge.judge_samples(samples, ask, model, settings, run.seed)
    run.note(tokens_spent=account.paid.tokens, money_spent=cap.price(account.paid))
    return judged


def _language_model(run: Run) -> LanguageModel:
    return models.load_language_model(run.profile.scores.language_model, run.learned("language_model"))


def _learn_reward(settings: ScoreSettings, run: Run) -> reward.RewardModel | None:
    """Learn a reward from the pairs that the profile names: fine-tune its model, or fit the linear one."""
    if not settings.preferences:
        return None
    pairs, spoilt = rewards.read_preferences(settings.preferences)
    run.note(preferred_pairs=pairs.height, lines_that_are_no_pair=spoilt)
    if settings.reward_model:
        base = rewards.load_classifier(settings.reward_model, settings.reward_tokens)
        checkpoint = run.artefact / "reward.safetensors"
        tuned, accuracy = classifier.fine_tuned(base, pairs, settings, run.seed, checkpoint)
        rewards.save_classifier(tuned, run.artefact / _REWARD)
        run.afterwards.append(lambda: checkpoint.unlink(missing_ok=True))
        run.note(reward_accuracy=accuracy)
        return None
    model = reward.fit_pairs(pairs["prompt"], pairs["chosen"], pairs["rejected"], run.seed)
    (run.artefact / _REWARD).mkdir(exist_ok=True)
    model.save(run.artefact / _REWARD)
    run.note(reward_accuracy=model.accuracy)
    return model


def _rewards(samples: pl.DataFrame, settings: ScoreSettings, run: Run, learned: Path) -> pl.Series:
    """What the reward model gives each sample; null where the profile has none."""
    prompts, answers = samples["prompt"], samples["answer"]
    if settings.reward_model:
        place = str(learned / _REWARD) if settings.preferences else settings.reward_model
        return rewards.reward_once(
            rewards.load_classifier(place, settings.reward_tokens), prompts, answers, run.lake
        )
    if settings.preferences:
        return pl.Series("reward", reward.RewardModel.load(learned / _REWARD).reward(prompts, answers))
    return pl.Series("reward", [None] * samples.height, dtype=pl.Float64)


def _trust(
    samples: pl.DataFrame, model: quality.QualityModel, settings: ScoreSettings, learned: Path
) -> pl.Series:
    """How surely each sample is of the trusted kind; null where nothing is trusted."""
    if settings.trusted_sources:
        return adversarial.TrustModel.load(learned).trust(samples, model.match.encoder)
    return pl.Series("trust", [None] * samples.height, dtype=pl.Float64)
