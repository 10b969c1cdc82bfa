"""From the bytes of a page to its main text.

Belongs here: finding the character set, and taking the article out of an HTML page.
Does not belong here: parsing and code blocks (`markup`), normalising the text (`curation.text`) or
judging it (`cleaning`), fetching.

The main text is trafilatura's (Barbaresi, ACL 2021). What it leaves standing around an article on
Chinese portals (lists of linked headlines, share bars, notices) is trimmed here, by what the page
itself tells: which texts are links and what its title is.
"""

from __future__ import annotations

import copy
import logging
import re
from dataclasses import dataclass
from typing import Any

from curation.corpus import markup
from curation.text import FURNITURE

_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_META = re.compile(
    rb"""(?:charset\s*=\s*|<\?xml[^>]{0,80}encoding\s*=\s*)["']?\s*([A-Za-z0-9_.:-]{2,30})""", re.IGNORECASE
)
#: Names that servers use for a set that is contained in a larger one.
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "gb_2312-80": "gb18030", "x-gbk": "gb18030", "cp936": "gb18030",
          "big5": "big5hkscs", "big5-hkscs": "big5hkscs", "iso-8859-1": "cp1252", "latin-1": "cp1252", "ascii": "utf-8",
          "us-ascii": "utf-8", "utf8": "utf-8", "shift_jis": "cp932", "euc-kr": "cp949"}  # fmt: skip
_GUESSES = ("gb18030", "big5hkscs", "utf-16-le", "utf-16-be")


# -- character sets -----------------------------------------------------------------------------


def _try(body: bytes, charset: str) -> str | None:
    """The text, where the bytes are valid in that set and what comes out looks like text."""
    try:
        text = body.decode(charset)
    except (UnicodeDecodeError, LookupError, ValueError):
        # pages are cut off in the middle of a character, or hold one bad byte
        try:
            text = body.decode(charset, "replace")
        except (LookupError, ValueError):
            return None
        if text.count("\ufffd") > 1 + len(text) // 2000:
            return None
    return text if _is_text(text) else None


def _is_text(text: str) -> bool:
    """Whether a reading of bytes is no accident: few characters in it are NUL or of private use."""
    sample = text[:100_000]
    accidents = sum(char == "\0" or "\ue000" <= char <= "\uf8ff" for char in sample)
    controls = sum(char < " " and char not in "\t\n\r\f" for char in sample)
    return accidents <= 1 + len(sample) // 100 and controls <= len(sample) // 3


def _everyday_share(text: str) -> float:
    """Share of everyday Han characters among those beyond ASCII, to tell two readings of bytes apart."""
    sample = [char for char in text[:20_000] if char > "\x7f"]
    if not sample:
        return 1.0
    everyday = sum(
        ("\u4e00" <= char <= "\u9fff" and _in_gb2312(char)) or char in "，。、：；！？“”（）《》\u3000"
        for char in sample
    )
    return everyday / len(sample)


def _in_gb2312(char: str) -> bool:
    try:
        return char.encode("gb2312")[0] < 0xD8  # level 1: the 3,755 common characters
    except UnicodeEncodeError:
        return False


def decode(body: bytes, declared: str | None) -> tuple[str | None, str]:
    """Bytes to text.

    Tried in this order: byte order mark, the set that was declared, the set that the page itself
    names, UTF-8, GB18030, Big5, UTF-16, then charset-normalizer. A declared set in which the bytes
    are not valid text, or in which they read worse than in UTF-8, is passed over. One cut-off or bad
    character in 2,000 is borne (and becomes U+FFFD).

    Returns the text and the name of the set; None and an empty name where the bytes are no text.
    """
    for mark, charset in _BOMS:
        if body.startswith(mark):
            text = _try(body[len(mark) :], charset)
            return text, charset if text is not None else ""
    in_page = _META.search(body[:4096])
    named = [declared, in_page[1].decode("ascii", "ignore") if in_page else None]
    wanted = [
        _WIDER.get(name.strip().lower(), name.strip().lower()) for name in named if name and name.strip()
    ]
    for charset in dict.fromkeys([*wanted, "utf-8"]):
        text = _try(body, charset)
        if text is not None and (_is_sure(text, charset) or not _reads_better(body, charset, text)):
            return text, charset
    guesses = [(text, charset) for charset in _GUESSES if (text := _try(body, charset)) is not None]
    if guesses:
        text, charset = max(guesses, key=lambda guess: _everyday_share(guess[0]))
        if _everyday_share(text) > 0.3:
            return text, charset
    return _normalizer(body)


