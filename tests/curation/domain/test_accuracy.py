"""Intervals of precision and recall, on documents whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from curation.domain.accuracy import calibrate, measure_accuracy


def corpus(seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that a model gives, and whether it is right; `shift`: how much too sure of the domain."""
    generator = np.random.default_rng(seed)
    logits = np.concatenate([generator.normal(-6, 2, 18_000), generator.normal(2, 2, 2_000)])
    return expit(logits + shift), generator.random(20_000) < expit(logits)


def test_the_intervals_hold_the_truth_though_the_doubtful_were_asked():
    covered = 0
    for seed in range(20):
        probability, truth = corpus(seed, shift=1.0 if seed % 2 else -1.0)
        doubt = probability * (1 - probability) + 0.01
        asked = np.random.default_rng(seed).choice(20_000, 150, replace=False, p=doubt / doubt.sum())
        labels = np.full(20_000, np.nan)
        labels[asked] = truth[asked]
        calibration = calibrate(probability[asked], truth[asked].astype(float))
        inside = calibration.recalibrate(probability) >= 0.5
        said = measure_accuracy(calibration, probability, labels, np.ones(20_000), inside)
        precision, recall = truth[inside].mean(), inside[truth].mean()
        covered += said["precision_low"] <= precision <= said["precision_high"]
        covered += said["recall_low"] <= recall <= said["recall_high"]
        assert said["precision_high"] - said["precision_low"] < 0.4
    assert covered >= 35  # of 40, 38 expected


def test_more_reviews_tell_more():
    probability, truth = corpus(1)
    widths = []
    for asked in (20, 400):
        places = np.random.default_rng(2).choice(20_000, asked, replace=False)
        labels = np.full(20_000, np.nan)
        labels[places] = truth[places]
        calibration = calibrate(probability[places], truth[places].astype(float))
        said = measure_accuracy(calibration, probability, labels, np.ones(20_000), probability >= 0.5)
        widths.append(said["recall_high"] - said["recall_low"])
    assert widths[1] < widths[0]


def test_a_model_that_is_too_sure_is_corrected():
    probability, truth = corpus(3, shift=2.0)
    asked = np.random.default_rng(3).choice(20_000, 2_000, replace=False)
    calibration = calibrate(probability[asked], truth[asked].astype(float))
    near = np.abs(probability - 0.85) < 0.1
    assert calibration.recalibrate(np.array([0.85]))[0] == pytest.approx(truth[near].mean(), abs=0.12)
    assert (np.diff(calibration.recalibrate(np.linspace(0, 1, 50))) >= 0).all()
