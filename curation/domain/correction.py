"""What reviews teach about the documents around them.

Belongs here: the correction of a classifier's scores near the documents that a person has judged.
Does not belong here: the classifier itself (`classifier`), or what to ask next (`questions`).

A linear model learns little from a few hundred decisions among a hundred thousand documents, and what
one decision moves, it moves everywhere. The correction is local: a Gaussian process whose mean is the
classifier's score and which sees the decisions through a logistic likelihood (Rasmussen and Williams,
Gaussian Processes for Machine Learning, 2006, chapter 3: Laplace's approximation, algorithms 3.1, 3.2).
Its length scale and variance are those that make the decisions most likely.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Length scales in cosine distance, and variances in squared logits.
_LENGTHS, _VARIANCES = (0.1, 0.2, 0.35), (1.0, 4.0, 16.0)
_NEWTON_STEPS = 50
_BLOCK = 1 << 12
#: Folds of the decisions: each of them is scored by the others alone.
FOLDS = 5


@dataclass(frozen=True)
class Correction:
    """What is added to the scores of documents.

    Attributes
    ----------
    anchors
        Unit features of the reviewed documents, float64 [m, d].
    pull
        How each of them moves the scores around it, float64 [FOLDS + 1, m]: row k is learned without
        the decisions of fold k, the last row from all.
    length
        Length scale of the kernel in cosine distance.
    """

    anchors: np.ndarray
    pull: np.ndarray
    length: float

    def of(self, features: np.ndarray, left_out: np.ndarray) -> np.ndarray:
        """The correction of each row of unit `features` [n, d]; float64 [n].

        `left_out`: the fold of decisions to leave out for each row, `FOLDS` where none is.
        """
        moved = np.zeros(len(features))
        if not len(self.anchors):
            return moved
        for start in range(0, len(features), _BLOCK):
            rows = slice(start, start + _BLOCK)
            near = kernel(features[rows], self.anchors, self.length)
            moved[rows] = np.einsum("nm,nm->n", near, self.pull[left_out[rows]])
        return moved


def no_correction(dimension: int) -> Correction:
    """The correction where nobody has judged anything yet."""
    return Correction(np.zeros((0, dimension)), np.zeros((FOLDS + 1, 0)), _LENGTHS[0])


def kernel(first: np.ndarray, second: np.ndarray, length: float) -> np.ndarray:
    """Similarity in (0, 1] of unit rows [n, d] and [m, d]: exp of minus the cosine distance in lengths."""
    return np.asarray(np.exp((first @ second.T - 1.0) / length))


def learn_correction(
    anchors: np.ndarray, scores: np.ndarray, labels: np.ndarray, folds: np.ndarray
) -> Correction:
    """Learn how decisions move the scores around them.

    Parameters
    ----------
    anchors
        Unit features of the reviewed documents, float64 [m, d].
    scores
        The classifier's logits, by a model that did not learn from the document, float64 [m].
    labels
        1 accepted, 0 rejected, [m].
    folds
        Fold of each decision, 0 to FOLDS - 1, [m].
    """
    if not len(anchors):
        return no_correction(anchors.shape[1])
    best = (-np.inf, _LENGTHS[0], _VARIANCES[0])
    for length in _LENGTHS:
        near = kernel(anchors, anchors, length)
        for variance in _VARIANCES:
            evidence = posterior_mode(variance * near, scores, labels)[2]
            best = max(best, (evidence, length, variance))
    _, length, variance = best
    covariance = variance * kernel(anchors, anchors, length)
    pull = np.zeros((FOLDS + 1, len(anchors)))
    for fold in range(FOLDS + 1):
        seen = np.flatnonzero(folds != fold)
        if len(seen):
            found = posterior_mode(covariance[np.ix_(seen, seen)], scores[seen], labels[seen])[0]
            pull[fold, seen] = variance * found
    return Correction(anchors, pull, length)


def posterior_mode(
    covariance: np.ndarray, offset: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """The mode of a Gaussian process under a logistic likelihood.

    Parameters
    ----------
    covariance
        Of the process at the labelled points, float64 [m, m].
    offset
        Its mean there, in logits, [m].
    labels
        1 or 0, [m].

    Returns
    -------
    Weights (mode = offset + covariance @ weights), the curvature of the likelihood there, both
    float64 [m], and the log evidence.
    """
    from scipy.linalg import cho_solve, cholesky
    from scipy.special import expit

    mode = np.zeros(len(labels))
    for _ in range(_NEWTON_STEPS):
        probability = expit(offset + mode)
        curvature = np.maximum(probability * (1 - probability), 1e-9)
        step = curvature * mode + labels - probability
        root = np.sqrt(curvature)
        factor = cholesky(np.eye(len(labels)) + root[:, None] * covariance * root, lower=True)
        weights = step - root * cho_solve((factor, True), root * (covariance @ step))
        before, mode = mode, covariance @ weights
        if np.abs(mode - before).max() < 1e-8:
            break
    surprise = np.logaddexp(0.0, np.where(labels > 0, -1, 1) * (offset + mode)).sum()
    evidence = -0.5 * weights @ mode - surprise - np.log(np.diag(factor)).sum()
    return weights, curvature, float(evidence)
