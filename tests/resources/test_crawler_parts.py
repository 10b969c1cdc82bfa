"""The pieces of the crawler by themselves: addresses, sitemaps, journal, waiting."""

import asyncio
import gzip
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scrapy import Request

from curation.settings import Crawl
from resources import _host
from resources._guard import AddressGuard, Forbidden, PublicResolver, forbidden_address, is_public
from resources._host import MAX_CRAWL_DELAY, Host, backoff, retry_after
from resources._journal import Journal, read
from resources._sitemaps import MAX_URLS, read_sitemap
from resources._spider import CrawlSpider

PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "0.0.0.0",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:7f00:1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "fc00::1",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public(address):
    assert not is_public(address)
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    assert forbidden_address(url) == "not a public address"
    assert forbidden_address(url, allow_private=True) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://93.184.216.34/",
        "https://example.com/",
        "http://[2606:2800:220:1::1]/",
        "http://[::ffff:8.8.8.8]/",
    ],
)
def test_public_addresses_and_names_may_be_asked_for(url):
    assert forbidden_address(url) is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("javascript:alert(1)", "not http(s)"),
        ("file:///etc/passwd", "not http(s)"),
        ("ftp://example.com/", "not http(s)"),
        ("http:///path", "not http(s)"),
        ("http://[::1/", "not a URL"),
        ("http://example.com:99999/", "not a URL"),
        ("http://example.com/" + "x" * 9_000, "longer than 8000 characters"),
    ],
)
def test_what_is_no_url_to_fetch(url, why):
    assert forbidden_address(url) == why


@given(st.text(max_size=60))
def test_no_text_breaks_the_look_at_an_address(text):
    for url in (text, f"http://{text}", f"http://[{text}]/"):
        forbidden_address(url)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "017700000001"])
def test_odd_notations_of_a_number_are_left_to_the_resolver_which_refuses_them(host):
    assert forbidden_address(f"http://{host}/") is None
    assert socket.gethostbyname(host) == "127.0.0.1"
    resolver = PublicResolver.__new__(PublicResolver)
    with pytest.raises(Exception, match="not a public address"):
        resolver._check(socket.gethostbyname(host), host)
    assert PublicResolver.refused.pop(host) == "127.0.0.1"
    assert resolver._check("8.8.8.8", "dns.example") == "8.8.8.8"


def test_the_guard_lets_no_request_out_whoever_made_it():
    guard = AddressGuard(allow_private=False)
    for url in ("http://127.0.0.1/robots.txt", "file:///etc/passwd", "http://[::1]/"):
        with pytest.raises(Forbidden):
            guard.process_request(Request(url))
    guard.process_request(Request("https://example.com/"))
    AddressGuard(allow_private=True).process_request(Request("http://127.0.0.1/"))


# -- sitemaps -----------------------------------------------------------------------------------

HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
NS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
SITE = "http://example.com/maps/sitemap.xml"


def urlset(*urls, tag="url", root="urlset"):
    entries = "".join(f"<{tag}><loc>{url}</loc><lastmod>2026-01-01</lastmod></{tag}>" for url in urls)
    return f"{HEAD}<{root} {NS}>{entries}</{root}>".encode()


def test_sitemaps_name_pages_or_sitemaps():
    pages = ["http://example.com/a", "http://example.com/茶"]
    assert read_sitemap(urlset(*pages), SITE, 10_000) == (pages, [])
    assert read_sitemap(gzip.compress(urlset(*pages)), SITE, 10_000) == (pages, [])
    assert read_sitemap("\n".join(pages).encode(), SITE, 10_000) == (pages, [])
    assert read_sitemap(urlset("/b.xml", tag="sitemap", root="sitemapindex"), SITE, 10_000) == (
        [],
        ["http://example.com/b.xml"],
    )
    assert read_sitemap(urlset("http://[x"), SITE, 10_000).pages == ["http://[x"]
    assert read_sitemap(urlset(*pages)[:-30], SITE, 10_000).pages[:1] == pages[:1]


@pytest.mark.parametrize(
    "body",
    [b"", b"\0\xff", b"<html><body>404</body></html>", b"<urlset", b"\x1f\x8b and no more", b"{}"],
)
def test_what_is_no_sitemap(body):
    try:
        assert read_sitemap(body, SITE, 10_000) == ([], [])
    except ValueError as error:
        assert str(error)  # noqa: PT017 - either is fine, nothing else is


