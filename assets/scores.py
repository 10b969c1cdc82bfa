"""Scores: how likely, how hard, how sound each sample is.

Belongs here: the stages of the group `scores`. The methods are in `curation/scores/`.
"""

from __future__ import annotations

import polars as pl

from assets.stage import Run, sample_shard, stage
from curation import lineage
from curation.audit import plots
from curation.scores import language_model as lm
from curation.scores import quality
from curation.settings import LanguageModelSettings, ScoreSettings
from resources import language_model as models
from resources.reviews import Reviews


@stage("scores", lineage.learn(), settings="scores.language_model", kinds=["pytorch", "transformers"])
def language_model(sft_pool: pl.LazyFrame, settings: LanguageModelSettings, run: Run) -> pl.DataFrame:
    """The language model that scores the samples: trained on the pool itself, or one that is loaded."""
    if settings.model:
        return lm.curve_rows(models.load_language_model(settings, None).curve, settings.model)
    samples = sft_pool.select("record_id", "prompt", "answer").sort("record_id").collect()
    model = lm.train_language_model(
        samples["prompt"].to_list(), samples["answer"].to_list(), settings, run.seed
    )
    model.save(run.artefact)
    lines = {"training": model.curve["loss"], "held out": model.curve["heldout_loss"]}
    run.note(loss=plots.line_svg(model.curve["step"], lines, "Loss, nats per token", x_label="step"))
    return lm.curve_rows(model.curve, run.place)


@stage(
    "scores",
    lineage.learn(),
    settings="scores.quality",
    also=["scores.language_model"],
    externals=["sample_decisions"],
    resources=["reviews"],
    kinds=["numpy"],
)
def quality_model(
    sft_pool: pl.LazyFrame, language_model: pl.LazyFrame, settings: ScoreSettings, reviews: Reviews, run: Run
) -> pl.DataFrame:
    """What a sound sample of this pool looks like, learned from made-up defects and from reviews."""
    samples = sft_pool.select("record_id", "prompt", "answer", "messages").sort("record_id").collect()
    decisions = reviews.decisions("sample")
    model = quality.train_quality(samples, decisions, settings, run.seed, _predict(run))
    model.save(run.artefact)
    return model.rows(run.place)


@stage(
    "scores",
    lineage.judge("sft_pool"),
    shards=sample_shard,
    settings="scores.quality",
    also=["scores.language_model"],
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
    measured = samples.hstack(_predict(run)(samples["prompt"], samples["answer"]))
    model = quality.QualityModel.load(run.learned("quality_model"))
    return quality.judge_scores(quality.score_samples(model, measured), model, settings)


def _predict(run: Run) -> quality.Predict:
    """Losses of answers by the language model."""
    settings = run.profile.scores.language_model
    model = models.load_language_model(settings, run.learned("language_model"))
    return lambda prompts, answers: lm.score_answers(model, prompts, answers, settings)
