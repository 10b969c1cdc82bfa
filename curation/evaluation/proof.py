"""What the choice is worth to a model: the figures of `curation evaluate proof`.

Belongs here: curating a pool with planted defects, the arms that only labels make possible, and the
arithmetic of the figures. Does not belong here: the comparison itself (`curation.audit.comparison`), of
which exactly the functions of the assets are run.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl

from curation.audit import comparison
from curation.audit.comparison import Arm
from curation.evaluation.curated import TEXT, Curated, curate_folder, structure
from curation.scores import language_model as lm
from curation.scores.trials import NgramTrials, from_scratch
from curation.selection import strategies
from curation.settings import Profile

#: Folds, and samples held out in each.
FOLDS, HELDOUT = 5, 1_500


def evaluate_proof(
    folder: Path,
    profile: Profile,
    *,
    seeds: int = FOLDS,
    whole: int = 1,
    journal: Path | None = None,
    plot: Path | None = None,
) -> dict[str, float]:
    """Train the same small model on what each strategy chooses, and measure it on clean samples.

    The model is that of `profile.audit.comparison_model`.

    Parameters
    ----------
    seeds
        Folds: each has its own held-out samples (without a label), choice and first weights.
    whole
        Folds in which the whole curated pool is read as well.
    journal
        File in which each training is noted, so that a run that was stopped goes on.
    plot
        SVG file for the losses.

    Returns
    -------
    dict
        For each arm loss (mean NLL of the answer given the prompt, nats a token, mean over held-out
        samples) and source_loss (mean over the means of their sources; over clusters where the labels
        name no sources), each with the 95 % interval over the folds as `.low` and `.high`, and how many
        samples and tokens were read. `default`, `random`, `longest` and `whole_pool` choose from what was
        kept, `uncurated` at random from all rows, `oracle` at random from the rows without a label.
        `difference.<arm>` and `source_difference.<arm>` are those of the default from it, fold by fold;
        `oracle_share` and `source_oracle_share` the part of the oracle's advantage over `uncurated` that
        the default has.

    Raises
    ------
    UserError
        A file is missing or lacks a column, or the profile names a language model to load.
    """
    pool, vectors = _pool(curate_folder(folder, profile), profile)
    wanted = {"comparison_seeds": seeds, "comparison_whole": whole, "comparison_heldout": HELDOUT}
    settings = profile.audit.model_copy(update=wanted | {"strategies": ("default", "longest")})
    oracle = Arm("random", pool["heldout"].to_numpy(), apart=False)
    arms = comparison.arms_of(pool, settings) | {"oracle": oracle}
    texts = pool["prompt"].fill_null("").to_list(), pool["answer"].fill_null("").to_list()
    model = profile.scores.language_model
    trials = from_scratch(lm.train_tokenizer([*texts[0], *texts[1]], model.vocabulary), model)
    trainer = NgramTrials(trials) if settings.comparison_model == "ngrams" else trials
    compared = comparison.compare_strategies(
        pool, vectors, trainer, arms, settings, profile.selection, profile.seed, journal
    )
    if plot:
        plot.write_text(comparison.comparison_svg(compared), encoding="utf-8")
    return figures(compared)


def _pool(curated: Curated, profile: Profile) -> tuple[pl.DataFrame, np.ndarray]:
    """All rows, with what strategies need of those that were kept, and a vector of each."""
    made, judged, truth = structure(curated, profile), curated.pool, curated.truth
    kept = strategies.join_pool(made.scores, made.rows, made.clusters)
    source = pl.col("source") if "source" in truth.columns else pl.lit(None, dtype=pl.String)
    labelled = truth.select(
        record_id=judged["record_id"], heldout=pl.col("defect").is_null(), native_source=source
    )
    weighed = kept.drop("prompt", "answer", "shard", "source", "language", "task", "messages")
    pool = (
        judged.drop("verdict", "reason", "evidence")
        .join(labelled, on="record_id", maintain_order="left")
        .join(weighed.with_columns(kept=True), on="record_id", how="left", maintain_order="left")
        .with_columns(
            pl.col("kept").fill_null(False),
            group=pl.coalesce("native_source", pl.col("cluster").cast(pl.String)),
        )
    )
    return pool, made.encoder.transform(pool.select(TEXT).to_series())


def figures(compared: pl.DataFrame) -> dict[str, float]:
    """The figures, from the rows of the table StrategyComparison."""
    found: dict[str, float] = {}
    names = compared["strategy"].unique(maintain_order=True).to_list()
    for kind, column in (("", "heldout_loss"), ("source_", "group_loss")):
        rows = compared.with_columns(heldout_loss=pl.col(column))
        for name in names:
            own = rows.filter(pl.col("strategy") == name)
            _note(found, f"{kind}loss.{name}", own["heldout_loss"].to_list())
            if name != "default":
                _note(found, f"{kind}difference.{name}", comparison.differences(rows, "default", name))
        ours = comparison.differences(rows, "default", "uncurated")
        best = comparison.differences(rows, "oracle", "uncurated")
        if ours and best:
            found[f"{kind}oracle_share"] = float(np.mean(ours) / np.mean(best))
    for name in names:
        own = compared.filter(pl.col("strategy") == name)
        found[f"samples.{name}"] = float(np.mean(own["samples"].to_numpy()))
        found[f"tokens.{name}"] = float(np.mean(own["tokens"].to_numpy()))
    return found


def _note(found: dict[str, float], name: str, values: list[float]) -> None:
    mean, low, high = comparison.interval(values)
    found[name] = mean
    if math.isfinite(low):
        found |= {f"{name}.low": low, f"{name}.high": high}
