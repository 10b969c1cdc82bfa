"""A small causal language model trained from scratch on the samples, and scoring with any causal model.

Belongs here: the tokenizer, the training, the artefact's folder, and the losses of answers with and
without their prompts. Does not belong here: fetching a model from elsewhere
(`resources.language_model`) or the arithmetic on losses (`difficulty`).

A sample is tokenised in two parts, prompt and answer, which are then joined by special tokens:

    conditional   <|bos|><|user|> prompt <|assistant|> answer
    alone         <|bos|> answer

so the answer has the same tokens in both. A sample of more than `max_tokens` tokens (special ones not
counted) is cut: of the answer the beginning is kept, of the prompt the tail; the prompt gives way
first, down to half of the room.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
import polars as pl

from curation.errors import UserError
from curation.progress import report
from curation.records import digest
from curation.scores.difficulty import with_difficulty
from curation.settings import LanguageModelSettings
from curation.verdicts import judge

if TYPE_CHECKING:
    import torch

Ids = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

BOS, EOS, USER, ASSISTANT = "<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>"
#: The layout above in the form that transformers knows, so that others can load the model as well.
_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
#: Characters that the tokenizer learns from, at most.
_TOKENIZER_CHARS = 2_000_000
#: Bytes of a learned token, at most: five Chinese characters.
_TOKEN_BYTES = 16
#: Share of training samples that are read without their prompt, so that both layouts are known.
_ALONE_SHARE = 0.25
#: Batches among which samples of like length are put together in training.
_BUCKET_BATCHES = 32
#: Share of the training that warms up, and rows of the loss curve.
_WARM_UP, _CURVE_ROWS = 0.08, 10
_WEIGHT_DECAY = 0.01
#: Standard deviation of new weights, times the root of the width. transformers' own is too small here.
_INITIAL_SPREAD = 0.7
#: Logits that are computed at once, few enough to stay in the processor's cache; and positions, at least.
_LOGITS, _MIN_POSITIONS = 3_000_000, 128
_CURVE = {"step": pl.UInt32, "loss": pl.Float64, "heldout_loss": pl.Float64, "tokens": pl.UInt64}
_SCORES = ("loss_conditional", "loss_alone", "ppl", "ifd", "ifd_ppl", "entropy")


@dataclass(frozen=True)
class Template:
    """The tokens that join a prompt and an answer."""

    before_prompt: Ids
    before_answer: Ids
    alone: Ids

    def conditional(self, prompt: Ids, answer: Ids) -> Ids:
        return np.concatenate([self.before_prompt, prompt, self.before_answer, answer])

    def unconditional(self, answer: Ids) -> Ids:
        return np.concatenate([self.alone, answer])

    @property
    def length(self) -> int:
        return len(self.before_prompt) + len(self.before_answer)


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model, its tokenizer and the layout that it reads samples in.

    `curve` has a row for each tenth of the training (step, loss, heldout_loss, tokens); it is empty
    for a model that was loaded.
    """

    tokenizer: Any
    model: Any
    template: Template
    curve: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_CURVE))

    def save(self, folder: str | Path) -> None:
        """Write `model.safetensors`, `config.json`, `tokenizer.json` and its settings.

        transformers itself can load the folder as well.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        with _quiet():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)


def load(folder: str | Path) -> LanguageModel:
    """The model that was saved in a folder.

    Raises
    ------
    OSError
        The folder does not hold a model.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with _quiet():
        model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, dtype="float32", **options)
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    return adopt(model, tokenizer)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the progress bars of transformers off the screen: progress has its own way."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def adopt(model: Any, tokenizer: Any) -> LanguageModel:
    """Make a LanguageModel of a causal model and a tokenizer of transformers.

    The tokenizer's chat template is honoured where it has one; else prompt and answer follow each
    other, with a line break between.

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
    tokenizer.backend_tokenizer.encode_special_tokens = False
    template = _template(model, tokenizer)
    tokenizer.backend_tokenizer.encode_special_tokens = True
    _check_head(model)
    return LanguageModel(tokenizer, model, template)


def _template(model: Any, tokenizer: Any) -> Template:
    starts = (tokenizer.bos_token_id, getattr(model.config, "bos_token_id", None), tokenizer.eos_token_id)
    start = next((token for token in starts if isinstance(token, int)), None)
    if start is None:
        raise UserError("the tokenizer has no token to start with", where=tokenizer.name_or_path)
    alone = np.array([start], dtype=np.int32)
    if not tokenizer.chat_template:
        return Template(alone, _encode(tokenizer, ["\n"])[0], alone)
    place = "PROMPT"
    try:
        rendered = tokenizer.apply_chat_template(
            [{"role": "user", "content": place}], tokenize=False, add_generation_prompt=True
        )
    except Exception as error:  # templates are programs of others, and fail in any way
        raise UserError(f"the chat template fails: {error}", where=tokenizer.name_or_path) from None
    if rendered.count(place) != 1:
        raise UserError("the chat template has no place for one prompt", where=tokenizer.name_or_path)
    before_prompt, before_answer = _encode(tokenizer, rendered.split(place))
    return Template(before_prompt, before_answer, alone)


# -- tokens -------------------------------------------------------------------------------------


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    """Train a byte-level BPE tokenizer: every text can be encoded, there is no unknown token.

    Digits stand alone, a token spans at most five Chinese characters, and the vocabulary may come out
    smaller than asked for where the texts are few (never below the 256 bytes).
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        max_token_length=_TOKEN_BYTES,
        special_tokens=[BOS, EOS, USER, ASSISTANT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=_CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def _encode(tokenizer: Any, texts: Sequence[str]) -> list[Ids]:
    """Token ids of each text, without special tokens."""
    encode = tokenizer.backend_tokenizer.encode_batch_fast
    return [
        np.asarray(encoding.ids, dtype=np.int32)
        for start in range(0, len(texts), 4096)
        for encoding in encode(list(texts[start : start + 4096]), add_special_tokens=False)
    ]


def _cut(prompt: Ids, answer: Ids, room: int) -> tuple[Ids, Ids]:
    """Cut a sample to `room` tokens: the prompt's tail and the answer's beginning stay."""
    answer = answer[: room - min(len(prompt), room // 2)]
    return prompt[max(0, len(prompt) + len(answer) - room) :], answer


def _samples(
    tokenizer: Any, prompts: Sequence[str], answers: Sequence[str], room: int
) -> list[tuple[Ids, Ids]]:
    pairs = zip(_encode(tokenizer, prompts), _encode(tokenizer, answers), strict=True)
    return [_cut(prompt, answer, room) for prompt, answer in pairs]


# -- batches ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Queue:
    """Sequences of tokens, of each of which the last `scored` tokens are predicted."""

    ids: list[Ids]
    scored: npt.NDArray[np.int64]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.array([len(ids) for ids in self.ids], dtype=np.int64)


def _batches(order: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], tokens: int) -> Iterator[Any]:
    """Split an order by falling length into batches of at most `tokens` tokens, padding included."""
    start = 0
    while start < len(order):
        stop = start + max(1, tokens // int(lengths[order[start]]))
        yield order[start:stop]
        start = stop


def _predictions(queue: _Queue, rows: npt.NDArray[np.int64], device: Any) -> tuple[Any, Any, Any]:
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


def _hidden(model: Any, matrix: torch.Tensor, predicts: torch.Tensor) -> torch.Tensor:
    """Last hidden states at the positions that predict: (positions, width)."""
    states = model.base_model(input_ids=matrix, use_cache=False).last_hidden_state
    return states.flatten(0, 1).index_select(0, predicts)


def _logits(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Logits of hidden states, scaled and capped where the model's config says so, in 32 bits."""
    config = model.config.get_text_config()
    logits = model.get_output_embeddings()(hidden).float()
    if scale := getattr(config, "logit_scale", None):
        logits = logits * scale
    if divisor := getattr(config, "logits_scaling", None):
        logits = logits / divisor
    if cap := getattr(config, "final_logit_softcapping", None):
        logits = cap * (logits / cap).tanh()
    return logits


def _parts(model: Any, positions: int) -> Iterator[slice]:
    """Slices of positions whose logits are computed at once."""
    size = max(_MIN_POSITIONS, _LOGITS // model.config.get_text_config().vocab_size)
    return (slice(start, start + size) for start in range(0, positions, size))


def _check_head(model: Any) -> None:
    """Make sure that `_hidden` and `_logits` together say what the whole model says."""
    import torch

    with torch.inference_mode():
        ids = torch.arange(1, 9, device=model.device)[None]
        expected = model(input_ids=ids, use_cache=False).logits[0].float()
        found = _logits(model, _hidden(model, ids, torch.arange(8, device=model.device)))
    tolerance = 1e-3 if model.dtype == torch.float32 else 2e-2
    if not torch.allclose(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max())):
        raise UserError(
            f"{type(model).__name__} computes its logits in a way that is not known", where=model.name_or_path
        )


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """A fixed number of CPU threads: another number changes the order of sums, so the last bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# -- scoring ------------------------------------------------------------------------------------


def score_answers(
    model: LanguageModel, prompts: pl.Series, answers: pl.Series, settings: LanguageModelSettings
) -> pl.DataFrame:
    """Losses of answers with and without their prompts.

    All sequences, conditional and alone, wait in one queue sorted by length and then by content, so
    that batches hold next to no padding and are the same for any order of the rows.

    Parameters
    ----------
    model
        Trained or loaded.
    prompts, answers
        String series of the same length; a null prompt counts as empty.

    Returns
    -------
    DataFrame
        One row for each row, in order, all Float64, null where the answer has no token:
        `loss_conditional` and `loss_alone`, mean NLL of the answer's tokens given the prompt and given
        only the token that starts every text; `ppl`, `ifd`, `ifd_ppl` as in `difficulty`;
        `entropy`, mean entropy of the next-token distribution over the answer given the prompt. In
        nats a token.
    """
    room = _room(model, settings)
    samples = _samples(
        model.tokenizer, prompts.fill_null("").to_list(), answers.fill_null("").to_list(), room
    )
    rows = np.array([row for row, (_, answer) in enumerate(samples) if len(answer)], dtype=np.int64)
    conditional = [model.template.conditional(*samples[row]) for row in rows]
    alone = [model.template.unconditional(samples[row][1]) for row in rows]
    scored = np.array([len(samples[row][1]) for row in rows], dtype=np.int64)
    queue = _Queue(conditional + alone, np.tile(scored, 2))
    with _threads(settings.threads):
        losses, entropies = _mean_losses(model.model, queue, len(rows), settings.batch_tokens)
    measured = pl.DataFrame(
        {
            "row": rows.astype(np.uint32),
            "loss_conditional": losses[: len(rows)],
            "loss_alone": losses[len(rows) :],
            "entropy": entropies,
        }
    )
    every = pl.DataFrame({"row": pl.arange(len(samples), dtype=pl.UInt32, eager=True)})
    return with_difficulty(every.join(measured, on="row", how="left", maintain_order="left")).select(_SCORES)


def _room(model: LanguageModel, settings: LanguageModelSettings) -> int:
    """Tokens of prompt and answer together that the model can read."""
    positions = getattr(model.model.config.get_text_config(), "max_position_embeddings", None)
    if positions is None:
        return settings.max_tokens
    room = min(settings.max_tokens, positions - model.template.length)
    if room < 2:
        raise UserError(
            "the chat template fills all positions of the model", where=model.tokenizer.name_or_path
        )
    return room


def _mean_losses(model: Any, queue: _Queue, with_entropy: int, tokens: int) -> tuple[Floats, Floats]:
    """Mean NLL of the scored tokens of every sequence, and mean entropy of the first `with_entropy`."""
    import torch

    lengths = queue.lengths
    checksums = np.array([crc32(ids.tobytes()) for ids in queue.ids], dtype=np.int64)
    order = np.lexsort((checksums, -lengths))
    losses, entropies = np.zeros(len(order)), np.zeros(len(order))
    done = 0
    with torch.inference_mode():
        for batch in _batches(order, lengths, tokens):
            rows = np.sort(batch)  # those that need the entropy come first
            matrix, predicts, targets = _predictions(queue, rows, model.device)
            hidden = _hidden(model, matrix, predicts)
            scored = queue.scored[rows]
            measured = int(scored[rows < with_entropy].sum())
            starts = np.concatenate([[0], np.cumsum(scored)[:-1]])
            nll, entropy = _nll_and_entropy(model, hidden, targets, measured)
            losses[rows] = np.add.reduceat(nll, starts) / scored
            entropies[rows] = np.add.reduceat(entropy, starts) / scored
            done += len(rows)
            report("answers scored", done, len(order))
    return losses, entropies[:with_entropy]


def _nll_and_entropy(
    model: Any, hidden: torch.Tensor, targets: torch.Tensor, measured: int
) -> tuple[Floats, Floats]:
    """NLL of each target, and the entropy at (at least) the first `measured` positions."""
    nll, entropy = np.zeros(len(targets)), np.zeros(len(targets))
    for part in _parts(model, len(targets)):
        logits = _logits(model, hidden[part])
        logits -= logits.amax(-1, keepdim=True)
        target = logits.gather(-1, targets[part, None]).squeeze(-1)
        weights = logits.exp()
        total = weights.sum(-1)
        nll[part] = (total.log() - target).double().cpu().numpy()
        if part.start < measured:
            mean = (weights * logits).sum(-1) / total
            entropy[part] = (total.log() - mean).double().cpu().numpy()
    return nll, entropy


# -- training -----------------------------------------------------------------------------------


def train_language_model(
    prompts: Sequence[str], answers: Sequence[str], settings: LanguageModelSettings, seed: int
) -> LanguageModel:
    """Train a tokenizer and a Llama-shaped model from scratch, on the CPU.

    The training reads `max_steps` batches, but no sample more than `max_epochs` times. The same
    samples, settings and seed give the same weights on the same kind of machine.

    Parameters
    ----------
    prompts, answers
        Of the same length.
    settings, seed
        `heldout_rows` samples (at most a tenth) are not trained on; the seed chooses them.
    """
    order = np.random.default_rng([seed, 0]).permutation(len(prompts))
    heldout = order[: min(settings.heldout_rows, len(order) // 10)]
    order = _enough(order[len(heldout) :], prompts, answers, settings)
    tokenizer = train_tokenizer(_some_text(order, prompts, answers), settings.vocabulary)
    model = adopt(_new_model(tokenizer, settings, seed), tokenizer)

    def samples(rows: npt.NDArray[np.int64]) -> list[tuple[Ids, Ids]]:
        chosen_prompts, chosen_answers = ([texts[row] for row in rows] for texts in (prompts, answers))
        return _samples(tokenizer, chosen_prompts, chosen_answers, settings.max_tokens)

    train, held = samples(order), samples(heldout)
    budget = settings.max_steps * settings.batch_tokens
    epochs = settings.max_epochs * sum(len(prompt) + len(answer) for prompt, answer in train)
    with _threads(settings.threads):
        curve = _fit(model, train, held, settings, min(budget, math.ceil(epochs)), seed)
    return LanguageModel(tokenizer, model.model, model.template, curve)


def train_on(
    tokenizer: Any,
    prompts: Sequence[str],
    answers: Sequence[str],
    heldout_prompts: Sequence[str],
    heldout_answers: Sequence[str],
    settings: LanguageModelSettings,
    steps: int,
    seed: int,
) -> float:
    """Train a fresh model on chosen samples and return its loss on the answers of held-out ones.

    The tokens read are `steps` full batches whatever the samples (they are repeated as often as
    needed), so that choices of different samples can be compared.

    Returns
    -------
    float
        Mean over held-out samples of the mean NLL of the answer given the prompt, in nats a token;
        NaN where no held-out answer has a token.
    """
    model = adopt(_new_model(tokenizer, settings, seed), tokenizer)
    samples = _samples(tokenizer, prompts, answers, settings.max_tokens)
    heldout = _samples(tokenizer, heldout_prompts, heldout_answers, settings.max_tokens)
    with _threads(settings.threads):
        _fit(model, samples, [], settings, steps * settings.batch_tokens, seed)
        losses = _mean_losses(model.model, _answers_queue(model, heldout), 0, settings.batch_tokens)[0]
    return float(losses.mean()) if len(losses) else math.nan


def _answers_queue(model: LanguageModel, samples: list[tuple[Ids, Ids]]) -> _Queue:
    samples = [sample for sample in samples if len(sample[1])]
    scored = np.array([len(answer) for _, answer in samples], dtype=np.int64)
    return _Queue([model.template.conditional(*sample) for sample in samples], scored)


def _enough(
    order: npt.NDArray[np.int64],
    prompts: Sequence[str],
    answers: Sequence[str],
    settings: LanguageModelSettings,
) -> npt.NDArray[np.int64]:
    """The first rows of an order that are sure to fill the training: a token has at most 16 characters."""
    chars = np.array([len(prompts[row]) + len(answers[row]) for row in order], dtype=np.int64)
    tokens = np.minimum(chars / _TOKEN_BYTES, settings.max_tokens)
    return order[: 1 + np.searchsorted(np.cumsum(tokens), settings.max_steps * settings.batch_tokens)]


def _some_text(order: npt.NDArray[np.int64], prompts: Sequence[str], answers: Sequence[str]) -> list[str]:
    texts, left = [], _TOKENIZER_CHARS
    for row in order:
        texts += [prompts[row], answers[row]]
        left -= len(prompts[row]) + len(answers[row])
        if left <= 0:
            break
    return texts


def _new_model(tokenizer: Any, settings: LanguageModelSettings, seed: int) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=32 * math.ceil(settings.hidden * 8 / 3 / 32),
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=settings.max_tokens + 4,
        tie_word_embeddings=True,
        initializer_range=_INITIAL_SPREAD / math.sqrt(settings.hidden),
        use_cache=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def _layout(
    model: LanguageModel, samples: list[tuple[Ids, Ids]], room: int, rng: np.random.Generator
) -> _Queue:
    """Sequences to learn from, all tokens predicted: most with the prompt, some without it.

    The end of the answer is marked, unless it was cut.
    """
    end = np.array([model.tokenizer.eos_token_id], dtype=np.int32)
    ids = []
    for (prompt, answer), bare in zip(samples, rng.random(len(samples)) < _ALONE_SHARE, strict=True):
        tokens = model.template.unconditional(answer) if bare else model.template.conditional(prompt, answer)
        ids.append(np.concatenate([tokens, end]) if len(prompt) + len(answer) < room else tokens)
    return _Queue(ids, np.array([len(row) - 1 for row in ids], dtype=np.int64))


def _shuffled_batches(
    queue: _Queue, tokens: int, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """All sequences once, in random batches of sequences of like length, so that little is padded."""
    lengths = queue.lengths
    order = rng.permutation(len(lengths))
    window = np.cumsum(lengths[order]) // (tokens * _BUCKET_BATCHES)
    for rows in np.split(order, np.flatnonzero(np.diff(window)) + 1):
        batches = list(_batches(rows[np.argsort(-lengths[rows], kind="stable")], lengths, tokens))
        for number in rng.permutation(len(batches)):
            yield batches[number]


def _fit(
    model: LanguageModel,
    samples: list[tuple[Ids, Ids]],
    heldout: list[tuple[Ids, Ids]],
    settings: LanguageModelSettings,
    budget: int,
    seed: int,
) -> pl.DataFrame:
    """Train a model in place on `budget` tokens and return the loss curve.

    AdamW with linear warm-up and cosine decay. The schedule follows the tokens, since batches of whole
    samples are never quite full.
    """
    import torch

    network = model.model.train()
    matrices = [weight for weight in network.parameters() if weight.ndim > 1]
    vectors = [weight for weight in network.parameters() if weight.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": _WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
        fused=True,
    )
    rng = np.random.default_rng([seed, 1])
    heldout_queue = _layout(model, heldout, settings.max_tokens, np.random.default_rng([seed, 2]))
    curve: list[dict[str, Any]] = []
    step = tokens = tokens_before = 0
    loss = 0.0
    while samples and tokens < budget:
        queue = _layout(model, samples, settings.max_tokens, rng)
        for rows in _shuffled_batches(queue, settings.batch_tokens, rng):
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * _schedule(tokens / budget)
            loss += _step(network, optimiser, queue, rows)
            step, tokens = step + 1, tokens + int(queue.scored[rows].sum())
            report("tokens trained on", min(tokens, budget), budget)
            if tokens * _CURVE_ROWS >= budget * (len(curve) + 1):
                mean = loss / (tokens - tokens_before)
                held = _loss_per_token(network, heldout_queue, settings.batch_tokens)
                curve.append({"step": step, "loss": mean, "heldout_loss": held, "tokens": tokens})
                loss, tokens_before = 0.0, tokens
            if tokens >= budget:
                break
    network.eval()
    return pl.DataFrame(curve, schema=_CURVE)


def _schedule(done: float) -> float:
    """Share of the peak learning rate when a share of the training is done."""
    if done < _WARM_UP:
        return (done + 0.001) / _WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP)))


def _step(network: Any, optimiser: Any, queue: _Queue, rows: npt.NDArray[np.int64]) -> float:
    """One step of the optimiser; returns the summed loss of the batch.

    The logits are made, and their gradients taken, some positions at a time: all at once they would
    take most of the memory, and of the time.
    """
    import torch

    matrix, predicts, targets = _predictions(queue, rows, network.device)
    hidden = _hidden(network, matrix, predicts)
    leaf = hidden.detach().requires_grad_()
    total = 0.0
    for part in _parts(network, len(targets)):
        loss = torch.nn.functional.cross_entropy(_logits(network, leaf[part]), targets[part], reduction="sum")
        (loss / len(targets)).backward()
        total += float(loss.detach())
    hidden.backward(leaf.grad)
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad()
    return total


def _loss_per_token(network: Any, queue: _Queue, tokens: int) -> float | None:
    if not queue.ids:
        return None
    losses, _ = _mean_losses(network.eval(), queue, 0, tokens)
    network.train()
    return float(losses @ queue.scored / queue.scored.sum())


def curve_rows(curve: pl.DataFrame, path: str) -> pl.DataFrame:
    """A loss curve as rows of the table `language_model`, but for `run_id`.

    A model that was loaded has no curve: it gets one row, of step 0. `path` names where the model lies.
    """
    if curve.is_empty():
        curve = pl.DataFrame(
            {"step": [0], "loss": [None], "heldout_loss": [None], "tokens": [0]}, schema=_CURVE
        )
    ids = [digest("language_model", path, str(step)) for step in curve["step"]]
    frame = curve.with_columns(pl.Series("record_id", ids, dtype=pl.String), path=pl.lit(path))
    return judge(frame, [], loss=pl.col("loss"), heldout_loss=pl.col("heldout_loss"))
