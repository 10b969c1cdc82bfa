"""Dumps of Wikipedia and other MediaWiki sites (XML, also bz2): one row a page, its wikitext as plain text.

Belongs here: pages out of a dump as it streams, where a part of a dump begins, wikitext to text. Does not
belong here: judging the text (`curation.corpus`).

In a dump every `<page>` element stands by itself and `<` inside of texts is escaped, so pages can be cut
out of the stream and parsed one by one: a broken one costs itself alone. In a "multistream" dump each 100
pages are a bz2 stream of their own, at any of which reading can begin.
"""

from __future__ import annotations

import bz2
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from curation.settings import Source
from resources.formats.rows import Row, too_large, unreadable
from resources.streams import BLOCK, FAULTS, File, blocks, opened, said, size

_STREAM = re.compile(rb"BZh[1-9]\x31\x41\x59\x26\x53\x59")
#: Bytes at the beginning of a packed dump in which a second stream must start if it can be cut.
_LOOK = 1 << 26
_OPEN, _CLOSE = b"<page>", b"</page>"
_TAG_ROOM = len(_CLOSE)
#: Links to what is no text of the article: files, categories, other languages.
_MEDIA = re.compile(
    r"\s*:?\s*(?:file|image|media|category|文件|檔案|档案|图像|圖像|媒体|媒體|分类|分類)\s*:", re.I
)
_INTERWIKI = re.compile(r"\s*(?:[a-z]{2,3}|zh-[a-z-]+|simple)\s*:", re.I)
_NO_TEXT = {"ref", "references", "gallery", "table", "math", "timeline", "syntaxhighlight", "source", "score", "imagemap"}  # fmt: skip
#: Words in several variants of Chinese: `-{zh-hans:鼠标;zh-hant:滑鼠}-`.
_VARIANTS = re.compile(r"-\{([^{}]*)\}-")
_PREFERRED = ("zh-cn", "zh-hans", "zh-hant", "zh-tw", "zh-hk", "zh")


def rows(file: File, source: Source, start: int = 0, stop: int | None = None) -> Iterator[Row]:
    """The pages that start in a range of bytes of the (packed) file.

    The source's own id is that of the page. The position is the byte at which a page starts, in a packed
    file that of its stream, counted on by one a page. Redirects are rows with the page they lead to,
    pages that are no articles (talk, templates, users, ...) with their namespace.
    """
    longest = source.max_record_bytes
    last = start - 1
    try:
        for at, page, length in _pages(_stream(file, source, start), longest, stop):
            last = max(at, last + 1)
            if page is None:
                yield too_large(file.uri, last, length, longest)
            else:
                yield _row(file.uri, last, page)
    except FAULTS as error:
        yield unreadable(file.uri, last + 1, error)


def can_be_cut(path: Path) -> bool:
    """Whether a packed dump has many streams. Raises OSError."""
    return border(path, 1, within=_LOOK) < size(path)


def border(path: Path, at: int, within: int | None = None) -> int:
    """The first start of a bz2 stream, or of a page, at or after a byte (`within` so many bytes).

    The end of the file where there is none. Raises OSError.
    """
    pattern = _STREAM if path.suffix.lower() == ".bz2" else re.compile(re.escape(_OPEN))
    last = size(path) if within is None else min(size(path), at + within)
    kept = b""
    with opened(path) as file:
        file.seek(at)
        while at < last and (block := file.read(BLOCK)):
            seen = kept + block
            if found := pattern.search(seen):
                return at - len(kept) + found.start()
            at += len(block)
            kept = seen[-16:]
    return size(path)


# -- from the stream to pages -------------------------------------------------------------------


def _stream(file: File, source: Source, start: int) -> Iterator[tuple[int, int, bytes]]:
    """The text of a dump in pieces: the byte of the file that a piece counts from, its offset there, bytes.

    Of a packed file a piece counts from the start of its bz2 stream, with no offset.
    """
    if file.path.suffix.lower() != ".bz2":
        at = start
        packed = file.path.suffix.lower() in (".gz", ".zst")
        for block in blocks(file.path, source.max_unpacked_ratio, start):
            yield (0, 0, block) if packed else (at, 1, block)
            at += len(block)
        return
    limit, unpacked = max(100_000_000, source.max_unpacked_ratio * size(file.path)), 0
    with opened(file.path) as handle:
        handle.seek(start)
        first, at = start, start
        unpacker = bz2.BZ2Decompressor()
        while block := handle.read(BLOCK):
            at += len(block)
            while block or not unpacker.needs_input:
                data = unpacker.decompress(block, BLOCK)
                unpacked += len(data)
                if unpacked > limit:
                    raise OSError(
                        f"unpacks to more than {limit} bytes (max_unpacked_ratio {source.max_unpacked_ratio})"
                    )
                yield first, 0, data
                block = b""
                if unpacker.eof:
                    block = unpacker.unused_data
                    first = at - len(block)
                    unpacker = bz2.BZ2Decompressor()
        if unpacker.needs_input and first < at:
            raise EOFError("the file ends in the middle of a bz2 stream")


