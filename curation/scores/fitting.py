"""Fitting a causal model to samples: the optimiser, its schedule, the loss curve, checkpoints.

Belongs here: everything between a model with its first weights and the same model with its last.
Does not belong here: which model that is and which samples (`language_model`, `experience`).

Each batch is split into a fixed number of parts, each part is worked on by one thread, and their
gradients are summed in order: the number of threads changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from curation.progress import report
from curation.records import digest
from curation.scores import likelihood, snapshots
from curation.scores.causal import (
    CURVE,
    LanguageModel,
    Queue,
    Rows,
    Turn,
    batches,
    hidden_states,
    logits_of,
    parts,
    predictions,
)
from curation.torch_runtime import torch_threads

if TYPE_CHECKING:
    import torch

#: Batches among which samples of like length are put together.
_BUCKET_BATCHES = 32
#: Parts of a batch whose gradients are taken apart from each other.
_SPLIT = 2
#: Share of the training that warms up, and rows of the loss curve.
_WARM_UP, _CURVE_ROWS = 0.08, 10
_WEIGHT_DECAY = 0.01
#: How long AdamW remembers gradients and their squares. Most tokens are met once in hundreds of batches: with
#: 0.95 for the squares their spread is forgotten in between, and trainings end tenths of a nat apart.
_MEMORY = 0.9, 0.99


@dataclass(frozen=True)
class Training:
    """How to fit.

    `tokens` are to be predicted in all; `alone_share` of the samples are read without their context, so
    that both layouts are known, and `answers_only` predicts nothing but the answer. New token embeddings
    want a peak rate of their own, `embedding_rate` (None: `learning_rate`): most tokens are rare, and a
    rate that is right for the matrices hardly moves them from their random beginnings.
    """

    tokens: int
    batch_tokens: int
    learning_rate: float
    max_tokens: int
    threads: int
    seed: int
    dropout: float = 0.0
    alone_share: float = 0.25
    answers_only: bool = False
    embedding_rate: float | None = None


@dataclass
class _Progress:
    """Where a training stands: `done` batches of `epoch`, and what the curve is made of."""

    epoch: int = 0
    done: int = 0
    step: int = 0
    tokens: int = 0
    loss: float = 0.0
    tokens_before: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)


def fit(
    model: LanguageModel,
    samples: Sequence[Turn],
    heldout: Sequence[Turn],
    training: Training,
    checkpoint: Path | None = None,
) -> pl.DataFrame:
    """Fit a model in place and return the loss curve: step, loss, heldout_loss, tokens.

    AdamW with linear warm-up and cosine decay. The schedule follows the tokens, since batches of whole
    samples are never quite full. With a file for a `checkpoint`, which is written for each row of the
    curve, a training that was killed goes on from there and comes out as if it had not been.
    """

    network = model.model.train()
    optimiser = _optimiser(network, training)
    ours = digest(str(asdict(training)), *_fingerprints(samples), *_fingerprints(heldout))
    at = _resume(checkpoint, network, optimiser, ours)
    heldout_queue = layout(model, heldout, training, np.random.default_rng([training.seed, 2]))
    thinning = likelihood.thinned(network, training.dropout) if training.dropout else nullcontext()
    with torch_threads(1), ThreadPoolExecutor(min(training.threads, _SPLIT)) as pool, thinning as thin:
        while samples and at.tokens < training.tokens:
            rng = np.random.default_rng([training.seed, 1, at.epoch])
            queue = layout(model, samples, training, rng)
            for number, rows in enumerate(_shuffled_batches(queue, training.batch_tokens, rng)):
                if number < at.done:
                    continue
                for group in optimiser.param_groups:
                    group["lr"] = group["peak"] * _schedule(at.tokens / training.tokens)
                at.loss += _step(network, optimiser, queue, rows, pool, thin, (training.seed, at.step))
                at.done, at.step = at.done + 1, at.step + 1
                at.tokens += int(queue.scored[rows].sum())
                report("tokens trained on", min(at.tokens, training.tokens), training.tokens)
                if at.tokens * _CURVE_ROWS >= training.tokens * (len(at.curve) + 1):
                    mean = at.loss / (at.tokens - at.tokens_before)
                    held = _loss_per_token(network, heldout_queue, training)
                    at.curve.append(
                        {"step": at.step, "loss": mean, "heldout_loss": held, "tokens": at.tokens}
                    )
                    at.loss, at.tokens_before = 0.0, at.tokens
                    _keep(checkpoint, network, optimiser, at, ours)
                if at.tokens >= training.tokens:
                    break
            at.epoch, at.done = at.epoch + 1, 0
    network.eval()
    return pl.DataFrame(at.curve, schema=CURVE)


def _optimiser(network: Any, training: Training) -> Any:
    import torch

    embedding, rate = network.get_input_embeddings().weight, training.learning_rate
    weights = [weight for weight in network.parameters() if weight is not embedding]
    groups = [
        {
            "params": [weight for weight in weights if weight.ndim > 1],
            "weight_decay": _WEIGHT_DECAY,
            "peak": rate,
        },
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0, "peak": rate},
        {"params": [embedding], "weight_decay": _WEIGHT_DECAY, "peak": training.embedding_rate or rate},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=_MEMORY, fused=True)


def layout(
    model: LanguageModel, samples: Sequence[Turn], training: Training, rng: np.random.Generator
) -> Queue:
    """Sequences to learn from: most with the context, some without it.

    The end of the answer is marked, unless it was cut.
    """
    mark = model.tokenizer.eos_token_id
    end = np.array([] if mark is None else [mark], dtype=np.int32)
    ids, scored = [], []
    for turn, bare in zip(samples, rng.random(len(samples)) < training.alone_share, strict=True):
        tokens = model.template.unconditional(turn) if bare else model.template.conditional(turn)
        ended = end if len(turn) < training.max_tokens else end[:0]
        ids.append(np.concatenate([tokens, ended]))
        scored.append(len(turn.answer) + len(ended) if training.answers_only else len(ids[-1]) - 1)
    return Queue(ids, np.array(scored, dtype=np.int64))


def _shuffled_batches(queue: Queue, tokens: int, rng: np.random.Generator) -> Iterator[Rows]:
    """All sequences once, in random batches of sequences of like length, so that little is padded."""
    lengths = queue.lengths
    order = rng.permutation(len(lengths))
    window = np.cumsum(lengths[order]) // (tokens * _BUCKET_BATCHES)
    for rows in np.split(order, np.flatnonzero(np.diff(window)) + 1):
        of_like_length = list(batches(rows[np.argsort(-lengths[rows], kind="stable")], lengths, tokens))
        for number in rng.permutation(len(of_like_length)):
            yield of_like_length[number]


def _schedule(done: float) -> float:
    """Share of the peak learning rate when a share of the training is done."""
    if done < _WARM_UP:
        return (done + 0.001) / _WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP)))


def _step(
    network: Any, optimiser: Any, queue: Queue, rows: Rows, pool: Executor, thin: Any, number: tuple[int, int]
) -> float:
    """One step of the optimiser; returns the summed loss of the batch."""
    import torch

    weights = [weight for weight in network.parameters() if weight.requires_grad]
    scored = int(queue.scored[rows].sum())

    def gradients(part: Rows) -> tuple[float, Any]:
        if thin is not None:
            thin.use(*number)
        return _gradients(network, weights, queue, part, scored)

    found = list(pool.map(gradients, [rows[start::_SPLIT] for start in range(min(_SPLIT, len(rows)))]))
    for weight, *taken in zip(weights, *(gradient for _, gradient in found), strict=True):
        weight.grad = taken[0]
        for other in taken[1:]:
            weight.grad += other
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    optimiser.step()
    optimiser.zero_grad()
    return sum(loss for loss, _ in found)


def _gradients(network: Any, weights: list[Any], queue: Queue, rows: Rows, scored: int) -> tuple[float, Any]:
    """Summed loss of some rows, and its gradients divided by `scored`.

    The logits are made, and their gradients taken, some positions at a time: all at once they would
    take most of the memory, and of the time.
    """
    import torch

    matrix, predicts, targets = predictions(queue, rows, network.device)
    hidden = hidden_states(network, matrix, predicts)
    leaf = hidden.detach().requires_grad_()
    head = [weight for weight in network.get_output_embeddings().parameters() if weight.requires_grad]
    of_head = [torch.zeros_like(weight) for weight in head]
    of_hidden = torch.zeros_like(leaf)
    total = 0.0
    for part in parts(network, len(targets)):
        piece = leaf[part].detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(logits_of(network, piece), targets[part], reduction="sum")
        taken = torch.autograd.grad(loss / scored, [piece, *head])
        of_hidden[part] = taken[0]
        for gathered, gradient in zip(of_head, taken[1:], strict=True):
            gathered.add_(gradient)
        total += float(loss.detach())
    found = list(torch.autograd.grad(hidden, weights, of_hidden, allow_unused=True))
    for weight, gradient in zip(head, of_head, strict=True):
        place = next(number for number, other in enumerate(weights) if other is weight)
        found[place] = gradient if found[place] is None else found[place] + gradient
    return total, [
        torch.zeros_like(weight) if taken is None else taken
        for weight, taken in zip(weights, found, strict=True)
    ]


def _loss_per_token(network: Any, queue: Queue, training: Training) -> float | None:
    if not queue.ids:
        return None
    found = likelihood.mean_statistics(network.eval(), queue, training.batch_tokens, training.threads)
    network.train()
    return float(found[:, 0] @ queue.scored / queue.scored.sum())


# -- checkpoints --------------------------------------------------------------------------------


def _fingerprints(samples: Sequence[Turn]) -> Iterator[str]:
    for turn in samples:
        yield "/".join((*turn.roles, *(ids.tobytes().hex() for ids in (*turn.context, turn.answer))))


def _tensors(network: Any, optimiser: Any) -> dict[str, torch.Tensor]:
    """The weights and what the optimiser remembers of each."""
    found = {}
    for number, weight in enumerate(network.parameters()):
        found[f"{number}.weight"] = weight.detach()
        for name, value in optimiser.state.get(weight, {}).items():
            found[f"{number}.{name}"] = value
    return found


def _keep(file: Path | None, network: Any, optimiser: Any, at: _Progress, ours: str) -> None:
    snapshots.keep(file, ours, _tensors(network, optimiser), asdict(at))


def _resume(file: Path | None, network: Any, optimiser: Any, ours: str) -> _Progress:
    """Take up the checkpoint, if there is one of this very training."""
    import torch

    kept = snapshots.kept(file, ours)
    if kept is None:
        return _Progress()
    tensors, about = kept
    for number, weight in enumerate(network.parameters()):
        mine = f"{number}."
        remembered = {
            name.removeprefix(mine): value for name, value in tensors.items() if name.startswith(mine)
        }
        with torch.no_grad():
            weight.copy_(remembered.pop("weight"))
        optimiser.state[weight] = remembered
    return _Progress(**about)
