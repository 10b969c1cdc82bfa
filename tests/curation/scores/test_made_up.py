"""Made-up defects are what they are called, and come out the same for the same seed."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from curation import text
from curation.scores.made_up import KINDS, SWAPS, cut_off, made_up_defects


def vectors(rows: int) -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(rows, 8)).astype(np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def make(pool: pl.DataFrame, seed: int = 1) -> pl.DataFrame:
    """Defects made of the pool and of a few English samples, with the prompt and the answer before."""
    english = pool.head(5).with_columns(
        prompt=pl.lit("How are you today, my old friend?"), answer=pl.lit("I am fine, thank you, and you?")
    )
    both = pl.concat([pool, english])
    made = made_up_defects(both["prompt"], both["answer"], vectors(len(both)), 30, seed)
    row = made["row"]
    return made.with_columns(prompt=both["prompt"].gather(row), before=both["answer"].gather(row))


def test_each_kind_is_there_and_differs_from_what_it_was_made_of(pool: pl.DataFrame) -> None:
    made = make(pool)
    assert set(made["kind"]) == set(KINDS)
    assert (made["answer"] != made["before"]).all()
    counts = dict(made["kind"].value_counts().iter_rows())
    assert counts["swap"] > 30
    assert counts["swap"] <= 30 * SWAPS


def test_the_kinds_are_what_they_are_called(pool: pl.DataFrame) -> None:
    made = make(pool)
    kind = {name: made.filter(pl.col("kind") == name) for name in KINDS}
    cut = kind["cut"]
    assert all(before.startswith(after) for before, after in cut.select("before", "answer").iter_rows())
    assert kind["repeat"].select(text.repetition_score(pl.col("answer"))).to_series().median() > 0.3  # type: ignore[operator]
    assert kind["wrap"].select(text.markup_score(pl.col("answer"))).to_series().min() > 0.1  # type: ignore[operator]
    assert kind["advertise"].select(text.spam_score(pl.col("answer"))).to_series().min() > 0.2  # type: ignore[operator]
    assert (kind["echo"]["answer"] == kind["echo"]["prompt"]).all()
    assert not kind["strip"]["answer"].str.contains(r"[，。]").any()
    languages = kind["foreign"].select(
        asked=text.language(pl.col("prompt")), told=text.language(pl.col("answer"))
    )
    assert (languages["asked"] != languages["told"]).all()


def test_the_same_seed_makes_the_same(pool: pl.DataFrame) -> None:
    assert make(pool).equals(make(pool))
    assert not make(pool).equals(make(pool, seed=2))


@given(st.text("茶水很好。，！\n abc", max_size=80), st.integers(0, 99))
def test_what_is_cut_off_ends_inside_a_sentence(answer: str, seed: int) -> None:
    cut = cut_off(answer, np.random.default_rng(seed))
    if cut is not None:
        assert answer.startswith(cut)
        assert 8 <= len(cut) < len(answer)
        assert cut[-1] not in "。！\n "


def test_no_samples() -> None:
    nothing = pl.Series([], dtype=pl.String)
    assert made_up_defects(nothing, nothing, vectors(0), 10, 1).is_empty()
