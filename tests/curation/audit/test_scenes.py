"""Scenes: who belongs to which, what is wanted, and the measures of the worked example."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from curation import schemas
from curation.audit import measures, report
from curation.audit.scenes import scenes_of
from curation.settings import AuditSettings, Scene

TEA = {
    "泡茶": Scene(terms=("泡茶", "冲泡"), target=4, weight=3),
    "绘画": Scene(terms=("ART", "国画"), target=0.5),
    "编程": Scene(terms=("python",)),
}


def _pool() -> pl.DataFrame:
    prompts = ["泡茶用什么水？", "学习Art的方法", "party 怎么办", "冲泡国画茶", None, "绿茶如何冲泡？"]
    return pl.DataFrame(
        {
            "prompt": prompts,
            "cluster": pl.Series([0, 0, 1, 1, 2, 0], dtype=pl.Int32),
            "verb_object": ["写 诗", "写 诗", None, "解释 概念", "写 信", "解释 概念"],
        }
    )


def test_terms_decide_who_belongs() -> None:
    scenes = scenes_of(_pool(), TEA)
    everything, first = np.ones(6, dtype=bool), np.arange(6) < 3
    assert scenes.counts(everything).tolist() == [3, 2, 0]
    assert scenes.counts(first).tolist() == [1, 1, 0]
    assert scenes.outside(everything) == pytest.approx(2 / 6)
    assert scenes.outside(first) == pytest.approx(1 / 3)
    assert scenes.targets(6, 4 / 6).tolist() == pytest.approx([4, 3, 6 * 4 / 6 / 3])


def test_scenes_are_induced() -> None:
    everything = np.ones(6, dtype=bool)
    clusters = scenes_of(_pool(), "clusters")
    assert dict(zip(clusters.names, clusters.counts(everything), strict=True)) == {"0": 3, "1": 2, "2": 1}
    assert clusters.targets(3, 1.0).tolist() == [1, 1, 1]
    verbs = scenes_of(_pool(), "verbs")
    assert dict(zip(verbs.names, verbs.counts(everything), strict=True)) == {"写 诗": 2, "解释 概念": 2}
    assert verbs.outside(everything) == pytest.approx(2 / 6)
    untagged = _pool().with_columns(verb_object=pl.lit(None, dtype=pl.String))
    assert scenes_of(untagged, "verbs").names == []


@pytest.mark.parametrize("scenes", [{}, {"a": {"terms": ["x"], "weight": 0}}, {"a": {"terms": []}}, "words"])
def test_a_taxonomy_without_scenes_is_refused(scenes: object) -> None:
    with pytest.raises(ValidationError):
        AuditSettings.model_validate({"scenes": scenes})


def _measured(taxonomy: object, rows: int = 100) -> pl.DataFrame:
    """The worked example a thousand times smaller: five scenes, 10, 8, 6, 5 and no samples chosen of 20 each."""
    random = np.random.default_rng(0)
    scene = np.arange(rows) // 20
    pool = pl.DataFrame(
        {
            "record_id": [f"{i:032x}" for i in range(rows)],
            "cluster": pl.Series(scene, dtype=pl.Int32),
            "to_neighbours": np.full(rows, 0.5),
            "quality": random.random(rows),
            "prompt": [f"场景{'甲乙丙丁戊'[i]}的问题" for i in scene],
            "answer": ["回答"] * rows,
            "verb_object": pl.Series([None] * rows, dtype=pl.String),
        }
    )
    taken = [20 * place + i for place, count in enumerate((10, 8, 6, 5)) for i in range(count)]
    vectors = random.normal(size=(rows, 8)).astype(np.float32)
    found = measures.measure_selection(pool, vectors, pool["record_id"].gather(taken), 0, taxonomy)  # type: ignore[arg-type]
    schemas.conform("selection_report", found.with_columns(run_id=pl.lit("0" * 32)))
    return found


def test_the_worked_example_is_in_the_report() -> None:
    taxonomy = {f"场景{name}": Scene(terms=(f"场景{name}",), target=10) for name in "甲乙丙丁戊"}
    found = _measured(taxonomy)
    chosen = dict(found.select("measure", "selected").iter_rows())
    pool = dict(found.select("measure", "pool").iter_rows())
    assert chosen["scene_coverage"] == pytest.approx(0.8)
    assert chosen["sample_coverage"] == pytest.approx(0.58)
    assert chosen["sample_coverage_covered"] == pytest.approx(0.725)
    assert chosen["outside_scenes"] == 0
    assert pool["sample_coverage"] == 1
    assert [chosen[f"scene.场景{name}"] for name in "甲乙丙丁戊"] == [10, 8, 6, 5, 0]
    noted = json.loads(found.filter(pl.col("measure") == "scene.场景甲")["evidence"][0])
    assert (noted["target"], noted["weight"]) == (10, 1)
    assert report.scenes_svg(found).count("场景戊") >= 3


def test_without_scenes_there_is_no_coverage() -> None:
    found = _measured("verbs")
    of_scenes = found.filter(pl.col("measure").is_in(["scene_coverage", "sample_coverage"]))
    assert of_scenes["selected"].to_list() == [None, None]
    assert report.scenes_svg(found) == ""
    assert not _measured("clusters")["measure"].str.starts_with("scene.").any()
