"""A crawl that is repeated fetches only what changed; one that was killed goes on where it stopped."""

import gzip
import os
import signal
import subprocess
import sys
import threading
import time

import polars as pl
import pytest

from curation.schemas import empty
from resources import crawler
from resources.lake import data_versions


def steady(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.drop("fetched_at")


def version(frame: pl.DataFrame) -> str:
    return data_versions(frame.with_columns(run_id=pl.lit("x")))[0]


def conditional(site, body, **tags):
    """A page that is sent only if it is not the one that the client has."""

    def send(handler):
        known = {"If-None-Match": tags.get("ETag"), "If-Modified-Since": tags.get("Last_Modified")}
        same = any(value and handler.headers.get(name) == value for name, value in known.items())
        return site.answer(status=304, **tags) if same else site.answer(body, **tags)

    return send


def link(path):
    return f'<html><body><p>茶叶</p><a href="{path}">下一页</a></body></html>'


def test_a_repeated_crawl_fetches_only_what_changed(site, crawl, rows):
    modified = "Sat, 21 Nov 2026 10:00:00 GMT"
    site.answers = {
        "/": conditional(site, link("/a"), ETag='"v1"'),
        "/a": conditional(site, link("/b"), Last_Modified=modified),
        "/b": site.answer(link("/c")),
        "/c": conditional(site, link("/d"), ETag='W/"c1"', Last_Modified=modified),
    }
    first = crawl("/")
    assert rows(first)["/c"]["noted"]["etag"] == 'W/"c1"'
    assert rows(first)["/a"]["noted"]["last_modified"] == modified
    site.asked.clear()
    second = crawl("/", previous=first)
    asked = dict(site.asked)
    assert asked["/"]["If-None-Match"] == '"v1"'
    assert asked["/a"]["If-Modified-Since"] == modified
    assert not {"If-None-Match", "If-Modified-Since"} & asked["/b"].keys()
    before, after = rows(first), rows(second)
    assert before.keys() == after.keys()  # links of unchanged pages were followed
    for path, is_same in {"/": True, "/a": True, "/b": False, "/c": True}.items():
        assert after[path]["noted"].get("unchanged", False) is is_same, path
        for name in ("body", "status", "media_type", "charset", "verdict"):
            assert after[path][name] == before[path][name], (path, name)
    assert (after["/"]["noted"]["etag"], after["/"]["noted"]["bytes"]) == ('"v1"', len(after["/"]["body"]))
    assert version(second) == version(first)  # so that nothing below is made anew

    site.answers["/c"] = conditional(site, link("/e"), ETag='"c2"')
    third = crawl("/", previous=second)
    assert set(rows(third)) == set(rows(first)) - {"/d"} | {"/e"}
    assert "unchanged" not in rows(third)["/c"]["noted"]
    assert rows(third)["/"]["noted"]["unchanged"]
    assert version(third) != version(second)


def test_a_304_that_nobody_asked_for_is_an_error(site, crawl, rows):
    site.answers = {"/": site.answer(status=304)}
    assert rows(crawl("/"))["/"]["reason"] == "http_error"


GATES = ("/15", "/23")


@pytest.fixture
def tree(site):
    """A site of pages that link to each other; the gates answer only when they may."""
    site.reached = {path: threading.Event() for path in GATES}
    site.opened = {path: threading.Event() for path in GATES}

    def gate(handler):
        site.reached[handler.path].set()
        site.opened[handler.path].wait(60)
        return site.page("/16", "/17")

    site.answers = {
        f"/{number}": site.page(f"/{2 * number}", f"/{2 * number + 1}", "/gone", "http://elsewhere.example/")
        for number in range(1, 30)
    }
    site.answers |= dict.fromkeys(GATES, gate) | {"/6": site.answer(status=302, Location="/12")}
    yield site
    for one in site.opened.values():
        one.set()


SCRIPT = """
import sys
from pathlib import Path
from curation.settings import Source
from curation.schemas import empty
from resources import crawler
crawler.crawl(Source.model_validate_json(sys.argv[1]), "site", Path(sys.argv[2]))
"""


def crawl_and_kill(site, folder, gate, kill, **settings):
    """Crawl in a process of its own and kill it at a gate. Returns the URLs that it had done."""
    before = len(site.asked)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, site.source("/1", **settings).model_dump_json(), str(folder)],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        start_new_session=True,
    )
    journal = folder / "journal.jsonl"
    assert site.reached[gate].wait(60)
    deadline = time.monotonic() + 60  # until others of its wave are done
    while time.monotonic() < deadline and len(site.asked) < before + 4:
        time.sleep(0.02)
    kill(process.pid, signal.SIGKILL)
    process.wait()
    site.opened[gate].set()
    return {entry["uri"] for entry in crawler._journal.read(journal) if "uri" in entry}


