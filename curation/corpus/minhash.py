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
from collections.abc import Iterable
from functools import cache

import numpy as np
import polars as pl

from curation import progress, records
from curation.settings import DedupSettings
from curation.text import blocks, traditional_characters, utf8

#: Raised when the canonical form or the shingles of a text change: similarities that were found before
#: do not hold then.
METHOD = 2
_MASK = (1 << 64) - 1
#: Texts with a smaller share of uncommon shingles are compared whole.
_UNCOMMON_SHARE = 0.15
#: Texts are hashed in blocks of so many bytes, which bounds the memory.
_BLOCK_BYTES = 16 << 20
#: Code points from here on are no letters.
_LETTERS_END = 0x32400


@cache
def _simplified() -> dict[int, str]:
    """Simplified characters by the code points of traditional ones."""
    return {ord(char): other for char, other in traditional_characters().items() if char != other}


def canonical(text: str) -> str:
    """The form whose n-grams are the shingles: `records.canonical`, traditional characters simplified.

    Each character is simplified by itself, for both sides of a comparison alike.
    """
    return records.canonical(text).translate(_simplified())


def _folded(begin: int, end: int) -> Iterable[str]:
    """NFKC and lower case of single characters."""
    block = "".join(map(chr, range(begin, end)))
    if unicodedata.is_normalized("NFKC", block) and block == block.lower():
        return block
    return (unicodedata.normalize("NFKC", char).lower() for char in block)


@cache
def _canonical_table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How characters enter the canonical form: NFKC, lower case, letters and digits, simplified.

    `table` (int32, by code point): the letter or digit it becomes, 0 if none, -k if it becomes the
    k-th expansion (`expansions[spans[k - 1]:spans[k]]`).
    """
    first, expansions, spans = list[int](), list[int](), [0]
    for begin in range(0, _LETTERS_END, 256):
        for form in _folded(begin, begin + 256):
            letters = form if form.isalnum() else "".join(filter(str.isalnum, form))
            if len(letters) > 1:
                expansions.extend(map(ord, letters))
                spans.append(len(expansions))
            first.append(1 - len(spans) if len(letters) > 1 else ord(letters or "\0"))
    simplified = np.arange(sys.maxunicode + 1, dtype=np.int32)
    simplified[list(_simplified())] = list(map(ord, _simplified().values()))
    table = np.zeros(sys.maxunicode + 1, dtype=np.int32)
    table[: len(first)] = first
    table = np.where(table > 0, simplified[table], table)
    return table, np.array(spans, dtype=np.int64), simplified[expansions]


@cache
def _alphabet(*, composed: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The table of characters as `minhash_kernels` takes it.

    Unless texts are composed (NFKC) already, it marks the characters that may join with others, which a
    table of single ones cannot do.
    """
    from curation.corpus.minhash_kernels import JOINS

    table, spans, expansions = _canonical_table()
    if not composed:
        table = table.copy()
        table[0x1100:0x1200] = JOINS  # Hangul letters
        marks = [unicodedata.category(chr(code))[0] == "M" for code in range(_LETTERS_END)]
        table[: len(marks)][marks] = JOINS
    return table, spans, expansions


def _composed(texts: pl.Series) -> pl.Series:
    return texts.cast(pl.String).str.normalize("NFKC")


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
    texts = texts.cast(pl.String).fill_null("")
    counts = np.empty(len(texts), dtype=np.uint32)
    signed = np.empty((len(texts), settings.permutations), dtype=np.uint32)
    bands = np.empty((len(texts), settings.bands), dtype=np.uint32)
    permutations = _permutations(settings.permutations, seed)
    done = 0
    for block in blocks(texts, _BLOCK_BYTES):
        part = slice(done, done + len(block))
        _sign(block, settings.ngram, permutations, (counts[part], signed[part], bands[part]))
        done += len(block)
        progress.report("signatures", done, len(texts))
    return pl.DataFrame({"n_shingles": counts, "signature": _as_lists(signed), "bands": _as_lists(bands)})


