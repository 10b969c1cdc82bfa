"""Compiled loops over the shingles of many texts at once.

Belongs here: numba kernels that `minhash` and `duplicates` run on blocks of texts. Texts come as
`codes` (int32 code points of all texts, end to end) and `starts` (int64, text i is
`codes[starts[i]:starts[i + 1]]`); canonical forms come likewise as `forms` and `begins`, with
`letters` (int64), the number of letters and digits of each.
Does not belong here: how a character enters the canonical form (`minhash`).

A text has letters − n + 1 shingles, some of them perhaps equal; one of at most n letters has a single
one, the whole form. No shingle set is ever stored: hashing it again is faster than to sort or fetch it.

Importing this module imports numba, so it is imported inside functions only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from curation.text_kernels import _alone_if_small, chain64, mix64

_NEWLINE, _SPACE, _TAB, _RETURN = 10, 32, 9, 13
_PRIME = np.uint64(0x9E3779B97F4A7C15)
#: Texts and pairs that a thread takes at once: they share its scratch memory.
_CHUNK = 256
#: In a band, rows of a bucket up to this size are all compared with each other; in a larger bucket each
#: is compared with so many that come first, and with the one before it.
_ALL_PAIRS, _LEADERS = 24, 8


# -- canonical forms -----------------------------------------------------------------------------


@njit(cache=True)
def _count_letters(codes: Any, first: int, last: int, table: Any, spans: Any) -> int:
    """How many letters and digits the canonical form of a text has."""
    count = 0
    for place in range(first, last):
        new = table[codes[place]]
        count += (new > 0) if new >= 0 else spans[-new] - spans[-new - 1]
    return count


@njit(cache=True)
def _canonical(codes: Any, first: int, last: int, table: Any, spans: Any, expansions: Any, form: Any) -> int:
    """Write the letters and digits of a text to `form`; without any, all but its white space."""
    count = 0
    for place in range(first, last):
        new = table[codes[place]]
        if new > 0:
            form[count] = new
            count += 1
        elif new < 0:
            for index in range(spans[-new - 1], spans[-new]):
                form[count] = expansions[index]
                count += 1
    if count == 0:
        for place in range(first, last):
            if codes[place] not in (_SPACE, _NEWLINE, _TAB, _RETURN):
                form[count] = codes[place]
                count += 1
    return count


@njit(cache=True)
def rows_with(codes: Any, starts: Any, wanted: Any) -> Any:
    """Which texts hold a character that `wanted` (bool, by code point) marks."""
    found = np.zeros(len(starts) - 1, dtype=np.bool_)
    for row in range(len(starts) - 1):
        for place in range(starts[row], starts[row + 1]):
            if wanted[codes[place]]:
                found[row] = True
                break
    return found


@_alone_if_small
@njit(cache=True, parallel=True)
def canonical_forms(codes: Any, starts: Any, table: Any, spans: Any, expansions: Any) -> Any:
    """Canonical forms of texts: `forms`, `begins`, `letters`.

    A text without letters and digits is taken as it is, without white space, so that it is not the same
    as every other such text.
    """
    rows = len(starts) - 1
    letters = np.zeros(rows, dtype=np.int64)
    for row in prange(rows):
        letters[row] = _count_letters(codes, starts[row], starts[row + 1], table, spans)
    begins = np.zeros(rows + 1, dtype=np.int64)
    for row in range(rows):
        begins[row + 1] = begins[row] + (letters[row] if letters[row] else starts[row + 1] - starts[row])
    forms = np.zeros(begins[rows], dtype=np.int32)
    for row in prange(rows):
        form = forms[begins[row] : begins[row + 1]]
        _canonical(codes, starts[row], starts[row + 1], table, spans, expansions, form)
    return forms, begins, letters


# -- shingles ------------------------------------------------------------------------------------


@njit(cache=True)
def _finish(state: Any) -> Any:
    """Hash of a shingle from its polynomial; never 0, which marks empty places of tables."""
    state = mix64(state)
    return state if state else np.uint64(1)


@njit(cache=True)
def _hash_all(form: Any, letters: int, ngram: int, hashes: Any) -> int:
    """Write the hashes of a text's shingles to `hashes`, equal ones as often as they occur.

    Rolling polynomial in the characters (Karp and Rabin 1987) modulo 2^64, then mixed.
    """
    last = len(form)
    while letters == 0 and last > 0 and form[last - 1] == 0:  # where white space was left out
        last -= 1
    state, power = np.uint64(0), np.uint64(1)
    for place in range(min(ngram, last) if letters > ngram else last):
        state = state * _PRIME + np.uint64(form[place])
        power *= _PRIME
    hashes[0] = _finish(state)
    if letters <= ngram:
        return 1
    for place in range(ngram, letters):
        state = state * _PRIME + np.uint64(form[place]) - power * np.uint64(form[place - ngram])
        hashes[place - ngram + 1] = _finish(state)
    return letters - ngram + 1


@njit(cache=True)
def _size(begins: Any, ngram: int, first: int, last: int) -> int:
    """Most shingles that one of the texts first..last has."""
    size = 1
    for row in range(first, last):
        size = max(size, begins[row + 1] - begins[row] - ngram + 1)
    return size


@njit(cache=True)
def _power_of_two(least: int) -> int:
    size = 16
    while size < least:
        size *= 2
    return size


@njit(cache=True)
def _find(keys: Any, mask: Any, key: Any) -> Any:
    """Place of a key in an open-addressing table (0 is empty), or the empty place where it would go."""
    place = key & mask
    while keys[place] != 0 and keys[place] != key:
        place = (place + np.uint64(1)) & mask
    return place


@njit(cache=True)
def _fill(hashes: Any, count: int, keys: Any) -> tuple[int, Any]:
    """Put shingles into a table that is emptied before: how many are distinct, and the table's mask."""
    size = _power_of_two(2 * count)
    mask = np.uint64(size - 1)
    keys[:size] = 0
    distinct = 0
    for index in range(count):
        place = _find(keys, mask, hashes[index])
        if keys[place] == 0:
            keys[place] = hashes[index]
            hashes[distinct] = hashes[index]
            distinct += 1
    return distinct, mask


