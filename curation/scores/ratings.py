"""How hard a request is and how good its answer, rated by causal models that were trained to rate.

Belongs here: the prompts of such models, what their answer says, and the rating of whole conversations.
Does not belong here: fetching a model (`resources.rating_model`), or choosing by the ratings
(`curation.selection.strategies`).

Liu et al. 2024, "What makes good data for alignment? A comprehensive study of automatic data selection in
instruction tuning" (DEITA). A model is asked for a digit from 1 to 6, and the rating is the expectation over
its next token: sum of d * p(d), where p is the softmax of the logits of these six digits alone. The
complexity is read from the instruction, the quality from instruction and answer; a conversation gets the sum
over its turns of one times the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from curation.errors import UserError
from curation.progress import report
from curation.scores.causal import (
    Floats,
    Ids,
    LanguageModel,
    Queue,
    Rows,
    batches,
    hidden_states,
    logits_of,
    predictions,
)
from curation.torch_runtime import torch_threads

#: What the scorers of the paper were trained on, to the blank (the model cards of deita-complexity-scorer and
#: deita-quality-scorer): other words ask them for something that they have not learned.
LAYOUTS = {
    "complexity": "You are a helpful assistant. Please identify the complexity score of the following user query. \n"
    "##Query: {instruction}  \n##Complexity: ",
    "answer_quality": "You are a helpful assistant. Please identify the quality score of the Response corresponding "
    "to the Question. \n #Question#:\n{instruction}\n#Response#:\n{answer} \n##Quality: ",
}
_DIGITS = "123456"
_TEXTS = ("instruction", "answer")


@dataclass(frozen=True)
class Rater:
    """A model that rates.

    Attributes
    ----------
    layout
        The prompt, with places for `instruction` and `answer` or for the first alone.
    digits
        Tokens of 1 to 6, int64 [6].
    room
        Tokens that are read, the prompt's own counted.
    """

    model: LanguageModel
    layout: str
    digits: Rows
    room: int

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that it is shown."""
        return tuple(name for name in _TEXTS if f"{{{name}}}" in self.layout)

    def rate(self, turns: pl.DataFrame, batch_tokens: int = 4_096, threads: int = 1) -> Floats:
        """The rating of each row of `instruction` and `answer`, float64 [n] in 1–6.

        The order of the rows changes nothing: batches are cut from the sequences sorted by length and
        content.
        """
        shown = turns.select(pl.col(self.reads).fill_null(""))
        ids = [self._fitted(dict(zip(self.reads, row, strict=True))) for row in shown.iter_rows()]
        # the last token is put twice: what is predicted in its second place is the answer
        queue = Queue([np.append(one, one[-1]) for one in ids], np.ones(len(ids), dtype=np.int64))
        order = np.array(
            sorted(range(len(ids)), key=lambda row: (-len(ids[row]), ids[row].tobytes())), np.int64
        )
        work, found, done = list(batches(order, queue.lengths, batch_tokens)), np.zeros(len(ids)), 0
        parallel = threads if self.model.model.device.type == "cpu" else 1
        with torch_threads(1), ThreadPoolExecutor(parallel) as pool:
            for rows, rated in zip(
                work, pool.map(lambda rows: self._expected(queue, rows), work), strict=True
            ):
                found[rows] = rated
                done += len(rows)
                report("samples rated", done, len(ids))
        return found

    def _expected(self, queue: Queue, rows: Rows) -> Floats:
        import torch

        network = self.model.model
        with torch.inference_mode():
            matrix, predicts, _ = predictions(queue, rows, network.device)
            logits = logits_of(network, hidden_states(network, matrix, predicts))[:, self.digits]
            chance = logits.double().softmax(-1).cpu().numpy()
        return np.clip(chance @ np.arange(1.0, len(_DIGITS) + 1), 1.0, len(_DIGITS))

    def _fitted(self, texts: dict[str, str]) -> Ids:
        """The prompt in tokens; texts that do not fit are cut at their ends, the longer one first."""
        tokenizer = self.model.tokenizer
        ids = _encode(tokenizer, self.layout.format(**texts))
        while len(ids) > self.room:
            ends = {
                name: [
                    end
                    for _, end in tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).offsets
                ]
                for name, text in texts.items()
            }
            ranked = sorted(ends, key=lambda name: len(ends[name]))
            longest = ranked[-1]
            excess, longer = len(ids) - self.room, len(ends[longest]) - len(ends[ranked[0]])
            left = len(ends[longest]) - min(excess, max(longer, -(-excess // len(texts))))
            kept = ends[longest][left - 1] if left > 0 else 0
            # a token may be part of a character: then what is left has as many tokens as before
            texts = texts | {longest: texts[longest][: min(kept, len(texts[longest]) - 1)]}
            ids = _encode(tokenizer, self.layout.format(**texts))
        return ids


def rater(model: LanguageModel, kind: str, max_tokens: int) -> Rater:
    """Make a rater of a model; `kind` is one of `LAYOUTS`.

    Raises
    ------
    UserError
        The tokenizer has no single token for a digit behind the prompt, or the model no room for a text.
    """
    layout, tokenizer = LAYOUTS[kind], model.tokenizer
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    plain = layout.format(**dict.fromkeys(_TEXTS, ""))
    before = _encode(tokenizer, plain)
    behind = [_encode(tokenizer, plain + digit) for digit in _DIGITS]
    digits = {int(ids[-1]) for ids in behind}
    if len(digits) < len(_DIGITS) or any(not np.array_equal(ids[:-1], before) for ids in behind):
        raise UserError(
            "the tokenizer has no single token for each of the digits 1 to 6", where=tokenizer.name_or_path
        )
    positions = getattr(model.model.config.get_text_config(), "max_position_embeddings", None)
    room = min(max_tokens, (positions or max_tokens + 1) - 1)  # one place is the doubled token's
    if room <= len(before):
        raise UserError(
            f"{room} tokens leave no room beside the {len(before)} of the rating prompt",
            where=tokenizer.name_or_path,
        )
    return Rater(model, layout, np.array([ids[-1] for ids in behind], dtype=np.int64), room)


def _encode(tokenizer: Any, text: str) -> Ids:
    """Token ids with the marks that the tokenizer itself puts around a text, as the scorers were trained."""
    return np.asarray(tokenizer.backend_tokenizer.encode(text).ids, dtype=np.int32)


def turns_of(samples: pl.DataFrame) -> pl.DataFrame:
    """The turns of samples (prompt, answer, messages): columns row, instruction, answer.

    A conversation of several answers has one for each, whose instruction is what the user said since the
    answer before; any other sample is one turn of its prompt and its answer.
    """
    found: list[tuple[int, str, str]] = []
    for row, (prompt, answer, messages) in enumerate(
        samples.select("prompt", "answer", "messages").iter_rows()
    ):
        said: list[str] = []
        pairs: list[tuple[str, str]] = []
        for one in messages or []:
            if one["role"] == "user":
                said.append(one["content"] or "")
            elif one["role"] == "assistant" and said:
                pairs.append(("\n".join(said), one["content"] or ""))
                said = []
        pairs = pairs if len(pairs) > 1 else [(prompt or "", answer or "")]
        found += [(row, *pair) for pair in pairs]
    return pl.DataFrame(
        found, schema={"row": pl.UInt32, "instruction": pl.String, "answer": pl.String}, orient="row"
    )


def ratings_of(rated: pl.DataFrame, rows: int) -> pl.DataFrame:
    """Ratings of samples from those of their turns.

    Parameters
    ----------
    rated
        row, complexity, answer_quality; one of a turn (`turns_of`), null where no model was given.
    rows
        Samples.

    Returns
    -------
    complexity and answer_quality (means over the turns) and evol (the sum over the turns of their
    products), Float64, null where a rating that it needs was not given; one row a sample, in order.
    """
    names: Sequence[str] = tuple(LAYOUTS)
    means = rated.group_by("row").agg(
        *(pl.col(name).mean() for name in names),
        evol=pl.when((pl.col(names[0]) * pl.col(names[1])).is_not_null().all()).then(
            (pl.col(names[0]) * pl.col(names[1])).sum()
        ),
    )
    every = pl.select(row=pl.int_range(rows, dtype=pl.UInt32))
    return every.join(means, on="row", how="left", maintain_order="left").drop("row")