def _is_sure(text: str, charset: str) -> bool:
    """Hardly anything but UTF-8 is valid UTF-8."""
    return charset == "utf-8" and "\ufffd" not in text


def _reads_better(body: bytes, charset: str, text: str) -> bool:
    """Whether the bytes are valid in another Chinese set in which they make more sense."""
    if text.isascii():
        return False
    share = _everyday_share(text)
    others = [name for name in ("utf-8", "gb18030", "big5hkscs") if name != charset]
    readings = [_try(body, name) for name in others]
    return any(other is not None and _everyday_share(other) > share + 0.3 for other in readings)


def _normalizer(body: bytes) -> tuple[str | None, str]:
    from charset_normalizer import from_bytes

    if b"\x00" in body[:4096]:
        return None, ""
    match = from_bytes(body[:200_000]).best()
    text = _try(body, match.encoding) if match is not None else None
    return (text, match.encoding) if match is not None and text is not None else (None, "")


# -- main text ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Extracted:
    """What was taken out of a page.

    `site` is what the page calls its site, or the host of its URL; `trimmed` counts lines that were
    taken off as page furniture.
    """

    title: str | None
    text: str
    date: str | None
    site: str | None = None
    trimmed: int = 0


_SENTENCE = re.compile(r"[。！？!?；;…]|[,，、：:].*[,，、。：:.]|\.(?:\s|$)")
_FURNITURE = re.compile(FURNITURE)
_BULLET = re.compile(r"^\s*(?:[-•·▪◆■*|]|\d{1,2}[.、])\s*")
_DATE = re.compile(
    r"[\[（(]?(?:19|20)\d\d\s?[-/.年]\s?\d{1,2}\s?[-/.月]\s?\d{1,2}日?(?:\s*\d{1,2}[:：]\d{2}(?:[:：]\d{2})?)?[\]）)]?"
)
_NOTICE = re.compile(
    r"(?i)^[\s【\[（(]*(?:本文来源|文章来源|稿件来源|来源|来自|作者|编辑|责编|校对|记者|原标题|原文标题|标签|关键词|关键字|发布时间|发表于|更新时间|时间|浏览|阅读|点击|评论|跟贴|免责|声明|特别声明|版权|举报|notice|disclaimer)"
    r"(?:[^。]{0,6}[:：】\])）]|[^。]{0,12}$)|(?:仅供|仅代表).{0,12}(?:个人|作者).{0,20}(?:看法|观点|立场)|网友评论仅供|不构成投资建议|仅提供信息存储|不良信息举报|举报(?:电话|邮箱)|扫描.{0,8}二维码"
)


def _squashed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _prose(lines: list[str], linked: frozenset[str]) -> int:
    """Characters in lines that are sentences, less those in lines that are links."""
    total = 0
    for line in lines:
        if _is_link(line, linked):
            total -= len(line)
        elif _SENTENCE.search(line) or len(line) >= 60:
            total += len(line)
    return total


