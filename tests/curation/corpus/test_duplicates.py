"""Who is a duplicate of whom."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.corpus import duplicates, minhash
from curation.records import content_hashes
from curation.settings import DedupSettings
from curation.text import n_chars
from curation.verdicts import REASONS

SETTINGS = DedupSettings(ngram=3, permutations=128, bands=64, threshold=0.6)


def han(start: int, length: int) -> str:
    """A text of distinct characters: two of them share the shingles of their overlap."""
    return "".join(chr(0x4E00 + start + place) for place in range(length))


def docs(texts: dict[str, str], chosen: DedupSettings = SETTINGS) -> pl.DataFrame:
    frame = pl.DataFrame({"record_id": list(texts), "text": list(texts.values())}, schema={"record_id": pl.String, "text": pl.String})  # fmt: skip
    return frame.with_columns(content_hashes(frame["text"]), n_chars=n_chars(pl.col("text"))).hstack(
        minhash.signatures(frame["text"], chosen)
    )


def judged(texts: dict[str, str], chosen: DedupSettings = SETTINGS, **options) -> dict[str, dict]:
    frame = duplicates.judge_duplicates(docs(texts, chosen), chosen, **options)
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


def test_another_preference() -> None:
    frame = docs({"a": han(0, 110), "b": han(0, 100)}).with_columns(quality=pl.Series([0.1, 0.9]))
    result = duplicates.judge_duplicates(frame, SETTINGS, prefer=("quality", "n_chars"))
    assert result["duplicate_of"].to_list() == ["b", None]


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
    pairs = duplicates.near_duplicate_pairs(frame, frame.select("record_id", "text"), SETTINGS)
    assert pairs.rows() == [("x", "y", pytest.approx(88 / 108))]


def test_empty_frame() -> None:
    result = duplicates.judge_duplicates(docs({}), SETTINGS)
    assert result.height == 0
    assert result.columns == ["record_id", "duplicate_of", "similarity", "verdict", "reason", "evidence"]
    frame = docs({})
    assert duplicates.near_duplicate_pairs(frame, frame.select("record_id", "text"), SETTINGS).height == 0


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
