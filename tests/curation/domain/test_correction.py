"""What reviews change around themselves, against direct computation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from curation.domain.correction import FOLDS, kernel, learn_correction, no_correction, posterior_mode


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_mode_is_the_one_that_a_minimiser_finds():
    points = unit(np.random.default_rng(0).normal(size=(12, 3)))
    covariance = 4 * kernel(points, points, 0.3) + 1e-9 * np.eye(12)
    offset = np.linspace(-2, 2, 12)
    labels = (np.arange(12) % 3 == 0).astype(float)
    weights, curvature, _ = posterior_mode(covariance, offset, labels)

    def negative(coefficients):
        mode = covariance @ coefficients
        likelihood = np.logaddexp(0, np.where(labels > 0, -1, 1) * (offset + mode)).sum()
        return likelihood + 0.5 * coefficients @ mode

    found = minimize(negative, np.zeros(12), method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(covariance @ weights, covariance @ found.x, atol=1e-4)
    probability = expit(offset + covariance @ weights)
    np.testing.assert_allclose(curvature, probability * (1 - probability), rtol=1e-4)


def test_a_decision_moves_what_is_like_it_and_leaves_the_rest():
    groups = unit(np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]))
    anchors = unit(np.repeat(groups[:2], 10, axis=0) + 0.02 * np.random.default_rng(1).normal(size=(20, 3)))
    labels = np.repeat([1.0, 0.0], 10)
    correction = learn_correction(anchors, np.zeros(20), labels, np.arange(20) % FOLDS)
    moved = correction.of(groups, np.full(3, FOLDS))
    assert moved[0] > 1
    assert moved[1] < -1
    assert abs(moved[2]) < 0.2 * moved[0]


def test_a_decision_does_not_move_itself_when_it_is_left_out():
    anchors = unit(np.array([[1.0, 0.0], [0.0, 1.0]]))
    correction = learn_correction(anchors, np.array([-1.0, -1.0]), np.array([1.0, 0.0]), np.array([0, 1]))
    with_it = correction.of(anchors[:1], np.array([FOLDS]))
    without = correction.of(anchors[:1], np.array([0]))
    assert with_it[0] > 0
    assert without[0] == pytest.approx(0, abs=0.05)


def test_without_decisions_nothing_moves():
    assert not no_correction(4).of(np.ones((3, 4)), np.full(3, FOLDS)).any()
