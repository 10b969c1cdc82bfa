"""The registry of tasks: every task can be loaded, and takes the options that its function names."""

import inspect
import json
from pathlib import Path

import polars as pl
import pytest

from curation.errors import UserError
from curation.evaluation import TASKS, evaluate
from curation.evaluation.reading import read_lines, read_table
from curation.settings import Profile

PROFILE = Profile(name="test", lake="lake", sources=())


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_a_function_of_a_folder_and_a_profile(task: str) -> None:
    parameters = inspect.signature(TASKS[task].load()).parameters
    assert list(parameters)[:2] == ["folder", "profile"]
    assert set(list(parameters)[2:]) <= {
        "baselines",
        "reviews",
        "rounds",
        "train",
        "plot",
        "seeds",
        "whole",
        "journal",
    }
    json.dumps(TASKS[task].settings(PROFILE))
    assert set(TASKS[task].settings(PROFILE)) == set(TASKS[task].sections)


def test_an_option_that_a_task_has_no_use_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="evaluate recall: does not take --train; allowed: --baselines"):
        evaluate("recall", tmp_path, PROFILE, train=tmp_path)
    with pytest.raises(UserError, match="nowhere: no such folder"):
        evaluate("recall", tmp_path / "nowhere", PROFILE)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no pool\.parquet"):
        read_table(tmp_path, "pool", [])
    (tmp_path / "pool.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(UserError, match=r"pool\.parquet: cannot be read"):
        read_table(tmp_path, "pool", [])
    pl.DataFrame({"id": ["a"]}).write_parquet(tmp_path / "pool.parquet")
    with pytest.raises(UserError, match="lacks the column text"):
        read_table(tmp_path, "pool", ["id", "text"])
    with pytest.raises(UserError, match="has neither"):
        read_lines(tmp_path, "labels", [])
    (tmp_path / "labels.jsonl.gz").write_bytes(b"not gzipped")
    with pytest.raises(UserError, match=r"labels\.jsonl\.gz: cannot be read"):
        read_lines(tmp_path, "labels", [])
