"""The figures of `curation evaluate html`, and a folder run from end to end."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from curation.errors import UserError
from curation.evaluation import evaluate
from curation.evaluation.html import gram_f1, share_within
from curation.settings import Profile

PROFILE = Profile(name="test", lake="lake", sources=())
ARTICLE = "渡口的老船工每天清晨先检查缆绳和船底，再给等船的人烧一壶热茶，四十年来没有误过一班船。"
MENU = "本站导航与合作伙伴"


@pytest.mark.parametrize(
    ("found", "wanted", "f1"),
    [
        ("渡口的老船工", "渡口的老船工", 1.0),
        ("渡口的\n老 船工", "渡口的老船工", 1.0),
        ("渡口的老", "渡口的老船工", 2 * 1 / (1 + 3)),
        ("一二三四一二三四", "一二三四", 2 * 1 / (5 + 1)),  # each gram counts as often as it occurs
        ("船工", "船工", 1.0),
        ("船工", "", 0.0),
        ("", "", 1.0),
    ],
)
def test_f1_of_grams_by_hand(found: str, wanted: str, f1: float) -> None:
    assert gram_f1(found, wanted) == pytest.approx(f1)


def test_shares_by_hand() -> None:
    assert share_within("老船工\n烧热茶", ["船工烧", "缆绳", " "]) == 0.5
    assert share_within("老船工", []) is None


def folder(place: Path, pages: dict[str, str]) -> Path:
    pl.DataFrame({"id": list(pages), "html": list(pages.values())}).write_parquet(place / "pages.parquet")
    truth = [
        {"id": "a", "main_text": ARTICLE, "must_include": ["没有误过一班船"], "must_exclude": [MENU], "kind": "real", "page_type": "article"},
        {"id": "b", "main_text": "", "must_include": [], "must_exclude": [], "kind": "real", "page_type": "list"},
        {"id": "c", "main_text": ARTICLE, "must_include": ["一壶热茶"], "must_exclude": [MENU, "热茶"], "kind": "transplant", "page_type": "article"},
    ]  # fmt: skip
    with gzip.open(place / "ground_truth.jsonl.gz", "wt", encoding="utf-8") as handle:
        handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in truth)
    return place


def test_a_folder(tmp_path: Path) -> None:
    page = f"<html><head><title>渡口</title></head><body><ul><li><a href='/'>{MENU}</a></li></ul><article><p>{ARTICLE}</p></article></body></html>"
    data = folder(tmp_path, {"a": page, "b": "<html><body></body></html>", "c": page, "unlabelled": "x"})
    raw = data / "raw_bytes"
    raw.mkdir()
    (raw / "1.html").write_bytes(page.encode("gb18030"))
    (raw / "2.html").write_bytes(page.encode("gb18030").replace("渡".encode("gb18030"), b"\xff\xff"))
    metrics = evaluate("html", data, PROFILE)["metrics"]
    assert metrics["real.f1"] == metrics["real.include"] == metrics["transplant.f1"] == 1.0
    assert metrics["real.leak"] == 0.0
    assert metrics["transplant.leak"] == 0.5
    assert (metrics["real.list.f1"], metrics["real.article.pages"]) == (1.0, 1)
    assert "real.list.leak" not in metrics
    assert (metrics["raw.decoded"], metrics["raw.pages"]) == (1, 2)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no pages\.parquet"):
        evaluate("html", tmp_path, PROFILE)
    with pytest.raises(UserError, match="lacks 2 labelled pages, such as b"):
        evaluate("html", folder(tmp_path, {"a": "x"}), PROFILE)