@njit(cache=True)
def _slot(shingle: Any, table: Any) -> Any:
    """Place of a shingle in a table of counts whose length is a power of two."""
    return (shingle * _PRIME) >> np.uint64(32) & np.uint64(len(table) - 1)


@njit(cache=True)
def count_shingles(forms: Any, begins: Any, letters: Any, ngram: int, table: Any) -> None:
    """Add to `table` (uint16, saturating) how many of the texts hold each shingle, or one in its slot."""
    size = _size(begins, ngram, 0, len(letters))
    hashes, keys = np.empty(size, dtype=np.uint64), np.empty(_power_of_two(2 * size), dtype=np.uint64)
    for row in range(len(letters)):
        count = _hash_all(forms[begins[row] : begins[row + 1]], letters[row], ngram, hashes)
        distinct, _ = _fill(hashes, count, keys)
        for index in range(distinct):
            slot = _slot(hashes[index], table)
            if table[slot] < 0xFFFF:
                table[slot] += 1


# -- signatures ----------------------------------------------------------------------------------


@njit(cache=True)
def _fmix32(hash64: Any) -> Any:
    """Finaliser of MurmurHash3 on the lower 32 bits."""
    value = np.uint32(hash64)
    value ^= value >> np.uint32(16)
    value = np.uint32(value * np.uint32(0x85EBCA6B))
    value ^= value >> np.uint32(13)
    value = np.uint32(value * np.uint32(0xC2B2AE35))
    return np.uint32(value ^ (value >> np.uint32(16)))


@njit(cache=True)
def _sign(hashes: Any, count: int, factors: Any, summands: Any, signature: Any) -> None:
    """MinHash as datasketch's scheme `affine32`: fmix32, then a·h + b modulo 2^32, then the minimum."""
    signature[:] = np.uint32(0xFFFFFFFF)
    for place in range(0, count, 4):  # four at a time: the arrays are walked through less often
        # the last shingle may count more than once, which changes no minimum
        one, two = _fmix32(hashes[place]), _fmix32(hashes[min(place + 1, count - 1)])
        three, four = _fmix32(hashes[min(place + 2, count - 1)]), _fmix32(hashes[min(place + 3, count - 1)])
        for index in range(len(signature)):
            factor, summand = factors[index], summands[index]
            first = min(np.uint32(factor * one + summand), np.uint32(factor * two + summand))
            second = min(np.uint32(factor * three + summand), np.uint32(factor * four + summand))
            signature[index] = min(signature[index], first, second)


