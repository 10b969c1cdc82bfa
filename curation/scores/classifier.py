"""A reward by a transformer: any sequence classifier or reward model of transformers, as it is or fine-tuned.

Belongs here: what such a model says of answers, and its training on pairs. Does not belong here: fetching
one (`resources.reward_model`), or the linear model of the embedded default (`scores.reward`).

The training is that of a Bradley–Terry model (see `scores.reward`), as in Ouyang et al. 2022, "Training
language models to follow instructions with human feedback".
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curation import progress
from curation.errors import UserError
from curation.records import digest
from curation.scores import snapshots
from curation.scores.reward import calibration, prompt_folds
from curation.settings import ScoreSettings
from curation.torch_runtime import torch_threads

#: One question in so many is held out of the training, to stop it and to calibrate it.
_HELD_OUT = 10
#: Looks at the held-out pairs in an epoch, and how many without a gain end the training.
_LOOKS, _PATIENCE = 4, 3
_WARM_UP, _WEIGHT_DECAY, _LONGEST_STEP = 0.1, 0.01, 1.0


@dataclass(frozen=True)
class Classifier:
    """A sequence classifier; `scale` stretches its logits to calibrated log-odds (1 for one that is loaded)."""

    tokenizer: Any
    model: Any
    max_tokens: int
    scale: float = 1.0

    def reward(self, prompts: pl.Series, told: pl.Series, batch_tokens: int = 4_096) -> np.ndarray:
        """The reward of each answer, float64 [n].

        Of a model with one output that output, with two the log-odds of the second, with more (stars) the
        expected place.
        """
        import torch

        ids = self.encode(prompts, told)
        order = sorted(range(len(ids)), key=lambda row: (-len(ids[row]), ids[row]))
        found = np.zeros(len(ids))
        start = 0
        with torch_threads(1), torch.inference_mode():
            while start < len(order):
                rows = order[start : start + max(1, batch_tokens // max(1, len(ids[order[start]])))]
                found[rows] = self.scores([ids[row] for row in rows]).double().cpu().numpy()
                start += len(rows)
                progress.report("answers rewarded", start, len(order))
        return found * self.scale

    def encode(self, prompts: pl.Series, told: pl.Series) -> list[list[int]]:
        """Token ids of each pair: in the model's chat template where it has one, else as two sequences."""
        pairs = list(zip(prompts.fill_null(""), told.fill_null(""), strict=True))
        if not pairs:
            return []
        if self.tokenizer.chat_template:
            texts = [
                self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}],
                    tokenize=False,
                )
                for asked, answer in pairs
            ]
            return self.tokenizer(  # type: ignore[no-any-return]
                texts, truncation=True, max_length=self.max_tokens, add_special_tokens=False
            )["input_ids"]
        asked, answers = zip(*pairs, strict=True)
        return self.tokenizer(  # type: ignore[no-any-return]
            list(asked), list(answers), truncation="longest_first", max_length=self.max_tokens
        )["input_ids"]

    def scores(self, ids: list[list[int]]) -> Any:
        """Unscaled rewards of a batch, a tensor [n]."""
        import torch

        longest, padding = max(map(len, ids)), self.model.config.get_text_config().pad_token_id or 0
        matrix = torch.tensor([row + [padding] * (longest - len(row)) for row in ids])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
        device = self.model.device
        logits = self.model(input_ids=matrix.to(device), attention_mask=mask.to(device)).logits.float()
        if logits.shape[1] == 1:
            return logits[:, 0]
        if logits.shape[1] == 2:
            return logits[:, 1] - logits[:, 0]
        return logits.softmax(-1) @ torch.arange(logits.shape[1], dtype=torch.float32, device=device)


@dataclass
class _Standing:
    """Where a training stands.

    Attributes
    ----------
    step, since
        Steps done, and looks since the last gain.
    found
        Margins of the held-out pairs by the best weights, float64 [pairs].
    best
        Those weights.
    """

    step: int
    since: int
    found: np.ndarray
    best: dict[str, Any]


