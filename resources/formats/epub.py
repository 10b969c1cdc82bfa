"""EPUB books: one row a chapter.

Belongs here: finding the chapters of a book in their order, and unpacking them within limits. Does not
belong here: extracting the text of a chapter (`curation.corpus`): it is a page like any other.

A book is a ZIP archive: `META-INF/container.xml` names a package document, which lists the files
(manifest) and their order (spine) (EPUB 3.3, W3C).
"""

from __future__ import annotations

import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from curation.settings import Source
from resources.formats.rows import Row, declared_charset, is_binary, too_large, unreadable
from resources.streams import FAULTS, File, opened, size

_CONTAINER = "META-INF/container.xml"
_PAGES = ("application/xhtml+xml", "text/html")
#: A book may always unpack to this many bytes; what is larger must keep to the ratio.
_FREE_BYTES = 100_000_000
_FAULTS: tuple[type[Exception], ...] = (
    *FAULTS,
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    KeyError,
    ValueError,
)


def rows(file: File, source: Source) -> Iterator[Row]:
    """The chapters of a book in reading order; the position is the place in that order.

    Nothing is written to disk, so no name in the archive can lead anywhere. Each chapter is held to the
    bytes of a record, the book to the ratio of unpacking; a chapter that breaks these is refused alone.
    """
    try:
        with opened(file.path) as handle, zipfile.ZipFile(handle) as book:
            left = max(_FREE_BYTES, source.max_unpacked_ratio * size(file.path))
            package, folder = _package(book, source)
            title = package.findtext(".//{*}metadata/{*}title")
            for index, (name, kind) in enumerate(_spine(package, folder)):
                noted: dict[str, Any] = {"book": title, "chapter": name}
                if kind not in _PAGES:
                    yield Row(file.uri, index, None, "not_text", {**noted, "media_type": kind})
                    continue
                try:
                    body = _member(book, name, min(source.max_record_bytes, left))
                except _FAULTS as error:
                    yield unreadable(file.uri, index, error, **noted)
                    continue
                if body is None:
                    yield too_large(file.uri, index, None, source.max_record_bytes, **noted)
                    continue
                left -= len(body)
                if is_binary(body):
                    yield Row(file.uri, index, None, "not_text", noted, body)
                    continue
                found = {"body": body, "media_type": kind, "charset": declared_charset(body)}
                yield Row(file.uri, index, found, None, {"bytes": len(body), **noted})
    except _FAULTS as error:
        yield unreadable(file.uri, 0, error)


def _package(book: zipfile.ZipFile, source: Source) -> tuple[Any, str]:
    """The package document of a book, and the folder that its names are relative to."""
    container = _xml(book, _CONTAINER, source)
    root = container.find(".//{*}rootfile")
    if root is None or not root.get("full-path"):
        raise ValueError("the book names no package document")
    path = root.get("full-path")
    return _xml(book, path, source), posixpath.dirname(path)


def _spine(package: Any, folder: str) -> list[tuple[str, str]]:
    """Name and media type of each chapter, in reading order."""
    manifest = {item.get("id"): item for item in package.iterfind(".//{*}manifest/{*}item")}
    items = [manifest.get(entry.get("idref")) for entry in package.iterfind(".//{*}spine/{*}itemref")]
    return [
        (
            posixpath.normpath(posixpath.join(folder, unquote(item.get("href", "")))),
            item.get("media-type", "").lower(),
        )
        for item in items
        if item is not None
    ]


def _xml(book: zipfile.ZipFile, name: str, source: Source) -> Any:
    """A small XML file of the archive; entities and other files are not followed."""
    from lxml import etree

    body = _member(book, name, source.max_record_bytes)
    if body is None:
        raise ValueError(f"{name} is too large")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        return etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        raise ValueError(f"{name}: {error}") from None


def _member(book: zipfile.ZipFile, name: str, limit: int) -> bytes | None:
    """A file of the archive, unpacked; None where it has more bytes than the limit, whatever it claims."""
    try:
        with book.open(name) as packed:
            body = packed.read(limit + 1)
    except zlib.error as error:
        raise zipfile.BadZipFile(f"{name}: {error}") from None
    return body if len(body) <= limit else None
