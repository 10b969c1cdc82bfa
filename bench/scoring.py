"""Scores by a language model: ours beside the usual loop, one sample at a time in two passes.

The usual loop is that of the IFD paper's code: for each sample the loss of the whole text with the
prompt's labels masked, then that of the answer alone, each with the logits of all positions, in 32 bits.
`ratio` is to the loop on one thread, which is when it costs least; `default_threads_ratio` to the same
loop with as many as torch takes by itself, which mostly wait for each other. Two shapes: the small
default, ours in 32 bits as well, so that the losses must agree; and a model of half a billion weights
(random ones), ours in bfloat16. All three take turns.
"""

from __future__ import annotations

import copy
import time
from statistics import median
from typing import Any

import numpy as np

from curation.scores.causal import Ids, LanguageModel, Queue, Template, Turn
from curation.scores.likelihood import mean_statistics
from curation.settings import LanguageModelSettings
from curation.torch_runtime import torch_threads

#: Samples and rounds of each shape.
SMALL, LARGE = (40, 5), (4, 2)


def _turns(number: int, vocabulary: int, mean: float, longest: int) -> list[Turn]:
    """Random tokens; lengths as in instruction data: log-normal, prompts half as long as answers."""
    rng = np.random.default_rng(0)

    def some(median_length: float) -> Ids:
        length = int(np.clip(rng.lognormal(np.log(median_length), 0.8), 4, longest // 2))
        return rng.integers(10, vocabulary, length).astype(np.int32)

    return [Turn(("user",), (some(mean / 2),), some(mean)) for _ in range(number)]


def _template() -> Template:
    def around(roles: tuple[str, ...]) -> tuple[Ids, ...]:
        return np.array([0, 2], np.int32), np.array([3], np.int32)

    return Template(np.array([0], np.int32), around)


def _model(network: Any) -> LanguageModel:
    return LanguageModel(None, network.eval(), _template())


def _small(settings: LanguageModelSettings) -> LanguageModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=settings.vocabulary, hidden_size=settings.hidden, intermediate_size=352,
        num_hidden_layers=settings.layers, num_attention_heads=settings.heads, tie_word_embeddings=True,
    )  # fmt: skip
    return _model(LlamaForCausalLM(config))


def _large() -> LanguageModel:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=151_936, hidden_size=896, intermediate_size=4_864, num_hidden_layers=24,
        num_attention_heads=14, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    return _model(Qwen2ForCausalLM(config))


def _ours(model: LanguageModel, turns: list[Turn], settings: LanguageModelSettings) -> np.ndarray:
    layouts = (model.template.conditional, model.template.unconditional)
    ids = [layout(turn) for layout in layouts for turn in turns]
    scored = np.array([len(turn.answer) for turn in turns] * 2)
    found = mean_statistics(model.model, Queue(ids, scored), settings.scoring_tokens, settings.threads)
    return found[:, 0].reshape(2, -1).T


def _usual(model: LanguageModel, turns: list[Turn]) -> np.ndarray:
    import torch

    found = []
    for turn in turns:
        losses: list[float] = []
        for ids in (model.template.conditional(turn), model.template.unconditional(turn)):
            whole = torch.from_numpy(ids.astype(np.int64))[None]
            labels = whole.clone()
            labels[:, : len(ids) - len(turn.answer)] = -100
            with torch.no_grad():
                losses.append(float(model.model(input_ids=whole, labels=labels).loss))
        found.append(losses)
    return np.array(found)


def _timed(work: Any, *arguments: Any, threads: int = 1) -> tuple[float, np.ndarray]:
    begun = time.process_time()
    with torch_threads(threads):
        found = work(*arguments)
    return time.process_time() - begun, found


def run() -> dict[str, Any]:
    """CPU seconds of all on both shapes, the medians of the ratios, and how far the losses differ."""
    import torch

    settings = LanguageModelSettings()  # type: ignore[call-arg]
    torch.manual_seed(0)
    small, (samples, rounds) = _small(settings), SMALL
    turns = _turns(samples, settings.vocabulary, 70, settings.max_tokens)
    result = _compared("small_float32", small, small, turns, settings, rounds)
    large, (samples, rounds) = _large(), LARGE
    turns = _turns(samples, 151_936, 70, 512)
    halved = _model(copy.deepcopy(large.model).to(torch.bfloat16))
    return result | _compared("half_billion_bfloat16", halved, large, turns, settings, rounds)


def _compared(
    name: str,
    model: LanguageModel,
    usual_model: LanguageModel,
    turns: list[Turn],
    settings: LanguageModelSettings,
    rounds: int,
) -> dict[str, Any]:
    import torch

    default = torch.get_num_threads()
    _ours(model, turns[:8], settings), _usual(usual_model, turns[:1])  # compiled before it is measured
    ours, usual, waiting, expected, found = [], [], [], np.zeros(0), np.zeros(0)
    for _ in range(rounds):
        seconds, found = _timed(_ours, model, turns, settings)
        ours.append(seconds)
        seconds, expected = _timed(_usual, usual_model, turns)
        usual.append(seconds)
        waiting.append(_timed(_usual, usual_model, turns, threads=default)[0])
    return {
        f"{name}_ours_cpu_seconds": round(median(ours), 2),
        f"{name}_usual_cpu_seconds": round(median(usual), 2),
        f"{name}_ratio": round(float(np.median(np.divide(usual, ours))), 2),
        f"{name}_default_threads_ratio": round(float(np.median(np.divide(waiting, ours))), 2),
        f"{name}_largest_difference": float(f"{np.abs(found / expected - 1).max():.2g}"),
    }
