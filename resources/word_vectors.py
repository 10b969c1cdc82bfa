"""Files of static word or character vectors in the text format of word2vec.

Belongs here: reading them. Does not belong here: what they are used for (`curation.static_vectors`).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from curation.errors import UserError

_ALLOWED = "a text file of word2vec: a unit and its numbers on each line, separated by single spaces"


def read_word_vectors(path: str | Path, wanted: set[str]) -> tuple[dict[str, np.ndarray], int]:
    """Vectors float32 of those units that are wanted, and their dimension.

    A first line of two whole numbers (units, dimension) is a header. The file may be gzipped; it is read
    line by line, so that its size does not matter. Of a unit that comes twice the first vector holds.

    Raises
    ------
    UserError
        The file cannot be read, or a line of it has not as many numbers as the first one.
    """
    found: dict[str, np.ndarray] = {}
    dimension = 0
    for number, line in enumerate(_lines(path), 1):
        if number == 1 and len(line.split()) == 2 and line.split()[1].isdigit():
            dimension = int(line.split()[1])
            continue
        dimension = dimension or len(line.split(" ")) - 1
        unit, *numbers = line.rsplit(" ", dimension) if dimension else [line]
        if not dimension or len(numbers) != dimension:
            raise UserError(f"line {number} does not have {max(dimension, 1)} numbers", where=str(path), allowed=_ALLOWED)  # fmt: skip
        if unit not in wanted or unit in found:
            continue
        try:
            vector = np.array(numbers, dtype=np.float32)
        except ValueError:
            raise UserError(
                f"line {number} holds something that is no number", where=str(path), allowed=_ALLOWED
            ) from None
        found[unit] = vector
    if not dimension:
        raise UserError("the file is empty", where=str(path), allowed=_ALLOWED)
    return found, dimension


def _lines(path: str | Path) -> Iterator[str]:
    opened = gzip.open if str(path).endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8", newline="\n") as file:
            for line in file:
                if text := line.rstrip("\r\n "):
                    yield text
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise UserError(f"cannot read the vectors: {error}", where=str(path), allowed=_ALLOWED) from None
