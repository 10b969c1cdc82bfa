"""Raw records to judged documents."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.corpus.cleaning import clean_documents, judge_text, remove_repeated_lines
from curation.records import content_hash
from curation.settings import CleanSettings
from curation.verdicts import REASONS

SETTINGS = CleanSettings(min_chars=10)
PROSE = "春天到了，河边的柳树发了芽，孩子们在草地上放风筝，老人坐在长椅上晒太阳。"
COLUMNS = [
    "record_id", "source", "uri", "shard", "title", "text", "content_hash",
    "language", "n_chars", "verdict", "reason", "evidence",
]  # fmt: skip


def raw(
    bodies: list[bytes | None],
    *,
    media_type: str | None = "text/plain",
    charset: str | None = None,
    **columns,
) -> pl.DataFrame:
    count = len(bodies)
    given_columns = {
        "record_id": [f"{row:032x}" for row in range(count)],
        "source": ["web"] * count,
        "uri": [f"https://a.example.com/{row}" for row in range(count)],
        "shard": ["s1"] * count,
        "title": [None] * count,
        "media_type": [media_type] * count,
        "charset": [charset] * count,
        "body": bodies,
    } | columns
    schema = {name: pl.Binary if name == "body" else pl.String for name in given_columns}
    return pl.DataFrame(given_columns, schema=schema)


def clean_one(body: bytes | str | None, chosen: CleanSettings = SETTINGS, **options) -> dict:
    body = body.encode() if isinstance(body, str) else body
    frame = clean_documents(raw([body], **options), chosen)
    assert frame.columns == COLUMNS
    return frame.row(0, named=True)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (PROSE, None),
        ("", "empty"),
        (" \u3000\n", "empty"),
        (None, "unreadable_text"),
        (b"\x89PNG\r\n\x1a\n\x00\x00" + bytes(range(256)) * 8, "unreadable_text"),
        ("太短了", "too_short"),
        (PROSE * 9, "too_long"),
        ("".join("\ufffd" if place % 3 else char for place, char in enumerate(PROSE)), "mojibake"),
        ("♪♫♬◐◑◒◓♔♕♖ 好 ♗♘♙♚♛♜", "symbols"),
        ("2024 1130 5521 8842 7713 6604 第二页", "symbols"),
        ("Сегодня хорошая погода, дети играют в парке.", "wrong_language"),
        ("先说结论。" + "我也不知道该怎么办。" * 9, "repetition"),
        ("加微信abc12345领取彩金，百家乐时时彩在线投注，开户送58元，欢迎来电咨询", "spam"),
        ("首页 > 新闻 > 国内\n字号：大 中 小\n上一篇：下雨了\n责任编辑：王小明\n版权所有 未经许可不得转载", "boilerplate"),
    ],
)  # fmt: skip
def test_reasons(body: bytes | str | None, reason: str | None) -> None:
    row = clean_one(body, CleanSettings(min_chars=10, max_chars=200))
    assert row["reason"] == reason
    assert row["verdict"] == (REASONS[reason].verdict if reason else "kept")


def test_evidence_holds_what_was_measured_and_its_limits() -> None:
    row = clean_one("联系电话13800138000，" + PROSE + "\x00臺灣")
    evidence = json.loads(row["evidence"])
    assert evidence["charset"] == "utf-8"
    assert evidence["masked"]["phone"] == 1
    assert evidence["changes"] == {
        "fixed_encoding": False, "control_chars": 1, "white_space": 0, "width": 0, "composed": 0, "simplified": 2,
    }  # fmt: skip
    assert evidence["traditional"] == "灣湾 臺台"
    assert evidence["n_chars"] == row["n_chars"]
    assert evidence["limits"]["min_chars"] == 10
    for name in (
        "garble",
        "symbol_share",
        "digit_share",
        "punctuation_share",
        "repetition",
        "line_repetition",
        "spam",
        "markup",
        "debris",
        "offence",
        "language",
    ):
        assert name in evidence
    assert row["text"].startswith("联系电话<PHONE>，")
    assert row["text"].endswith("台湾")
    assert row["content_hash"] == content_hash(row["text"])


def test_settings_switch_steps_off() -> None:
    chosen = CleanSettings(min_chars=1, mask_pii=False, traditional_to_simplified=False)
    row = clean_one("臺灣的電話是13800138000", chosen)
    assert row["text"] == "臺灣的電話是13800138000"
    assert "masked" not in json.loads(row["evidence"])


LIMITS = [name for name in CleanSettings.model_fields if name.startswith(("min_", "max_"))]


def test_rules_that_are_off_neither_measure_nor_refuse() -> None:
    off = CleanSettings(languages=None, **dict.fromkeys(LIMITS))
    bodies = ["短", "", "♪♫♬◐◑◒◓♔♕♖", "Сегодня хорошая погода", "先说结论。" * 20, PROSE]
    rows = clean_documents(raw([body.encode() for body in bodies]), off)
    assert rows["reason"].to_list() == [None, "empty", None, None, None, None]
    assert set(json.loads(rows["evidence"][0])) == {
        "n_chars", "charset", "changes", "traditional", "repeated_lines", "trimmed_lines", "date", "masked",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "limit", "reason", "measure"),
    [
        ("min_words", 200, "too_short", "n_words"),
        ("max_words", 3, "too_long", "n_words"),
        ("max_punctuation_share", 0.01, "symbols", "punctuation_share"),
        ("max_latin_share", 0.1, "wrong_language", "latin_share"),
        ("max_repeated_lines", 0.1, "repetition", "line_repetition"),
        ("max_debris", 0.05, "boilerplate", "debris"),
        ("min_sentence_ends", 0.9, "boilerplate", "sentence_ends"),
        ("max_offence", 0.1, "offensive", "offence"),
    ],
)
def test_each_limit_decides_alone(setting: str, limit: float, reason: str, measure: str) -> None:
    body = f"{PROSE}\n{PROSE}\n河边的柳树真的发了芽吗\n他骂人是白痴，废物，人渣，去死吧\n29 14:17\nthe end of a short story about nothing"
    off = dict.fromkeys(LIMITS)
    row = clean_one(body, CleanSettings(languages=None, **off | {setting: limit}))
    assert row["reason"] == reason
    evidence = json.loads(row["evidence"])
    assert evidence["limits"] == {setting: limit}
    assert (evidence[measure] < limit) == setting.startswith("min_")
    assert clean_one(body, CleanSettings(languages=None, **off))["reason"] is None


def test_a_score_of_offence_alone_never_refuses_by_default() -> None:
    row = clean_one("滚出去，白痴，废物，人渣，垃圾，智障，去死吧，不要脸的东西，畜生，贱人，王八蛋")
    assert row["verdict"] == "kept"
    assert json.loads(row["evidence"])["offence"] > 0.99


def test_a_page_is_spam_by_its_title() -> None:
    rows = clean_documents(raw([PROSE.encode()] * 2, title=["必威betway中文版", "春天的河边"]), SETTINGS)
    assert rows["reason"].to_list() == ["spam", None]


def test_blocked_terms_are_found_in_any_spelling() -> None:
    chosen = CleanSettings(min_chars=1, blocked_terms=("測試詞", "Foo"))
    rows = clean_documents(
        raw([text.encode() for text in ("这里有测试词出现", "a ＦＯＯ bar", PROSE)]), chosen
    )
    assert rows["reason"].to_list() == ["blocked_term", "blocked_term", None]
    assert json.loads(rows["evidence"][0])["blocked_term"] == "测试词"


def test_other_character_sets() -> None:
    assert clean_one(PROSE.encode("gb18030"))["text"] == PROSE
    assert clean_one(PROSE.encode("gb18030"), charset="gb2312")["text"] == PROSE
    assert clean_one(PROSE.encode("utf-16"))["text"] == PROSE
    assert clean_one(("\ufeff" + PROSE).encode())["text"] == PROSE


def html(lines: list[str], title: str = "标题") -> bytes:
    body = "".join(f"<p>{line}</p>" for line in lines)
    return f"<html><head><title>{title}</title></head><body><article><h1>{title}</h1>{body}</article></body></html>".encode()


@pytest.mark.parametrize("media_type", ["text/html", None])
def test_pages_are_reduced_to_their_text(media_type: str | None) -> None:
    body = html([PROSE, PROSE.replace("春天", "秋天").replace("发了芽", "黄了叶")], "河边ＡＢＣ")
    row = clean_one(body, media_type=media_type)
    assert row["title"] == "河边ABC"
    assert row["text"].startswith(PROSE)
    assert "<" not in row["text"]
    assert row["verdict"] == "kept"


def test_the_title_of_the_source_comes_first() -> None:
    assert clean_one(html([PROSE] * 2), media_type="text/html", title=["原题"])["title"] == "原题"
    assert clean_one(PROSE)["title"] is None


def test_lines_that_a_site_repeats_are_removed() -> None:
    notice = "本站内容由热心读者提供，欢迎来信。"
    pages = pl.DataFrame(
        {
            "text": [f"{PROSE}{row}\n{notice}" for row in range(6)] + [notice, notice],
            "source": ["web"] * 8,
            "uri": [f"https://a.example.com/{row}" for row in range(6)]
            + ["https://b.example.com/1", "file:///x"],
            "is_html": [True] * 7 + [False],
        }
    )
    result = remove_repeated_lines(pages)
    assert result["text"].to_list() == [f"{PROSE}{row}" for row in range(6)] + [notice, notice]
    assert result["repeated_lines"].to_list() == [1] * 6 + [0, 0]
    # four pages are too few to tell
    assert remove_repeated_lines(pages.head(4))["text"].to_list() == pages["text"].head(4).to_list()


def test_rules_alone_keep_the_other_columns() -> None:
    frame = pl.DataFrame({"id": [1, 2], "text": [PROSE, "短"]})
    result = judge_text(frame, SETTINGS, note=pl.col("id"))
    assert result.columns == ["id", "text", "language", "n_chars", "verdict", "reason", "evidence"]
    assert result["reason"].to_list() == [None, "too_short"]
    assert [json.loads(value)["note"] for value in result["evidence"]] == [1, 2]


def test_empty_frames() -> None:
    result = clean_documents(raw([]), SETTINGS)
    assert result.height == 0
    assert result.columns == COLUMNS
    assert judge_text(pl.DataFrame({"text": []}, schema={"text": pl.String}), SETTINGS).height == 0


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.binary(max_size=60)
        | st.none()
        | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")),
        max_size=6,
    )
)
def test_every_record_comes_out_once_judged(bodies: list[bytes | None]) -> None:
    frame = raw(bodies)
    result = clean_documents(frame, SETTINGS)
    assert result["record_id"].to_list() == frame["record_id"].to_list()
    assert result["text"].null_count() == 0
    for verdict, reason in result.select("verdict", "reason").iter_rows():
        assert verdict == (REASONS[reason].verdict if reason else "kept")
    assert clean_documents(frame.reverse(), SETTINGS).reverse().equals(result)
