"""Is a prompt new? ROUGE-L that works for Chinese, and the greedy filter of Self-Instruct.

Belongs here: tokens, ROUGE-L, and comparing candidates with all that was accepted before.
Does not belong here: near duplicates among documents or samples (`corpus.minhash`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

#: A token is one CJK character (or kana, hangul), or one run of other letters and digits.
_TOKEN = re.compile(r"[㐀-鿿぀-ヿ가-힯豈-﫿]|[\U00020000-\U0003ffff]|[^\W_㐀-鿿぀-ヿ가-힯豈-﫿\U00020000-\U0003ffff]+")


def tokens(text: str) -> list[str]:
    """Tokens for ROUGE-L: characters of Chinese, words of other scripts, in lower case, NFKC."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).lower())


def rouge_l(first: str, second: str) -> float:
    """ROUGE-L F1 of two texts: 2·LCS / (length of one + length of the other), in tokens.

    Two texts without any token are equal (1.0); a text without tokens and one with them share nothing.

    References
    ----------
    Lin (2004), ROUGE: A package for automatic evaluation of summaries.
    """
    ids, offsets, size = _encode([first, second])
    lengths = np.diff(offsets)
    if not lengths.all():
        return float(not lengths.any())
    common = _kernels()["lcs"](ids[: offsets[1]], ids[offsets[1] :], size)
    return 2.0 * common / float(lengths.sum())


def novel(candidates: Sequence[str], pool: Sequence[str], max_rouge_l: float) -> pl.DataFrame:
    """Go through the candidates in order; each is novel if it is not too similar to what is there.

    A candidate is compared with the pool and with the candidates accepted before it (Wang et al. 2023,
    Self-Instruct, accept at ROUGE-L ≤ 0.7).

    Returns
    -------
    DataFrame
        One row a candidate: `novel`, `rouge_l` (to the most similar accepted text) and `nearest`, the
        index of that text: below len(pool) in the pool, from there on in the candidates; null where
        there was nothing to compare with. Of equally similar texts the first is named.
    """
    ids, offsets, size = _encode([*pool, *candidates])
    accepted, best, nearest = _kernels()["novel"](ids, offsets, len(pool), max_rouge_l, size)
    index = pl.Series("nearest", nearest, dtype=pl.Int64)
    return pl.DataFrame(
        {"novel": pl.Series(accepted, dtype=pl.Boolean), "rouge_l": pl.Series(best, dtype=pl.Float64)}
    ).with_columns(nearest=pl.when(index >= 0).then(index))


def _encode(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, int]:
    """Token numbers of all texts in one array, where each text begins, and how many tokens there are."""
    numbers: dict[str, int] = {}
    lists = [[numbers.setdefault(token, len(numbers)) for token in tokens(text)] for text in texts]
    offsets = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(one) for one in lists], out=offsets[1:])
    ids = np.fromiter((number for one in lists for number in one), np.int32, int(offsets[-1]))
    return ids, offsets, len(numbers)


@lru_cache(maxsize=1)
def _kernels() -> dict[str, Any]:
    """The compiled loops: numba is imported when they are first needed."""
    from numba import njit

    @njit(cache=True)
    def mark(text, masks):  # type: ignore[no-untyped-def]
        """Set, for every token of the text, the bits of the places where it stands."""
        for place in range(text.size):
            masks[text[place], place >> 6] |= np.uint64(1) << np.uint64(place & 63)

    @njit(cache=True)
    def unmark(text, masks):  # type: ignore[no-untyped-def]
        for place in range(text.size):
            masks[text[place], :] = np.uint64(0)

    @njit(cache=True)
    def marked_lcs(length, masks, words, other):  # type: ignore[no-untyped-def]
        """Length of the longest common subsequence by bit-parallel rows (Hyyrö 2004)."""
        row = np.full(words, ~np.uint64(0), np.uint64)
        for token in other:
            carry = np.uint64(0)
            for word in range(words):
                shared = row[word] & masks[token, word]
                total = row[word] + shared
                overflow = np.uint64(1) if total < row[word] else np.uint64(0)
                total += carry
                if carry and total == np.uint64(0):
                    overflow = np.uint64(1)
                row[word] = total | (row[word] & ~shared)
                carry = overflow
        common = 0
        for place in range(length):
            if not (row[place >> 6] >> np.uint64(place & 63)) & np.uint64(1):
                common += 1
        return common

    @njit(cache=True)
    def lcs(first, second, size):  # type: ignore[no-untyped-def]
        words = (first.size + 63) >> 6
        masks = np.zeros((size, words), np.uint64)
        mark(first, masks)
        return marked_lcs(first.size, masks, words, second)

    @njit(cache=True)
    def histograms(ids, offsets):  # type: ignore[no-untyped-def]
        counts = np.zeros((offsets.size - 1, 64), np.int32)
        for text in range(offsets.size - 1):
            for place in range(offsets[text], offsets[text + 1]):
                counts[text, ids[place] & 63] += 1
        return counts

    @njit(cache=True)
    def find_novel(ids, offsets, n_pool, limit, size):  # type: ignore[no-untyped-def]
        """Exact highest similarity: a pair is aligned only if its shared tokens could beat the best."""
        n_texts = offsets.size - 1
        n_candidates = n_texts - n_pool
        counts = histograms(ids, offsets)
        longest = 1
        for text in range(n_pool, n_texts):
            longest = max(longest, offsets[text + 1] - offsets[text])
        masks = np.zeros((max(size, 1), (longest + 63) >> 6), np.uint64)
        accepted = np.zeros(n_candidates, np.bool_)
        best = np.zeros(n_candidates, np.float64)
        nearest = np.full(n_candidates, -1, np.int64)
        for candidate in range(n_candidates):
            text = n_pool + candidate
            own = ids[offsets[text] : offsets[text + 1]]
            words = (own.size + 63) >> 6
            mark(own, masks)
            for other in range(text):
                if other >= n_pool and not accepted[other - n_pool]:
                    continue
                length = offsets[other + 1] - offsets[other]
                if own.size == 0 or length == 0:
                    similarity = 1.0 if own.size == length else 0.0
                else:
                    total = own.size + length
                    if 2.0 * min(own.size, length) / total <= best[candidate]:
                        continue
                    shared = 0
                    for slot in range(64):
                        shared += min(counts[text, slot], counts[other, slot])
                    if 2.0 * shared / total <= best[candidate]:
                        continue
                    common = marked_lcs(own.size, masks, words, ids[offsets[other] : offsets[other + 1]])
                    similarity = 2.0 * common / total
                if similarity > best[candidate]:
                    best[candidate] = similarity
                    nearest[candidate] = other
            unmark(own, masks)
            accepted[candidate] = best[candidate] <= limit
        return accepted, best, nearest

    return {"lcs": lcs, "novel": find_novel}
