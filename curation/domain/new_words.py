"""Words that no dictionary knows, found by their use.

Belongs here: runs of Chinese characters that hold together and stand free. Does not belong here:
whether such a word belongs to a domain (`domain.keywords`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from curation.text import code_points

#: Share of its occurrences in which a new word begins and ends where a word does.
_ALIGNED = 0.5


def new_words(
    texts: pl.Series,
    cuts: Sequence[Sequence[str]],
    is_known: Callable[[str], bool],
    *,
    longest: int,
    min_count: int,
    min_pmi: float,
    min_entropy: float,
) -> dict[str, int]:
    """Runs of 2 to `longest` Chinese characters that hold together, stand free and are not known.

    Cohesion is the smallest pointwise mutual information (nats) over all cuts in two; freedom the
    smaller of the entropies (nats) of the characters to the left and to the right, where the edge of
    a run of Chinese characters counts as a neighbour of its own each time. Most of the time it must
    begin and end where a word of the text does, so that it is no part of a longer word.

    Parameters
    ----------
    cuts
        The words that each text is cut into.
    is_known
        Whether a dictionary holds a word.

    Returns
    -------
    dict
        How often each is in the texts, the most frequent first.
    """
    codes, starts = code_points(texts)
    chinese = (codes >= 0x4E00) & (codes <= 0x9FFF)
    begins = np.zeros(len(codes), dtype=bool)
    begins[starts[:-1][starts[:-1] < len(codes)]] = True
    begins |= chinese & ~np.concatenate([[False], chinese[:-1]])
    # by place: the run that it is in, and the number of the n-gram that begins there (-1: none)
    run = np.where(chinese, np.cumsum(begins), -np.arange(1, len(codes) + 1))
    gram = np.full(len(codes), -1, dtype=np.int64)
    gram[chinese] = np.unique(codes[chinese], return_inverse=True)[1]
    edges = _edges(cuts, len(codes))
    counts = [_counts_at(gram)]
    total = int(chinese.sum())
    found: dict[str, int] = {}
    for length in range(2, longest + 1):
        gram = _longer(gram, run, length)
        counts.append(_counts_at(gram))
        gram[counts[-1] < min_count] = -1
        places = np.flatnonzero(gram >= 0)
        if not len(places):
            break
        numbers, first = np.unique(gram[places], return_index=True)
        first = places[first]
        cohesion = np.min(
            [
                np.log(
                    counts[-1][first]
                    * total
                    / (counts[cut - 1][first] * counts[length - cut - 1][first + cut])
                )
                for cut in range(1, length)
            ],
            axis=0,
        )
        freedom = np.minimum(
            _entropies(gram, places, _neighbours(codes, run, places, -1, 0), numbers),
            _entropies(gram, places, _neighbours(codes, run, places, length, length - 1), numbers),
        )
        aligned = edges[places] & edges[places + length]
        share = np.bincount(gram[places], weights=aligned)[numbers] / np.bincount(gram[places])[numbers]
        for place in first[(cohesion >= min_pmi) & (freedom >= min_entropy) & (share >= _ALIGNED)]:
            word = "".join(map(chr, codes[place : place + length]))
            if not is_known(word):
                found[word] = int(counts[-1][place])
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _edges(cuts: Sequence[Sequence[str]], length: int) -> np.ndarray:
    """Whether a word begins or ends before each code point, bool [length + 1]."""
    edges = np.zeros(length + 1, dtype=bool)
    lengths = np.fromiter((len(word) for cut in cuts for word in cut), dtype=np.int64)
    edges[np.concatenate([[0], np.cumsum(lengths)])] = True
    return edges


def _counts_at(gram: np.ndarray) -> np.ndarray:
    """How often the n-gram that begins at each place is in the texts; 0 where none does."""
    counts = np.bincount(gram[gram >= 0], minlength=1)
    return np.where(gram >= 0, counts[gram], 0)


def _longer(gram: np.ndarray, run: np.ndarray, length: int) -> np.ndarray:
    """Numbers of the n-grams that are one longer: the two that they begin and end with name them."""
    longer = np.full(len(gram), -1, dtype=np.int64)
    last = len(gram) - length + 1
    if last <= 0:
        return longer
    fits = (gram[:last] >= 0) & (gram[1 : last + 1] >= 0) & (run[:last] == run[length - 1 :])
    places = np.flatnonzero(fits)
    pairs = gram[places] * (gram.max() + 1) + gram[places + 1]
    longer[places] = np.unique(pairs, return_inverse=True)[1]
    return longer


def _neighbours(codes: np.ndarray, run: np.ndarray, places: np.ndarray, step: int, end: int) -> np.ndarray:
    """The character `step` from each place; a number of its own where it is outside the run."""
    at = places + step
    inside = (at >= 0) & (at < len(codes))
    inside[inside] = run[at[inside]] == run[places[inside] + end]
    return np.where(inside, codes[np.where(inside, at, 0)], -1 - places)


def _entropies(
    gram: np.ndarray, places: np.ndarray, neighbours: np.ndarray, numbers: np.ndarray
) -> np.ndarray:
    """Entropy of the neighbours of each n-gram, in the order of `numbers`."""
    counted = (
        pl.DataFrame({"gram": gram[places], "neighbour": neighbours})
        .group_by("gram", "neighbour")
        .agg(count=pl.len().cast(pl.Float64))
        .sort("gram", "neighbour")
    )
    share = pl.col("count") / pl.col("count").sum()
    entropy = counted.group_by("gram", maintain_order=True).agg(entropy=-(share * share.log()).sum())
    return entropy.sort("gram")["entropy"].to_numpy()
