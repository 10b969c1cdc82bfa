"""MinHash signatures and LSH bands of texts.

Belongs here: shingles of characters, their signatures, and the exact Jaccard similarity of pairs.
Does not belong here: which records are duplicates (`duplicates`).

Broder, On the resemblance and containment of documents (1997). The shingles are character n-grams of
the canonical form (`canonical`: letters and digits only, simplified), for Chinese has no spaces between
words; the signatures are those of `datasketch.MinHash` with the same seed and `shingle_hash`.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import cache

import numpy as np
import polars as pl

from curation import progress, records
from curation.settings import DedupSettings
from curation.text import blocks, code_points, traditional_characters

#: Raised when the canonical form or the shingles of a text change: similarities that were found before
#: do not hold then.
METHOD = 2
_MASK = (1 << 64) - 1
#: Texts with a smaller share of uncommon shingles are compared whole.
_UNCOMMON_SHARE = 0.15
#: Texts are hashed in blocks of so many bytes, which bounds the memory.
_BLOCK_BYTES = 16 << 20


@cache
def _simplified() -> dict[int, str]:
    """Simplified characters by the code points of traditional ones."""
    return {ord(char): other for char, other in traditional_characters().items() if char != other}


def canonical(text: str) -> str:
    """The form whose n-grams are the shingles: `records.canonical`, traditional characters simplified.

    Each character is simplified by itself, for both sides of a comparison alike.
    """
    return records.canonical(text).translate(_simplified())


@cache
def _canonical_table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How characters enter the canonical form: NFKC, lower case, letters and digits, simplified.

    `table` (int32, by code point): the letter or digit it becomes, 0 if none, -k if it becomes the
    k-th expansion (`expansions[spans[k - 1]:spans[k]]`).
    """
    table = np.zeros(sys.maxunicode + 1, dtype=np.int32)
    expansions: list[int] = []
    spans = [0]
    simplified = _simplified()
    for code in range(0x32400):  # no letters beyond
        if 0x3400 <= code < 0xA000 or 0xAC00 <= code < 0xD7A4 or 0x20000 <= code < 0x2F800 or code >= 0x30000:
            table[code] = ord(simplified.get(code, chr(code))) if chr(code).isalnum() else 0
            continue
        folded = [ord(char) for char in records.canonical(chr(code)).translate(simplified) if char.isalnum()]
        if len(folded) == 1:
            table[code] = folded[0]
        elif folded:
            expansions.extend(folded)
            spans.append(len(expansions))
            table[code] = 1 - len(spans)
    return table, np.array(spans, dtype=np.int64), np.array(expansions, dtype=np.int32)


@cache
def _combining() -> np.ndarray:
    """Which code points (bool) may join with others in NFKC, which a table of single ones cannot do."""
    table = np.zeros(sys.maxunicode + 1, dtype=bool)
    table[0x1100:0x1200] = True  # Hangul letters
    table[[code for code in range(0x300, 0x32400) if unicodedata.category(chr(code))[0] == "M"]] = True
    return table


