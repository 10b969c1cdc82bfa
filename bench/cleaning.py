"""Normal form and masking: ours over a column beside plain Python, one text after the other, same output."""

from __future__ import annotations

import re
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.measure import compare
from bench.pipeline import write_input
from curation import text

ROWS, ROUNDS = 10_000, 3
_BREAK = re.compile("\r\n|[\n\x0b\x0c\r\x85\u2028\u2029]")
_SPACES = re.compile(" +")
_GARBLED = re.compile("[\u00c2-\u00f4][\u0080-\u00bf]|[\u00a1-\u00fe]{4}|&#")
_VARIANTS = re.compile("|".join(text._VARIANT_WORDS))
_MAYBE_PII = re.compile(text._MAYBE_PII)


class PlainPython:
    """The same steps with `str` and `re`."""

    def __init__(self) -> None:
        table = text._tidy_table()
        changed = np.flatnonzero(table != np.arange(len(table)))
        self.table = {int(code): (chr(table[code]) if table[code] else None) for code in changed}
        self.simpler, telling = text._traditional()
        self.telling = frozenset(telling)
        self.longest = max(map(len, self.simpler))
        self.heads = frozenset(word[0] for word in self.simpler)

    def _line(self, line: str) -> str:
        words = _SPACES.sub(" ", line.translate(self.table)).strip(" ")
        indent = line[: len(line) - len(line.lstrip())]
        return indent + words if words and not indent.strip(" \t") else words

    def _tidy(self, value: str) -> str:
        lines = "\n".join(map(self._line, _BREAK.split(value)))
        return re.sub("\n{3,}", "\n\n", lines).strip()

    def _simplify(self, value: str) -> str:
        if self.telling.isdisjoint(value):
            return value
        out, place = [], 0
        while place < len(value):
            size = self.longest if value[place] in self.heads else 0
            while size and value[place : place + size] not in self.simpler:
                size -= 1
            out.append(self.simpler[value[place : place + size]] if size else value[place])
            place += max(size, 1)
        return _VARIANTS.sub(lambda match: text._VARIANT_WORDS[match[0]], "".join(out))

    def __call__(self, value: str) -> str:
        """One text in normal form, masked."""
        before = None
        while value != before:
            before = value
            repaired = text._repair(value) if _GARBLED.search(value) else value
            value = self._simplify(unicodedata.normalize("NFC", self._tidy(repaired)))
        return text._mask(value)[0] if _MAYBE_PII.search(value) else value


def _ours(texts: pl.Series) -> pl.Series:
    return text.mask_pii(text.normalise(texts)["text"])["text"]


def run() -> dict[str, Any]:
    """CPU seconds of both, interleaved, and the median of the ratios."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "in.jsonl"
        write_input(path, ROWS)
        texts = pl.read_ndjson(path)["text"]
    plain, rows = PlainPython(), texts.to_list()
    same = _ours(texts).to_list() == [plain(row) for row in rows]  # compiled before it is measured
    seconds, _, _ = compare(lambda: _ours(texts), lambda: [plain(row) for row in rows], "python", ROUNDS)
    return {"texts": ROWS, "same_output": same, **seconds}
