"""The language model that scores: the one trained on the pool, or any causal model by path or hub id.

Belongs here: finding, loading and placing a model. Does not belong here: training and scoring
(`curation.scores.language_model`).
"""

from __future__ import annotations

from pathlib import Path

from curation.errors import UserError
from curation.scores.causal import LanguageModel, load
from curation.settings import LanguageModelSettings
from resources import checkpoints

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


def _placed(found: LanguageModel, settings: LanguageModelSettings, *, loaded: bool) -> LanguageModel:
    found.model.to(
        device=checkpoints.device() if loaded else "cpu",
        dtype=checkpoints.dtype(settings.precision, loaded=loaded),
    )
    return found
