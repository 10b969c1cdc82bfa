"""Is a prompt new? ROUGE-L that works for Chinese, and the greedy filter of Self-Instruct.

Belongs here: tokens, ROUGE-L, and comparing candidates with all that was accepted before.
Does not belong here: near duplicates among documents or samples (`corpus.minhash`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import polars as pl

#: A token is one CJK character (or kana, hangul), or one run of other letters and digits.
_TOKEN = re.compile(
    r"[㐀-鿿぀-ヿ가-힯豈-﫿]|[\U00020000-\U0003ffff]|[^\W_㐀-鿿぀-ヿ가-힯豈-﫿\U00020000-\U0003ffff]+"
)


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
    from curation.synthesis import novelty_kernels

    common = novelty_kernels.lcs(ids[: offsets[1]], ids[offsets[1] :], size)
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
    from curation.synthesis import novelty_kernels

    ids, offsets, size = _encode([*pool, *candidates])
    accepted, best, nearest = novelty_kernels.find_novel(ids, offsets, len(pool), max_rouge_l, size)
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
