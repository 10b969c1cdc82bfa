"""Vectors of texts by a transformer: ours beside a loop of batches of fixed length in 32 bits.

The loop is the one of many tutorials: every text is padded to the model's longest, 512 tokens, 16 texts
at a time. The shape is that of a small BERT, the weights are random, the lengths those of web texts.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from curation.settings import EncoderSettings
from curation.torch_runtime import quiet, torch_threads
from resources.encoder import TransformerEncoder

TEXTS, ROUNDS, BATCH, LONGEST = 64, 2, 16, 512


def _texts() -> pl.Series:
    """Random texts of common characters, a token each; half of them below 130 characters."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(130), 0.9, TEXTS), 10, 2_000).astype(int)
    return pl.Series(["".join(map(chr, rng.integers(0x4E00, 0x4E00 + 5_000, length))) for length in lengths])


def _save_model(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *map(chr, range(0x4E00, 0x4E00 + 5_000))]
    core = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=512, num_hidden_layers=4, num_attention_heads=8, intermediate_size=2_048
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    ).save_pretrained(folder)


def _fixed(model: Any, tokenizer: Any, texts: pl.Series) -> np.ndarray:
    import torch

    found = []
    for start in range(0, texts.len(), BATCH):
        batch = tokenizer(
            texts[start : start + BATCH].to_list(),
            padding="max_length", truncation=True, max_length=LONGEST, return_tensors="pt", return_token_type_ids=False,
        )  # fmt: skip
        with torch.no_grad():
            states = model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        pooled = (states * mask).sum(1) / mask.sum(1)
        found.append(torch.nn.functional.normalize(pooled, dim=-1).numpy())
    return np.concatenate(found)


def _timed(work: Any, *arguments: Any) -> tuple[float, np.ndarray]:
    """CPU seconds and the result; one thread in each operation, so that none are lost in waiting."""
    begun = time.process_time()
    with torch_threads(1):
        found = work(*arguments)
    return time.process_time() - begun, found


def run() -> dict[str, Any]:
    """CPU seconds of both, interleaved, the median of the ratios, and the least cosine between both."""
    from transformers import AutoModel, AutoTokenizer

    texts = _texts()
    with tempfile.TemporaryDirectory() as place, quiet():
        _save_model(Path(place))
        encoder = TransformerEncoder(EncoderSettings(kind="transformers", model=place, pooling="mean"))  # type: ignore[call-arg]
        model, tokenizer = AutoModel.from_pretrained(place).eval(), AutoTokenizer.from_pretrained(place)
    encoder.encode(texts[:4])
    pairs = [(_timed(encoder.encode, texts), _timed(_fixed, model, tokenizer, texts)) for _ in range(ROUNDS)]
    (_, ours), (_, fixed) = pairs[0]
    return {
        "texts": TEXTS,
        "precision": str(encoder.model.dtype).removeprefix("torch."),
        "least_cosine": round(float((ours * fixed).sum(axis=1).min()), 6),
        "ours_cpu_seconds": round(median(one for (one, _), _ in pairs), 2),
        "fixed_cpu_seconds": round(median(two for _, (two, _) in pairs), 2),
        "ratio": round(median(two / one for (one, _), (two, _) in pairs), 2),
    }
