"""The process that crawls: Scrapy's reactor starts once in a process, so every crawl has its own.

`python -m resources._spider` reads its job (start URLs, settings, folder) from the first line of
standard input, prints how many pages are done, and writes an entry for every page into a journal. It
ends when standard input does, so it never outlives whoever started it. Belongs here: the order of a
crawl, and what becomes of an answer. Does not belong here: what may be asked for (`_guard`), how
often (`_host`), the table made of it (`crawler`).

Pages are fetched wave by wave: the links of one wave, sorted, are the next. So what lies within the
depth and the page budget does not depend on which server answers first, and a crawl that is started
again comes to the same pages, of which those in the journal are not fetched a second time.
Connections are direct: behind a proxy nobody could tell which address a name leads to.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import orjson
from protego import Protego
from scrapy import Request, Spider, signals
from scrapy.crawler import CrawlerProcess
from scrapy.exceptions import DownloadCancelledError, StopDownload
from scrapy.http import HtmlResponse, Response
from scrapy.linkextractors import LinkExtractor
from scrapy.resolver import CachingThreadedResolver
from scrapy.utils.misc import load_object
from w3lib.url import canonicalize_url

from curation.settings import Crawl
from resources._guard import (
    ALLOW_PRIVATE,
    AddressGuard,
    BoundedHandler,
    Forbidden,
    PublicResolver,
    forbidden_address,
)
from resources._host import BUSY, MAX_CRAWL_DELAY, MAX_TURNED_AWAY, PASSING, Host, backoff, retry_after
from resources._journal import Entry, Journal
from resources._sitemaps import read_sitemap
from resources.readers import declared_charset, is_binary, is_page

#: Redirects in a row after which a page is held to redirect without end.
MAX_HOPS = 20
_PAGES = ("text/html", "application/xhtml+xml")
_TEXTS = (*_PAGES, "text/plain", "text/markdown")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.I)
#: Headers that tell the version of a page, the key that they are noted under, and how to ask by them.
_VALIDATORS = (("ETag", "etag", "If-None-Match"), ("Last-Modified", "last_modified", "If-Modified-Since"))


@dataclass(frozen=True, order=True)
class Place:
    """How a URL was reached: links followed from a start URL, and redirects in a row."""

    depth: int = 0
    hops: int = 0
    from_start: bool = False
    is_sitemap: bool = False


@dataclass(frozen=True)
class Rules:
    """What robots.txt says, or the reason and the evidence of its pages if nobody could read it."""

    robots: Protego | None
    failure: tuple[str, dict[str, Any]] | None = None


class HostClosed(Exception):
    """A host that turned away too many pages is not asked any more."""


class CrawlSpider(Spider):
    """Fetches the pages of some hosts, and journals an entry for each URL that it comes across."""

    name = "crawl"

    def __init__(
        self, urls: list[str], crawl: Crawl, journal: Journal, previous: Journal, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.start = self._crawl  # type: ignore[method-assign]
        self.first, self.crawl, self.journal, self.previous = urls, crawl, journal, previous
        self.allowed = set(crawl.allowed_domains) or {_split(url).netloc for url in urls}
        self.seen: set[str] = set()
        self.next: dict[str, Place] = {}
        self.referrers: dict[str, str] = {}
        self.reads_robots = crawl.obey_robots or crawl.sitemaps
        self.done = 0
        self.hosts: dict[str, Host] = {}
        self.rules: dict[str, asyncio.Future[Rules]] = {}
        self.named: list[tuple[str, str]] = []
        self.slots = asyncio.Semaphore(crawl.concurrency)
        self.links = LinkExtractor(deny_extensions=(), unique=True)

    # -- the order of a crawl -------------------------------------------------------------------

    async def _crawl(self) -> AsyncIterator[Request]:
        """The whole crawl, as what Scrapy runs at the start. It asks the engine for pages itself."""
        self.crawler.signals.connect(self._look_at_headers, signals.headers_received)
        self.passing = tuple(load_object(one) for one in self.settings.getlist("RETRY_EXCEPTIONS"))
        for url in self.first:
            is_sitemap = self.crawl.sitemaps and _split(url).path.endswith((".xml", ".xml.gz"))
            self._add(url, Place(from_start=True, is_sitemap=is_sitemap))
        left = self.crawl.max_pages
        while self.next:
            wave, self.next = dict(sorted(self.next.items())), {}
            self.seen |= wave.keys()
            visits: dict[str, Place] = {}
            for url, place in wave.items():
                if refused := self._refused(url, place, len(visits) >= left):
                    self._keep(refused)
                else:
                    visits[url] = place
            left -= len(visits)
            found = await asyncio.gather(*(self._visit(url, place) for url, place in visits.items()))
            for (url, place), entry in zip(visits.items(), found, strict=True):
                self._follow_redirect(url, place, entry)
            for (url, place), entry in zip(visits.items(), found, strict=True):
                self._follow_links(url, place, entry)
            for sitemap, robots in sorted(self.named):
                self._add(sitemap, Place(is_sitemap=True), robots)
            self.named.clear()
        self.journal.add({"referrers": self.referrers})
        return
        yield  # an asynchronous generator, though an empty one

    def _add(self, url: str, place: Place, referrer: str | None = None) -> None:
        """Note a URL for the next wave, unless it had its turn."""
        url = _canonical(url)
        if referrer is not None:
            self.referrers[url] = min(self.referrers.get(url, referrer), referrer)
        if url not in self.seen:
            self.next[url] = min(self.next.get(url, place), place)

    def _refused(self, url: str, place: Place, is_spent: bool) -> Entry | None:
        """The entry of a URL that is not asked for."""
        if why := forbidden_address(url, self.crawl.allow_private_addresses):
            return _entry(url, place, "address_forbidden", error=why)
        if not self._covered(url):
            return _entry(url, place, "off_site")
        if (place.depth > self.crawl.max_depth or is_spent) and not self._is_rules(url):
            limits = {"max_depth": self.crawl.max_depth, "max_pages": self.crawl.max_pages}
            return _entry(url, place, "over_crawl_budget", limits=limits)
        return None

    def _is_rules(self, url: str) -> bool:
        """Whether it is a robots.txt, which is read anyway."""
        return self.reads_robots and _split(url).path == "/robots.txt"

    def _covered(self, url: str) -> bool:
        parts = _split(url)
        return parts.netloc in self.allowed or parts.hostname in self.allowed

    def _follow_redirect(self, url: str, place: Place, entry: Entry) -> None:
        target = entry["target"]
        if target is None:
            return
        if place.from_start and not self.crawl.allowed_domains:
            self.allowed.add(_split(target).netloc)  # a site that moved, for example to www.
        self._add(target, replace(place, hops=place.hops + 1), url)

    def _follow_links(self, url: str, place: Place, entry: Entry) -> None:
        for names, step in (
            ("links", Place(place.depth + 1)),
            ("sitemaps", Place(place.depth, 0, False, True)),
        ):
            for link in entry[names] or ():
                if self._covered(link):
                    self._add(link, step, url)

    def _keep(self, entry: Entry) -> None:
        if entry["uri"] not in self.journal:
            self.journal.add(entry)

    async def _visit(self, url: str, place: Place) -> Entry:
        """Fetch a page unless it is in the journal. Returns where it leads to."""
        rules = await self._rules_for(url)
        entry = self.journal.get(url)
        if entry is None:
            entry = await self._fetch(url, place, rules)
            self.journal.add(entry)
        self.done += 1
        print(self.done, flush=True)
        target = entry["noted"]["target"] if entry["reason"] == "redirected" else None
        return {"target": target, "links": entry.get("links"), "sitemaps": entry.get("sitemaps")}

    # -- robots.txt -----------------------------------------------------------------------------

    async def _rules_for(self, url: str) -> Rules:
        """The rules that a URL is under. What robots.txt names as sitemaps is noted on the way."""
        if not self.reads_robots:
            return Rules(None)
        origin = "{0.scheme}://{0.netloc}".format(_split(url))
        if origin not in self.rules:
            self.rules[origin] = asyncio.ensure_future(self._read_rules(f"{origin}/robots.txt"))
        return await self.rules[origin]

    async def _read_rules(self, url: str) -> Rules:
        self.seen.add(url)
        entry = self.journal.get(url)
        if entry is None:
            entry = await self._fetch_rules(url)
            self.journal.add(entry)
        text = entry.get("rules")
        if text is None:
            reason = entry["reason"]
            noted = {name: entry["noted"][name] for name in ("error", "address") if name in entry["noted"]}
            noted["error"] = f"robots.txt: {noted.get('error', entry.get('status'))}"
            return Rules(None, ("fetch_failed" if reason == "http_error" else reason, noted))
        robots = Protego.parse(text)
        if self.crawl.obey_robots:
            asked = robots.crawl_delay(self.crawl.user_agent) or 0
            host = self._host(url)
            host.delay = max(host.delay, min(float(asked), MAX_CRAWL_DELAY))
        if self.crawl.sitemaps:
            self.named += [(_joined(url, one), url) for one in robots.sitemaps]
        return Rules(robots)

    async def _fetch_rules(self, url: str) -> Entry:
        """robots.txt as RFC 9309 wants it: without one all is allowed; while nobody can tell, nothing is."""
        try:
            response = await self._ask(url, {}, {})
        except Exception as error:
            reason, noted = self._failure(url, error)
            return _entry(url, Place(), reason, **noted)
        if response.status >= 500 or response.status == 429:
            return _entry(url, Place(), "http_error", response)
        rules = response.body.decode("utf-8", "replace") if 200 <= response.status < 300 else ""
        return _entry(url, Place(), "robots_txt", response) | {"rules": rules}

    # -- fetching -------------------------------------------------------------------------------

    async def _fetch(self, url: str, place: Place, rules: Rules) -> Entry:
        if self.crawl.obey_robots:
            if rules.failure:
                reason, noted = rules.failure
                return _entry(url, place, reason, **noted)
            if rules.robots and not rules.robots.can_fetch(url, self.crawl.user_agent):
                return _entry(url, place, "robots_forbidden")
        before = None if place.is_sitemap else self.previous.get(url)
        asked = {header: before[key] for _, key, header in _VALIDATORS if before and before[key]}
        try:
            response = await self._ask(url, asked, {"dont_redirect": True, "page": not place.is_sitemap})
            if response.status == 304 and before:
                return self._unchanged(url, place, response, before)
            return self._judged(url, place, response)
        except Exception as error:  # whatever a server can do to us: the page has its row, the crawl goes on
            reason, noted = self._failure(url, error)
            return _entry(url, place, reason, **noted)

    def _host(self, url: str) -> Host:
        name = _split(url).hostname or ""
        if name not in self.hosts:
            self.hosts[name] = Host(self.crawl.delay, self.crawl.host_concurrency)
        return self.hosts[name]

    async def _ask(self, url: str, headers: dict[str, str], meta: dict[str, Any]) -> Response:
        """Ask for a URL, at the pace of its host, and again after what may pass."""
        host = self._host(url)
        for attempt in range(self.crawl.retries + 1):
            is_last = attempt == self.crawl.retries
            wait = backoff(attempt, None, self.crawl.max_backoff)
            async with host.slots:
                await host.turn()
                if host.is_closed:
                    raise HostClosed(f"the host turned away {MAX_TURNED_AWAY} pages in a row")
                try:
                    request = Request(url, headers=headers, meta=dict(meta), dont_filter=True)
                    async with self.slots:
                        response = await self.crawler.engine.download_async(request)  # type: ignore[union-attr]
                except self.passing:
                    if is_last or self._refused_name(url):
                        raise
                else:
                    if response.status in BUSY:
                        asked = retry_after(response.headers.get("Retry-After"))
                        wait = backoff(attempt, asked, self.crawl.max_backoff)
                        host.pause(wait)
                        host.turned_away += is_last
                    else:
                        host.turned_away = 0
                    if is_last or response.status not in PASSING:
                        return response
            await asyncio.sleep(wait)
        raise AssertionError("the last try returns or raises")

    @staticmethod
    def _look_at_headers(headers: Any, request: Request) -> None:
        """Do not fetch what is no text."""
        kind = _media_type(headers.get("Content-Type"))
        if request.meta.get("page") and kind and kind not in _TEXTS:
            raise StopDownload(fail=False)

    @staticmethod
    def _refused_name(url: str) -> str | None:
        """The address that is not public, if the host's name led to one."""
        return PublicResolver.refused.get(_split(url).hostname or "")

    def _failure(self, url: str, error: Exception) -> tuple[str, dict[str, Any]]:
        """Reason and evidence of a page that was not answered."""
        if isinstance(error, Forbidden):
            return "address_forbidden", {"error": str(error)}
        if address := self._refused_name(url):
            return "address_forbidden", {"error": "not a public address", "address": address}
        if isinstance(error, DownloadCancelledError):
            return "fetch_failed", {"error": "too large", "limits": {"max_bytes": self.crawl.max_bytes}}
        says = f"{type(error).__name__}: {error}".removesuffix(": ")
        return "fetch_failed", {"error": says[:500]}

    # -- what becomes of an answer --------------------------------------------------------------

    def _judged(self, url: str, place: Place, response: Response) -> Entry:
        """The entry of a URL that was answered, with where it leads to."""
        location = response.headers.get("Location")
        if 300 <= response.status < 400 and location:
            target = _canonical(_joined(response.url, location.decode("latin-1").strip()))
            if place.hops >= MAX_HOPS:
                return _entry(url, place, "redirect_loop", response, target=target, limits={"hops": MAX_HOPS})
            return _entry(url, place, "redirected", response, target=target)
        if not 200 <= response.status < 300:
            asked = response.headers.get("Retry-After")
            said = {"retry_after": asked.decode("latin-1")[:100]} if asked else {}
            return _entry(url, place, "http_error", response, **said)
        if place.is_sitemap:
            named = read_sitemap(response.body, url, self.crawl.max_bytes)
            found = {"pages": len(named.pages), "sitemaps": len(named.sitemaps)}
            return _entry(url, place, "sitemap", response, **found) | {
                "links": named.pages,
                "sitemaps": named.sitemaps,
            }
        kind = _media_type(response.headers.get("Content-Type"))
        if not kind:
            kind = "text/html" if is_page(response.body) else "text/plain"
        if kind not in _TEXTS or is_binary(response.body):
            return _entry(url, place, "not_text", response) | {"media_type": kind}
        return _entry(url, place, None, response, **_validators(response)) | {
            "media_type": kind,
            "body": b64encode(response.body).decode(),
            "links": self._links_of(response) if kind in _PAGES else [],
        }

    def _unchanged(self, url: str, place: Place, response: Response, before: Entry) -> Entry:
        """The entry of a page of which the server says that it is the one that we have."""
        body = b64decode(before["body"])
        charset = f"; charset={before['charset']}" if before["charset"] else ""
        page = HtmlResponse(url, body=body, headers={"Content-Type": before["media_type"] + charset})
        tags = {key: before[key] for _, key, _ in _VALIDATORS if before[key]} | _validators(response)
        entry = _entry(url, place, None, response, **tags, unchanged=True)
        entry["noted"]["bytes"] = len(body)
        return entry | {
            **{name: before[name] for name in ("status", "media_type", "charset", "body")},
            "links": self._links_of(page) if before["media_type"] in _PAGES else [],
        }

    def _links_of(self, response: Response) -> list[str]:
        if not isinstance(response, HtmlResponse):
            response = HtmlResponse(response.url, headers=response.headers, body=response.body)
        try:
            return [link.url for link in self.links.extract_links(response)]
        except (ValueError, LookupError, RecursionError):  # HTML that no parser takes leads nowhere
            return []


