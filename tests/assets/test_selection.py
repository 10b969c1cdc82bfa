"""The stages from the scores to the files: what was dropped shapes no cluster, what is repeated is counted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import assets
from assets.stage import STAGES, Run
from curation import schemas, verdicts
from curation.records import digest
from curation.settings import load_profile
from resources.lake import Lake

ROOT = Path(__file__).resolve().parents[2]
ROWS = 60
IDS = [digest(str(number)) for number in range(ROWS)]


@pytest.fixture
def run(tmp_path):
    assets.load()
    wanted = ['exports.resample={"by": "language", "shares": {"en": 0.5}}', "selection.clusters=3"]
    profile = load_profile(ROOT / "profiles" / "demo.yaml", wanted)
    return Run("r" * 32, 0, profile, Lake(root=str(tmp_path / "lake")), "test")


def frames() -> dict[str, pl.LazyFrame]:
    """A pool in which every fourth sample is far from the others."""
    random = np.random.default_rng(0)
    points = random.normal(size=(ROWS, 4)) + np.where(np.arange(ROWS)[:, None] % 4, 5, -20) * np.eye(4)[0]
    said = [{"role": "user", "content": "怎么泡茶？"}, {"role": "assistant", "content": "用热水。"}]
    pool = pl.DataFrame(
        {
            "record_id": IDS,
            "messages": pl.Series([said] * ROWS, dtype=schemas.Messages),
            "prompt": ["怎么泡茶？"] * ROWS,
            "answer": ["用热水。"] * ROWS,
            "source": ["甲"] * ROWS,
            "language": ["en" if number % 5 == 0 else "zh" for number in range(ROWS)],
            "task": ["qa"] * ROWS,
            "cluster": pl.Series([0] * ROWS, dtype=pl.Int32),
        }
    )
    vectors = pl.Series("vector", points.tolist(), dtype=pl.List(pl.Float32))
    return {
        "sft_pool": pool.drop("cluster").lazy(),
        "embeddings": pool.select("record_id").hstack([vectors]).lazy(),
        "sft_set": pool.select("record_id", "messages", "cluster").lazy(),
        "scores": pool.select("record_id").filter(np.arange(ROWS) % 4 != 0).lazy(),
    }


def made(name: str, inputs: dict[str, pl.LazyFrame], run: Run) -> pl.DataFrame:
    """The table of a stage, as it would be written."""
    table = STAGES[name].execute(None, inputs, run, {})
    return schemas.conform(name, table.with_columns(run_id=pl.lit(run.run_id)))


def test_what_the_scores_dropped_shapes_no_cluster(run):
    inputs = frames()
    table = made("clusters", inputs, run)
    assert STAGES["clusters"].relation.of == ("scores",)
    assert verdicts.conservation("judge", inputs["scores"], table.lazy()).ok
    alone = {**inputs, "embeddings": inputs["embeddings"].join(inputs["scores"], on="record_id", how="semi")}
    assert made("clusters", alone, run).equals(table)


def test_the_card_counts_lines_and_shows_the_resampling(run):
    inputs = frames()
    files = made("sft_files", inputs, run)
    assert verdicts.conservation("judge", inputs["sft_set"], files.lazy()).ok
    lines = (
        Path(str(run.lake.folder / "exports" / "sft.openai.jsonl")).read_text(encoding="utf-8").splitlines()
    )
    assert len(lines) == files["times"].sum() == ROWS
    assert {json.loads(line)["record_id"] for line in lines} < set(IDS)
    files.write_parquet(str(run.lake.path("sft_files")))
    table = made("dataset_card", {**inputs, "sft_files": files.filter(verdicts.KEPT).lazy()}, run)
    figures = dict(table.select("figure", "value").iter_rows())
    assert figures["before.language.en"] == ROWS / 5
    assert abs(figures["after.language.en"] - ROWS / 2) <= 1
    assert figures["lines.sft.openai.jsonl"] == ROWS
    assert figures["samples"] == (files["times"] > 0).sum()
    text = Path(str(run.lake.folder / "exports" / "README.md")).read_text(encoding="utf-8")
    assert "重采样 · Resampling" in text
