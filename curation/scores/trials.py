"""What a choice of samples teaches: a fresh model trained on it, and its loss on samples held out.

Belongs here: the model that each trial begins with and how its losses are read. Does not belong here:
the optimiser (`fitting`), counting (`ngram_model`), or which choices are compared (`curation.audit.comparison`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curation.records import digest
from curation.scores.causal import Floats, LanguageModel, Queue, Rows, Turn, adopt, turns
from curation.scores.fitting import Training, fit, layout
from curation.scores.language_model import new_model, room, training_from_scratch, training_of_answers
from curation.scores.likelihood import mean_statistics
from curation.scores.ngram_model import NgramModel
from curation.settings import LanguageModelSettings

Texts = tuple[Sequence[str], Sequence[str]]


@dataclass(frozen=True)
class Trials:
    """Trainings that all begin alike.

    Attributes
    ----------
    fresh
        `fresh(seed)`: the model that a trial begins with.
    training
        `training(tokens, seed)`: how it is fitted.
    workers
        Trials that are best made at the same time, each in a process of its own.
    """

    settings: LanguageModelSettings
    fresh: Callable[[int], LanguageModel]
    training: Callable[[int, int], Training]
    workers: int = 1

    @property
    def version(self) -> str:
        """Changes with the settings, but not with the tokenizer: that shows in `tokens`."""
        return digest("trials", self.settings.model_dump_json(), str(self.training(0, 0)))

    def tokens(self, prompts: Sequence[str], answers: Sequence[str]) -> Rows:
        """Tokens that are learned of each sample, int64 [n], at least 1."""
        model, training = self.fresh(0), self.training(0, 0)
        around = 0 if training.answers_only else model.template.length - 1
        end = 1 if training.max_tokens and model.tokenizer.eos_token_id is not None else 0
        turns_ = self.turns(model, (prompts, answers))
        found = [len(turn.answer) if training.answers_only else len(turn) for turn in turns_]
        return np.maximum(np.array(found, dtype=np.int64) + around + end, 1)

    def losses(self, chosen: Texts, heldout: Texts, tokens: int, seed: int) -> Floats:
        """Fit a model to chosen samples and measure its loss on the answers of held-out ones.

        So many `tokens` are learned whatever the samples (they are read again as often as needed), so
        that choices of different samples can be compared.

        Parameters
        ----------
        chosen, heldout
            Prompts and answers, of the same length.

        Returns
        -------
        float64 [held-out samples]
            Mean NLL of the answer given the prompt, in nats a token; NaN where the answer has no token.
        """
        model = self.fresh(seed)
        fit(model, self.turns(model, chosen), [], self.training(tokens, seed))
        full, queue = self.asked(model, heldout)
        threads = max(1, self.settings.threads // self.workers)
        measured = mean_statistics(model.model, queue, self.settings.scoring_tokens, threads)
        losses = np.full(len(heldout[0]), np.nan)
        losses[full] = measured[:, 0]
        return losses

    def turns(self, model: LanguageModel, texts: Texts) -> list[Turn]:
        """Samples in tokens, cut to what the model has room for."""
        prompts, answers = texts
        return turns(model, [[("user", prompt)] for prompt in prompts], answers, room(model, self.settings))

    def asked(self, model: LanguageModel, texts: Texts) -> tuple[list[int], Queue]:
        """The samples whose answers have a token, by place, and their sequences, answers last."""
        found = self.turns(model, texts)
        full = [place for place, turn in enumerate(found) if len(turn.answer)]
        ids = [model.template.conditional(found[place]) for place in full]
        return full, Queue(ids, np.array([len(found[place].answer) for place in full], dtype=np.int64))


@dataclass(frozen=True)
class NgramTrials:
    """Trials of an n-gram model, which are over in a second and differ little by chance.

    `like` says what its tokens are, and how samples become sequences.
    """

    like: Trials
    workers: int = 1

    @property
    def version(self) -> str:
        """Changes with the settings that make the tokens."""
        return digest("n-grams", self.like.version)

    def tokens(self, prompts: Sequence[str], answers: Sequence[str]) -> Rows:
        """Tokens that are learned of each sample, int64 [n], at least 1."""
        return self.like.tokens(prompts, answers)

    def losses(self, chosen: Texts, heldout: Texts, tokens: int, seed: int) -> Floats:
        """Count chosen samples, in random order up to so many tokens, and measure as `Trials.losses` does.

        None is counted twice: that would say nothing new.
        """
        model, training = self.like.fresh(0), self.like.training(tokens, seed)
        rng = np.random.default_rng([seed, 1])
        queue = layout(model, self.like.turns(model, chosen), training, rng)
        order = rng.permutation(len(queue.ids))
        before = np.cumsum(queue.scored[order]) - queue.scored[order]
        known = [queue.ids[row] for row in order[before < tokens]]
        counted = NgramModel.fit(known, len(model.tokenizer))
        full, asked = self.like.asked(model, heldout)
        of_tokens = counted.losses(asked.ids)
        ends = np.cumsum(asked.lengths)
        losses = np.full(len(heldout[0]), np.nan)
        losses[full] = [
            of_tokens[end - scored : end].mean() for end, scored in zip(ends, asked.scored, strict=True)
        ]
        return losses


def from_scratch(tokenizer: Any, settings: LanguageModelSettings) -> Trials:
    """Trials of a small model with new weights, which learns prompts and answers alike."""

    def fresh(seed: int) -> LanguageModel:
        return adopt(new_model(tokenizer, settings, seed), tokenizer)

    def training(tokens: int, seed: int) -> Training:
        return replace(training_from_scratch(settings, tokens, seed), alone_share=0.0, threads=1)

    # batches are small: a model on each core learns more in an hour than one on all of them
    return Trials(settings, fresh, training, workers=settings.threads)


def fine_tuning(load: Callable[[], LanguageModel], settings: LanguageModelSettings) -> Trials:
    """Trials of a model that is loaded anew for each, and learns the answers only."""

    def training(tokens: int, seed: int) -> Training:
        return training_of_answers(settings, tokens, seed)

    return Trials(settings, lambda seed: load(), training)
