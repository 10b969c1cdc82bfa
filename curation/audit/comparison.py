"""The proof of a selection: what each strategy does to a model trained on its choice.

Belongs here: the paired comparison of strategies over seeds, its chart, and the sentence that says no
more than the intervals allow. Does not belong here: training (`curation.scores.language_model`) and
choosing (`curation.selection.strategies`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from curation import progress, verdicts
from curation.audit import plots
from curation.records import digest
from curation.selection import strategies
from curation.settings import AuditSettings, SelectionSettings

#: `train(prompts, answers, heldout_prompts, heldout_answers, seed)` trains a fresh model and gives its
#: loss on the held-out answers (nats a token) and the number of tokens that it was trained on.
Train = Callable[[Sequence[str], Sequence[str], Sequence[str], Sequence[str], int], tuple[float, int]]
_CONFIDENCE = 0.95


def compare_strategies(
    pool: pl.DataFrame,
    vectors: np.ndarray,
    train: Train,
    settings: AuditSettings,
    selection: SelectionSettings,
    seed: int,
) -> pl.DataFrame:
    """Train on what each strategy chooses, and measure on samples that none of them could choose.

    For every seed some samples are held out, at random and the same for all strategies; samples nearly
    equal to a held-out one (cosine above `selection.max_similarity`) leave the pool with them. Each
    strategy then chooses its budget from the rest, under the same refusal of near duplicates.

    Parameters
    ----------
    pool
        record_id, prompt, answer, quality, cluster, to_neighbours.
    vectors
        float32 [n, d], one a row of `pool`.
    settings
        Strategies (`random` is always added), number of seeds and of held-out samples.
    selection
        Budget, exponents and `max_similarity`.

    Returns
    -------
    Rows of the table StrategyComparison (without `run_id`), one a strategy and seed. Empty where no
    seeds are wanted or the pool is too small to hold samples out.
    """
    names = list(dict.fromkeys((*settings.strategies, "random")))
    ready, unit = strategies.prepare(pool, vectors, selection)
    runs = [(number, name) for number in range(settings.comparison_seeds) for name in names]
    if ready.height < 2 * settings.comparison_heldout:
        runs = []
    rows = []
    for number, name in progress.track(runs, "strategies"):
        held, free = _split(unit, settings.comparison_heldout, selection.max_similarity, seed + number)
        rest = ready.filter(pl.Series(free))
        budget = strategies.budget_of(rest.height, selection)
        _, walk = strategies.choose(rest, unit[free], budget, seed + number, selection, name)
        chosen, heldout = rest.filter(pl.Series(walk.accepted)), ready.filter(pl.Series(held))
        texts = [
            frame[column].fill_null("").to_list()
            for frame in (chosen, heldout)
            for column in ("prompt", "answer")
        ]
        loss, tokens = train(*texts, seed + number)  # type: ignore[call-arg, arg-type]
        rows.append((digest("strategy_comparison", name, str(seed + number)), name, seed + number, chosen.height, tokens, float(loss), heldout.height, budget, ready.height - rest.height - heldout.height))  # fmt: skip
    columns = {"record_id": pl.String, "strategy": pl.String, "seed": pl.UInt32, "samples": pl.UInt32, "tokens": pl.UInt64, "heldout_loss": pl.Float64, "heldout": pl.UInt32, "budget": pl.UInt32, "too_near": pl.UInt32}  # fmt: skip
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    noted = {
        name: pl.col(name) for name in ("heldout_loss", "heldout", "budget", "samples", "tokens", "seed")
    }
    return verdicts.judge(frame, [], **noted, left_out_near_heldout=pl.col("too_near")).drop(
        "heldout", "budget", "too_near"
    )


def _split(unit: np.ndarray, size: int, max_similarity: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are held out, and which are free to choose; two bool [n]."""
    held = np.zeros(len(unit), dtype=bool)
    held[np.random.default_rng([seed, 11]).permutation(len(unit))[:size]] = True
    near = np.concatenate(
        [(unit[start : start + 8_192] @ unit[held].T).max(axis=1) for start in range(0, len(unit), 8_192)]
    )
    return held, ~held & (near <= max_similarity)


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
