"""Questions: doubtful, unlike each other, and standing for many."""

from __future__ import annotations

import numpy as np

from curation.domain.questions import choose_questions


def world() -> tuple[np.ndarray, np.ndarray]:
    """Three doubtful groups of 60, 20 and 5 documents, and 100 that are out of question."""
    generator = np.random.default_rng(0)
    centres = np.eye(6)[[0] * 60 + [1] * 20 + [2] * 5 + [3] * 100]
    points = centres + 0.01 * generator.normal(size=centres.shape)
    scores = np.concatenate([np.full(85, 0.1), np.full(100, -40.0)])
    return points / np.linalg.norm(points, axis=1, keepdims=True), scores


def test_the_first_questions_are_one_from_each_group_the_largest_first():
    places, gains = choose_questions(*world(), np.zeros(0, dtype=np.int64), 3, 1)
    assert [0 if place < 60 else 1 if place < 80 else 2 for place in places] == [0, 1, 2]
    assert gains[0] > gains[1] > gains[2]


def test_what_was_asked_is_not_asked_again_nor_is_what_is_like_it():
    points, scores = world()
    places, _ = choose_questions(points, scores, np.arange(60), 2, 1)
    assert set(places) <= set(range(60, 85))


def test_every_fifth_is_drawn_at_random_and_nothing_twice():
    points, scores = world()
    one, _ = choose_questions(points, scores, np.zeros(0, dtype=np.int64), 20, 1)
    two, _ = choose_questions(points, scores, np.zeros(0, dtype=np.int64), 20, 2)
    again, _ = choose_questions(points, scores, np.zeros(0, dtype=np.int64), 20, 1)
    assert len(set(one)) == 20
    assert set(one) != set(two)
    np.testing.assert_array_equal(one, again)


def test_nothing_to_ask():
    places, gains = choose_questions(*world(), np.arange(185), 5, 1)
    assert len(places) == len(gains) == 0