@_alone_if_small
@njit(cache=True, parallel=True)
def minhash(
    forms: Any, begins: Any, letters: Any, ngram: int, factors: Any, summands: Any, n_bands: int
) -> Any:
    """Distinct shingles (uint32), MinHash signature (uint32) and 32-bit hash of each band of each text."""
    rows, width = len(letters), len(factors)
    counts = np.zeros(rows, dtype=np.uint32)
    signatures = np.empty((rows, width), dtype=np.uint32)
    bands = np.empty((rows, n_bands), dtype=np.uint32)
    for chunk in prange((rows + _CHUNK - 1) // _CHUNK):
        first, last = chunk * _CHUNK, min((chunk + 1) * _CHUNK, rows)
        size = _size(begins, ngram, first, last)
        hashes, keys = np.empty(size, dtype=np.uint64), np.empty(_power_of_two(2 * size), dtype=np.uint64)
        for row in range(first, last):
            count = _hash_all(forms[begins[row] : begins[row + 1]], letters[row], ngram, hashes)
            distinct, _ = _fill(hashes, count, keys)
            counts[row] = distinct
            _sign(hashes, distinct, factors, summands, signatures[row])
            for band in range(n_bands):
                state = np.uint64(band)
                for index in range(band * (width // n_bands), (band + 1) * (width // n_bands)):
                    state = chain64(state, np.uint64(signatures[row, index]))
                bands[row, band] = np.uint32(state)
    return counts, signatures, bands


# -- candidates and their similarity -------------------------------------------------------------


@njit(cache=True)
def _fits(one: int, other: int, threshold: float) -> bool:
    """Whether two sets of these sizes can be as similar as that."""
    return min(one, other) >= threshold * max(one, other)


@njit(cache=True)
def _put_pair(low: Any, high: Any, sizes: Any, threshold: float, pairs: Any, count: int) -> int:
    if _fits(sizes[low], sizes[high], threshold):
        if len(pairs):
            pairs[count] = low << 32 | high
        return count + 1
    return count


@njit(cache=True)
def _bucket_pairs(keys: Any, sizes: Any, threshold: float, to_first: bool, pairs: Any) -> int:
    """Write the pairs of all buckets to `pairs`, or only count them where that is empty."""
    count, begin = 0, 0
    low32 = np.uint64(0xFFFFFFFF)
    while begin < len(keys):
        end = begin + 1
        while end < len(keys) and keys[end] >> np.uint64(32) == keys[begin] >> np.uint64(32):
            end += 1
        for second in range(begin + 1, end):
            high = np.int64(keys[second] & low32)
            if to_first:
                count = _put_pair(np.int64(keys[begin] & low32), high, sizes, threshold, pairs, count)
                continue
            leaders = second if end - begin <= _ALL_PAIRS else min(second, begin + _LEADERS)
            for first in range(begin, leaders):
                count = _put_pair(np.int64(keys[first] & low32), high, sizes, threshold, pairs, count)
            if leaders < second:
                count = _put_pair(np.int64(keys[second - 1] & low32), high, sizes, threshold, pairs, count)
        begin = end
    return count


@njit(cache=True)
def bucket_pairs(keys: Any, sizes: Any, threshold: float, to_first: bool) -> Any:
    """Pairs of rows that share a bucket, as low · 2^32 + high (int64); or only each with its first.

    `keys` (uint64, sorted) hold the bucket in the upper and the row in the lower 32 bits; `sizes` are
    the numbers of shingles by row: sets whose sizes differ too much cannot reach the threshold.
    """
    none = np.empty(0, dtype=np.int64)
    pairs = np.empty(_bucket_pairs(keys, sizes, threshold, to_first, none), dtype=np.int64)
    if len(pairs):
        _bucket_pairs(keys, sizes, threshold, to_first, pairs)
    return pairs


@_alone_if_small
@njit(cache=True, parallel=True)
def set_sizes(forms: Any, begins: Any, letters: Any, ngram: int, table: Any, common: int) -> Any:
    """Distinct shingles of each text, and how many of them `table` counts at most `common` times (int64)."""
    rows = len(letters)
    sizes, uncommon = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
    for chunk in prange((rows + _CHUNK - 1) // _CHUNK):
        first, last = chunk * _CHUNK, min((chunk + 1) * _CHUNK, rows)
        size = _size(begins, ngram, first, last)
        hashes, keys = np.empty(size, dtype=np.uint64), np.empty(_power_of_two(2 * size), dtype=np.uint64)
        for row in range(first, last):
            count = _hash_all(forms[begins[row] : begins[row + 1]], letters[row], ngram, hashes)
            sizes[row], _ = _fill(hashes, count, keys)
            for index in range(sizes[row]):
                uncommon[row] += table[_slot(hashes[index], table)] <= common
    return sizes, uncommon


@_alone_if_small
@njit(cache=True, parallel=True)
def jaccard_of_pairs(
    forms: Any, begins: Any, letters: Any, ngram: int, sizes: Any, uncommon: Any, firsts: Any, seconds: Any,
    table: Any, common: int, share: float,
) -> Any:  # fmt: skip
    """Jaccard similarity (float64) of the shingle sets of the texts at `firsts` and `seconds`.

    Where `common` is not 0, it is that of the shingles which `table` counts at most `common` times, if
    that is lower; sets with less than `share` (or five) of these are compared whole. `sizes` and
    `uncommon` are those of `set_sizes`. Fastest with pairs sorted by the first.
    """
    similarities = np.empty(len(firsts), dtype=np.float64)
    for chunk in prange((len(firsts) + _CHUNK - 1) // _CHUNK):
        begin, end = chunk * _CHUNK, min((chunk + 1) * _CHUNK, len(firsts))
        longest = 1
        for pair in range(begin, end):
            longest = max(longest, _size(begins, ngram, firsts[pair], firsts[pair] + 1))
            longest = max(longest, _size(begins, ngram, seconds[pair], seconds[pair] + 1))
        hashes = np.empty(longest, dtype=np.uint64)
        keys = np.empty(_power_of_two(2 * longest), dtype=np.uint64)
        seen = np.zeros(len(keys), dtype=np.int64)  # by which pair of the chunk a shingle was met last
        inside, mask = -1, np.uint64(0)
        for pair in range(begin, end):
            a, b = firsts[pair], seconds[pair]
            if a != inside:
                count = _hash_all(forms[begins[a] : begins[a + 1]], letters[a], ngram, hashes)
                _, mask = _fill(hashes, count, keys)
                inside = a
            count = _hash_all(forms[begins[b] : begins[b + 1]], letters[b], ngram, hashes)
            both = own = 0
            for index in range(count):
                place = _find(keys, mask, hashes[index])
                if keys[place] != 0 and seen[place] != pair + 1:
                    seen[place] = pair + 1
                    both += 1
                    own += common > 0 and table[_slot(hashes[index], table)] <= common
            similarity = both / (sizes[a] + sizes[b] - both)
            enough = uncommon[a] >= max(share * sizes[a], 5) and uncommon[b] >= max(share * sizes[b], 5)
            if common > 0 and enough:
                similarity = min(similarity, own / (uncommon[a] + uncommon[b] - own))
            similarities[pair] = similarity
    return similarities


@njit(cache=True)
def leaders(rows: int, firsts: Any, seconds: Any, similarities: Any) -> Any:
    """Greedy choice in order of preference: each row's representative (int64), itself if it is kept.

    `firsts` < `seconds` are places in that order, the pairs sorted by `seconds`. A row is dropped for
    the most similar of its partners that are kept, the first of equals.
    """
    leader = np.arange(rows)
    best = np.zeros(rows, dtype=np.float64)
    for pair in range(len(firsts)):
        first, second = firsts[pair], seconds[pair]
        similarity = similarities[pair]
        if leader[first] == first and (
            similarity > best[second] or (similarity == best[second] and first < leader[second])
        ):
            leader[second] = first
            best[second] = similarity
    return leader
