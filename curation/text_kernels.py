"""Compiled loops over the characters of many texts at once.

Belongs here: numba kernels that `text` runs on blocks of texts. Texts come as `codes` (int32 code
points of all texts, end to end) and `starts` (int64, text i is `codes[starts[i]:starts[i + 1]]`).
Does not belong here: tables of characters and anything that a reader would call a rule (`text`).

Importing this module imports numba, so it is imported inside functions only.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from numba import get_num_threads, njit, prange, set_num_threads

# Classes of characters; `text.character_classes` assigns them.
SYMBOL, SPACE, HAN, RARE_HAN, LATIN, ACCENTED, DIGIT, PUNCTUATION, KANA, OTHER_LETTER, BROKEN, JOINER = range(
    12
)
N_CLASSES = 12
# Roles of characters when UTF-8 was read as GBK; `text.gbk_roles` assigns them.
NO_ROLE, FIRST, SECOND, THIRD = range(4)  # the first is 0: false
# What a mark says about its line; `text.line_marks` assigns them.
NO_MARK, CODE_MARK, ITEM_MARK, SENTENCE_MARK, CALL_MARK, BRACKET = range(6)
_OTHER, _ENDED, _BARE, _CALL = range(4)  # kinds of lines
# What a character may call for in normalising, as bits; `text._character_traits` assigns them.
MAYBE_GARBLED, MAYBE_COMPOSED, MAYBE_TRADITIONAL = 1, 2, 4
# Symbols that `cues.Table` gives to the head of a line and to white space.
CUE_HEAD, CUE_BLANK = 1, 2

#: U+FFFD in UTF-8 read as GBK; what old debuggers show for unset memory.
LOST_RUNS = ((0x951F, 0x65A4, 0x62F7), (0x70EB, 0x70EB, 0x70EB), (0x5C6F, 0x5C6F, 0x5C6F))

_NEWLINE, _SPACE, _TAB, _RETURN = 10, 32, 9, 13
_MIX_1, _MIX_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_33 = np.uint64(33)


def _start_threads() -> None:
    """Start the threads of numba so that they sleep while they wait.

    Those of OpenMP spin by default, which costs more than all of the work between two short loops. It
    asks the environment once, when it is loaded; other libraries bring an OpenMP of their own.
    """
    before = os.environ.get("OMP_WAIT_POLICY")
    os.environ["OMP_WAIT_POLICY"] = before or "passive"
    get_num_threads()
    if before is None:
        del os.environ["OMP_WAIT_POLICY"]


_start_threads()

#: Arrays shorter than this are worked on by one thread: waking the others costs more, and much more
#: on a busy machine.
_SMALL = 1 << 18


def _alone_if_small(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Run a parallel kernel on one thread where its first array is short."""

    @wraps(kernel)
    def run(array: Any, *others: Any) -> Any:
        if len(array) >= _SMALL:
            return kernel(array, *others)
        threads = get_num_threads()
        set_num_threads(1)
        try:
            return kernel(array, *others)
        finally:
            set_num_threads(threads)

    return run


@njit(cache=True)
def mix64(value: Any) -> Any:
    """Finaliser of MurmurHash3: a bijection on 64 bits in which each bit depends on all."""
    value ^= value >> _33
    value *= _MIX_1
    value ^= value >> _33
    value *= _MIX_2
    return value ^ (value >> _33)


@njit(cache=True)
def chain64(state: Any, value: Any) -> Any:
    """Hash of a sequence, one value after the other."""
    return mix64((state ^ value) * _PRIME + _PRIME)


# -- UTF-8 ---------------------------------------------------------------------------------------


@_alone_if_small
@njit(cache=True, parallel=True)
def decode(data: Any, offsets: Any) -> Any:
    """UTF-8 bytes (valid, as Arrow guarantees) to code points."""
    rows = len(offsets) - 1
    starts = np.zeros(rows + 1, dtype=np.int64)
    for row in prange(rows):
        count = 0
        for place in range(offsets[row], offsets[row + 1]):
            count += (data[place] & 0xC0) != 0x80
        starts[row + 1] = count
    for row in range(rows):
        starts[row + 1] += starts[row]
    codes = np.empty(starts[rows], dtype=np.int32)
    for row in prange(rows):
        out = starts[row]
        place = offsets[row]
        while place < offsets[row + 1]:
            byte = np.int32(data[place])
            if byte < 0x80:
                code, size = byte, 1
            elif byte < 0xE0:
                code, size = ((byte & 0x1F) << 6) | (data[place + 1] & 0x3F), 2
            elif byte < 0xF0:
                code = ((byte & 0x0F) << 12) | ((data[place + 1] & 0x3F) << 6) | (data[place + 2] & 0x3F)
                size = 3
            else:
                code = ((byte & 0x07) << 18) | ((data[place + 1] & 0x3F) << 12)
                code |= ((data[place + 2] & 0x3F) << 6) | (data[place + 3] & 0x3F)
                size = 4
            codes[out] = code
            out += 1
            place += size
    return codes, starts


