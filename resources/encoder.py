"""Encoders: texts to unit vectors, fitted on the corpus or loaded.

Belongs here: one interface over LSA, static vectors and Hugging Face models; fitting and loading them;
encoding only what was not encoded before. Does not belong here: the methods (`curation.lsa`,
`curation.static_vectors`) or what is done with vectors.

LSA and static vectors are fitted on the corpus: when it grows they are fitted again and encode all of it
again, which is quick. A loaded model stays as it is: its row in the lake does not change with the
corpus, so that the vectors of old shards stay fresh, and of a shard that did change only the texts that
are new are encoded.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

from curation import progress, vectors
from curation.errors import UserError
from curation.lsa import Lsa
from curation.records import digest
from curation.settings import EncoderSettings
from curation.static_vectors import StaticVectors, words
from curation.torch_runtime import quiet, torch_threads
from curation.verdicts import Rule, judge
from resources import checkpoints
from resources.content_cache import ContentCache, keys_of
from resources.lake import Lake
from resources.word_vectors import read_word_vectors

#: Weights that some checkpoints lack and that are not used here.
_UNUSED = ("pooler.", "cls.", "lm_head.")


class Encoder(Protocol):
    """Anything that turns texts into unit vectors.

    `version` tells encoders apart that could give another vector for a text; it is None for one that was
    fitted on the corpus, whose vectors are not worth keeping. `place` is where a loaded one came from.
    """

    name: str
    version: str | None
    place: str | None
    dimension: int
    fitted_on: int
    explained_variance: float | None

    def encode(self, texts: pl.Series) -> np.ndarray:
        """Unit vectors float32 [n, dimension], one a text; zeros where a text has nothing to go by."""
        ...


class FittedEncoder:
    """LSA or static vectors, fitted on the corpus itself."""

    version: str | None = None
    place: str | None = None

    def __init__(self, name: str, fitted: Lsa | StaticVectors) -> None:
        self.fitted = fitted
        self.name = f"{name}-{fitted.dimension}"
        self.dimension, self.fitted_on = fitted.dimension, fitted.fitted_on
        self.explained_variance: float | None = getattr(fitted, "explained_variance", None)

    def encode(self, texts: pl.Series) -> np.ndarray:
        return self.fitted.transform(texts)


class TransformerEncoder:
    """A Hugging Face encoder: CLS, mean or last token of the last layer, unit length.

    Texts are sorted by length and batched by tokens, so that next to nothing is padding. A batch is
    worked on by one thread, so that the number of threads changes nothing. A text's vector depends on
    the others of its batch in the last bits only.
    """

    def __init__(self, settings: EncoderSettings) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.settings = settings
        self.place: str | None = str(settings.model)
        self.device = checkpoints.device()
        options: dict[str, Any] = {"trust_remote_code": False}
        allowed = "a folder or hub id of an encoder with safetensors and a tokenizer"
        with checkpoints.loading("the encoder", self.place, allowed), quiet():
            self.tokenizer = AutoTokenizer.from_pretrained(self.place, **options)
            self.model, told = AutoModel.from_pretrained(
                self.place, use_safetensors=True, output_loading_info=True, dtype="float32", **options
            )
        missing = sorted(name for name in told["missing_keys"] if not name.startswith(_UNUSED))
        if missing:
            raise UserError(
                f"the checkpoint lacks {len(missing)} weights, {missing[0]} first", where=self.place
            )
        if self.model.config.is_encoder_decoder:
            raise UserError("an encoder-decoder is no encoder", where=self.place, allowed=allowed)
        self.model.to(device=self.device, dtype=checkpoints.dtype(settings.precision)).eval()
        self.name = f"transformers-{settings.model}-{settings.pooling}"
        method = settings.model_dump_json(include={"pooling", "prefix", "max_tokens"})
        self.version: str | None = digest(
            checkpoints.version(self.place, self.model), method, str(self.model.dtype)
        )[:16]
        self.dimension, self.fitted_on = int(self.model.config.hidden_size), 0
        self.explained_variance: float | None = None

    def encode(self, texts: pl.Series) -> np.ndarray:
        import torch

        prefixed = [self.settings.prefix + (text or "") for text in texts]
        ids = self._tokens(prefixed)
        out = np.zeros((len(ids), self.dimension), dtype=np.float32)
        work = self._batches(ids)
        threads = torch.get_num_threads() if self.device == "cpu" else 1
        done = 0
        with torch_threads(1), ThreadPoolExecutor(threads) as pool:
            for rows, points in zip(
                work, pool.map(lambda rows: self._pooled([ids[row] for row in rows]), work), strict=True
            ):
                out[rows] = points
                done += len(rows)
                progress.report("texts encoded", done, len(ids))
        return vectors.normalise(out)

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, special ones among them, no more than the model has positions for."""
        config = self.model.config
        positions = getattr(config, "max_position_embeddings", 0) or 1 << 30
        # models after RoBERTa count positions from the padding's id on
        taken = (config.pad_token_id or 0) + 1 if "roberta" in config.model_type else 0
        limit = min(self.settings.max_tokens, positions - taken, self.tokenizer.model_max_length)
        return self.tokenizer(texts, truncation=True, max_length=limit)["input_ids"] if texts else []

    def _batches(self, ids: list[list[int]]) -> list[list[int]]:
        """Rows of each batch: like lengths together, at most `batch_tokens` tokens with the padding."""
        order = sorted(range(len(ids)), key=lambda row: (len(ids[row]), ids[row]), reverse=True)
        batches: list[list[int]] = []
        for row in order:
            if not batches or (len(batches[-1]) + 1) * len(ids[batches[-1][0]]) > self.settings.batch_tokens:
                batches.append([])
            batches[-1].append(row)
        return batches

    def _pooled(self, ids: list[list[int]]) -> np.ndarray:
        """Pooled states of one batch, float32 [n, dimension]."""
        import torch

        lengths = torch.tensor([len(row) for row in ids])
        longest = int(lengths.max())
        padding = self.tokenizer.pad_token_id or 0
        matrix = torch.tensor([row + [padding] * (longest - len(row)) for row in ids]).to(self.device)
        mask = (torch.arange(longest) < lengths[:, None]).to(self.device)
        # without padding no mask is needed, and attention is quicker
        masked = {} if bool((lengths == longest).all()) else {"attention_mask": mask.long()}
        with torch.inference_mode():
            states = self.model(input_ids=matrix, **masked).last_hidden_state
            if self.settings.pooling == "cls":
                found = states[:, 0].float()
            elif self.settings.pooling == "last":
                found = states[torch.arange(len(ids)), lengths - 1].float()
            else:
                weight = mask.unsqueeze(-1)
                found = (states.float() * weight).sum(1) / weight.sum(1).clamp(min=1)
        return found.cpu().numpy()


