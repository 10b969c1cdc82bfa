"""Bytes to text, pages to articles."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.corpus.extraction import Extracted, decode, extract
from curation.corpus.markup import lines_of

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


def test_the_site_is_what_the_page_says_or_its_host() -> None:
    named = page(ARTICLE).replace("<head>", '<head><meta property="og:site_name" content="本地 新闻网">')
    assert extract(named, "https://news.example.com/1.html").site == "本地 新闻网"
    assert extract(page(ARTICLE), "https://user@news.example.com:8080/1.html").site == "news.example.com"
    assert extract(page(ARTICLE)).site is None


def test_the_date_in_the_data_of_a_page() -> None:
    html = page(ARTICLE).replace(
        '<meta property="article:published_time" content="2023-03-05T06:00:00+08:00">',
        '<script type="application/ld+json">{"datePublished": "2022-11-30T08:00:00"}</script>',
    )
    assert extract(html).date == "2022-11-30"


# -- code ---------------------------------------------------------------------------------------

CODE = "def weigh(beans):\n    if not beans:\n        return 0\n\n    return sum(beans)"
FENCED = f"```\n{CODE}\n```"
_LINES = CODE.split("\n")


@pytest.mark.parametrize(
    "block",
    [
        f"<pre>{CODE}</pre>",
        f'<pre><code class="language-python">{CODE}\n</code></pre>',
        f"<pre>{CODE.replace(chr(10), '<br>')}</pre>",
        f"<figure><pre>{''.join(f'<div>{line}</div>' for line in _LINES)}</pre></figure>",
        f'<figure class="highlight"><table><tr><td class="gutter"><pre>{"<br>".join("12345")}</pre></td>'
        f'<td class="code"><pre>{"<br>".join(f"<span>{line}</span>" for line in _LINES)}</pre></td></tr></table></figure>',
        f'<div class="code"><code>{CODE}</code></div>',
    ],
)
def test_code_keeps_its_lines(block: str) -> None:
    html = page(ARTICLE).replace(f"<p>{ARTICLE[1]}</p>", f"<p>{ARTICLE[1]}</p>{block}")
    assert extract(html).text == "\n".join([*ARTICLE[:2], FENCED, ARTICLE[2]])


def test_code_in_a_list_stands_on_lines_of_its_own() -> None:
    listed = f"<ul><li>把下面这几行存成一个文件，再运行它：<pre>{CODE}</pre>然后看看结果。</li></ul>"
    text = extract(page(ARTICLE).replace("</p></div>", f"</p>{listed}</div>")).text
    assert f"再运行它：\n{FENCED}\n然后看看结果。" in text


def test_a_single_line_of_code_needs_no_fence() -> None:
    html = page(ARTICLE).replace("</p></div>", "</p><pre>pip  install   doufu</pre></div>")
    assert extract(html).text.split("\n") == [*ARTICLE, "pip  install   doufu"]


def test_words_of_code_in_a_sentence_and_verses_in_fixed_width_stay_as_they_are() -> None:
    sentence = "先用 <code>weigh</code> 称一称豆子，再决定磨多少豆浆，免得第二天剩下来卖不掉。"
    verse = "豆子圆又圆，磨盘转又转。\n清晨一碗浆，暖到日头偏。"
    html = page(ARTICLE).replace("</p></div>", f"</p><p>{sentence}</p><pre>{verse}</pre></div>")
    text = extract(html).text
    assert "先用 weigh 称一称豆子" in text
    assert "```" not in text
    assert "磨盘转又转" in text


# -- pages beyond the bounds --------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["div", "b", "table><tr><td", "ul><li"])
def test_a_page_nested_beyond_all_bounds(tag: str) -> None:
    closing = "".join(f"</{name}>" for name in reversed(tag.split("><")))
    nested = f"<{tag}>" * 10_000 + f"<p>{ARTICLE[0]}</p>" + closing * 10_000
    found = extract(f"<html><body>{nested}<p>{ARTICLE[1]}</p><p>{ARTICLE[2]}</p></body></html>")
    assert found.text.split("\n") == ARTICLE


def test_unclosed_tags_lose_no_text() -> None:
    html = page(ARTICLE).replace("<p>", "<font>" * 300 + "<p>")
    assert extract(html).text.split("\n")[-3:] == ARTICLE


def test_a_page_of_fifty_megabytes() -> None:
    line = f"<p>{ARTICLE[1] * 20}</p>\n"
    html = f"<html><body>{line * (50_000_000 // len(line.encode()))}<p>{ARTICLE[2]}</p></body></html>"
    found = extract(html)
    assert found.text.count(ARTICLE[1]) == html.count(ARTICLE[1]) > 300_000
    assert found.text.endswith(ARTICLE[2])


@pytest.mark.parametrize(
    "part",
    [
        '<a href="/1.html">', "<!--", "<![CDATA[", "<script>", "<", "<p", "<p title='", "</", "&#x4e00", "<pre>",
        "<td>一</td>", '<p><a href="/">新闻</a></p>', "<h1>豆腐</h1>",
    ],
)  # fmt: skip
def test_work_grows_with_the_page(part: str) -> None:
    """What is repeated without end is read once: a quadratic reader would not come back from this."""
    html = "<html><body>" + part * (400_000 // len(part)) + f"<p>{ARTICLE[0]}</p></body></html>"
    assert isinstance(extract(html), Extracted)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["<div>", "</div>", "<pre>", "</pre>", "<a href=x>", "</a>", "<!--", "-->", "<script>", "</script>", "<table>", "<td>", "<", "&lt;", "豆腐摊开门了。", "\n", "\0", "\ud800"]), max_size=40))  # fmt: skip
def test_any_mark_up_is_read(parts: list[str]) -> None:
    assert isinstance(extract("<html><body>" + "".join(parts)), Extracted)
    lines, linked = lines_of("".join(parts))
    assert all(isinstance(line, str) for line in lines)
    assert all(linked)


@pytest.mark.parametrize(
    "html", ["", "   ", "没有标签的一行", "<html></html>", "<html><body><script>x</script></body></html>"]
)
def test_pages_without_an_article(html: str) -> None:
    found = extract(html)
    assert isinstance(found, Extracted)
    assert "<" not in found.text
