"""ROUGE-L for Chinese and the novelty filter."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.synthesis.novelty import novel, rouge_l, tokens

texts = st.text(alphabet="茶叶红绿花ab ，", max_size=150)


def plain_rouge_l(first: str, second: str) -> float:
    one, other = tokens(first), tokens(second)
    row = [0] * (len(other) + 1)
    for token in one:
        before = row[:]
        for place, theirs in enumerate(other):
            row[place + 1] = before[place] + 1 if token == theirs else max(before[place + 1], row[place])
    total = len(one) + len(other)
    return 2 * row[-1] / total if one and other else float(not total)


def test_a_token_is_a_chinese_character_or_a_word():
    assert tokens("泡 Green-tea，用85度水！") == ["泡", "green", "tea", "用", "85", "度", "水"]
    assert tokens("ＡＢＣ Über") == ["abc", "über"]


def test_chinese_texts_are_not_all_strangers():
    assert rouge_l("什么是红茶？", "什么是绿茶") == pytest.approx(0.8)
    assert rouge_l("怎么泡茶", "如何修车") == 0
    assert rouge_l("The cat sat.", "the cat sat") == 1


@settings(max_examples=150, deadline=None)
@given(texts, texts)
def test_the_fast_alignment_equals_the_plain_one(first, second):
    assert rouge_l(first, second) == pytest.approx(plain_rouge_l(first, second))
    assert rouge_l(first, second) == rouge_l(second, first)


@settings(max_examples=60, deadline=None)
@given(st.lists(texts, max_size=8), st.lists(texts, max_size=8), st.floats(0, 1))
def test_a_candidate_is_compared_with_all_that_was_accepted_before(candidates, pool, limit):
    found = novel(candidates, pool, limit)
    accepted = list(enumerate(pool))
    for index, (text, row) in enumerate(zip(candidates, found.iter_rows(named=True), strict=True)):
        best = max((plain_rouge_l(text, other) for _, other in accepted), default=0.0)
        assert row["rouge_l"] == pytest.approx(best)
        assert row["novel"] == (row["rouge_l"] <= limit)
        if best > 0:
            first = next(at for at, other in accepted if plain_rouge_l(text, other) == pytest.approx(best))
            assert row["nearest"] == first
        if row["novel"]:
            accepted.append((len(pool) + index, text))


def test_nothing_comes_of_nothing():
    assert novel([], ["茶"], 0.7).schema == {"novel": pl.Boolean, "rouge_l": pl.Float64, "nearest": pl.Int64}
    assert novel(["茶"], [], 0.7).rows() == [(True, 0.0, None)]
