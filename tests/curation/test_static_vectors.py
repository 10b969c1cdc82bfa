"""Static vectors: weights by frequency, the shared direction, words that fall apart into characters."""

import numpy as np
import polars as pl
import pytest

from curation.static_vectors import StaticVectors, units_of

KNOWN = {
    "茶": np.array([1.0, 0.0, 0.0], np.float32),
    "水": np.array([0.0, 1.0, 0.0], np.float32),
    "星": np.array([0.0, 0.0, 1.0], np.float32),
    "的": np.array([0.5, 0.5, 0.5], np.float32),
}


def test_a_word_without_a_vector_falls_apart_into_its_characters() -> None:
    assert units_of("茶水的星", KNOWN, 10) == ["茶", "水", "的", "星"]
    assert units_of("望远镜", KNOWN, 10) == []
    assert units_of("HOT water", {"hot": 0}, 10) == ["hot"]
    assert units_of(None, KNOWN, 10) == []


def test_a_common_unit_counts_less() -> None:
    texts = pl.Series(["的" * 9 + "茶"] * 5 + ["水"])
    fitted = StaticVectors.fit(texts, KNOWN, 3, 512, 100)
    place = {unit: number for number, unit in enumerate(fitted.units)}
    weight = {unit: fitted.vectors[place[unit]].max() / KNOWN[unit].max() for unit in KNOWN}
    assert weight["的"] < weight["茶"] < weight["水"] < weight["星"] == 1
    # a / (a + p) of the paper, by hand: of 51 units 45 are 的
    assert weight["的"] == pytest.approx(1e-3 / (1e-3 + 45 / 51), rel=1e-5)


def test_what_all_texts_share_is_taken_out() -> None:
    texts = pl.Series([first + second for first in "茶水星" for second in "茶水星"] * 2)
    fitted = StaticVectors.fit(texts, KNOWN, 3, 512, 1000)
    points = fitted.transform(texts)
    assert np.linalg.norm(fitted.shared) == pytest.approx(1, abs=1e-6)
    assert np.abs(points @ fitted.shared).max() < 1e-3
    few = StaticVectors.fit(texts[:5], KNOWN, 3, 512, 1000)
    assert not few.shared.any(), "five texts cannot tell what all share"


def test_only_the_first_tokens_are_read() -> None:
    fitted = StaticVectors.fit(pl.Series(["茶水"]), KNOWN, 3, 2, 10)
    both = fitted.transform(pl.Series(["茶水", "茶水星星星"]))
    np.testing.assert_array_equal(both[0], both[1])


def test_it_comes_back_from_its_folder(tmp_path) -> None:  # type: ignore[no-untyped-def]
    fitted = StaticVectors.fit(pl.Series(["茶水", "星"]), KNOWN, 3, 512, 10)
    fitted.save(tmp_path)
    texts = pl.Series(["茶的水", "", None], dtype=pl.String)
    loaded = StaticVectors.load(tmp_path)
    np.testing.assert_array_equal(loaded.transform(texts), fitted.transform(texts))
    assert not loaded.transform(texts)[1:].any()
    assert loaded.transform(pl.Series([], dtype=pl.String)).shape == (0, 3)
