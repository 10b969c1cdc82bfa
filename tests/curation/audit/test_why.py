"""The chain of a record: its own steps, its parents, its children and the records it was compared with."""

import json

import polars as pl
import pytest

from curation import schemas
from curation.audit.why import find, trace
from curation.records import digest
from curation.verdicts import Verdict

DOC, COPY, PROMPT, LINE = (digest(name) for name in ("doc", "copy", "prompt", "line"))


def table(name: str, *rows: dict) -> pl.DataFrame:
    """A table with the given values, everything else filled with a harmless one."""
    harmless = {pl.String: "x", pl.Int64: 0, pl.UInt32: 1, pl.Float64: 0.5}
    complete = []
    for row in rows:
        filled = {
            column: harmless.get(type(dtype), harmless.get(dtype))
            for column, dtype in schemas.columns(name).items()
        }
        filled |= {"verdict": "kept", "reason": None, "evidence": "{}", "run_id": digest("run")}
        filled |= {"parents": []} if "parents" in filled else {}
        complete.append(filled | row)
    return pl.DataFrame(complete, schema=schemas.columns(name)).with_columns(pl.col("verdict").cast(Verdict))


@pytest.fixture
def scan():
    near = json.dumps({"duplicate_of": DOC, "similarity": 0.91, "limits": {"threshold": 0.7}})
    tables = {
        "raw_crawl": table(
            "raw_crawl",
            {"record_id": DOC, "uri": "http://a/tea.html", "native_id": "n1", "body": "好茶".encode()},
            {"record_id": COPY, "uri": "http://a/copy.html", "native_id": None, "body": "好茶。".encode()},
            {
                "record_id": LINE,
                "uri": "part-1.jsonl",
                "native_id": None,
                "title": None,
                "body": b'{"text": "broken',
                "verdict": "quarantined",
                "reason": "unreadable_line",
            },
        ),
        "clean_docs": table(
            "clean_docs",
            {"record_id": DOC, "uri": "http://a/tea.html", "text": "好茶要好水"},
            {"record_id": COPY, "uri": "http://a/copy.html", "text": "好茶也要好水"},
        ),
        "unique_docs": table(
            "unique_docs",
            {"record_id": DOC},
            {
                "record_id": COPY,
                "verdict": "dropped",
                "reason": "near_duplicate_of",
                "evidence": near,
                "duplicate_of": DOC,
            },
        ),
        "prompts": table("prompts", {"record_id": PROMPT, "parents": [DOC], "instruction": "好茶要什么？"}),
    }
    return lambda name: tables.get(name, schemas.empty(name)).lazy()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (DOC, DOC),
        (DOC[:10], DOC),
        ("n1", DOC),
        ("http://a/copy.html", COPY),
        ("a/tea.html", DOC),
        ("也要好水", COPY),
        ("broken", LINE),
    ],
)
def test_a_record_is_found_by_id_uri_or_text(scan, target, expected):
    assert [found[0] for found in find(target, scan)] == [expected]


def test_several_matches_are_all_named_and_none_is_empty(scan):
    assert {found[0] for found in find("好水", scan)} == {DOC, COPY}
    assert find("咖啡", scan) == []


def test_the_chain_goes_through_every_table(scan):
    traced = trace(COPY, scan)
    assert [(step.table, step.verdict, step.reason) for step in traced.steps] == [
        ("raw_crawl", "kept", None),
        ("clean_docs", "kept", None),
        ("unique_docs", "dropped", "near_duplicate_of"),
    ]
    assert traced.steps[-1].evidence["similarity"] == 0.91
    assert traced.others == {DOC: "好茶要好水"}


def test_what_a_record_was_made_from_and_what_was_made_of_it(scan):
    made = trace(PROMPT, scan)
    assert [parent.record_id for parent in made.parents] == [DOC]
    assert [step.table for step in made.parents[0].steps] == ["raw_crawl", "clean_docs", "unique_docs"]
    assert trace(DOC, scan).children == [("prompts", PROMPT, "kept")]


def test_a_broken_line_shows_its_bytes(scan):
    assert trace(LINE, scan).about.startswith('{"text": "broken')