@_alone_if_small
@njit(cache=True, parallel=True)
def encode(codes: Any, starts: Any, lengths: Any) -> Any:
    """Code points to UTF-8 bytes; text i is the first `lengths[i]` codes from `starts[i]`."""
    rows = len(lengths)
    offsets = np.zeros(rows + 1, dtype=np.int64)
    for row in prange(rows):
        size = 0
        for place in range(starts[row], starts[row] + lengths[row]):
            code = codes[place]
            size += 1 + (code >= 0x80) + (code >= 0x800) + (code >= 0x10000)
        offsets[row + 1] = size
    for row in range(rows):
        offsets[row + 1] += offsets[row]
    data = np.empty(offsets[rows], dtype=np.uint8)
    for row in prange(rows):
        out = offsets[row]
        for place in range(starts[row], starts[row] + lengths[row]):
            code = codes[place]
            if code < 0x80:
                data[out] = code
                out += 1
                continue
            if code < 0x800:
                data[out] = 0xC0 | (code >> 6)
                tail = 1
            elif code < 0x10000:
                data[out] = 0xE0 | (code >> 12)
                tail = 2
            else:
                data[out] = 0xF0 | (code >> 18)
                tail = 3
            for step in range(tail):
                data[out + 1 + step] = 0x80 | ((code >> (6 * (tail - 1 - step))) & 0x3F)
            out += tail + 1
    return data, offsets


@_alone_if_small
@njit(cache=True, parallel=True)
def splice(codes: Any, starts: Any, rows: Any, others: Any, other_starts: Any) -> Any:
    """The texts with some of them (`rows`) replaced by others: new codes and starts."""
    count = len(starts) - 1
    other = np.full(count, -1, dtype=np.int64)
    for index in range(len(rows)):
        other[rows[index]] = index
    places = np.zeros(count + 1, dtype=np.int64)
    for row in range(count):
        at = other[row]
        size = starts[row + 1] - starts[row] if at < 0 else other_starts[at + 1] - other_starts[at]
        places[row + 1] = places[row] + size
    joined = np.empty(places[count], dtype=np.int32)
    for row in prange(count):
        at = other[row]
        if at < 0:
            joined[places[row] : places[row + 1]] = codes[starts[row] : starts[row + 1]]
        else:
            joined[places[row] : places[row + 1]] = others[other_starts[at] : other_starts[at + 1]]
    return joined, places


@_alone_if_small
@njit(cache=True, parallel=True)
def traits(codes: Any, starts: Any, lengths: Any, table: Any) -> Any:
    """The traits (bits, uint8) that any character of each text has.

    Text i is the first `lengths[i]` codes from `starts[i]`; `table` holds the traits of each code point.
    """
    rows = len(lengths)
    found = np.zeros(rows, dtype=np.uint8)
    for row in prange(rows):
        seen = np.uint8(0)
        for place in range(starts[row], starts[row] + lengths[row]):
            seen |= table[codes[place]]
        found[row] = seen
    return found


@_alone_if_small
@njit(cache=True, parallel=True)
def cued(codes: Any, starts: Any, symbols: Any, singles: Any, pairs: Any) -> Any:
    """Masks (uint32) of the patterns of which each text holds a cue; the tables are those of `cues.Table`."""
    rows = len(starts) - 1
    masks = np.zeros(rows, dtype=np.uint32)
    for row in prange(rows):
        mask, before = singles[0], CUE_HEAD
        for place in range(starts[row], starts[row + 1]):
            code = codes[place]
            symbol = symbols[code]
            if symbol > 0:
                mask |= singles[symbol] | pairs[before, symbol]
                if before == CUE_HEAD:  # white space comes before it as well
                    mask |= pairs[CUE_BLANK, symbol]
            if code == _NEWLINE:
                before = CUE_HEAD
            elif before != CUE_HEAD or symbol != CUE_BLANK:
                before = symbol
        masks[row] = mask
    return masks


