"""From the mark-up of a page to a tree, or to plain lines where a tree would be too much.

Belongs here: parsing with bounds, code blocks and layout tables made fit for what reads the tree, and
reading a page as a stream of tags. Does not belong here: which lines are the article (`extraction`).

A page may be of any size and nested to any depth: what is beyond the bounds of a tree is read as a
stream, once from its beginning to its end.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from html import unescape
from typing import Any

#: Pages beyond these are not searched for their article; all their lines are read.
_MAX_CHARS, _MAX_ELEMENTS = 4_000_000, 60_000
FENCE = "```"


def parse(html: str) -> Any | None:
    """The tree of a page (lxml), or None where there is no mark-up or it is beyond the bounds.

    Comments, scripts and styles are left out.
    """
    from lxml import etree
    from lxml.html import HTMLParser, document_fromstring
    from trafilatura.utils import repair_faulty_html

    if len(html) > _MAX_CHARS or "<" not in html:
        return None
    parser = HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        mended = repair_faulty_html(html, html[:50].lower())
        tree = document_fromstring(mended.encode("utf-8", "replace"), parser=parser)
    except etree.LxmlError:
        return None
    # beyond some depth the parser stops, and what follows would be lost
    stopped = any(entry.type == etree.ErrorTypes.ERR_RESOURCE_LIMIT for entry in parser.error_log)
    if stopped or sum(1 for _ in tree.iter()) > _MAX_ELEMENTS:
        return None
    for element in list(tree.iter("script", "style", "noscript", "template")):
        element.drop_tree()
    return tree


def is_code(line: str) -> bool:
    """Whether a line is a fenced code block, as `fence_code` and `lines_of` make it."""
    return line.startswith(FENCE + "\n")


# -- code ---------------------------------------------------------------------------------------

_GUTTER = "contains(@class,'gutter') or contains(@class,'lineno') or contains(@class,'line-number') or contains(@class,'linenumber')"


def _counts_up(text: str) -> bool:
    """Whether a text is nothing but the numbers of lines."""
    numbers = text.split()
    return (
        len(numbers) > 0
        and all(one.isascii() and one.isdecimal() and len(one) < 7 for one in numbers)
        and [int(one) for one in numbers] == list(range(int(numbers[0]), int(numbers[0]) + len(numbers)))
    )


def _code_of(element: Any) -> str:
    """The text of a code block with its line breaks and indentation."""
    for line in element.iter("br", "div", "p", "li", "tr"):
        if line is not element:
            line.tail = "\n" + (line.tail or "")
    text = "".join(element.itertext()).expandtabs(4).replace("\xa0", " ")
    return textwrap.dedent("\n".join(line.rstrip() for line in text.splitlines())).strip("\n")


def _is_block(element: Any) -> bool:
    """Whether an element that is marked as code is a block of its own, not words in a sentence."""
    if element.tag == "pre":
        return True
    parent = element.getparent()
    alone = (
        parent is not None and len(parent) == 1 and not ((parent.text or "") + (element.tail or "")).strip()
    )
    return alone and "".join(element.itertext()).strip().count("\n") >= 2


#: A fenced block within a line.
_BLOCK = re.compile(rf"({FENCE}\n.*?\n{FENCE})", re.DOTALL)


def _fenced(code: str) -> str:
    """Code between fences; a single line needs none."""
    return f"{FENCE}\n{code}\n{FENCE}" if "\n" in code else code


def _is_prose(code: str) -> bool:
    """Whether what is set in fixed width is Chinese sentences."""
    han = sum("\u4e00" <= char <= "\u9fff" for char in code)
    return "。" in code and 2 * han > len(code)


def fence_code(tree: Any, html: str) -> Callable[[str], list[str]]:
    """Turn each code block of a tree into one paragraph, fenced as in Markdown if it has several lines.

    Line breaks and spaces in it become letters that the page does not hold, so that whatever reads
    paragraphs keeps them. Line numbers beside code go. Returns the function that takes a line apart into
    what is code and what is not, and puts the line breaks and spaces of the code back.
    """
    blocks = [element for element in tree.iter("pre", "code") if _is_block(element)]
    if not blocks:
        return lambda line: [line]
    unused = (char for char in map(chr, range(0xA000, 0xA48D)) if char not in html)
    marks: dict[str, str | int | None] = {"\n": next(unused, "\n"), " ": next(unused, " ")}
    for gutter in [*tree.xpath(f"//*[{_GUTTER}]"), *blocks]:
        if gutter.getparent() is not None and _counts_up(" ".join(gutter.itertext())):
            gutter.drop_tree()
    for element in blocks:
        if next(element.iterancestors("pre", "code"), None) is not None or element.getparent() is None:
            continue
        code = _code_of(element)
        if not code or _is_prose(code):
            continue
        for figure in element.iterancestors("figure"):
            figure.tag = "div"
        tail = element.tail
        element.clear()
        # an item of a list is read as one paragraph: there the block is words between line breaks
        within = next(element.iterancestors("li", "dd"), None) is not None
        element.tag, element.tail = "span" if within else "p", tail
        element.text = f"\n{_fenced(code)}\n".translate(str.maketrans(marks))
    back = str.maketrans({str(mark): char for char, mark in marks.items()})

    def apart(line: str) -> list[str]:
        pieces = _BLOCK.split(line.translate(back))
        lines = [[piece] if is_code(piece) else piece.split("\n") for piece in pieces]
        return [part for group in lines for line in group if (part := line.strip())]

    return apart


def unwrap_layout(tree: Any) -> None:
    """Turn tables that lay out a page into plain blocks, so that the article is no longer one cell.

    A table is layout where a cell of it holds blocks (paragraphs, headings, another table); a table of
    data holds words and numbers.
    """
    for table in list(tree.iter("table")):
        if all(table.find(f".//td//{tag}") is None for tag in ("p", "pre", "table", "h1")):
            continue
        for part in list(table.iter("table", "tbody", "thead", "tr", "td", "th")):
            if next((up for up in part.iterancestors("table")), table) is table or part is table:
                part.tag = "div"


# -- a page as a stream -------------------------------------------------------------------------

_TOKEN = re.compile(
    r"<(?P<end>/?)(?P<tag>[a-zA-Z][a-zA-Z0-9:-]*)(?:[^<>\"']|\"[^\"<]*\"|'[^'<]*')*>"
    r"|(?P<comment><!--)|<[!?/][^<>]*>|(?P<text>[^<]+|<)"
)
_SKIPPED = ("script", "style", "noscript", "template", "textarea", "title", "svg")
_INLINE = frozenset(
    ("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins", "kbd", "mark", "nobr", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "var", "wbr")
)  # fmt: skip


def lines_of(html: str) -> tuple[list[str], frozenset[str]]:
    """All lines of a page, and the texts of its links without white space.

    Linear in the length of the page, whatever it holds. A code block is one fenced line.
    """
    lines: list[str] = []
    linked: set[str] = set()
    line: list[str] = []
    anchor: list[str] | None = None
    in_code = False
    never: set[str] = set()

    def flush() -> None:
        text = "".join(line)
        line.clear()
        if in_code:
            code = textwrap.dedent(text.expandtabs(4)).strip("\n")
            if code.strip():
                lines.append(_fenced(code))
        elif text := " ".join(text.split()):
            lines.append(text)

    def after(mark: str, place: int) -> int:
        """Where the next `mark` ends; a mark that does not come is looked for only once."""
        found = None if mark in never else re.compile(mark, re.IGNORECASE).search(html, place)
        if found is None:
            never.add(mark)
            return place
        return found.end()

    place = 0
    while token := _TOKEN.match(html, place):
        place = token.end()
        if token["text"]:
            text = unescape(token["text"]) if "&" in token["text"] else token["text"]
            line.append(text)
            if anchor is not None:
                anchor.append(text)
        elif token["comment"]:
            place = after("-->", place)
        elif token["tag"]:
            tag = token["tag"].lower()
            if tag in _SKIPPED and not token["end"]:
                place = after(f"</{tag}\\s*>", place)
            elif tag == "a":
                if anchor:
                    linked.add("".join("".join(anchor).split()))
                anchor = None if token["end"] else []
            elif in_code and not (tag == "pre" and token["end"]):
                line.append("\n" if tag == "br" or (token["end"] and tag in ("div", "p", "li", "tr")) else "")
            elif tag not in _INLINE:
                flush()
                in_code = tag == "pre" and not token["end"]
    flush()
    return lines, frozenset(text for text in linked if len(text) >= 2)
