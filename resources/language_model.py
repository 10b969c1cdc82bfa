"""The language model that scores: the one trained on the pool, or any causal model by path or hub id.

Belongs here: finding, loading and placing a model. Does not belong here: training and scoring
(`curation.scores.language_model`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curation.errors import UserError
from curation.scores.language_model import LanguageModel, adopt, load
from curation.settings import LanguageModelSettings


def load_language_model(settings: LanguageModelSettings, folder: str | Path | None = None) -> LanguageModel:
    """Load the model that the settings ask for.

    `settings.model`, where given, is fetched through transformers and put on the GPU where there is
    one: from safetensors only, and never with code of its own. Else the trained model is read from
    its folder; it stays on the CPU, where its scores come out the same every time.

    Raises
    ------
    UserError
        There is no such model, or it is of a kind that cannot be used.
    """
    if settings.model is None and folder is None:
        raise UserError(
            "no language model: neither one to load nor the folder of a trained one", where="model"
        )
    where = settings.model or str(folder)
    try:
        found = _fetch(settings.model) if settings.model else load(where)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"cannot load the language model: {reason}",
            where=where,
            allowed="a folder or hub id of a causal language model with safetensors and tokenizer.json",
        ) from error
    found.model.to(device=_device(settings), dtype=_dtype(settings))
    return found


def _fetch(name: str) -> LanguageModel:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options: dict[str, Any] = {"trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(name, **options)
    model = AutoModelForCausalLM.from_pretrained(name, use_safetensors=True, dtype="auto", **options)
    return adopt(model, tokenizer)


def _device(settings: LanguageModelSettings) -> str:
    import torch

    return "cuda" if settings.model and torch.cuda.is_available() else "cpu"


def _dtype(settings: LanguageModelSettings) -> Any:
    import torch

    if settings.precision == "auto":
        return torch.bfloat16 if _device(settings) == "cuda" else torch.float32
    return getattr(torch, settings.precision)
