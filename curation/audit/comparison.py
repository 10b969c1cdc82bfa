"""The proof of a selection: what each strategy does to a model trained on its choice.

Belongs here: the paired comparison of strategies over folds, its journal, its chart, and the sentence
that says no more than the intervals allow. Does not belong here: training
(`curation.scores.language_model`) and choosing (`curation.selection.strategies`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

from curation import progress, verdicts
from curation.audit import plots
from curation.records import digest
from curation.selection import strategies
from curation.selection.weights import with_weights
from curation.settings import AuditSettings, SelectionSettings

_CONFIDENCE = 0.95
_BLOCK = 8_192
_ROW = {
    "record_id": pl.String, "strategy": pl.String, "seed": pl.UInt32, "samples": pl.UInt32, "tokens": pl.UInt64,
    "heldout_loss": pl.Float64, "group_loss": pl.Float64, "groups": pl.UInt32, "heldout": pl.UInt32,
    "budget_tokens": pl.UInt64, "left_out_near_heldout": pl.UInt32,
}  # fmt: skip
_Told = tuple[float, float, int]


class Trainer(Protocol):
    """What trains fresh models, such as `curation.scores.trials.Trials`.

    `workers` trainings are made at the same time, in processes of their own if there are several;
    `version` changes with whatever changes their losses.
    """

    @property
    def workers(self) -> int: ...

    @property
    def version(self) -> str: ...

    def tokens(self, prompts: Sequence[str], answers: Sequence[str]) -> np.ndarray:
        """Tokens that are learned of each sample, int64 [n], at least 1."""

    def losses(
        self,
        chosen: tuple[list[str], list[str]],
        heldout: tuple[list[str], list[str]],
        tokens: int,
        seed: int,
    ) -> np.ndarray:
        """Mean loss on the answer of each held-out sample after training on the chosen ones, nats a token."""


@dataclass(frozen=True)
class Arm:
    """One side of the comparison: a strategy, and the rows that it chooses from.

    Attributes
    ----------
    strategy
        Its name; None: nothing is chosen, all rows are read.
    rows
        bool [n] over the pool.
    apart
        Whether near duplicates are refused, as in the selection.
    folds
        Folds that it takes part in, at most.
    """

    strategy: str | None
    rows: np.ndarray
    apart: bool = True
    folds: int = 1_000


def arms_of(pool: pl.DataFrame, settings: AuditSettings) -> dict[str, Arm]:
    """The arms that the settings ask for, by name.

    The strategies of `settings.strategies`, and `random`, choose from the rows that were kept. If there
    are others, `uncurated` draws from all rows at random. `whole_pool` reads every kept row once, in the
    first `comparison_whole` folds.
    """
    kept = pool["kept"].to_numpy()
    arms: dict[str, Arm] = {name: Arm(name, kept) for name in dict.fromkeys((*settings.strategies, "random"))}
    if not kept.all():
        arms["uncurated"] = Arm("random", np.ones(len(kept), dtype=bool), apart=False)
    if settings.comparison_whole:
        arms["whole_pool"] = Arm(None, kept, folds=settings.comparison_whole)
    return arms


def compare_strategies(
    pool: pl.DataFrame,
    vectors: np.ndarray,
    trainer: Trainer,
    arms: Mapping[str, Arm],
    settings: AuditSettings,
    selection: SelectionSettings,
    seed: int,
    journal: Path | None = None,
) -> pl.DataFrame:
    """Train on what each strategy chooses, and measure on samples that none of them could choose.

    In each of `comparison_seeds` folds some samples are held out, the same for all; what is nearly equal
    to one of them (cosine above `selection.max_similarity`, or a duplicate of it) leaves the pool with it. Each arm
    then chooses `comparison_share` of the pool's tokens and a fresh model reads so many, `comparison_epochs` times.

    Parameters
    ----------
    pool
        record_id, prompt, answer, kept; `heldout`: whether it may be held out; `group`, over which losses
        are averaged as well; `duplicate_of`; and of what was kept all that the strategies need.
    vectors
        float32 [n, d], one a row of `pool`.
    arms
        By name (see `arms_of`).
    selection
        Exponents and `max_similarity`. Its budget is not used.
    journal
        File in which each training is noted. What it holds already is not trained again.

    Returns
    -------
    Rows of the table StrategyComparison (without `run_id`), one an arm and fold. Empty where no
    folds are wanted or the pool is too small to hold samples out.
    """
    pool = pool.with_columns(answer_chars=pl.col("answer").str.len_chars().fill_null(0))
    order = pool["record_id"].arg_sort()
    pool, unit = pool[order], strategies.exact_unit(vectors)[order.to_numpy()]
    arms = {name: replace(arm, rows=arm.rows[order.to_numpy()]) for name, arm in arms.items()}
    prompts, answers = (pool[name].fill_null("").to_list() for name in ("prompt", "answer"))
    tokens = trainer.tokens(prompts, answers)
    kept = pool["kept"].to_numpy()
    budget = max(1, round(settings.comparison_share * int(tokens.sum())))
    within = selection.model_copy(update={"budget_tokens": budget, "quotas": {}, "floors": {}})
    # the weights of the selection, by what was kept alone
    weighed = with_weights(pool.filter(pl.Series(kept)), within, budget / max(1, int(tokens[kept].sum())))
    pool = pl.concat([weighed, pool.filter(pl.Series(~kept))], how="diagonal").sort("record_id")
    able = np.flatnonzero(pool["heldout"].to_numpy() & np.array([bool(answer.strip()) for answer in answers]))
    folds = settings.comparison_seeds if len(able) >= 2 * settings.comparison_heldout else 0
    runs = [(fold, name) for fold in range(folds) for name, arm in arms.items() if fold < arm.folds]
    noted = _Journal(journal)
    trained_by = digest(trainer.version, tokens.tobytes().hex())  # another tokenizer, another training
    trials = []
    for fold, name in progress.track(runs, "choices"):
        number = seed + fold
        held, free = _split(pool, unit, able, settings.comparison_heldout, within.max_similarity, number)
        chosen = _choice(pool, unit, arms[name], free, tokens, within, number)
        once = budget if arms[name].strategy else int(tokens[chosen].sum())
        left_out = pool.height - int(free.sum()) - len(held)
        reads = round(once * settings.comparison_epochs)
        ids = (record for which in (chosen, held) for record in pool["record_id"][which])
        known = digest(trained_by, str(number), str(reads), *ids)
        trials.append(_Trial(name, number, chosen, held, reads, left_out, known))
    new = [trial for trial in trials if trial.known not in noted]
    for trial, losses in progress.track(_trained(new, prompts, answers, trainer), "trainings", len(new)):
        noted.put(trial.known, _means(losses, pool["group"][trial.held]))
    rows = [
        (
            digest("strategy_comparison", trial.arm, str(trial.seed)), trial.arm, trial.seed, len(trial.chosen),
            trial.reads, *noted[trial.known], len(trial.held), budget, trial.left_out,
        )
        for trial in trials
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema=_ROW, orient="row")
    evidence = [name for name in _ROW if name not in ("record_id", "strategy")]
    noted_only = ("groups", "heldout", "budget_tokens", "left_out_near_heldout")
    return verdicts.judge(frame, [], **{name: pl.col(name) for name in evidence}).drop(noted_only)


@dataclass(frozen=True)
class _Trial:
    """One training: the rows that an arm chose in a fold, those held out, and how many tokens are read."""

    arm: str
    seed: int
    chosen: np.ndarray
    held: np.ndarray
    reads: int
    left_out: int
    known: str


def _trained(
    trials: Sequence[_Trial], prompts: list[str], answers: list[str], trainer: Trainer
) -> Iterator[tuple[_Trial, np.ndarray]]:
    """Each trial with its losses, as they come: the longest are begun first, so that no core waits at the end."""
    from joblib import Parallel, delayed

    def texts(rows: np.ndarray) -> tuple[list[str], list[str]]:
        return [prompts[row] for row in rows], [answers[row] for row in rows]

    order = sorted(range(len(trials)), key=lambda place: (-trials[place].reads, place))
    workers = max(1, min(trainer.workers, len(trials)))
    made = Parallel(n_jobs=workers, return_as="generator_unordered", pre_dispatch=workers, batch_size=1)(
        delayed(_losses_of)(trainer, place, texts(trial.chosen), texts(trial.held), trial.reads, trial.seed)
        for place, trial in ((place, trials[place]) for place in order)
    )
    for place, losses in made:
        yield trials[place], losses


def _losses_of(trainer: Trainer, place: int, *asked: Any) -> tuple[int, np.ndarray]:
    return place, trainer.losses(*asked)


def _means(losses: np.ndarray, groups: pl.Series) -> tuple[float, float, int]:
    """Mean over samples, mean over the means of groups, and the number of groups."""
    frame = pl.DataFrame({"loss": losses, "group": groups}).filter(pl.col("loss").is_not_nan())
    by_group = frame.group_by("group", maintain_order=True).agg(pl.col("loss").mean())["loss"]
    return float(np.mean(frame["loss"].to_numpy())), float(np.mean(by_group.to_numpy())), len(by_group)


def _choice(
    pool: pl.DataFrame, unit: np.ndarray, arm: Arm, free: np.ndarray, tokens: np.ndarray,
    selection: SelectionSettings, seed: int,
) -> np.ndarray:  # fmt: skip
    """Rows of the pool that an arm chooses among those that are free, int64 ascending."""
    places = np.flatnonzero(arm.rows & free)
    if arm.strategy is None:
        return places
    if not arm.apart:
        selection = selection.model_copy(update={"max_similarity": math.inf})
    cost = tokens[places]
    rows = strategies.budget_of(len(places), selection, int(cost.sum()))
    _, walk = strategies.choose(pool[places], unit[places], rows, seed, selection, arm.strategy, cost)
    return places[walk.accepted]


def _split(
    pool: pl.DataFrame, unit: np.ndarray, able: np.ndarray, size: int, max_similarity: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are held out, int64 [size]; and which are free to choose, bool [n]."""
    held = np.sort(np.random.default_rng([seed, 11]).permutation(able)[:size])
    points = unit[held].T
    near = np.concatenate(
        [(unit[start : start + _BLOCK] @ points).max(axis=1) for start in range(0, len(unit), _BLOCK)]
    )
    free = near <= max_similarity
    free[held] = False
    kin = pool.select(kin=pl.coalesce("duplicate_of", "record_id")).to_series()
    free &= ~kin.is_in(kin[held].implode()).to_numpy()
    return held, free


