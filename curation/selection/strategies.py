"""Ways to choose samples, and the choice of the final set.

Belongs here: the registry of strategies, each a ranking of the pool, and `select_samples`, which
judges every scored sample. Does not belong here: weights (`weights`), the sampling design
(`sampling`), or comparing strategies (`curation.audit.comparison`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curation import progress, verdicts
from curation.selection import sampling
from curation.selection.geometry import exact_unit
from curation.selection.weights import with_weights
from curation.settings import SelectionSettings

#: Picks between two reports of progress.
_PICKS = 100


@dataclass(frozen=True)
class Choice:
    """What a strategy says of a pool.

    Attributes
    ----------
    order
        int64 [n]: all rows, the choice first, then the next best in their order.
    probability
        float64 [n]: each row's chance of being among the first `budget` before the draw.
    notes
        What the strategy wants the evidence to say.
    """

    order: np.ndarray
    probability: np.ndarray
    notes: dict[str, object] = field(default_factory=dict)

    def mask(self, budget: int) -> np.ndarray:
        """The first `budget` rows, bool [n]."""
        chosen = np.zeros(len(self.order), dtype=bool)
        chosen[self.order[:budget]] = True
        return chosen


#: A strategy takes the pool sorted by record_id (with `quality`, `cluster`, `answer_chars` and the
#: weights), its unit vectors, the number of rows to choose, and a seed.
Method = Callable[[pl.DataFrame, np.ndarray, int, int], Choice]


def weighted(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int) -> Choice:
    """Quality times diversity as inclusion probabilities, met exactly by a sample spread over the pool.

    Rows are laid out cluster by cluster, near rows side by side, and drawn by the ordered pivotal
    method; the next best follow in a Pareto order of the same probabilities.
    """
    probability = sampling.inclusion_probabilities(pool["weight"].to_numpy(), budget)
    line = sampling.spread_order(unit, pool["cluster"].to_numpy())
    drawn = line[sampling.pivotal_sample(probability[line], seed)]
    ranked = sampling.order_sample(probability, seed)
    weight = pool["weight"].to_numpy()
    by_weight = drawn[np.lexsort((drawn, -weight[drawn]))]
    return Choice(np.concatenate([by_weight, ranked[~np.isin(ranked, drawn)]]), probability)


def random(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int) -> Choice:
    """Every row with the same probability."""
    order = np.random.default_rng(seed).permutation(pool.height)
    return Choice(order, np.full(pool.height, budget / max(pool.height, 1)))


def longest(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int) -> Choice:
    """The longest answers first: a strong baseline (Zhao et al., 2024, "Long is more for alignment")."""
    return _top(pool["answer_chars"].to_numpy(), budget)


def quality_top(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int) -> Choice:
    """The best quality first, whatever it is about."""
    return _top(pool["quality"].fill_null(0.0).fill_nan(0.0).to_numpy(), budget)


def kcenter(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int) -> Choice:
    """K-Center-Greedy: from a seeded start, always the row farthest from all chosen ones."""
    picks, distance = k_center_greedy(unit, budget, seed)
    others = np.setdiff1d(np.arange(len(unit)), picks)
    order = np.concatenate([picks, others[np.argsort(-distance[others], kind="stable")]])
    return Choice(
        order, _certain(order, budget), {"start": pool["record_id"][int(picks[0])] if len(picks) else None}
    )


STRATEGIES: dict[str, Method] = {
    "default": weighted,
    "random": random,
    "longest": longest,
    "quality_top": quality_top,
    "kcenter": kcenter,
}


def _certain(order: np.ndarray, budget: int) -> np.ndarray:
    probability = np.zeros(len(order))
    probability[order[:budget]] = 1.0
    return probability


def _top(score: np.ndarray, budget: int) -> Choice:
    """Highest score first; ties by the order of the rows."""
    order = np.argsort(-score.astype(np.float64), kind="stable")
    return Choice(order, _certain(order, budget))


def k_center_greedy(unit: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows that cover the pool: greedily the one farthest from its nearest chosen row.

    Gonzalez, 1985; Sener and Savarese, 2018. A distance can only shrink as rows are chosen, so old
    distances are upper bounds: a row is shown the picks that it has not seen only while its bound could
    still win (lazy greedy, Minoux, 1978). The result is that of the plain algorithm.

    Parameters
    ----------
    unit
        float32 [n, d] unit vectors on the grid.
    size
        Rows to choose; the first is drawn with the seed. Ties go to the lower row.

    Returns
    -------
    rows int64 [min(size, n)] in the order chosen, and an upper bound of each row's distance 1 - cosine
    to the nearest of them, float64 [n].
    """
    from curation import vector_kernels

    size = min(size, len(unit))
    picks, centres = np.empty(size, dtype=np.int64), np.empty((size, unit.shape[1]), dtype=np.float32)
    near = np.full(len(unit), -np.inf, dtype=np.float32)
    seen = np.zeros(len(unit), dtype=np.int64)  # picks that a row's similarity knows of
    if size:
        picks[0] = np.random.default_rng(seed).integers(len(unit))
        centres[0], near[picks[0]] = unit[picks[0]], np.inf
    for start in progress.track(range(1, size, _PICKS), "k-center"):
        vector_kernels.farthest_first(unit, picks, start, min(start + _PICKS, size), centres, near, seen)
    bound = 1.0 - near.astype(np.float64)
    bound[picks] = 0.0
    return picks, bound


