"""Decisions are appended, never overwritten; the latest counts."""

import json

import pytest

from curation.errors import UserError
from resources.reviews import Reviews


@pytest.fixture
def reviews(tmp_path) -> Reviews:
    file = tmp_path / "decisions.jsonl"
    rows = [
        {
            "kind": "keyword",
            "target": "杀青",
            "decision": "accept",
            "reviewer": "林",
            "at": "2026-01-01T00:00:00",
            "note": "",
        },
        {
            "kind": "document",
            "target": "g-001",
            "decision": "reject",
            "reviewer": "林",
            "at": "2026-01-01T00:00:00",
            "note": "讲咖啡",
        },
    ]
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n", encoding="utf-8")
    return Reviews(store=str(tmp_path / "store" / "reviews.sqlite"), files=[str(file)])


def test_files_and_store_are_read_together_and_the_latest_counts(reviews):
    assert reviews.decisions("keyword")["decision"].to_list() == ["accept"]
    reviews.add("keyword", "杀青", "reject", "陈", note="误收")
    reviews.add("keyword", "萎凋", "accept", "陈")
    assert dict(reviews.decisions("keyword").select("target", "decision").iter_rows()) == {
        "杀青": "reject",
        "萎凋": "accept",
    }


def test_the_version_changes_with_decisions_of_that_kind_only(reviews):
    keywords, documents = reviews.version("keyword"), reviews.version("document")
    assert reviews.version("keyword") == keywords
    reviews.add("keyword", "萎凋", "accept", "陈")
    assert reviews.version("keyword") != keywords
    assert reviews.version("document") == documents


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: not a decision"),
        ('{"kind": "x", "target": "t", "decision": "accept"}', "kind 'x'; allowed: keyword"),
        ('{"kind": "keyword", "target": "t", "decision": "maybe"}', "decision 'maybe'; allowed: accept"),
        ("[1]", "not a decision"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, message):
    file = tmp_path / "d.jsonl"
    file.write_text(line + "\n")
    with pytest.raises(UserError, match=message):
        Reviews(store=str(tmp_path / "s"), files=[str(file)]).decisions("keyword")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        Reviews(store=str(tmp_path / "s"), files=[str(tmp_path / "nowhere")]).decisions("keyword")
