"""MinHash signatures and LSH bands of texts.

Belongs here: shingles of characters, their signatures, and the exact Jaccard similarity of pairs.
Does not belong here: which records are duplicates (`duplicates`).

Broder, On the resemblance and containment of documents (1997). The shingles are character n-grams of
the canonical form (`records.canonical`: letters and digits only), for Chinese has no spaces between
words; the signatures are those of `datasketch.MinHash` with the same seed and `shingle_hash`.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import cache

import numpy as np
import polars as pl

from curation import progress
from curation.settings import DedupSettings
from curation.text import blocks, code_points

_MASK = (1 << 64) - 1
#: Texts with a smaller share of uncommon shingles are compared whole.
_UNCOMMON_SHARE = 0.15


@cache
def _canonical_table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How characters enter the canonical form.

    `table` (int32, by code point): the letter or digit it becomes, 0 if none, -k if it becomes the
    k-th expansion (`expansions[spans[k - 1]:spans[k]]`).
    """
    table = np.zeros(sys.maxunicode + 1, dtype=np.int32)
    expansions: list[int] = []
    spans = [0]
    for code in range(0x32400):  # no letters beyond
        folded = [ord(char) for char in unicodedata.normalize("NFKC", chr(code)).lower() if char.isalnum()]
        if len(folded) == 1:
            table[code] = folded[0]
        elif folded:
            expansions.extend(folded)
            spans.append(len(expansions))
            table[code] = 1 - len(spans)
    return table, np.array(spans, dtype=np.int64), np.array(expansions, dtype=np.int32)


def _composed(texts: pl.Series) -> pl.Series:
    """Texts with combining marks in NFKC, which a table of single characters cannot do."""
    texts = texts.cast(pl.String).fill_null("")
    combining = texts.str.contains(r"[\p{M}\u{1100}-\u{11FF}]")
    if not combining.any():
        return texts
    return texts.clone().scatter(combining.arg_true(), texts.filter(combining).str.normalize("NFKC"))


def shingle_hash(shingle: str) -> int:
    """32-bit hash of one shingle in canonical form, as the signatures use it.

    Fit to be the `hashfunc` of `datasketch.MinHash`.
    """
    state = len(shingle)
    for char in shingle:
        state = ((state ^ ord(char)) * 0x9E3779B97F4A7C15) & _MASK
        state ^= state >> 33
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        state ^= state >> 33
        state = (state * factor) & _MASK
    return (state ^ (state >> 33)) & 0xFFFFFFFF


def signatures(texts: pl.Series, settings: DedupSettings, seed: int = 1) -> pl.DataFrame:
    """MinHash signatures of texts.

    Returns, one row a text: `n_shingles` (UInt32, distinct), `signature` (List(UInt32), one value a
    permutation) and `bands` (List(UInt64), hash of each LSH band). Two texts become candidates with
    probability 1 − (1 − s^rows)^bands at Jaccard similarity s. A text shorter than the n-gram is one
    shingle, so that it is like itself only.
    """
    from datasketch import MinHash

    from curation import text_kernels

    table, spans, expansions = _canonical_table()
    factors, summands = MinHash(num_perm=settings.permutations, seed=seed, scheme="affine32").permutations
    texts = _composed(texts)
    parts, done = [_signature_frame(np.zeros(0), np.zeros((0, 1)), np.zeros((0, 1)))], 0
    for block in blocks(texts):
        codes, starts = code_points(block)
        counts, signed, bands = text_kernels.minhash(
            codes, starts, settings.ngram, table, spans, expansions, factors, summands, settings.bands
        )
        parts.append(_signature_frame(counts, signed, bands))
        done += len(block)
        progress.report("signatures", done, len(texts))
    return pl.concat(parts)


def _signature_frame(counts: np.ndarray, signed: np.ndarray, bands: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "n_shingles": pl.Series(counts, dtype=pl.UInt32),
            "signature": _rows_as_lists(signed, pl.UInt32()),
            "bands": _rows_as_lists(bands, pl.UInt64()),
        }
    )


def _rows_as_lists(matrix: np.ndarray, inner: pl.DataType) -> pl.Series:
    """A matrix as a Series of lists, one a row."""
    flat = pl.Series(matrix.reshape(-1), dtype=inner)
    return (
        flat.reshape(matrix.shape).cast(pl.List(inner))
        if len(matrix)
        else pl.Series([], dtype=pl.List(inner))
    )


def _sets(texts: pl.Series, ngram: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shingle sets of texts: hashes end to end, where each set begins, how many it has."""
    from curation import text_kernels

    codes, starts = code_points(_composed(texts))
    hashes, begins, counts = text_kernels.shingle_sets(codes, starts, ngram, *_canonical_table())
    return hashes, begins, counts


def shingle_counts(texts: pl.Series, ngram: int) -> np.ndarray:
    """In how many texts each shingle occurs, as a table of hashed counts (uint16, saturating).

    Two shingles may share a slot; the table is large enough that this hardly raises a count.
    """
    from curation import text_kernels

    total = int(texts.str.len_chars().sum() or 0)
    table = np.zeros(1 << min(max((2 * total).bit_length(), 16), 26), dtype=np.uint16)
    for block in blocks(texts):
        text_kernels.count_shingles(*_sets(block, ngram), table)
    return table


def jaccard(
    texts: pl.Series,
    firsts: np.ndarray,
    seconds: np.ndarray,
    ngram: int,
    *,
    counts: np.ndarray | None = None,
    common: int = 0,
) -> np.ndarray:
    """Exact Jaccard similarity (float64) of the shingle sets of pairs of texts.

    `firsts` and `seconds` are places in `texts`; only texts that occur in a pair are read. With
    `counts` (`shingle_counts`) and `common`, the similarity without the shingles that more than
    `common` texts hold is taken where it is lower: a template that many texts share does not make
    them alike. Texts of which too little is left without them are compared whole.
    """
    from curation import text_kernels

    if not len(firsts):
        return np.zeros(0, dtype=np.float64)
    needed, places = np.unique(np.concatenate([firsts, seconds]), return_inverse=True)
    hashes, begins, sizes = _sets(texts.gather(needed), ngram)
    pairs = places.reshape(2, -1)
    table = np.zeros(1, dtype=np.uint16) if counts is None else counts
    limit = 0 if counts is None else common
    similarity: np.ndarray = text_kernels.jaccard_of_pairs(
        hashes, begins, sizes, pairs[0], pairs[1], table, limit, _UNCOMMON_SHARE
    )
    return similarity
