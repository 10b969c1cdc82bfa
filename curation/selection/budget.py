"""How much is chosen, and within which limits.

Belongs here: the budget as a count, a share or tokens, quotas and floors of groups, and the walk down a
ranking that keeps to them. Does not belong here: the ranking (`strategies`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation.selection import sampling
from curation.settings import SelectionSettings

#: Stands for every value of a column.
ANY = "*"
_ROUNDS = 200


def budget_of(rows: int, settings: SelectionSettings, tokens: int | None = None) -> int:
    """Number of samples to choose among `rows`: a count (1 or more) or a share (below 1) as set.

    With `budget_tokens`, and the `tokens` of all rows together, the number that has so many on average.
    """
    if settings.budget_tokens is not None and tokens is not None:
        return min(rows, max(1, round(rows * settings.budget_tokens / max(tokens, 1)))) if rows else 0
    wanted = settings.budget if settings.budget >= 1 else max(1.0, round(settings.budget * rows))
    return min(rows, int(wanted))


def tokens_of(pool: pl.DataFrame) -> pl.Series:
    """Tokens of each sample as a BERT-like Chinese tokenizer counts, int64 [n], at least 1.

    One a CJK character, a run of other letters and digits, or a mark; of all messages.
    """
    said = pl.col("messages").list.eval(pl.element().struct.field("content").fill_null("")).list.join("\n")
    counted = said.str.count_matches(r"\p{Han}|[\p{L}\p{N}--\p{Han}]+|[^\p{L}\p{N}\s]")
    return pool.select(counted.cast(pl.Int64).clip(1).alias("tokens")).to_series()


@dataclass(frozen=True)
class Groups:
    """Groups of rows of one column, and how many of each may (or must) be chosen.

    Attributes
    ----------
    column
        Name of the column; `names` are its values.
    group
        int64 [n]: number of each row's value.
    least, most
        float64 [values]: rows to choose of each, at least and at most.
    """

    column: str
    names: list[str]
    group: np.ndarray
    least: np.ndarray
    most: np.ndarray

    @classmethod
    def of(
        cls, values: pl.Series, floors: Mapping[str, float], quotas: Mapping[str, float], size: int
    ) -> Groups:
        """Shares of the budget as numbers of rows: floors are rounded up, quotas down.

        A floor is never more than there are rows of the group.
        """
        text = values.cast(pl.String).fill_null("")
        names = text.unique().sort().to_list()
        group = text.replace_strict(names, list(range(len(names))), return_dtype=pl.Int64).to_numpy() if names else np.zeros(0, np.int64)  # fmt: skip
        there = np.bincount(group, minlength=len(names))
        least = [math.ceil(floors.get(name, floors.get(ANY, 0.0)) * size - 1e-9) for name in names]
        most = [math.floor(quotas.get(name, quotas.get(ANY, 1.0)) * size + 1e-9) for name in names]
        return cls(
            values.name, names, group, np.minimum(least, there).astype(float), np.array(most, dtype=float)
        )


def limits_of(pool: pl.DataFrame, settings: SelectionSettings, size: int) -> list[Groups]:
    """The groups that the settings limit."""
    columns = sorted({*settings.quotas, *settings.floors})
    return [
        Groups.of(pool[column], settings.floors.get(column, {}), settings.quotas.get(column, {}), size)
        for column in columns
    ]


def rake(weight: np.ndarray, limits: list[Groups], size: int) -> np.ndarray:
    """Weights of which the inclusion probabilities keep to the limits, group by group in the old proportions.

    Iterative proportional fitting (Deming and Stephan, 1940): the weights of a group whose probabilities
    sum to too much or too little are scaled, again and again.
    """
    weight = weight.astype(np.float64)
    for _ in range(_ROUNDS if limits else 0):
        worst = 0.0
        for one in limits:
            total = np.bincount(
                one.group, sampling.inclusion_probabilities(weight, size), minlength=len(one.names)
            )
            wanted = np.clip(total, one.least, np.maximum(one.most, one.least))
            worst = max(worst, float(np.abs(wanted - total).max(initial=0.0)))
            scale = np.divide(wanted, total, out=np.ones(len(total)), where=total > 0)
            weight = weight * scale[one.group]
        if worst < 1e-6 * max(size, 1):
            break
    return weight


@dataclass(frozen=True)
class Walk:
    """What came of a walk down a ranking.

    Attributes
    ----------
    accepted
        bool [n].
    refused_for, similarity
        The accepted row that a refused one is too near to (-1: none), and how near.
    full
        int64 [n]: number of the column whose quota refused the row (-1: none).
    """

    accepted: np.ndarray
    refused_for: np.ndarray
    similarity: np.ndarray
    full: np.ndarray


def walk(
    order: np.ndarray,
    unit: np.ndarray,
    size: int,
    max_similarity: float,
    limits: list[Groups] | None = None,
    tokens: np.ndarray | None = None,
    budget_tokens: int | None = None,
) -> Walk:
    """Walk down the order and accept what keeps to all limits, until the budget is spent.

    Floors come first: the rows that a floor asks for are taken before all others, in their order. Then
    every row in order is accepted unless it is too near to an accepted one, a quota is full, or it does
    not fit into what is left of the budget.

    Parameters
    ----------
    order
        int64 [n]: all rows, best first.
    size
        Rows to accept, at most; with `budget_tokens` only their `tokens` (int64 [n]) are counted.
    """
    limits = limits or []
    if not limits and budget_tokens is None:
        accepted, refused_for, similarity = sampling.accept_apart(order, unit, size, max_similarity)
        return Walk(accepted, refused_for, similarity, np.full(len(unit), -1))
    n = len(unit)
    refused_for, similarity = np.full(n, -1, dtype=np.int64), np.full(n, np.nan)
    sure = np.zeros(0, dtype=np.int64)
    room = n if budget_tokens is not None else size
    while True:
        left = order[(refused_for[order] < 0) & ~np.isin(order, sure)]
        more, full = _candidates(left, sure, room, limits, tokens, budget_tokens, n)
        tried = np.concatenate([sure, more])
        accepted, near, how_near = sampling.accept_apart(tried, unit, len(tried), max_similarity)
        refused = near >= 0
        refused_for[refused], similarity[refused] = near[refused], how_near[refused]
        sure = tried[accepted[tried]]
        if not refused.any():
            return Walk(accepted, refused_for, similarity, full)


def _candidates(
    left: np.ndarray, sure: np.ndarray, room: int, limits: list[Groups],
    tokens: np.ndarray | None, budget_tokens: int | None, n: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Rows that would be accepted next if none were too near; and whose quota stood in the way of which."""
    counts = [np.bincount(one.group[sure], minlength=len(one.names)) for one in limits]
    cost = np.ones(n, dtype=np.int64) if budget_tokens is None or tokens is None else tokens
    purse = room - len(sure) if budget_tokens is None else budget_tokens - int(cost[sure].sum())
    full, taken = np.full(n, -1, dtype=np.int64), np.zeros(n, dtype=bool)
    chosen: list[int] = []
    for floors_first in (True, False) if limits else (False,):
        for row in left.tolist():
            if purse <= 0:
                break
            if taken[row] or cost[row] > purse:
                continue
            places = [(number, one.group[row]) for number, one in enumerate(limits)]
            if floors_first and not any(counts[number][group] < limits[number].least[group] for number, group in places):  # fmt: skip
                continue
            over = [number for number, group in places if counts[number][group] >= limits[number].most[group]]
            if over:
                full[row] = over[0]
                continue
            for number, group in places:
                counts[number][group] += 1
            taken[row] = True
            purse -= int(cost[row])
            chosen.append(row)
    return np.array(chosen, dtype=np.int64), full
