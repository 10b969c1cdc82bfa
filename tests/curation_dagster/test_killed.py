"""A run that is killed in the middle of deduplication, and the run after it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from curation_dagster import plan, runner
from curation_dagster.build import build_defs, build_resources

ROOT = Path(__file__).resolve().parents[2]
TABLES = ("raw_crawl", "clean_docs", "signatures")
#: Runs `curation` and kills itself at the n-th call of a function.
KILLED = """
import importlib, os, signal, sys
module, name, left = importlib.import_module(sys.argv[1]), sys.argv[2], int(sys.argv[3])
method = getattr(module, name)

def killed(*arguments, **options):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return method(*arguments, **options)

setattr(module, name, killed)
sys.argv[1:] = ["run", "--profile", sys.argv[4], "--select", "+unique_docs"]
from curation_dagster.cli import main
main()
"""


_SENTENCES = (
    "茶园在山坡上。",
    "清晨有薄雾，人们背着竹篓上山。",
    "新叶要当天炒制，香气才留得住。",
    "老人说水要烧开，杯子要先温一温。",
    "集市每逢三六九开张。",
    "孩子们在桥边钓鱼。",
    "邮差每周来两次，带来城里的消息。",
)


def text(shard: int, row: int) -> str:
    """Sentences in an order of its own; the last row of a shard is nearly the first of the one before."""
    if row == 3:
        return text(max(shard - 1, 0), 0) + "后来又添了一句。"
    order = [(3 * shard + row + step * (row + 1)) % len(_SENTENCES) for step in range(6)]
    return f"第{shard}篇第{row}段。" + "".join(_SENTENCES[place] for place in order)


def bring_up_to_date(profile: Path) -> int:
    """Run the stages up to `unique_docs` in this process; how many tables and shards were made."""
    resources = build_resources(str(profile), [])
    with dg.DagsterInstance.from_config(str(runner.home(resources["lake"]))) as instance:
        done = runner.bring_up_to_date(
            build_defs(str(profile), []),
            instance,
            resources["profile"].load(),
            resources["lake"],
            resources["reviews"],
            plan.select(["+unique_docs"]),
        )
    os.environ.pop("DAGSTER_HOME", None)
    return len(done.made)


def tables(folder: Path) -> dict[str, bytes]:
    """Content of every file of the lake's tables."""
    files = sorted(file for name in TABLES for file in (folder / "lake").glob(f"{name}*/**/*.parquet"))
    files += sorted((folder / "lake").glob("*.parquet"))
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder with three files, and the lake `calm` that was made from them undisturbed."""
    os.environ.pop("DAGSTER_HOME", None)
    folder = tmp_path_factory.mktemp("world")
    (folder / "data").mkdir()
    for shard in range(3):
        lines = [json.dumps({"text": text(shard, row)}, ensure_ascii=False) for row in range(4)]
        (folder / "data" / f"{shard}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    bring_up_to_date(profile(folder / "calm"))
    return folder


def profile(folder: Path) -> Path:
    """A profile with a lake of its own, on the files that all share."""
    folder.mkdir()
    file = folder / "profile.yaml"
    file.write_text("lake: lake\nsources: [{name: files, role: document, kind: jsonl, path: ../data}]\n")
    return file


@pytest.mark.parametrize(
    ("name", "call", "made_before"),
    [
        ("signatures", 2, 7),  # in the second of three shards
        ("jaccard", 1, 9),  # while candidates are verified
    ],
)
def test_a_run_after_a_kill_ends_in_the_same_tables(world, name, call, made_before) -> None:
    own = profile(world / name)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DAGSTER")}
    command = [sys.executable, "-c", KILLED, "curation.corpus.minhash", name, str(call), str(own)]
    killed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert len(tables(own.parent)) == made_before
    assert bring_up_to_date(own) == 10 - made_before
    assert tables(own.parent) == tables(world / "calm")
    judged = pl.read_parquet(own.parent / "lake" / "unique_docs.parquet")
    assert judged["duplicate_of"].count() == 3
