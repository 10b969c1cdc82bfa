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

try:
    from curation.text import first_tokens
except ImportError:  # until that module is there

    def first_tokens(texts: pl.Series, n: int) -> pl.Series:
        return texts.str.slice(0, n)


_BLOCK = 10_000
_IGNORED, _BOUNDARY, _SINGLE, _RUN = range(4)
_ASTRAL = 0x10000


def _is_single(code: int) -> bool:
    """Scripts written without spaces: Han, kana, bopomofo, Hangul syllables."""
    return (
        0x3040 <= code <= 0x312F or 0x3400 <= code <= 0x9FFF or 0xAC00 <= code <= 0xD7AF or 0xF900 <= code <= 0xFAFF
    )  # fmt: skip


@cache
def _classes() -> tuple[np.ndarray, np.ndarray]:
    """Class of each code point of the basic plane: for n-grams of units, and for whole words."""
    units = np.full(_ASTRAL, _BOUNDARY, dtype=np.uint8)
    words = np.full(_ASTRAL, _BOUNDARY, dtype=np.uint8)
    for code in range(_ASTRAL):
        char = chr(code)
        if _is_single(code):
            units[code], words[code] = _SINGLE, _RUN
        elif char.isalnum() or unicodedata.category(char) == "Mn":
            units[code] = words[code] = _RUN
        elif char.isspace():
            units[code] = _IGNORED
    return units, words


@cache
def _kernels() -> Any:
    """The compiled hashing of a block of texts."""
    import numba

    u64 = np.uint64
    prime, offset = u64(0x100000001B3), u64(0xCBF29CE484222325)
    mix_1, mix_2 = u64(0xFF51AFD7ED558CCD), u64(0xC4CEB9FE1A85EC53)

    @numba.njit(cache=True)
    def finish(value: Any) -> Any:  # the finaliser of MurmurHash3
        value ^= value >> u64(33)
        value *= mix_1
        value ^= value >> u64(33)
        value *= mix_2
        return value ^ (value >> u64(33))

    @numba.njit(cache=True)
    def hash_text(
        data: Any,
        start: int,
        end: int,
        classes: Any,
        longest: int,
        shortest: int,
        salt: Any,
        bits: int,
        out: Any,
        place: int,
    ) -> int:
        first, second = u64(0), u64(0)  # the two units before
        before = 0
        run, run_length, is_number = offset, 0, True
        shift = u64(64 - bits)
        position = start
        while position <= end:
            kind, code = _BOUNDARY, 0
            size = 1
            if position < end:
                byte = data[position]
                if byte < 0x80:
                    code = int(byte)
                elif byte < 0xE0:
                    code, size = ((byte & 0x1F) << 6) | (data[position + 1] & 0x3F), 2
                elif byte < 0xF0:
                    code = (
                        ((byte & 0x0F) << 12)
                        | ((data[position + 1] & 0x3F) << 6)
                        | (data[position + 2] & 0x3F)
                    )
                    size = 3
                else:
                    code = (
                        ((byte & 0x07) << 18)
                        | ((data[position + 1] & 0x3F) << 12)
                        | ((data[position + 2] & 0x3F) << 6)
                        | (data[position + 3] & 0x3F)
                    )
                    size = 4
                if code < 0x10000:
                    kind = classes[code]
                elif 0x20000 <= code <= 0x3FFFF:
                    kind = classes[0x4E00]  # rare Han characters
                if 65 <= code <= 90:
                    code += 32
            position += size
            if kind == _RUN:
                run = (run ^ u64(code)) * prime
                run_length += 1
                is_number = is_number and 48 <= code <= 57
                continue
            for step in range(2):
                if step == 0:  # the run that ends here is a unit
                    if run_length == 0:
                        continue
                    unit = u64(run_length) if is_number else finish(run)  # numbers of equal length are one
                    wanted = run_length >= shortest
                    run, run_length, is_number = offset, 0, True
                else:
                    if kind != _SINGLE:
                        continue
                    unit, wanted = finish(u64(code) * prime), True
                if wanted:
                    out[place] = finish(unit ^ salt) >> shift
                    place += 1
                    if longest >= 2 and before >= 1:
                        pair = finish(second * prime ^ unit)
                        out[place] = finish(pair ^ salt) >> shift
                        place += 1
                        if longest >= 3 and before >= 2:
                            out[place] = finish(finish(first * prime ^ pair) ^ salt) >> shift
                            place += 1
                first, second = second, unit
                before += 1
            if kind == _BOUNDARY:
                before = 0
        return place

    @numba.njit(cache=True, parallel=True)
    def hash_texts(
        data: Any,
        offsets: Any,
        word_data: Any,
        word_offsets: Any,
        unit_classes: Any,
        word_classes: Any,
        longest: int,
        bits: int,
    ) -> Any:
        rows = len(offsets) - 1
        starts = np.empty(rows + 1, dtype=np.int64)
        starts[0] = 0
        for row in range(rows):
            units = offsets[row + 1] - offsets[row]
            words = word_offsets[row + 1] - word_offsets[row]
            starts[row + 1] = starts[row] + longest * (units + 1) + words + 1
        buckets = np.empty(starts[rows], dtype=np.int32)
        counts = np.empty(starts[rows], dtype=np.float32)
        distinct = np.zeros(rows + 1, dtype=np.int64)
        for row in numba.prange(rows):
            begin = starts[row]
            place = hash_text(
                data, offsets[row], offsets[row + 1], unit_classes, longest, 1, u64(0), bits, buckets, begin
            )
            place = hash_text(
                word_data,
                word_offsets[row],
                word_offsets[row + 1],
                word_classes,
                1,
                2,
                u64(0x9E3779B97F4A7C15),
                bits,
                buckets,
                place,
            )
            ordered = np.sort(buckets[begin:place])
            last = begin - 1
            for index in range(len(ordered)):
                if index == 0 or ordered[index] != ordered[index - 1]:
                    last += 1
                    buckets[last], counts[last] = ordered[index], 1
                else:
                    counts[last] += 1
            distinct[row + 1] = last + 1 - begin
        indptr = np.cumsum(distinct)
        indices = np.empty(indptr[rows], dtype=np.int32)
        values = np.empty(indptr[rows], dtype=np.float32)
        for row in numba.prange(rows):
            size = distinct[row + 1]
            indices[indptr[row] : indptr[row + 1]] = buckets[starts[row] : starts[row] + size]
            values[indptr[row] : indptr[row + 1]] = counts[starts[row] : starts[row] + size]
        return indptr, indices, values

    return hash_texts


def _utf8(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of all texts in one array, and the n + 1 places between them."""
    lengths = texts.str.len_bytes().to_numpy()
    joined = texts.str.join("", ignore_nulls=False).item() if texts.len() else ""
    return np.frombuffer(joined.encode("utf-8"), dtype=np.uint8), np.concatenate(
        [[0], np.cumsum(lengths, dtype=np.int64)]
    )


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

    buckets = 2**buckets_log2
    hash_texts = _kernels()
    unit_classes, word_classes = _classes()
    blocks = [sparse.csr_matrix((0, buckets), dtype=np.float32)]
    for start in progress.track(range(0, texts.len(), _BLOCK), "n-grams"):
        part = first_tokens(texts.slice(start, _BLOCK).fill_null(""), max_tokens)
        cut = cut_words(part) if words else pl.Series([""] * part.len())
        indptr, indices, values = hash_texts(
            *_utf8(part), *_utf8(cut), unit_classes, word_classes, longest, buckets_log2
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
