"""Bytes to text, pages to articles."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.corpus.extraction import Extracted, decode, extract

SIMPLIFIED = "市图书馆昨天重新开放，读者可以凭借书证免费借阅三本图书，期限为一个月。"
TRADITIONAL = "臺北的圖書館昨天重新開放，讀者可以憑證借閱三本圖書，期限為一個月。"
ARTICLE = [
    "清晨五点，菜市场已经热闹起来。卖豆腐的老张把刚出锅的豆腐摆上案板，热气在灯光下慢慢散开。",
    "他说，自己做这一行已经三十年了，手艺是父亲教的，每天凌晨两点就要起来磨豆子，一年到头很少休息。",
    "市场管理处的工作人员介绍，今年改造以后，摊位比过去宽敞，下水道也重新修过，雨天不再积水。",
]
LINKS = [
    "本市昨日降下今年第一场雪",
    "火车站新候车厅下月启用",
    "中学生机器人比赛落下帷幕",
    "老街修缮工程进入尾声",
]


def page(article: list[str], *, before: str = "", after: str = "", tag: str = "p") -> str:
    body = "".join(f"<{tag}>{line}</{tag}>" for line in article)
    links = "".join(f'<li><a href="/{place}.html">{title}</a></li>' for place, title in enumerate(LINKS))
    return (
        "<!DOCTYPE html><html><head><title>豆腐摊的早晨_本地新闻网</title>"
        '<meta property="article:published_time" content="2023-03-05T06:00:00+08:00"></head><body>'
        '<div class="nav"><a href="/">首页</a> &gt; <a href="/news">新闻</a></div>'
        f'<h1>豆腐摊的早晨</h1>{before}<div class="content" id="content">{body}</div>{after}'
        f'<div class="more"><h3>热门推荐</h3><ul>{links}</ul></div>'
        '<div class="footer">版权所有 未经许可不得转载 京ICP备00000000号</div>'
        "<script>var a = 1;</script></body></html>"
    )


# -- character sets -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "declared", "charset"),
    [
        (SIMPLIFIED.encode(), None, "utf-8"),
        (SIMPLIFIED.encode(), "UTF8", "utf-8"),
        (SIMPLIFIED.encode(), "gb2312", "utf-8"),
        (SIMPLIFIED.encode(), "no-such-set", "utf-8"),
        (SIMPLIFIED.encode("gb2312"), "gb2312", "gb18030"),
        (SIMPLIFIED.encode("gb18030"), None, "gb18030"),
        (SIMPLIFIED.encode("gb18030"), "utf-8", "gb18030"),
        (SIMPLIFIED.encode("gb18030"), "iso-8859-1", "gb18030"),
        (b"\xef\xbb\xbf" + SIMPLIFIED.encode(), "gb2312", "utf-8"),
        (SIMPLIFIED.encode("utf-16"), None, "utf-16-le"),
        (SIMPLIFIED.encode("utf-16-be"), None, "utf-16-be"),
        ("联通".encode("gb2312"), "gb2312", "gb18030"),
    ],
)
def test_character_sets_of_chinese(body: bytes, declared: str | None, charset: str) -> None:
    expected = "联通" if len(body) == 4 else SIMPLIFIED
    assert decode(body, declared) == (expected, charset)


@pytest.mark.parametrize("declared", [None, "big5", "gbk"])
def test_big5(declared: str | None) -> None:
    assert decode(TRADITIONAL.encode("big5"), declared) == (TRADITIONAL, "big5hkscs")


def test_the_page_may_name_its_set() -> None:
    html = f'<html><head><meta charset="gb2312"></head><body>{SIMPLIFIED}</body></html>'
    assert decode(html.encode("gb2312"), None) == (html, "gb18030")
    # and may be wrong about it
    assert decode(html.encode("utf-8"), None) == (html, "utf-8")


def test_a_text_that_was_cut_off() -> None:
    text, charset = decode(SIMPLIFIED.encode()[:-1], "utf-8")
    assert charset == "utf-8"
    assert text is not None
    assert text.startswith(SIMPLIFIED[:-1])


@pytest.mark.parametrize(
    "body",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) * 20,
        b"PK\x03\x04" + bytes(range(255, 0, -1)) * 9,
        b"\x00" * 500,
    ],
)
def test_binary_data_is_no_text(body: bytes) -> None:
    assert decode(body, None) == (None, "")


def test_empty() -> None:
    assert decode(b"", None) == ("", "utf-8")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([None, "utf-8", "gbk", "big5", "utf-16", "x", ""]))
def test_any_bytes_are_text_or_are_not(body: bytes, declared: str | None) -> None:
    text, charset = decode(body, declared)
    assert (text is None) == (charset == "")


# -- main text ----------------------------------------------------------------------------------


def test_the_article_without_what_stands_around_it() -> None:
    found = extract(page(ARTICLE), "https://news.example.com/1.html")
    assert found.text.split("\n") == ARTICLE
    assert found.title == "豆腐摊的早晨"
    assert found.date == "2023-03-05"


def test_lists_and_tables_are_kept() -> None:
    listing = "<ul><li>黄豆要泡八个小时，夏天可以短一些。</li><li>磨浆的水要用凉水，豆浆才细。</li></ul>"
    table = "<table><tr><td>品种</td><td>价格</td></tr><tr><td>老豆腐</td><td>三元</td></tr></table>"
    html = page(ARTICLE).replace("</p></div>", f"</p>{listing}{table}</div>")
    text = extract(html).text
    for part in ("黄豆要泡八个小时", "磨浆的水要用凉水", "老豆腐", "三元"):
        assert part in text


def test_leaked_navigation_is_trimmed() -> None:
    leaked = "".join(f'<p><a href="/{place}.html">{title}</a></p>' for place, title in enumerate(LINKS))
    html = page(ARTICLE).replace('id="content">', f'id="content"><p>字号：大 中 小</p>{leaked}').replace("</p></div>", f"</p><p>责任编辑：小王</p><p>相关阅读</p>{leaked}</div>")  # fmt: skip
    text = extract(html).text
    assert text.split("\n") == ARTICLE


def test_a_page_whose_paragraphs_are_divisions() -> None:
    text = extract(page(ARTICLE, tag="div")).text
    for line in ARTICLE:
        assert line in text
    assert LINKS[0] not in text


def test_title_without_heading_and_date_in_the_text() -> None:
    html = f"<html><head><title>雨天的车站 - 散文网</title></head><body><span>发布时间：2021年7月9日</span><article>{''.join(f'<p>{line}</p>' for line in ARTICLE)}</article></body></html>"
    found = extract(html)
    assert (found.title, found.date) == ("雨天的车站", "2021-07-09")


@pytest.mark.parametrize(
    "html", ["", "   ", "没有标签的一行", "<html></html>", "<html><body><script>x</script></body></html>"]
)
def test_pages_without_an_article(html: str) -> None:
    found = extract(html)
    assert isinstance(found, Extracted)
    assert "<" not in found.text
