"""Encoders: texts to unit vectors, by LSA fitted on the corpus or by a Hugging Face model.

Belongs here: one interface over both, fitting and loading them. Does not belong here: the LSA method
(`curation.lsa`) or what is done with vectors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

from curation import progress, vectors
from curation.errors import UserError
from curation.lsa import Lsa
from curation.records import digest
from curation.settings import EncoderSettings
from curation.verdicts import Rule, judge


class Encoder(Protocol):
    """Anything that turns texts into unit vectors."""

    name: str
    dimension: int
    fitted_on: int
    explained_variance: float | None

    def encode(self, texts: pl.Series) -> np.ndarray:
        """Unit vectors float32 [n, dimension], one a text; zeros where a text has nothing to go by."""
        ...


class LsaEncoder:
    """Latent semantic analysis fitted on the corpus itself."""

    def __init__(self, lsa: Lsa) -> None:
        self.lsa = lsa
        self.name = f"lsa-{lsa.dimension}"
        self.dimension, self.fitted_on = lsa.dimension, lsa.fitted_on
        self.explained_variance: float | None = lsa.explained_variance

    def encode(self, texts: pl.Series) -> np.ndarray:
        return self.lsa.transform(texts)


class TransformerEncoder:
    """A Hugging Face encoder: CLS or mean pooling over the last layer, unit length.

    Texts are sorted by length and batched by tokens, so that next to nothing is padding. Numbers are
    bfloat16 on a GPU and float32 on a CPU.
    """

    def __init__(self, settings: EncoderSettings) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        self.settings = settings
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        options: dict[str, Any] = {"trust_remote_code": False}
        place = settings.model or ""
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(place, **options)
            self.model = AutoModel.from_pretrained(place, use_safetensors=True, **options)
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(
                f"cannot load the encoder: {reason}",
                where=str(settings.model),
                allowed="a folder or hub id of an encoder with safetensors and a tokenizer",
            ) from error
        dtype = torch.bfloat16 if self.device == "cuda" else torch.float32
        self.model.to(device=self.device, dtype=dtype).eval()
        self.name = f"transformers-{settings.model}-{settings.pooling}"
        self.dimension, self.fitted_on = int(self.model.config.hidden_size), 0
        self.explained_variance: float | None = None

    def encode(self, texts: pl.Series) -> np.ndarray:
        import torch

        prefixed = [self.settings.prefix + (text or "") for text in texts]
        limit = min(self.settings.max_tokens, getattr(self.model.config, "max_position_embeddings", 1 << 20))
        ids = self.tokenizer(prefixed, truncation=True, max_length=limit)["input_ids"] if prefixed else []
        out = np.zeros((len(ids), self.dimension), dtype=np.float32)
        with torch.inference_mode():
            for rows in progress.track(self._batches(ids), "texts encoded"):
                batch = self.tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt")
                out[rows] = self._pool(batch.to(self.device))
        return vectors.normalise(out)

    def _batches(self, ids: list[list[int]]) -> list[list[int]]:
        """Rows of each batch: like lengths together, at most `batch_tokens` tokens with the padding."""
        order = sorted(range(len(ids)), key=lambda row: (len(ids[row]), ids[row]))
        batches: list[list[int]] = []
        for row in order:
            if not batches or (len(batches[-1]) + 1) * len(ids[row]) > self.settings.batch_tokens:
                batches.append([])
            batches[-1].append(row)
        return batches

    def _pool(self, batch: Any) -> np.ndarray:
        hidden = self.model(**batch).last_hidden_state.float()
        if self.settings.pooling == "cls":
            return np.asarray(hidden[:, 0].cpu())
        mask = batch["attention_mask"].unsqueeze(-1).float()
        return np.asarray(((hidden * mask).sum(1) / mask.sum(1).clamp(min=1)).cpu())


def fit_encoder(settings: EncoderSettings, texts: pl.Series, seed: int, folder: Path) -> Encoder:
    """Fit the encoder on texts and save it in a folder; one that is loaded needs no fitting."""
    if settings.kind == "transformers":
        return TransformerEncoder(settings)
    lsa = Lsa.fit(texts, settings, seed)
    lsa.save(folder)
    return LsaEncoder(lsa)


def load_encoder(settings: EncoderSettings, folder: Path) -> Encoder:
    """The encoder that was fitted into a folder, or the model that the settings name."""
    if settings.kind == "transformers":
        return TransformerEncoder(settings)
    return LsaEncoder(Lsa.load(folder))


def describe(encoder: Encoder, place: str) -> pl.DataFrame:
    """The one row of the table Encoder."""
    about = {
        "record_id": digest("encoder", encoder.name, place),
        "name": encoder.name,
        "dimension": encoder.dimension,
        "fitted_on": encoder.fitted_on,
        "explained_variance": encoder.explained_variance,
        "path": place,
    }
    frame = pl.DataFrame([about], schema_overrides={"explained_variance": pl.Float64})
    return judge(frame, [], fitted_on=encoder.fitted_on, explained_variance=pl.col("explained_variance"))


def embed(encoder: Encoder, texts: pl.DataFrame) -> pl.DataFrame:
    """Rows of the table Embeddings: `texts` has record_id, shard and text.

    A text that the encoder knows nothing of keeps its row, with a vector of zeros.
    """
    points = encoder.encode(texts["text"])
    frame = texts.select("record_id", "shard").with_columns(vectors.series(points))
    known = pl.Series(points.any(axis=1) if len(points) else [], dtype=pl.Boolean)
    return judge(frame, list[Rule](), encoder=encoder.name, known=known)
