"""Reward models: sequence classifiers by path or hub id, and the pairs that people judged.

Belongs here: loading and saving a classifier, reading a file of pairs. Does not belong here: what they say
of answers (`curation.scores.classifier`, `curation.scores.reward`).
"""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import polars as pl

from curation.errors import UserError
from curation.records import digest
from curation.scores.classifier import Classifier
from curation.settings import ScoreSettings
from curation.torch_runtime import quiet
from resources import checkpoints, streams
from resources.content_cache import ContentCache, keys_of
from resources.lake import Lake

_ALLOWED = "a folder or hub id of a sequence classification model with safetensors and a tokenizer"
_TEXTS = ("prompt", "chosen", "rejected")


def load_classifier(place: str, max_tokens: int) -> Classifier:
    """Load a sequence classifier: from safetensors only, and never with code of its own.

    Raises
    ------
    UserError
        There is no such model, it lacks weights, or it is of a kind that cannot be used.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with checkpoints.loading("the reward model", place, _ALLOWED), quiet():
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        model, told = AutoModelForSequenceClassification.from_pretrained(
            place, use_safetensors=True, output_loading_info=True, dtype="float32", trust_remote_code=False
        )
        if missing := sorted(told["missing_keys"]):
            raise UserError(f"the checkpoint lacks {len(missing)} weights, {missing[0]} first", where=place)
    config = model.config.get_text_config()
    if config.pad_token_id is None:
        known = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        config.pad_token_id = next(one for one in known if one is not None and one < config.vocab_size)
    positions = getattr(config, "max_position_embeddings", None) or max_tokens
    taken = (config.pad_token_id or 0) + 1 if "roberta" in config.model_type else 0
    scale = getattr(config, "reward_scale", 1.0)
    model.to(device=checkpoints.device()).eval()
    return Classifier(tokenizer, model, min(max_tokens, positions - taken), scale)


def save_classifier(classifier: Classifier, folder: Path) -> None:
    """Write the model, its scale and its tokenizer, so that `load_classifier` and transformers read them."""
    classifier.model.config.reward_scale = classifier.scale
    with quiet():
        classifier.model.save_pretrained(folder)
        classifier.tokenizer.save_pretrained(folder)


def reward_once(classifier: Classifier, prompts: pl.Series, told: pl.Series, lake: Lake) -> pl.Series:
    """The reward of each answer; what these weights rewarded before is not read again."""
    weights = checkpoints.version(classifier.tokenizer.name_or_path, classifier.model)
    cache = ContentCache(lake, f"_rewards/{digest(weights, str(classifier.max_tokens))[:16]}")
    asked = pl.DataFrame({"key": keys_of(prompts, told), "prompt": prompts, "answer": told})

    def measure(new: pl.DataFrame) -> pl.DataFrame:
        return pl.DataFrame({"reward": classifier.reward(new["prompt"], new["answer"])})

    return cache.measured(asked, measure)["reward"]


def read_preferences(file: str) -> tuple[pl.DataFrame, int]:
    """Pairs of a JSONL file, columns prompt, chosen and rejected, and how many lines are none.

    Raises
    ------
    UserError
        The file cannot be read.
    """
    try:
        whole = Path(file).read_bytes()
        lines = (gzip.decompress(whole) if file.endswith(".gz") else whole).split(b"\n")
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot be read: {error}", where=file) from None
    rows, spoilt = [], 0
    for line in lines:
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            pair = [found[name] for name in _TEXTS]
        except (ValueError, KeyError, TypeError, RecursionError):
            pair = []
        if pair and all(isinstance(text, str) and text for text in pair) and pair[1] != pair[2]:
            rows.append(pair)
        else:
            spoilt += 1
    return pl.DataFrame(rows, schema=dict.fromkeys(_TEXTS, pl.String), orient="row"), spoilt


def preferences_version(settings: ScoreSettings) -> str:
    """What tells the pairs from others; empty where there are none."""
    if not settings.preferences:
        return ""
    try:
        return streams.state(Path(settings.preferences))
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=settings.preferences) from None
