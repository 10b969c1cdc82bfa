"""Tasks on a given text whose answer stands in the document: title, summary, extraction, timeline.

Belongs here: finding, in one document, a text to work on together with the answer that the document itself
gives. Does not belong here: questions without a text (`synthesis.documents`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from curation.records import canonical
from curation.synthesis.grounded import LONGEST_INPUT, SHORTEST_INPUT, Grounded, fits, pick, worded
from curation.synthesis.novelty import tokens
from curation.synthesis.passages import (
    Document,
    content_words,
    has_markup,
    is_plain,
    is_whole,
    refers,
    sentences,
    tagged,
)


def text_tasks(document: Document, seed: int) -> Iterator[Grounded]:
    """All tasks on the text of a document or on one of its paragraphs."""
    for find in (_summary, _timeline, _extraction, _title):
        yield from find(document, seed)


# -- title and summary ----------------------------------------------------------------------------

_BY_LINE = re.compile(
    r"^(?:作者|日期|时间|来源|标签|发布|编辑|记者|责编|tags?|date|author|by)\s*[：:]|^\d{4}[-/.年]\d{1,2}[-/.月]\d{1,2}日?(?:\s.*)?$",
    re.IGNORECASE,
)


def _input(document: Document) -> str:
    """The text of the document as the input of a task, without dates and names of authors."""
    lines = [line for line in document.body.split("\n") if not _BY_LINE.match(line)]
    return "\n".join(lines)


_GENERIC_TITLE = re.compile(
    r"首页|主页|网站|论坛|第[一二三四五六七八九十\d]+[页章节期篇集部]|无标题|untitled|index|home|登录|注册|404|目录|\.(?:html?|pdf|docx?|txt)$|https?:",
    re.IGNORECASE,
)


def _title(document: Document, seed: int) -> Iterator[Grounded]:
    """The real title of a text, where most of its words return in the text."""
    name, text = document.title, _input(document)
    if not fits(text, SHORTEST_INPUT, LONGEST_INPUT) or _GENERIC_TITLE.search(name) or name in document.terms:
        return
    if not (5 <= len(name) <= 32 if document.language == "zh" else 2 <= len(name.split()) <= 14):
        return
    if canonical(name) in canonical(text) or has_markup(text) or _QUOTE_ONLY.search(text[:20]):
        return
    if document.language == "en":
        words = [word for word in tokens(name) if len(word) > 3]
        share = sum(word in text.lower() for word in words) / max(len(words), 1)
    else:
        words = content_words(name)
        share = sum(word in text for word in words) / max(len(words), 1)
    if words and share >= 0.5 and is_whole(text, document.language):
        yield Grounded(
            "title",
            worded("title", document, seed),
            text,
            name,
            {"found": "title", "words_in_text": round(share, 3)},
        )


_QUOTE_ONLY = re.compile(r"^(?:\d+楼|沙发|【)")
_ABSTRACT = re.compile(
    r"^(?:摘\s*要|内容提要|内容摘要|核心提示|导\s*读|导语|提要|Abstract|Summary|TL;DR)\s*[：:]\s*(?P<abstract>\S.*)$",
    re.IGNORECASE,
)


def _summary(document: Document, seed: int) -> Iterator[Grounded]:
    """An abstract that is marked as one, or a lead that really sums up: what it says comes back below."""
    paragraphs = [
        block.text for block in document.blocks if block.kind != "heading" and not _BY_LINE.match(block.text)
    ]
    if len(paragraphs) < 3:
        return
    marked = _ABSTRACT.match(paragraphs[0])
    lead, rest = marked["abstract"] if marked else paragraphs[0], "\n".join(paragraphs[1:])
    shortest = _SHORTEST_LEAD[document.language]
    sizes = shortest <= len(lead) <= 4 * shortest and 3 * len(lead) <= len(rest)
    reads_well = (
        is_plain(lead, document.language) and is_whole(lead, document.language) and not has_markup(rest)
    )
    if not sizes or not reads_well or not fits(rest, SHORTEST_INPUT, LONGEST_INPUT) or lead in rest:
        return
    returned, central = _overlap(lead, rest, document.language)
    # without a title it is no article, and its first line may be anything
    is_lead = bool(document.title) and returned >= 0.6 and central >= 0.6
    if marked or is_lead:
        measured: dict[str, object] = {
            "found": "marked abstract" if marked else "lead",
            "lead_words_below": returned,
            "main_words_in_lead": central,
        }
        yield Grounded("summary", worded("summary", document, seed), rest, lead, measured)


#: Characters of a lead that may be a summary, at least; four times as many at most.
_SHORTEST_LEAD = {"zh": 40, "en": 120}


def _overlap(lead: str, rest: str, language: str) -> tuple[float, float]:
    """Share of the lead's words that return in the rest, and of the rest's main words that the lead has."""
    pick = (
        content_words if language == "zh" else lambda text: [word for word in tokens(text) if len(word) > 3]
    )
    said, below = set(pick(lead)), Counter(pick(rest))
    main = [word for word, times in sorted(below.items(), key=lambda item: (-item[1], item[0])) if times > 1][
        :5
    ]
    if not said or len(main) < 3:
        return 0.0, 0.0
    return round(len(said & below.keys()) / len(said), 3), round(
        sum(word in said for word in main) / len(main), 3
    )


# -- extraction and timeline ----------------------------------------------------------------------

_EXTRACT: dict[str, tuple[str, ...]] = {
    "temperature": ("找出下面这段话里所有的温度，并写出原文对应的小句。", "下文提到了哪些温度？逐条列出，并附上原文的说法。"),
    "percentage": ("列出下文出现的所有百分比，并附上原文对应的小句。", "下面这段话里有哪些百分比？逐条写出，并注明原文怎么说。"),
    "price": ("把下文中的金额逐条列出来，并附上原文对应的小句。", "下面的文字提到了哪些金额？请逐条摘出，并注明原文的说法。"),
}  # fmt: skip
_DIGITS = r"(?:\d+(?:,\d{3})*(?:\.\d+)?|[零〇一二三四五六七八九十百千两]+(?:点[零〇一二三四五六七八九]+)?)"
_RUN = rf"{_DIGITS}(?:(?:、|，(?=\d)|至|到|~|～|-|—|–|和|或){_DIGITS})*"
_BARE = re.compile(rf"(?<![第\d十百千]){_RUN}(?=\s*(?:[，。；、：）)]|上下|左右|以上|以下|$))")
_QUANTITIES: dict[str, tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]] = {
    # what is asked for; words that the paragraph needs; words that make it ambiguous or incomplete
    "temperature": (re.compile(rf"(?:零下|摄氏)?{_RUN}(?:多|余|来|几)?\s*(?:℃|°C|摄氏度|度)(?![量数日过假身外角])"), re.compile("温|℃|摄氏"), re.compile("[^0-9]一度|再度|几度|角度|旋转|酒精|纬|经度|度数|硬度|湿度(?!计)|坡度|华氏|℉|零点|度[、和或]|半度|湿")),
    "percentage": (re.compile(rf"百分之{_RUN}(?:到百分之{_RUN})?|\d+(?:\.\d+)?\s*[%％](?:\s*(?:[-~～—–至到])\s*\d+(?:\.\d+)?\s*[%％])?"), re.compile("百分之|[%％]"), re.compile(r"[一二三四五六七八九两半]成|分之一|百分点|‰|一半|[三四五]分之|\d\s*[-~～—–至到]\s*\d+(?:\.\d+)?\s*[%％]")),
    "price": (re.compile(rf"{_RUN}(?:多|余|来)?(?:[万亿])?\s*(?:元|块钱|美元|欧元|港元|日元)"), re.compile("元|块钱"), re.compile(r"[0-9一二三四五六七八九十百](?:块(?!钱)|毛|角|分钱)|[￥$¥]|元素|元旦|公元|[一二三四五]元[论次]")),
}  # fmt: skip
_CLAUSE = re.compile(r"[^，。；：！？,;:!?\n]+")
_CLAUSE_OPENING = re.compile(r"^(?:而且|并且|但是|不过|因此|所以|其中|只是|但|而|且|也|又|再|就|则|等)")


def _extraction(document: Document, seed: int) -> Iterator[Grounded]:
    """All temperatures, percentages or sums of money of a paragraph, each with the clause it stands in."""
    if document.language == "en":
        return
    for block in document.blocks:
        text = block.text
        if (
            block.kind != "paragraph"
            or not fits(text, 50, 420)
            or not is_whole(text, "zh")
            or "“" in text
            or has_markup(text)
        ):
            continue
        for kind, (pattern, needed, unclear) in _QUANTITIES.items():
            if not needed.search(text) or unclear.search(text) or _BARE.search(text):
                continue
            rows = _with_clauses(text, pattern)
            if 3 <= len(rows) <= 12 and len({value for value, _ in rows}) == len(rows):
                answer = "\n".join(
                    f"{number}. {value}：{clause}" for number, (value, clause) in enumerate(rows, 1)
                )
                instruction = pick(_EXTRACT[kind], document, seed, kind)
                yield Grounded("extraction", instruction, text, answer, {"found": kind, "values": len(rows)})


def _with_clauses(text: str, pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """Every value with its clause, in order; empty if a clause does not say by itself what its value is."""
    clauses = [(match.start(), match.end(), match[0].strip()) for match in _CLAUSE.finditer(text)]
    rows = []
    for match in pattern.finditer(text):
        clause = next((one for start, end, one in clauses if start <= match.start() < end), "")
        clause = _CLAUSE_OPENING.sub("", clause)
        broken = match.start() > 0 and text[match.start() - 1] in "0123456789.．,"
        if broken or match[0] not in clause or len(clause) < len(match[0]) + 3:
            return []
        rows.append((match[0], clause))
    # two values in one clause: which of them is which is not for a quotation to say
    return rows if len({clause for _, clause in rows}) == len(rows) else []


_YEAR = re.compile(
    r"\d{3,4}\s*年|[一二三四五六七八九〇零]{4}年|[同次翌前后当上下这那][一]?年|\d{1,2}月|年[初底末中]|年代|世纪"
)
_YEAR_FIRST = re.compile(r"^(?P<year>(?:1\d{3}|20\d{2})年)[，,]?(?P<event>[^，,].{5,})[。]$")
_YEAR_EN = re.compile(r"\b(?:1\d{3}|20\d{2})\b")
_YEAR_FIRST_EN = re.compile(r"^In (?P<year>1\d{3}|20\d{2}),? (?P<event>.{12,})[.]$")


def _timeline(document: Document, seed: int) -> Iterator[Grounded]:
    """A paragraph whose dates are all years at the beginning of sentences, in order: years and events."""
    chinese = document.language == "zh"
    first, dates = (_YEAR_FIRST, _YEAR) if chinese else (_YEAR_FIRST_EN, _YEAR_EN)
    for block in document.blocks:
        if block.kind != "paragraph" or not fits(block.text, 80, LONGEST_INPUT):
            continue
        found = [match for one in sentences(block.text, document.language) if (match := first.match(one))]
        years = [match["year"] for match in found]
        in_order = len(found) >= 3 and years == sorted(set(years))
        if (
            not in_order
            or len(dates.findall(block.text)) != len(found)
            or not is_plain(block.text, document.language)
        ):
            continue
        if chinese and not all(_has_subject(match["event"]) for match in found):
            continue
        ends, colon = ("。", "：") if chinese else (".", ": ")
        answer = "\n".join(f"- {match['year']}{colon}{match['event']}{ends}" for match in found)
        measured: dict[str, object] = {"found": "years", "years": len(found)}
        yield Grounded("timeline", worded("timeline", document, seed), block.text, answer, measured)


def _has_subject(event: str) -> bool:
    return not refers(event[:4]) and event[0] not in "它其他她" and tagged(event)[0][1][0] in "nj"
