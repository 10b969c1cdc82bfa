"""Scores: how likely, how hard, how sound each sample is.

Belongs here: the stages of the group `scores`. The methods are in `curation/scores/`.
"""

from __future__ import annotations

import polars as pl

from assets.stage import Run, sample_shard, stage
from curation import lineage
from curation.audit import plots
from curation.scores import judge, quality
from curation.scores import language_model as lm
from curation.scores.causal import LanguageModel
from curation.scores.experience import experienced
from curation.settings import JudgeSettings, LanguageModelSettings, ScoreSettings
from curation.synthesis.costs import Account, Cap
from resources import language_model as models
from resources.chat import ChatModel
from resources.reviews import Reviews


@stage(
    "scores",
    lineage.learn(),
    settings="scores.language_model",
    version=2,
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
    externals=["sample_decisions"],
    resources=["reviews"],
    kinds=["numpy"],
)
def quality_model(
    sft_pool: pl.LazyFrame, language_model: pl.LazyFrame, settings: ScoreSettings, reviews: Reviews, run: Run
) -> pl.DataFrame:
    """What a sound sample of this pool looks like, learned from made-up defects and from reviews."""
    pool = sft_pool.select("record_id", "prompt", "answer", "messages").sort("record_id").collect()
    decisions = reviews.decisions("sample")
    samples = quality.training_samples(pool, decisions, settings, run.seed)
    judge_by, how = _language_model(run), run.profile.scores.language_model
    measured = samples.hstack(models.score_once(judge_by, samples, how, run.lake))
    model = quality.train_quality(
        measured,
        decisions,
        settings,
        run.seed,
        lambda asked, told: lm.score_answers(judge_by, asked, told, how),
    )
    model.save(run.artefact)
    return model.rows(run.place)


@stage(
    "scores",
    lineage.judge("sft_pool"),
    shards=sample_shard,
    settings="scores.quality",
    also=["scores.language_model"],
    version=4,
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
        sft_pool.select("record_id", "shard", "prompt", "answer", "messages").sort("record_id").collect()
    )
    measured = models.score_once(_language_model(run), samples, run.profile.scores.language_model, run.lake)
    model = quality.QualityModel.load(run.learned("quality_model"))
    scored = quality.score_samples(model, samples.hstack(measured))
    return quality.judge_scores(scored, model, settings).hstack(measured.select(lm.UNCERTAINTY))


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
