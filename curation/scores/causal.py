"""Causal language models: how one is held, saved and loaded, and the tokens that it reads.

Belongs here: the model with its tokenizer, the layout of prompts and answers, cutting, batches, and
the forward pass up to the logits. Does not belong here: fetching a model from elsewhere
(`resources.language_model`), what is read off the logits (`likelihood`) or training (`fitting`).

An answer is read twice, after its context and alone, with the same tokens:

    conditional   start of the template, context, place of the answer, answer
    alone         the token that starts every text, answer

A sample of more than `max_tokens` tokens (those of the template not counted) is cut: of the answer the
beginning is kept, of the context the tail; the context gives way first, down to half of the room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from curation.errors import UserError
from curation.torch_runtime import quiet

if TYPE_CHECKING:
    import torch

Ids = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

CURVE = {"step": pl.UInt32, "loss": pl.Float64, "heldout_loss": pl.Float64, "tokens": pl.UInt64}
_ENDLESS = 1 << 30
#: Logits that are computed at once, few enough to stay in the processor's cache; and positions, at least.
_LOGITS, _MIN_POSITIONS, _MIN_TOKENS = 1_500_000, 64, 2048


@dataclass(frozen=True)
class Turn:
    """An answer and the messages before it, in tokens."""

    roles: tuple[str, ...]
    context: tuple[Ids, ...]
    answer: Ids

    def __len__(self) -> int:
        return sum(map(len, self.context)) + len(self.answer)


@dataclass(frozen=True)
class Template:
    """The tokens around messages.

    `around(roles)` gives the tokens before, between and after messages of these roles, one more than
    there are roles, or None where the model knows no such conversation; `alone` starts an answer that
    has no context.
    """

    alone: Ids
    around: Callable[[tuple[str, ...]], tuple[Ids, ...] | None]

    def conditional(self, turn: Turn) -> Ids:
        """The whole sequence, the answer last."""
        pieces, context = self.around(turn.roles), turn.context
        if pieces is None:  # refused by `turn`, but for what was cut since
            pieces, context = self.around(("user",)), (np.concatenate(context),)
        assert pieces is not None  # every model knows a single prompt, else it is not adopted
        between = [part for pair in zip(pieces, context, strict=False) for part in pair]
        return np.concatenate([*between, pieces[-1], turn.answer])

    def unconditional(self, turn: Turn) -> Ids:
        return np.concatenate([self.alone, turn.answer])

    def length_of(self, roles: tuple[str, ...]) -> int:
        """Tokens around messages of these roles; without end where the model knows no such conversation."""
        pieces = self.around(roles)
        return _ENDLESS if pieces is None else sum(map(len, pieces))

    @property
    def length(self) -> int:
        """Tokens around a single prompt."""
        return self.length_of(("user",))


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model, its tokenizer and the layout that it reads samples in.

    `curve` has a row for each tenth of the training (step, loss, heldout_loss, tokens); it is empty
    for a model that was loaded.
    """

    tokenizer: Any
    model: Any
    template: Template
    curve: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CURVE))

    def save(self, folder: str | Path) -> None:
        """Write `model.safetensors`, `config.json`, `tokenizer.json` and its settings.

        transformers itself can load the folder as well.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        with quiet():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)


def load(place: str | Path, *, local: bool = True, dtype: str = "float32") -> LanguageModel:
    """The causal model in a folder or, if not `local`, of a hub id: from safetensors, without code of its own.

    Raises
    ------
    OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError
        There is no such model, its files are corrupt, or it is not of a known kind.
    UserError
        Weights are missing, or the model cannot be used (see `adopt`).
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options: dict[str, Any] = {"local_files_only": local, "trust_remote_code": False}
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            place, use_safetensors=True, dtype=dtype, output_loading_info=True, **options
        )
    model, told = loaded
    if missing := sorted(told["missing_keys"]):
        raise UserError(f"the checkpoint lacks {len(missing)} weights, {missing[0]} first", where=str(place))
    return adopt(model, tokenizer)


