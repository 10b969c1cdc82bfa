"""The grid: products of unit vectors on it are exact."""

from __future__ import annotations

import numpy as np

from curation.selection.geometry import exact_unit, has_direction


def test_products_on_the_grid_are_exact() -> None:
    unit = exact_unit(np.random.default_rng(0).normal(size=(50, 300)))
    assert np.array_equal(
        (unit @ unit.T).astype(np.float64), unit.astype(np.float64) @ unit.T.astype(np.float64)
    )
    assert np.abs(np.linalg.norm(unit, axis=1) - 1).max() < 1e-3
    assert not exact_unit(np.array([[np.nan, 1], [np.inf, 0], [0, 0]])).any(axis=1)[2]


def test_the_grid_does_not_depend_on_blocks_and_leaves_the_input_alone(monkeypatch) -> None:
    raw = np.random.default_rng(1).normal(size=(70, 5)).astype(np.float32)
    raw[3], raw[4, 0] = 0, np.nan
    before = raw.copy()
    whole = exact_unit(raw)
    monkeypatch.setattr("curation.vectors._BLOCK", 16)
    np.testing.assert_array_equal(exact_unit(raw), whole)
    np.testing.assert_array_equal(raw, before)
    assert (whole / 2.0**-11 == np.round(whole / 2.0**-11)).all()
    assert has_direction(whole).sum() == 69
