"""Which documents to ask a person about.

Belongs here: choosing the documents whose review teaches the domain classifier most. Does not belong
here: the queue of all that a person should look at (`audit.queue`).

A document is worth asking about when it is in doubt, when many doubtful ones are like it, and when
none like it was asked before. All three are one measure, the doubt that a set of questions covers:
F(S) = sum over documents j of u_j max over i in S of k(i, j), with the doubt u = 4 p (1 - p), which is submodular, so that
picking the largest gain each time comes within 1 - 1/e of the best set (Wei, Iyer and Bilmes,
Submodularity in data subset selection and active learning, 2015).
"""

from __future__ import annotations

import numpy as np

from curation.domain.correction import kernel

#: Documents that are looked at: the most doubtful.
_CANDIDATES = 4_000
#: Length scale of likeness, in cosine distance.
_LENGTH = 0.2
_BLOCK = 512
#: What the scores are divided by: where nobody has looked, a model is surer than it should be.
_TEMPERATURE = 2.5
_RANDOM_EVERY = 5


def choose_questions(
    features: np.ndarray, scores: np.ndarray, asked: np.ndarray, size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The documents to ask about, the most telling first.

    Every fifth is drawn at random by its doubt alone: what is asked for a reason says little about what
    nobody had a reason to ask.

    Parameters
    ----------
    features
        Unit rows, float [n, d] (`DomainClassifier.features`).
    scores
        Logits with both classes of equal weight, [n] (`DomainClassifier.scores_of`).
    asked
        Places of documents that were asked about already.
    size
        Questions at most.

    Returns
    -------
    Places of the documents, int64 [m], and the doubt that each takes away, in documents, float64 [m].
    """
    from scipy.special import expit

    belief = expit(scores / _TEMPERATURE)
    doubt = 4 * belief * (1 - belief)
    doubt[asked] = 0.0
    generator = np.random.default_rng([seed, len(asked)])
    candidates = np.argsort(-doubt, kind="stable")[:_CANDIDATES]
    candidates = candidates[doubt[candidates] > 0]
    points, weight = features[candidates], doubt[candidates].astype(np.float32)
    alike = kernel(points, points, _LENGTH).astype(np.float32)
    covered = np.zeros(len(candidates), dtype=np.float32)
    for start in range(0, len(asked), _BLOCK):
        near = kernel(points, features[asked[start : start + _BLOCK]], _LENGTH)
        covered = np.maximum(covered, near.max(axis=1).astype(np.float32))
    left = np.ones(len(candidates), dtype=bool)
    chosen, gains = [], []
    for turn in range(1, min(size, len(candidates)) + 1):
        gain = np.maximum(alike - covered, 0) @ weight
        if turn % _RANDOM_EVERY:
            best = int(np.where(left, gain, -1.0).argmax())
        else:
            best = int(generator.choice(len(left), p=(weight * left) / (weight * left).sum(dtype=np.float64)))
        left[best] = False
        chosen.append(best)
        gains.append(float(gain[best]))
        covered = np.maximum(covered, alike[best])
    return candidates[np.array(chosen, dtype=np.int64)], np.array(gains)
