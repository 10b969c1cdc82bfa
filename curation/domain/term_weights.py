"""What words weigh: in one text (TF-IDF, TextRank), and in one corpus beside another (log-odds).

Belongs here: the three weights, each for all texts at once. Does not belong here: cutting texts into
words (`domain.words`), or what is made of the weights (`domain.keywords`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation.domain.words import Tokens

#: Of TextRank: words less than this many places apart are linked (as in jieba); the rest as in the paper.
_SPAN, _DAMPING, _TOLERANCE, _MOST_STEPS = 5, 0.85, 1e-4, 100


@dataclass(frozen=True)
class Weights:
    """A weight of each word in each text: three arrays of one length, by text and word."""

    docs: np.ndarray
    ids: np.ndarray
    weight: np.ndarray

    def total(self, size: int) -> np.ndarray:
        """Sum over all texts, float64 [size], by word."""
        return np.bincount(self.ids, weights=self.weight, minlength=size)


def inverse_document_frequency(tokens: Tokens) -> np.ndarray:
    """log((1 + n) / (1 + n of the texts that hold the word)) + 1, float64 [size of the vocabulary]."""
    held = np.bincount(tokens.counts[1], minlength=len(tokens.vocabulary))
    return np.asarray(np.log((1 + tokens.n_docs) / (1 + held)) + 1)


def tf_idf(tokens: Tokens, idf: np.ndarray, allowed: np.ndarray) -> Weights:
    """Share of a word among the allowed words of its text, times `idf`.

    Parameters
    ----------
    idf
        float64 [size of the vocabulary].
    allowed
        bool [size of the vocabulary]: words that count.
    """
    docs, ids, counts, _ = tokens.counts
    docs, ids, counts = (column[allowed[ids]] for column in (docs, ids, counts))
    totals = np.bincount(docs, weights=counts, minlength=tokens.n_docs)
    return Weights(docs, ids, counts * (idf[ids] / totals[docs]))


def text_rank(tokens: Tokens, counted: np.ndarray) -> Weights:
    """TextRank (Mihalcea and Tarau 2004) of the words of each text.

    Two counted words of a text are linked as often as they stand less than five places apart, whatever
    stands between them. The graphs of all texts are the blocks of one sparse matrix, so that
    one power iteration ranks them all. Words without a link have no weight.
    """
    from scipy import sparse

    places = np.flatnonzero(counted)
    size = max(len(tokens.vocabulary), 1)
    keys = tokens.docs[places].astype(np.int64) * size + tokens.ids[places]
    nodes, node = np.unique(keys, return_inverse=True)
    at = np.full(len(tokens.ids) + _SPAN, -1, dtype=np.int64)
    at[places] = node
    text = np.concatenate([tokens.docs, np.full(_SPAN, -1, dtype=np.int32)])
    links = []
    for gap in range(1, _SPAN):
        one, two = places, places + gap
        linked = (at[two] >= 0) & (text[one] == text[two])
        links.append(np.stack([at[one[linked]], at[two[linked]]]))
    one, two = np.concatenate(links, axis=1) if len(places) else np.zeros((2, 0), dtype=np.int64)
    ones = np.ones(2 * len(one))
    graph = sparse.coo_matrix(
        (ones, (np.concatenate([one, two]), np.concatenate([two, one]))), shape=(len(nodes), len(nodes))
    ).tocsr()
    degree = np.asarray(graph.sum(axis=0)).ravel()
    flow = graph @ sparse.diags_array(np.divide(1.0, degree, out=np.zeros_like(degree), where=degree > 0))
    rank = np.ones(len(nodes))
    for _ in range(_MOST_STEPS):
        before, rank = rank, (1 - _DAMPING) + _DAMPING * (flow @ rank)
        if np.abs(rank - before).max(initial=0) < _TOLERANCE:
            break
    held = degree > 0
    return Weights(nodes[held] // size, nodes[held] % size, rank[held])


def log_odds(
    counts: np.ndarray, other: np.ndarray, totals: tuple[float, float], prior: float
) -> tuple[np.ndarray, np.ndarray]:
    """How much commoner words are in one corpus than in another, and how surely.

    The log-odds ratio with an informative prior (Monroe, Colaresi and Quinn 2008): each word is
    expected as often as in both corpora together, with the weight of `prior` units.

    Parameters
    ----------
    counts, other
        In how many units (documents, or words) of the one and of the other corpus each word is.
    totals
        How many units the two corpora have.

    Returns
    -------
    tuple
        The log-odds ratio and its standard error, float64 [words].
    """
    expected = np.maximum(prior * (counts + other) / max(sum(totals), 1), 0.01)
    ratio, variance = np.zeros(len(expected)), np.zeros(len(expected))
    for sign, held, total in ((1, counts, totals[0]), (-1, other, totals[1])):
        seen = held + expected
        ratio += sign * (np.log(seen) - np.log(np.maximum(total + prior - seen, 0.01)))
        variance += 1 / seen
    return ratio, np.sqrt(variance)
