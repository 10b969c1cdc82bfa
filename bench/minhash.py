"""MinHash signatures of Chinese text: ours beside datasketch's own loop, on the same texts and permutations."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np
import polars as pl
from datasketch import MinHash

from curation.corpus.minhash import shingle_hash, signatures
from curation.settings import DedupSettings

DOCUMENTS, CHARACTERS, ROUNDS = 1_000, 300, 3


def _texts() -> pl.Series:
    """Random texts of common characters."""
    codes = np.random.default_rng(0).integers(0x4E00, 0x5E00, (DOCUMENTS, CHARACTERS))
    return pl.Series(["".join(map(chr, row)) for row in codes])


def _datasketch(texts: pl.Series, settings: DedupSettings) -> list[np.ndarray]:
    n = settings.ngram
    found = []
    for text in texts:
        signature = MinHash(num_perm=settings.permutations, seed=1, hashfunc=shingle_hash, scheme="affine32")
        signature.update_batch(list({text[start : start + n] for start in range(len(text) - n + 1)}))
        found.append(signature.hashvalues)
    return found


def _seconds(work: Any, *arguments: Any) -> float:
    begun = time.process_time()
    work(*arguments)
    return time.process_time() - begun


def run() -> dict[str, Any]:
    """CPU seconds of both, interleaved, and the median of the ratios."""
    texts, settings = _texts(), DedupSettings()  # type: ignore[call-arg]
    ours = signatures(texts, settings)["signature"].to_list()  # compiled before it is measured
    same = all(
        one == list(two) for one, two in zip(ours[:20], _datasketch(texts[:20], settings), strict=True)
    )
    pairs = [
        (_seconds(signatures, texts, settings), _seconds(_datasketch, texts, settings)) for _ in range(ROUNDS)
    ]
    return {
        "documents": DOCUMENTS,
        "same_values": same,
        "ours_cpu_seconds": round(median(one for one, _ in pairs), 3),
        "datasketch_cpu_seconds": round(median(two for _, two in pairs), 3),
        "ratio": round(median(two / one for one, two in pairs), 1),
    }
