import gzip
import json
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curation.errors import RunFailed
from curation.progress import listen
from curation.schemas import columns
from curation.settings import Crawl, Source
from curation.verdicts import conservation
from resources import crawler

HTML = "text/html; charset=utf-8"
ANSWER_SLOW = threading.Event()


def page(*links: str) -> str:
    return "<html><body><p>茶</p>" + "".join(f'<a href="{link}">x</a>' for link in links) + "</body></html>"


class Site(BaseHTTPRequestHandler):
    """A small site with all that goes wrong on large ones."""

    def do_GET(self) -> None:
        pages: dict[str, tuple[int, dict[str, str], bytes]] = {
            "/robots.txt": (200, {"Content-Type": "text/plain"}, b"User-agent: *\nDisallow: /secret"),
            "/": (200, {"Content-Type": HTML}, page("b.html#top", "/a.html", "b.html", "/secret/x", "/big", "/bomb", "/pdf", "/lying", "/gone", "/moved", "/away", "/inside", "/loop", "/ring", "mailto:a@example.com", "http://elsewhere.example/").encode()),
            "/a.html": (200, {"Content-Type": HTML}, page("/deep/1").encode()),
            "/b.html": (200, {"Content-Type": "text/html"}, '<meta charset="gb2312"><p>龙井</p>'.encode("gb18030")),
            "/big": (200, {"Content-Type": HTML}, b"x" * 50_000),
            "/bomb": (200, {"Content-Type": HTML, "Content-Encoding": "gzip"}, gzip.compress(b"x" * 5_000_000)),
            "/pdf": (200, {"Content-Type": "application/pdf"}, b"%PDF-1.4"),
            "/lying": (200, {"Content-Type": HTML}, b"%PDF-1.4 says that it is HTML"),
            "/moved": (301, {"Location": "/a.html"}, b""),
            "/away": (302, {"Location": "http://elsewhere.example/page"}, b""),
            "/inside": (302, {"Location": "file:///etc/passwd"}, b""),
            "/loop": (302, {"Location": "/loop"}, b""),
            "/ring": (302, {"Location": "/ring2"}, b""),
            "/ring2": (302, {"Location": "/ring"}, b""),
            "/deep/1": (200, {"Content-Type": HTML}, page("/deep/2").encode()),
        }  # fmt: skip
        if self.path == "/slow":
            ANSWER_SLOW.wait(60)  # until the tests are over
        status, headers, body = pages.get(self.path, (404, {"Content-Type": HTML}, b"nothing"))
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with the usual 5, a burst of connections waits a second

    def handle_error(self, *_: object) -> None:
        """The crawler hangs up on pages that are too large or too slow; that is no news."""


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    server = Server(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    ANSWER_SLOW.set()
    server.shutdown()
    server.server_close()


def crawl(*urls: str, **settings: Any) -> pl.DataFrame:
    given = Crawl(
        **{
            "delay": 0,
            "retries": 0,
            "timeout": 60,
            "max_bytes": 20_000,
            "allow_private_addresses": True,
            **settings,
        }
    )
    source = Source(name="site", role="document", kind="web", urls=urls, crawl=given)  # type: ignore[call-arg]
    with tempfile.TemporaryDirectory() as folder:
        return crawler.crawl(source, "site", Path(folder) / "work")


@pytest.fixture(scope="module")
def crawled(base: str) -> tuple[pl.DataFrame, list[int]]:
    heard: list[int] = []
    with listen(lambda what, done, total: heard.append(done)):
        return crawl(f"{base}/", max_depth=2), heard


@pytest.fixture(scope="module")
def row(crawled: tuple[pl.DataFrame, list[int]], base: str) -> Callable[[str], dict[str, Any]]:
    rows = {one["uri"].removeprefix(base): one for one in crawled[0].iter_rows(named=True)}
    return lambda path: rows[path] | {"noted": json.loads(rows[path]["evidence"])}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/", None),
        ("/robots.txt", "robots_txt"),
        ("/a.html", None),
        ("/b.html", None),
        ("/secret/x", "robots_forbidden"),
        ("/big", "fetch_failed"),
        ("/bomb", "fetch_failed"),
        ("/pdf", "not_text"),
        ("/lying", "not_text"),
        ("/gone", "http_error"),
        ("/moved", "redirected"),
        ("/away", "redirected"),
        ("http://elsewhere.example/page", "off_site"),
        ("file:///etc/passwd", "address_forbidden"),
        ("/loop", "redirect_loop"),
        ("/ring", "redirect_loop"),
        ("/ring2", "redirect_loop"),
        ("/deep/1", None),
        ("/deep/2", "over_crawl_budget"),
    ],
)
def test_every_url_has_its_row_and_reason(
    row: Callable[[str], dict[str, Any]], path: str, reason: str | None
) -> None:
    assert row(path)["reason"] == reason
    assert (row(path)["body"] is None) == (reason is not None)


