"""Which documents mean the same, and which are all too typical, by their vectors.

Belongs here: SemDeDup (Abbas et al. 2023, "SemDeDup: data-efficient learning at web-scale through
semantic deduplication") and the prototype step of D4 (Tirumala et al. 2023, "D4: improving LLM
pretraining via document de-duplication and diversification").
Does not belong here: duplicates by their characters (`duplicates`), or how clusters are found
(`selection.clusters`).

As with the duplicates by characters, a document is dropped only for one that is kept: SemDeDup itself
compares with all documents that come before, dropped ones too, and so lets chains drift.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from curation import progress
from curation.selection.clusters import spherical_kmeans
from curation.selection.geometry import exact_unit, has_direction
from curation.settings import SemanticSettings
from curation.vectors import DECIMALS, matrix
from curation.verdicts import Rule, judge

#: Rows of a cluster that are compared with those kept before them at once.
_BLOCK = 512


def judge_meaning(docs: pl.DataFrame, settings: SemanticSettings, seed: int) -> pl.DataFrame:
    """Judge documents for duplicates by meaning and for being prototypes.

    In each cluster of spherical k-means the document farthest from the centre is kept first; walking
    towards the centre, each is dropped for the most similar one that is kept already, if their cosine
    similarity reaches `threshold`. What is left is clustered again, and the share `prototypes` of it
    that lies nearest to the centres is dropped.

    Parameters
    ----------
    docs
        `record_id`, `source`, `shard` and, unless the settings ask for nothing, `vector`. Documents
        whose vector is all zeros are kept.

    Returns
    -------
    The columns of the table `semantic_docs` but for `run_id`, in the order given; the verdicts do not
    depend on that order.
    """
    rows = docs.select("record_id", "source", "shard").with_row_index("place").sort("record_id")
    count = rows.height
    leader, similarity = np.arange(count), np.zeros(count)
    cluster, to_centre = np.full(count, -1), np.full(count, np.nan)
    prototype = np.zeros(count, dtype=bool)
    if settings.active:
        unit = exact_unit(matrix(docs["vector"]))[rows["place"].to_numpy()]
        left = np.flatnonzero(has_direction(unit))
        if settings.threshold is not None:
            cluster[left], to_centre[left] = _clusters(unit[left], settings, seed)
            leader, similarity = _same_meaning(unit, cluster, to_centre, settings.threshold)
            left = left[leader[left] == left]
        if settings.prototypes:
            cluster[left], to_centre[left] = _clusters(unit[left], settings, seed + 1)
            nearest = left[np.argsort(-to_centre[left], kind="stable")]
            prototype[nearest[: math.floor(settings.prototypes * len(left))]] = True
    is_kept = leader == np.arange(count)
    frame = rows.with_columns(
        duplicate_of=pl.when(pl.Series(~is_kept)).then(rows["record_id"].gather(leader)),
        similarity=pl.when(pl.Series(~is_kept)).then(pl.Series(similarity)),
        duplicates=pl.Series(np.bincount(leader, minlength=count) - 1),
        cluster=pl.Series(cluster, dtype=pl.Int32),
        to_centre=pl.Series(to_centre).fill_nan(None),
        prototype=pl.Series(prototype),
    )
    rules = [
        Rule(
            "same_meaning_as",
            pl.col("duplicate_of").is_not_null(),
            {"duplicate_of": pl.col("duplicate_of"), "similarity": pl.col("similarity")},
            {"similarity": settings.threshold},
        ),
        Rule("prototypical", pl.col("prototype"), {"to_centre": pl.col("to_centre")}, {"prototypes": settings.prototypes}),
    ]  # fmt: skip
    dropped_for_it = pl.when(pl.Series(is_kept)).then("duplicates")
    noted = {"cluster": pl.col("cluster"), "duplicates": dropped_for_it, "seed": seed}
    judged = judge(frame, rules, **noted) if settings.active else judge(frame, [])
    return judged.sort("place").drop("place", "duplicates", "cluster", "prototype")


def _clusters(unit: np.ndarray, settings: SemanticSettings, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cluster of each row, and its cosine similarity to the centre."""
    wanted = settings.clusters or round(math.sqrt(len(unit)))
    cluster, to_centre = spherical_kmeans(unit, max(1, min(wanted, len(unit))), seed)
    return cluster, np.clip(to_centre, -1.0, 1.0).round(DECIMALS)


def _same_meaning(
    unit: np.ndarray, cluster: np.ndarray, to_centre: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """For each row the row that it is dropped for (itself if kept), and their cosine similarity."""
    leader, similarity = np.arange(len(unit)), np.zeros(len(unit))
    order = np.lexsort((np.arange(len(unit)), to_centre, cluster))
    order = order[cluster[order] >= 0]
    ends = np.flatnonzero(np.diff(cluster[order])) + 1
    for members in progress.track(np.split(order, ends), "documents of one meaning"):
        leader[members], similarity[members] = _greedy(unit[members], threshold, members)
    return leader, similarity


def _greedy(points: np.ndarray, threshold: float, names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Walk down the points: each is dropped for the most similar kept one before it, the first of equals."""
    lengths = np.sqrt(np.einsum("ij,ij->i", points, points, dtype=np.float64))
    leader, similarity = names.copy(), np.zeros(len(points))
    kept = np.zeros(0, dtype=np.int64)
    for begin in range(0, len(points), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        before = _cosines(points[block], lengths[block], points[kept], lengths[kept])
        inside = _cosines(points[block], lengths[block], points[block], lengths[block])
        fresh: list[int] = []  # rows of the block that are kept
        for row in range(len(before)):
            known = np.concatenate([before[row], inside[row, fresh]]) if fresh else before[row]
            best = int(known.argmax()) if len(known) else -1
            if best < 0 or known[best] < threshold:
                fresh.append(row)
                continue
            place = kept[best] if best < len(kept) else begin + fresh[best - len(kept)]
            leader[begin + row], similarity[begin + row] = names[place], known[best]
        kept = np.concatenate([kept, np.array(fresh, dtype=np.int64) + begin])
    return leader, similarity


def _cosines(one: np.ndarray, lengths: np.ndarray, other: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Cosine similarities (float64) of rows on the grid; the products are exact on any machine."""
    products = (one @ other.T).astype(np.float64) / np.outer(lengths, others)
    return np.clip(products, -1.0, 1.0).round(DECIMALS)
