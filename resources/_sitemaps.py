"""Sitemaps: the pages and further sitemaps that they name (sitemaps.org).

Belongs here: unpacking and reading one. Does not belong here: fetching it (`_spider`).
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple
from urllib.parse import urljoin

from lxml.etree import LxmlError
from scrapy.utils.gz import gunzip
from scrapy.utils.sitemap import Sitemap

#: URLs that one sitemap may name, by the protocol.
MAX_URLS = 50_000


class Named(NamedTuple):
    """What a sitemap names."""

    pages: list[str]
    sitemaps: list[str]


def read_sitemap(body: bytes, url: str, max_bytes: int) -> Named:
    """The URLs in a sitemap: XML, a sitemap index, or a URL a line; gzipped or not.

    Entities are not resolved. URLs beyond `MAX_URLS` are not read.

    Raises
    ------
    ValueError
        It is no sitemap, or unpacks to more than `max_bytes`.
    """
    if body.startswith(b"\x1f\x8b"):
        try:
            body = gunzip(body, max_size=max_bytes)
        except (OSError, EOFError) as error:
            raise ValueError(f"a broken gzip file: {error}") from None
    try:
        sitemap = Sitemap(body)
        kind, found = sitemap.type, (entry["loc"] for entry in sitemap)
        if kind in ("urlset", "sitemapindex"):
            urls = [_absolute(one, url) for one in islice(found, MAX_URLS) if one]
            return Named([], urls) if kind == "sitemapindex" else Named(urls, [])
    except (LxmlError, StopIteration):
        pass
    lines = (line.decode("utf-8", "replace").strip() for line in body.splitlines())
    urls = list(islice((line for line in lines if line.startswith(("http://", "https://"))), MAX_URLS))
    if not urls:
        raise ValueError("not a sitemap")
    return Named(urls, [])


def _absolute(url: str, base: str) -> str:
    try:
        return urljoin(base, url)
    except ValueError:  # the crawl makes a row of it
        return url