# -- normal form ---------------------------------------------------------------------------------


@njit(cache=True)
def _put(codes: Any, place: int, code: int) -> bool:
    """Write one character; whether it is another than before."""
    other = codes[place] != code
    codes[place] = code
    return other


@njit(cache=True)
def _tidy(codes: Any, first: int, last: int, table: Any) -> tuple[int, int, int, bool]:
    """One text, see `tidy`: new length, characters removed, characters replaced, whether it is another."""
    removed = replaced = 0
    moved = False
    out = first
    newlines, line_start = 0, first
    space, odd_indent = False, False
    for place in range(first, last):
        code = codes[place]
        if code == _RETURN and place + 1 < last and codes[place + 1] == _NEWLINE:
            continue
        new = table[code]
        if new == 0:
            removed += 1
        elif new == _NEWLINE:
            newlines += 1
            line_start = place + 1
            space, odd_indent = False, False
        elif new == _SPACE:
            space = True
            odd_indent = odd_indent or code not in (_SPACE, _TAB)
        else:
            if out > first:
                if newlines > 0:
                    # never more than was read: the newlines and the indentation before `place`;
                    # the indentation is moved forwards, so it is not overwritten before it is read
                    indent = 0
                    if not odd_indent:
                        for back in range(line_start, place):
                            indent += codes[back] in (_SPACE, _TAB)
                    for _ in range(min(newlines, 2)):
                        moved |= _put(codes, out, _NEWLINE)
                        out += 1
                    if indent > 0:
                        for back in range(line_start, place):
                            if codes[back] in (_SPACE, _TAB):
                                moved |= _put(codes, out, codes[back])
                                out += 1
                elif space:
                    moved |= _put(codes, out, _SPACE)
                    out += 1
            replaced += new != code
            moved |= _put(codes, out, new)
            out += 1
            newlines = 0
            space, odd_indent = False, False
    return out - first, removed, replaced, moved or out < last


@_alone_if_small
@njit(cache=True, parallel=True)
def tidy(codes: Any, starts: Any, table: Any) -> Any:
    """Map characters and put white space in order, in place.

    `table` holds for each code point its replacement; 0 removes it, space and newline make it white
    space. Runs of spaces become one, trailing spaces and more than one blank line go; the indentation
    of a line is kept where it is made of ASCII spaces or tabs (code), else removed.
    Returns the new lengths and, per text, how many characters were removed and how many replaced, and
    whether the text is another than before.
    """
    rows = len(starts) - 1
    lengths = np.zeros(rows, dtype=np.int64)
    removed = np.zeros(rows, dtype=np.uint32)
    replaced = np.zeros(rows, dtype=np.uint32)
    moved = np.zeros(rows, dtype=np.bool_)
    for row in prange(rows):
        lengths[row], removed[row], replaced[row], moved[row] = _tidy(
            codes, starts[row], starts[row + 1], table
        )
    return lengths, removed, replaced, moved


# -- measures ------------------------------------------------------------------------------------


@_alone_if_small
@njit(cache=True, parallel=True)
def count_classes(codes: Any, starts: Any, classes: Any) -> Any:
    """Characters of each class: int32 (texts, N_CLASSES)."""
    rows = len(starts) - 1
    counts = np.zeros((rows, N_CLASSES), dtype=np.int32)
    for row in prange(rows):
        for place in range(starts[row], starts[row + 1]):
            counts[row, classes[codes[place]]] += 1
    return counts


@njit(cache=True)
def _is_western(code: int) -> bool:
    """Upper half of Latin-1, and what Windows-1252 puts in its place."""
    return 0x80 <= code <= 0xFF or code in (
        0x20AC, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x017D,
        0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x017E, 0x0178,
    )  # fmt: skip


@njit(cache=True)
def _is_upper(code: int) -> bool:
    """Letters of Latin-1 above ASCII, which are no continuation of UTF-8."""
    return 0xC0 <= code <= 0xFF


