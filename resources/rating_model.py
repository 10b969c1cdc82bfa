"""Models that rate samples, by path or hub id.

Belongs here: loading one, and keeping what it said. Does not belong here: what it is asked and what its
answer means (`curation.scores.ratings`).
"""

from __future__ import annotations

import polars as pl

from curation.records import digest
from curation.scores.causal import load
from curation.scores.ratings import Rater, rater, ratings_of, turns_of
from curation.settings import LanguageModelSettings, ScoreSettings
from resources import checkpoints
from resources.content_cache import ContentCache, keys_of
from resources.lake import Lake

_ALLOWED = "a folder or hub id of a causal language model with safetensors and tokenizer.json"


def load_rater(place: str, kind: str, max_tokens: int, how: LanguageModelSettings) -> Rater:
    """Load a model that rates (`kind`: one of `LAYOUTS`): from safetensors only, and never with code of its own.

    `how` says with what numbers it computes.

    Raises
    ------
    UserError
        There is no such model, or it cannot be asked for a digit.
    """
    with checkpoints.loading(f"the scorer of the {kind.replace('_', ' ')}", place, _ALLOWED):
        found = load(place, local=False, dtype="auto")
        found.model.to(device=checkpoints.device(), dtype=checkpoints.dtype(how.precision))
        return rater(found, kind, max_tokens)


def rate_once(
    samples: pl.DataFrame, settings: ScoreSettings, how: LanguageModelSettings, lake: Lake
) -> pl.DataFrame:
    """Columns of `ratings.ratings_of` for samples (prompt, answer, messages), null without a scorer.

    What these weights rated before is not read again: neither here nor in the turns of other samples.
    """
    places = {"complexity": settings.complexity_scorer, "answer_quality": settings.quality_scorer}
    turns = turns_of(samples) if any(places.values()) else turns_of(samples.clear())
    found = {
        kind: _rated(turns, load_rater(place, kind, settings.scorer_tokens, how), how, lake)
        if place
        else pl.Series([None] * turns.height, dtype=pl.Float64)
        for kind, place in places.items()
    }
    return ratings_of(turns.with_columns(**found), samples.height)


def _rated(turns: pl.DataFrame, model: Rater, how: LanguageModelSettings, lake: Lake) -> pl.Series:
    network = model.model.model
    weights = checkpoints.version(model.model.tokenizer.name_or_path, network)
    said = digest(weights, model.layout, str(model.room), str(network.dtype))
    cache = ContentCache(lake, f"_ratings/{said[:16]}")
    asked = turns.with_columns(keys_of(*(turns[name] for name in model.reads)))

    def measure(new: pl.DataFrame) -> pl.DataFrame:
        return pl.DataFrame({"rating": model.rate(new, how.scoring_tokens, how.threads)})

    return cache.measured(asked, measure)["rating"]
