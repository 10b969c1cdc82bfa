"""Who is a duplicate of whom."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.corpus import cleaning, duplicates, minhash
from curation.records import content_hashes
from curation.settings import CleanSettings, DedupSettings
from curation.text import n_chars
from curation.verdicts import REASONS

SETTINGS = DedupSettings(ngram=3, permutations=128, bands=64, threshold=0.6)


def han(start: int, length: int) -> str:
    """A text of distinct characters: two of them share the shingles of their overlap."""
    return "".join(chr(0x4E00 + start + place) for place in range(length))


def docs(texts: dict[str, str], chosen: DedupSettings = SETTINGS) -> pl.DataFrame:
    frame = pl.DataFrame({"record_id": list(texts), "text": list(texts.values())}, schema={"record_id": pl.String, "text": pl.String})  # fmt: skip
    return frame.with_columns(
        content_hashes(frame["text"]), n_chars=n_chars(pl.col("text")), quality=1.0, source=pl.lit("web")
    ).hstack(minhash.signatures(frame["text"], chosen))


def judged(texts: dict[str, str], chosen: DedupSettings = SETTINGS) -> dict[str, dict]:
    frame = duplicates.judge_duplicates(docs(texts, chosen), chosen)
    assert frame["record_id"].to_list() == list(texts)
    return {row["record_id"]: row for row in frame.iter_rows(named=True)}


def test_exact_near_and_different() -> None:
    base = "小明每天早上七点起床，先刷牙洗脸，再吃一碗热腾腾的面条，然后背着书包去上学。"
    rows = judged({"a": base, "b": base.replace("，", " , "), "c": base.replace("七点", "六点"), "d": "完全不同的一段话，讲的是海边的灯塔和守塔的老人。"})  # fmt: skip
    assert rows["a"]["verdict"] == "kept"
    assert rows["d"]["verdict"] == "kept"
    assert (rows["b"]["reason"], rows["b"]["duplicate_of"], rows["b"]["similarity"]) == (
        "duplicate_of",
        "a",
        1.0,
    )
    assert (rows["c"]["reason"], rows["c"]["duplicate_of"]) == ("near_duplicate_of", "a")
    assert 0.6 <= rows["c"]["similarity"] < 1
    assert json.loads(rows["c"]["evidence"])["limits"] == {"similarity": 0.6}
    assert json.loads(rows["c"]["evidence"])["duplicate_of"] == "a"
    assert json.loads(rows["a"]["evidence"])["duplicates"] == 2
    assert rows["a"]["duplicate_of"] is None
    assert rows["a"]["similarity"] is None


def test_the_longest_is_kept_then_the_first_id() -> None:
    rows = judged({"b": han(0, 100), "a": han(0, 100), "z": han(0, 110)})
    assert {name: row["duplicate_of"] for name, row in rows.items()} == {"b": "z", "a": "z", "z": None}
    rows = judged({"b": han(0, 100), "a": han(0, 100)})
    assert {name: row["duplicate_of"] for name, row in rows.items()} == {"b": "a", "a": None}


@pytest.mark.parametrize(
    ("prefer", "sources", "kept"),
    [
        (("length",), (), "long"),
        (("quality", "length"), (), "clean"),
        (("source", "quality", "length"), ("book",), "book"),
        (("source", "quality", "length"), ("web", "book"), "clean"),
        (("source", "quality", "length"), (), "clean"),
    ],
)
def test_the_representative_is_the_preferred_one(prefer, sources, kept) -> None:
    frame = docs({"long": han(0, 110), "clean": han(0, 105), "book": han(0, 100)}).with_columns(
        quality=pl.Series([0.7, 0.9, 0.8]), source=pl.Series(["web", "web", "book"])
    )
    chosen = SETTINGS.model_copy(update={"prefer": prefer, "sources": sources})
    result = duplicates.judge_duplicates(frame, chosen)
    assert result.filter(pl.col("verdict") == "kept")["record_id"].to_list() == [kept]
    assert set(result["duplicate_of"].drop_nulls()) == {kept}


def test_quality_is_what_cleaning_measured() -> None:
    clean = "春天到了，公园里的桃花开了，孩子们在草地上放风筝，老人们坐在长椅上聊天。"
    advert = clean + "厂家直销，限时优惠，包邮到家，加微信 abc12345 领取优惠券，咨询热线 400-123-4567。"
    frame = pl.DataFrame({"text": [clean, advert]})
    quality = cleaning.judge_text(frame, CleanSettings()).select(duplicates.quality(pl.col("evidence")))[
        "quality"
    ]
    assert quality[0] > 0.8
    assert quality[1] < quality[0] - 0.1
    assert (quality * 10 == (quality * 10).round()).all()


def test_a_chain_does_not_drift() -> None:
    # each is like its neighbours (about 0.7), but not like those beyond
    chain = {f"{place:02}": han(20 * place, 118 - place) for place in range(8)}
    rows = judged(chain)
    kept = {name for name, row in rows.items() if row["verdict"] == "kept"}
    assert 2 <= len(kept) < len(chain)
    for name, row in rows.items():
        if name not in kept:
            assert row["duplicate_of"] in kept
            a, b = minhash_sets(chain[name]), minhash_sets(chain[row["duplicate_of"]])
            assert row["similarity"] == pytest.approx(len(a & b) / len(a | b))
            assert row["similarity"] >= 0.6


def minhash_sets(value: str) -> set[str]:
    return {value[place : place + 3] for place in range(len(value) - 2)}


def test_copies_of_a_dropped_text_go_to_its_representative() -> None:
    rows = judged({"long": han(0, 110), "short": han(0, 100), "copy": han(0, 100)})
    assert {row["duplicate_of"] for row in rows.values()} == {None, "long"}
    assert rows["copy"]["reason"] == rows["short"]["reason"] == "near_duplicate_of"
    assert rows["copy"]["similarity"] == rows["short"]["similarity"]


def test_short_and_empty_texts_are_no_cluster() -> None:
    rows = judged({"a": "好", "b": "不好", "c": "对", "d": "", "e": "……"})
    assert {row["verdict"] for row in rows.values()} == {"kept"}


def test_traditional_and_full_width_texts_are_found() -> None:
    text = "2024年春天，小王在图书馆借了三本书，后来发现其中一本缺了几页，就拿回去换了。"
    traditional = "2024年春天，小王在圖書館借了三本書，後來發現其中一本缺了幾頁，就拿回去換了。"
    rows = judged(
        {"a": text, "b": traditional, "c": text.replace("2024", "２０２４"), "d": text.replace("，", ",")}
    )
    assert {name: row["duplicate_of"] for name, row in rows.items()} == {
        "a": None,
        "b": "a",
        "c": "a",
        "d": "a",
    }
    assert {row["similarity"] for row in rows.values()} == {None, 1.0}
    assert rows["b"]["reason"] == "near_duplicate_of"  # another text, if only in its characters


def test_a_huge_bucket_is_no_quadratic_work(monkeypatch: pytest.MonkeyPatch) -> None:
    many = {f"{row:04}": han(0, 300) + chr(0x9000 + row) for row in range(600)}
    compared: list[int] = []
    exact = minhash.jaccard

    def counted(texts, firsts, seconds, ngram, **options):
        compared.append(len(firsts))
        return exact(texts, firsts, seconds, ngram, **options)

    monkeypatch.setattr(minhash, "jaccard", counted)
    rows = judged(many)
    assert sum(row["verdict"] == "kept" for row in rows.values()) == 1
    assert sum(compared) < 20 * len(many)


def test_pairs_are_exact_and_in_order() -> None:
    frame = docs({"x": han(0, 100), "y": han(10, 100), "z": han(5000, 100)})
    pairs = duplicates.near_duplicate_pairs(frame, frame.lazy().select("record_id", "text"), SETTINGS)
    assert pairs.rows() == [("x", "y", pytest.approx(88 / 108))]


def test_empty_frame() -> None:
    result = duplicates.judge_duplicates(docs({}), SETTINGS)
    assert result.height == 0
    assert result.columns == ["record_id", "duplicate_of", "similarity", "verdict", "reason", "evidence"]
    frame = docs({})
    assert (
        duplicates.near_duplicate_pairs(frame, frame.lazy().select("record_id", "text"), SETTINGS).height == 0
    )


spans = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(spans, st.randoms(use_true_random=False))
def test_every_row_is_answered_for_whatever_the_order(chosen: list[tuple[int, int]], random) -> None:
    texts = {f"{place:02}": han(start, length) for place, (start, length) in enumerate(chosen)}
    rows = judged(texts)
    for row in rows.values():
        if row["verdict"] == "kept":
            assert row["reason"] is None
            continue
        assert REASONS[row["reason"]].verdict == row["verdict"]
        assert rows[row["duplicate_of"]]["verdict"] == "kept"
        assert row["similarity"] >= SETTINGS.threshold
    shuffled = list(texts)
    random.shuffle(shuffled)
    assert judged({name: texts[name] for name in shuffled}) == rows


def further(frame: pl.DataFrame, known: pl.DataFrame | None = None, chosen: DedupSettings = SETTINGS):
    return duplicates.judge_further(frame, frame.lazy().select("record_id", "text"), chosen, known)


@settings(max_examples=40, deadline=None)
@given(spans, st.data())
def test_what_is_known_changes_nothing(chosen: list[tuple[int, int]], data: st.DataObject) -> None:
    frame = docs({f"{place:02}": han(start, length) for place, (start, length) in enumerate(chosen)})
    # an earlier run saw any of the records, in any order, and others that are gone
    seen = data.draw(st.lists(st.integers(0, len(chosen) - 1), unique=True))
    gone = docs({f"gone{place}": han(start + 2, length) for place, (start, length) in enumerate(chosen)})
    _, known = further(pl.concat([frame[seen], gone]))
    whole, compared = further(frame)
    again, compared_again = further(frame, known)
    assert again.equals(whole)
    assert compared_again.equals(compared)


def test_only_what_is_new_is_compared_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    old = {f"{row:02}": han(200 * (row // 4), 150 + row % 4) for row in range(40)}
    _, known = further(docs(old))
    frame = docs(old | {"new": han(0, 149)})
    read: list[str] = []
    exact = minhash.jaccard

    def spied(texts, firsts, seconds, ngram, **options):
        read.extend(texts)
        return exact(texts, firsts, seconds, ngram, **options)

    monkeypatch.setattr(minhash, "jaccard", spied)
    result, compared = further(frame, known)
    assert {old["03"], han(0, 149)} <= set(read) <= {*list(old.values())[:4], han(0, 149)}
    assert result.filter(pl.col("record_id") == "new")["duplicate_of"].item() == "03"
    assert known.height < compared.height <= known.height + 4


def test_with_templates_nothing_is_taken_as_known() -> None:
    chosen = SETTINGS.model_copy(update={"template_records": 5})
    frame = docs({f"{row:02}": han(0, 100) + han(300 + 40 * row, 12) for row in range(10)}, chosen)
    wrong = further(frame)[1].with_columns(similarity=pl.lit(0.0))
    assert further(frame, wrong, chosen)[0].equals(further(frame, None, chosen)[0])
    assert further(frame, wrong, chosen)[1].is_empty()
