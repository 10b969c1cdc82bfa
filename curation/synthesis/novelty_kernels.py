"""Compiled loops of the novelty filter. Importing it imports numba, so import it where it is used.

Belongs here: the longest common subsequence, and the walk over all candidates.
Does not belong here: tokens and tables (`synthesis.novelty`).
"""

from __future__ import annotations

import numpy as np
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
