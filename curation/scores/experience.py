"""The pre-experienced model of the IFD paper: a base model that has seen a little of the samples.

Belongs here: choosing the few samples and the short training on them. Does not belong here: loading the
base model (`resources.language_model`) or the scores that follow (`language_model`).

Li et al., From Quantity to Quality (NAACL 2024, arXiv 2308.12032): k-means on the embeddings of the
instructions, some samples of each cluster, one epoch; so that the model follows instructions at all
before it says how hard they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curation.progress import track
from curation.scores.causal import LanguageModel, Queue, Rows, batches, hidden_states, predictions, turns
from curation.scores.fitting import fit
from curation.scores.language_model import room, score_answers, training_of_answers
from curation.settings import LanguageModelSettings


def experienced(
    model: LanguageModel,
    prompts: Sequence[str],
    answers: Sequence[str],
    settings: LanguageModelSettings,
    seed: int,
    checkpoint: Path | None = None,
) -> LanguageModel:
    """Train a loaded model in place, for one epoch, on a few samples of each cluster of the prompts.

    Only the tokens of the answers are learned. The curve of the model that is returned has `step`,
    `loss`, `heldout_loss` (null) and `tokens`.
    """
    rows = experience_rows(model, prompts, answers, settings, seed)
    contexts = [[("user", prompts[row])] for row in rows]
    samples = turns(model, contexts, [answers[row] for row in rows], room(model, settings))
    samples = [turn for turn in samples if len(turn.answer)]
    tokens = sum(len(turn.answer) for turn in samples)
    training = training_of_answers(settings, max(1, tokens), seed)
    curve = fit(model, samples, [], training, checkpoint)
    return LanguageModel(model.tokenizer, model.model, model.template, curve)


def experience_rows(
    model: LanguageModel,
    prompts: Sequence[str],
    answers: Sequence[str],
    settings: LanguageModelSettings,
    seed: int,
) -> Rows:
    """Rows to learn from, ascending: of each cluster those nearest to its median perplexity."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    if not prompts:
        return np.zeros(0, dtype=np.int64)
    points = prompt_states(model, prompts, settings)
    with threadpool_limits(1):
        clusters = KMeans(min(settings.experience_clusters, len(np.unique(points, axis=0))), random_state=seed, n_init=1).fit_predict(points)  # fmt: skip
    scores = score_answers(model, pl.Series(prompts), pl.Series(answers), settings)
    scored = pl.DataFrame(
        {"row": np.arange(len(prompts)), "cluster": clusters, "loss": scores["loss_conditional"]}
    )
    from_middle = (pl.col("loss") - pl.col("loss").median().over("cluster")).abs()
    return (
        scored.drop_nulls("loss")
        .with_columns(from_middle=from_middle.round(9))
        .sort("cluster", "from_middle", "row")
        .group_by("cluster", maintain_order=True)
        .head(settings.experience_rows)["row"]
        .sort()
        .to_numpy()
    )


def prompt_states(model: LanguageModel, prompts: Sequence[str], settings: LanguageModelSettings) -> Any:
    """Mean of the last hidden states over each prompt (in the template), float32 [n, width]."""
    import torch

    found = turns(
        model, [[("user", prompt)] for prompt in prompts], [""] * len(prompts), room(model, settings)
    )
    ids = [model.template.conditional(turn) for turn in found]
    # all but the first token are predicted from the states before; the last state sees the whole prompt
    queue = Queue(
        [np.append(sequence, sequence[-1]) for sequence in ids], np.array([len(sequence) for sequence in ids])
    )
    out = np.zeros((len(ids), model.model.config.get_text_config().hidden_size), dtype=np.float32)
    order = np.array(
        sorted(range(len(ids)), key=lambda row: (-len(ids[row]), ids[row].tobytes())), dtype=np.int64
    )
    with torch.inference_mode():
        for rows in track(list(batches(order, queue.lengths, settings.scoring_tokens)), "prompts embedded"):
            matrix, predicts, _ = predictions(queue, rows, model.model.device)
            states = hidden_states(model.model, matrix, predicts).float().cpu().numpy()
            starts = np.concatenate([[0], np.cumsum(queue.scored[rows])[:-1]])
            out[rows] = np.add.reduceat(states, starts, axis=0) / queue.scored[rows][:, None]
    return out
