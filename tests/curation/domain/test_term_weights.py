"""The weights of words are those of their definitions."""

import math

import numpy as np
import pytest

from curation.domain.term_weights import inverse_document_frequency, log_odds, text_rank, tf_idf
from curation.domain.words import parts_of_speech, segmenter, tokenise

TEXTS = ["苹果和香蕉，苹果和葡萄", "香蕉", ""]


@pytest.fixture(scope="module")
def tokens():
    return tokenise(TEXTS, segmenter())


def allowed(tokens):
    return np.array([len(word) > 1 for word in tokens.vocabulary])


def weights(tokens, found):
    return {
        (int(doc), tokens.vocabulary[word]): weight
        for doc, word, weight in zip(found.docs, found.ids, found.weight, strict=True)
    }


def test_words_are_counted_by_text_in_one_order(tokens):
    docs, ids, counts, first = tokens.counts
    assert tokens.n_docs == 3
    assert [(int(d), tokens.vocabulary[i], int(n)) for d, i, n in zip(docs, ids, counts, strict=True)] == [
        (0, "苹果", 2), (0, "和", 2), (0, "香蕉", 1), (0, "，", 1), (0, "葡萄", 1), (1, "香蕉", 1),
    ]  # fmt: skip
    assert first.tolist() == [0, 1, 2, 3, 6, 7]
    one = tokens.select(1, 3)
    assert (one.n_docs, one.docs.tolist()) == (2, [0])
    merged = tokens.renamed({"葡萄": "香蕉"})
    assert merged.counts[2].tolist() == [2, 2, 2, 1, 1]


def test_tf_idf_by_hand(tokens):
    idf = inverse_document_frequency(tokens)
    assert idf[tokens.vocabulary.index("香蕉")] == pytest.approx(math.log(4 / 3) + 1)
    found = weights(tokens, tf_idf(tokens, idf, allowed(tokens)))
    assert found[0, "苹果"] == pytest.approx(2 / 4 * (math.log(4 / 2) + 1))
    assert found[1, "香蕉"] == pytest.approx(math.log(4 / 3) + 1)
    assert len(found) == 4


def test_text_rank_is_the_fixed_point_of_its_equation(tokens):
    found = weights(tokens, text_rank(tokens, allowed(tokens)[tokens.ids]))
    # 苹果 和 香蕉 ， 苹果 和 葡萄: links closer than five places
    links = {("苹果", "香蕉"): 2, ("苹果", "苹果"): 2, ("香蕉", "葡萄"): 1, ("苹果", "葡萄"): 1}
    names = ["苹果", "香蕉", "葡萄"]
    graph = np.array([[links.get((a, b), links.get((b, a), 0)) for b in names] for a in names], dtype=float)
    rank = np.linalg.solve(np.eye(3) - 0.85 * graph / graph.sum(axis=0), np.full(3, 0.15))
    assert [found[0, name] for name in names] == pytest.approx(rank.tolist(), abs=1e-4)
    assert len(found) == 3


def test_log_odds_have_the_sign_of_the_difference_and_are_surer_with_more():
    ratio, error = log_odds(np.array([10.0, 10.0, 1.0]), np.array([1.0, 10.0, 10.0]), (100, 100), 10)
    assert ratio[0] == pytest.approx(-ratio[2])
    assert ratio[1] == pytest.approx(0)
    seen = (10 + 10 * 11 / 200, 1 + 10 * 11 / 200)
    assert ratio[0] == pytest.approx(
        math.log(seen[0] / (110 - seen[0])) - math.log(seen[1] / (110 - seen[1]))
    )
    assert error[0] == pytest.approx(math.sqrt(1 / seen[0] + 1 / seen[1]))


def test_parts_of_speech_are_those_of_the_dictionary():
    jieba = segmenter()
    assert parts_of_speech(["杀青", "揉捻", "tea"], jieba) == ["n", "x", "eng"]