def _sign(
    texts: pl.Series,
    ngram: int,
    permutations: tuple[np.ndarray, np.ndarray],
    signed: tuple[np.ndarray, ...],
    *,
    composed: bool = False,
) -> None:
    """Write counts, signatures and bands of texts."""
    from curation.corpus import minhash_kernels

    minhash_kernels.minhash(*utf8(texts), _alphabet(composed=composed), ngram, *permutations, *signed)
    unread = np.flatnonzero(signed[0] == 0)
    if len(unread):
        again = tuple(values[unread] for values in signed)
        _sign(_composed(texts.gather(unread)), ngram, permutations, again, composed=True)
        for values, other in zip(signed, again, strict=True):
            values[unread] = other


def _permutations(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors (odd) and summands (uint32) of h → a·h + b modulo 2^32: datasketch's scheme `affine32`."""
    random = np.random.RandomState(seed)
    factors = random.randint(0, 1 << 31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return factors, random.randint(0, 1 << 32, count, dtype=np.uint32)


def _as_lists(matrix: np.ndarray) -> pl.Series:
    """A matrix of UInt32 as a Series of lists, one a row."""
    return pl.Series(matrix, dtype=pl.Array(pl.UInt32, matrix.shape[1])).arr.to_list()


def shingle_counts(texts: pl.Series, ngram: int) -> np.ndarray:
    """In how many texts each shingle occurs, as a table of hashed counts (uint16, saturating).

    Two shingles may share a slot; the table is large enough that this hardly raises a count.
    """
    from curation.corpus import minhash_kernels

    total = int(texts.str.len_chars().sum() or 0)
    table = np.zeros(1 << min(max((2 * total).bit_length(), 16), 26), dtype=np.uint16)
    for block in blocks(texts, _BLOCK_BYTES):
        unread = minhash_kernels.count_shingles(*utf8(block), _alphabet(), ngram, table)
        again = _composed(block.gather(np.flatnonzero(unread)))
        minhash_kernels.count_shingles(*utf8(again), _alphabet(composed=True), ngram, table)
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

    `firsts` and `seconds` are places in `texts`. It is fastest where pairs of the same first follow each
    other, and where the `sizes` of the sets (int64, the `n_shingles` of `signatures`) are given. With
    `counts` (`shingle_counts`) and `common`, the similarity without the shingles that more than `common`
    texts hold is taken where it is lower: a template that many texts share does not make them alike.
    Texts of which too little is left without them are compared whole.
    """
    template = (np.zeros(1, dtype=np.uint16), 0) if counts is None else (counts, common)
    similarity = _similarities(texts, firsts, seconds, ngram, sizes, template)
    unread = np.flatnonzero(np.isnan(similarity))
    if len(unread):
        pairs = firsts[unread], seconds[unread]
        similarity[unread] = _similarities(texts, *pairs, ngram, sizes, template, composed=True)
    return similarity


def _similarities(
    texts: pl.Series,
    firsts: np.ndarray,
    seconds: np.ndarray,
    ngram: int,
    sizes: np.ndarray | None,
    template: tuple[np.ndarray, int],
    *,
    composed: bool = False,
) -> np.ndarray:
    """`jaccard`, but NaN for texts that have to be composed before."""
    from curation.corpus import minhash_kernels

    # in the order in which they are needed, as often as they are: that spares walks through all memory
    changes = np.diff(firsts, prepend=-1) != 0
    order = np.concatenate([firsts[changes], seconds])
    a = np.cumsum(changes) - 1
    b = np.arange(len(order) - len(seconds), len(order))
    held = texts.gather(order)
    read = *utf8(_composed(held) if composed else held), _alphabet(composed=composed), ngram
    if sizes is None or template[1]:
        whole, uncommon = minhash_kernels.set_sizes(*read, *template)
    else:
        whole = uncommon = sizes[order]
    similarities: np.ndarray = minhash_kernels.jaccard_of_pairs(
        *read, whole, uncommon, a, b, *template, _UNCOMMON_SHARE
    )
    return similarities
