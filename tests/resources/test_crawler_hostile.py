"""Servers that break the rules: each page gets its row, and the crawl goes on."""

import gzip
import socket
import struct
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import brotli
import pytest
from backports import zstd

from curation.verdicts import conservation

BOMB = bytes(30_000_000)
MAX_BYTES = 1_000_000


def hang(handler):
    handler.server.over.wait(60)


def reset(handler):
    """Send half of the body, then break the connection off."""
    answer = handler.server.answer(b"x" * 1000)
    handler.wfile.write(answer[:-500])
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def drip(handler):
    """A byte now and then, so that no time-out between two reads would ever fire."""
    handler.wfile.write(b"HTTP/1.1 200 So\r\nContent-Type: text/html\r\nContent-Length: 1000\r\n\r\n")
    while not handler.server.over.wait(0.1):
        handler.wfile.write(b"x")


def flood(line, first=b"HTTP/1.1 200 So\r\n"):
    def send(handler):
        handler.wfile.write(first)
        while not handler.server.over.is_set():
            handler.wfile.write(line * 100)

    return send


def endless(handler):
    handler.wfile.write(b"HTTP/1.1 200 So\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n")
    while not handler.server.over.is_set():
        handler.wfile.write(b"<p>" * 10_000)


@pytest.fixture
def crawled(site, crawl, rows):
    a, p = site.answer, site.page
    site.answers = {
        "/hang": hang,
        "/drip": drip,
        "/reset": reset,
        "/garbage": b"\x00\xff\xfe no HTTP at all\r\n\r\n" * 10,
        "/status": b"HTTP/1.1 abc\r\n\r\n",
        "/chunks": b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nFFFF\r\nab",
        "/length": b"HTTP/1.1 200 So\r\nContent-Length: -5\r\n\r\nabc",
        "/silent": b"",
        "/headers": flood(b"X-Name: " + b"v" * 100 + b"\r\n"),
        "/folded": flood(b" and so on and so on and so on\r\n", first=b"HTTP/1.1 200 So\r\nX-Name: v\r\n"),
        "/line": flood(b"v" * 1000),
        "/early": flood(b"HTTP/1.1 100 Go on\r\n\r\n", first=b""),
        "/endless": endless,
        "/gzip": a(gzip.compress(BOMB, 1), Content_Encoding="gzip"),
        "/gzip2": a(gzip.compress(gzip.compress(BOMB, 1)), Content_Encoding="gzip, gzip"),
        "/deflate": a(zlib.compress(BOMB, 1), Content_Encoding="deflate"),
        "/br": a(brotli.compress(BOMB, quality=1), Content_Encoding="br"),
        "/zstd": a(zstd.compress(BOMB), Content_Encoding="zstd"),
        "/liar": a(b"no gzip", Content_Encoding="gzip"),
        "/file": a(status=302, Location="file:///etc/passwd"),
        "/odd": a(status=302, Location="http://[no-address/"),
        "/long": a(status=302, Location="/" + "x" * 9_000),
        "/nested": a("<div>" * 10_000 + '<a href="/below">深</a>'),
        "/nul": a(b"<p>\0\0\0</p>"),
        "/good": p("/next"),
        "/next": p(),
    }
    frame = crawl(*site.answers, timeout=2, max_bytes=MAX_BYTES, host_concurrency=32, concurrency=32)
    assert conservation("source", None, frame.lazy()).ok
    assert frame["uri"].is_unique().all()
    return rows(frame)


def test_every_trick_has_its_row_and_the_crawl_goes_on(site, crawled):
    kept = {path for path, row in crawled.items() if row["verdict"] == "kept"}
    assert {"/good", "/next", "/nested"} <= kept <= {"/good", "/next", "/nested", "/below"}
    redirected = {"/file", "/odd", "/long"}
    others = {"/robots.txt": "robots_txt", "/nul": "not_text"} | dict.fromkeys(redirected, "redirected")
    targets = {crawled[path]["noted"]["target"] for path in redirected}
    for path, row in crawled.items():
        if row["uri"] in targets:
            assert row["reason"] == "address_forbidden", path
        elif path not in kept and path != "/below":
            assert row["reason"] == others.get(path, "fetch_failed"), path
            assert path in others or row["noted"]["error"], path
    for path in ("/hang", "/drip"):
        assert "longer than 2" in crawled[path]["noted"]["error"]
    for path in ("/gzip", "/gzip2", "/deflate", "/br", "/zstd"):
        assert "decompress" in crawled[path]["noted"]["error"], path
    for path in ("/headers", "/folded", "/early"):
        assert "bytes of headers" in crawled[path]["noted"]["error"], path
    assert crawled["/endless"]["noted"]["limits"] == {"max_bytes": MAX_BYTES}
    assert "file:///etc/passwd" in crawled


@pytest.fixture
def busy(site):
    """A page that is refused so many times with a header, then given."""

    def page(times, status=503, **headers):
        left = iter(range(times))

        def send(handler):
            return site.answer(status=status, **headers) if next(left, None) is not None else site.page()

        return send

    return page


def test_a_busy_server_is_asked_again_after_a_while_that_is_bounded(site, crawl, rows, busy):
    tomorrow = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)
    site.answers = {
        "/soon": busy(2, 503, Retry_After="0"),
        "/late": busy(1, 429, Retry_After="86400"),
        "/tomorrow": busy(1, 503, Retry_After=tomorrow),
        "/odd": busy(1, 429, Retry_After="when we feel like it"),
        "/never": busy(100, 503, Retry_After="7"),
        "/error": busy(1, 500),
        "/gone": busy(1, 404),
    }
    found = rows(crawl(*site.answers, retries=2, max_backoff=0.05))
    for path in ("/soon", "/late", "/tomorrow", "/odd", "/error"):
        assert found[path]["verdict"] == "kept", path
    assert found["/never"]["reason"] == "http_error"
    assert found["/never"]["noted"]["retry_after"] == "7"
    assert [site.paths.count(path) for path in ("/soon", "/never", "/gone")] == [3, 3, 1]


def test_a_host_that_turns_all_away_is_left_alone(site, crawl, rows):
    paths = [f"/{number}" for number in range(20)]
    site.answers = dict.fromkeys(paths, site.answer(status=429))
    found = rows(crawl(*paths, host_concurrency=1))
    assert len(site.paths) == 5
    assert sum(row["reason"] == "http_error" for row in found.values()) == 5
    left = [row for row in found.values() if row["reason"] == "fetch_failed"]
    assert len(left) == 15
    assert "turned away 5 pages" in left[0]["noted"]["error"]


def test_what_cannot_be_read_of_robots_txt(site, serve, crawl, rows):
    answers = {
        "garbage": (site.answer(b"nothing to see\xff\x00 here"), None),
        "missing": (site.answer(status=404), None),
        "down": (site.answer(status=503), "fetch_failed"),
        "hangs": (hang, "fetch_failed"),
        "inside": (site.answer(status=302, Location="http://127.0.0.2:1/robots.txt"), "fetch_failed"),
        "file": (site.answer(status=302, Location="file:///etc/passwd"), None),
    }
    hosts = {name: serve() for name in answers}
    for name, host in hosts.items():
        host.answers = {"/robots.txt": answers[name][0], "/": host.page()}
    found = rows(crawl(*(host.base + "/" for host in hosts.values()), timeout=1))
    for name, host in hosts.items():
        row = found[host.base + "/"]
        assert row["reason"] == answers[name][1], name
        assert host.base + "/robots.txt" in found
        if row["reason"]:
            assert row["noted"]["error"].startswith("robots.txt: ")
            assert host.paths == []
