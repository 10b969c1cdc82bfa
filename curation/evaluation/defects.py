"""Finding defective samples: the figures of `curation evaluate defects`.

Belongs here: the arithmetic of the figures. Does not belong here: curating the labelled folder
(`curated`), or the methods (`curation.pool`, `curation.scores`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from curation.evaluation.curated import curate_folder
from curation.settings import Profile

#: The score that should find a kind of defect; others are looked for by the soundness.
SCORES = {
    "answer_swap": -pl.col("match"),
    "truncated": pl.col("truncation"),
    "repetition": pl.col("repetition"),
    "mojibake": pl.col("garble"),
    "html_boilerplate": pl.col("markup"),
    "wrong_language": pl.col("language_mismatch"),
}
DUPLICATES = ("exact_dup", "near_dup")
#: Found by a rule or not at all: there is no score to rank by.
_WITHOUT_SCORE = (*DUPLICATES, "empty", "benchmark_leak")


def evaluate_defects(folder: Path, profile: Profile) -> dict[str, float]:
    """Curate a pool with planted defects and compare with the labels.

    Returns
    -------
    dict
        recall.<kind> (share of the rows that are dropped), auc.<kind> (of the score that should find it,
        against rows without a label), null_dropped, defects_left (share of the labelled rows that are
        kept), kept_defect_share (share of labelled rows among the kept). Of a duplicate and its original
        either may go: the other is not counted as lost.

    Raises
    ------
    UserError
        A file is missing or lacks a column, or the profile names a language model to load: here one is
        trained on the pool.
    """
    curated = curate_folder(folder, profile)
    return figures(curated.truth.hstack(curated.scored.drop("record_id")))


def figures(rows: pl.DataFrame) -> dict[str, float]:
    """The figures, from one row a sample: id, defect, `of` (the original of a duplicate), reason, scores."""
    from sklearn.metrics import roc_auc_score

    rows = rows if "of" in rows.columns else rows.with_columns(of=pl.lit(None, dtype=pl.String))
    is_copy = pl.col("defect").is_in(DUPLICATES)
    dropped = pl.col("reason").is_not_null()
    gone = rows.filter(dropped)["id"].implode()
    originals = rows.filter(is_copy)["of"].drop_nulls().implode()
    for_a_copy = pl.col("reason").is_in(["duplicate_of", "near_duplicate_of"]) & pl.col("id").is_in(originals)
    rows = rows.with_columns(
        found=dropped | (is_copy & pl.col("of").is_in(gone).fill_null(False)), lost=dropped & ~for_a_copy
    )
    null, defective = rows.filter(pl.col("defect").is_null()), rows.filter(pl.col("defect").is_not_null())
    found: dict[str, float] = {}
    for kind in defective["defect"].unique().sort():
        mine = defective.filter(pl.col("defect") == kind)
        found[f"recall.{kind}"] = _share(mine["found"])
        if kind not in _WITHOUT_SCORE and null.height:
            score = pl.concat([mine, null]).select(SCORES.get(kind, -pl.col("soundness"))).to_series()
            truth = np.repeat([1, 0], [mine.height, null.height])
            found[f"auc.{kind}"] = float(roc_auc_score(truth, score.to_numpy()))
    left = defective.filter(~pl.col("found")).height
    return found | {
        "null_dropped": _share(null["lost"]),
        "defects_left": left / max(1, defective.height),
        "kept_defect_share": left / max(1, rows.filter(~dropped).height),
    }


def _share(flags: pl.Series) -> float:
    return float(flags.cast(pl.Float64).mean() or 0.0)  # type: ignore[arg-type]