@njit(cache=True)
def _western_run(codes: Any, place: int, last: int) -> int:
    """Length of the run at `place` that looks like multi-byte text read as Latin-1, else 0.

    Western languages put single accented letters between ASCII ones. A UTF-8 lead byte with its
    continuation, or five and more in a row, are no language.
    """
    if not 0xA1 <= codes[place] <= 0xFF:
        return 0
    end = place
    letters = 0
    while end < last and _is_western(codes[end]):
        letters += _is_upper(codes[end])
        end += 1
    length = end - place
    if length >= 5 and letters > 0:
        return length
    lead = codes[place]
    if (
        length >= 3
        and 0xE0 <= lead <= 0xEF
        and not _is_upper(codes[place + 1])
        and not _is_upper(codes[place + 2])
    ):
        return length
    quotes = (0x201C, 0x201D, 0x2026, 0x2014)
    if (
        length >= 2
        and 0xC2 <= lead <= 0xC3
        and not _is_upper(codes[place + 1])
        and codes[place + 1] not in quotes
    ):
        return 2
    return 0


@njit(cache=True)
def _gbk_run(codes: Any, place: int, last: int, roles: Any, classes: Any) -> int:
    """Length of the run at `place` that looks like UTF-8 read as GBK, else 0.

    Three bytes of a UTF-8 Han character against two of GBK: the roles first, second, third follow
    each other. A character of the first role is rare in real text. Lost characters fit anywhere.
    """
    end = place
    expected = NO_ROLE
    firsts = exact = rare = 0
    while end < last:
        code = codes[end]
        role = roles[code]
        if classes[code] == BROKEN:
            expected = NO_ROLE
        elif role == NO_ROLE or (expected and role != expected):
            break
        else:
            firsts += role == FIRST
            exact += 1
            rare += classes[code] == RARE_HAN
            expected = role % 3 + 1
        end += 1
    # everyday words such as 恙虫病 chain up as well, but not for long
    if (exact >= 3 and firsts >= 1 and rare >= 1) or (exact >= 6 and firsts >= 2):
        return end - place
    return 0


@njit(cache=True)
def _garbled(codes: Any, first: int, last: int, classes: Any, roles: Any) -> int:
    """The count of one text, see `garbled`."""
    count = questions = 0
    place = first
    while place < last:
        code = codes[place]
        run = 0
        if code >= 0x80:
            run = _western_run(codes, place, last)
            if run == 0 and (roles[code] == FIRST or roles[code] == SECOND or classes[code] == BROKEN):
                run = _gbk_run(codes, place, last, roles, classes)
            if run == 0 and classes[code] == RARE_HAN:
                end = place
                while end < last and (classes[codes[end]] == RARE_HAN or classes[codes[end]] == BROKEN):
                    end += 1
                run = end - place if end - place >= 3 else 0
            if run == 0 and place + 2 < last:
                b, c = codes[place + 1], codes[place + 2]
                if (code, b, c) in LOST_RUNS:
                    run = 3
            if run == 0 and classes[code] == BROKEN:
                run = 1
        elif classes[code] == BROKEN:
            run = 1
        elif code == 63:
            end = place
            while end < last and codes[end] == 63:
                end += 1
            questions += end - place if end - place >= 4 else 0
            place = end
            continue
        count += run
        place += max(run, 1)
    # question marks in the place of characters, not of emphasis
    return count + questions if questions >= 8 and 3 * questions >= last - first else count


@_alone_if_small
@njit(cache=True, parallel=True)
def garbled(codes: Any, starts: Any, classes: Any, roles: Any, suspects: Any) -> Any:
    """Characters of each text that look garbled by a wrong encoding (int32).

    Texts without any character that is in `suspects` (bool, by code point) have none.
    """
    rows = len(starts) - 1
    counts = np.zeros(rows, dtype=np.int32)
    for row in prange(rows):
        suspect = False
        for place in range(starts[row], starts[row + 1]):
            suspect |= suspects[codes[place]]
        if suspect:
            counts[row] = _garbled(codes, starts[row], starts[row + 1], classes, roles)
    return counts


