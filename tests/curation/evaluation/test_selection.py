"""The figures of `curation evaluate selection`, by hand and on a pool made up of tables."""

import numpy as np
import polars as pl
import pytest

from curation.evaluation import selection
from curation.selection import clusters
from curation.selection.geometry import exact_unit
from curation.settings import Profile, SelectionSettings

N = 80


@pytest.fixture
def tables() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, np.ndarray, pl.DataFrame]:
    random = np.random.default_rng(0)
    ids = [f"{i:032x}" for i in range(N)]
    answers = [f"第{i}个问题的答案是{i * i}。" for i in range(N)]
    sound = pl.DataFrame(
        {
            "record_id": ids,
            "shard": "a",
            "source": "s",
            "language": "zh",
            "task": None,
            "prompt": [f"第{i}个问题的答案是什么？" for i in range(N)],
            "answer": answers,
            "messages": [[{"role": "assistant", "content": answer}] for answer in answers],
        },
        schema_overrides={"task": pl.String},
    )
    scores = {
        name: random.uniform(0.1, 0.9, N) for name in ("quality", "ppl", "ifd", "ifd_ppl", "entropy", "noise")
    }
    points = random.normal(size=(N, 12)).astype(np.float32)
    table = clusters.cluster_samples(sound["record_id"], points, sound["prompt"], SelectionSettings(), 0)
    truth = pl.DataFrame(
        {
            "id": [f"s{i}" for i in range(N)],
            "record_id": ids,
            "defect": ["truncated", "near_dup", "near_dup", *[None] * (N - 3)],
            "of": [None, "s5", "gone", *[None] * (N - 3)],
        }
    )
    return sound, pl.DataFrame({"record_id": ids, **scores}), table, points, truth


def test_a_copy_is_a_defect_only_beside_its_original(tables: tuple) -> None:
    sound, scored, table, points, truth = tables
    rows = selection.strategies.join_pool(scored, sound, table).sort("record_id")
    study = selection._Study(rows, exact_unit(points), truth)
    chosen = np.zeros(N, dtype=bool)
    chosen[[0, 1, 2, 7]] = True
    found = study.measure(chosen)
    assert found["defect_share"] == 0.25
    assert found["labelled_share"] == 0.75
    assert found["labelled_dup_pairs"] == 0
    chosen[5] = True
    assert study.measure(chosen)["defect_share"] == pytest.approx(2 / 5)
    assert study.measure(chosen)["labelled_dup_pairs"] == 1
    everything = study.measure(np.ones(N, dtype=bool))
    assert everything["coverage"] == 1
    assert everything["clusters"] == rows["cluster"].n_unique()


def test_every_strategy_has_its_figures(tables: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "BUDGET", 20)
    monkeypatch.setattr(selection, "SEEDS", 3)
    found = selection.figures(*tables, Profile(name="test", lake="lake", sources=()))
    names = {name.split(".")[1] for name in found if name.startswith("coverage.")}
    assert names == set(selection.strategies.STRATEGIES) - {"mix"}
    assert all(found[f"chosen.{name}"] == 20 for name in names)
    assert found["labelled_share.pool"] == pytest.approx(3 / N)
    for name in ("default", "random"):
        assert found[f"vendi.{name}.low"] <= found[f"vendi.{name}"] <= found[f"vendi.{name}.high"]
