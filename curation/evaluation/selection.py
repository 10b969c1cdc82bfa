"""What each strategy chooses from a pool with planted defects: the figures of `curation evaluate selection`.

Belongs here: running pool, scores, vectors, clusters and every strategy on a labelled folder, and the
arithmetic of the figures. Does not belong here: the methods (`curation.selection`, `curation.audit`), of
which exactly the functions of the assets are run.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl

from curation import progress
from curation.audit import measures
from curation.evaluation.curated import curate_folder, structure
from curation.evaluation.defects import DUPLICATES
from curation.selection import strategies
from curation.selection.geometry import exact_unit
from curation.settings import Profile, SelectionSettings, Strategy

#: Samples that each strategy chooses.
BUDGET = 1_000
#: Seeds of the strategies that are given with intervals, and those strategies.
SEEDS, SEEDED = 10, ("default", "random")
#: Rows of the clean part whose words the choices are compared with.
_WORD_ROWS = 5_000
#: 97.5 % quantile of Student's t with 9 degrees of freedom.
_T = 2.2622


def evaluate_selection(folder: Path, profile: Profile) -> dict[str, float]:
    """Choose 1,000 rows by each strategy and compare with the labels.

    Returns
    -------
    dict
        For each strategy: chosen, defect_share (labelled rows among the chosen; of a duplicate either
        member is right, so a copy counts where its original is chosen too), labelled_share (all labelled
        rows, lone copies too), mean_pairwise_distance
        (D(S)), coverage (C(S) over the rows to choose from), vendi, js_clean and token_js_clean (JS
        divergence of clusters and of words from the pool's rows without a label), clusters (reached),
        near_dup_pairs (cosine of 0.95 or more), labelled_dup_pairs (copy and original both chosen),
        seconds. `default` and `random` are means over ten seeds, with the range in which 95 % of single
        choices lie as `.low` and `.high`. `labelled_share.pool` and `labelled_share.candidates` are those
        of all rows, and of the rows to choose from.

    Raises
    ------
    UserError
        A file is missing or lacks a column, or the profile names a language model to load.
    """
    curated = curate_folder(folder, profile)
    truth = curated.truth.with_columns(record_id=curated.pool["record_id"])
    made = structure(curated, profile)
    return figures(made.rows, made.scores, made.clusters, made.vectors, truth, profile)


def figures(
    sound: pl.DataFrame,
    scored: pl.DataFrame,
    table: pl.DataFrame,
    points: np.ndarray,
    truth: pl.DataFrame,
    profile: Profile,
) -> dict[str, float]:
    """The figures, from the tables of the assets.

    Parameters
    ----------
    sound, scored, table
        Kept rows of the pool, sorted by record_id; kept rows of the scores; the clusters.
    points
        float32 [n, d], one a row of `sound`.
    truth
        id, record_id, defect and, of duplicates, `of`.
    """
    candidates = strategies.join_pool(scored, sound, table).sort("record_id")
    places = sound["record_id"].search_sorted(candidates["record_id"]).to_numpy()
    vectors = points[places]
    study = _Study(candidates, exact_unit(vectors), truth)
    labelled = truth["defect"].is_not_null()
    found = {
        "labelled_share.pool": float(labelled.mean() or 0.0),  # type: ignore[arg-type]
        "labelled_share.candidates": float(study.defective.mean()) if candidates.height else 0.0,
        "candidates": float(candidates.height),
    }
    names = [name for name in get_args(Strategy) if name != "mix"]
    runs = [(name, seed) for name in names for seed in range(SEEDS if name in SEEDED else 1)]
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for name, seed in progress.track(runs, "strategies"):
        settings = SelectionSettings.model_validate(
            profile.selection.model_dump() | {"budget": BUDGET, "budget_tokens": None, "strategy": name}
        )
        begun = time.perf_counter()
        rows = strategies.select_samples(candidates, vectors, settings, profile.seed + seed)
        seconds = time.perf_counter() - begun
        measured[name].append(study.measure((rows["verdict"] == "kept").to_numpy()) | {"seconds": seconds})
    for name, several in measured.items():
        for measure in several[0]:
            values = np.array([one[measure] for one in several])
            found[f"{measure}.{name}"] = round(float(values.mean()), 6)
            if len(several) > 1 and measure != "seconds":
                half = _T * float(values.std(ddof=1)) * np.sqrt(1 + 1 / len(values))
                found[f"{measure}.{name}.low"] = round(float(values.mean() - half), 6)
                found[f"{measure}.{name}.high"] = round(float(values.mean() + half), 6)
    return found


class _Study:
    """What all choices are compared with, worked out once."""

    def __init__(self, candidates: pl.DataFrame, unit: np.ndarray, truth: pl.DataFrame) -> None:
        self.unit = unit
        known = candidates.select("record_id").join(truth, on="record_id", how="left", maintain_order="left")
        self.defective = known["defect"].is_not_null().to_numpy()
        originals = (
            known["of"] if "of" in known.columns else pl.Series([None] * known.height, dtype=pl.String)
        )
        copies = (
            known.with_columns(of=originals).with_row_index("copy").filter(pl.col("defect").is_in(DUPLICATES))
        )
        self.pairs = copies.join(known.with_row_index("original").select("id", "original"), left_on="of", right_on="id").select("copy", "original").to_numpy().astype(np.int64)  # fmt: skip
        self.copy = known["defect"].is_in(DUPLICATES).fill_null(False).to_numpy()
        self.cluster = candidates["cluster"].to_numpy()
        self.to_neighbours = candidates["to_neighbours"].to_numpy()
        clean = ~self.defective
        self.clean_clusters = np.bincount(
            self.cluster[clean], minlength=int(self.cluster.max(initial=-1)) + 1
        )
        texts = candidates.select(
            pl.concat_str("prompt", pl.lit("\n"), "answer", ignore_nulls=True)
        ).to_series()
        self.words = measures.Words.of(texts, np.arange(len(texts)))
        some = np.random.default_rng(0).permutation(np.flatnonzero(clean))[:_WORD_ROWS]
        self.clean_words = self.words.among(some).counts()

    def measure(self, chosen: np.ndarray) -> dict[str, float]:
        """The figures of a choice, bool [n]."""
        rows, taken = self.unit[chosen], np.flatnonzero(chosen)
        counts = np.bincount(self.cluster[chosen], minlength=len(self.clean_clusters))
        nearest = measures.nearest_chosen(self.unit, chosen)
        both = self.pairs[chosen[self.pairs].all(axis=1)]
        wrong = chosen & self.defective & ~self.copy
        wrong[both[:, 0]] = True
        return {
            "chosen": float(len(taken)),
            "defect_share": float(wrong.sum() / max(len(taken), 1)),
            "labelled_share": float(self.defective[chosen].mean()) if len(taken) else 0.0,
            "mean_pairwise_distance": measures.mean_pairwise_distance(rows),
            "coverage": measures.neighbourhood_coverage(nearest, self.to_neighbours),
            "vendi": measures.vendi_score(rows),
            "js_clean": measures.js_divergence(counts, self.clean_clusters),
            "token_js_clean": measures.js_divergence(self.words.among(taken).counts(), self.clean_words),
            "clusters": float((counts > 0).sum()),
            "near_dup_pairs": float(measures.near_duplicates(rows)),
            "labelled_dup_pairs": float(len(both)),
        }
