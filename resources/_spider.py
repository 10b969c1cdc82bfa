"""The process that crawls: Scrapy's reactor starts once in a process, so every crawl has its own.

`python -m resources._spider` reads the start URLs, the settings and the file to write from standard
input (JSON), prints how many pages are done, and writes one JSON line for every page. Belongs here:
fetching, and what may be fetched. Does not belong here: the table made of it (`crawler`).

Pages are fetched wave by wave: the links of one wave, sorted, are the next. So what lies within the
depth and the page budget does not depend on which server answers first. Connections are direct:
behind a proxy nobody could tell which address a name leads to.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, ClassVar
from urllib.parse import urlsplit

from scrapy import Request, Spider, signals
from scrapy.crawler import CrawlerProcess
from scrapy.exceptions import IgnoreRequest, StopDownload
from scrapy.http import HtmlResponse, Response
from scrapy.linkextractors import LinkExtractor
from scrapy.resolver import CachingThreadedResolver
from twisted.internet.error import DNSLookupError
from w3lib.url import canonicalize_url

from curation.settings import Crawl
from resources.readers import declared_charset, is_binary, is_page

#: Redirects in a row after which a page is held to redirect without end.
MAX_HOPS = 20
_PAGES = ("text/html", "application/xhtml+xml")
_TEXTS = (*_PAGES, "text/plain", "text/markdown")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.I)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet."""
    ip = ip_address(address)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_global and not ip.is_multicast


