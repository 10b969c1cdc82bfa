"""The language model's part in the scores: a small one trained on the samples, and scores by any.

Belongs here: the tokenizer and the shape of the trained model, and the scores of answers and of whole
conversations. Does not belong here: tokens and the forward pass (`causal`), what is read off the logits
(`likelihood`), the optimiser (`fitting`), or the arithmetic on losses (`difficulty`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curation.errors import UserError
from curation.records import digest
from curation.scores.causal import CURVE, Floats, Ids, LanguageModel, Queue, Rows, Turn, adopt, turns
from curation.scores.difficulty import with_difficulty
from curation.scores.fitting import Training, fit
from curation.scores.likelihood import disagreement, mean_statistics
from curation.settings import LanguageModelSettings
from curation.verdicts import judge

BOS, EOS, USER, ASSISTANT = "<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>"
#: The trained layout in the form that transformers knows, so that others can load the model as well. It
#: has learned single prompts only, and says so.
_CHAT_TEMPLATE = (
    "{% if add_generation_prompt and (messages | length > 1 or messages[0]['role'] != 'user') %}"
    "{{ raise_exception('only a single prompt was learned') }}{% endif %}"
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
#: Characters that the tokenizer learns from, at most.
_TOKENIZER_CHARS = 2_000_000
#: Bytes of a learned token, at most: five Chinese characters.
_TOKEN_BYTES = 16
#: Standard deviation of new weights, times the root of the width. transformers' own is too small here.
_INITIAL_SPREAD = 0.7
#: Operations a second on two common cores, as `max_seconds` reckons with.
_OPERATIONS = 6e10
_SCORES = ("loss_conditional", "loss_alone", "ppl", "ifd", "ifd_ppl", "entropy", "least_confidence", "margin")
#: Uncertainty, which is stored but is no part of the quality; `disagreement` where it was asked for.
STORED_ONLY = ("least_confidence", "margin", "disagreement", "ppl_text")


# -- scoring ------------------------------------------------------------------------------------


def score_answers(
    model: LanguageModel, prompts: pl.Series, answers: pl.Series, settings: LanguageModelSettings
) -> pl.DataFrame:
    """Scores of answers to single prompts.

    Parameters
    ----------
    model
        Trained or loaded.
    prompts, answers
        String series of the same length; a null prompt counts as empty.

    Returns
    -------
    DataFrame
        One row for each row, in order, all Float64, null where the answer has no token, in nats a
        token: `loss_conditional` and `loss_alone`, mean NLL of the answer's tokens given the prompt and
        given only the token that starts every text; `ppl`, `ifd`, `ifd_ppl` as in `difficulty`; and of
        the next-token distributions over the answer given the prompt the means of `entropy`,
        `least_confidence` 1 - p₁, `margin` p₁ - p₂, and of `disagreement` (null unless
        `dropout_passes` asks for it); and `ppl_text`, the perplexity of prompt and answer together as the
        model reads them (null unless `whole_text` asks for it).
    """
    contexts = [[("user", prompt)] for prompt in prompts.fill_null("").to_list()]
    found = turns(model, contexts, answers.fill_null("").to_list(), room(model, settings))
    return _score(model, found, np.arange(len(found)), len(found), settings)


def score_samples(
    model: LanguageModel, samples: pl.DataFrame, settings: LanguageModelSettings
) -> pl.DataFrame:
    """Scores of samples: prompt, answer and messages. Columns and order as in `score_answers`.

    A conversation of several answers is scored turn by turn, each answer given all that was said before
    it, by its messages as they came in; the losses of a conversation are means over all tokens of its
    answers. Any other sample is scored by its prompt and its answer.
    """
    said = samples.select(
        "prompt", "answer", "messages", turns=(pl.col("messages").list.eval(pl.element().struct.field("role") == "assistant").list.sum().fill_null(0) > 1)
    )  # fmt: skip
    contexts: list[list[tuple[str, str]]] = []
    answers: list[str] = []
    owner: list[int] = []
    for row, (prompt, answer, messages, many) in enumerate(said.iter_rows()):
        spoken = [(one["role"], one["content"] or "") for one in messages] if many else []
        pairs = [
            (spoken[:place], content)
            for place, (role, content) in enumerate(spoken)
            if role == "assistant" and place
        ]
        for context, told in pairs or [([("user", prompt or "")], answer or "")]:
            contexts.append(context)
            answers.append(told)
            owner.append(row)
    found = turns(model, contexts, answers, room(model, settings))
    return _score(model, found, np.array(owner, dtype=np.int64), samples.height, settings)


def _score(
    model: LanguageModel, found: list[Turn], owner: Rows, rows: int, settings: LanguageModelSettings
) -> pl.DataFrame:
    """Scores of `rows` samples, each the owner of some turns: means over the tokens of its answers.

    Conditional sequences and those of the answer alone wait in one queue.
    """
    full = [place for place, turn in enumerate(found) if len(turn.answer)]
    kept = [found[place] for place in full]
    ids = [model.template.conditional(turn) for turn in kept] + [
        model.template.unconditional(turn) for turn in kept
    ]
    weight = np.array([len(turn.answer) for turn in kept], dtype=np.int64)
    measured = mean_statistics(
        model.model, Queue(ids, np.tile(weight, 2)), settings.scoring_tokens, settings.threads
    )
    conditional, alone = measured[: len(kept)], measured[len(kept) :]
    columns = {
        "loss_conditional": conditional[:, 0],
        "loss_alone": alone[:, 0],
        "entropy": conditional[:, 1],
        "least_confidence": conditional[:, 2],
        "margin": conditional[:, 3],
    }
    if settings.dropout_passes:
        columns["disagreement"] = disagreement(
            model.model, Queue(ids[: len(kept)], weight), settings.scoring_tokens, settings.threads,
            passes=settings.dropout_passes, rate=settings.dropout, seed=0,
        )  # fmt: skip
    of = owner[full]
    tokens = np.bincount(of, weight, rows)
    means = {
        name: pl.Series(np.bincount(of, weight * values, rows) / np.where(tokens, tokens, np.nan)).fill_nan(
            None
        )
        for name, values in columns.items()
    }
    frame = pl.DataFrame(means, schema=dict.fromkeys(columns, pl.Float64))
    missing = [] if settings.dropout_passes else [pl.lit(None, pl.Float64).alias("disagreement")]
    text = pl.Series("ppl_text", _text_perplexity(model, ids[: len(kept)], of, rows, settings)).fill_nan(None)
    return with_difficulty(frame).with_columns(text, *missing).select(*_SCORES, "disagreement", "ppl_text")


def _text_perplexity(
    model: LanguageModel, conditional: list[Ids], owner: Rows, rows: int, settings: LanguageModelSettings
) -> Floats:
    """Perplexity of each owner's last sequence, which holds all that was said, float64 [rows]; NaN where unknown."""
    found = np.full(rows, np.nan)
    last = {row: place for place, row in enumerate(owner)}
    if settings.whole_text and last:
        ids = [conditional[place] for place in last.values()]
        queue = Queue(ids, np.array([len(sequence) - 1 for sequence in ids], dtype=np.int64))
        losses = mean_statistics(model.model, queue, settings.scoring_tokens, settings.threads)[:, 0]
        found[list(last)] = np.exp(losses)
    return found