def test_the_table_is_whole_and_sorted(crawled: tuple[pl.DataFrame, list[int]]) -> None:
    frame, heard = crawled
    assert frame.columns == [name for name in columns("raw_crawl") if name != "run_id"]
    assert frame["uri"].is_sorted()
    assert conservation("source", None, frame.lazy()).ok
    assert "http://elsewhere.example/" not in frame["uri"]
    assert heard == list(range(1, len(heard) + 1))


def test_what_is_noted_of_a_page(row: Callable[[str], dict[str, Any]], base: str) -> None:
    assert (row("/b.html")["charset"], row("/a.html")["charset"]) == ("gb2312", "utf-8")
    assert row("/b.html")["body"].decode("gb18030").endswith("龙井</p>")
    assert (row("/gone")["status"], row("/secret/x")["status"]) == (404, None)
    assert row("/moved")["noted"]["target"] == f"{base}/a.html"
    assert row("/a.html")["noted"] | {"bytes": 0} == {"depth": 1, "bytes": 0, "found_on": f"{base}/"}
    assert row("/")["fetched_at"].endswith("+00:00")


def test_a_page_that_takes_too_long_has_failed(base: str) -> None:
    (row,) = crawl(f"{base}/slow", timeout=1, obey_robots=False, sitemaps=False).iter_rows(named=True)
    assert row["reason"] == "fetch_failed"
    assert "Timeout" in json.loads(row["evidence"])["error"]


def test_the_page_budget_takes_the_first_in_the_alphabet_whatever_comes_back_first(base: str) -> None:
    frame = crawl(f"{base}/", max_pages=4)
    fetched = frame.filter(pl.col("reason").is_null() | (pl.col("reason") != "over_crawl_budget"))["uri"]
    assert [uri.removeprefix(base) for uri in fetched] == [
        "/",
        "/a.html",
        "/away",
        "/b.html",
        "/robots.txt",
        "http://elsewhere.example/page",
    ]


def test_private_addresses_are_refused_by_number_and_by_name(base: str) -> None:
    port = base.rpartition(":")[2]
    frame = crawl(
        f"{base}/a.html",
        f"http://localhost:{port}/",
        "ftp://example.com/",
        f"http://2130706433:{port}/",
        f"http://0177.0.0.1:{port}/",
        f"http://[::ffff:127.0.0.1]:{port}/",
        "http://[no-address/",
        allow_private_addresses=False,
    )
    asked = frame.filter(~pl.col("uri").str.ends_with("robots.txt"))
    assert asked.height == 7
    assert frame["reason"].unique().to_list() == ["address_forbidden"]
    named = frame.filter(pl.col("uri").str.contains("localhost"))[0, "evidence"]
    assert json.loads(named)["address"] == "127.0.0.1"


def test_a_crawler_that_breaks_down_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nread job; echo 'no such module' >&2; exit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(RunFailed, match="source site: the crawler broke down: no such module"):
        crawl("http://127.0.0.1:9/")