def adopt(model: Any, tokenizer: Any) -> LanguageModel:
    """Make a LanguageModel of a causal model and a tokenizer of transformers.

    The tokenizer's chat template is honoured where it has one; else messages follow each other, with a
    line break between.

    Raises
    ------
    UserError
        The tokenizer has no `tokenizer.json` or no token to start with, its chat template has no
        place for one prompt, or the model computes its logits in a way that is not known here.
    """
    model.eval()
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise UserError("the tokenizer has no tokenizer.json", where=tokenizer.name_or_path)
    # special tokens written out in a text are text: a sample must not be able to end its own prompt
    tokenizer.backend_tokenizer.encode_special_tokens = True
    start = _start(model, tokenizer)
    template = Template(start, cache(lambda roles: _around(tokenizer, start, roles)))
    if template.around(("user",)) is None:
        raise UserError("the chat template has no place for one prompt", where=tokenizer.name_or_path)
    _check_head(model)
    return LanguageModel(tokenizer, model, template)


def _start(model: Any, tokenizer: Any) -> Ids:
    starts = (tokenizer.bos_token_id, getattr(model.config, "bos_token_id", None), tokenizer.eos_token_id)
    start = next((token for token in starts if isinstance(token, int)), None)
    if start is None:
        raise UserError("the tokenizer has no token to start with", where=tokenizer.name_or_path)
    return np.array([start], dtype=np.int32)


def _around(tokenizer: Any, start: Ids, roles: tuple[str, ...]) -> tuple[Ids, ...] | None:
    """Tokens around messages of these roles (`Template.around`)."""
    if not tokenizer.chat_template:
        return (start, *encode(tokenizer, ["\n"]) * len(roles))
    places = [f"MESSAGE{number}." for number in range(len(roles))]
    messages = [{"role": role, "content": place} for role, place in zip(roles, places, strict=True)]
    try:
        rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception:  # templates are programs of others, and fail in any way
        return None
    pieces = []
    for place in places:
        before, found, rendered = rendered.partition(place)
        if not found:
            return None
        pieces.append(before)
    tokenizer.backend_tokenizer.encode_special_tokens = False
    try:
        return tuple(encode(tokenizer, [*pieces, rendered]))
    finally:
        tokenizer.backend_tokenizer.encode_special_tokens = True


# -- tokens -------------------------------------------------------------------------------------


def encode(tokenizer: Any, texts: Sequence[str]) -> list[Ids]:
    """Token ids of each text, without special tokens."""
    encode_batch = tokenizer.backend_tokenizer.encode_batch_fast
    return [
        np.asarray(encoding.ids, dtype=np.int32)
        for start in range(0, len(texts), 4096)
        for encoding in encode_batch(list(texts[start : start + 4096]), add_special_tokens=False)
    ]


