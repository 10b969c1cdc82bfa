"""The figures of `curation evaluate defects`, and a folder run from end to end."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from curation.errors import UserError
from curation.evaluation.defects import evaluate_defects, figures
from curation.settings import LanguageModelSettings, Profile, ScoreSettings, ScoresProfile


def test_the_figures_by_hand() -> None:
    rows = pl.DataFrame(
        {
            "id": ["a", "b", "c", "d", "e", "f"],
            "defect": [None, None, None, "truncated", "truncated", "near_dup"],
            "of": [None, None, None, None, None, "c"],
            "reason": [None, "too_short", "near_duplicate_of", "truncated", None, None],
            "truncation": [0.1, 0.5, 0.2, 0.9, 0.3, 0.1],
            "match": [0.5] * 6,
        }
    )
    found = figures(rows)
    assert found["recall.truncated"] == 0.5
    assert found["auc.truncated"] == pytest.approx(5 / 6)
    assert found["recall.near_dup"] == 1.0  # its original went
    assert found["null_dropped"] == pytest.approx(1 / 3)  # and is not counted as lost
    assert found["defects_left"] == pytest.approx(1 / 3)
    assert found["kept_defect_share"] == pytest.approx(1 / 3)
    assert "auc.near_dup" not in found


def profile(**lm: object) -> Profile:
    small = LanguageModelSettings(
        **({"vocabulary": 300, "hidden": 16, "layers": 1, "heads": 2, "max_steps": 3} | lm)
    )
    return Profile(
        name="test",
        lake="lake",
        sources=(),
        scores=ScoresProfile(language_model=small, quality=ScoreSettings(made_up=20, folds=2)),
    )


def test_a_folder(tmp_path: Path, samples: list[tuple[str, str]]) -> None:
    rows = [
        {"id": f"s{n}", "instruction": prompt, "input": "", "output": answer}
        for n, (prompt, answer) in enumerate(samples)
    ]
    labels = [{"id": row["id"], "defect": None, "of": None} for row in rows]
    rows += [
        {"id": "x0", "instruction": "煮饺子要煮多久？", "input": "", "output": "略"},
        {**rows[0], "id": "x1"},
    ]
    labels += [{"id": "x0", "defect": "empty", "of": None}, {"id": "x1", "defect": "exact_dup", "of": "s0"}]
    for stem, table in (("data", rows), ("labels", labels)):
        with gzip.open(tmp_path / f"{stem}.jsonl.gz", "wt", encoding="utf-8") as handle:
            handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in table)
    question = {"id": "b0", "question": samples[1][0], "options": ["甲", "乙"]}
    (tmp_path / "benchmark.jsonl").write_text(json.dumps(question, ensure_ascii=False), encoding="utf-8")
    found = evaluate_defects(tmp_path, profile())
    assert found["recall.empty"] == found["recall.exact_dup"] == 1.0
    assert found["defects_left"] == 0.0
    assert 0 < found["null_dropped"] < 0.5  # the leak, and some of a pool too small to learn from


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data"):
        evaluate_defects(tmp_path, profile())
    with pytest.raises(UserError, match="language model"):
        evaluate_defects(tmp_path, profile(model="some/model"))


@pytest.fixture
def samples() -> list[tuple[str, str]]:
    things = ("竹子", "石榴", "风筝", "灯塔", "口琴", "雪橇", "沙漏", "陶罐", "蜂箱", "木筏", "铜镜", "棉被")
    uses = ("为什么受人喜欢", "是怎样做成的", "怎么保养才好", "有哪些传说")
    return [
        (
            f"{thing}{use}？",
            f"说到{thing}{use}，各地的讲法不一：{thing[0]}字开头的老话就有{number}句，{use[:2]}的道理也在其中。",
        )
        for number, (thing, use) in enumerate((thing, use) for thing in things for use in uses)
    ]
