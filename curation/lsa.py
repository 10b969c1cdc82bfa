"""Latent semantic analysis: vectors of texts, learned from the texts themselves.

Belongs here: fitting, applying, saving and loading the projection.
Does not belong here: the n-grams (`ngrams`), or which encoder a profile asks for (`resources.encoder`).

Deerwester et al. (1990), "Indexing by latent semantic analysis"; the truncated SVD by the randomised
range finder of Halko, Martinsson & Tropp (2011), "Finding structure with randomness".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curation import ngrams, progress
from curation.settings import EncoderSettings
from curation.vectors import normalise

_OVERSAMPLING = 16
_POWER_ITERATIONS = 3
_BLOCK = 10_000


@dataclass(frozen=True)
class Lsa:
    """A fitted projection from hashed n-gram TF-IDF to `dimension` dimensions.

    Attributes
    ----------
    buckets
        The hash buckets that are read, ascending, int32 [m].
    idf
        Their inverse document frequencies, float32 [m].
    components
        The projection, float32 [m, dimension].
    fitted_on
        Number of texts that it was fitted on.
    explained_variance
        Share of the squared norm of the fitted TF-IDF rows that the dimensions keep.
    """

    buckets: np.ndarray
    idf: np.ndarray
    components: np.ndarray
    buckets_log2: int
    max_tokens: int
    fitted_on: int
    explained_variance: float

    @property
    def dimension(self) -> int:
        return self.components.shape[1]

    @classmethod
    def fit(cls, texts: pl.Series, settings: EncoderSettings, seed: int) -> Lsa:
        """Learn the projection from a seeded sample of at most `settings.fit_rows` of the texts.

        A dimension beyond the rank of the sample is zero, so that vectors always have
        `settings.dimension` numbers.
        """
        generator = np.random.default_rng(seed)
        if texts.len() > settings.fit_rows:
            rows = np.sort(generator.choice(texts.len(), settings.fit_rows, replace=False))
            texts = texts.gather(rows)
        counts = ngrams.hashed_counts(texts, settings.buckets_log2, settings.max_tokens)
        frequency = ngrams.document_frequency(counts)
        # few texts: a bucket need not be shared
        idf = ngrams.inverse_document_frequency(frequency if texts.len() > 2 else 2 * frequency, texts.len())
        buckets = np.flatnonzero(idf).astype(np.int32)
        weighted = ngrams.tf_idf(counts, idf)[:, buckets]
        components, kept = _truncated_svd(weighted, settings.dimension, generator)
        return cls(
            buckets, idf[buckets], components, settings.buckets_log2, settings.max_tokens, texts.len(), kept
        )

    def transform(self, texts: pl.Series) -> np.ndarray:
        """Unit vectors float32 [n, dimension]; a text without a known n-gram becomes zeros."""
        blocks = [np.zeros((0, self.dimension), dtype=np.float32)]
        for start in progress.track(range(0, texts.len(), _BLOCK), "LSA vectors"):
            part = texts.slice(start, _BLOCK)
            blocks.append(self.project(ngrams.hashed_counts(part, self.buckets_log2, self.max_tokens)))
        return np.concatenate(blocks)

    def project(self, counts: Any) -> np.ndarray:
        """Unit vectors of texts whose n-grams are counted already (`ngrams.hashed_counts`)."""
        idf = np.zeros(counts.shape[1], dtype=np.float32)
        idf[self.buckets] = self.idf
        return normalise(ngrams.tf_idf(counts, idf)[:, self.buckets] @ self.components)

    def save(self, folder: Path) -> None:
        """Write `lsa.npz` and `lsa.json` into the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "lsa.npz", buckets=self.buckets, idf=self.idf, components=self.components)
        about = {
            "buckets_log2": self.buckets_log2,
            "max_tokens": self.max_tokens,
            "fitted_on": self.fitted_on,
            "explained_variance": self.explained_variance,
        }
        (folder / "lsa.json").write_text(json.dumps(about, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Lsa:
        """Read what `save` wrote."""
        about = json.loads((folder / "lsa.json").read_text(encoding="utf-8"))
        with np.load(folder / "lsa.npz", allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in arrays.files}, **about)


def _truncated_svd(rows: Any, dimension: int, generator: np.random.Generator) -> tuple[np.ndarray, float]:
    """The right singular vectors of sparse rows [n, m], float32 [m, dimension], and the share they keep.

    One BLAS thread, and each vector's largest entry positive: the same bytes on every machine size.
    """
    from threadpoolctl import threadpool_limits

    n, m = rows.shape
    components = np.zeros((m, dimension), dtype=np.float32)
    rank = min(dimension, n, m)
    if rank == 0:
        return components, 0.0
    with threadpool_limits(1):
        width = min(rank + _OVERSAMPLING, n, m)
        columns = rows.T.tocsr()
        basis = generator.standard_normal((m, width), dtype=np.float32)
        for _ in progress.track(range(_POWER_ITERATIONS), "LSA"):
            left, _ = np.linalg.qr(rows @ basis)
            basis = columns @ left
        # basis is now (leftᵀ rows)ᵀ: its small Gram matrix holds the singular values
        values, turn = np.linalg.eigh((basis.T @ basis).astype(np.float64))
        order = np.argsort(values)[::-1][:rank]
        order = order[values[order] > 1e-6 * max(values.max(), 1e-30)]
        scaled = (turn[:, order] / np.sqrt(values[order])).astype(np.float32)
        right = basis @ scaled
    largest = right[np.abs(right).argmax(axis=0), np.arange(right.shape[1])]
    components[:, : right.shape[1]] = right * np.where(largest < 0, -1, 1).astype(np.float32)
    total = float((rows.data.astype(np.float64) ** 2).sum())
    return components, min(1.0, float(values[order].sum()) / total)
