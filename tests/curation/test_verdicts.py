"""The verdict rule: every row that comes in goes out, judged."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.records import digest
from curation.verdicts import REASONS, Rule, conservation, judge, verdict_counts

RULES = [
    Rule("empty", pl.col("n") == 0, {"n": pl.col("n")}),
    Rule("too_short", pl.col("n") < 10, {"n": pl.col("n")}, {"min_n": 10}),
    Rule("unreadable_text", pl.col("bad"), {"bad": pl.col("bad")}),
]
rows = st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 30)), st.one_of(st.none(), st.booleans())))


def frame(values) -> pl.DataFrame:
    ids = [digest("row", str(index)) for index in range(len(values))]
    return pl.DataFrame(
        {"record_id": ids, "n": [n for n, _ in values], "bad": [bad for _, bad in values]},
        schema={"record_id": pl.String, "n": pl.Int64, "bad": pl.Boolean},
    )


@given(rows)
def test_judging_keeps_every_row_in_order_and_gives_each_one_verdict(values):
    before = frame(values)
    after = judge(before, RULES)
    assert after["record_id"].to_list() == before["record_id"].to_list()
    for row in after.iter_rows(named=True):
        if row["verdict"] == "kept":
            assert row["reason"] is None
        else:
            assert REASONS[row["reason"]].verdict == row["verdict"]
    assert conservation("judge", before.lazy(), after.lazy()).ok


@given(rows)
def test_lazy_and_eager_judgements_agree(values):
    before = frame(values)
    assert judge(before.lazy(), RULES).collect().equals(judge(before, RULES))


@given(rows.filter(lambda values: len(values) > 0), st.data())
def test_a_lost_an_invented_and_a_doubled_row_are_noticed(values, data):
    before = frame(values)
    after = judge(before, RULES)
    index = data.draw(st.integers(0, len(values) - 1))
    lost = after.filter(pl.int_range(pl.len()) != index)
    assert conservation("judge", before.lazy(), lost.lazy()).lost == 1
    stranger = after[index].with_columns(record_id=pl.lit(digest("stranger")))
    invented = conservation("judge", before.lazy(), pl.concat([after, stranger]).lazy())
    assert (invented.invented, invented.ok) == (1, False)
    doubled = conservation("judge", before.lazy(), pl.concat([after, after[index]]).lazy())
    assert (doubled.doubled, doubled.ok) == (1, False)


def test_the_first_rule_that_fires_decides_and_the_evidence_holds_all():
    judged = judge(frame([(0, True), (5, False), (20, True), (20, None)]), RULES)
    assert judged["reason"].to_list() == ["empty", "too_short", "unreadable_text", None]
    assert judged["verdict"].to_list() == ["dropped", "dropped", "quarantined", "kept"]
    kept = json.loads(judged["evidence"][3])
    assert kept == {"n": 20, "bad": None, "limits": {"min_n": 10}}


def test_a_rule_with_an_unregistered_reason_is_refused():
    with pytest.raises(ValueError, match="registry"):
        Rule("because", pl.lit(True))


def test_a_row_without_a_registered_reason_is_unexplained():
    judged = judge(frame([(0, False), (20, False)]), RULES)
    wrong = judged.with_columns(reason=pl.lit("unreadable_text"))
    assert conservation("judge", judged.lazy(), wrong.lazy()).unexplained == 2


def test_every_parent_of_an_expansion_must_be_answered_for():
    parents = frame([(1, False), (2, False)])
    ids = parents["record_id"].to_list()
    children = judge(frame([(20, False), (20, False)]), RULES).with_columns(
        parents=pl.Series([[ids[0]], [ids[0]]])
    )
    counted = conservation("expand", parents.lazy(), children.lazy())
    assert (counted.lost, counted.invented, counted.ok) == (1, 0, False)
    both = children.with_columns(parents=pl.Series([[ids[0]], ids]))
    assert conservation("expand", parents.lazy(), both.lazy()).ok


def test_verdicts_are_counted_by_reason():
    counts = verdict_counts(judge(frame([(0, False), (0, True), (20, False)]), RULES))
    assert counts.rows() == [("kept", None, 1), ("dropped", "empty", 2)]
