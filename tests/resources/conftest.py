"""A web server on loopback that answers byte for byte what a test lays down, and stops by itself."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import polars as pl
import pytest

from curation.settings import Crawl, Source
from resources import crawler

HTML = "text/html; charset=utf-8"
Answer = bytes | Callable[["Handler"], bytes | None]


class Handler(BaseHTTPRequestHandler):
    """Writes the answer of a path, or calls it."""

    server: "Site"

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        answer = self.server.answers.get(self.path, Site.answer(b"nothing", 404))
        content = answer(self) if callable(answer) else answer
        if content is not None:
            self.wfile.write(content)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class Site(ThreadingHTTPServer):
    """Answers by path, and the requests that came, with their headers."""

    daemon_threads = True
    request_queue_size = 128  # with the usual 5, a burst of connections waits a second

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.over = threading.Event()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def paths(self) -> list[str]:
        """Paths that were asked for, robots.txt excepted."""
        return [path for path, _ in self.asked if path != "/robots.txt"]

    @staticmethod
    def answer(body: bytes | str = b"", status: int = 200, kind: str = HTML, **headers: str) -> bytes:
        """An answer as it goes over the line; in names of headers `_` stands for `-`."""
        body = body.encode() if isinstance(body, str) else body
        named = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        return f"HTTP/1.1 {status} So\r\n{head}\r\n".encode() + body

    @classmethod
    def page(cls, *links: str, **headers: str) -> bytes:
        """A page with links."""
        anchors = "".join(f'<a href="{link}">下一页</a>' for link in links)
        return cls.answer(f"<html><body><p>龙井茶</p>{anchors}</body></html>", **headers)

    def source(self, *paths: str, **settings: Any) -> Source:
        """A source of this site, to be crawled in a hurry."""
        hurry = {"delay": 0, "retries": 0, "timeout": 20, "allow_private_addresses": True, "max_backoff": 0}
        given = Crawl(**{**hurry, **settings})
        urls = tuple(self.base + path if path.startswith("/") else path for path in paths)
        return Source(name="site", role="document", kind="web", urls=urls, crawl=given)  # type: ignore[call-arg]

    def handle_error(self, *_: object) -> None:
        """The crawler hangs up on pages that are too large or too slow; that is no news."""


@pytest.fixture
def serve() -> Iterator[Callable[[], Site]]:
    """Start a site; each has a host of its own."""
    with ExitStack() as running:

        def start() -> Site:
            server = running.enter_context(Site())
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            running.callback(server.shutdown)
            running.callback(server.over.set)
            return server

        yield start


@pytest.fixture
def site(serve: Callable[[], Site]) -> Site:
    """A site."""
    return serve()


@pytest.fixture
def crawl(site: Site, tmp_path: Any) -> Callable[..., pl.DataFrame]:
    """Crawl paths of the site; without a folder or a previous crawl from scratch."""
    runs = iter(range(100))

    def run(
        *paths: str, folder: Any = None, previous: pl.DataFrame | None = None, **settings: Any
    ) -> pl.DataFrame:
        before = None if previous is None else previous.lazy()
        place = folder or tmp_path / f"crawl{next(runs)}"
        return crawler.crawl(site.source(*paths, **settings), "site", place, before)

    return run


@pytest.fixture
def rows(site: Site) -> Callable[[pl.DataFrame], dict[str, dict[str, Any]]]:
    """The rows of a table by path, with their evidence as `noted`."""
    import orjson

    return lambda frame: {
        row["uri"].removeprefix(site.base): row | {"noted": orjson.loads(row["evidence"])}
        for row in frame.iter_rows(named=True)
    }
