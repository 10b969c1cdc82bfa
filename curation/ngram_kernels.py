"""Compiled hashing of n-grams straight from UTF-8.

Belongs here: the numba kernel that `ngrams` runs on blocks of texts. Texts come as `data` (their bytes
end to end) and `offsets` (int64, text i is `data[offsets[i]:offsets[i + 1]]`).
Does not belong here: which characters are units, and what the counts are for (`ngrams`).

Importing this module imports numba, so it is imported inside functions only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

# Classes of characters; `ngrams` assigns them.
IGNORED, BOUNDARY, SINGLE, RUN = range(4)

_PRIME, _OFFSET = np.uint64(0x100000001B3), np.uint64(0xCBF29CE484222325)  # FNV-1a
_MIX_1, _MIX_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_33, _0 = np.uint64(33), np.uint64(0)
#: Keeps words apart from n-grams of the same characters.
_WORDS = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True)
def _mix(value: Any) -> Any:
    """Finaliser of MurmurHash3: each bit depends on all."""
    value ^= value >> _33
    value *= _MIX_1
    value ^= value >> _33
    value *= _MIX_2
    return value ^ (value >> _33)


@njit(cache=True)
def _code_point(data: Any, position: int) -> Any:
    """Code point at a place, and its length in bytes."""
    byte = data[position]
    if byte < 0x80:
        return int(byte), 1
    if byte < 0xE0:
        return ((byte & 0x1F) << 6) | (data[position + 1] & 0x3F), 2
    if byte < 0xF0:
        return ((byte & 0x0F) << 12) | ((data[position + 1] & 0x3F) << 6) | (data[position + 2] & 0x3F), 3
    code = ((byte & 0x07) << 18) | ((data[position + 1] & 0x3F) << 12) | ((data[position + 2] & 0x3F) << 6)
    return code | (data[position + 3] & 0x3F), 4


@njit(cache=True)
def _hash_text(
    data: Any,
    start: int,
    end: int,
    classes: Any,
    longest: int,
    shortest: int,
    salt: Any,
    shift: Any,
    out: Any,
    place: int,
) -> int:
    """Write the bucket of each n-gram of one text to `out` from `place` on; returns the next place.

    Runs shorter than `shortest` characters are units but not counted by themselves.
    """
    first, second, units_before = _0, _0, 0
    run, run_length, is_number = _OFFSET, 0, True
    position = start
    while position <= end:
        kind, code, size = BOUNDARY, 0, 1
        if position < end:
            code, size = _code_point(data, position)
            if code < len(classes):
                kind = classes[code]
            elif 0x20000 <= code <= 0x3FFFF:  # rare Han characters
                kind = classes[0x4E00]
            if 65 <= code <= 90:
                code += 32
        position += size
        if kind == RUN:
            run = (run ^ np.uint64(code)) * _PRIME
            run_length += 1
            is_number = is_number and 48 <= code <= 57
            continue
        for step in range(2):  # the run that ends here, then the single character itself
            if step == 0:
                if run_length == 0:
                    continue
                unit = np.uint64(run_length) if is_number else _mix(run)  # numbers of equal length are one
                counted = run_length >= shortest
                run, run_length, is_number = _OFFSET, 0, True
            else:
                if kind != SINGLE:
                    continue
                unit, counted = _mix(np.uint64(code) * _PRIME), True
            if counted:
                out[place] = _mix(unit ^ salt) >> shift
                place += 1
                if longest >= 2 and units_before >= 1:
                    pair = _mix(second * _PRIME ^ unit)
                    out[place] = _mix(pair ^ salt) >> shift
                    place += 1
                    if longest >= 3 and units_before >= 2:
                        out[place] = _mix(_mix(first * _PRIME ^ pair) ^ salt) >> shift
                        place += 1
            first, second = second, unit
            units_before += 1
        if kind == BOUNDARY:
            units_before = 0
    return place


@njit(cache=True, parallel=True)
def hash_texts(
    data: Any,
    offsets: Any,
    word_data: Any,
    word_offsets: Any,
    unit_classes: Any,
    word_classes: Any,
    longest: int,
    bits: int,
) -> Any:
    """Counts of the n-grams of each text and of the words beside it: CSR indptr, indices, values."""
    rows = len(offsets) - 1
    shift = np.uint64(64 - bits)
    starts = np.empty(rows + 1, dtype=np.int64)
    starts[0] = 0
    for row in range(rows):  # no text has more n-grams than this
        units, words = offsets[row + 1] - offsets[row], word_offsets[row + 1] - word_offsets[row]
        starts[row + 1] = starts[row] + longest * (units + 1) + words + 1
    buckets = np.empty(starts[rows], dtype=np.int32)
    counts = np.empty(starts[rows], dtype=np.float32)
    distinct = np.zeros(rows + 1, dtype=np.int64)
    for row in prange(rows):
        begin = starts[row]
        place = _hash_text(
            data, offsets[row], offsets[row + 1], unit_classes, longest, 1, _0, shift, buckets, begin
        )
        place = _hash_text(
            word_data,
            word_offsets[row],
            word_offsets[row + 1],
            word_classes,
            1,
            2,
            _WORDS,
            shift,
            buckets,
            place,
        )
        ordered = np.sort(buckets[begin:place])
        last = begin - 1
        for index in range(len(ordered)):
            if index == 0 or ordered[index] != ordered[index - 1]:
                last += 1
                buckets[last], counts[last] = ordered[index], 1
            else:
                counts[last] += 1
        distinct[row + 1] = last + 1 - begin
    indptr = np.cumsum(distinct)
    indices = np.empty(indptr[rows], dtype=np.int32)
    values = np.empty(indptr[rows], dtype=np.float32)
    for row in prange(rows):
        size = distinct[row + 1]
        indices[indptr[row] : indptr[row + 1]] = buckets[starts[row] : starts[row] + size]
        values[indptr[row] : indptr[row + 1]] = counts[starts[row] : starts[row] + size]
    return indptr, indices, values
