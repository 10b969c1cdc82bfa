"""The comparison: paired over seeds, nothing held out is trained on, and no claim beyond the intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from curation import schemas
from curation.audit import comparison
from curation.settings import AuditSettings, SelectionSettings

SETTINGS = AuditSettings(strategies=("default", "longest"), comparison_seeds=3, comparison_heldout=10)


def _pool(n: int = 60) -> tuple[pl.DataFrame, np.ndarray]:
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "record_id": [f"{i:032x}" for i in range(n)],
            "prompt": [f"问{i}" for i in range(n)],
            "answer": ["答" * int(k) for k in random.integers(1, 40, n)],
            "quality": random.random(n),
            "cluster": pl.Series(random.integers(0, 4, n), dtype=pl.Int32),
            "to_neighbours": random.random(n),
            "covers": random.integers(0, 9, n),
        }
    )
    return frame, random.normal(size=(n, 8)).astype(np.float32)


def test_strategies_are_trained_on_what_is_not_held_out() -> None:
    frame, vectors = _pool()
    seen: list[tuple[frozenset[str], frozenset[str], int]] = []

    def train(prompts: Sequence[str], answers: Sequence[str], heldout_prompts: Sequence[str], heldout_answers: Sequence[str], seed: int) -> tuple[float, int]:  # fmt: skip
        assert len(prompts) == len(answers) == 12
        assert len(heldout_prompts) == len(heldout_answers) == 10
        assert not set(prompts) & set(heldout_prompts)
        seen.append((frozenset(prompts), frozenset(heldout_prompts), seed))
        return 4 - np.mean([len(answer) for answer in answers]) / 100, 500

    rows = comparison.compare_strategies(
        frame, vectors, train, SETTINGS, SelectionSettings(budget=12), seed=7
    )
    schemas.conform("strategy_comparison", rows.with_columns(run_id=pl.lit("0" * 32)))
    assert rows.select("strategy", "seed").rows() == [
        (s, 7 + n) for n in range(3) for s in ("default", "longest", "random")
    ]
    for number in range(3):
        of_seed = seen[3 * number : 3 * number + 3]
        assert len({held for _, held, _ in of_seed}) == 1
        assert {seed for _, _, seed in of_seed} == {7 + number}
        assert len({chosen for chosen, _, _ in of_seed}) == 3
    means = dict(rows.group_by("strategy").agg(pl.col("heldout_loss").mean()).iter_rows())
    assert min(means, key=lambda name: means[name]) == "longest"


def test_near_copies_of_held_out_samples_leave_the_pool() -> None:
    unit = comparison.strategies.exact_unit(
        np.repeat(np.random.default_rng(0).normal(size=(20, 6)), 2, axis=0)
    )
    held, free = comparison._split(unit, 8, 0.95, seed=0)
    twin = np.arange(40) ^ 1
    assert held.sum() == 8
    assert not free[held].any()
    assert not free[twin[held]].any()


def test_nothing_is_compared_where_nothing_is_wanted_or_possible() -> None:
    frame, vectors = _pool()

    def train(*_: object) -> tuple[float, int]:
        raise AssertionError("must not train")

    none = SETTINGS.model_copy(update={"comparison_seeds": 0})
    assert comparison.compare_strategies(frame, vectors, train, none, SelectionSettings(), 0).height == 0
    small = comparison.compare_strategies(frame[:15], vectors[:15], train, SETTINGS, SelectionSettings(), 0)
    schemas.conform("strategy_comparison", small.with_columns(run_id=pl.lit("0" * 32)))
    assert small.height == 0
    assert "Nothing was compared" in comparison.verdict_sentence(small)


def test_interval_by_hand() -> None:
    mean, low, high = comparison.interval([1.0, 2.0, 3.0])
    assert mean == 2
    assert (low, high) == pytest.approx((2 - 4.30265 / math.sqrt(3), 2 + 4.30265 / math.sqrt(3)), abs=1e-4)
    assert comparison.interval([5.0])[0] == 5
    assert math.isnan(comparison.interval([5.0])[1])
    assert math.isnan(comparison.interval([])[0])


def _comparison(losses: dict[str, list[float]]) -> pl.DataFrame:
    rows = [
        {"strategy": name, "seed": seed, "heldout_loss": loss}
        for name, values in losses.items()
        for seed, loss in enumerate(values)
    ]
    return pl.DataFrame(rows)


def test_a_clear_difference_is_claimed_although_the_seeds_differ() -> None:
    said = comparison.verdict_sentence(_comparison({"default": [4.0, 5.0, 6.0], "random": [4.1, 5.11, 6.09]}))
    assert "better than random (-0.1000" in said
    assert "worse than random" in comparison.verdict_sentence(
        _comparison({"default": [4.1, 5.11, 6.09], "random": [4.0, 5.0, 6.0]})
    )


def test_an_unclear_difference_is_not_claimed() -> None:
    said = comparison.verdict_sentence(_comparison({"default": [4.0, 5.0, 6.0], "random": [4.3, 4.9, 6.1]}))
    assert "not distinguishable from random" in said
    assert "better" not in said
    one = comparison.verdict_sentence(_comparison({"default": [4.0], "random": [5.0]}))
    assert "no interval against random" in one
    assert "better" not in one


def test_chart_has_every_strategy_best_first() -> None:
    svg = comparison.comparison_svg(_comparison({"random": [5.0, 5.2], "default": [4.0, 4.1]}))
    assert svg.index(">default<") < svg.index(">random<")
    assert "4.0500" in svg
