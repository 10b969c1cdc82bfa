"""The demo, whole: the website is served and crawled, and the graph runs to the final files.

One run is shared by all tests of this module; what they read is its lake.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

import assets
from assets.stage import STAGES
from curation_dagster.checks import check_schema, count
from resources.lake import Lake

ROOT = Path(__file__).resolve().parent.parent
WORLD = ROOT / "examples" / "world"
PORT = 8808


class Demo:
    """A lake that the demo was run into, and the commands on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lake = Lake(root=str(folder / "lake"))
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "CURATION"))
        }

    def command(self, *words: str, serve: bool = False) -> subprocess.CompletedProcess:
        own = [
            sys.executable,
            "-m",
            "curation_dagster.cli",
            *words,
            "--profile",
            str(ROOT / "profiles" / "demo.yaml"),
            "--set",
            f"lake={self.lake.root}",
        ]
        server = [sys.executable, "-m", "examples.serve", "--port", str(PORT), "--while"] if serve else []
        return subprocess.run(
            [*server, *own],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    def json(self, *words: str, serve: bool = False):
        done = self.command(*words, "--json", serve=serve)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def all_rows(self, table: str) -> pl.DataFrame:
        return self.lake.scan(table, kept=False).collect()


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Demo:
    made = Demo(tmp_path_factory.mktemp("demo"))
    done = made.command("run", serve=True)
    assert done.returncode == 0, done.stdout + done.stderr
    made.said = done.stdout
    return made


@pytest.fixture(scope="module")
def labels() -> pl.DataFrame:
    """The planted defects by the id of the sample."""
    return pl.read_ndjson(WORLD / "sft_labels.jsonl", infer_schema_length=None)


def test_the_funnel_and_the_outputs_are_printed(demo):
    assert "The funnel" in demo.said
    assert "sft_set" in demo.said
    for file in (demo.folder / "lake" / "exports").rglob("*.jsonl"):
        assert str(file) in demo.said.replace("\n", "")


def test_every_table_conserves_its_rows_and_fits_its_schema(demo):
    assets.load()
    for name, stage in STAGES.items():
        assert demo.all_rows(name).height > 0, name
        assert count(stage, demo.lake).ok, name
        assert check_schema(stage, demo.lake).passed, name


def test_a_second_run_recomputes_nothing(demo):
    started = time.monotonic()
    again = demo.json("run")
    assert again["made"] == []
    assert again["runs"] == []
    assert time.monotonic() - started < 60


def test_a_changed_budget_reruns_only_the_selection_and_what_follows(demo):
    planned = {one["asset"] for one in demo.json("plan", "--set", "selection.budget=60")["stale"]}
    assert "sft_set" in planned
    below = {
        "sft_set",
        "sft_files",
        "rm_files",
        "ppo_files",
        "dataset_card",
        "selection_report",
        "strategy_comparison",
        "review_queue",
        "clusters",
    }
    assert planned <= below


def test_no_planted_defect_of_the_sure_kinds_is_chosen(demo, labels):
    pool = demo.all_rows("sft_pool").select("record_id", "native_id")
    chosen = demo.lake.scan("sft_set").select("record_id").collect().join(pool, on="record_id")
    assert chosen.height == 120
    joined = labels.join(chosen, left_on="id", right_on="native_id", how="left").with_columns(
        taken=pl.col("record_id").is_not_null()
    )
    taken = dict(joined.group_by("defect").agg(pl.col("taken").sum()).iter_rows())
    planted = dict(labels.group_by("defect").len().iter_rows())
    for kind in ("empty", "html_boilerplate", "benchmark_leak"):
        assert taken[kind] == 0, kind
    for kind in ("answer_swap", "truncated", "repetition"):
        assert taken[kind] <= 0.05 * planted[kind], kind
    # of two duplicates one may be chosen, whichever it is
    chosen_ids = set(chosen["native_id"])
    for row in labels.filter(pl.col("defect").is_in(["exact_dup", "near_dup"])).iter_rows(named=True):
        assert not {row["id"], row["of"]} <= chosen_ids, row


def test_every_trap_of_the_website_is_in_the_tables_with_its_reason(demo):
    traps = json.loads((WORLD / "traps.json").read_text(encoding="utf-8"))
    last = {}
    for table in ("raw_crawl", "clean_docs", "unique_docs"):
        uris = demo.all_rows("raw_crawl").select("record_id", "uri")
        for row in (
            demo.all_rows(table)
            .select("record_id", "reason")
            .join(uris, on="record_id")
            .iter_rows(named=True)
        ):
            last.setdefault(row["uri"], []).append(row["reason"])
    for url, expected in traps_by_url(traps).items():
        assert url in last, f"{url} left no row"
        assert set(last[url]) & set(expected), (url, last[url], expected)


def traps_by_url(traps) -> dict[str, list]:
    """Expected reasons (None: kept) of each planted page."""
    base = f"http://127.0.0.1:{PORT}"
    return {base + trap["url"]: trap["expect"] for trap in traps}


def why(demo, target: str):
    started = time.monotonic()
    found = demo.json("why", target)
    # the bound is 3 s on an idle machine; tests may run beside others
    assert time.monotonic() - started < 15
    return found


def test_why_a_selected_sample(demo):
    record = demo.lake.scan("sft_set").select("record_id").head(1).collect().item()
    steps = {step["table"]: step for step in why(demo, record)["steps"]}
    assert {"sft_pool", "scores", "clusters", "sft_set", "sft_files"} <= set(steps)
    assert steps["sft_set"]["verdict"] == "kept"
    assert 0 < steps["sft_set"]["evidence"]["inclusion_probability"] <= 1


def test_why_a_dropped_near_duplicate(demo):
    row = demo.all_rows("unique_docs").filter(pl.col("reason") == "near_duplicate_of").row(0, named=True)
    found = why(demo, row["record_id"])
    step = next(step for step in found["steps"] if step["table"] == "unique_docs")
    assert step["evidence"]["similarity"] >= step["evidence"]["limits"]["similarity"]
    assert found["others"][row["duplicate_of"]]


def test_why_a_page_that_robots_txt_forbids(demo):
    row = demo.all_rows("raw_crawl").filter(pl.col("reason") == "robots_forbidden").row(0, named=True)
    found = why(demo, row["uri"])
    assert found["steps"][0]["reason"] == "robots_forbidden"


def test_why_an_unreadable_line(demo):
    row = demo.all_rows("raw_crawl").filter(pl.col("reason") == "unreadable_line").row(0, named=True)
    step = why(demo, row["record_id"])["steps"][0]
    assert step["verdict"] == "quarantined"
    assert step["evidence"]["error"]


def test_why_a_sample_that_lost_by_the_budget(demo):
    row = demo.all_rows("sft_set").filter(pl.col("reason") == "over_budget").row(0, named=True)
    step = next(step for step in why(demo, row["record_id"])["steps"] if step["table"] == "sft_set")
    assert step["evidence"]["limits"]["budget"] == 120


def test_why_by_text_and_what_matches_nothing(demo):
    text = (
        demo.lake.scan("clean_docs")
        .select(pl.col("text").str.slice(0, 30))
        .head(1)
        .collect()
        .item()
        .split("\n")[0]
    )
    done = demo.command("why", text)
    assert text[:10] in done.stdout
    nothing = demo.command("why", "这句话在任何地方都不存在")
    assert nothing.returncode == 2
    assert "no record matches" in nothing.stderr
    assert "Traceback" not in nothing.stderr


def test_from_an_empty_lake_the_final_set_comes_out_byte_identical(demo, tmp_path):
    other = Demo(tmp_path)
    done = other.command("run", "--select", "+sft_set", serve=True)
    assert done.returncode == 0, done.stderr
    first, second = (one.lake.path("sft_set").read_bytes() for one in (demo, other))
    assert first == second
