"""Vectors in tables, and the exact search among them."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation import vectors


def unit(n: int, d: int, seed: int = 0) -> np.ndarray:
    return vectors.normalise(np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32))


def test_a_matrix_comes_back_from_its_column():
    points = unit(5, 3)
    np.testing.assert_array_equal(vectors.matrix(vectors.series(points)), points)
    assert vectors.series(points).dtype == pl.List(pl.Float32)


def test_rows_of_zeros_stay_zeros():
    np.testing.assert_array_equal(vectors.normalise(np.zeros((2, 3), dtype=np.float32)), np.zeros((2, 3)))


@given(st.integers(0, 12), st.integers(0, 40), st.integers(1, 8), st.integers(1, 9))
def test_the_nearest_are_those_of_a_plain_sort(queries, base, k, block):
    q, b = unit(queries, 4, 1), unit(base, 4, 2)
    similarity, index = vectors.top_k(q, b, k, block)
    assert similarity.shape == index.shape == (queries, k)
    products = np.round(q @ b.T, vectors.DECIMALS)
    for row in range(queries):
        order = sorted(range(base), key=lambda place: (-products[row, place], place))[:k]
        np.testing.assert_allclose(similarity[row, : len(order)], products[row, order], atol=2e-6)
        assert (index[row, len(order) :] == -1).all()


def test_ties_go_to_the_lower_index():
    base = np.repeat(unit(1, 4), 6, axis=0)
    assert vectors.top_k(base[:1], base, 3)[1].tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("cut", [1, 5, 9])
def test_lists_of_parts_merge_into_the_list_of_the_whole(cut):
    q, b = unit(3, 4, 1), unit(10, 4, 2)
    whole = vectors.top_k(q, b, 4)
    one, two = vectors.top_k(q, b[:cut], 4), vectors.top_k(q, b[cut:], 4)
    shifted = (two[0], np.where(two[1] >= 0, two[1] + cut, -1))
    merged = vectors.merge_top_k([one, shifted], 4)
    np.testing.assert_allclose(merged[0], whole[0], atol=2e-6)
    np.testing.assert_array_equal(merged[1], whole[1])