def fine_tuned(
    base: Classifier, pairs: pl.DataFrame, settings: ScoreSettings, seed: int, checkpoint: Path | None = None
) -> tuple[Classifier, float]:
    """The classifier trained on pairs (prompt, chosen, rejected), and its accuracy on those held out.

    AdamW with linear warm-up and decay. The weights that are best on the held-out questions are taken;
    looks without a gain end the training early. The margins are calibrated on the held-out pairs. With a
    file for a `checkpoint`, which is written at each look, a training that was killed goes on from there
    and comes out as if it had not been.

    Raises
    ------
    UserError
        There are too few pairs to train on and to hold out.
    """
    import torch
    from torch.nn.functional import logsigmoid

    held = prompt_folds(pairs["prompt"], _HELD_OUT) == 0
    if held.sum() < 2 or (~held).sum() < 2:
        raise UserError(
            f"{len(pairs)} pairs are too few to fine-tune on", where="reward model", allowed="some dozens"
        )
    better, worse = (base.encode(pairs["prompt"], pairs[name]) for name in ("chosen", "rejected"))
    model = copy.deepcopy(base.model).float()
    tuned = Classifier(base.tokenizer, model, base.max_tokens)
    rate = settings.reward_learning_rate
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=_WEIGHT_DECAY)
    rows, rest = np.flatnonzero(~held), np.flatnonzero(held)
    batch, epochs = settings.reward_batch, settings.reward_epochs
    per_epoch = -(-len(rows) // batch)
    steps, looks = per_epoch * epochs, max(1, per_epoch // _LOOKS)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps + 1, pct_start=_WARM_UP, anneal_strategy="linear"
    )

    def margins(chosen: np.ndarray) -> Any:
        both = tuned.scores([better[row] for row in chosen] + [worse[row] for row in chosen])
        return both[: len(chosen)] - both[len(chosen) :]

    def held_out() -> np.ndarray:
        model.eval()
        with torch.inference_mode():
            parts = [
                margins(rest[start : start + batch]).cpu().numpy() for start in range(0, len(rest), batch)
            ]
        model.train()
        return np.concatenate(parts).astype(np.float64)

    def loss_of(found: np.ndarray) -> float:
        return float(np.logaddexp(0, -found).mean())

    with torch_threads(1), torch.random.fork_rng(devices=_devices(model)):
        torch.manual_seed(seed)
        at = _Standing(0, 0, held_out(), copy.deepcopy(model.state_dict()))
        # what the model says before it has learned anything tells its weights from others
        read = (str(ids) for told in (better, worse) for ids in told)
        ours = digest(str((rate, batch, epochs, seed)), at.found.tobytes().hex(), *read)
        at = _resume(checkpoint, ours, model, optimiser, schedule) or at
        order = np.concatenate(
            [np.random.default_rng([seed, epoch]).permutation(rows) for epoch in range(epochs)]
        )
        model.train()
        while at.step < steps and at.since < _PATIENCE:
            epoch, place = divmod(at.step, per_epoch)
            chosen = order[epoch * len(rows) : (epoch + 1) * len(rows)][place * batch : (place + 1) * batch]
            loss = -logsigmoid(margins(chosen)).mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), _LONGEST_STEP)
            optimiser.step()
            schedule.step()
            at.step += 1
            progress.report("reward model", at.step, steps)
            if at.step % looks and at.step < steps:
                continue
            found = held_out()
            at.since += 1
            if loss_of(found) < loss_of(at.found):
                at = _Standing(at.step, 0, found, copy.deepcopy(model.state_dict()))
            _keep(checkpoint, ours, at, model, optimiser, schedule)
    model.load_state_dict(at.best)
    model.eval()
    accuracy = float(np.mean(at.found > 0))
    return Classifier(base.tokenizer, model, base.max_tokens, calibration(at.found)), accuracy


# -- checkpoints --------------------------------------------------------------------------------


def _devices(model: Any) -> list[Any]:
    """The GPU of a model, whose random numbers are its own."""
    return [model.device] if model.device.type == "cuda" else []


def _keep(file: Path | None, training: str, at: _Standing, model: Any, optimiser: Any, schedule: Any) -> None:
    """Write the weights, those that were best, and all that decides the next step."""
    import torch

    remembered = optimiser.state_dict()
    tensors = {f"weight.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in at.best.items()}
    tensors |= {
        f"optimiser.{number}.{name}": value
        for number, values in remembered["state"].items()
        for name, value in values.items()
    }
    tensors |= {
        f"random.{number}": torch.cuda.get_rng_state(one) for number, one in enumerate(_devices(model))
    }
    tensors |= {"random": torch.get_rng_state(), "found": torch.from_numpy(at.found)}
    about = {
        "step": at.step,
        "since": at.since,
        "groups": remembered["param_groups"],
        "schedule": schedule.state_dict(),
    }
    snapshots.keep(file, training, tensors, about)


def _resume(file: Path | None, training: str, model: Any, optimiser: Any, schedule: Any) -> _Standing | None:
    """Take up the checkpoint, if there is one of this very training."""
    import torch

    kept = snapshots.kept(file, training)
    if kept is None:
        return None
    tensors, about = kept

    def named(start: str) -> dict[str, Any]:
        return {name.removeprefix(start): one for name, one in tensors.items() if name.startswith(start)}

    model.load_state_dict(named("weight."))
    state: dict[int, dict[str, Any]] = {}
    for name, value in named("optimiser.").items():
        number, _, what = name.partition(".")
        state.setdefault(int(number), {})[what] = value
    optimiser.load_state_dict({"state": state, "param_groups": about["groups"]})
    schedule.load_state_dict(about["schedule"])
    torch.set_rng_state(tensors["random"])
    for place, device in enumerate(_devices(model)):
        torch.cuda.set_rng_state(tensors[f"random.{place}"], device)
    return _Standing(about["step"], about["since"], tensors["found"].numpy(), named("best."))
