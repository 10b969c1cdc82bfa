"""Greedy maximisers beside plain ones that look at every row for every pick."""

from __future__ import annotations

import numpy as np
import pytest

from curation.selection import greedy
from curation.selection.geometry import exact_unit


def _graph(seed: int, n: int = 60):  # type: ignore[no-untyped-def]
    return greedy.similarity_graph(exact_unit(np.random.default_rng(seed).normal(size=(n, 4))), 6, 1_000, 0)


def test_the_graph_is_symmetric_with_ones_on_its_diagonal() -> None:
    graph = _graph(0).toarray()
    assert np.array_equal(graph, graph.T)
    assert (np.diag(graph) == 1).all()
    assert graph.min() >= 0
    assert ((graph > 0).sum(axis=1) > 1).all()


@pytest.mark.parametrize("seed", range(3))
def test_facility_location_equals_the_plain_greedy_choice(seed: int) -> None:
    graph = _graph(seed)
    dense, best, wanted = graph.toarray(), np.zeros(60), []
    for _ in range(12):
        gains = np.maximum(dense - best[:, None], 0).sum(axis=0).round(9)
        gains[wanted] = -1
        wanted.append(int(gains.argmax()))
        best = np.maximum(best, dense[:, wanted[-1]])
    picks, gains = greedy.facility_location(graph, 12)
    assert picks.tolist() == wanted
    assert gains.sum() == pytest.approx(best.sum())
    assert (np.diff(gains) <= 1e-9).all()


def test_facility_location_among_candidates() -> None:
    picks, _ = greedy.facility_location(_graph(0), 5, np.array([3, 7, 9, 20, 21, 40]))
    assert set(picks.tolist()) <= {3, 7, 9, 20, 21, 40}
    assert len(set(picks.tolist())) == 5


@pytest.mark.parametrize("seed", range(3))
def test_graph_cut_equals_the_plain_greedy_choice(seed: int) -> None:
    graph = _graph(seed)
    dense, wanted = graph.toarray(), []

    def value(rows: list[int]) -> float:
        return float(dense[:, rows].sum() - 0.5 * dense[np.ix_(rows, rows)].sum())

    for _ in range(12):
        gains = {
            row: round(value([*wanted, row]) - value(wanted), 9) for row in range(60) if row not in wanted
        }
        wanted.append(max(gains, key=lambda row: (gains[row], -row)))
    picks, gains = greedy.graph_cut(graph, 12)
    assert picks.tolist() == wanted
    assert gains.sum() == pytest.approx(value(wanted))


def test_fewer_rows_than_are_wanted() -> None:
    assert sorted(greedy.facility_location(_graph(0, 4), 9)[0].tolist()) == [0, 1, 2, 3]
    assert len(greedy.facility_location(_graph(0, 4), 0)[0]) == 0
