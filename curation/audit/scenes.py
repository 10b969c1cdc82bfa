"""The taxonomy of which the coverage is measured: which sample belongs to which scene, and what is wanted.

Belongs here: scenes that a profile names, and those that are induced from clusters or from verbs and their
objects. Does not belong here: the coverage itself (`measures.scene_coverage`), or finding verbs
(`scores.verb_objects`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from curation.settings import Scene

Taxonomy = Literal["clusters", "verbs"] | Mapping[str, Scene]
#: So many of the commonest verbs with their objects are scenes, if so many samples ask for them.
_VERBS, _ASKED = 30, 2


@dataclass(frozen=True)
class Scenes:
    """The scenes of a pool.

    Attributes
    ----------
    names
        One a scene.
    sample, scene
        int64 [pairs]: which row of the pool belongs to which scene; a row to none, one or several.
    wanted
        float64 [scenes]: target of each scene, a count (1 or more) or a share of the choice (below 1); NaN:
        an even share.
    weights
        float64 [scenes]: how much each counts.
    """

    names: list[str]
    sample: np.ndarray
    scene: np.ndarray
    wanted: np.ndarray
    weights: np.ndarray

    def counts(self, chosen: np.ndarray) -> np.ndarray:
        """Chosen rows of each scene, int64 [scenes]; `chosen` is a mask of the pool's rows."""
        return np.bincount(self.scene[chosen[self.sample]], minlength=len(self.names))

    def outside(self, chosen: np.ndarray) -> float:
        """Share of the chosen rows that belong to no scene."""
        inside = np.zeros(len(chosen), dtype=bool)
        inside[self.sample] = True
        return float((~inside[chosen]).mean()) if chosen.any() else 0.0

    def targets(self, size: int, inside: float) -> np.ndarray:
        """Samples wanted of each scene in a choice of `size` rows, float64 [scenes], above 0.

        An even share is size * inside / scenes, with `inside` the share of the pool that belongs to a scene.
        """
        even = size * inside / max(len(self.names), 1)
        given = np.where(self.wanted < 1, self.wanted * size, self.wanted)
        targets = np.where(np.isnan(self.wanted), even, given)
        return np.where(targets > 0, targets, 1.0)


def scenes_of(pool: pl.DataFrame, taxonomy: Taxonomy) -> Scenes:
    """The scenes of a pool's rows.

    Parameters
    ----------
    pool
        prompt; cluster, or verb_object (table Scores), where scenes are induced from it.
    taxonomy
        `clusters`; `verbs`: the thirty commonest verbs with their objects (Chinese prompts alone have one); or
        scenes by name, to which a sample belongs if its prompt holds one of the terms. Upper and lower case
        are alike, and a term of Latin letters or digits is a word of its own: `art` is not in `party`.
    """
    if isinstance(taxonomy, str):
        values = (
            pool["cluster"].cast(pl.String) if taxonomy == "clusters" else _commonest(pool["verb_object"])
        )
        return _induced(values)
    prompts = pool["prompt"].fill_null("")
    rows = [prompts.str.contains(_pattern(scene.terms)).arg_true().to_numpy() for scene in taxonomy.values()]
    return Scenes(
        list(taxonomy),
        np.concatenate(rows).astype(np.int64),
        np.repeat(np.arange(len(rows)), [len(one) for one in rows]),
        np.array([np.nan if scene.target is None else scene.target for scene in taxonomy.values()]),
        np.array([scene.weight for scene in taxonomy.values()]),
    )


def _commonest(tags: pl.Series) -> pl.Series:
    """The tags that are among the commonest; null elsewhere."""
    counts = tags.drop_nulls().value_counts().sort(["count", tags.name], descending=[True, False])
    common = counts.filter(pl.col("count") >= _ASKED)[tags.name].head(_VERBS)
    return pl.select(pl.when(tags.is_in(common.implode())).then(tags)).to_series()


def _induced(values: pl.Series) -> Scenes:
    """Each value a scene; rows without one belong to none."""
    names = values.drop_nulls().unique().sort().to_list()
    inside = values.is_not_null().arg_true().to_numpy().astype(np.int64)
    known = values.drop_nulls()
    scene = known.replace_strict(names, list(range(len(names))), return_dtype=pl.Int64) if names else known.cast(pl.Int64)  # fmt: skip
    return Scenes(names, inside, scene.to_numpy(), np.full(len(names), np.nan), np.ones(len(names)))


def _pattern(terms: tuple[str, ...]) -> str:
    return "(?i)" + "|".join(f"{_edge(term[0])}{pl.escape_regex(term)}{_edge(term[-1])}" for term in terms)


def _edge(letter: str) -> str:
    """Where a word of Latin letters or digits begins or ends; Chinese may stand right beside it."""
    return r"(?-u:\b)" if letter.isascii() and letter.isalnum() else ""
