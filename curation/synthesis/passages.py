"""The structure of a document and which of its passages can stand on their own.

Belongs here: title, headings, paragraphs, lists and sentences of a text, its language, and whether a
passage makes sense to a reader who does not have the rest.
Does not belong here: which question a passage answers (`synthesis.documents`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import polars as pl

_CJK = re.compile(r"[㐀-鿿]")
_LATIN = re.compile(r"[A-Za-z]")

# -- structure ----------------------------------------------------------------------------------

_ITEM = re.compile(
    r"^(?:([-*•·●▪])\s+|(\d{1,2}[.．](?!\d)|\d{1,2}[、)）]|[（(]\d{1,2}[)）]|[①-⑳]))\s*(\S.*)$"
)
_MARKED_HEADING = re.compile(r"^#{1,6}\s+(\S.*?)\s*#*$")
_NUMBERED_HEADING = re.compile(
    r"^(?:[一二三四五六七八九十]{1,3}[、.．]|[（(][一二三四五六七八九十]{1,3}[)）]|第[一二三四五六七八九十\d]{1,3}[章节]\s*)\s*(\S.*)$"
)
_ENDS = re.compile(r"[。！？!?…；;:：,，.]$")
_SENTENCE = re.compile(r"[^。！？!?…]*[。！？!?…]+[”’」』）)]*|[^。！？!?…]+$")
_ENGLISH_SENTENCE = re.compile(r"(?<=[.!?])[\"”’)]*\s+(?=[A-Z\"“(])")
#: Pointers to places that the reader does not have: footnote marks, figures, "see above".
_POINTER = re.compile(
    r"\[\d{1,3}(?:[-,，]\d{1,3})*\]|[（(](?:如|见|参见|详见|参看)[^（）()]{0,20}[)）]|[（(](?:see|cf\.)[^()]{0,40}\)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Block:
    """A heading, a paragraph, or a list with its items."""

    kind: Literal["heading", "paragraph", "list"]
    text: str
    items: tuple[str, ...] = ()
    numbered: bool = False


@dataclass(frozen=True)
class Document:
    """A document as the finders see it. `terms` are the words that it may be asked about."""

    record_id: str
    title: str
    blocks: tuple[Block, ...]
    language: Literal["zh", "en"]
    terms: frozenset[str]

    @property
    def body(self) -> str:
        return "\n".join(block.text for block in self.blocks)


def language_of(text: str) -> Literal["zh", "en"]:
    """The script that a text is mostly written in; a Chinese character weighs as much as three letters."""
    return "zh" if 3 * len(_CJK.findall(text)) >= len(_LATIN.findall(text)) else "en"


def sentences(text: str, language: str) -> list[str]:
    """The sentences of a paragraph, each with its closing marks."""
    if language == "en":
        return [one.strip() for one in _ENGLISH_SENTENCE.split(text) if one.strip()]
    return [one.strip() for one in _SENTENCE.findall(text) if one.strip()]


def without_pointers(text: str) -> str:
    """The text without footnote marks and remarks such as (see figure 2)."""
    return _POINTER.sub("", text).strip()


_SUFFIX = re.compile(r"\s*(?:[|｜_]|\s[-–—]+\s|——|[-–—]{1,2}(?=[㐀-鿿]))\s*[^|｜_–—-]{1,30}$")
#: Titles or documents that must share something for it to belong to their site rather than to them.
_SHARED_BY = 3
_LONGEST_FURNITURE = 60


def _bare_title(title: str, suffixes: frozenset[str]) -> str:
    name = title.strip()
    while (ending := _SUFFIX.search(name)) and ending[0] in suffixes:
        name = name[: ending.start()].strip()
    return name


def shared_suffixes(titles: Iterable[str | None]) -> frozenset[str]:
    """Endings of titles that several share, such as " - Section - Name of the site"; each part by itself."""
    endings: Counter[str] = Counter()
    for title in titles:
        name = (title or "").strip()
        while ending := _SUFFIX.search(name):
            endings[ending[0]] += 1
            name = name[: ending.start()].strip()
    return frozenset(ending for ending, times in endings.items() if times >= _SHARED_BY)


def _furniture_form(line: str) -> str:
    return re.sub(r"\d+", "0", line.strip())


def shared_lines(texts: pl.Series) -> frozenset[str]:
    """Short lines that several texts begin or end with, such as notes on comments; digits do not count."""
    lines = texts.fill_null("").str.strip_chars().str.split("\n")
    ends = [
        line for one in lines for line in {_furniture_form(line) for line in (*one[:3], *one[-6:]) if line}
    ]
    counts = Counter(line for line in ends if line and len(line) <= _LONGEST_FURNITURE)
    return frozenset(line for line, times in counts.items() if times >= _SHARED_BY)


def _without_furniture(lines: list[str], shared: frozenset[str]) -> list[str]:
    """The lines without those of the site, from both ends up to the first that is the document's own."""
    begin, end = 0, len(lines)
    while begin < end and _furniture_form(lines[begin]) in shared:
        begin += 1
    while end > begin and _furniture_form(lines[end - 1]) in shared:
        end -= 1
    return lines[begin:end]