def _forms(texts: pl.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Canonical forms of texts as `minhash_kernels` takes them: forms, begins, letters."""
    from curation.corpus import minhash_kernels

    codes, starts = code_points(texts)
    combining = pl.Series(minhash_kernels.rows_with(codes, starts, _combining()))
    if combining.any():
        composed = texts.filter(combining).cast(pl.String).str.normalize("NFKC")
        codes, starts = code_points(texts.clone().scatter(combining.arg_true(), composed))
    forms, begins, letters = minhash_kernels.canonical_forms(codes, starts, *_canonical_table())
    return forms, begins, letters


def shingle_hash(shingle: str) -> int:
    """32-bit hash of one shingle in canonical form, as the signatures use it.

    Fit to be the `hashfunc` of `datasketch.MinHash`.
    """
    state = 0
    for char in shingle:
        state = (state * 0x9E3779B97F4A7C15 + ord(char)) & _MASK
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        state ^= state >> 33
        state = (state * factor) & _MASK
    return ((state ^ (state >> 33)) or 1) & 0xFFFFFFFF


def signatures(texts: pl.Series, settings: DedupSettings, seed: int = 1) -> pl.DataFrame:
    """MinHash signatures of texts.

    Returns, one row a text: `n_shingles` (UInt32, distinct), `signature` (List(UInt32), one value a
    permutation) and `bands` (List(UInt32), hash of each LSH band). Two texts become candidates with
    probability 1 − (1 − s^rows)^bands at Jaccard similarity s. A text not longer than the n-gram is one
    shingle, so that it is like itself only.
    """
    from curation.corpus import minhash_kernels

    factors, summands = _permutations(settings.permutations, seed)
    texts = texts.cast(pl.String).fill_null("")
    parts, done = [_signature_frame(np.zeros(0), np.zeros((0, 1)), np.zeros((0, 1)))], 0
    for block in blocks(texts, _BLOCK_BYTES):
        counts, signed, bands = minhash_kernels.minhash(
            *_forms(block), settings.ngram, factors, summands, settings.bands
        )
        parts.append(_signature_frame(counts, signed, bands))
        done += len(block)
        progress.report("signatures", done, len(texts))
    return pl.concat(parts)


def _permutations(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors (odd) and summands (uint32) of h → a·h + b modulo 2^32: datasketch's scheme `affine32`."""
    random = np.random.RandomState(seed)
    factors = random.randint(0, 1 << 31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return factors, random.randint(0, 1 << 32, count, dtype=np.uint32)


def _signature_frame(counts: np.ndarray, signed: np.ndarray, bands: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "n_shingles": pl.Series(counts, dtype=pl.UInt32),
            "signature": _rows_as_lists(signed),
            "bands": _rows_as_lists(bands),
        }
    )


def _rows_as_lists(matrix: np.ndarray) -> pl.Series:
    """A matrix of UInt32 as a Series of lists, one a row."""
    dtype = pl.List(pl.UInt32)
    flat = pl.Series(matrix.reshape(-1), dtype=pl.UInt32)
    return flat.reshape(matrix.shape).cast(dtype) if len(matrix) else pl.Series([], dtype=dtype)


def shingle_counts(texts: pl.Series, ngram: int) -> np.ndarray:
    """In how many texts each shingle occurs, as a table of hashed counts (uint16, saturating).

    Two shingles may share a slot; the table is large enough that this hardly raises a count.
    """
    from curation.corpus import minhash_kernels

    total = int(texts.str.len_chars().sum() or 0)
    table = np.zeros(1 << min(max((2 * total).bit_length(), 16), 26), dtype=np.uint16)
    for block in blocks(texts, _BLOCK_BYTES):
        minhash_kernels.count_shingles(*_forms(block), ngram, table)
    return table


def jaccard(
    texts: pl.Series,
    firsts: np.ndarray,
    seconds: np.ndarray,
    ngram: int,
    *,
    sizes: np.ndarray | None = None,
    counts: np.ndarray | None = None,
    common: int = 0,
) -> np.ndarray:
    """Exact Jaccard similarity (float64) of the shingle sets of pairs of texts.

    `firsts` and `seconds` are places in `texts`; only texts that occur in a pair are read. It is
    fastest where pairs of the same first follow each other, and where the `sizes` of the sets (int64,
    the `n_shingles` of `signatures`) are given. With `counts` (`shingle_counts`) and
    `common`, the similarity without the shingles that more than `common` texts hold is taken where it
    is lower: a template that many texts share does not make them alike. Texts of which too little is
    left without them are compared whole.
    """
    from curation.corpus import minhash_kernels

    if not len(firsts):
        return np.zeros(0, dtype=np.float64)
    occurs = np.zeros(len(texts), dtype=bool)
    occurs[firsts] = occurs[seconds] = True
    needed, place = np.flatnonzero(occurs), np.cumsum(occurs) - 1
    forms = _forms(texts.gather(needed))
    table = np.zeros(1, dtype=np.uint16) if counts is None else counts
    limit = 0 if counts is None else common
    if sizes is None or limit:
        held, uncommon = minhash_kernels.set_sizes(*forms, ngram, table, limit)
    else:
        held = uncommon = sizes[needed]
    similarity: np.ndarray = minhash_kernels.jaccard_of_pairs(
        *forms, ngram, held, uncommon, place[firsts], place[seconds], table, limit, _UNCOMMON_SHARE
    )
    return similarity
