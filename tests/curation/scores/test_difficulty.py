"""IFD by hand."""

import math

import polars as pl
import pytest

from curation.scores.difficulty import with_difficulty


def scores(conditional: float | None, alone: float | None) -> dict[str, float | None]:
    losses = pl.DataFrame(
        {"loss_conditional": [conditional], "loss_alone": [alone]},
        schema_overrides={"loss_alone": pl.Float64, "loss_conditional": pl.Float64},
    )
    return with_difficulty(losses).row(0, named=True)


def test_both_definitions_by_hand() -> None:
    # answer of two tokens: probabilities 1/2 and 1/8 with the prompt, 1/4 and 1/16 without
    found = scores(math.log(16) / 2, math.log(64) / 2)
    assert found["ppl"] == pytest.approx(4, abs=1e-5)
    assert found["ifd"] == pytest.approx(2 / 3, abs=1e-5)
    assert found["ifd_ppl"] == pytest.approx(0.5, abs=1e-5)


def test_a_prompt_that_does_not_help_is_above_one() -> None:
    found = scores(3.0, 2.5)
    assert found["ifd"] == pytest.approx(1.2, abs=1e-5)
    assert found["ifd_ppl"] == pytest.approx(1.6487213, abs=1e-5)


def test_the_two_definitions_rank_differently() -> None:
    hard, easy = scores(4.0, 5.0), scores(0.5, 1.0)
    assert hard["ifd"] > easy["ifd"]
    assert hard["ifd_ppl"] < easy["ifd_ppl"]


def test_nothing_is_divided_by_nought_and_null_stays_null() -> None:
    assert scores(0.0, 0.0)["ifd"] is None
    missing = scores(None, None)
    assert (missing["ppl"], missing["ifd"], missing["ifd_ppl"]) == (None, None, None)