@njit(cache=True)
def _tokens(
    codes: Any, first: int, last: int, classes: Any, hashes: Any, widths: Any, kinds: Any, lines: Any
) -> int:
    """Cut a text into CJK characters, Latin words or numbers, and marks; white space divides.

    A run of more than 20 letters is no word: each of its letters counts alone.
    `kinds`: 2 letters, 1 marks, 0 digits and ornament such as table rules.
    """
    count, line = 0, 0
    place = first
    while place < last:
        code = codes[place]
        kind = classes[code]
        if kind == SPACE:
            line += code == _NEWLINE
            place += 1
            continue
        end = place + 1
        token = np.uint64(code)
        weight = 2
        if kind in (LATIN, ACCENTED, DIGIT):
            while end < last and classes[codes[end]] in (LATIN, ACCENTED, DIGIT):
                end += 1
            if end - place > 20:
                for index in range(place, end):
                    hashes[count], widths[count], lines[count] = mix64(np.uint64(codes[index])), 1, line
                    kinds[count] = 0 if classes[codes[index]] == DIGIT else 2
                    count += 1
                place = end
                continue
            token = np.uint64(0)
            for index in range(place, end):
                token = chain64(token, np.uint64(codes[index]))
            if kind == DIGIT:
                weight = 0
        elif kind in (PUNCTUATION, SYMBOL, JOINER):
            ornament = kind != PUNCTUATION or code in (
                35,
                42,
                43,
                45,
                46,
                61,
                95,
                124,
                126,
                0xB7,
                0x2026,
                0x2014,
            )
            weight = 0 if ornament else 1
        hashes[count], widths[count], kinds[count], lines[count] = mix64(token), end - place, weight, line
        count += 1
        place = end
    return count


@njit(cache=True)
def _last_place(keys: Any, places: Any, key: Any, place: int) -> int:
    """Where the key was met last (-1: nowhere), by open addressing (0 is empty); notes `place`."""
    mask = np.uint64(len(keys) - 1)
    slot = key & mask
    while keys[slot] != 0:
        if keys[slot] == key:
            before = places[slot]
            places[slot] = place
            return before
        slot = (slot + np.uint64(1)) & mask
    keys[slot] = key
    places[slot] = place
    return -1


@njit(cache=True)
def _loop(first: int, last: int, period: int, widths: Any, kinds: Any, covered: Any) -> int:
    """Characters of the loop whose later rounds are the tokens first..last, marked as covered; 0 if too few."""
    chars, weight = 0, 0
    for step in range(first, last):
        chars += widths[step]
    for step in range(last - period, last):
        weight = max(weight, kinds[step])
    if chars < (60, 10, 6)[weight]:
        return 0
    covered[first:last] = True
    return chars


@njit(cache=True)
def _blank_run(codes: Any, first: int, last: int, classes: Any) -> int:
    """Length of the longest run of white space that no layout explains (30 spaces, 10 line breaks), else 0."""
    longest = spaces = breaks = 0
    for place in range(first, last):
        if classes[codes[place]] == SPACE:
            spaces += 1
            breaks += codes[place] == _NEWLINE
            if spaces >= 30 or breaks >= 10:
                longest = max(longest, spaces)
        else:
            spaces = breaks = 0
    return longest


@njit(cache=True)
def _cover_runs(
    hashes: Any, widths: Any, kinds: Any, window: int, keys: Any, places: Any, covered: Any
) -> int:
    """Mark runs of `window` tokens, three letters in them, that occurred before; the longest loop in them."""
    letters = run = distance = loop = 0
    # a polynomial of the hashes in the window, which moves on by one term at each end
    rolling, highest = np.uint64(0), np.uint64(1)
    for _ in range(window):
        highest *= _PRIME
    for index in range(len(covered) + 1):
        before = -1
        if index < len(covered):
            letters += kinds[index] == 2
            rolling = rolling * _PRIME + hashes[index]
            if index >= window:
                letters -= kinds[index - window] == 2
                rolling -= hashes[index - window] * highest
            if index >= window - 1 and letters >= 3:
                before = _last_place(keys, places, mix64(rolling) | np.uint64(1), index)
        if before >= 0:
            covered[index - window + 1 : index + 1] = True
        if before >= 0 and index - before == distance:
            run += 1
            continue
        if run > 0 and run + window - 1 >= 2 * distance:
            loop = max(loop, _loop(index - run - window + 1, index, distance, widths, kinds, covered))
        run, distance = (1, index - before) if before >= 0 else (0, 0)
    return loop


@njit(cache=True)
def _cover_short_loops(hashes: Any, widths: Any, kinds: Any, window: int, covered: Any) -> int:
    """Mark loops whose period is shorter than the window; the longest of them."""
    loop = 0
    for period in range(1, window):
        run = same = 0
        for index in range(period, len(covered)):
            same += hashes[index] == hashes[index - period]
        if same < 2 * period:
            continue
        for index in range(period, len(covered) + 1):
            if index < len(covered) and hashes[index] == hashes[index - period]:
                run += 1
                continue
            if run >= 2 * period:
                loop = max(loop, _loop(index - run, index, period, widths, kinds, covered))
            run = 0
    return loop