# -- fitting and loading ------------------------------------------------------------------------


def fit_encoder(settings: EncoderSettings, texts: pl.Series, seed: int, folder: Path) -> Encoder:
    """Fit the encoder on texts and save it in a folder; one that is loaded needs no fitting.

    Raises
    ------
    UserError
        The model or the file of vectors that the settings name cannot be read.
    """
    if settings.kind == "transformers":
        return TransformerEncoder(settings)
    fitted = _fit_static(settings, texts) if settings.kind == "static" else Lsa.fit(texts, settings, seed)
    fitted.save(folder)
    return FittedEncoder(settings.kind, fitted)


def load_encoder(settings: EncoderSettings, folder: Path) -> Encoder:
    """The encoder that was fitted into a folder, or the model that the settings name."""
    if settings.kind == "transformers":
        return TransformerEncoder(settings)
    load: Callable[[Path], Lsa | StaticVectors] = (
        StaticVectors.load if settings.kind == "static" else Lsa.load
    )
    return FittedEncoder(settings.kind, load(folder))


def _fit_static(settings: EncoderSettings, texts: pl.Series) -> StaticVectors:
    wanted = {word for text in texts for word in words(text, settings.max_tokens)}
    wanted |= {word.lower() for word in wanted} | {char for word in wanted for char in word}
    known, dimension = read_word_vectors(str(settings.model), wanted)
    if not known:
        raise UserError("no unit of these vectors stands in the texts", where=str(settings.model))
    return StaticVectors.fit(texts, known, dimension, settings.max_tokens, settings.fit_rows)


# -- tables -------------------------------------------------------------------------------------


def describe(encoder: Encoder, place: str) -> pl.DataFrame:
    """The one row of the table Encoder; `place` is the folder of one that was fitted.

    The row of a loaded encoder says nothing of the run, so that it stays the same when the corpus grows.
    """
    about = {
        "record_id": digest("encoder", encoder.name, encoder.place or place),
        "name": encoder.name,
        "dimension": encoder.dimension,
        "fitted_on": encoder.fitted_on,
        "explained_variance": encoder.explained_variance,
        "path": encoder.place or place,
    }
    frame = pl.DataFrame([about], schema_overrides={"explained_variance": pl.Float64})
    return judge(
        frame,
        [],
        version=encoder.version,
        fitted_on=encoder.fitted_on,
        explained_variance=pl.col("explained_variance"),
    )


def embed(encoder: Encoder, texts: pl.DataFrame, lake: Lake) -> pl.DataFrame:
    """Rows of the table Embeddings: `texts` has record_id, shard and text.

    A text that the encoder knows nothing of keeps its row, with a vector of zeros. What a loaded encoder
    has encoded is kept beside the lake, and not encoded again.
    """

    def measure(new: pl.DataFrame) -> pl.DataFrame:
        return pl.DataFrame(vectors.series(encoder.encode(new["text"])))

    if encoder.version:
        asked = texts.select("text").with_columns(keys_of(texts["text"]))
        found = ContentCache(lake, f"_vectors/{encoder.version}").measured(asked, measure)
    else:
        found = measure(texts)
    frame = texts.select("record_id", "shard").hstack(found)
    known = frame["vector"].list.eval(pl.element() != 0).list.any()
    return judge(frame, list[Rule](), encoder=encoder.name, known=known)
