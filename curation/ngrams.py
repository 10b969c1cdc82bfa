"""Texts as sparse counts of hashed n-grams: the ground of LSA and of the linear models.

Belongs here: hashing n-grams straight from UTF-8, and TF-IDF on the counts.
Does not belong here: what is learned from them (`lsa`, `domain.classifier`).

The units are those that a BERT-like Chinese tokenizer counts: one CJK character, or one run of other
letters and digits. N-grams of 1 to 3 units are counted within punctuation marks; words as jieba cuts
them are counted beside, in the same buckets.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from curation import progress
from curation.text import first_tokens, utf8

_BLOCK = 10_000
_ASTRAL = 0x10000


def _is_single(code: int) -> bool:
    """Scripts written without spaces: Han, kana, bopomofo, Hangul syllables."""
    return (
        0x3040 <= code <= 0x312F or 0x3400 <= code <= 0x9FFF or 0xAC00 <= code <= 0xD7AF or 0xF900 <= code <= 0xFAFF
    )  # fmt: skip


@cache
def _classes() -> tuple[np.ndarray, np.ndarray]:
    """Class of each code point of the basic plane: for n-grams of units, and for whole words."""
    from curation.ngram_kernels import BOUNDARY, IGNORED, RUN, SINGLE

    units = np.full(_ASTRAL, BOUNDARY, dtype=np.uint8)
    words = np.full(_ASTRAL, BOUNDARY, dtype=np.uint8)
    for code in range(_ASTRAL):
        char = chr(code)
        if _is_single(code):
            units[code], words[code] = SINGLE, RUN
        elif char.isalnum() or unicodedata.category(char) == "Mn":
            units[code] = words[code] = RUN
        elif char.isspace():
            units[code] = IGNORED
    return units, words


def cut_words(texts: pl.Series) -> pl.Series:
    """The words of each text as jieba cuts them, joined by spaces."""
    import rjieba

    return pl.Series(texts.name, [" ".join(rjieba.cut(text)) for text in texts], dtype=pl.String)


def hashed_counts(
    texts: pl.Series, buckets_log2: int, max_tokens: int, *, longest: int = 3, words: bool = True
) -> Any:
    """Counts of the hashed n-grams of each text.

    Parameters
    ----------
    texts
        Strings; null counts as empty. Only the first `max_tokens` tokens of each are read.
    buckets_log2
        The number of buckets is 2 to this power.
    longest
        N-grams have 1 to this many units (at most 3).
    words
        Count the words that jieba cuts as well.

    Returns
    -------
    scipy.sparse.csr_matrix float32 [n, 2 ** buckets_log2], indices sorted.
    """
    from scipy import sparse

    from curation.ngram_kernels import hash_texts

    buckets = 2**buckets_log2
    unit_classes, word_classes = _classes()
    blocks = [sparse.csr_matrix((0, buckets), dtype=np.float32)]
    for start in progress.track(range(0, texts.len(), _BLOCK), "n-grams"):
        part = first_tokens(texts.slice(start, _BLOCK).fill_null(""), max_tokens)
        cut = cut_words(part) if words else pl.Series([""] * part.len())
        indptr, indices, values = hash_texts(
            *utf8(part), *utf8(cut), unit_classes, word_classes, longest, buckets_log2
        )
        blocks.append(sparse.csr_matrix((values, indices, indptr), shape=(part.len(), buckets)))
    return sparse.vstack(blocks, format="csr", dtype=np.float32)


def document_frequency(counts: Any) -> np.ndarray:
    """Number of rows that hold each bucket, int64 [buckets]."""
    return np.bincount(counts.indices, minlength=counts.shape[1])


def inverse_document_frequency(frequency: np.ndarray, documents: int) -> np.ndarray:
    """Smoothed IDF, ln((1 + n) / (1 + df)) + 1, float32; 0 for a bucket that only one row holds.

    What a single text holds cannot connect two texts.
    """
    idf = np.log((1 + documents) / (1 + frequency)) + 1
    return np.where(frequency > 1, idf, 0).astype(np.float32)


def tf_idf(counts: Any, idf: np.ndarray) -> Any:
    """Sublinear TF-IDF with rows of unit length: (1 + ln count) * idf.

    `counts` and the result are scipy.sparse.csr_matrix float32 [n, buckets]; entries with an IDF of 0
    are left out.
    """
    weighted = counts.copy()
    weighted.data = (1 + np.log(counts.data)) * idf[counts.indices]
    weighted.eliminate_zeros()
    squares = np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel()
    scale = np.divide(1, np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0)
    weighted.data *= np.repeat(scale.astype(np.float32), np.diff(weighted.indptr))
    return weighted