@njit(cache=True)
def _cover_lines(
    hashes: Any, widths: Any, kinds: Any, lines: Any, keys: Any, places: Any, covered: Any
) -> None:
    """Mark lines with four letters and more that occurred before."""
    begin = 0
    while begin < len(covered):
        end, letters, key = begin, 0, np.uint64(3)
        while end < len(covered) and lines[end] == lines[begin]:
            letters += widths[end] if kinds[end] == 2 else 0
            key = chain64(key, hashes[end])
            end += 1
        if letters >= 4 and _last_place(keys, places, key | np.uint64(1), begin) >= 0:
            covered[begin:end] = True
        begin = end


@njit(cache=True)
def _repeated(codes: Any, first: int, last: int, classes: Any, window: int, half: int) -> float:
    """The score of one text, see `repeated`."""
    size = last - first
    if size < 8:
        return 0.0
    hashes, widths = np.empty(size, dtype=np.uint64), np.empty(size, dtype=np.int32)
    kinds, lines = np.empty(size, dtype=np.int8), np.empty(size, dtype=np.int32)
    count = _tokens(codes, first, last, classes, hashes, widths, kinds, lines)
    covered = np.zeros(count, dtype=np.bool_)
    slots = 16
    while slots < 4 * count:
        slots *= 2
    keys, places = np.zeros(slots, dtype=np.uint64), np.empty(slots, dtype=np.int32)
    loop = max(
        _blank_run(codes, first, last, classes),
        _cover_runs(hashes, widths, kinds, window, keys, places, covered),
        _cover_short_loops(hashes, widths, kinds, window, covered),
    )
    _cover_lines(hashes, widths, kinds, lines, keys, places, covered)
    total = part = 0
    for index in range(count):
        total += widths[index]
        part += widths[index] if covered[index] else 0
    return max(part / total, loop / (loop + half)) if total > 0 else 0.0


@_alone_if_small
@njit(cache=True, parallel=True)
def repeated(codes: Any, starts: Any, classes: Any, window: int, half: int) -> Any:
    """How much each text repeats itself (float64, 0-1): the larger of a share and of its longest loop.

    The share is that of the characters in tokens that repeat earlier ones: in a run of `window` tokens
    or in a line that occurred before, or in the second and later rounds of a loop of at least three
    rounds. A loop of `half` repeated characters counts 0.5 whatever the length of the text.
    """
    rows = len(starts) - 1
    scores = np.zeros(rows, dtype=np.float64)
    for row in prange(rows):
        scores[row] = _repeated(codes, starts[row], starts[row + 1], classes, window, half)
    return scores


@njit(cache=True)
def _is_item(codes: Any, first: int, last: int, classes: Any, marks: Any) -> bool:
    """Whether a line begins as an item of a list: with a bullet, a bracket, or a number and a mark."""
    place = first
    while place < last and classes[codes[place]] == DIGIT:
        place += 1
    if place == first:
        return marks[codes[place]] in (ITEM_MARK, BRACKET)
    return place < last and marks[codes[place]] in (SENTENCE_MARK, BRACKET)


#: Colons, and the letters that the name of a speaker may have.
_COLONS, _NAME = (58, 0xFF1A), 8


@njit(cache=True)
def _line(codes: Any, first: int, last: int, classes: Any, marks: Any) -> tuple[int, int, Any]:
    """Visible characters of one line, its kind (see `_line_shapes`), and a hash of who speaks, 0 if nobody."""
    visible = letters = han = strange = 0
    head = tail = first
    speaker, name = np.uint64(0), np.uint64(7)
    for place in range(first, last):
        kind = classes[codes[place]]
        if kind in (SPACE, JOINER):
            continue
        head = place if visible == 0 else head
        tail = place
        if codes[place] in _COLONS and 0 < visible == letters <= _NAME:
            speaker = name  # somebody's words, with the name before them
        name = chain64(name, np.uint64(codes[place]))
        visible += 1
        letters += kind in (HAN, RARE_HAN, LATIN, ACCENTED, KANA, OTHER_LETTER)
        han += kind in (HAN, RARE_HAN)
        strange += marks[codes[place]] == CODE_MARK or kind == BROKEN
    if visible == 0:
        return 0, _OTHER, speaker
    wordy = 8 <= visible <= 60 and 2 * letters >= visible and 2 * han >= letters and strange == 0
    wordy = wordy and not _is_item(codes, head, last, classes, marks)
    end = marks[codes[tail]]
    if end == CALL_MARK and wordy and visible <= 40:
        return visible, _CALL, speaker
    if end in (SENTENCE_MARK, CALL_MARK, BRACKET):
        return visible, _ENDED, speaker
    return visible, _BARE if wordy else _OTHER, speaker


