"""Signatures against datasketch, and similarities against sets made by hand."""

from __future__ import annotations

import unicodedata

import numpy as np
import polars as pl
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.corpus import minhash
from curation.corpus.minhash import canonical
from curation.settings import DedupSettings

SETTINGS = DedupSettings(ngram=4, permutations=32, bands=8, threshold=0.7)
TEXTS = [
    "今天天气很好，我们去公园散步。",
    "今天天气 很好！我们去公园散步",
    "The ＱＵＩＣＫ brown fox, 2024年",
    "短",
    "",
    "！？",
    "㎏ 和 ﬁ 都会展开",
    "Cafe\u0301 noir",
    "他後來在圖書館裏讀書。",
]
text = st.text(st.sampled_from("天地玄黄宇宙洪荒黃發髮 ，。ab1㎏é"), max_size=30)


def shingles(value: str, n: int) -> set[str]:
    """What the kernel makes of a text with letters, in plain Python."""
    form = canonical(value)
    return {form[place : place + n] for place in range(max(len(form) - n + 1, 1))}


def similarity(one: str, other: str, n: int, **options) -> float:
    places = np.array([0]), np.array([1])
    return float(minhash.jaccard(pl.Series([one, other]), *places, n, **options)[0])


@pytest.mark.parametrize("seed", [1, 7])
def test_signatures_are_those_of_datasketch(seed: int) -> None:
    frame = minhash.signatures(pl.Series(TEXTS), SETTINGS, seed)
    for value, row in zip(TEXTS, frame.iter_rows(named=True), strict=True):
        if not any(char.isalnum() for char in value):
            continue
        expected = MinHash(num_perm=32, seed=seed, hashfunc=minhash.shingle_hash, scheme="affine32")
        for shingle in shingles(value, 4):
            expected.update(shingle)
        assert row["signature"] == expected.hashvalues.tolist()
        assert row["n_shingles"] == len(shingles(value, 4))


@settings(max_examples=50, deadline=None)
@given(text.filter(lambda value: any(char.isalnum() for char in value)), st.integers(1, 6))
def test_shingles_are_those_of_the_canonical_form(value: str, n: int) -> None:
    frame = minhash.signatures(pl.Series([value]), SETTINGS.model_copy(update={"ngram": n}))
    assert frame["n_shingles"][0] == len(shingles(value, n))


@settings(max_examples=50, deadline=None)
@given(text, text, st.integers(1, 5))
def test_jaccard_is_exact(one: str, other: str, n: int) -> None:
    found = similarity(one, other, n)
    assert found == similarity(other, one, n)
    assert similarity(one, one, n) == 1.0
    if all(any(char.isalnum() for char in value) for value in (one, other)):
        a, b = shingles(one, n), shingles(other, n)
        assert found == pytest.approx(len(a & b) / len(a | b))


def test_every_character_enters_as_in_the_canonical_form() -> None:
    table, spans, expansions = minhash._canonical_table()
    assert not table[minhash._LETTERS_END :].any()
    for code, new in enumerate(table[: minhash._LETTERS_END].tolist()):
        letters = expansions[spans[-new - 1] : spans[-new]].tolist() if new < 0 else [new] if new else []
        assert letters == [ord(char) for char in canonical(chr(code)) if char.isalnum()], hex(code)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Cafe\u0301 noir, tre\u0300s bon", "Café noir, très bon"),  # joined marks
        (unicodedata.normalize("NFD", "한국어 문장입니다"), "한국어 문장입니다"),  # joined Hangul letters
        ("ﷺ" * 3000 + "完", "صلى الله عليه وسلم" * 3000 + "完"),  # many times as long as its bytes
    ],
)
def test_composed_and_expanded_texts_are_those_that_they_stand_for(one: str, other: str) -> None:
    frame = minhash.signatures(pl.Series([one, other, "别的文字"]), SETTINGS)
    assert frame[0].equals(frame[1])
    assert frame["n_shingles"][0] == len(shingles(one, 4))
    assert similarity(one, other, 4) == 1.0
    counts = [minhash.shingle_counts(pl.Series([text]), 4) for text in (one, other)]
    assert (counts[0] > 0).sum() == (counts[1] > 0).sum() > 0


