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


@cache
def _canonical_table() -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """How characters enter the canonical form.

    `table` (int32, by code point): the letter or digit it becomes, 0 if none, -k if it becomes the
    k-th expansion (`expansions[spans[k - 1]:spans[k]]`); and the length of the longest expansion.
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
    longest = int(np.diff(spans).max())
    return table, np.array(spans, dtype=np.int64), np.array(expansions, dtype=np.int32), longest


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

    factors, summands = MinHash(num_perm=settings.permutations, seed=seed, scheme="affine32").permutations
    texts = _composed(texts)
    parts, done = [_signature_frame(np.zeros(0), np.zeros((0, 1)), np.zeros((0, 1)))], 0
    for block in blocks(texts):
        counts, signed, bands = text_kernels.minhash(
            *code_points(block), settings.ngram, *_canonical_table(), factors, summands, settings.bands
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


def jaccard(texts: pl.Series, firsts: np.ndarray, seconds: np.ndarray, ngram: int) -> np.ndarray:
    """Exact Jaccard similarity (float64) of the shingle sets of pairs of texts.

    `firsts` and `seconds` are places in `texts`. Only texts that occur in a pair are read.
    """
    from curation import text_kernels

    if not len(firsts):
        return np.zeros(0, dtype=np.float64)
    needed, places = np.unique(np.concatenate([firsts, seconds]), return_inverse=True)
    some = _composed(texts.gather(needed))
    sets = text_kernels.shingle_sets(*code_points(some), ngram, *_canonical_table())
    return text_kernels.jaccard_of_pairs(*sets, places[: len(firsts)], places[len(firsts) :])