def _is_link(line: str, linked: frozenset[str]) -> bool:
    """Whether a line is a link or a bar of links, with or without a date or a count beside."""
    bare = _DATE.sub("", _BULLET.sub("", line))
    whole = _squashed(bare)
    if whole in linked:
        return True
    if markup.is_code(line):
        return False
    parts = [_squashed(part) for part in re.split(r"[|｜>＞»]|\s{2,}", bare) if part.strip()]
    if len(parts) > 1 and sum(part in linked for part in parts) > len(parts) / 2:
        return True
    # a rank before a headline, the number of comments behind it
    return len(whole) <= 80 and any(
        whole[begin : begin + length] in linked
        for length in range(max(8, -(-3 * len(whole) // 5)), len(whole))
        for begin in range(len(whole) - length + 1)
    )


def _is_edge(line: str, linked: frozenset[str], titles: frozenset[str]) -> bool:
    """Whether a line at the beginning or the end of an article does not belong to it."""
    if markup.is_code(line):
        return False
    bare = _squashed(_BULLET.sub("", line))
    if not bare or bare in titles or _is_link(line, linked) or not re.search(r"\w", bare):
        return True
    if len(bare) >= 8 and any(bare in title for title in titles):
        return True
    cues = len(_FURNITURE.findall(line))
    if len(bare) <= 150 and (_NOTICE.search(line.strip()) or cues >= 2):
        return True
    if cues and (len(bare) <= 30 or not _SENTENCE.search(line)):
        return True
    without_date = _DATE.sub("", bare)
    return without_date != bare and len(without_date) <= 20 and not _SENTENCE.search(line)


def _is_heading(line: str) -> bool:
    """A short line such as stands above a list of links."""
    return len(_squashed(line)) <= 12 and not _SENTENCE.search(line) and not markup.is_code(line)


def _trim(lines: list[str], linked: frozenset[str], titles: frozenset[str]) -> list[str]:
    """Take furniture off both ends, and lists of three and more links out of the middle."""
    first, last = 0, len(lines)
    while first < last and _is_edge(lines[first], linked, titles):
        first += 1
    while last > first:
        above_a_list = last < len(lines) and _is_heading(lines[last - 1])
        if not _is_edge(lines[last - 1], linked, titles) and not above_a_list:
            break
        last -= 1
    kept: list[str] = []
    links: list[str] = []
    for line in [*lines[first:last], ""]:
        if line and _is_link(line, linked):
            links.append(line)
            continue
        if len(links) < 3:
            kept.extend(links)
        elif kept and _is_heading(kept[-1]):
            kept.pop()
        links = []
        kept.append(line)
    return kept[:-1]


def _paragraphs(tree: Any) -> list[str]:
    """Paragraphs of a page whose article was not found: the block with most sentences in it."""
    best: list[str] = []
    weight = 0
    for element in tree.iter("div", "article", "section", "td", "main", "body"):
        own = [
            text
            for child in element
            if child.tag in ("p", "div", "span", "font", "center", "section") or child.tag == "br"
            for text in [(" ".join(child.itertext()) if child.tag != "br" else child.tail or "").strip()]
            if text and not child.findall(".//p") and _SENTENCE.search(text)
        ]
        direct = [text.strip() for text in (element.text,) if text and _SENTENCE.search(text)]
        chars = sum(map(len, own)) + sum(map(len, direct))
        if chars > weight:
            best, weight = direct + own, chars
    return best


def _titles(tree: Any) -> list[str]:
    """What a page calls itself, best first: to other sites, in its only main heading, in its head."""
    told = tree.xpath("//meta[@property='og:title']/@content")
    headings = [" ".join(heading.itertext()) for heading in tree.iter("h1")]
    named = [" ".join(element.itertext()) for element in tree.xpath("//head/title")]
    found = [*told[:1], *(headings if len(headings) == 1 else []), *named[:1], *headings[:20]]
    return [text for title in found if (text := " ".join(title.split()))]


def _without_site(title: str) -> str:
    """A title without the name of the site behind it."""
    return re.split(r"[_|｜]|\s+[-–—·]\s+", title)[0].strip() or title


def _page_prose(tree: Any) -> int:
    """Characters of all sentences of a page that are not links."""
    return sum(
        len(text)
        for element in tree.iter()
        for text in ((element.text if element.tag != "a" else None), element.tail)
        if text and len(text) >= 15 and _SENTENCE.search(text)
    )


_DATA_DATE = re.compile(r'"(?:datePublished|publishedAt|publish_time|pubDate)"\s*:\s*"([^"]{8,40})"')


def _date_of(tree: Any, html: str) -> str | None:
    """Date of publication that a page states in its head, its data or near its beginning, ISO 8601."""
    stated = tree.xpath(
        "//meta[contains(@property,'published_time') or contains(translate(@name,'PD','pd'),'pubdate')"
        " or @name='publishdate' or @itemprop='datePublished']/@content"
    )
    texts = [
        *stated,
        *_DATA_DATE.findall(html)[:1],
        *tree.xpath("//time/@datetime"),
        " ".join(tree.itertext("p", "div", "span", "em", "td"))[:4000],
    ]
    for text in texts:
        found = re.search(r"((?:19|20)\d\d)\s?[-/.年]\s?(\d{1,2})\s?[-/.月]\s?(\d{1,2})", text)
        if found and 1 <= int(found[2]) <= 12 and 1 <= int(found[3]) <= 31:
            return f"{found[1]}-{int(found[2]):02}-{int(found[3]):02}"
    return None


def _reading(html: Any, url: str, precise: bool) -> list[str]:
    """The lines that trafilatura takes for the main text."""
    import trafilatura

    text = trafilatura.extract(
        html, url=url or None, favor_precision=precise, include_comments=False, include_tables=True
    )
    return [line.strip() for line in (text or "").split("\n") if line.strip()]


def _site_of(tree: Any, url: str) -> str | None:
    """What a page calls its site, or the host of its URL."""
    told = tree.xpath("//meta[@property='og:site_name' or @name='application-name']/@content")
    host = re.match(r"\w+://(?:[^/?#@]*@)?([^/?#:]+)", url)
    return next((text for name in told if (text := " ".join(name.split()))), host[1] if host else None)


def _article(tree: Any, url: str, linked: frozenset[str]) -> list[str]:
    """The lines of the article, as the best of several readings finds them."""
    lines = _reading(copy.deepcopy(tree), url, precise=True)
    found = _prose(lines, linked)
    if found < 0.6 * _page_prose(tree):
        balanced = _reading(copy.deepcopy(tree), url, precise=False)
        if _prose(balanced, linked) > 1.3 * found:
            lines, found = balanced, _prose(balanced, linked)
    if found < 30:
        fallback = _paragraphs(tree)
        lines = fallback if _prose(fallback, linked) > found else lines
    return lines


def extract(html: str, url: str = "") -> Extracted:
    """The main text of a page, with its title, date and site.

    Tables, lists and code blocks (fenced, with their line breaks and indentation) are kept, links and
    comments are not. Of trafilatura's precise and its balanced reading the one that holds more prose is
    taken (the precise one where they are about equal); where both find next to nothing, the block with
    most sentences in it. The title is not repeated in the text. A page that is too large or too deeply
    nested for that gives all its lines; one without mark-up gives an empty text.
    """
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    tree = markup.parse(html)
    if tree is None:
        lines, linked = markup.lines_of(html) if "<" in html else ([], frozenset())
        kept = _trim(lines, linked, frozenset())
        return Extracted(None, "\n".join(kept), None, trimmed=len(lines) - len(kept))
    titles, date = _titles(tree), _date_of(tree, html)
    links = (_squashed("".join(link.itertext())) for link in tree.iter("a"))
    linked = frozenset(text for text in links if len(text) >= 2)
    unfenced = markup.fence_code(tree, html)
    markup.unwrap_layout(tree)
    lines = [part for line in _article(tree, url, linked) for part in unfenced(line)]
    kept = _trim(lines, linked, frozenset(map(_squashed, titles)))
    title = _without_site(titles[0]) if titles else None
    return Extracted(title, "\n".join(kept), date, _site_of(tree, url), len(lines) - len(kept))
