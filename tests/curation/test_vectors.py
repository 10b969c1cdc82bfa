"""Vectors in tables, and the exact search among them."""

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
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


def brute_force(q: np.ndarray, b: np.ndarray, k: int, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All products in float64, sorted: by similarity, then by index."""
    similarity, index = np.full((len(q), k), -np.inf, dtype=np.float32), np.full((len(q), k), -1)
    for row, query in enumerate(q):
        products = np.round(b.astype(np.float64) @ query.astype(np.float64), vectors.DECIMALS)
        order = [place for place in np.argsort(-products, kind="stable") if place != own[row]][:k]
        similarity[row, : len(order)], index[row, : len(order)] = products[order], order
    return similarity, index


@pytest.fixture
def small_blocks(monkeypatch):
    """Every search in threads, int8 (where the CPU can) and several blocks."""
    monkeypatch.setattr(vectors, "_SMALL", 0)
    monkeypatch.setattr(vectors, "_QUERIES", 3)
    monkeypatch.setattr(vectors, "_COLUMNS", 7)


@given(st.integers(0, 12), st.integers(0, 40), st.integers(0, 9), st.integers(1, 12), st.integers(0, 99))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("integers", [True, False])
def test_the_nearest_are_those_of_a_plain_sort(
    integers, small_blocks, monkeypatch, queries, base, k, dimensions, seed
):
    monkeypatch.setattr(vectors, "fast_integers", lambda: integers)
    generator = np.random.default_rng(seed)
    b = unit(base, dimensions, seed)
    b[generator.random(base) < 0.2] = 0
    if base:  # equal rows
        b[generator.integers(base, size=base // 2)] = b[0]
    q = np.concatenate([unit(queries, dimensions, seed + 1), b[:3]])
    own = generator.integers(-1, max(base, 1), len(q))
    similarity, index = vectors.top_k(q, b, k, own)
    wanted = brute_force(q, b, k, own)
    assert similarity.dtype == np.float32
    np.testing.assert_array_equal(similarity, wanted[0])
    np.testing.assert_array_equal(index, wanted[1])


@pytest.mark.parametrize("integers", [True, False])
def test_vectors_of_any_length_and_spread_are_searched_exactly(integers, small_blocks, monkeypatch):
    monkeypatch.setattr(vectors, "fast_integers", lambda: integers)
    generator = np.random.default_rng(3)
    b = (generator.standard_normal((200, 96)) * generator.exponential(1, (200, 1))).astype(np.float32)
    b[:, 0] *= 30  # one coordinate takes nearly all of the scale
    q = generator.standard_normal((20, 96)).astype(np.float32)
    nobody = np.full(20, -1)
    np.testing.assert_array_equal(vectors.top_k(q, b, 5)[1], brute_force(q, b, 5, nobody)[1])


def test_blocks_and_codes_do_not_change_a_bit(monkeypatch):
    b = unit(3_000, 48, 7)
    q = np.concatenate([unit(90, 48, 8), b[:10]])
    plain = vectors.top_k(q, b, 10)
    monkeypatch.setattr(vectors, "_SMALL", 0)
    for integers in (True, False):
        monkeypatch.setattr(vectors, "fast_integers", lambda integers=integers: integers)
        for one, other in zip(plain, vectors.top_k(q, b, 10), strict=True):
            assert one.tobytes() == other.tobytes()


def test_a_vector_that_is_not_finite_is_nobodys_neighbour():
    b = unit(4, 3)
    b[1] = np.nan
    assert set(vectors.top_k(b[:1], b, 4)[1][0]) == {0, 2, 3, -1}


def test_ties_go_to_the_lower_index():
    base = np.repeat(unit(1, 4), 6, axis=0)
    assert vectors.top_k(base[:1], base, 3)[1].tolist() == [[0, 1, 2]]
    assert vectors.top_k(base[:1], base, 3, own=np.array([1]))[1].tolist() == [[0, 2, 3]]


@pytest.mark.parametrize("cut", [1, 5, 9])
def test_lists_of_parts_merge_into_the_list_of_the_whole(cut):
    q, b = unit(3, 4, 1), unit(10, 4, 2)
    whole = vectors.top_k(q, b, 4)
    one, two = vectors.top_k(q, b[:cut], 4), vectors.top_k(q, b[cut:], 4)
    shifted = (two[0], np.where(two[1] >= 0, two[1] + cut, -1))
    merged = vectors.merge_top_k([one, shifted], 4)
    np.testing.assert_allclose(merged[0], whole[0], atol=2e-6)
    np.testing.assert_array_equal(merged[1], whole[1])
