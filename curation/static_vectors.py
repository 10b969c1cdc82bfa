"""Vectors of texts from static vectors of words or characters.

Belongs here: which units a text has, and the weighted mean of their vectors. Does not belong here:
reading files of vectors (`resources.word_vectors`), or which encoder a profile asks for
(`resources.encoder`).

Arora, Liang & Ma (2017), "A simple but tough-to-beat baseline for sentence embeddings" (SIF): a unit
counts the less the commoner it is, and the direction that all texts share is taken out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curation import progress
from curation.vectors import normalise

#: Frequency at which a unit counts half (the paper's a).
_HALF = 1e-3
_BLOCK = 10_000


@dataclass(frozen=True)
class StaticVectors:
    """Static vectors of units, weighted for a corpus.

    Attributes
    ----------
    units
        Words and characters that have a vector.
    vectors
        Theirs, times their weight, float32 [units, dimension].
    shared
        The direction that the texts share, a unit vector float32 [dimension] (zeros: none).
    """

    units: tuple[str, ...]
    vectors: np.ndarray
    shared: np.ndarray
    max_tokens: int
    fitted_on: int
    _place: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_place", {unit: place for place, unit in enumerate(self.units)})

    @property
    def dimension(self) -> int:
        return self.vectors.shape[1]

    @classmethod
    def fit(
        cls, texts: pl.Series, known: dict[str, np.ndarray], dimension: int, max_tokens: int, fit_rows: int
    ) -> StaticVectors:
        """Weigh the vectors of `known` units by how often they stand in the texts.

        Frequencies are taken of all texts, the shared direction of `fit_rows` of them, evenly spaced.
        """
        units = tuple(sorted(known))
        counts = Counter(unit for text in texts for unit in units_of(text, known, max_tokens))
        total = max(1, counts.total())
        weights = np.array([_HALF / (_HALF + counts[unit] / total) for unit in units], dtype=np.float32)
        stacked = np.array([known[unit] for unit in units], dtype=np.float32).reshape(len(units), dimension)
        plain = cls(
            units, stacked * weights[:, None], np.zeros(dimension, np.float32), max_tokens, texts.len()
        )
        sample = texts.gather(
            np.unique(np.linspace(0, texts.len() - 1, min(fit_rows, texts.len())).astype(int))
        )
        return cls(units, plain.vectors, _shared_direction(plain.transform(sample)), max_tokens, texts.len())

    def transform(self, texts: pl.Series) -> np.ndarray:
        """Unit vectors float32 [n, dimension]; a text without a known unit becomes zeros."""
        blocks = [np.zeros((0, self.dimension), dtype=np.float32)]
        for start in progress.track(range(0, texts.len(), _BLOCK), "static vectors"):
            means = normalise(self._counts(texts.slice(start, _BLOCK)) @ self.vectors)
            blocks.append(normalise(means - np.outer(means @ self.shared, self.shared)))
        return np.concatenate(blocks)

    def _counts(self, texts: pl.Series) -> Any:
        """How often each unit stands in each text, sparse [n, units]."""
        from scipy import sparse

        rows, columns = [], []
        for row, text in enumerate(texts):
            found = [self._place[unit] for unit in units_of(text, self._place, self.max_tokens)]
            rows += [row] * len(found)
            columns += found
        ones = np.ones(len(rows), dtype=np.float32)
        return sparse.csr_matrix((ones, (rows, columns)), shape=(texts.len(), len(self.units)))

    def save(self, folder: Path) -> None:
        """Write `static.npz` and `static.json` into the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "static.npz", vectors=self.vectors, shared=self.shared)
        about = {"units": self.units, "max_tokens": self.max_tokens, "fitted_on": self.fitted_on}
        (folder / "static.json").write_text(json.dumps(about, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> StaticVectors:
        """Read what `save` wrote."""
        about = json.loads((folder / "static.json").read_text(encoding="utf-8"))
        with np.load(folder / "static.npz", allow_pickle=False) as arrays:
            return cls(tuple(about.pop("units")), arrays["vectors"], arrays["shared"], **about)


def units_of(text: str | None, known: Container[str], max_tokens: int) -> list[str]:
    """The units of a text that are known: its words, and the characters of words that are not."""
    found = []
    for word in words(text, max_tokens):
        lower = word.lower()
        found += (
            [word]
            if word in known
            else [lower]
            if lower in known
            else [char for char in word if char in known]
        )
    return found[:max_tokens]


def words(text: str | None, max_tokens: int) -> list[str]:
    """The first words of a text; of the text no more is cut than can matter."""
    import rjieba

    return rjieba.cut((text or "")[: 16 * max_tokens])[:max_tokens]


def _shared_direction(points: np.ndarray) -> np.ndarray:
    """The first right singular vector of unit rows; zeros where there are too few of them to tell."""
    if np.count_nonzero(points.any(axis=1)) < 10:
        return np.zeros(points.shape[1], dtype=np.float32)
    _, turn = np.linalg.eigh((points.T @ points).astype(np.float64))
    direction = turn[:, -1]
    return (direction * np.sign(direction[np.abs(direction).argmax()])).astype(np.float32)
