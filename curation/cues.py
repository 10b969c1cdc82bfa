"""Pairs of characters without which a pattern cannot match.

Belongs here: reading off a regular expression which cues each of its matches must hold, so that many
costly patterns are tried only on the texts that hold a cue of theirs; one walk over the characters finds
the cues of all patterns (`text_kernels.cued`). After the index of n-grams for regular expressions of
Cox (2012), with pairs in place of trigrams, for Chinese words are short.
Does not belong here: the patterns, and what a match means (`text`).

A cue is one symbol or two that follow each other. Symbols are characters, where upper and lower case are
the same, all digits are `0`, all white space is a blank; a line break is the head of a line, which blanks
may follow.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise, product
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import numpy as np

HEAD = "\n"
_BLANK, _DIGIT = " ", "0"
#: Sets of strings are written out up to this size.
_MANY = 256
#: Classes that the parser of Python has no name for; each stands for too much to write out, as \w does.
_CLASSES = re.compile(r"\\p\{\w+\}")
_Strings = frozenset[str]


def _symbol(char: str) -> str:
    if char.isspace():
        return _BLANK
    if unicodedata.category(char) == "Nd":
        return _DIGIT
    folded = char.casefold()
    return folded if len(folded) == 1 else char


# -- reading a pattern ----------------------------------------------------------------------------


def _members(items: Iterable[Any]) -> _Strings | None:
    """The symbols of a class of characters; None where they are too many."""
    found: set[str] = set()
    for op, value in items:
        if op is ops.LITERAL:
            found.add(_symbol(chr(value)))
        elif op is ops.RANGE and value[1] - value[0] < _MANY:
            found.update(_symbol(chr(code)) for code in range(value[0], value[1] + 1))
        elif op is ops.CATEGORY and value is ops.CATEGORY_DIGIT:
            found.add(_DIGIT)
        elif op is ops.CATEGORY and value is ops.CATEGORY_SPACE:
            found.add(_BLANK)
        else:
            return None
    return frozenset(found)


def _strings(op: Any, value: Any) -> _Strings | None:
    """All that a node can match, in symbols; None where that is too much."""
    if op is ops.LITERAL:
        return frozenset(_symbol(chr(value)))
    if op is ops.IN:
        return _members(value)
    if op is ops.AT:
        return frozenset([HEAD if value is ops.AT_BEGINNING else ""])
    if op is ops.SUBPATTERN:
        return _sequence_strings(value[-1])
    if op is ops.BRANCH:
        branches = [_sequence_strings(branch) for branch in value[1]]
        return None if None in branches else frozenset().union(*branches)  # type: ignore[arg-type]
    if op in (ops.MAX_REPEAT, ops.MIN_REPEAT) and value[1] == 1:
        once = _sequence_strings(value[2])
        return once if once is None or value[0] else once | {""}
    return None


def _sequence_strings(nodes: Any) -> _Strings | None:
    strings: _Strings | None = frozenset([""])
    for node in nodes:
        strings = _joined(strings, _strings(*node))
    return strings


def _joined(before: _Strings | None, after: _Strings | None) -> _Strings | None:
    if before is None or after is None or len(before) * len(after) > _MANY:
        return None
    return frozenset(map("".join, product(before, after)))


def _is_indent(op: Any, value: Any) -> bool:
    """Any number of blanks."""
    repeats = op in (ops.MAX_REPEAT, ops.MIN_REPEAT) and len(value[2]) == 1
    return repeats and _strings(*value[2][0]) == {_BLANK}


def _price(cue: str) -> int:
    """Roughly how common a cue is in Chinese text."""
    plain = [symbol for symbol in cue if not "\u3400" <= symbol < "\ua000"]
    if len(cue) == 1:
        return 300 if plain else 30
    if HEAD in cue or all(symbol.isalpha() for symbol in cue):
        return 20 if _DIGIT in cue else 1 + len(plain)
    return 10 * len(plain) ** 2


def _cheapest(choices: Iterable[_Strings | None]) -> _Strings | None:
    known = [cues for cues in choices if cues is not None]
    # of equal ones the last: in 共 3 页 what comes first is the common word
    return min(reversed(known), key=lambda cues: sum(map(_price, cues)), default=None)


def _cue_of(string: str) -> str | None:
    """One cue of a string: its rarest pair, else the symbol itself."""
    if len(string) < 2:
        return string if string not in ("", HEAD) else None
    pairs = [one + other for one, other in pairwise(string) if other != HEAD]
    return min(pairs, key=_price, default=None)


def _cues_of(strings: _Strings) -> _Strings | None:
    cues = {_cue_of(string) for string in strings}
    return None if None in cues else frozenset(cues)  # type: ignore[arg-type]


def _needed_by_node(op: Any, value: Any) -> _Strings | None:
    """Cues of which each match of the node holds one; None where nothing is known."""
    if op is ops.SUBPATTERN:
        return _needed(value[-1])
    if op is ops.BRANCH:
        branches = [_needed(branch) for branch in value[1]]
        return None if None in branches else frozenset().union(*branches)  # type: ignore[arg-type]
    if op in (ops.MAX_REPEAT, ops.MIN_REPEAT) and value[0]:
        return _needed(value[2])
    return None


def _needed(nodes: Any) -> _Strings | None:
    """Cues of which each match of a sequence holds one: the best that any stretch of it gives."""
    choices: list[_Strings | None] = []
    stretch: _Strings = frozenset([""])
    for op, value in nodes:
        if _is_indent(op, value) and stretch == {HEAD}:
            continue
        strings = _strings(op, value)
        longer = _joined(stretch, strings)
        if longer is None:
            # what is met at least once touches what is before and, in its last round, what comes after
            again = op in (ops.MAX_REPEAT, ops.MIN_REPEAT) and value[0]
            strings = _sequence_strings(value[2]) if again else strings
            choices += [_needed_by_node(op, value), _cues_of(_joined(stretch, strings) or frozenset([""]))]
            longer = strings if strings is not None else frozenset([""])
        stretch = longer
        choices.append(_cues_of(stretch))
    return _cheapest(choices)


def cues(pattern: str) -> frozenset[str]:
    """Cues of which every match of `pattern` holds at least one.

    Raises ValueError where no such cues can be told.
    """
    found = _needed(parser.parse(_CLASSES.sub(r"\\w", pattern)))
    if found is None:
        raise ValueError(f"no cues can be told of {pattern!r}")
    return found


# -- tables ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """Cues of several patterns; bit i of a mask stands for the i-th pattern.

    `symbols` (uint16, by code point; 0 is none, 1 the head of a line, 2 a blank), `singles` (uint32, masks
    by symbol) and `pairs` (uint32, masks by two symbols).
    """

    symbols: np.ndarray
    singles: np.ndarray
    pairs: np.ndarray
    bits: Mapping[str, int]


def table(patterns: Mapping[str, str]) -> Table:
    """The cues of up to 32 patterns, by name."""
    wanted = {name: cues(pattern) for name, pattern in patterns.items()}
    known = {HEAD: 1, _BLANK: 2}
    for symbol in sorted(set("".join(cue for found in wanted.values() for cue in found))):
        known.setdefault(symbol, len(known) + 1)
    symbols = np.zeros(sys.maxunicode + 1, dtype=np.uint16)
    for code in range(0x20000):  # no letter beyond has two cases
        symbols[code] = known.get(_symbol(chr(code)), 0)
    symbols[[ord(symbol) for symbol in known if symbol != HEAD]] = [
        place for symbol, place in known.items() if symbol != HEAD
    ]
    singles = np.zeros(len(known) + 1, dtype=np.uint32)
    pairs = np.zeros((len(known) + 1, len(known) + 1), dtype=np.uint32)
    for bit, found in enumerate(wanted.values()):
        for cue in found:
            place = tuple(known[symbol] for symbol in cue)
            (pairs if len(place) == 2 else singles)[place] |= np.uint32(1 << bit)
    return Table(symbols, singles, pairs, {name: bit for bit, name in enumerate(wanted)})