@njit(cache=True)
def _bare_run(bare: int, spoken: int, lines: int, longest: int, at_head: bool) -> int:
    """Lines of a run that look like a list of titles.

    Three are needed, and a text may have as many of its own; verse has no line of 16 characters, and in
    a talk the lines begin with the names of speakers who take turns.
    """
    if bare < 3 or longest < 16 or 2 * spoken >= lines:
        return 0
    return max(lines - 3, 0) if at_head else lines


@njit(cache=True)
def _line_shapes(codes: Any, first: int, last: int, classes: Any, marks: Any, shape: Any) -> None:
    """The counts of one text, see `line_shapes`.

    A bare line is Chinese of 8 to 60 characters without an end, code or bullet; a call ends in `?` or `!`
    and goes on with a run of bare lines, as in lists of headlines.
    """
    lines, slots = 1, 4
    for place in range(first, last):
        lines += codes[place] == _NEWLINE
    while slots < 2 * lines:
        slots *= 2
    keys, places = np.zeros(slots, dtype=np.uint64), np.empty(slots, dtype=np.int32)
    speakers, turn = np.zeros(4, dtype=np.uint64), 0
    bare = spoken = run = longest = 0
    at_head = True
    place = first
    while place <= last:
        end = place
        key = np.uint64(5)
        while end < last and codes[end] != _NEWLINE:
            if classes[codes[end]] != SPACE:
                key = chain64(key, np.uint64(codes[end]))
            end += 1
        visible, kind, speaker = _line(codes, place, end, classes, marks)
        place = end + 1
        if visible == 0:
            continue
        shape[0] += 1
        shape[1] += kind in (_ENDED, _CALL)
        shape[4] += visible
        if visible >= 4 and _last_place(keys, places, key | np.uint64(1), end) >= 0:
            shape[3] += visible
        again = False
        if speaker != 0:
            again = (speakers == speaker).any()
            speakers[turn % len(speakers)] = speaker
            turn += 1
        if kind in (_BARE, _CALL):
            bare += kind == _BARE
            spoken += again
            run += 1
            longest = max(longest, visible)
        else:
            shape[2] += _bare_run(bare, spoken, run, longest, at_head)
            bare = spoken = run = longest = 0
            at_head = False
    shape[2] += _bare_run(bare, spoken, run, longest, at_head)


@_alone_if_small
@njit(cache=True, parallel=True)
def line_shapes(codes: Any, starts: Any, classes: Any, marks: Any) -> Any:
    """Lines of each text: int32 (texts, 5).

    How many hold anything; how many end as a sentence does; how many lie in runs of three and more bare
    lines (Chinese words without an end, like titles); visible characters in lines that occurred before;
    visible characters.
    """
    rows = len(starts) - 1
    shapes = np.zeros((rows, 5), dtype=np.int32)
    for row in prange(rows):
        _line_shapes(codes, starts[row], starts[row + 1], classes, marks, shapes[row])
    return shapes


@_alone_if_small
@njit(cache=True, parallel=True)
def head_lengths(codes: Any, starts: Any, classes: Any, tokens: int) -> Any:
    """Characters of each text up to the end of its first `tokens` tokens (int64)."""
    rows = len(starts) - 1
    lengths = np.zeros(rows, dtype=np.int64)
    for row in prange(rows):
        count = 0
        place, last = starts[row], starts[row + 1]
        while place < last and count < tokens:
            kind = classes[codes[place]]
            place += 1
            if kind == SPACE:
                continue
            count += 1
            if kind in (LATIN, ACCENTED, DIGIT):
                while place < last and classes[codes[place]] in (LATIN, ACCENTED, DIGIT):
                    place += 1
            lengths[row] = place - starts[row]
    return lengths