class _Journal:
    """The trainings that are done, a line each in a file, so that a comparison that was stopped goes on."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self._known: dict[str, _Told] = {}
        for line in file.read_text("utf-8").splitlines() if file is not None and file.exists() else ():
            try:
                key, told = json.loads(line)
            except ValueError:  # empty, or the line that it was stopped in
                continue
            self._known[key] = told

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> _Told:
        return self._known[key]

    def put(self, key: str, told: _Told) -> None:
        self._known[key] = told
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as lines:
                lines.write("\n" + json.dumps([key, told]))  # a new line even where the last was cut off


def interval(values: Sequence[float], confidence: float = _CONFIDENCE) -> tuple[float, float, float]:
    """Mean and confidence interval of measurements, by Student's t; NaN bounds for fewer than two."""
    from scipy import stats

    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return math.nan, math.nan, math.nan
    mean = float(np.mean(finite))
    if len(finite) < 2:
        return mean, math.nan, math.nan
    error = float(np.std(finite, ddof=1)) / math.sqrt(len(finite))
    half = float(stats.t.ppf((1 + confidence) / 2, len(finite) - 1)) * error
    return mean, mean - half, mean + half


def differences(comparison: pl.DataFrame, strategy: str, other: str) -> list[float]:
    """Loss of one strategy minus that of another, seed by seed (paired: same held-out samples)."""
    one = comparison.filter(pl.col("strategy") == strategy).select("seed", "heldout_loss")
    two = comparison.filter(pl.col("strategy") == other).select("seed", pl.col("heldout_loss").alias("other"))
    both = one.join(two, on="seed").sort("seed")
    return (both["heldout_loss"] - both["other"]).to_list()


