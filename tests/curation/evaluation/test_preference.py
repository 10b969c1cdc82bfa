"""The figures of preference and quality, and folders that are measured from end to end."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from curation.errors import UserError
from curation.evaluation import evaluate, preference, quality
from curation.evaluation.intervals import interval
from curation.settings import Profile

PROFILE = Profile(name="test", lake="lake", sources=())
CITIES = ("北京", "上海", "广州", "成都", "西安", "杭州", "南京", "昆明", "青岛", "厦门")
THINGS = {"饮食": ("小吃", "早点", "茶楼"), "游览": ("公园", "博物馆", "老街")}


def write(folder: Path, stem: str, rows: Iterable[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    with gzip.open(folder / f"{stem}.jsonl.gz", "wt", encoding="utf-8") as handle:
        handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return folder


def good(city: str, thing: str) -> str:
    return f"{city}的{thing}很多。1. 老城里最多。2. 例如东门一带。"


def bad(city: str, thing: str) -> str:
    return f"很抱歉，我不清楚，可能没有办法告诉您，请谅解。{'您可以问别的问题。' * (len(city + thing) % 3)}"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [
        {"prompt": f"{city}有哪些{thing}？", "chosen": good(city, thing), "rejected": bad(city, thing), "human": True, "lang": "zh", "kind": f"test_{subject}"}
        for city in CITIES for subject, things in THINGS.items() for thing in things
    ]  # fmt: skip
    return write(tmp_path / "preference", "chosen_rejected", rows)


def test_the_figures_by_hand() -> None:
    rows = pl.DataFrame(
        {
            "prompt": ["问一", "问一", "问二", "ask"],
            "chosen": ["长长长", "短", "长长", "same"],
            "rejected": ["短", "长长长", "短", "some"],
            "kind": ["a", "a", "b", "c"],
            "lang": ["zh", "zh", "zh", "en"],
            "human": [True, True, True, True],
        }
    )
    found = preference.figures(rows, np.array([0.3, 0.2, -1.0, 0.0]), 1)
    assert found["accuracy.a.zh"] == 1.0
    assert found["longer.a.zh"] == 0.5
    assert found["accuracy.b.zh"] == 0.0
    assert found["longer.c.en"] == found["accuracy.c.en"] == 0.5
    assert found["accuracy.human_zh"] == pytest.approx(2 / 3)
    assert found["gain.human_zh"] == pytest.approx(0.0)
    assert (found["accuracy.human_zh.low"], found["accuracy.human_zh.high"]) == (0.0, 1.0)


def test_the_interval_redraws_whole_groups() -> None:
    """Twenty rows of ten groups that agree within: as wide as of ten rows, not as of twenty."""
    values = np.repeat([0.0, 1.0] * 5, 2)
    groups = pl.Series(np.repeat(np.arange(10), 2))
    wide = interval(groups, lambda rows: float(values[rows].mean()), 3)
    narrow = interval(pl.Series(range(20)), lambda rows: float(values[rows].mean()), 3)
    assert wide == pytest.approx((0.2, 0.8), abs=0.11)
    assert wide[1] - wide[0] > 1.2 * (narrow[1] - narrow[0])


def test_preference_is_cross_validated(pairs: Path) -> None:
    found = evaluate("preference", pairs, PROFILE)["metrics"]
    assert found["accuracy.human_zh"] > 0.95
    assert found["gain.human_zh"] == pytest.approx(found["accuracy.human_zh"] - found["longer.human_zh"])
    assert evaluate("preference", pairs, PROFILE, train=pairs)["metrics"] == found


def test_questions_that_are_measured_are_not_learned_from(pairs: Path, tmp_path: Path) -> None:
    rows = preference.read_pairs(pairs)
    assert (
        preference.without(rows, pl.Series([rows["prompt"][0].replace("？", " ?")])).height == len(rows) - 1
    )
    mirrored = write(tmp_path / "mirrored", "chosen_rejected", [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows.iter_rows(named=True)])  # fmt: skip
    with pytest.raises(UserError, match="0 pairs are too few"):
        evaluate("preference", mirrored, PROFILE, train=pairs)


def test_quality_learns_from_other_subjects_only(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    rows = [
        {"instruction": f"{city}有哪些{thing}？", "output": make(city, thing), "human_score": score, "subject": subject}
        for city in CITIES[:5] for subject, things in THINGS.items() for thing in things
        for make, score in ((good, 1.0), (bad, 0.2), (lambda city, thing: good(city, thing)[:12], 0.6))
    ]  # fmt: skip
    folder = write(tmp_path / "quality", "human_scores_zh", rows)
    kinds: list[set[str]] = []

    def learn(frame: pl.DataFrame, seed: int) -> Any:
        kinds.append(set(frame["kind"]))
        return preference.learn(frame, seed)

    monkeypatch.setattr(quality, "learn", learn)
    found = quality.evaluate_quality(folder, PROFILE, train=pairs)
    assert sorted(map(sorted, kinds)) == [["test_游览"], ["test_饮食"]]
    assert found["spearman"] > 0.4
    assert found["within_question"] > 0.4
    assert found["spearman.low"] <= found["spearman"] <= found["spearman.high"]