def test_a_killed_crawl_goes_on_and_ends_in_the_same_table(tree, crawl, tmp_path):
    folder, settings = tmp_path / "work", {"max_depth": 6, "host_concurrency": 2}
    first = crawl_and_kill(tree, folder, "/15", os.killpg, **settings)
    with (folder / "journal.jsonl").open("ab") as file:
        file.write(b'{"uri": "' + tree.base.encode() + b'/15", "rea')
    asked_first = [tree.base + path for path, _ in tree.asked]
    # the second time the crawler itself is not killed: it ends when nobody is there to listen to it
    second = crawl_and_kill(tree, folder, "/23", os.kill, **settings)
    asked_second = [tree.base + path for path, _ in tree.asked[len(asked_first) :]]
    resumed = crawl("/1", folder=folder, **settings)
    asked_third = [tree.base + path for path, _ in tree.asked[len(asked_first) + len(asked_second) :]]

    assert tree.base + "/robots.txt" in first < second
    assert len(first) >= 8
    assert not set(asked_second) & first
    assert not set(asked_third) & second
    assert {tree.base + "/15", tree.base + "/23"} <= {*asked_second, *asked_third}
    assert steady(resumed).equals(steady(crawl("/1", **settings)))
    assert resumed.height > 40
    crawler.forget(folder)
    assert not folder.exists()


def test_a_journal_serves_its_own_job_only_and_not_for_ever(site, crawl, tmp_path):
    site.answers = {"/": site.page("/a"), "/a": site.page()}
    first = crawl("/", folder=tmp_path / "work")
    assert (site.paths, len(site.asked)) == (["/", "/a"], 3)
    # killed after the last page, before the table was written
    assert crawl("/", folder=tmp_path / "work").equals(first)
    assert len(site.asked) == 3
    # killed after the table was written, before the journal was removed
    crawl("/", folder=tmp_path / "work", previous=first)
    assert len(site.asked) == 6
    old = time.time() - 3700
    os.utime(tmp_path / "work" / "journal.jsonl", (old, old))
    crawl("/", folder=tmp_path / "work", previous=first, refresh_hours=1)
    assert len(site.asked) == 9


def test_a_job_is_its_urls_its_settings_and_the_crawl_before(site):
    none = empty("raw_crawl").lazy()
    one = crawler._job(site.source("/"), none)
    assert crawler._job(site.source("/", refresh_hours=5), none) == one
    later = pl.LazyFrame({"fetched_at": ["2026-01-01T00:00:00+00:00"]})
    others = {
        crawler._job(site.source("/", "/a"), none),
        crawler._job(site.source("/", max_depth=3), none),
        crawler._job(site.source("/"), later),
    }
    assert len(others | {one}) == 4


def test_sitemaps_are_read_and_named_pages_fetched(site, crawl, rows):
    def named(root, tag, *paths):
        locs = "".join(f"<{tag}><loc>{site.base}{path}</loc></{tag}>" for path in paths)
        return f'<{root} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{locs}</{root}>'

    site.answers = {
        "/robots.txt": site.answer(
            f"User-agent: *\nDisallow: /secret\nSitemap: {site.base}/index.xml\nSitemap: /bomb.xml.gz\nSitemap: http://elsewhere.example/s.xml\n",
            kind="text/plain",
        ),
        "/index.xml": site.answer(named("sitemapindex", "sitemap", "/one.xml.gz", "/gone.xml", "/index.xml"), kind="application/xml"),
        "/one.xml.gz": site.answer(gzip.compress(named("urlset", "url", "/orphan", "/secret/x").encode()), kind="application/gzip"),
        "/bomb.xml.gz": site.answer(gzip.compress(b" " * 30_000_000), kind="application/gzip"),
        "/": site.page(),
        "/orphan": site.page("/child"),
        "/child": site.page(),
        "/start.xml": site.answer(named("urlset", "url", "/other")),
        "/other": site.page(),
    }  # fmt: skip
    found = rows(crawl("/", "/start.xml", max_bytes=1_000_000))
    assert {path: row["reason"] for path, row in found.items()} == {
        "/": None,
        "/robots.txt": "robots_txt",
        "/index.xml": "sitemap",
        "/one.xml.gz": "sitemap",
        "/gone.xml": "http_error",
        "/bomb.xml.gz": "fetch_failed",
        "/orphan": None,
        "/child": None,
        "/secret/x": "robots_forbidden",
        "/start.xml": "sitemap",
        "/other": None,
        "http://elsewhere.example/s.xml": "off_site",
    }
    assert found["/orphan"]["noted"]["found_on"] == f"{site.base}/one.xml.gz"
    assert found["/one.xml.gz"]["noted"]["pages"] == 2
    assert "maximum" in found["/bomb.xml.gz"]["noted"]["error"]

    site.asked.clear()
    without = rows(crawl("/", sitemaps=False))
    assert set(without) == {"/", "/robots.txt"}


def test_only_so_many_requests_to_one_host_are_under_way(site, crawl):
    under_way, most, lock = 0, 0, threading.Lock()
    together = threading.Barrier(3)

    def page(handler):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        together.wait(30)
        with lock:
            under_way -= 1
        return site.page()

    paths = [f"/{number}" for number in range(12)]
    site.answers = dict.fromkeys(paths, page)
    assert crawl(*paths, host_concurrency=3, concurrency=16)["reason"].null_count() == 12
    assert most == 3