def test_a_sitemap_is_bounded():
    bomb = gzip.compress(urlset(*["http://example.com/"] * 10_000))
    with pytest.raises(ValueError, match="maximum"):
        read_sitemap(bomb, SITE, 100_000)
    many = urlset(*(f"http://example.com/{number}" for number in range(MAX_URLS + 10)))
    assert len(read_sitemap(many, SITE, 1 << 30).pages) == MAX_URLS


def test_entities_of_a_sitemap_are_not_resolved(tmp_path):
    (tmp_path / "secret").write_text("http://example.com/secret")
    laughs = f'{HEAD}<!DOCTYPE u [<!ENTITY a SYSTEM "{(tmp_path / "secret").as_uri()}">]>'
    body = (
        laughs + f"<urlset {NS}><url><loc>&a;</loc></url><url><loc>http://example.com/b</loc></url></urlset>"
    )
    assert read_sitemap(body.encode(), SITE, 10_000).pages == ["http://example.com/b"]


# -- the journal --------------------------------------------------------------------------------


@pytest.mark.parametrize("torn", [b'{"uri": "c", "bo', b"no JSON\n", b"\0\0\0\0\n", b"7\n", b'{"uri": "c"}'])
def test_a_torn_line_is_cut_off_and_what_was_before_it_stays(tmp_path, torn):
    path = tmp_path / "journal"
    entries = [{"uri": "a", "n": 1}, {"uri": "茶", "n": 2}]
    first = Journal(path, "job")
    for entry in entries:
        first.add(entry)
    with path.open("ab") as file:
        file.write(torn)
    again = Journal(path, "job")
    assert again.get("茶") == entries[1]
    assert "c" not in again
    assert again.get("c") is None
    again.add({"uri": "d"})
    again.add({"referrers": {}})
    assert again.get("a") == entries[0]
    assert list(read(path)) == [*entries, {"uri": "d"}, {"referrers": {}}]


def test_a_journal_of_another_job_is_emptied(tmp_path):
    Journal(tmp_path / "journal", "one").add({"uri": "a"})
    assert "a" not in Journal(tmp_path / "journal", "two")
    assert "a" not in Journal(tmp_path / "journal", "one")


# -- waiting ------------------------------------------------------------------------------------


def test_retry_after_in_seconds_or_as_a_date():
    assert retry_after(b"120") == 120
    assert retry_after(b"9" * 400) < 10**12
    assert retry_after(format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True).encode()) == 0
    later = retry_after(format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True).encode())
    assert 3500 < later <= 3600


@given(st.binary(max_size=40))
def test_any_retry_after_is_read_or_ignored(header):
    asked = retry_after(header)
    assert asked is None or asked >= 0
    assert 0 <= backoff(3, asked, 60) <= 60


def test_waits_double_up_to_the_limit():
    assert [backoff(attempt, None, 5) for attempt in range(4)] == [1, 2, 4, 5]
    assert backoff(10**6, None, 60) == 60
    assert backoff(0, 3600, 60) == 60


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on only when somebody sleeps."""
    now = [100.0]

    async def sleep(seconds):
        now[0] += seconds

    monkeypatch.setattr(_host, "monotonic", lambda: now[0])
    monkeypatch.setattr(_host.asyncio, "sleep", sleep)
    return now


def test_a_host_is_asked_at_its_pace_and_after_its_pauses(clock):
    async def turns():
        host, times = Host(delay=0.5, concurrency=2), []
        for pause in (0, 0, 7, 0):
            await host.turn()
            times.append(clock[0])
            host.pause(pause)
        await host.turn()
        return [*times, clock[0]]

    assert asyncio.run(turns()) == [100, 100.5, 101, 108, 108.5]


@pytest.mark.parametrize(("asked", "delay"), [("3", 3), ("0.1", 1), ("1e9", MAX_CRAWL_DELAY), ("soon", 1)])
def test_robots_txt_may_ask_for_a_longer_delay(tmp_path, asked, delay):
    journal, previous = (Journal(tmp_path / name, "job") for name in "ab")
    robots = "http://example.com/robots.txt"
    rules = f"User-agent: *\nCrawl-delay: {asked}\nDisallow: /secret\n"
    journal.add({"uri": robots, "reason": "robots_txt", "noted": {}, "rules": rules})
    spider = CrawlSpider(["http://example.com/"], Crawl(delay=1), journal, previous)

    async def read_rules():
        return await spider._rules_for("http://example.com/page"), spider._host(robots).delay

    found, delay_now = asyncio.run(read_rules())
    assert delay_now == delay
    assert not found.robots.can_fetch("http://example.com/secret", "curation-dagster")