@dataclass(frozen=True)
class Site:
    """What is the same on many documents and belongs to none: endings of titles, lines at both ends."""

    suffixes: frozenset[str] = frozenset()
    lines: frozenset[str] = frozenset()


_NO_SITE = Site()


def parse(
    record_id: str, title: str | None, text: str, keywords: frozenset[str], site: Site = _NO_SITE
) -> Document:
    """Title, blocks and terms of a document.

    `keywords` in it are its terms, and so is a short title that is one noun. The title is taken off the
    beginning of the text if it is repeated there, and so is what belongs to the site.
    """
    name = _bare_title(title or "", site.suffixes)
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n")]
    lines = _without_furniture([line for line in lines if line], site.lines)
    lines = [line for line in map(without_pointers, lines) if line]
    if lines and name and _letters(lines[0].lstrip("# ")) == _letters(name):
        lines = lines[1:]
    language = language_of(" ".join(lines) or name)
    terms = _terms(f"{name}\n{text}", keywords, language)
    if _is_term(name, language):
        terms |= {name}
    return Document(record_id, name, tuple(_blocks(lines)), language, frozenset(terms))


def _letters(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def _terms(text: str, keywords: frozenset[str], language: str) -> set[str]:
    if language == "zh":
        return {word for word in keywords if word in text}
    lower = f" {' '.join(re.findall(r'[a-z0-9-]+', text.lower()))} "
    return {word for word in keywords if f" {word.lower()} " in lower}


def _is_term(name: str, language: str) -> bool:
    """Whether a title is the name of one thing, such as the title of an entry in an encyclopaedia."""
    if language == "en":
        return bool(re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*(?: [A-Za-z0-9-]+){0,2}", name))
    if not re.fullmatch(r"[A-Za-z0-9㐀-鿿]{2,8}", name):
        return False
    tags = tagged(name)
    return all(tag[0] in "nbjzgixe" or tag == "vn" for _, tag in tags) or len(tags) == 1


def _blocks(lines: Sequence[str]) -> list[Block]:
    blocks: list[Block] = []
    items: list[str] = []
    numbered = False
    for index, line in enumerate(lines):
        item = _ITEM.match(line)
        if items and (item is None or bool(item[2]) != numbered):
            blocks.append(_list(items, numbered))
            items = []
        if item is not None:
            numbered = bool(item[2])
            items.append(item[3])
            continue
        after = lines[index + 1] if index + 1 < len(lines) else ""
        heading = _heading(line, after)
        blocks.append(Block("heading", heading) if heading else Block("paragraph", line))
    if items:
        blocks.append(_list(items, numbered))
    return blocks


def _list(items: list[str], numbered: bool) -> Block:
    lines = [f"{number}. {item}" if numbered else f"- {item}" for number, item in enumerate(items, 1)]
    return Block("list", "\n".join(lines), tuple(items), numbered)


def _heading(line: str, after: str) -> str | None:
    marked = _MARKED_HEADING.match(line)
    if marked:
        return marked[1]
    bare = _NUMBERED_HEADING.match(line)
    if bare and len(line) <= 30 and not _ENDS.search(line):
        return bare[1]
    is_short = len(line) <= 24 and len(after) >= max(40, 2 * len(line))
    ends = _ENDS.search(line)
    return line if is_short and (not ends or ends[0] in "？?") and not _ITEM.match(after) else None


@lru_cache(maxsize=50_000)
def tagged(text: str) -> tuple[tuple[str, str], ...]:
    """Words of a short text with their parts of speech."""
    import rjieba

    return tuple((word, tag or "x") for word, tag in rjieba.tag(text))


def content_words(text: str) -> list[str]:
    """Words of at least two characters that are not function words or numbers."""
    return [
        word
        for word, tag in tagged(text)
        if (tag == "eng" and len(word) > 2)
        or (len(word) > 1 and tag[0] not in "cdempqruwxy" and _CJK.search(word) is not None)
    ]


# -- what can stand on its own ------------------------------------------------------------------

#: Someone tells, or someone is told about: a story, a report or a talk, not an explanation.
_NARRATOR = re.compile(
    r"(?<!自)我(?!国)|咱|俺|笔者|小编|楼主|沙发：|本报|本刊|本网|本台|记者|编者|网友|受访|读者|同学们|大家好|亲们"
)
_PERSON = re.compile(
    r"(?<![其吉维])他(?![汀人命])|她|老师傅|师傅|老板|阿姨|大爷|先生(?!期)|女士|同事|朋友|邻居"
)
_SPEECH = re.compile(
    r"(?:[说喊问答]|[^知难]道)[，,]?[“\"]|[说问答喊][：:]|——[“\"]?[^。]*[？?]|[。！？]”[^。]{0,12}[说道]|曰"
)
_ELSEWHERE = re.compile(
    r"上文|下文|前文|前面(?:说|提|讲)|后面(?:说|提|讲)|如上|上述|以上|如下|下图|上图|下表|上表|图\s*\d|表\s*\d|本文|本章|本节|本书|本报告|本研究|本组|附录|详见|参见|点击|关注|公众号|扫码|转载|版权|免责|客服|联系电话|https?:|www\.|本品|本站|本页|该文|来源：|作者：|编辑："
)
_NOW = re.compile(
    r"今天(?!是|的|仍|已)|昨[天日晚夜]|明[天晚]|今早|今晚|今年|去年|前年|明年|本周|上周|下周|本月|上月|上个月|下个月|日前|近日|日电|[上下]一期|刚才|刚刚"
)
_OPENS_WITH_REFERENCE = re.compile(
    r"^[“\"]?(?:这|那|它|其(?!他|它|实)|此|该|他|她|前者|后者|同样|另外|此外|而|但|不过|可是|可|因此|所以|因而|于是|然而|例如|比如|譬如|其次|再|最后|同时|并|也|还|又|则|却|就|才|都|即使|尤其|特别是|总之|由此|从此|首先|第[一二三四五]|其[一二三]|至于|原来|结果|以及|及|和|与|或|等|当时|后来|接下来|接着|然后|随后|有人|有的|有些|一方面|反之|相反|否则|如果|要是|若|除此|对此|为此|以此|有了|还有|事实上|实际上|当然|其实|相比|相较|上面|下面|里面|左|右|之后|之前)"
)
_REFERS = re.compile(r"这(?!种|类|样)|那(?:个|些|种|样|里|儿|时)|此(?!外)|该|前者|后者|它|上述|以下|同上")
_CHATTY = re.compile(r"[？?]|[吧嘛呗啦哦哈嘿啊呀](?:[，。！~]|$)|哈哈|……|～|~~|[!！]{2,}|\(笑\)|（笑）")
_ENGLISH_NARRATOR = re.compile(
    r"\b(?:I|I'm|I've|me|my|we|we're|our|us|he|she|his|her|him|yesterday|today|tomorrow|ago)\b|https?:|www\.|[\"“].*?[,?!][\"”]"
)
_ENGLISH_OPENING = re.compile(
    r"^(?:This|That|These|Those|It|Its|They|Their|Such|However|But|And|So|Also|Then|Therefore|Thus|Moreover|Besides|He|She|Here|There|Instead|Another|Both|Either)\b"
)
_ENGLISH_ELSEWHERE = re.compile(
    r"\b(?:above|below|figure|table|chapter|section|this (?:article|paper|page|post|book)|click|subscribe)\b",
    re.IGNORECASE,
)


def is_plain(text: str, language: str) -> bool:
    """Whether a passage explains: no narrator, no persons, no talk, no "see above", no "yesterday"."""
    if has_markup(text):
        return False
    if language == "en":
        return not (_ENGLISH_NARRATOR.search(text) or _ENGLISH_ELSEWHERE.search(text) or "?" in text)
    unfit = (_NARRATOR, _PERSON, _SPEECH, _ELSEWHERE, _NOW, _CHATTY)
    return not any(pattern.search(text) for pattern in unfit)


def is_reply(text: str, language: str) -> bool:
    """Whether a passage can answer a question that stands before it: it may address the asker."""
    if language == "en":
        return not (_ENGLISH_NARRATOR.search(text) or _ENGLISH_ELSEWHERE.search(text))
    unfit = (_NARRATOR, _PERSON, _SPEECH, _ELSEWHERE, _NOW)
    return not has_markup(text) and not any(pattern.search(text) for pattern in unfit)


def has_markup(text: str) -> bool:
    """Whether a text holds tags or entities of HTML, or characters that could not be decoded."""
    return "\ufffd" in text or bool(re.search(r"</?[a-z]{1,10}[ >/]|&[a-z]{2,6};", text))


def begins_clearly(text: str, language: str) -> bool:
    """Whether a passage begins without leaning on something that was said before it."""
    pattern = _ENGLISH_OPENING if language == "en" else _OPENS_WITH_REFERENCE
    return not pattern.match(text)


def refers(text: str) -> bool:
    """Whether a short Chinese phrase points at something outside itself."""
    return bool(_REFERS.search(text))


def is_whole(text: str, language: str) -> bool:
    """Whether a passage ends as a sentence does and all its brackets and quotes are closed."""
    ends = r"[.!?][\"”’)]*$" if language == "en" else r"[。！？][”’」』）)]*$"
    pairs = ("“”", "《》", "（）", "「」", "()", "[]")
    return bool(re.search(ends, text)) and all(text.count(pair[0]) == text.count(pair[1]) for pair in pairs)


def documents_of(frame: pl.DataFrame, keywords: Sequence[str]) -> Iterable[Document]:
    """The documents of a frame (record_id, title, text), parsed."""
    known = frozenset(word.strip() for word in keywords if len(word.strip()) > 1)
    site = Site(shared_suffixes(frame["title"]), shared_lines(frame["text"]))
    for record_id, title, text in frame.select("record_id", "title", "text").iter_rows():
        yield parse(record_id, title, text or "", known, site)
