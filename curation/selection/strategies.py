"""Ways to choose samples, and the choice of the final set.

Belongs here: the registry of strategies, each a ranking of the pool with its source, and
`select_samples`, which judges every scored sample. Does not belong here: weights (`weights`), the sampling
design (`sampling`), greedy maximisers (`greedy`), limits (`budget`), or comparing strategies
(`curation.audit.comparison`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curation import verdicts
from curation.errors import UserError
from curation.selection import budget as limits
from curation.selection import greedy, importance, sampling
from curation.selection import weights as weighing
from curation.selection.clusters import spherical_kmeans
from curation.selection.geometry import exact_unit
from curation.selection.weights import with_weights
from curation.settings import SelectionSettings
from curation.verdicts import F

budget_of = limits.budget_of

#: DEITA's limit of similarity to what was accepted before.
_DEITA_LIMIT = 0.9
#: Share of the pool that is left by the first step of D4, and share of the pool that Superfiltering
#: keeps by difficulty before it looks for what stands for it.
_D4_SHARE, _SUPERFILTER_SHARE = 0.75, 0.2
#: Share of the pool by quality that counts as good enough, and that DSIR aims at where nobody reviewed.
_GOOD_ENOUGH, _TARGET_SHARE = 0.5, 0.1
#: Nearest neighbours that a row of the similarity graph keeps.
_GRAPH_NEIGHBOURS = 32
#: Halvings in the search for the radius of a single pass.
_HALVINGS = 7
#: Times that the number of rows of a draw is corrected to fill a budget of tokens, and how well.
_ADJUSTMENTS, _CLOSE_ENOUGH = 4, 0.005


@dataclass(frozen=True)
class Choice:
    """What a strategy says of a pool.

    Attributes
    ----------
    order
        int64 [n]: all rows, the choice first, then the next best in their order.
    probability
        float64 [n]: each row's chance of being among the first `budget` before the draw; None where
        nothing is drawn: what is taken has chance 1, all else 0.
    gain
        float64 [n]: the value at which a row is taken, or stands behind (None: the weight).
    limit
        Cosine similarity to an earlier choice above which the strategy itself refuses a row.
    notes, row_notes
        What the strategy wants the evidence to say, of all rows and row by row.
    """

    order: np.ndarray
    probability: np.ndarray | None = None
    gain: np.ndarray | None = None
    limit: float = 1.0
    notes: dict[str, object] = field(default_factory=dict)
    row_notes: dict[str, pl.Series] = field(default_factory=dict)


#: A strategy takes the pool sorted by record_id (with `quality`, `cluster`, `answer_chars` and
#: the weights), its unit vectors, the number of rows to choose, a seed, and the settings of the selection.
Method = Callable[[pl.DataFrame, np.ndarray, int, int, SelectionSettings], Choice]


# -- weighted draws -----------------------------------------------------------------------------


def weighted(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, _: SelectionSettings) -> Choice:
    """Quality times diversity as inclusion probabilities (`weights.with_weights`), met exactly by a sample spread over the pool.

    Rows are laid out cluster by cluster, near rows side by side, and drawn by the ordered pivotal
    method; the next best follow in a Pareto order of the same probabilities.
    """
    noted = {"scarcity": pool["scarcity"].round(9)}
    return _spread(pool, unit, pool["weight"].to_numpy(), budget, seed, noted)


def random(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, _: SelectionSettings) -> Choice:
    """Every row with the same probability."""
    order = np.random.default_rng(seed).permutation(pool.height)
    chance = np.full(pool.height, min(budget, pool.height) / max(pool.height, 1))
    return Choice(order, chance, chance)


def stratified(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, _: SelectionSettings) -> Choice:
    """The same number of each kind of task, at random within it; all of a kind where there are fewer.

    Neyman, 1934. Samples that name no task are a stratum of their own in each cluster.
    """
    named = pool["task"] if "task" in pool.columns else pl.Series([None] * pool.height, dtype=pl.String)
    strata = pl.select(pl.coalesce(named, pl.lit("cluster ") + pool["cluster"].cast(pl.String))).to_series()
    group = strata.rank("dense").to_numpy().astype(np.int64) - 1
    weight = 1.0 / np.bincount(group)[group] if pool.height else np.zeros(0)
    return _drawn(np.argsort(group, kind="stable"), weight, budget, seed, {"stratum": strata})


def cluster_weighted(
    pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, _: SelectionSettings
) -> Choice:
    """Method 2: a cluster's share of the budget goes by its diversity weight times its quality weight.

    Rows of a cluster have the same chance but for their own quality; see `weights.cluster_weights`.
    """
    quality = pool["quality_weight"].to_numpy()
    table = weighing.cluster_weights(unit, pool["cluster"].to_numpy(), quality)
    share, mean, size = (table[name].to_numpy() for name in ("weight", "quality", "rows"))
    cluster = pool["cluster"].to_numpy()
    weight = (share / np.maximum(size * mean, 1e-12))[cluster] * quality
    noted = {
        f"cluster_{name}": pl.Series(table[name].to_numpy()[cluster].round(9))
        for name in ("spread", "quality", "closeness", "weight")
    }
    return _spread(pool, unit, weight, budget, seed, noted)


def neighbour_weighted(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, settings: SelectionSettings) -> Choice:  # fmt: skip
    """Method 3: quality weight times the inverse of the similarity to all neighbours above a threshold.

    See `weights.neighbour_density`.
    """
    density = weighing.neighbour_density(unit, settings.neighbour_threshold, seed)
    weight = pool["quality_weight"].to_numpy() / density
    return _spread(pool, unit, weight, budget, seed, {"neighbour_density": pl.Series(density)})


def dsir(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, _: SelectionSettings) -> Choice:
    """Draw so that the n-grams are those of a target sample: what reviewers accepted, else the best tenth.

    Xie et al., 2023 (`importance.log_importance`); Gumbel top-k with the seed.
    """
    target = pool["accepted"].to_numpy() if "accepted" in pool.columns else np.zeros(pool.height, dtype=bool)
    aim = "accepted by reviewers" if target.any() else "the best tenth by quality"
    if not target.any():
        quality = _numbers(pool, "quality")
        target = quality >= (np.quantile(quality, 1 - _TARGET_SHARE) if len(quality) else 0.0)
    weight = importance.log_importance(_texts(pool), target)
    return Choice(
        importance.gumbel_order(weight, seed),
        importance.gumbel_probabilities(weight, budget),
        weight,
        notes={"target": aim, "target_samples": int(target.sum())},
    )


def mix(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, settings: SelectionSettings) -> Choice:
    """Several strategies at once: the inclusion probability is the weighted mean of theirs.

    What a strategy takes for certain is taken with its share of the mixture; one sample is drawn, spread
    over the pool.
    """
    total = sum(settings.mix.values())
    chance = np.zeros(pool.height)
    parts = {}
    for name, share in settings.mix.items():
        part = STRATEGIES[name](pool, unit, budget, seed, settings)
        accepted = limits.walk(part.order, unit, budget, part.limit).accepted.astype(np.float64)
        parts[f"chance_{name}"] = accepted if part.probability is None else part.probability
        chance += share / total * parts[f"chance_{name}"]
    noted = {name: pl.Series(values.round(9)) for name, values in parts.items()}
    return _spread(pool, unit, chance, budget, seed, noted)


# -- method 1: representatives ------------------------------------------------------------------


def kmeans_nearest(
    pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, _: SelectionSettings
) -> Choice:
    """Method 1: of every cluster in turn the row nearest to its centre that is not yet taken."""
    return _representatives(pool, unit, weighing.centre_similarity(unit, pool["cluster"].to_numpy()))


def kmeans_farthest(
    pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, _: SelectionSettings
) -> Choice:
    """Method 1: of every cluster in turn the row farthest from its centre that is not yet taken."""
    return _representatives(pool, unit, -weighing.centre_similarity(unit, pool["cluster"].to_numpy()))


def kmeans_random(
    pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, _: SelectionSettings
) -> Choice:
    """Method 1: of every cluster in turn a row at random that is not yet taken."""
    chosen = _representatives(pool, unit, np.random.default_rng(seed).random(pool.height))
    cluster = pool["cluster"].to_numpy()
    taken = np.bincount(cluster[chosen.order[:budget]], minlength=int(cluster.max(initial=-1)) + 1)
    size = np.bincount(cluster, minlength=len(taken))
    chance = (taken / np.maximum(size, 1))[cluster]
    return Choice(chosen.order, chance, chance)


def _representatives(pool: pl.DataFrame, unit: np.ndarray, score: np.ndarray) -> Choice:
    """Round after round of one row from every cluster, the highest score first; larger clusters first."""
    cluster = pool["cluster"].to_numpy()
    by_cluster = np.lexsort((np.arange(len(score)), -score, cluster))
    first = np.searchsorted(cluster[by_cluster], cluster[by_cluster])
    turn = np.empty(len(score), dtype=np.int64)
    turn[by_cluster] = np.arange(len(score)) - first
    order = np.lexsort((cluster, turn))
    return Choice(order, gain=np.abs(score), row_notes={"rank_in_cluster": pl.Series(turn + 1)})


# -- rankings by a score ------------------------------------------------------------------------


def longest(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, _: SelectionSettings) -> Choice:
    """The longest answers first: a strong baseline (Zhao et al., 2024, "Long is more for alignment")."""
    return _top(_numbers(pool, "answer_chars"))


def quality_top(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, _: SelectionSettings) -> Choice:
    """The best quality first, whatever it is about."""
    return _top(_numbers(pool, "quality"))


def ifd_top(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, _: SelectionSettings) -> Choice:
    """The hardest to follow first, of those that the prompt helps (IFD < 1).

    Li et al., 2024, "From quantity to quality" (Cherry LLM).
    """
    return _eligible(_numbers(pool, "ifd"), _numbers(pool, "ifd") < 1)


def uncertain(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, _: SelectionSettings) -> Choice:
    """The answers with the highest token entropy first, of the better half by quality.

    Uncertainty sampling (Lewis and Gale, 1994), which without the second condition picks noise.
    """
    return _eligible(_numbers(pool, "entropy"), _good_enough(pool))


def ppl_worst(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, _: SelectionSettings) -> Choice:
    """The answers with the highest perplexity first, of the better half by quality."""
    return _eligible(_numbers(pool, "ppl"), _good_enough(pool))


# -- keeping apart ------------------------------------------------------------------------------


def deita(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, _: SelectionSettings) -> Choice:
    """Complexity times quality, best first, each accepted if it is not too near to an accepted one.

    Liu et al., 2024, "What makes good data for alignment?". Where scorer models rated the pool, their
    product (`scores.ratings`); else complexity is the IFD (at most 1) and quality our own.
    """
    if "evol" in pool.columns and pool["evol"].is_not_null().any():
        score = _numbers(pool, "evol")
    else:
        score = np.clip(_numbers(pool, "ifd"), 0.0, 1.0) * _numbers(pool, "quality")
    top = _top(score)
    return Choice(top.order, gain=top.gain, limit=_DEITA_LIMIT)


def one_pass(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, _: SelectionSettings) -> Choice:
    """One pass in random order: a row far enough from all accepted ones is accepted (leader algorithm).

    Hartigan, 1975. The radius is the largest, to within 1/128, that still fills the budget.
    """
    order = np.random.default_rng(seed).permutation(pool.height)
    low, high = 0.0, 1.0  # of the similarity: the lower, the fewer fit
    for _round in range(_HALVINGS):
        middle = (low + high) / 2
        filled = sampling.accept_apart(order, unit, budget, middle)[0].sum() >= budget
        low, high = (low, middle) if filled else (middle, high)
    return Choice(order, limit=high, notes={"radius": 1 - high})


def semdedup(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, _: SelectionSettings) -> Choice:
    """In each cluster from the farthest from the centre on, the rows least similar to any before them.

    Abbas et al., 2023, "SemDeDup": a row goes if its similarity to an earlier one exceeds 1 - e; with e
    such that the budget is left.
    """
    cluster = pool["cluster"].to_numpy()
    earlier = sampling.earlier_similarity(unit, cluster, weighing.centre_similarity(unit, cluster))
    return Choice(np.argsort(earlier, kind="stable"), gain=1 - np.maximum(earlier, -1.0))


def d4(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, settings: SelectionSettings) -> Choice:
    """SemDeDup down to three quarters; the rest is clustered again, and what is least typical is taken.

    Tirumala et al., 2023, "D4: improving LLM pretraining via document de-duplication and diversification".
    """
    first = semdedup(pool, unit, budget, seed, settings)
    left = np.sort(first.order[: max(budget, round(_D4_SHARE * pool.height))])
    count = max(1, pool["cluster"].n_unique())
    _, typical = spherical_kmeans(unit[left], min(count, max(len(left), 1)), seed)
    gone = first.order[len(left) :]
    gain = np.full(pool.height, np.nan)
    gain[left] = 1 - typical
    return Choice(
        np.concatenate([left[np.argsort(typical, kind="stable")], gone]),
        gain=gain,
        row_notes={"left_by_semdedup": pl.Series(np.isin(np.arange(pool.height), left))},
    )


# -- greedy -------------------------------------------------------------------------------------


def kcenter(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, _: SelectionSettings) -> Choice:
    """K-Center-Greedy: from a seeded start, always the row farthest from all chosen ones."""
    picks, distance = greedy.k_center_greedy(unit, budget, seed)
    others = np.setdiff1d(np.arange(len(unit)), picks)
    order = np.concatenate([picks, others[np.argsort(-distance[others], kind="stable")]])
    gain = distance.copy()
    before = sampling.earlier_similarity(unit[picks], np.zeros(len(picks), np.int64), np.arange(len(picks)))
    gain[picks] = np.where(np.arange(len(picks)) > 0, 1 - before, np.nan)  # the start has nothing before it
    return Choice(order, gain=gain, notes={"start": pool["record_id"][int(picks[0])] if len(picks) else None})


def facility_location(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, settings: SelectionSettings) -> Choice:  # fmt: skip
    """Greedily the rows that stand best for the whole pool (`greedy.facility_location`)."""
    graph = _graph(unit, settings, seed)
    return _taken(pool.height, *greedy.facility_location(graph, budget), _degree(graph))


def graph_cut(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, settings: SelectionSettings) -> Choice:  # fmt: skip
    """Greedily the rows most like the pool and least like each other (`greedy.graph_cut`)."""
    graph = _graph(unit, settings, seed)
    return _taken(pool.height, *greedy.graph_cut(graph, budget), _degree(graph))


def superfiltering(pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, settings: SelectionSettings) -> Choice:  # fmt: skip
    """The fifth of highest IFD (by perplexities, below 1), and of these the rows that stand for them.

    Li et al., 2024, "Superfiltering", with diversity: facility location among the hardest.
    """
    score = _numbers(pool, "ifd_ppl")
    ranked = _eligible(score, score < 1)
    hard = np.sort(ranked.order[: max(budget, round(_SUPERFILTER_SHARE * pool.height))])
    picks, gains = greedy.facility_location(_graph(unit[hard], settings, seed), budget)
    rest = ranked.order[~np.isin(ranked.order, hard[picks])]
    gain = np.full(pool.height, np.nan)
    gain[hard[picks]] = gains
    return Choice(
        np.concatenate([hard[picks], rest]),
        gain=gain,
        row_notes={"among_the_hardest": pl.Series(np.isin(np.arange(pool.height), hard))},
    )


STRATEGIES: dict[str, Method] = {
    "default": weighted,
    "random": random,
    "longest": longest,
    "quality_top": quality_top,
    "kmeans_nearest": kmeans_nearest,
    "kmeans_random": kmeans_random,
    "kmeans_farthest": kmeans_farthest,
    "cluster_weighted": cluster_weighted,
    "neighbour_weighted": neighbour_weighted,
    "stratified": stratified,
    "kcenter": kcenter,
    "one_pass": one_pass,
    "deita": deita,
    "semdedup": semdedup,
    "d4": d4,
    "ifd_top": ifd_top,
    "superfiltering": superfiltering,
    "facility_location": facility_location,
    "graph_cut": graph_cut,
    "dsir": dsir,
    "uncertain": uncertain,
    "ppl_worst": ppl_worst,
    "mix": mix,
}
#: Columns that a strategy needs beside those that all have.
NEEDS = {
    "ifd_top": "ifd",
    "deita": "ifd",
    "superfiltering": "ifd_ppl",
    "uncertain": "entropy",
    "ppl_worst": "ppl",
}


def _spread(
    pool: pl.DataFrame, unit: np.ndarray, weight: np.ndarray, budget: int, seed: int,
    row_notes: Mapping[str, pl.Series] | None = None,
) -> Choice:  # fmt: skip
    """A draw by weight that is spread over the clusters and within them."""
    return _drawn(sampling.spread_order(unit, pool["cluster"].to_numpy()), weight, budget, seed, row_notes)


def _drawn(
    line: np.ndarray, weight: np.ndarray, budget: int, seed: int,
    row_notes: Mapping[str, pl.Series] | None = None,
) -> Choice:  # fmt: skip
    """A draw by weight that is spread over the order `line`."""
    probability = sampling.inclusion_probabilities(weight, budget)
    drawn = line[sampling.pivotal_sample(probability[line], seed)]
    ranked = sampling.order_sample(probability, seed)
    by_weight = drawn[np.lexsort((drawn, -weight[drawn]))]
    order = np.concatenate([by_weight, ranked[~np.isin(ranked, drawn)]])
    return Choice(order, probability, weight, row_notes=dict(row_notes or {}))


def _top(score: np.ndarray) -> Choice:
    """Highest score first; ties by the order of the rows."""
    return Choice(np.argsort(-score, kind="stable"), gain=score)


def _eligible(score: np.ndarray, eligible: np.ndarray) -> Choice:
    """Highest score first among the eligible, then the others likewise."""
    order = np.lexsort((-score, ~eligible))
    return Choice(order, gain=score, row_notes={"eligible": pl.Series(eligible)})


def _taken(n: int, picks: np.ndarray, gains: np.ndarray, behind: np.ndarray) -> Choice:
    """What was taken greedily, then the others by their gain before anything was."""
    gain = behind.copy()
    gain[picks] = gains
    others = np.setdiff1d(np.arange(n), picks)
    return Choice(np.concatenate([picks, others[np.argsort(-behind[others], kind="stable")]]), gain=gain)


def _graph(unit: np.ndarray, settings: SelectionSettings, seed: int):  # type: ignore[no-untyped-def]
    return greedy.similarity_graph(unit, _GRAPH_NEIGHBOURS, settings.exact_neighbours, seed)


def _degree(graph) -> np.ndarray:  # type: ignore[no-untyped-def]
    return np.asarray(graph.sum(axis=1)).ravel()


def _numbers(pool: pl.DataFrame, column: str) -> np.ndarray:
    """A score as float64 [n]; what is missing counts as 0."""
    return pool[column].cast(pl.Float64).fill_nan(None).fill_null(0.0).to_numpy()


def _good_enough(pool: pl.DataFrame) -> np.ndarray:
    quality = _numbers(pool, "quality")
    return np.asarray(quality >= (np.quantile(quality, _GOOD_ENOUGH) if len(quality) else 0.0))


def _texts(pool: pl.DataFrame) -> pl.Series:
    """Prompt and answer, or what all messages say."""
    if {"prompt", "answer"} <= set(pool.columns):
        return pool.select(pl.concat_str("prompt", pl.lit("\n"), "answer", ignore_nulls=True)).to_series()
    said = pl.col("messages").list.eval(pl.element().struct.field("content").fill_null(""))
    return pool.select(said.list.join("\n")).to_series()


# -- the final set ------------------------------------------------------------------------------


def join_pool(scores: F, sft_pool: F, clusters: F) -> F:
    """The rows to choose from, with all that strategies and limits read, from three tables.

    Scores that were made without scorer models may lack `evol`.
    """
    return (
        scores.select("record_id", "quality", "noise", "ppl", "ifd", "ifd_ppl", "entropy", "^evol$")
        .join(sft_pool.select("record_id", "shard", "source", "language", "task", "prompt", "answer", "messages"), on="record_id")
        .join(clusters.select("record_id", "cluster", "to_neighbours", "covers"), on="record_id")
    )  # fmt: skip


def prepare(
    scored: pl.DataFrame, vectors: np.ndarray, settings: SelectionSettings
) -> tuple[pl.DataFrame, np.ndarray]:
    """The pool as strategies take it: sorted by record_id, with weights and `answer_chars`; unit vectors."""
    order = scored["record_id"].arg_sort()
    pool = scored[order]
    if "answer_chars" not in pool.columns:
        pool = pool.with_columns(answer_chars=_answer_chars(pool))
    return with_weights(pool, settings, _share(pool, settings)), exact_unit(vectors)[order.to_numpy()]


def _share(pool: pl.DataFrame, settings: SelectionSettings) -> float:
    """Share of the pool that the budget lets in."""
    tokens = int(limits.tokens_of(pool).sum()) if settings.budget_tokens is not None else None
    return budget_of(pool.height, settings, tokens) / max(pool.height, 1)


def _answer_chars(pool: pl.DataFrame) -> pl.Expr:
    """Characters of the last message (null counts as none)."""
    if "answer" in pool.columns:
        return pl.col("answer").str.len_chars().fill_null(0)
    return pl.col("messages").list.last().struct.field("content").str.len_chars().fill_null(0)


def choose(
    pool: pl.DataFrame, unit: np.ndarray, budget: int, seed: int, settings: SelectionSettings, name: str,
    tokens: np.ndarray | None = None,
) -> tuple[Choice, limits.Walk]:  # fmt: skip
    """What the strategy of that name says of a prepared pool, and the walk down its ranking.

    Where the budget is in tokens (`tokens` int64 [n], by default as `budget.tokens_of` counts them) a
    draw is made of so many rows that they have `budget_tokens` on average: what weighs more may be longer.

    Raises
    ------
    UserError
        The strategy needs a score that the pool does not have.
    """
    for one in (name, *settings.mix) if name == "mix" else (name,):
        if one in NEEDS and (NEEDS[one] not in pool.columns or (pool.height and pool[NEEDS[one]].is_null().all())):  # fmt: skip
            raise UserError(f"strategy {one} needs the score {NEEDS[one]}", where="selection.strategy")
    choice = STRATEGIES[name](pool, unit, budget, seed, settings)
    if settings.budget_tokens is not None:
        tokens = limits.tokens_of(pool).to_numpy() if tokens is None else tokens
        for _ in range(_ADJUSTMENTS if choice.probability is not None else 0):
            assert choice.probability is not None
            expected = float(choice.probability @ tokens)
            if abs(expected / settings.budget_tokens - 1) < _CLOSE_ENOUGH:
                break
            budget = int(np.clip(round(budget * settings.budget_tokens / max(expected, 1.0)), 1, pool.height))
            choice = STRATEGIES[name](pool, unit, budget, seed, settings)
    walk = limits.walk(
        choice.order,
        unit,
        budget,
        min(settings.max_similarity, choice.limit),
        limits.limits_of(pool, settings, budget),
        tokens if settings.budget_tokens is not None else None,
        settings.budget_tokens,
    )
    return choice, walk


def select_samples(
    scored: pl.DataFrame,
    vectors: np.ndarray,
    settings: SelectionSettings,
    seed: int,
    decisions: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Judge every scored sample for the final set.

    Parameters
    ----------
    scored
        The pool (`join_pool`): record_id, shard, messages, quality, cluster, covers, and what the strategy and
        the limits need.
    vectors
        float32 [n, d], one a row of `scored`.
    settings
        Budget, strategy, exponents and the similarity above which a sample is refused.
    decisions
        A person's: `target` (record_id) and `decision`. What was rejected is dropped, and clusters of
        which more was accepted than elsewhere weigh more (`weights.review_factor`).

    Returns
    -------
    Rows of the table SftSet (without `run_id`), sorted by record_id. Exactly the budget is kept, unless
    so many samples are too similar to each other, or over a quota, that fewer remain. Dropped are
    `too_similar` (the evidence names the choice that it is close to), `over_quota`, `over_budget` and
    `rejected_by_reviewer`. The order of the input rows does not matter.

    Raises
    ------
    UserError
        The strategy needs a score that the pool does not have.
    """
    pool, unit = prepare(scored, vectors, settings)
    pool = _reviewed(pool, decisions)
    free = ~pool["rejected"].to_numpy()
    rest, points = (pool, unit) if free.all() else (pool.filter(free), unit[free])  # no copy of a large pool
    tokens = int(limits.tokens_of(rest).sum()) if settings.budget_tokens is not None else None
    budget = budget_of(rest.height, settings, tokens)
    groups = limits.limits_of(rest, settings, budget)
    rest = rest.with_columns(
        weight=pl.Series(limits.rake(rest["weight"].to_numpy(), groups, budget), dtype=pl.Float64)
    )
    choice, walk = choose(rest, points, budget, seed, settings, settings.strategy)
    size = budget if choice.probability is None else round(float(choice.probability.sum()))
    place = np.empty(rest.height, dtype=np.int64)
    place[choice.order] = np.arange(1, rest.height + 1)
    chance = walk.accepted.astype(np.float64) if choice.probability is None else choice.probability
    gain = rest["weight"].to_numpy() if choice.gain is None else choice.gain
    columns = [group.column for group in groups]
    found = rest.select("record_id").with_columns(
        inclusion_probability=pl.Series(chance, dtype=pl.Float64),
        _place=pl.Series(place, dtype=pl.Int64),
        _gain=pl.Series(gain, dtype=pl.Float64).fill_nan(None).round(9),
        _near=pl.when(pl.Series(walk.refused_for >= 0)).then(_names(rest["record_id"], walk.refused_for)),
        _similarity=pl.Series(walk.similarity, dtype=pl.Float64).fill_nan(None),
        _full=pl.Series([columns[number] if number >= 0 else None for number in walk.full], dtype=pl.String),
        _accepted=pl.Series(walk.accepted, dtype=pl.Boolean),
        **{f"_note_{name}": values for name, values in choice.row_notes.items()},
    )
    judged = pool.join(found, on="record_id", how="left", maintain_order="left").with_columns(
        pl.col("inclusion_probability").fill_null(0.0)
    )
    most = min(settings.max_similarity, choice.limit)
    rules = [
        verdicts.Rule("rejected_by_reviewer", pl.col("rejected")),
        verdicts.Rule(
            "too_similar",
            pl.col("_near").is_not_null(),
            {"close_to": pl.col("_near"), "similarity": pl.col("_similarity").round(4)},
            {"max_similarity": most},
        ),
        verdicts.Rule("over_budget", ~pl.col("_accepted"), {}, {"budget": budget}),
    ]
    if groups:
        quota = verdicts.Rule(
            "over_quota",
            ~pl.col("_accepted") & pl.col("_full").is_not_null(),
            {"full": pl.col("_full")},
            {"quotas": json.dumps(settings.quotas, sort_keys=True)},
        )
        rules.insert(2, quota)
    if settings.budget_tokens is not None:
        rules[-1] = verdicts.Rule(
            "over_budget", ~pl.col("_accepted"), {}, {"budget_tokens": settings.budget_tokens}
        )
    return verdicts.judge(
        judged,
        rules,
        strategy=settings.strategy,
        seed=seed,
        pool=rest.height,
        inclusion_probability=pl.col("inclusion_probability").round(9),
        place=pl.col("_place"),
        gain=pl.col("_gain"),
        quality=pl.col("quality"),
        quality_weight=pl.col("quality_weight").round(9),
        diversity_weight=pl.col("diversity_weight").round(9),
        review_factor=pl.col("review_factor").round(9),
        took_a_refused_place=pl.col("_accepted") & (pl.col("_place") > size),
        **choice.notes,
        **{name: pl.col(f"_note_{name}") for name in choice.row_notes},
    ).drop(pl.selectors.starts_with("_"), "rejected", "accepted", "review_factor")


def _reviewed(pool: pl.DataFrame, decisions: pl.DataFrame | None) -> pl.DataFrame:
    """The pool with `accepted`, `rejected` and `review_factor`, by which the weights are multiplied."""
    made = (
        decisions
        if decisions is not None
        else pl.DataFrame(schema={"target": pl.String, "decision": pl.String})
    )
    accepted, rejected = (
        pool["record_id"].is_in(made.filter(pl.col("decision") == what)["target"].implode())
        for what in ("accept", "reject")
    )
    factor = weighing.review_factor(pool["cluster"].to_numpy(), accepted.to_numpy(), rejected.to_numpy())
    return pool.with_columns(
        accepted=accepted,
        rejected=rejected,
        review_factor=pl.Series(factor, dtype=pl.Float64),
        weight=pl.col("weight") * pl.Series(factor, dtype=pl.Float64),
    )


def _names(ids: pl.Series, rows: np.ndarray) -> pl.Series:
    """The ids of the rows; any id where the row is -1."""
    return ids.gather(np.maximum(rows, 0)) if ids.len() else ids
