"""What a causal model says of sequences of tokens: losses, uncertainty, disagreement.

Belongs here: the one queue that sequences wait in, the means over their scored tokens, and the thinned
models that may disagree. Does not belong here: how samples become sequences (`language_model`) or what
follows from a score.

Each batch is worked on by one thread, and `threads` of them at a time, so that the number of threads
changes nothing. Batches are cut from the sorted queue of distinct sequences, so that neither the order
of the rows nor copies among them change anything either: on one machine the same set of sequences, the
same model and the same `tokens` give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import local
from typing import TYPE_CHECKING, Any

import numpy as np

from curation.errors import UserError
from curation.progress import report
from curation.scores.causal import (
    Floats,
    Queue,
    Rows,
    batches,
    blocks_of,
    hidden_states,
    logits_of,
    parts,
    plain_head,
    predictions,
)
from curation.scores.decoder import states_of
from curation.torch_runtime import torch_threads

if TYPE_CHECKING:
    import torch

#: Numbers of hidden states that are multiplied with the head at once: they stay in the processor's cache.
_HIDDEN = 131_072

#: What is measured of a sequence: means over its scored tokens.
STATISTICS = ("loss", "entropy", "least_confidence", "margin")


def mean_statistics(model: Any, queue: Queue, tokens: int, threads: int) -> Floats:
    """Means over the scored tokens of each sequence, float64 [n, 4] in the order of `STATISTICS`.

    Parameters
    ----------
    model
        A causal model of transformers.
    tokens
        In a batch, at most.
    threads
        Batches under way at once, on a CPU.
    """

    states = states_of(model)

    def measure(rows: Rows) -> Floats:
        import torch

        with torch.inference_mode():
            if states is None:
                matrix, predicts, targets = predictions(queue, rows, model.device)
                return _token_statistics(model, hidden_states(model, matrix, predicts), targets)
            ids, scored = [queue.ids[row] for row in rows], queue.scored[rows]
            told = np.concatenate([row[len(row) - some :] for row, some in zip(ids, scored, strict=True)])
            return _token_statistics(model, states(ids, scored), torch.from_numpy(told.astype(np.int64)))

    return _means(model, queue, tokens, threads, measure, len(STATISTICS), "sequences scored")


def disagreement(
    model: Any, queue: Queue, tokens: int, threads: int, *, passes: int, rate: float, seed: int
) -> Floats:
    """Mean mutual information between a token and the model, over thinned models, float64 [n], in nats.

    BALD: the entropy of the mean prediction of `passes` thinned models, less the mean of their
    entropies. High where the models are sure, each of something else.

    References
    ----------
    Houlsby et al., Bayesian active learning for classification and preference learning (2011); Gal &
    Ghahramani, Dropout as a Bayesian approximation (ICML 2016), which is where `rate` comes from: a
    model that was trained with it disagrees as much as it should.
    """

    def measure(rows: Rows) -> Floats:
        import torch

        with torch.inference_mode():
            matrix, predicts, _ = predictions(queue, rows, model.device)
            states = []
            for number in range(passes):
                thin.use(seed, number)
                states.append(hidden_states(model, matrix, predicts))
            return np.concatenate(
                [_mutual_information(model, [state[part] for state in states]) for part in parts(model, len(predicts))]
            )[:, None]  # fmt: skip

    with thinned(model, rate) as thin:
        return _means(model, queue, tokens, threads, measure, 1, "disagreement measured")[:, 0]


def _means(
    model: Any,
    queue: Queue,
    tokens: int,
    threads: int,
    measure: Callable[[Rows], Floats],
    columns: int,
    what: str,
) -> Floats:
    """Means of what `measure` finds at the scored tokens of the rows of a batch, float64 [n, columns]."""
    places, first = _distinct(queue)
    order = first[np.argsort(-queue.lengths[first], kind="stable")]
    found = np.zeros((len(queue.ids), columns))
    work = list(batches(order, queue.lengths, tokens))
    on_cpu = model.device.type == "cpu"
    done = 0
    with torch_threads(1), ThreadPoolExecutor(threads if on_cpu else 1) as pool:
        for rows, measured in zip(work, pool.map(measure, work), strict=True):
            scored = queue.scored[rows]
            starts = np.concatenate([[0], np.cumsum(scored)[:-1]])
            found[rows] = np.add.reduceat(measured, starts, axis=0) / scored[:, None]
            done += len(rows)
            report(what, done, len(order))
    return found[first[places]]


def _distinct(queue: Queue) -> tuple[Rows, Rows]:
    """For each sequence its place among the distinct ones, and the rows of these, sorted by content."""
    keys = [
        scored.tobytes() + ids.tobytes()
        for ids, scored in zip(queue.ids, queue.scored.astype(">i8"), strict=True)
    ]
    first: dict[bytes, int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    order = sorted(first)
    place = {key: number for number, key in enumerate(order)}
    return np.array([place[key] for key in keys], np.int64), np.array([first[key] for key in order], np.int64)


def _token_statistics(model: Any, hidden: torch.Tensor, targets: torch.Tensor) -> Floats:
    """`STATISTICS` at each position, float64 [positions, 4]."""
    if hidden.device.type == "cpu":
        return _by_kernel(model, hidden, targets)
    return np.concatenate(
        [_by_torch(logits_of(model, hidden[part]), targets[part]) for part in parts(model, len(targets))]
    )


def _by_kernel(model: Any, hidden: torch.Tensor, targets: torch.Tensor) -> Floats:
    import torch

    from curation.scores.logit_kernels import (
        gather,
        gather_products,
        start_gathering,
        token_statistics,
    )
    from curation.scores.tiles import LANES

    found = np.empty((len(targets), len(STATISTICS)))
    weight = plain_head(model)
    if weight is not None and weight.dtype == torch.float32:
        strip = max(LANES, _HIDDEN // weight.shape[1] // LANES * LANES)
        for start in range(0, len(targets), strip):
            part = slice(start, start + strip)
            filled = torch.nn.functional.pad(hidden[part].t(), (0, -len(hidden[part]) % LANES)).contiguous()
            state = start_gathering(len(targets[part]))
            gather_products(weight.detach().numpy(), filled.numpy(), targets[part].numpy(), state)
            token_statistics(state, found[part])
    else:
        start, state = 0, start_gathering(len(targets))
        for logits in blocks_of(model, hidden):
            bits = logits.view(torch.uint16) if logits.dtype == torch.bfloat16 else logits.float()
            gather(bits.contiguous().numpy(), start, targets.numpy(), state)
            start += len(logits)
        token_statistics(state, found)
    return found


def _by_torch(logits: torch.Tensor, targets: torch.Tensor) -> Floats:
    import torch

    log_p = logits.log_softmax(-1)
    likeliest = log_p.topk(2).values.exp()
    loss = -log_p.gather(-1, targets[:, None]).squeeze(-1)
    entropy = -(log_p.exp() * log_p).sum(-1)
    columns = [loss, entropy, 1 - likeliest[:, 0], likeliest[:, 0] - likeliest[:, 1]]
    return torch.stack(columns, -1).double().cpu().numpy()


def _mutual_information(model: Any, states: list[torch.Tensor]) -> Floats:
    import torch

    mean, entropy = torch.zeros(()), torch.zeros(())
    for hidden in states:
        log_p = logits_of(model, hidden).log_softmax(-1)
        p = log_p.exp()
        mean, entropy = mean + p / len(states), entropy - (p * log_p).sum(-1) / len(states)
    information = -torch.special.xlogy(mean, mean).sum(-1) - entropy
    return information.clamp(min=0).double().cpu().numpy()


# -- thinned models -----------------------------------------------------------------------------


class Thinning:
    """Which outputs of the feed-forward layers are left out, by thread."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._masks = local()

    def use(self, seed: int, number: int) -> None:
        """From now on this thread runs the thinned model of this number: the same units for all tokens."""
        self._masks.rng, self._masks.by_layer = np.random.default_rng([seed, number]), {}

    def apply(self, layer: int, output: torch.Tensor) -> torch.Tensor:
        import torch

        masks = getattr(self._masks, "by_layer", None)
        if masks is None:  # a thread that asked for no thinned model runs the whole one
            return output
        if layer not in masks:
            kept = self._masks.rng.random(output.shape[-1]) >= self.rate
            scaled = torch.from_numpy(kept / (1 - self.rate))
            masks[layer] = scaled.to(device=output.device, dtype=output.dtype)
        return output * masks[layer]


@contextmanager
def thinned(model: Any, rate: float) -> Iterator[Thinning]:
    """Inside the block the model leaves out a share `rate` of its feed-forward outputs.

    Raises
    ------
    UserError
        The model has no feed-forward layers that are known here.
    """
    layers = [module for name, module in model.named_modules() if name.endswith(".mlp")]
    if not layers:
        raise UserError(f"{type(model).__name__} has no layers that can be thinned", where="dropout_passes")
    thinning = Thinning(rate)
    hooks = [
        layer.register_forward_hook(lambda _module, _given, output, number=number: thinning.apply(number, output))
        for number, layer in enumerate(layers)
    ]  # fmt: skip
    try:
        yield thinning
    finally:
        for hook in hooks:
            hook.remove()