def forbidden_address(url: str, crawl: Crawl) -> str | None:
    """Why a URL must not be fetched, as far as the URL itself tells; None if it may be."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "not http(s)"
    try:
        public = crawl.allow_private_addresses or is_public(parts.hostname)
    except ValueError:  # a name: the resolver looks at what it leads to
        return None
    return None if public else "not a public address"


class PublicResolver(CachingThreadedResolver):
    """Resolves names, but not to loopback or private addresses."""

    refused: ClassVar[dict[str, str]] = {}

    def getHostByName(self, name: str, timeout: Any = ()) -> Any:  # noqa: N802 - Twisted's name
        return super().getHostByName(name, timeout).addCallback(self._check, name)

    def _check(self, address: str, name: str) -> str:
        if is_public(address):
            return address
        self.refused[name] = address
        raise DNSLookupError(f"{name} leads to {address}, which is not a public address")


@dataclass(frozen=True, order=True)
class Place:
    """How a page was reached: links followed from a start URL, and redirects in a row."""

    depth: int = 0
    hops: int = 0
    from_start: bool = False


class CrawlSpider(Spider):
    """Fetches the pages of some hosts and writes a row for each URL that it comes across."""

    name = "crawl"

    def __init__(self, urls: list[str], crawl: Crawl, out: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = self._crawl  # type: ignore[method-assign]
        self.first, self.crawl, self.out = urls, crawl, out
        self.allowed = set(crawl.allowed_domains) or {urlsplit(url).netloc for url in urls}
        self.seen: set[str] = set()
        self.next: dict[str, Place] = {}
        self.referrers: dict[str, str] = {}
        self.done = 0
        self.slots = asyncio.Semaphore(crawl.concurrency)
        self.links = LinkExtractor(deny_extensions=(), unique=True)

    async def _crawl(self) -> AsyncIterator[Request]:
        """The whole crawl, as what Scrapy runs at the start. It asks the engine for pages itself."""
        self.crawler.signals.connect(self._look_at_headers, signals.headers_received)
        for url in self.first:
            self._add(url, Place(from_start=True))
        left = self.crawl.max_pages
        while self.next:
            wave, self.next = dict(sorted(self.next.items())), {}
            self.seen |= wave.keys()
            fetch: list[Coroutine[Any, Any, None]] = []
            for url, place in wave.items():
                if why := forbidden_address(url, self.crawl):
                    self._write(url, place, "address_forbidden", error=why)
                elif not self._covered(url):
                    self._write(url, place, "off_site")
                elif place.depth > self.crawl.max_depth or len(fetch) >= left:
                    self._write(
                        url,
                        place,
                        "over_crawl_budget",
                        limits={"max_depth": self.crawl.max_depth, "max_pages": self.crawl.max_pages},
                    )
                else:
                    fetch.append(self._fetch(url, place))
            left -= len(fetch)
            await asyncio.gather(*fetch)
        self.out.write(json.dumps({"referrers": self.referrers}) + "\n")
        return
        yield  # an asynchronous generator, though an empty one

    def _covered(self, url: str) -> bool:
        parts = urlsplit(url)
        return parts.netloc in self.allowed or parts.hostname in self.allowed

    def _add(self, url: str, place: Place, referrer: str | None = None) -> str:
        """Note a URL for the next wave, unless it had its turn. Returns its canonical form."""
        url = canonicalize_url(url)
        if referrer is not None:
            self.referrers[url] = min(self.referrers.get(url, referrer), referrer)
        if url not in self.seen:
            self.next[url] = min(self.next.get(url, place), place)
        return url

    @staticmethod
    def _look_at_headers(headers: Any, request: Request) -> None:
        """Do not fetch what is no text."""
        kind = _media_type(headers.get("Content-Type"))
        if request.meta.get("page") and kind and kind not in _TEXTS:
            raise StopDownload(fail=False)

    async def _fetch(self, url: str, place: Place) -> None:
        request = Request(url, meta={"dont_redirect": True, "page": True}, dont_filter=True)
        try:
            async with self.slots:
                response = await self.crawler.engine.download_async(request)  # type: ignore[union-attr]
            self._judge(url, place, response)
        except IgnoreRequest as error:
            robots = str(error).startswith("Forbidden by robots.txt")
            self._write(url, place, "robots_forbidden" if robots else "fetch_failed", error=str(error))
        except Exception as error:  # whatever a server can do to us: the page has its row, the crawl goes on
            refused = PublicResolver.refused.get(urlsplit(url).hostname or "")
            if refused:
                self._write(url, place, "address_forbidden", error="not a public address", address=refused)
            else:
                self._write(url, place, "fetch_failed", error=f"{type(error).__name__}: {error}"[:500])
        self.done += 1
        print(self.done, flush=True)

    def _judge(self, url: str, place: Place, response: Response) -> None:
        """Write the row of a page that was answered, and note where it leads to."""
        location = response.headers.get("Location")
        if 300 <= response.status < 400 and location:
            target = response.urljoin(location.decode("latin-1").strip())
            if place.hops >= MAX_HOPS:
                self._write(url, place, "redirect_loop", response, target=target, limits={"hops": MAX_HOPS})
                return
            if place.from_start and not self.crawl.allowed_domains:
                self.allowed.add(urlsplit(target).netloc)  # a site that moved, for example to www.
            target = self._add(target, Place(place.depth, place.hops + 1, place.from_start), url)
            self._write(url, place, "redirected", response, target=target)
            return
        if not 200 <= response.status < 300:
            self._write(url, place, "http_error", response)
            return
        kind = _media_type(response.headers.get("Content-Type"))
        if not kind:
            kind = "text/html" if is_page(response.body) else "text/plain"
        if kind not in _TEXTS or is_binary(response.body):
            self._write(url, place, "not_text", response, kind)
            return
        self._write(url, place, None, response, kind)
        if kind in _PAGES:
            for link in self._links_of(response):
                if self._covered(link):
                    self._add(link, Place(place.depth + 1), url)

    def _links_of(self, response: Response) -> list[str]:
        if not isinstance(response, HtmlResponse):
            response = HtmlResponse(response.url, headers=response.headers, body=response.body)
        try:
            return [link.url for link in self.links.extract_links(response)]
        except (ValueError, LookupError, RecursionError):  # HTML that no parser takes leads nowhere
            return []

    def _write(
        self,
        url: str,
        place: Place,
        reason: str | None,
        response: Response | None = None,
        kind: str | None = None,
        **noted: object,
    ) -> None:
        row: dict[str, Any] = {"uri": url, "reason": reason, "noted": {"depth": place.depth, **noted}}
        if response is not None:
            declared = (response.headers.get("Content-Type") or b"").decode("latin-1")
            charset = _CHARSET.search(declared)
            row |= {
                "status": response.status,
                "media_type": kind or _media_type(declared.encode("latin-1")),
                "charset": charset[1].lower() if charset else declared_charset(response.body),
                "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            row["noted"]["bytes"] = len(response.body)
            if reason is None:
                row["body"] = b64encode(response.body).decode()
        self.out.write(json.dumps(row) + "\n")


def _media_type(header: bytes | None) -> str | None:
    return (header or b"").decode("latin-1").partition(";")[0].strip().lower() or None


def scrapy_settings(crawl: Crawl) -> dict[str, Any]:
    """Scrapy's settings for ours."""
    return {
        "USER_AGENT": crawl.user_agent,
        "ROBOTSTXT_OBEY": crawl.obey_robots,
        "DOWNLOAD_DELAY": crawl.delay,
        "RANDOMIZE_DOWNLOAD_DELAY": False,
        "CONCURRENT_REQUESTS": crawl.concurrency,
        "CONCURRENT_REQUESTS_PER_DOMAIN": crawl.concurrency,
        "DOWNLOAD_TIMEOUT": crawl.timeout,
        "DOWNLOAD_MAXSIZE": crawl.max_bytes,
        "DOWNLOAD_WARNSIZE": 0,
        "RETRY_TIMES": crawl.retries,
        "DNS_RESOLVER": CachingThreadedResolver if crawl.allow_private_addresses else PublicResolver,
        "DEFAULT_REQUEST_HEADERS": {"Accept": "text/html,text/plain;q=0.9,*/*;q=0.1", "Accept-Language": "zh-CN,zh;q=0.9,en;q=0.5"},
        "COOKIES_ENABLED": False,
        "METAREFRESH_ENABLED": False,
        "HTTPPROXY_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "LOG_ENABLED": False,
    }  # fmt: skip


def main() -> None:
    """Crawl what standard input asks for."""
    job = json.load(sys.stdin)
    crawl = Crawl.model_validate(job["crawl"])
    process = CrawlerProcess(scrapy_settings(crawl))
    with open(job["out"], "w", encoding="utf-8") as out:
        process.crawl(CrawlSpider, urls=job["urls"], crawl=crawl, out=out)
        process.start()


if __name__ == "__main__":
    main()
