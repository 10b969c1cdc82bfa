"""The language model that scores: the one trained on the pool, or any causal model by path or hub id.

Belongs here: finding, loading and placing a model, and keeping what it said. Does not belong here:
training and scoring (`curation.scores.language_model`).
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from curation.errors import UserError
from curation.records import digest
from curation.scores.causal import LanguageModel, load
from curation.scores.language_model import score_samples
from curation.settings import LanguageModelSettings
from resources import checkpoints
from resources.content_cache import ContentCache, keys_of
from resources.lake import Lake

_ALLOWED = "a folder or hub id of a causal language model with safetensors and tokenizer.json"


def load_language_model(settings: LanguageModelSettings, folder: str | Path | None = None) -> LanguageModel:
    """Load the model that scores.

    `settings.model`, where given, is fetched through transformers and put on the GPU where there is
    one: from safetensors only, and never with code of its own. Else, and where that model was trained
    further (`pre_experience`), it is read from the folder; a model of ours stays on the CPU, where its
    scores come out the same every time.

    Raises
    ------
    UserError
        There is no such model, or it is of a kind that cannot be used.
    """
    fetched = settings.model is not None and not settings.pre_experience
    place = settings.model if fetched else folder
    if place is None:
        raise UserError(
            "no language model: neither one to load nor the folder of a trained one", where="model"
        )
    with checkpoints.loading("the language model", str(place), _ALLOWED):
        found = load(place, local=not fetched, dtype="auto" if fetched else "float32")
    return _placed(found, settings, loaded=settings.model is not None)


def load_base_model(settings: LanguageModelSettings) -> LanguageModel:
    """The model of `settings.model` with 32-bit numbers, to be trained further.

    Raises
    ------
    UserError
        There is no such model, or it is of a kind that cannot be used.
    """
    with checkpoints.loading("the language model", str(settings.model), _ALLOWED):
        found = load(str(settings.model), local=False)
    found.model.to(device=checkpoints.device())
    return found


def score_once(
    model: LanguageModel, samples: pl.DataFrame, settings: LanguageModelSettings, lake: Lake
) -> pl.DataFrame:
    """Scores as `language_model.score_samples` gives them; what these weights scored before is not scored again.

    Kept by the contents of a sample beside the lake. A score depends on what else was scored with it in
    the last bits only.
    """
    said = settings.model_dump_json(include={"max_tokens", "dropout", "dropout_passes", "whole_text"})
    weights = checkpoints.version(model.tokenizer.name_or_path, model.model)
    cache = ContentCache(lake, f"_losses/{digest(weights, said, str(model.model.dtype))[:16]}")
    talk = samples["messages"].list.eval(pl.element().struct.json_encode()).list.join("\n")
    asked = samples.with_columns(keys_of(samples["prompt"], samples["answer"], talk))
    return cache.measured(asked, lambda new: score_samples(model, new, settings))


def _placed(found: LanguageModel, settings: LanguageModelSettings, *, loaded: bool) -> LanguageModel:
    found.model.to(
        device=checkpoints.device() if loaded else "cpu",
        dtype=checkpoints.dtype(settings.precision, loaded=loaded),
    )
    return found
