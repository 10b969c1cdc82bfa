"""An n-gram language model of three tokens: learned in a second, and hardly moved by chance.

Belongs here: counting, discounting, and the loss of sequences. Does not belong here: which sequences
(`trials`).

Interpolated modified Kneser-Ney smoothing, as in Chen and Goodman 1999, "An empirical study of smoothing
techniques for language modeling": each order is discounted by how seldom an n-gram was seen, and what
the discounts free goes to the next lower order, whose counts are of the contexts that a token follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_ORDER = 3
#: The discount where too few n-grams were seen to estimate one.
_DISCOUNT = 0.75

Ints = np.ndarray
Floats = np.ndarray


@dataclass(frozen=True)
class _Order:
    """One order: sorted n-grams and contexts as numbers, what each n-gram keeps, what each context frees.

    `kept` is the discounted share of an n-gram among its context's, `freed` the share of a context that
    goes to the lower order.
    """

    ngrams: Ints
    kept: Floats
    contexts: Ints
    freed: Floats

    @classmethod
    def of(cls, ngrams: Ints, counts: Ints, vocabulary: int) -> _Order:
        """From sorted n-grams and their counts."""
        contexts, where = np.unique(ngrams // vocabulary, return_inverse=True)
        taken = _discounts(counts)[np.minimum(counts, 3)]
        total = np.bincount(where, weights=counts)
        freed = np.bincount(where, weights=taken) / total
        return cls(ngrams, (counts - taken) / total[where], contexts, freed)

    def interpolate(self, ngrams: Ints, lower: Floats, vocabulary: int) -> Floats:
        """Probability of the last token of each n-gram, float64 [n]; `lower` is that of the lower order."""
        kept = _lookup(self.ngrams, self.kept, ngrams, 0.0)
        return kept + _lookup(self.contexts, self.freed, ngrams // vocabulary, 1.0) * lower


@dataclass(frozen=True)
class NgramModel:
    """Probabilities of tokens after the two before them.

    Attributes
    ----------
    vocabulary
        Tokens that there are, and one more that stands before every sequence.
    orders
        From one token to three.
    """

    vocabulary: int
    orders: tuple[_Order, ...]

    @classmethod
    def fit(cls, sequences: Sequence[Ints], tokens: int) -> NgramModel:
        """Count sequences of token ids below `tokens`."""
        vocabulary = tokens + 1
        ngrams, counts = np.unique(_ngrams(sequences, tokens), return_counts=True)
        orders = []
        for order in range(_ORDER, 0, -1):
            orders.append(_Order.of(ngrams, counts, vocabulary))
            # the lower order counts the different tokens that an n-gram follows
            ngrams, counts = np.unique(ngrams % vocabulary ** (order - 1), return_counts=True)
        return cls(vocabulary, tuple(reversed(orders)))

    def losses(self, sequences: Sequence[Ints]) -> Floats:
        """Negative log-likelihood of every token of every sequence, nats, float64 [tokens in all]."""
        ngrams = _ngrams(sequences, self.vocabulary - 1)
        probability = np.full(len(ngrams), 1 / self.vocabulary)
        for number, order in enumerate(self.orders, start=1):
            probability = order.interpolate(ngrams % self.vocabulary**number, probability, self.vocabulary)
        return -np.log(probability)


def _ngrams(sequences: Sequence[Ints], begin: int) -> Ints:
    """Each token with the two before it as one number, int64; `begin` stands before a sequence."""
    if not sequences:
        return np.zeros(0, dtype=np.int64)
    before = np.full(_ORDER - 1, begin, dtype=np.int64)
    padded = np.concatenate([part for ids in sequences for part in (before, ids)]).astype(np.int64)
    lengths = np.array([len(ids) for ids in sequences])
    ends = np.cumsum(lengths + _ORDER - 1)
    place = np.arange(len(padded)) - np.repeat(ends - lengths - _ORDER + 1, lengths + _ORDER - 1)
    places = np.flatnonzero(place >= _ORDER - 1)
    found = np.zeros(len(places), dtype=np.int64)
    for back in range(_ORDER - 1, -1, -1):
        found = found * (begin + 1) + padded[places - back]
    return found


def _discounts(counts: Ints) -> Floats:
    """What is taken from counts of 0, 1, 2, and 3 or more."""
    n1, n2, n3, n4 = (int((counts == times).sum()) for times in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return np.array([0.0, _DISCOUNT, _DISCOUNT, _DISCOUNT])
    share = n1 / (n1 + 2 * n2)
    found = 1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3
    # no more than a count, and something, or a new token would be impossible
    return np.array([0.0, *(min(max(one, 0.01), times) for times, one in enumerate(found, start=1))])


def _lookup(keys: Ints, values: Floats, wanted: Ints, otherwise: float) -> Floats:
    if not len(keys):
        return np.full(len(wanted), otherwise)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], otherwise)
