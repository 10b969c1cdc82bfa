"""The n-gram model: probabilities worked out by hand, and that they are some."""

from __future__ import annotations

import numpy as np
import pytest

from curation.scores.ngram_model import NgramModel, _discounts


def test_a_probability_worked_out_by_hand() -> None:
    # tokens a = 0, b = 1, c = 2, begin = 3; too few for discounts of their own, so each is 3/4
    model = NgramModel.fit([np.array([0, 1]), np.array([0, 1]), np.array([0, 2]), np.array([0, 2])], tokens=3)
    # one token: a follows 1 different token (begin), b 1 (a), c 1 (a): 3 in all, each seen once
    one = (1 - 0.75) / 3 + 3 * 0.75 / 3 / 4
    # two tokens: after a come b and c, each after one other token (begin a)
    two = (1 - 0.75) / 2 + 2 * 0.75 / 2 * one
    # three: after begin a come b twice and c twice
    three = (2 - 0.75) / 4 + 2 * 0.75 / 4 * two
    assert np.exp(-model.losses([np.array([0, 1])]))[1] == pytest.approx(three)
    # after b a, never seen, only what is known after a counts
    assert np.exp(-model.losses([np.array([1, 0, 2])]))[2] == pytest.approx(two)
    # after c nothing was seen: that of one token is all
    assert np.exp(-model.losses([np.array([2, 0])]))[1] == pytest.approx(one)


def test_probabilities_of_all_tokens_sum_to_one() -> None:
    rng = np.random.default_rng(0)
    sequences = [np.minimum(rng.zipf(1.5, 30) - 1, 19) for _ in range(40)]
    model = NgramModel.fit(sequences, tokens=20)
    for context in ([4, 0], [0, 0], [19, 18], [7, 1]):
        each = [model.losses([np.array([*context, token])])[2] for token in range(21)]
        assert np.exp(-np.array(each)).sum() == pytest.approx(1)


def test_discounts_are_those_of_chen_and_goodman() -> None:
    counts = np.repeat([1, 2, 3, 4], [40, 20, 10, 5])
    assert _discounts(counts) == pytest.approx([0, 1 - 2 * 0.5 * 0.5, 2 - 3 * 0.5 * 0.5, 3 - 4 * 0.5 * 0.5])


def test_nothing_known_leaves_all_tokens_alike() -> None:
    model = NgramModel.fit([], tokens=9)
    assert model.losses([np.array([1, 2, 3])]) == pytest.approx(np.log(10))
    assert model.losses([]).shape == (0,)