# -- pieces -------------------------------------------------------------------------------------


def _entry(
    url: str, place: Place, reason: str | None, response: Response | None = None, **noted: object
) -> Entry:
    """The entry of a URL in the journal: what its row says."""
    entry: Entry = {"uri": url, "reason": reason, "noted": {"depth": place.depth, **noted}}
    if response is not None:
        declared = (response.headers.get("Content-Type") or b"").decode("latin-1")
        charset = _CHARSET.search(declared)
        entry |= {
            "status": response.status,
            "media_type": _media_type(declared.encode("latin-1")),
            "charset": charset[1].lower() if charset else declared_charset(response.body),
            "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        entry["noted"]["bytes"] = len(response.body)
    return entry


def _validators(response: Response) -> dict[str, str]:
    """What the server says of the version of a page."""
    found = ((key, response.headers.get(header)) for header, key, _ in _VALIDATORS)
    return {key: value.decode("latin-1")[:1000] for key, value in found if value}


def _media_type(header: bytes | None) -> str | None:
    return (header or b"").decode("latin-1").partition(";")[0].strip().lower() or None


def _split(url: str) -> SplitResult:
    """The parts of a URL; of what is none, nothing."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _joined(base: str, url: str) -> str:
    """An absolute URL; what cannot be one stays as it is, and its row says so."""
    try:
        return urljoin(base, url)
    except ValueError:
        return url


def _canonical(url: str) -> str:
    try:
        return str(canonicalize_url(url))
    except ValueError:
        return url


def scrapy_settings(crawl: Crawl) -> dict[str, Any]:
    """Scrapy's settings for ours. Robots, redirects, pace and retries are the spider's own affair."""
    return {
        "USER_AGENT": crawl.user_agent,
        "ROBOTSTXT_OBEY": False,
        "RETRY_ENABLED": False,
        "REDIRECT_MAX_TIMES": 5,  # of robots.txt, as RFC 9309 has it
        "DOWNLOAD_DELAY": 0,
        "CONCURRENT_REQUESTS": crawl.concurrency,
        "CONCURRENT_REQUESTS_PER_DOMAIN": crawl.host_concurrency,
        "DOWNLOAD_TIMEOUT": crawl.timeout,
        "DOWNLOAD_MAXSIZE": crawl.max_bytes,
        "DOWNLOAD_WARNSIZE": 0,
        "DOWNLOAD_HANDLERS": {"http": BoundedHandler, "https": BoundedHandler} | dict.fromkeys(("file", "data", "ftp", "s3")),
        "DOWNLOADER_MIDDLEWARES": {AddressGuard: 1},
        "DNS_RESOLVER": CachingThreadedResolver if crawl.allow_private_addresses else PublicResolver,
        "DNS_TIMEOUT": crawl.timeout,
        ALLOW_PRIVATE: crawl.allow_private_addresses,
        "DEFAULT_REQUEST_HEADERS": {"Accept": "text/html,text/plain;q=0.9,*/*;q=0.1", "Accept-Language": "zh-CN,zh;q=0.9,en;q=0.5"},
        "COOKIES_ENABLED": False,
        "METAREFRESH_ENABLED": False,
        "HTTPPROXY_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "LOG_ENABLED": False,
    }  # fmt: skip


def _end_with_parent() -> None:
    os.read(0, 1)  # returns when the other end is closed, also by a kill
    os._exit(1)


def main() -> None:
    """Crawl what the first line of standard input asks for."""
    job = orjson.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    crawl = Crawl.model_validate(job["crawl"])
    journal, previous = (Journal(Path(job["folder"]) / name, job["job"]) for name in ("journal.jsonl", "previous.jsonl"))  # fmt: skip
    process = CrawlerProcess(scrapy_settings(crawl))
    process.crawl(CrawlSpider, urls=job["urls"], crawl=crawl, journal=journal, previous=previous)
    process.start()


if __name__ == "__main__":
    main()
