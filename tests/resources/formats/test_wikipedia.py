import bz2
import json
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from resources.formats.wikipedia import plain_text

HEAD = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="zh">\n  <siteinfo><dbname>zhwiki</dbname></siteinfo>\n'
TAIL = "</mediawiki>\n"


def page(number: int, text: str, ns: int = 0, redirect: str = "") -> str:
    leads = f'<redirect title="{redirect}" />' if redirect else ""
    return f"  <page>\n    <title>条目{number}</title><ns>{ns}</ns><id>{number}</id>{leads}<revision><id>9</id><timestamp>2024-01-01T00:00:00Z</timestamp><format>text/x-wiki</format><text>{escape(text)}</text></revision>\n  </page>\n"


def article(number: int) -> str:
    return page(number, f"'''茶{number}'''是一种[[饮料]]。" + "茶" * 200)


def multistream(pages: list[str], each: int = 5) -> bytes:
    groups = ["".join(pages[at : at + each]) for at in range(0, len(pages), each)]
    return b"".join(bz2.compress(one.encode()) for one in [HEAD, *groups, TAIL])


def test_articles_redirects_and_other_pages(tmp_path: Path, documents) -> None:
    pages = [page(1, "[[绿茶]]。"), page(2, "#REDIRECT [[绿茶]]", redirect="绿茶"), page(3, "讨论", ns=1)]
    (tmp_path / "dump.xml").write_text(HEAD + "".join(pages) + TAIL)
    frame = documents(tmp_path, "wikipedia")
    assert frame.select("native_id", "title", "reason").rows() == [
        ("1", "条目1", None),
        ("2", "条目2", "redirected"),
        ("3", "条目3", "not_an_article"),
    ]
    assert frame[0, "body"].decode() == "绿茶。"
    assert json.loads(frame[1, "evidence"])["target"] == "绿茶"


@pytest.mark.parametrize("name", ["dump.xml", "dump.xml.bz2"])
def test_a_dump_is_cut_at_pages_or_streams(tmp_path: Path, documents, name: str) -> None:
    pages = [article(number) for number in range(1, 61)]
    body = (HEAD + "".join(pages) + TAIL).encode() if name == "dump.xml" else multistream(pages)
    (tmp_path / name).write_bytes(body)
    whole = documents(tmp_path, "wikipedia")
    cut = documents(tmp_path, "wikipedia", shard_bytes=1_000)
    assert whole["native_id"].to_list() == [str(number) for number in range(1, 61)]
    assert cut["shard"].n_unique() > 3
    assert cut.drop("shard").equals(whole.drop("shard"))


def test_streams_need_not_end_with_a_page(tmp_path: Path, documents) -> None:
    body = (HEAD + "".join(article(number) for number in range(1, 61)) + TAIL).encode()
    streams = [bz2.compress(body[at : at + 3_001]) for at in range(0, len(body), 3_001)]
    (tmp_path / "dump.xml.bz2").write_bytes(b"".join(streams))
    cut = documents(tmp_path, "wikipedia", shard_bytes=1_000)
    assert cut["native_id"].to_list() == [str(number) for number in range(1, 61)]
    assert cut["reason"].null_count() == 60


def test_one_bad_page_costs_itself_alone(tmp_path: Path, documents) -> None:
    bad = article(2).replace("</revision>", "</revisio>")
    huge = page(3, "茶" * 100_000)
    (tmp_path / "dump.xml").write_text(HEAD + article(1) + bad + huge + article(4))
    frame = documents(tmp_path, "wikipedia", max_record_bytes=100_000)
    assert frame["reason"].to_list() == [None, "unreadable_text", "too_large", None]


@pytest.mark.parametrize("each", [5, 1_000])
def test_a_dump_that_breaks_off(tmp_path: Path, documents, each: int) -> None:
    body = multistream([article(number) for number in range(1, 41)], each)
    (tmp_path / "dump.xml.bz2").write_bytes(body[: len(body) * 2 // 3])
    frame = documents(tmp_path, "wikipedia")
    assert frame["reason"].to_list()[-1] == "unreadable_file"
    assert frame["reason"].to_list()[:-1] == [None] * (frame.height - 1)
    assert frame.height > 20 or each == 1_000


def test_a_stream_that_unpacks_without_end(tmp_path: Path, documents) -> None:
    (tmp_path / "dump.xml.bz2").write_bytes(bz2.compress(HEAD.encode() + b" " * 120_000_000))
    frame = documents(tmp_path, "wikipedia")
    assert frame["reason"].to_list() == ["unreadable_file"]
    assert "max_unpacked_ratio" in frame[0, "evidence"]


def test_entities_cannot_be_defined_inside_a_page(tmp_path: Path, documents) -> None:
    (tmp_path / "dump.xml").write_text(
        f'<!DOCTYPE m [<!ENTITY x "{"y" * 99}">]>' + HEAD + article(1).replace("饮料", "&x;") + TAIL
    )
    assert documents(tmp_path, "wikipedia")["reason"].to_list() == ["unreadable_text"]


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("'''龙井茶'''属于[[绿茶]]，产于[[杭州市|杭州]]。", "龙井茶属于绿茶，产于杭州。"),
        ("{{Infobox|名称={{lang|zh|茶}}}}正文<ref>{{cite|书}}</ref>。<!-- 注 -->", "正文。"),
        ("[[File:a.jpg|thumb|right|龙井[[茶园]]]]正文[[Category:茶]][[en:Tea]][[分类:茶]]", "正文"),
        ("== 历史 ==\n* 始于[[宋朝]]\n* 闻名于明朝", "历史\n始于宋朝\n闻名于明朝"),
        ("-{zh-cn:鼠标;zh-tw:滑鼠}-和-{zh-hant:記憶體;zh-hans:内存}-，-{不转换}-", "鼠标和内存，不转换"),
        ("-{T|zh-cn:标题;zh-tw:標題}-正文", "正文"),
        ('{| class="wikitable"\n! 名称\n|-\n| 狮峰\n|}\n表后的话。', "表后的话。"),
        ("[http://a.cn 官网]的说明&nbsp;一行<br/>另一行", "官网的说明\xa0一行\n另一行"),
        ("没有收尾的 {{模板 和 [[链接", "没有收尾的 {{模板 和 [[链接"),
    ],
)
def test_wikitext_becomes_plain_text(wikitext: str, text: str) -> None:
    assert plain_text(wikitext) == text
