"""Websites crawled into records.

Belongs here: running a crawl, the folder that it works in, and the table made of what it found. Does
not belong here: fetching (`_spider`, a process of its own) or taking pages apart (`curation.corpus`).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from curation import schemas
from curation.errors import RunFailed
from curation.progress import report
from curation.records import digest, record_id
from curation.settings import Source
from curation.verdicts import REASONS
from resources import _journal

_PROJECT = Path(__file__).resolve().parent.parent
#: Seconds to wait for a crawler that another, killed process left behind; it ends by itself.
_WAIT = 10.0
_JOURNAL, _PREVIOUS = "journal.jsonl", "previous.jsonl"
#: How the evidence of a page names its version, by which the server can be asked whether it changed.
_TAGS = ("etag", "last_modified")
_COLUMNS = ("media_type", "charset", "status", "body", "fetched_at")


def crawl(source: Source, shard_key: str, folder: Path, previous: pl.LazyFrame | None = None) -> pl.DataFrame:
    """Crawl a website: the table `raw_crawl` without `run_id`, sorted by URL.

    One row for every URL that was tried or refused, a link off the site excepted. A page that
    redirects has a row of its own, beside that of its target. The evidence tells the depth, the
    bytes, the target or the error, and the page (the first in the alphabet) that led there.

    Parameters
    ----------
    folder
        Where the crawl is journalled. What a killed crawl of the same job left there is not fetched
        again. Empty it (`forget`) once the table is written.
    previous
        Kept rows of the crawl before this one. The server is asked whether these pages changed (by
        their ETag and Last-Modified); if not, the row keeps the body, with `unchanged` in its evidence.

    Raises
    ------
    RunFailed
        The crawler itself broke down, or another one is at work in the folder; a page that cannot be
        fetched is a row.
    """
    with _at_work(source, folder) as lock:
        previous = schemas.empty("raw_crawl").lazy() if previous is None else previous
        job = _job(source, previous)
        _forget_if_stale(source, folder)
        _write_previous(folder / _PREVIOUS, job, previous)
        said = _run(source, folder, job, lock)
        rows: list[dict[str, Any]] = []
        referrers: dict[str, str] | None = None  # the last entry: without it the crawl is not complete
        for entry in _journal.read(folder / _JOURNAL) if (folder / _JOURNAL).exists() else ():
            referrers = entry.get("referrers")
            if referrers is None:
                body = b64decode(entry["body"]) if "body" in entry else None
                rows.append(
                    {name: entry.get(name) for name in ("uri", "reason", "noted", *_COLUMNS)} | {"body": body}
                )
    if referrers is None:
        raise RunFailed(f"source {source.name}: the crawler broke down: {said}")
    return _frame(source.name, shard_key, sorted(rows, key=lambda row: row["uri"]), referrers)


def forget(folder: Path) -> None:
    """Remove what a crawl left in its folder."""
    shutil.rmtree(folder, ignore_errors=True)


# -- the folder ---------------------------------------------------------------------------------


@contextmanager
def _at_work(source: Source, folder: Path) -> Iterator[int]:
    """Hold the folder, so that no two crawls write into one journal. Yields the file of the lock, which
    the spider holds too: it may live on for a moment when we are killed."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        give_up = time.monotonic() + _WAIT
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise RunFailed(f"source {source.name}: another crawl of it is under way") from None
                time.sleep(0.1)
        yield lock.fileno()


def _job(source: Source, previous: pl.LazyFrame) -> str:
    """What a journal is good for: these URLs and settings, and the crawl after the previous one."""
    settings = source.crawl.model_dump_json(exclude={"refresh_hours"})
    crawled_at = previous.select(pl.col("fetched_at").max()).collect().item()
    return digest(*source.urls, settings, str(crawled_at))


def _forget_if_stale(source: Source, folder: Path) -> None:
    """Drop a journal that is older than pages may become."""
    hours, journal = source.crawl.refresh_hours, folder / _JOURNAL
    if hours is not None and journal.exists() and time.time() - journal.stat().st_mtime > hours * 3600:
        journal.unlink()


def _write_previous(path: Path, job: str, previous: pl.LazyFrame) -> None:
    """Lay the pages that the server can be asked about where the spider looks them up."""
    told = [pl.col("evidence").str.contains(f'"{key}":', literal=True) for key in _TAGS]
    before = previous.filter(pl.any_horizontal(told) & pl.col("body").is_not_null())
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    journal = _journal.Journal(temporary, job)
    for row in before.select("uri", "evidence", *_COLUMNS).collect().iter_rows(named=True):
        noted = orjson.loads(row.pop("evidence"))
        tags = {key: noted.get(key) for key in _TAGS}
        journal.add(row | tags | {"body": b64encode(row["body"]).decode()})
    os.replace(temporary, path)


# -- the process --------------------------------------------------------------------------------


def _run(source: Source, folder: Path, job: str, lock: int) -> str:
    """Run the spider until it is done, passing on its progress. Returns the last thing it said."""
    asked = {"urls": source.urls, "crawl": source.crawl.model_dump(), "folder": str(folder), "job": job}
    paths = [str(_PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [sys.executable, "-m", "resources._spider"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            pass_fds=(lock,),
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with suppress(BrokenPipeError):  # it broke down at once; what it said is told below
                process.stdin.write(orjson.dumps(asked) + b"\n")
                process.stdin.flush()  # and left open: the spider ends when it is closed
            for line in process.stdout:
                report("crawl", int(line))
        except BaseException:
            process.kill()
            raise
        status = process.wait()
        errors.seek(0)
        return errors.read().decode("utf-8", "replace").strip().rpartition("\n")[2] or f"exit status {status}"


# -- the table ----------------------------------------------------------------------------------


def _frame(
    source: str, shard_key: str, rows: list[dict[str, Any]], referrers: Mapping[str, str]
) -> pl.DataFrame:
    targets = {row["uri"]: row["noted"]["target"] for row in rows if row["reason"] == "redirected"}
    endless = {uri for uri in targets if _is_endless(uri, targets)}
    table = []
    for row in rows:
        uri = row["uri"]
        reason = "redirect_loop" if uri in endless else row["reason"]
        noted = row["noted"] | ({"found_on": referrers[uri]} if uri in referrers else {})
        table.append(
            {
                "record_id": record_id(source, uri, 0),
                "source": source,
                "uri": uri,
                "shard": shard_key,
                "position": 0,
                "native_id": None,
                "title": None,
                **{name: row[name] for name in _COLUMNS},
                "verdict": REASONS[reason].verdict if reason else "kept",
                "reason": reason,
                "evidence": orjson.dumps(noted, option=orjson.OPT_SORT_KEYS).decode(),
            }
        )
    types = {name: dtype for name, dtype in schemas.columns("raw_crawl").items() if name != "run_id"}
    return pl.DataFrame(table, schema=types, orient="row").select(list(types))


def _is_endless(uri: str, targets: Mapping[str, str]) -> bool:
    """Whether the redirects from a page lead round in a circle."""
    passed: set[str] = set()
    while uri in targets and uri not in passed:
        passed.add(uri)
        uri = targets[uri]
    return uri in passed