def test_white_space_width_and_punctuation_do_not_matter() -> None:
    frame = minhash.signatures(pl.Series(TEXTS[:2]), SETTINGS)
    assert frame["signature"][0].to_list() == frame["signature"][1].to_list()
    assert frame["bands"][0].to_list() == frame["bands"][1].to_list()


def test_short_and_empty_texts_are_like_themselves_only() -> None:
    values = ["好", "不", "", "！？", "……", "好！"]
    frame = minhash.signatures(pl.Series(values), SETTINGS)
    assert frame["n_shingles"].to_list() == [1] * 6
    distinct = {tuple(signature) for signature in frame["signature"].to_list()}
    assert len(distinct) == 5  # only 好 and 好！ are the same


def test_traditional_and_simplified_text_are_one() -> None:
    one, other = "他後來發現頭髮變白了，就去圖書館借書。", "他后来发现头发变白了，就去图书馆借书。"
    assert similarity(one, other, 4) == 1.0
    frame = minhash.signatures(pl.Series([one, other]), SETTINGS)
    assert frame["signature"][0].to_list() == frame["signature"][1].to_list()


def test_bands_are_equal_where_their_part_of_the_signature_is() -> None:
    long = "".join(chr(0x4E00 + place) for place in range(400))
    frame = minhash.signatures(pl.Series([long, long[:380] + "甲乙丙丁" * 5]), SETTINGS)
    signed = np.array(frame["signature"].to_list()).reshape(2, 8, 4)
    bands = np.array(frame["bands"].to_list())
    same = (signed[0] == signed[1]).all(axis=1)
    assert same.any()
    assert ((bands[0] == bands[1]) == same).all()


def test_estimate_is_near_the_exact_similarity() -> None:
    wide = DedupSettings(ngram=3, permutations=1024, bands=128)
    one = "".join(chr(0x4E00 + place) for place in range(1000))
    other = one[:700] + "".join(chr(0x6E00 + place) for place in range(300))
    frame = minhash.signatures(pl.Series([one, other]), wide)
    a, b = (np.array(signature) for signature in frame["signature"].to_list())
    assert (a == b).mean() == pytest.approx(similarity(one, other, 3), abs=0.06)


def test_a_template_does_not_make_texts_alike() -> None:
    template = "请根据下面的规定回答问题，并且说明理由，回答要简洁明了："
    texts = pl.Series([template + chr(0x4E00 + 40 * row) * 2 + "".join(chr(0x4E00 + 40 * row + i) for i in range(20)) for row in range(30)])  # fmt: skip
    places = np.array([0]), np.array([1])
    counts = minhash.shingle_counts(texts, 4)
    whole = minhash.jaccard(texts, *places, 4)[0]
    assert whole > 0.3
    assert minhash.jaccard(texts, *places, 4, counts=counts, common=10)[0] < 0.05
    assert minhash.jaccard(texts, *places, 4, counts=counts, common=100)[0] == whole
    # copies of a common text are still copies
    copies = pl.Series([template] * 30)
    assert minhash.jaccard(copies, *places, 4, counts=minhash.shingle_counts(copies, 4), common=10)[0] == 1.0


def test_tables_have_their_types_also_when_empty() -> None:
    for values in ([], TEXTS):
        frame = minhash.signatures(pl.Series(values, dtype=pl.String), SETTINGS)
        assert frame.height == len(values)
        assert frame.schema == {
            "n_shingles": pl.UInt32,
            "signature": pl.List(pl.UInt32),
            "bands": pl.List(pl.UInt32),
        }
    assert len(minhash.jaccard(pl.Series([], dtype=pl.String), np.array([], int), np.array([], int), 4)) == 0
