"""The figures of `curation evaluate neardup`, and a folder run from end to end."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation.errors import UserError
from curation.evaluation import evaluate
from curation.evaluation.neardup import auc_by_kind, spearman
from curation.settings import Profile

PROFILE = Profile(name="test", lake="lake", sources=())
QUESTIONS = ("竹篮怎么编才结实", "石磨多久要重新凿一次", "风筝的线用什么材料好", "陶罐开裂了还能不能补")


def test_auc_by_hand() -> None:
    rows = pl.DataFrame({"label": [1, 0, 1, 0, 0], "kind": ["a", "a", "a", "hard", None]})
    found = auc_by_kind("rows", rows, np.array([0.9, 0.5, 0.4, 0.7, 0.1]))
    assert found["auc.rows"] == pytest.approx(4 / 6)
    assert found["auc.rows.a"] == 0.5
    assert found["auc.rows.hard"] == 0.5  # against both that are the same
    assert auc_by_kind("rows", rows.filter(pl.col("label") == 0), np.zeros(3)) == {}


def test_rank_correlation() -> None:
    assert spearman(np.array([1.0, 2.0, 9.0]), np.array([0.0, 0.1, 0.2])) == pytest.approx(1.0)
    assert spearman(np.zeros(3), np.arange(3.0)) == 0.0


def folder(place: Path) -> Path:
    same = [(question, f"请问{question}？", 1) for question in QUESTIONS]
    other = [(question, QUESTIONS[number - 1], 0) for number, question in enumerate(QUESTIONS)]
    tables = {
        "pairs": [{"a": a, "b": b, "label": label, "kind": "shop"} for a, b, label in same + other],
        "sft_pairs": [
            {"a": f"{a}\n先说说{a[:2]}。", "b": f"{b}\n先说说{b[:2]}。", "label": label, "kind": "edit"}
            for a, b, label in same + other
        ],
        "sts_scores": [{"a": a, "b": b, "score": 5.0 * label} for a, b, label in same + other],
    }
    for stem, rows in tables.items():
        (place / f"{stem}.jsonl").write_text(
            "\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8"
        )
    return place


def test_a_folder(tmp_path: Path) -> None:
    result = evaluate("neardup", folder(tmp_path), PROFILE)
    metrics = result["metrics"]
    assert metrics["auc.sft_pairs"] == metrics["auc.sft_pairs.edit"] == metrics["whole.auc.sft_pairs"] == 1.0
    assert metrics["auc.pairs.shop"] == metrics["jaccard.auc.pairs.shop"] == 1.0
    assert metrics["spearman.sts"] > 0.8
    assert metrics["jaccard.spearman.sts"] > 0.8
    assert result["settings"]["pool.dedup"]["ngram"] == PROFILE.pool.dedup.ngram


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has neither sft_pairs"):
        evaluate("neardup", tmp_path, PROFILE)
    loaded = PROFILE.sample_encoder.model_copy(update={"kind": "transformers", "model": "some/model"})
    with pytest.raises(UserError, match=r"sample_encoder\.kind"):
        evaluate("neardup", tmp_path, PROFILE.model_copy(update={"sample_encoder": loaded}))