def comparison_svg(comparison: pl.DataFrame) -> str:
    """Mean held-out loss and its 95 % interval for each strategy, best first."""
    losses = _losses(comparison)
    bounds = [interval(values) for values in losses.values()]
    means, lows, highs = ([bound[place] for bound in bounds] for place in range(3))
    title = "Held-out loss after training on each choice (lower is better)"
    return plots.intervals_svg(
        list(losses),
        means,
        lows,
        highs,
        title,
        points=list(losses.values()),
        x_label="nats per token, mean and 95 % interval",
    )


def _losses(comparison: pl.DataFrame) -> dict[str, list[float]]:
    """Losses of each strategy, the lowest mean first."""
    grouped = (
        comparison.sort("strategy", "seed").group_by("strategy", maintain_order=True).agg("heldout_loss")
    )
    rows = [(name, list(values)) for name, values in grouped.iter_rows()]
    return dict(sorted(rows, key=lambda row: (interval(row[1])[0], row[0])))


def verdict_sentence(comparison: pl.DataFrame, strategy: str = "default") -> str:
    """What may be said of a strategy: better or worse only where the paired 95 % interval leaves 0 out.

    With k other strategies each interval is taken at 1 - 0.05 / k (Bonferroni), so that all claims of
    the sentence hold together at 95 %.
    """
    names = list(dict.fromkeys(comparison.sort("strategy")["strategy"]))
    if strategy not in names or len(names) < 2:
        return "Nothing was compared, so nothing can be said of the selection's effect on a model."
    seeds = comparison.filter(pl.col("strategy") == strategy).height
    others = [name for name in names if name != strategy]
    confidence = 1 - (1 - _CONFIDENCE) / len(others)
    said = []
    for other in others:
        mean, low, high = interval(differences(comparison, strategy, other), confidence)
        if not math.isfinite(low):
            said.append(f"no interval against {other} ({mean:+.4f} nats with {seeds} seed)")
            continue
        words = "better than" if high < 0 else "worse than" if low > 0 else "not distinguishable from"
        said.append(f"{words} {other} ({mean:+.4f} nats a token, {low:+.4f} to {high:+.4f})")
    over = f"Over {seeds} seed{'s' if seeds != 1 else ''}, with this model and budget, held-out loss: "
    return over + f"{strategy} is " + "; ".join(said) + " (all intervals together 95 %)."
