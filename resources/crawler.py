"""Websites crawled into records.

Belongs here: running a crawl and the table made of what it found. Does not belong here: fetching
(`_spider`, a process of its own) or taking pages apart (`curation.corpus`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from curation import schemas
from curation.errors import RunFailed
from curation.progress import report
from curation.records import record_id
from curation.settings import Source
from curation.verdicts import REASONS

_PROJECT = Path(__file__).resolve().parent.parent


def crawl(source: Source, shard_key: str) -> pl.DataFrame:
    """Crawl a website: the table `raw_crawl` without `run_id`, sorted by URL.

    One row for every URL that was tried or refused, a link off the site excepted. A page that
    redirects has a row of its own, beside that of its target. The evidence tells the depth, the
    bytes, the target or the error, and the page (the first in the alphabet) that led there.

    Raises
    ------
    RunFailed
        The crawler itself broke down; a page that cannot be fetched is a row.
    """
    with tempfile.TemporaryDirectory(prefix="crawl-") as folder:
        out = Path(folder) / "rows.jsonl"
        out.touch()
        said = _run(source, out)
        rows: list[dict[str, Any]] = []
        referrers: dict[str, str] | None = None  # the last line: without it the crawl is not complete
        with out.open("rb") as lines:
            for line in lines:
                row = orjson.loads(line)
                if "referrers" in row:
                    referrers = row["referrers"]
                else:
                    rows.append(row | {"body": b64decode(row["body"]) if "body" in row else None})
    if referrers is None:
        raise RunFailed(f"source {source.name}: the crawler broke down: {said}")
    return _frame(source.name, shard_key, sorted(rows, key=lambda row: row["uri"]), referrers)


def _run(source: Source, out: Path) -> str:
    """Run the spider until it is done, passing on its progress. Returns the last thing it said."""
    job = {"urls": source.urls, "crawl": source.crawl.model_dump(), "out": str(out)}
    paths = [str(_PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with (
        (out.parent / "errors.txt").open("w+b") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "resources._spider"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(orjson.dumps(job))
            process.stdin.close()
            for line in process.stdout:
                report("crawl", int(line))
        except BaseException:
            process.kill()
            raise
        status = process.wait()
        errors.seek(0)
        return errors.read().decode("utf-8", "replace").strip().rpartition("\n")[2] or f"exit status {status}"


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
                **{name: row.get(name) for name in ("media_type", "charset", "status", "body", "fetched_at")},
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
