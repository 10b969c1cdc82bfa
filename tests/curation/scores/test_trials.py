"""Trials: the same begin, the tokens that were asked for, and a lower loss for samples like the held-out ones."""

from __future__ import annotations

import numpy as np
import pytest

from curation.scores import language_model as lm
from curation.scores import trials
from curation.scores.fitting import Training
from curation.settings import LanguageModelSettings

TINY = LanguageModelSettings(vocabulary=400, hidden=16, layers=1, heads=2, batch_tokens=128, max_tokens=48)
FRUIT = ["苹果", "梨子", "桃子", "葡萄", "西瓜", "香蕉", "樱桃", "草莓"]
PROMPTS = [f"{one}和{other}哪个更甜？" for one in FRUIT for other in FRUIT if one != other]
ANSWERS = [f"一般来说{one}比{other}更甜。" for one in FRUIT for other in FRUIT if one != other]


@pytest.fixture(scope="module")
def scratch() -> trials.Trials:
    return trials.from_scratch(lm.train_tokenizer(PROMPTS + ANSWERS, 400), TINY)


def test_what_resembles_the_held_out_samples_teaches_more(scratch: trials.Trials) -> None:
    held = PROMPTS[40:], ANSWERS[40:]
    near = scratch.losses((PROMPTS[:40], ANSWERS[:40]), held, 3_000, seed=3)
    far = scratch.losses((PROMPTS[:40], ["。，！？" * 3] * 40), held, 3_000, seed=3)
    assert near.shape == (len(held[0]),)
    assert near.mean() < far.mean() - 0.1
    assert (near == scratch.losses((PROMPTS[:40], ANSWERS[:40]), held, 3_000, seed=3)).all()


def test_n_grams_are_trials_too(scratch: trials.Trials) -> None:
    counted = trials.NgramTrials(scratch)
    held = PROMPTS[40:], ANSWERS[40:]
    near = counted.losses((PROMPTS[:40], ANSWERS[:40]), held, 3_000, seed=3)
    far = counted.losses((PROMPTS[:40], ["。，！？" * 3] * 40), held, 3_000, seed=3)
    assert near.mean() < far.mean() - 0.1
    little = counted.losses((PROMPTS[:40], ANSWERS[:40]), held, 60, seed=3)
    assert near.mean() < little.mean() - 0.1  # no more is counted than was asked for
    assert (near == counted.losses((PROMPTS[:40], ANSWERS[:40]), held, 3_000, seed=3)).all()
    empty = counted.losses((PROMPTS[:4], ANSWERS[:4]), (["问", "问"], ["", "答"]), 50, seed=0)
    assert np.isnan(empty[0])
    assert np.isfinite(empty[1])
    assert counted.version != scratch.version


def test_an_answer_without_a_token_has_no_loss(scratch: trials.Trials) -> None:
    losses = scratch.losses((PROMPTS[:4], ANSWERS[:4]), (["问", "问"], ["", "答"]), 50, seed=0)
    assert np.isnan(losses[0])
    assert np.isfinite(losses[1])
    assert scratch.losses((PROMPTS[:4], ANSWERS[:4]), ([], []), 50, seed=0).shape == (0,)


@pytest.mark.parametrize("tuned", [False, True])
def test_tokens_are_those_that_the_training_counts(
    scratch: trials.Trials, monkeypatch: pytest.MonkeyPatch, tuned: bool
) -> None:
    one = trials.fine_tuning(lambda: scratch.fresh(0), TINY) if tuned else scratch
    long = (["问题" * 60, "甲"], ["答" * 60, ""])
    texts = PROMPTS[:9] + long[0], ANSWERS[:9] + long[1]
    seen: list[int] = []

    def fit(model: object, samples: list[object], heldout: object, training: Training) -> None:
        from curation.scores.fitting import layout

        seen.append(int(layout(model, samples, training, np.random.default_rng(0)).scored.sum()))  # type: ignore[arg-type]

    monkeypatch.setattr(trials, "fit", fit)
    one.losses(texts, ([], []), 10, seed=0)
    counted = one.tokens(*texts)
    assert counted.min() >= 1
    assert abs(int(counted.sum()) - seen[0]) <= 2  # a cut sample has no end, an empty answer counts as one