def room(model: LanguageModel, settings: LanguageModelSettings) -> int:
    """Tokens of prompt and answer together that the model can read.

    Raises
    ------
    UserError
        The model's own template leaves no room.
    """
    positions = getattr(model.model.config.get_text_config(), "max_position_embeddings", None)
    room = min(settings.max_tokens, (positions or 1 << 30) - model.template.length)
    if room < 2:
        raise UserError(
            "the chat template fills all positions of the model", where=model.tokenizer.name_or_path
        )
    return room


# -- training -----------------------------------------------------------------------------------


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


def train_language_model(
    prompts: Sequence[str],
    answers: Sequence[str],
    settings: LanguageModelSettings,
    seed: int,
    checkpoint: Path | None = None,
) -> LanguageModel:
    """Train a tokenizer and a Llama-shaped model from scratch, on the CPU.

    The training reads `max_steps` batches, but no sample more than `max_epochs` times, and no more than
    two common cores read in `max_seconds`: reckoned, not measured, so that the same samples, settings
    and seed give the same weights on the same kind of machine, whatever the number of threads.

    Parameters
    ----------
    prompts, answers
        Of the same length.
    settings, seed
        `heldout_rows` samples (at most a tenth) are not trained on; the seed chooses them.
    checkpoint
        File that is written as the training goes, and taken up by the same training later.
    """
    order = np.random.default_rng([seed, 0]).permutation(len(prompts))
    heldout = order[: min(settings.heldout_rows, len(order) // 10)]
    order = _enough(order[len(heldout) :], prompts, answers, settings)
    tokenizer = train_tokenizer(_some_text(order, prompts, answers), settings.vocabulary)
    model = adopt(new_model(tokenizer, settings, seed), tokenizer)

    def samples(rows: Rows) -> list[Turn]:
        contexts = [[("user", prompts[row])] for row in rows]
        return turns(model, contexts, [answers[row] for row in rows], settings.max_tokens)

    train, held = samples(order), samples(heldout)
    budget = min(
        settings.max_steps * settings.batch_tokens,
        math.ceil(settings.max_epochs * sum(map(len, train))),
        math.ceil(settings.max_seconds * _OPERATIONS / _operations_per_token(model.model)),
    )
    curve = fit(model, train, held, training_from_scratch(settings, budget, seed), checkpoint)
    return LanguageModel(tokenizer, model.model, model.template, curve)


def training_from_scratch(settings: LanguageModelSettings, tokens: int, seed: int) -> Training:
    """How a new model is fitted."""
    return Training(
        tokens=tokens,
        batch_tokens=settings.batch_tokens,
        learning_rate=settings.learning_rate,
        embedding_rate=settings.embedding_learning_rate,
        max_tokens=settings.max_tokens,
        threads=settings.threads,
        seed=seed,
        dropout=settings.dropout,
    )


def training_of_answers(settings: LanguageModelSettings, tokens: int, seed: int) -> Training:
    """How a loaded model is fitted: it learns nothing but the tokens of answers."""
    return Training(
        tokens=tokens,
        batch_tokens=settings.batch_tokens,
        learning_rate=settings.experience_learning_rate,
        max_tokens=0,  # no end is marked: the base model knows how texts end
        threads=settings.threads,
        seed=seed,
        dropout=settings.dropout,
        alone_share=0.0,
        answers_only=True,
    )


def _operations_per_token(network: Any) -> int:
    """Forward, and twice that backward: two operations for each weight that is multiplied."""
    multiplied = sum(weight.numel() for weight in network.parameters() if weight.ndim > 1)
    tied = network.get_input_embeddings().weight is network.get_output_embeddings().weight
    return 6 * (multiplied - (0 if tied else network.get_input_embeddings().weight.numel()))


def _enough(
    order: Rows, prompts: Sequence[str], answers: Sequence[str], settings: LanguageModelSettings
) -> Rows:
    """The first rows of an order that are sure to fill the training: a token has at most 16 characters."""
    chars = np.array([len(prompts[row]) + len(answers[row]) for row in order], dtype=np.int64)
    tokens = np.minimum(chars / _TOKEN_BYTES, settings.max_tokens)
    return order[: 1 + np.searchsorted(np.cumsum(tokens), settings.max_steps * settings.batch_tokens)]


def _some_text(order: Rows, prompts: Sequence[str], answers: Sequence[str]) -> list[str]:
    texts, left = [], _TOKENIZER_CHARS
    for row in order:
        texts += [prompts[row], answers[row]]
        left -= len(prompts[row]) + len(answers[row])
        if left <= 0:
            break
    return texts


def new_model(tokenizer: Any, settings: LanguageModelSettings, seed: int) -> Any:
    """A Llama-shaped model with its first weights."""
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


def curve_rows(curve: pl.DataFrame, path: str) -> pl.DataFrame:
    """A loss curve as rows of the table `language_model`, but for `run_id`.

    A model that was loaded has no curve: it gets one row, of step 0. `path` names where the model lies.
    """
    if curve.is_empty():
        curve = pl.DataFrame(
            {"step": [0], "loss": [None], "heldout_loss": [None], "tokens": [0]}, schema=CURVE
        )
    ids = [digest("language_model", path, str(step)) for step in curve["step"]]
    frame = curve.with_columns(pl.Series("record_id", ids, dtype=pl.String), path=pl.lit(path))
    return judge(frame, [], loss=pl.col("loss"), heldout_loss=pl.col("heldout_loss"))
