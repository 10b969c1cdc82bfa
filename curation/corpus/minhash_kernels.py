"""Compiled loops over the shingles of many texts at once.

Belongs here: numba kernels that `minhash` and `duplicates` run on blocks of texts. Texts come as
`data` (uint8, UTF-8 of all texts, end to end) and `offsets` (int64, text i is
`data[offsets[i]:offsets[i + 1]]`), and are read with an `alphabet`: how characters enter the canonical
form (`minhash._alphabet`).
Does not belong here: what that form is (`minhash`).

A text has letters − n + 1 shingles, some of them perhaps equal; one of at most n letters has a single
one, the whole form. Neither forms nor shingle sets are ever stored: making them again from the text is
faster than to fetch them. A text with characters that may join with others is not read: it has to be
composed before.

Importing this module imports numba, so it is imported inside functions only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

from curation.text_kernels import _alone_if_small, chain64, mix64

#: What the table of an alphabet holds for characters that may join with others.
JOINS = -(1 << 31)
_NO_ROOM = -1
_NEWLINE, _SPACE, _TAB, _RETURN = (np.uint64(ord(char)) for char in "\n \t\r")
# Indices and code points are unsigned: numba checks signed indices for negative ones, which costs more
# than the rest of the loops.
_1, _2, _3, _4, _6, _12, _18, _32 = (np.uint64(value) for value in (1, 2, 3, 4, 6, 12, 18, 32))
_ASCII, _THREE, _FOUR = np.uint64(0x80), np.uint64(0xE0), np.uint64(0xF0)
_LOW3, _LOW4, _LOW5, _LOW6 = (np.uint64((1 << bits) - 1) for bits in (3, 4, 5, 6))
_PRIME = np.uint64(0x9E3779B97F4A7C15)
#: Texts and pairs that a thread takes at once: they share its scratch memory.
_CHUNK = 256
#: In a band, rows of a bucket up to this size are all compared with each other; in a larger bucket each
#: is compared with so many that come first, and with the one before it.
_ALL_PAIRS, _LEADERS = 24, 8
#: Of how many rows that it was paired with a row keeps note.
_NOTED = 4


# -- canonical forms -----------------------------------------------------------------------------


@njit(cache=True)
def _roomy(scratch: Any, size: int) -> Any:
    """The scratch array, or a larger one where it is shorter than that."""
    return scratch if len(scratch) >= size else np.empty(2 * size, dtype=scratch.dtype)


@njit(cache=True)
def _code_point(data: Any, place: Any) -> tuple[Any, Any]:
    """The character that begins at a place of valid UTF-8, and the place after it (uint64 all)."""
    byte = np.uint64(data[place])
    if byte < _ASCII:
        return byte, place + _1
    two = np.uint64(data[place + _1]) & _LOW6
    if byte < _THREE:
        return (byte & _LOW5) << _6 | two, place + _2
    three = two << _6 | np.uint64(data[place + _2]) & _LOW6
    if byte < _FOUR:
        return (byte & _LOW4) << _12 | three, place + _3
    return (byte & _LOW3) << _18 | three << _6 | np.uint64(data[place + _3]) & _LOW6, place + _4


@njit(cache=True)
def _canonical(data: Any, begin: int, end: int, alphabet: Any, form: Any) -> Any:
    """Letters and digits of a text's canonical form, written to `form` (int32): how many.

    `form` is at least as long as the text has bytes. If that is too short yet: `_NO_ROOM`; if a
    character joins: `JOINS`.
    """
    table, spans, expansions = alphabet
    place, stop, count = np.uint64(begin), np.uint64(end), np.uint64(0)
    while place < stop:
        code, place = _code_point(data, place)
        new = table[code]
        form[count] = new
        count += np.uint64(new > 0)
        if new < 0:
            if new == JOINS:
                return JOINS
            if np.int64(count) + spans[-new] - spans[-new - 1] + end - np.int64(place) > len(form):
                return _NO_ROOM
            for index in range(spans[-new - 1], spans[-new]):
                form[count] = expansions[index]
                count += _1
    return np.int64(count)


@njit(cache=True)
def _without_space(data: Any, begin: int, end: int, form: Any) -> int:
    """All characters of a text but white space, written to `form`: how many."""
    place, stop, count = np.uint64(begin), np.uint64(end), 0
    while place < stop:
        code, place = _code_point(data, place)
        if code not in (_SPACE, _NEWLINE, _TAB, _RETURN):
            form[count] = code
            count += 1
    return count


# -- shingles ------------------------------------------------------------------------------------


@njit(cache=True)
def _finish(state: Any) -> Any:
    """Hash of a shingle from its polynomial; never 0, which marks empty places of tables."""
    state = mix64(state)
    return state if state else np.uint64(1)


@njit(cache=True)
def _shingles(
    data: Any, begin: int, end: int, alphabet: Any, ngram: int, form: Any, hashes: Any
) -> tuple[int, Any, Any]:
    """Write the hashes of a text's shingles to `hashes`, equal ones as often as they occur.

    A polynomial in the characters modulo 2^64 (Karp and Rabin 1987), then mixed. A text without
    letters and digits is taken as it is, without white space, so that it is not the same as every other
    such text. Returns how many shingles there are (0: it holds characters that join), and the scratch
    arrays, which are replaced where they are too short.
    """
    form = _roomy(form, end - begin)
    letters = _canonical(data, begin, end, alphabet, form)
    while letters == _NO_ROOM:
        form = _roomy(form, len(form) + 1)
        letters = _canonical(data, begin, end, alphabet, form)
    if letters == JOINS:
        return 0, form, hashes
    whole = letters <= ngram
    if letters == 0:
        letters = _without_space(data, begin, end, form)
    count = 1 if whole else letters - ngram + 1
    hashes = _roomy(hashes, count)
    hashes[:count] = 0
    for step in range(letters if whole else ngram):  # this way round all shingles are hashed side by side
        for index in range(count):
            hashes[index] = hashes[index] * _PRIME + np.uint64(form[index + step])
    for index in range(count):
        hashes[index] = _finish(hashes[index])
    return count, form, hashes


@njit(cache=True)
def _scratch() -> tuple[Any, Any, Any]:
    """Arrays for the letters, the shingles and the table of shingles of one text."""
    return np.empty(1024, dtype=np.int32), np.empty(1024, dtype=np.uint64), np.empty(4096, dtype=np.uint64)


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
        place = (place + _1) & mask
    return place


@njit(cache=True)
def _fill(hashes: Any, count: int, keys: Any) -> tuple[Any, Any, Any]:
    """Put shingles into a table that is emptied before: how many are distinct, the table's mask, the table.

    The distinct ones come first in `hashes` afterwards; `keys` is replaced where it is too short.
    """
    size = _power_of_two(4 * count)  # so empty that most are found at once
    mask = np.uint64(size - 1)
    keys = _roomy(keys, size)
    keys[:size] = 0
    distinct = np.uint64(0)
    for index in range(np.uint64(count)):
        shingle = hashes[index]
        place = _find(keys, mask, shingle)
        hashes[distinct] = shingle
        distinct += np.uint64(keys[place] == 0)
        keys[place] = shingle
    return np.int64(distinct), mask, keys


@njit(cache=True)
def _slot(shingle: Any, table: Any) -> Any:
    """Place of a shingle in a table of counts whose length is a power of two."""
    return (shingle * _PRIME) >> np.uint64(32) & np.uint64(len(table) - 1)


@njit(cache=True)
def count_shingles(data: Any, offsets: Any, alphabet: Any, ngram: int, table: Any) -> Any:
    """Add to `table` (uint16, saturating) how many of the texts hold each shingle, or one in its slot.

    Returns which texts (bool) have to be composed before.
    """
    form, hashes, keys = _scratch()
    unread = np.zeros(len(offsets) - 1, dtype=np.bool_)
    for row in range(len(offsets) - 1):
        count, form, hashes = _shingles(data, offsets[row], offsets[row + 1], alphabet, ngram, form, hashes)
        unread[row] = count == 0
        distinct, _, keys = _fill(hashes, count, keys)
        for index in range(distinct):
            slot = _slot(hashes[index], table)
            if table[slot] < 0xFFFF:
                table[slot] += 1
    return unread


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


@njit(cache=True)
def _minhash(
    data: Any, offsets: Any, alphabet: Any, ngram: int, factors: Any, summands: Any,
    counts: Any, signatures: Any, bands: Any,
) -> None:  # fmt: skip
    form, hashes, keys = _scratch()
    values = signatures.shape[1] // bands.shape[1]  # of a band
    for row in range(len(counts)):
        count, form, hashes = _shingles(data, offsets[row], offsets[row + 1], alphabet, ngram, form, hashes)
        counts[row], _, keys = _fill(hashes, count, keys)
        _sign(hashes, counts[row], factors, summands, signatures[row])
        for band in range(bands.shape[1]):
            state = np.uint64(band)
            for index in range(band * values, (band + 1) * values):
                state = chain64(state, np.uint64(signatures[row, index]))
            bands[row, band] = np.uint32(state)


@_alone_if_small
@njit(cache=True, parallel=True)
def minhash(
    data: Any, offsets: Any, alphabet: Any, ngram: int, factors: Any, summands: Any,
    counts: Any, signatures: Any, bands: Any,
) -> None:  # fmt: skip
    """Distinct shingles, MinHash signature and hash of each band of each text (uint32 all).

    They are written to `counts`, `signatures` (rows × permutations) and `bands` (rows × bands). A text
    that has to be composed before has 0 shingles.
    """
    rows = len(counts)
    for chunk in prange((rows + _CHUNK - 1) // _CHUNK):
        first, last = chunk * _CHUNK, min((chunk + 1) * _CHUNK, rows)
        _minhash(
            data, offsets[first : last + 1], alphabet, ngram, factors, summands,
            counts[first:last], signatures[first:last], bands[first:last],
        )  # fmt: skip


# -- candidates and their similarity -------------------------------------------------------------


@njit(cache=True)
def by_band(bands: Any, rows: Any) -> Any:
    """Hashes of the bands of some rows, band by band: `bands[rows].T` (uint32), in one pass."""
    turned = np.empty((bands.shape[1], len(rows)), dtype=np.uint32)
    for place in range(len(rows)):
        for band in range(bands.shape[1]):
            turned[band, place] = bands[rows[place], band]
    return turned


@njit(cache=True)
def first_equal(keys: Any, others: Any) -> Any:
    """For each row the first one with the same pair of keys (uint64 both): places (int64)."""
    rows = len(keys)
    mask = np.uint64(_power_of_two(2 * rows) - 1)
    table = np.full(mask + _1, -1, dtype=np.int64)
    first = np.empty(rows, dtype=np.int64)
    for row in range(rows):
        place = (keys[row] * _PRIME >> _32) & mask
        while table[place] >= 0 and (keys[table[place]] != keys[row] or others[table[place]] != others[row]):
            place = (place + _1) & mask
        if table[place] < 0:
            table[place] = row
        first[row] = table[place]
    return first


@njit(cache=True)
def _fits(one: Any, other: Any, threshold: float) -> bool:
    """Whether two sets of these sizes can be as similar as that."""
    return min(one, other) >= threshold * max(one, other)


@njit(cache=True)
def pairs_with_first(bands: Any, sizes: Any, threshold: float) -> Any:
    """Pairs of each row and the first row of each of its buckets, as low · 2^32 + high (int64).

    Also, which rows (bool) share a bucket with any other.

    `bands` (uint32, bands × rows) are the hashes of the bands, `sizes` the numbers of shingles by row:
    sets whose sizes differ too much cannot reach the threshold. Each row notes the last few that it was
    paired with, so that a pair seldom comes twice.
    """
    rows = bands.shape[1]
    slots = _power_of_two(2 * rows)
    mask = np.uint64(slots - 1)
    table = np.empty(slots, dtype=np.uint64)  # hash of a bucket · 2^32 + its first row + 1
    shared = np.zeros(rows, dtype=np.bool_)
    noted = np.full((rows, _NOTED), -1, dtype=np.int32)
    pairs, count = np.empty(2 * rows + 16, dtype=np.int64), 0
    low32 = np.uint64(0xFFFFFFFF)
    for band in range(len(bands)):
        table[:] = 0
        if count + rows > len(pairs):
            longer = np.empty(2 * (count + rows), dtype=np.int64)
            longer[:count] = pairs[:count]
            pairs = longer
        for row in range(rows):
            bucket = np.uint64(bands[band, row])
            place = bucket * _PRIME >> _32 & mask
            while table[place] != 0 and table[place] >> _32 != bucket:
                place = (place + _1) & mask
            if table[place] == 0:
                table[place] = bucket << _32 | np.uint64(row + 1)
                continue
            first = np.int64(table[place] & low32) - 1
            shared[first] = shared[row] = True
            known = False
            for index in range(_NOTED):
                known |= noted[row, index] == first
            if not known:
                noted[row, band % _NOTED] = first
                if _fits(sizes[first], sizes[row], threshold):
                    pairs[count] = first << 32 | row
                    count += 1
    return pairs[:count], shared


@njit(cache=True)
def shared_buckets(hashes: Any, among: Any) -> Any:
    """Those of the rows `among` that share a bucket of a band: bucket · 2^32 + row (uint64).

    A few that share none come with them, where the slots of two buckets coincide.
    """
    mask = np.uint64(_power_of_two(8 * len(among)) - 1)
    met = np.zeros(mask + _1, dtype=np.uint8)
    for row in among:
        slot = (np.uint64(hashes[row]) * _PRIME >> _32) & mask
        met[slot] = met[slot] << np.uint8(1) | np.uint8(1)  # 1, then more
    keys, count = np.empty(len(among), dtype=np.uint64), np.uint64(0)
    for row in among:
        bucket = np.uint64(hashes[row])
        keys[count] = bucket << _32 | np.uint64(row)
        count += np.uint64(met[(bucket * _PRIME >> _32) & mask] > 1)
    return keys[:count]


@njit(cache=True)
def _put_pair(low: Any, high: Any, sizes: Any, threshold: float, pairs: Any, count: int) -> int:
    if _fits(sizes[low], sizes[high], threshold):
        if len(pairs):
            pairs[count] = low << 32 | high
        return count + 1
    return count


@njit(cache=True)
def _bucket_pairs(keys: Any, sizes: Any, threshold: float, pairs: Any) -> int:
    """Write the pairs of all buckets to `pairs`, or only count them where that is empty."""
    count, begin = 0, 0
    low32 = np.uint64(0xFFFFFFFF)
    while begin < len(keys):
        end = begin + 1
        while end < len(keys) and keys[end] >> np.uint64(32) == keys[begin] >> np.uint64(32):
            end += 1
        for second in range(begin + 1, end):
            high = np.int64(keys[second] & low32)
            leaders = second if end - begin <= _ALL_PAIRS else min(second, begin + _LEADERS)
            for first in range(begin, leaders):
                count = _put_pair(np.int64(keys[first] & low32), high, sizes, threshold, pairs, count)
            if leaders < second:
                count = _put_pair(np.int64(keys[second - 1] & low32), high, sizes, threshold, pairs, count)
        begin = end
    return count


@njit(cache=True)
def bucket_pairs(keys: Any, sizes: Any, threshold: float) -> Any:
    """Pairs of rows that share a bucket, as low · 2^32 + high (int64).

    `keys` (uint64, sorted) hold the bucket in the upper and the row in the lower 32 bits; `sizes` as in
    `pairs_with_first`.
    """
    none = np.empty(0, dtype=np.int64)
    pairs = np.empty(_bucket_pairs(keys, sizes, threshold, none), dtype=np.int64)
    if len(pairs):
        _bucket_pairs(keys, sizes, threshold, pairs)
    return pairs


@njit(cache=True)
def _set_sizes(
    data: Any, offsets: Any, alphabet: Any, ngram: int, table: Any, common: int, sizes: Any, uncommon: Any
) -> None:
    form, hashes, keys = _scratch()
    for row in range(len(sizes)):
        count, form, hashes = _shingles(data, offsets[row], offsets[row + 1], alphabet, ngram, form, hashes)
        sizes[row], _, keys = _fill(hashes, count, keys)
        for index in range(sizes[row]):
            uncommon[row] += table[_slot(hashes[index], table)] <= common


@_alone_if_small
@njit(cache=True, parallel=True)
def set_sizes(data: Any, offsets: Any, alphabet: Any, ngram: int, table: Any, common: int) -> Any:
    """Distinct shingles of each text, and how many of them `table` counts at most `common` times (int64)."""
    rows = len(offsets) - 1
    sizes, uncommon = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
    for chunk in prange((rows + _CHUNK - 1) // _CHUNK):
        first, last = chunk * _CHUNK, min((chunk + 1) * _CHUNK, rows)
        _set_sizes(
            data, offsets[first : last + 1], alphabet, ngram, table, common,
            sizes[first:last], uncommon[first:last],
        )  # fmt: skip
    return sizes, uncommon


@njit(cache=True)
def _jaccard(
    data: Any, offsets: Any, alphabet: Any, ngram: int, sizes: Any, uncommon: Any, firsts: Any, seconds: Any,
    table: Any, common: int, share: float, similarities: Any,
) -> None:  # fmt: skip
    form, hashes, keys = _scratch()
    seen = np.zeros(len(keys), dtype=np.int64)  # by which pair a shingle was met last
    inside, held, mask = -1, 0, np.uint64(0)
    for pair in range(len(firsts)):
        a, b = firsts[pair], seconds[pair]
        if a != inside:
            held, form, hashes = _shingles(data, offsets[a], offsets[a + 1], alphabet, ngram, form, hashes)
            _, mask, keys = _fill(hashes, held, keys)
            if len(seen) < len(keys):
                seen = np.zeros(len(keys), dtype=np.int64)
            inside = a
        count, form, hashes = _shingles(data, offsets[b], offsets[b + 1], alphabet, ngram, form, hashes)
        if held == 0 or count == 0:
            similarities[pair] = np.nan
            continue
        both = own = 0
        for index in range(np.uint64(count)):
            place = _find(keys, mask, hashes[index])
            is_new = (keys[place] != 0) & (seen[place] != pair + 1)
            seen[place] = pair + 1
            both += is_new
            if common > 0 and is_new:
                own += table[_slot(hashes[index], table)] <= common
        similarity = both / (sizes[a] + sizes[b] - both)
        enough = uncommon[a] >= max(share * sizes[a], 5) and uncommon[b] >= max(share * sizes[b], 5)
        if common > 0 and enough:
            similarity = min(similarity, own / (uncommon[a] + uncommon[b] - own))
        similarities[pair] = similarity


@_alone_if_small
@njit(cache=True, parallel=True)
def jaccard_of_pairs(
    data: Any, offsets: Any, alphabet: Any, ngram: int, sizes: Any, uncommon: Any, firsts: Any, seconds: Any,
    table: Any, common: int, share: float,
) -> Any:  # fmt: skip
    """Jaccard similarity (float64) of the shingle sets of the texts at `firsts` and `seconds`.

    Where `common` is not 0, it is that of the shingles which `table` counts at most `common` times, if
    that is lower; sets with less than `share` (or five) of these are compared whole. `sizes` and
    `uncommon` are those of `set_sizes`. NaN where a text has to be composed before. Fastest with pairs
    sorted by the first.
    """
    similarities = np.empty(len(firsts), dtype=np.float64)
    for chunk in prange((len(firsts) + _CHUNK - 1) // _CHUNK):
        begin, end = chunk * _CHUNK, min((chunk + 1) * _CHUNK, len(firsts))
        _jaccard(
            data, offsets, alphabet, ngram, sizes, uncommon, firsts[begin:end], seconds[begin:end],
            table, common, share, similarities[begin:end],
        )  # fmt: skip
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
