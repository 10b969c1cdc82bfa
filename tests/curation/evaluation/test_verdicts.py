"""The figures of verdicts, by hand and on a folder whose files are kept apart."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation.errors import UserError
from curation.evaluation import evaluate
from curation.evaluation.verdicts import figures, stratified_auc
from curation.settings import LanguageModelSettings, Profile, ScoreSettings, ScoresProfile

SMALL = LanguageModelSettings(vocabulary=300, hidden=16, layers=1, heads=2, max_steps=3)
PROFILE = Profile(
    name="test",
    lake="lake",
    sources=(),
    scores=ScoresProfile(language_model=SMALL, quality=ScoreSettings(made_up=20, folds=2)),
)
CITIES = ("北京", "上海", "广州", "成都", "西安", "杭州", "南京", "昆明", "青岛", "厦门")


def write(folder: Path, files: tuple[str, ...]) -> Path:
    folder.mkdir()
    rows = []
    for number, (city, file) in enumerate((city, file) for city in CITIES for file in files):
        for thing in ("小吃", "公园", "老街"):
            row = {"input": "", "proofread_file": file, "verdict": "kept"}
            answer = f"{city}的{thing}很多，第{number}条街上最多，当地人常去，外地人也喜欢。"
            rows.append({**row, "instruction": f"{city}有哪些{thing}？", "output": answer})
        spelling = f"单词“word{number}”怎么拼写？"
        rows.append({**row, "instruction": spelling, "output": "必要的", "verdict": "removed"})
        rows.append(
            {**row, "instruction": f"改正语法错误：{city}。", "output": f"{city}。", "verdict": "edited"}
        )
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_pairs_are_compared_within_their_file() -> None:
    score = np.array([0.9, 0.5, 0.4, 0.1])  # one file is scored higher as a whole
    bad = np.array([False, True, False, True])
    assert stratified_auc(score, bad, ~bad, np.array([0, 0, 1, 1])) == 1.0
    assert stratified_auc(score, bad, ~bad, np.zeros(4)) == 0.75
    assert stratified_auc(np.ones(4), bad, ~bad, np.zeros(4)) == 0.5


def test_the_figures_by_hand() -> None:
    rows = pl.DataFrame(
        {
            "prompt": [f"问题{number}" for number in range(5)],
            "verdict": ["kept", "kept", "removed", "edited", "edited"],
        }
    )
    found = figures(rows, np.array([0.9, 0.4, 0.5, 0.1, 0.95]), np.zeros(5), 1)
    assert found["auc.removed"] == 0.5
    assert found["auc.edited"] == 0.5
    assert (found["removed"], found["edited"], found["kept"]) == (1, 2, 2)


def test_halves_of_the_files_judge_each_other(tmp_path: Path) -> None:
    folder = write(tmp_path / "rows", ("一", "二"))
    found = evaluate("verdicts", folder, PROFILE, train=folder)["metrics"]
    assert found["auc.removed"] > 0.95
    assert found["auc.edited"] > 0.9
    assert {"auc.removed.half0", "auc.removed.half1"} <= set(found)
    other = write(tmp_path / "other", ("三",))
    assert evaluate("verdicts", write(tmp_path / "one", ("一",)), PROFILE)["metrics"]["kept"] == 30
    with pytest.raises(UserError, match="too few"):
        evaluate("verdicts", other, PROFILE, train=write(tmp_path / "same", ("四",)))


def test_one_file_cannot_be_split(tmp_path: Path) -> None:
    folder = write(tmp_path / "rows", ("一",))
    with pytest.raises(UserError, match="one file only"):
        evaluate("verdicts", folder, PROFILE, train=folder)