def _pages(
    stream: Iterator[tuple[int, int, bytes]], longest: int, stop: int | None
) -> Iterator[tuple[int, bytes | None, int]]:
    """Each `<page>` element that starts before `stop`: where it starts, its bytes (None: too long), length."""
    rest, inside, lost, begun = b"", False, 0, 0
    for first, counts, data in stream:
        base = first - len(rest) if counts else first
        seen, at = rest + data, 0
        while True:
            if not inside:
                found = seen.find(_OPEN, at)
                if found < 0:
                    rest = seen[max(at, len(seen) - _TAG_ROOM + 1) :]
                    break
                begun = base + found if counts else first
                if stop is not None and begun >= stop:
                    return
                inside, at, lost = True, found, 0
            found = seen.find(_CLOSE, at)
            if found < 0:
                rest = seen[at:]
                if len(rest) > longest or lost:
                    kept = len(rest) - _TAG_ROOM + 1
                    lost, rest = lost + kept, rest[kept:]
                break
            end = found + len(_CLOSE)
            length = lost + end - at
            yield begun, None if lost or length > longest else seen[at:end], length
            inside, at = False, end
        if not inside and stop is not None and not counts and first >= stop:
            return
    if inside:
        yield begun, None if lost else rest, lost + len(rest)


def _row(uri: str, position: int, page: bytes) -> Row:
    try:
        tree = ElementTree.fromstring(page)
    except ElementTree.ParseError as error:
        return Row(uri, position, None, "unreadable_text", {"error": said(error), "bytes": len(page)}, page)
    title, namespace = tree.findtext("title") or None, tree.findtext("ns") or "0"
    told: dict[str, Any] = {"native_id": tree.findtext("id"), "title": title}
    noted: dict[str, Any] = {"bytes": len(page)}
    redirect = tree.find("redirect")
    if redirect is not None:
        return Row(uri, position, told, "redirected", {**noted, "target": redirect.get("title")})
    if namespace != "0":
        return Row(uri, position, told, "not_an_article", {**noted, "namespace": namespace})
    revision = tree.find("revision")
    if revision is None:
        return Row(uri, position, told, "missing_field", {**noted, "error": "the page has no revision"}, page)
    form = revision.findtext("format") or "text/x-wiki"
    if form != "text/x-wiki":
        return Row(uri, position, told, "not_text", {**noted, "media_type": form})
    wikitext = revision.findtext("text") or ""
    try:
        text = plain_text(wikitext)
    except Exception as error:  # a parser's failure on one page of millions, of whatever kind
        return Row(uri, position, told, "unreadable_text", {**noted, "error": repr(error)}, wikitext.encode())
    told |= {"body": text.encode("utf-8"), "media_type": "text/plain", "charset": "utf-8"}
    return Row(uri, position, told, None, {**noted, "timestamp": revision.findtext("timestamp")})


# -- wikitext -----------------------------------------------------------------------------------


def plain_text(wikitext: str) -> str:
    """The text of an article without its markup.

    Templates, tables, notes, files and categories go; links leave their words, lists one line an item.
    Of words in several variants of Chinese the simplified mainland one is taken.
    """
    import mwparserfromhell

    tree = mwparserfromhell.parse(_VARIANTS.sub(lambda found: _variant(found[1]), wikitext))
    lines = (line.strip() for line in "".join(_words(tree)).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _words(code: Any) -> Iterator[str]:
    """What a reader sees of parsed wikitext, without tables, notes, files and what templates make."""
    from mwparserfromhell.nodes import ExternalLink, Heading, HTMLEntity, Tag, Text, Wikilink

    for node in code.nodes if code is not None else ():
        if isinstance(node, Text):
            yield node.value
        elif isinstance(node, HTMLEntity):
            yield node.normalize() or ""
        elif isinstance(node, Heading | ExternalLink):
            yield from _words(node.title)
        elif isinstance(node, Wikilink):
            title = str(node.title)
            if not _MEDIA.match(title) and (node.text is not None or not _INTERWIKI.match(title)):
                yield from _words(node.title if node.text is None else node.text)
        elif isinstance(node, Tag):
            name = str(node.tag).strip().lower()
            if name == "br":
                yield "\n"
            elif name not in _NO_TEXT:
                yield from _words(node.contents)


def _variant(inside: str) -> str:
    """The words of one variant of Chinese; rules that show nothing (`-{T|...}-` and the like) leave nothing."""
    flag, bar, rest = inside.rpartition("|")
    if bar and any(mark in flag for mark in ("T", "H", "-")):
        return ""
    words = dict(part.split(":", 1) for part in rest.split(";") if ":" in part)
    chosen = {name.strip().lower().split("=>")[-1]: text.strip() for name, text in words.items()}
    return next((chosen[name] for name in _PREFERRED if name in chosen), next(iter(chosen.values()), rest))