# -- the final set ------------------------------------------------------------------------------


def budget_of(rows: int, settings: SelectionSettings) -> int:
    """Number of samples to choose among `rows`: a count (1 or more) or a share (below 1) as set."""
    wanted = settings.budget if settings.budget >= 1 else max(1.0, round(settings.budget * rows))
    return min(rows, int(wanted))


def prepare(
    scored: pl.DataFrame, vectors: np.ndarray, settings: SelectionSettings
) -> tuple[pl.DataFrame, np.ndarray]:
    """The pool as strategies take it: sorted by record_id, with weights and `answer_chars`; unit vectors."""
    order = scored["record_id"].arg_sort()
    pool = scored[order]
    if "answer_chars" not in pool.columns:
        pool = pool.with_columns(answer_chars=_answer_chars(pool))
    return with_weights(pool, settings), exact_unit(vectors)[order.to_numpy()]


def _answer_chars(pool: pl.DataFrame) -> pl.Expr:
    """Characters of the last message (null counts as none)."""
    if "answer" in pool.columns:
        return pl.col("answer").str.len_chars().fill_null(0)
    return pl.col("messages").list.last().struct.field("content").str.len_chars().fill_null(0)


def select_samples(
    scored: pl.DataFrame, vectors: np.ndarray, settings: SelectionSettings, seed: int
) -> pl.DataFrame:
    """Judge every scored sample for the final set.

    Parameters
    ----------
    scored
        The pool: record_id, shard, messages, quality, cluster, to_neighbours.
    vectors
        float32 [n, d], one a row of `scored`.
    settings
        Budget, strategy, exponents and the similarity above which a sample is refused.

    Returns
    -------
    Rows of the table SftSet (without `run_id`), sorted by record_id. Exactly the budget is kept, unless
    so many samples are too similar to each other that fewer remain. Dropped are `too_similar` (the
    evidence names the choice that it is close to) and `over_budget`. The order of the input rows does
    not matter.
    """
    pool, unit = prepare(scored, vectors, settings)
    budget = budget_of(pool.height, settings)
    choice = STRATEGIES[settings.strategy](pool, unit, budget, seed)
    accepted, near, similarity = sampling.accept_apart(choice.order, unit, budget, settings.max_similarity)
    place = np.empty(pool.height, dtype=np.int64)
    place[choice.order] = np.arange(pool.height)
    ids = pool["record_id"]
    judged = pool.with_columns(
        inclusion_probability=pl.Series(choice.probability, dtype=pl.Float64),
        _near=pl.Series(np.where(near < 0, -1, near)),
        _similarity=pl.Series(similarity, dtype=pl.Float64).fill_nan(None),
        _accepted=pl.Series(accepted),
        _refill=pl.Series(accepted & (place >= budget)),
    ).with_columns(_close_to=pl.when(pl.col("_near") >= 0).then(_names(ids, near)))
    return verdicts.judge(
        judged,
        [
            verdicts.Rule(
                "too_similar",
                pl.col("_near") >= 0,
                {"close_to": pl.col("_close_to"), "similarity": pl.col("_similarity").round(4)},
                {"max_similarity": settings.max_similarity},
            ),
            verdicts.Rule("over_budget", ~pl.col("_accepted"), {}, {"budget": budget}),
        ],
        strategy=settings.strategy,
        seed=seed,
        pool=pool.height,
        inclusion_probability=pl.col("inclusion_probability").round(9),
        quality=pl.col("quality"),
        quality_weight=pl.col("quality_weight").round(9),
        diversity_weight=pl.col("diversity_weight").round(9),
        took_a_refused_place=pl.col("_refill"),
        **choice.notes,
    ).drop("_near", "_similarity", "_accepted", "_refill", "_close_to")


def _names(ids: pl.Series, rows: np.ndarray) -> pl.Series:
    """The ids of the rows; any id where the row is -1."""
    return ids.gather(np.maximum(rows, 0)) if ids.len() else ids
