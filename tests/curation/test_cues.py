"""Cues: no text that matches a pattern goes without one of them."""

from __future__ import annotations

import re

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation import cues, text

PATTERNS = {
    **{f"spam_{group}": pattern for group, pattern in text._SPAM.items()},
    "furniture": text.FURNITURE,
    "readings": text._READINGS,
    "entry": text._ENTRY,
    "abuse": text._ABUSE,
    "slur": text._SLUR,
    "contempt": text._CONTEMPT,
    "debris": text._DEBRIS.replace(text._DEBRIS_HEAD + "|", ""),
}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("茶园", {"茶园"}),
        ("(?:红|绿)茶", {"红茶", "绿茶"}),
        ("茶+园", {"茶园"}),
        ("茶?园", {"茶园", "园"}),
        (r"第\d{1,3}页", {"0页"}),
        (r"(?i)QQ\s*群", {"qq"}),
        (r"(?m)^[ \t]*，", {"\n，"}),
        ("(?:春|夏).{0,9}采茶", {"采茶"}),
    ],
)
def test_cues_of_a_pattern(pattern: str, expected: set[str]) -> None:
    assert cues.cues(pattern) == expected


@pytest.mark.parametrize("pattern", [".*", "[^茶]", r"\w+", "茶?", "茶|.", r"\p{Han}{3}"])
def test_patterns_without_cues_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="no cues"):
        cues.cues(pattern)


def _generated(pattern: str) -> st.SearchStrategy[str]:
    return st.from_regex(re.sub(r"\\p\{\w+\}", "[一-龥]", pattern.replace(r"[\p{Han}", "[一-龥")))


@pytest.mark.parametrize("name", PATTERNS)
def test_what_matches_holds_a_cue(name: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.text(max_size=3), _generated(PATTERNS[name])), min_size=1, max_size=5))
    def holds(pieces: list[tuple[str, str]]) -> None:
        values = ["".join(piece).encode("utf-8", "ignore").decode() for piece in pieces]
        texts = pl.Series(values + [value.upper() for value in values])
        matching = texts.str.contains(PATTERNS[name]).arg_true().to_list()
        assert set(matching) <= set(text.Block(texts).cued(name).tolist())

    holds()


def test_white_space_and_case_do_not_hide_a_cue() -> None:
    texts = pl.Series(["\n  ，下一句", "句子，下一句", "加\u3000ＱＱ", "\u017fB 说", "他说 SB"])
    block = text.Block(texts)
    assert 0 in block.cued("debris")
    assert 1 not in block.cued("debris")
    assert {3, 4} <= set(block.cued("abuse").tolist())