def cut(turn: Turn, room: int) -> Turn:
    """Cut a turn to `room` tokens: the tail of the context and the beginning of the answer stay.

    Messages of which nothing is left go with their role, and so does an answer without its question.
    """
    if len(turn) <= room:
        return turn
    before = len(turn) - len(turn.answer)
    answer = turn.answer[: room - min(before, room // 2)]
    excess = before + len(answer) - room
    kept: list[tuple[str, Ids]] = []
    for role, message in zip(turn.roles, turn.context, strict=True):
        gone = min(max(0, excess), len(message))
        excess -= gone
        if kept or (role != "assistant" and gone < len(message)):
            kept.append((role, message[gone:]))
    if not kept:
        kept = [(turn.roles[-1], turn.context[-1][:0])] if turn.context else []
    return Turn(tuple(role for role, _ in kept), tuple(message for _, message in kept), answer)


def turns(
    model: LanguageModel, contexts: Sequence[Sequence[tuple[str, str]]], answers: Sequence[str], room: int
) -> list[Turn]:
    """Turns in tokens, cut to `room`; `contexts` has the (role, content) of the messages before each answer.

    A conversation of a kind that the model does not know, or of so many messages that the tokens around
    them would take half of the room, becomes one prompt, a message a line.
    """
    around = model.template.length
    extra = [model.template.length_of(tuple(role for role, _ in context)) - around for context in contexts]
    known = [
        list(context)
        if context and more <= room // 2
        else [("user", "\n".join(content for _, content in context if content))]
        for context, more in zip(contexts, extra, strict=True)
    ]
    ids = iter(encode(model.tokenizer, [content for context in known for _, content in context]))
    found = []
    for context, more, answer in zip(known, extra, encode(model.tokenizer, answers), strict=True):
        turn = Turn(tuple(role for role, _ in context), tuple(next(ids) for _ in context), answer)
        found.append(cut(turn, room - max(0, more if len(context) > 1 else 0)))
    return found


# -- batches ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Queue:
    """Sequences of tokens, of each of which the last `scored` tokens are predicted."""

    ids: list[Ids]
    scored: Rows

    @property
    def lengths(self) -> Rows:
        return np.array([len(ids) for ids in self.ids], dtype=np.int64)


def batches(order: Rows, lengths: Rows, tokens: int) -> Iterator[Rows]:
    """Split an order by falling length into batches of at most `tokens` tokens, padding included."""
    start = 0
    while start < len(order):
        stop = start + max(1, tokens // int(lengths[order[start]]))
        yield order[start:stop]
        start = stop


def predictions(queue: Queue, rows: Rows, device: Any) -> tuple[Any, Any, Any]:
    """Padded token ids of a batch, the flat positions that predict, and the tokens that they predict.

    Padding is on the right, where a causal model cannot see it: no mask is needed.
    """
    import torch

    ids = [queue.ids[row] for row in rows]
    lengths = np.array([len(row) for row in ids])
    column = np.arange(lengths.max())
    matrix = np.zeros((len(ids), lengths.max()), dtype=np.int64)
    matrix[column < lengths[:, None]] = np.concatenate(ids)
    first = lengths - 1 - queue.scored[rows]
    predicts = np.flatnonzero((column >= first[:, None]) & (column < lengths[:, None] - 1))
    targets = matrix.ravel()[predicts + 1]
    return tuple(torch.from_numpy(array).to(device) for array in (matrix, predicts, targets))  # type: ignore[return-value]


# -- forward ------------------------------------------------------------------------------------


def hidden_states(model: Any, matrix: torch.Tensor, predicts: torch.Tensor) -> torch.Tensor:
    """Last hidden states at the positions that predict: (positions, width)."""
    states = model.base_model(input_ids=matrix, use_cache=False).last_hidden_state
    return states.flatten(0, 1).index_select(0, predicts)


def logits_of(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Logits of hidden states, scaled and capped where the model's config says so, in 32 bits."""
    logits = model.get_output_embeddings()(hidden).float()
    return _scaled(model, logits)


def _is_scaled(model: Any) -> bool:
    config = model.config.get_text_config()
    names = ("logit_scale", "logits_scaling", "final_logit_softcapping")
    return any(getattr(config, name, None) for name in names)


def _scaled(model: Any, logits: torch.Tensor) -> torch.Tensor:
    config = model.config.get_text_config()
    if scale := getattr(config, "logit_scale", None):
        logits = logits * scale
    if divisor := getattr(config, "logits_scaling", None):
        logits = logits / divisor
    if cap := getattr(config, "final_logit_softcapping", None):
        logits = cap * (logits / cap).tanh()
    return logits


def blocks_of(model: Any, hidden: torch.Tensor) -> Iterator[torch.Tensor]:
    """The same logits of some tokens at a time, (tokens, positions), in the model's precision if unscaled."""
    import torch

    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear:
        yield logits_of(model, hidden).t()
        return
    size = max(_MIN_TOKENS, _LOGITS // max(1, len(hidden)))
    room = hidden.new_empty(size * len(hidden))
    for start in range(0, head.out_features, size):
        weight = head.weight[start : start + size]
        logits = room[: len(weight) * len(hidden)].view(len(weight), -1)
        torch.mm(weight, hidden.t(), out=logits)
        if head.bias is not None:
            logits += head.bias[start : start + size, None]
        yield _scaled(model, logits.float()) if _is_scaled(model) else logits


def plain_head(model: Any) -> torch.Tensor | None:
    """The weight (tokens, width) whose product with hidden states is the logits, if they are nothing else."""
    import torch

    head = model.get_output_embeddings()
    plain = type(head) is torch.nn.Linear and head.bias is None and not _is_scaled(model)
    return head.weight if plain else None


def parts(model: Any, positions: int) -> Iterator[slice]:
    """Slices of positions whose logits are computed at once."""
    size = max(_MIN_POSITIONS, _LOGITS // model.config.get_text_config().vocab_size)
    return (slice(start, start + size) for start in range(0, positions, size))


def _check_head(model: Any) -> None:
    """Make sure that `hidden_states` and `logits_of` together say what the whole model says."""
    import torch

    with torch.inference_mode():
        ids = torch.arange(1, 9, device=model.device)[None]
        expected = model(input_ids=ids, use_cache=False).logits[0].float()
        found = logits_of(model, hidden_states(model, ids, torch.arange(8, device=model.device)))
    tolerance = 1e-3 if model.dtype == torch.float32 else 2e-2
    if not torch.allclose(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max())):
        raise UserError(
            f"{type(model).__name__} computes its logits in a way that is not known", where=model.name_or_path
        )
