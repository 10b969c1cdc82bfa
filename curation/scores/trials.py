"""What a choice of samples teaches: a fresh model trained on it, and its loss on samples held out.

Belongs here: the model that each trial begins with and how its losses are read. Does not belong here:
the optimiser (`fitting`), or which choices are compared (`curation.audit.comparison`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curation.scores.causal import Floats, LanguageModel, Queue, Rows, Turn, adopt, turns
from curation.scores.fitting import Training, fit
from curation.scores.language_model import new_model, room, training_from_scratch, training_of_answers
from curation.scores.likelihood import mean_statistics
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
    """

    settings: LanguageModelSettings
    fresh: Callable[[int], LanguageModel]
    training: Callable[[int, int], Training]

    def tokens(self, prompts: Sequence[str], answers: Sequence[str]) -> Rows:
        """Tokens that are learned of each sample, int64 [n], at least 1."""
        model, training = self.fresh(0), self.training(0, 0)
        around = 0 if training.answers_only else model.template.length - 1
        end = 1 if training.max_tokens and model.tokenizer.eos_token_id is not None else 0
        turns_ = self._turns(model, (prompts, answers))
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
        fit(model, self._turns(model, chosen), [], self.training(tokens, seed))
        held = self._turns(model, heldout)
        full = [place for place, turn in enumerate(held) if len(turn.answer)]
        ids = [model.template.conditional(held[place]) for place in full]
        queue = Queue(ids, np.array([len(held[place].answer) for place in full], dtype=np.int64))
        measured = mean_statistics(model.model, queue, self.settings.scoring_tokens, self.settings.threads)
        losses = np.full(len(held), np.nan)
        losses[full] = measured[:, 0]
        return losses

    def _turns(self, model: LanguageModel, texts: Texts) -> list[Turn]:
        prompts, answers = texts
        return turns(model, [[("user", prompt)] for prompt in prompts], answers, room(model, self.settings))


def from_scratch(tokenizer: Any, settings: LanguageModelSettings) -> Trials:
    """Trials of a small model with new weights, which learns prompts and answers alike."""

    def fresh(seed: int) -> LanguageModel:
        return adopt(new_model(tokenizer, settings, seed), tokenizer)

    def training(tokens: int, seed: int) -> Training:
        return replace(training_from_scratch(settings, tokens, seed), alone_share=0.0)

    return Trials(settings, fresh, training)


def fine_tuning(load: Callable[[], LanguageModel], settings: LanguageModelSettings) -> Trials:
    """Trials of a model that is loaded anew for each, and learns the answers only."""

    def training(tokens: int, seed: int) -> Training:
        return training_of_answers(settings, tokens, seed)

    return Trials(settings, lambda seed: load(), training)
