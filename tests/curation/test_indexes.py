"""Indexes: what they lose is measured, and no more is lost than was allowed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation import indexes
from curation.selection.geometry import exact_unit
from curation.vectors import top_k


def topics(n: int, d: int = 24, count: int = 12, seed: int = 0) -> np.ndarray:
    """Unit vectors around a few centres."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(count, d))
    return exact_unit(centres[random.integers(count, size=n)] + random.normal(scale=0.7, size=(n, d)))


@pytest.mark.parametrize("method", ["ivf", "hnsw"])
def test_an_index_finds_as_much_as_it_says(method: indexes.Index) -> None:
    base, queries = topics(4_000), topics(300, seed=1)
    found = indexes.nearest(queries, base, 10, method, 0.9, seed=0)
    exact = top_k(queries, base, 10)
    assert found.method == method
    assert found.effort is not None
    assert found.effort < len(base)
    assert found.agreement >= 0.9
    assert indexes.recall(exact, (found.similarity, found.index)) == pytest.approx(found.agreement, abs=1e-6)
    both = found.index == exact[1]
    np.testing.assert_array_equal(found.similarity[both], exact[0][both])


@pytest.mark.parametrize("method", ["ivf", "hnsw"])
def test_an_index_is_the_same_every_time(method: indexes.Index) -> None:
    base = topics(1_500)
    one, other = (indexes.nearest(base[:200], base, 5, method, 0.95, seed=3) for _ in range(2))
    assert one.similarity.tobytes() == other.similarity.tobytes()
    assert one.index.tobytes() == other.index.tobytes()


def test_all_that_is_wanted_is_found_when_everything_is_looked_at() -> None:
    base = exact_unit(np.random.default_rng(0).normal(size=(400, 16)))
    found = indexes.nearest(base[:50], base, 10, "ivf", 1.0, seed=0)
    np.testing.assert_array_equal(found.index, top_k(base[:50], base, 10)[1])
    assert found.agreement == 1.0


@pytest.mark.parametrize("method", ["exact", "ivf", "hnsw"])
@pytest.mark.parametrize(("q", "n", "k"), [(0, 5, 2), (3, 0, 2), (3, 5, 0), (3, 1, 4), (3, 5, 9)])
def test_nothing_few_and_more_than_there_are(method: indexes.Index, q: int, n: int, k: int) -> None:
    base = topics(n)
    found = indexes.nearest(topics(q, seed=1), base, k, method, 0.9, seed=0)
    assert found.index.shape == found.similarity.shape == (q, k)
    assert ((found.index >= 0).sum(axis=1) == min(n, k)).all()
    assert (found.similarity[found.index < 0] == -np.inf).all()


def test_vectors_of_zeros_do_not_stop_an_index() -> None:
    base = np.zeros((30, 4), dtype=np.float32)
    found = indexes.nearest(base[:2], base, 3, "ivf", 0.9, seed=0)
    assert found.similarity.tolist() == [[0.0] * 3] * 2


def test_neighbours_by_hand() -> None:
    unit = exact_unit(np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32))
    for k, wanted in ((1, [1, 1, 0]), (2, [0.5, 0.5, 0]), (50, [0.5, 0.5, 0])):
        found = indexes.neighbours(unit, k, exact_rows=10)
        assert indexes.mean_similarity(found.similarity, found.index).tolist() == wanted
        assert (found.index != np.arange(3)[:, None]).all()
    alone = indexes.neighbours(unit[:1], 5, exact_rows=10)
    assert indexes.mean_similarity(alone.similarity, alone.index).tolist() == [0]


@given(st.integers(1, 60), st.integers(1, 8), st.integers(0, 9))
@settings(deadline=None, max_examples=30)
def test_neighbours_are_those_of_a_plain_sort(n: int, k: int, seed: int) -> None:
    unit = topics(n, d=3, seed=seed)
    found = indexes.neighbours(unit, k, exact_rows=100)
    products = np.round(unit.astype(np.float64) @ unit.T.astype(np.float64), 6)
    np.fill_diagonal(products, -np.inf)
    order = np.argsort(-products, axis=1, kind="stable")[:, : min(k, n - 1)]
    np.testing.assert_array_equal(found.index[:, : min(k, n - 1)], order)


def test_neighbours_in_cells_have_the_density_of_all() -> None:
    unit = topics(5_000)
    near, exact = (indexes.neighbours(unit, 10, rows) for rows in (1_000, 10_000))
    assert (near.method, exact.method) == ("ivf", "exact")
    assert near.effort is not None
    assert near.effort < 70
    lists = [(one.similarity, one.index) for one in (exact, near)]
    assert indexes.correlation(lists[0], lists[1]) >= 0.99
    assert near.agreement >= 0.995


def test_measures_of_agreement_by_hand() -> None:
    exact = np.array([[0.9, 0.5], [0.8, 0.7]]), np.array([[0, 1], [2, 3]])
    worse = np.array([[0.9, 0.5], [0.7, 0.1]]), np.array([[0, 9], [3, 8]])
    assert indexes.recall(exact, exact) == 1
    assert indexes.recall(exact, worse) == 0.75  # row 9 is as near as row 1
    assert indexes.correlation(exact, exact) == 1
    assert indexes.correlation(exact, worse) == pytest.approx(-1)
