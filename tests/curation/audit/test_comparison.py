"""The comparison: paired over folds, nothing held out is trained on, and no claim beyond the intervals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation import schemas
from curation.audit import comparison
from curation.settings import AuditSettings, SelectionSettings

SETTINGS = AuditSettings(
    strategies=("default", "longest"), comparison_seeds=3, comparison_heldout=10, comparison_share=0.2
)
Texts = tuple[list[str], list[str]]


class Fake:
    """Trains nothing: the loss falls with the length of the answers, and is higher for every second sample."""

    workers, version = 1, "fake"

    def __init__(self) -> None:
        self.seen: list[tuple[Texts, Texts, int, int]] = []

    def tokens(self, prompts: list[str], answers: list[str]) -> np.ndarray:
        return np.array([len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)])

    def losses(self, chosen: Texts, heldout: Texts, tokens: int, seed: int) -> np.ndarray:
        self.seen.append((chosen, heldout, tokens, seed))
        level = 4 - np.mean([len(answer) for answer in chosen[1]]) / 100
        return np.array([level + int(prompt[1:]) % 2 for prompt in heldout[0]])


def _pool(n: int = 60, dropped: int = 0) -> tuple[pl.DataFrame, np.ndarray]:
    random = np.random.default_rng(0)
    kept = np.arange(n) >= dropped
    frame = pl.DataFrame(
        {
            "record_id": [f"{i:032x}" for i in range(n)],
            "prompt": [f"问{i}" for i in range(n)],
            "answer": ["答" * int(k) for k in random.integers(1, 40, n)],
            "quality": random.random(n),
            "cluster": pl.Series(random.integers(0, 4, n), dtype=pl.Int32),
            "to_neighbours": random.random(n),
            "covers": random.integers(0, 9, n),
            "kept": kept,
            "heldout": kept,
            "group": [f"{i % 2}" for i in range(n)],
            "duplicate_of": pl.Series([None] * n, dtype=pl.String),
        }
    )
    return frame, random.normal(size=(n, 8)).astype(np.float32)


def _compare(
    frame: pl.DataFrame, vectors: np.ndarray, trainer: Fake, settings: AuditSettings = SETTINGS, journal: Path | None = None
) -> pl.DataFrame:  # fmt: skip
    arms = comparison.arms_of(frame, settings)
    rows = comparison.compare_strategies(
        frame, vectors, trainer, arms, settings, SelectionSettings(), 7, journal
    )
    schemas.conform("strategy_comparison", rows.with_columns(run_id=pl.lit("0" * 32)))
    return rows


def test_strategies_are_trained_on_what_is_not_held_out() -> None:
    frame, vectors = _pool()
    trainer = Fake()
    rows = _compare(frame, vectors, trainer)
    assert rows.select("strategy", "seed").rows() == [
        (s, 7 + n) for n in range(3) for s in ("default", "longest", "random")
    ]
    budget = round(0.2 * int(trainer.tokens(frame["prompt"].to_list(), frame["answer"].to_list()).sum()))
    for number in range(3):
        of_fold = trainer.seen[3 * number : 3 * number + 3]
        assert len({tuple(heldout[0]) for _, heldout, _, _ in of_fold}) == 1
        assert {seed for *_, seed in of_fold} == {7 + number}
        assert len({frozenset(chosen[0]) for chosen, *_ in of_fold}) == 3
        for chosen, heldout, tokens, _ in of_fold:
            assert len(heldout[0]) == 10
            assert not set(chosen[0]) & set(heldout[0])
            assert tokens == budget
            assert 0.7 * budget <= trainer.tokens(*chosen).sum() <= budget
    means = dict(rows.group_by("strategy").agg(pl.col("heldout_loss").mean()).iter_rows())
    assert min(means, key=lambda name: means[name]) == "longest"


def test_losses_are_averaged_over_samples_and_over_groups() -> None:
    frame, vectors = _pool()
    trainer = Fake()
    row = _compare(frame, vectors, trainer).row(0, named=True)
    chosen, heldout, *_ = trainer.seen[0]
    losses = trainer.losses(chosen, heldout, 0, 0)
    odd = np.array([int(prompt[1:]) % 2 == 1 for prompt in heldout[0]])
    assert odd.sum() not in (0, 5, 10)  # else the two means are one
    assert row["heldout_loss"] == pytest.approx(losses.mean())
    assert row["group_loss"] == pytest.approx((losses[odd].mean() + losses[~odd].mean()) / 2)


def test_what_was_dropped_is_drawn_by_nobody_but_the_uncurated_arm() -> None:
    frame, vectors = _pool(dropped=25)
    settings = SETTINGS.model_copy(update={"comparison_whole": 1})
    trainer = Fake()
    rows = _compare(frame, vectors, trainer, settings)
    dropped = {f"问{i}" for i in range(25)}
    names = rows["strategy"].to_list()
    assert names.count("whole_pool") == 1
    names.sort(key=lambda name: name != "whole_pool")  # what takes longest is begun first
    for name, (chosen, heldout, tokens, _) in zip(names, trainer.seen, strict=True):
        assert bool(dropped & set(chosen[0])) == (name == "uncurated")
        assert not dropped & set(heldout[0])
        if name == "whole_pool":
            assert len(chosen[0]) == 60 - 25 - 10
            assert tokens == trainer.tokens(*chosen).sum()


def test_a_comparison_that_was_stopped_goes_on(tmp_path: Path) -> None:
    frame, vectors = _pool()
    journal = tmp_path / "trainings.jsonl"

    class Stopped(Fake):
        def losses(self, *given: object) -> np.ndarray:  # type: ignore[override]
            if len(self.seen) == 4:
                raise KeyboardInterrupt
            return super().losses(*given)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        _compare(frame, vectors, Stopped(), journal=journal)
    journal.write_bytes(journal.read_bytes()[:-9])  # the last line is cut off
    rest = Fake()
    rows = _compare(frame, vectors, rest, journal=journal)
    assert len(rest.seen) == 9 - 3
    assert rows.equals(_compare(frame, vectors, Fake()))
    assert rows.equals(_compare(frame, vectors, done := Fake(), journal=journal))
    assert not done.seen


def test_processes_change_nothing_but_the_time() -> None:
    class Two(Fake):
        workers = 2

    frame, vectors = _pool()
    settings = SETTINGS.model_copy(update={"comparison_whole": 1})
    assert _compare(frame, vectors, two := Two(), settings).equals(_compare(frame, vectors, Fake(), settings))
    assert not two.seen  # they were made elsewhere


def test_a_journal_of_other_trainings_is_not_taken_for_these(tmp_path: Path) -> None:
    class Other(Fake):
        version = "other"

    frame, vectors = _pool()
    _compare(frame, vectors, Fake(), journal=tmp_path / "trainings.jsonl")
    _compare(frame, vectors, other := Other(), journal=tmp_path / "trainings.jsonl")
    assert len(other.seen) == 9


def test_near_copies_of_held_out_samples_leave_the_pool() -> None:
    unit = comparison.strategies.exact_unit(
        np.repeat(np.random.default_rng(0).normal(size=(20, 6)), 2, axis=0)
    )
    pool = pl.DataFrame(
        {"record_id": [str(i) for i in range(40)], "duplicate_of": pl.Series([None] * 40, dtype=pl.String)}
    )
    held, free = comparison._split(pool, unit, np.arange(40), 8, 0.95, seed=0)
    twin = np.arange(40) ^ 1
    assert len(held) == 8
    assert not free[held].any()
    assert not free[twin[held]].any()
    copy = int(np.flatnonzero(free)[0])
    linked = pool.with_columns(
        duplicate_of=pl.when(pl.col("record_id") == str(copy)).then(pl.lit(str(held[0])))
    )
    assert not comparison._split(linked, unit, np.arange(40), 8, 0.95, seed=0)[1][copy]


def test_nothing_is_compared_where_nothing_is_wanted_or_possible() -> None:
    frame, vectors = _pool()
    trainer = Fake()
    assert _compare(frame, vectors, trainer, SETTINGS.model_copy(update={"comparison_seeds": 0})).height == 0
    small = _compare(frame[:15], vectors[:15], trainer)
    assert small.height == 0
    assert not trainer.seen
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
