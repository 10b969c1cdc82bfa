"""The seeds: the documents that define the domain.

Belongs here: judging them for duplicates, and holding some of them out. Does not belong here: cleaning
(`corpus.cleaning`) or how duplicates are found (`corpus.duplicates`).
"""

from __future__ import annotations

import polars as pl

from curation.corpus import duplicates, minhash
from curation.records import digest
from curation.settings import DedupSettings, SeedSettings
from curation.verdicts import KEPT


def judge_seeds(docs: pl.DataFrame, dedup: DedupSettings, settings: SeedSettings, seed: int) -> pl.DataFrame:
    """Judge clean seeds for duplicates among them, and split them.

    A seed is held out by the hash of its id: it stays so whatever other seeds come or go. Copies are
    dropped before that counts, so that no text is on both sides.

    Parameters
    ----------
    docs
        Rows of `clean_documents`, of every verdict and all sources.
    seed
        Chooses which seeds are held out.

    Returns
    -------
    Rows of the table `seed_corpus` but for run_id, in the order given; what was refused before keeps
    its verdict.
    """
    kept = docs.filter(KEPT).with_columns(duplicates.quality(pl.col("evidence")))
    signed = kept.hstack(minhash.signatures(kept["text"], dedup))
    judged = duplicates.judge_duplicates(signed, dedup).select(
        "record_id",
        "duplicate_of",
        *(pl.col(name).alias(f"_{name}") for name in ("verdict", "reason", "evidence")),
    )
    is_copy = pl.col("duplicate_of").is_not_null()
    heldout = [_share(seed, name) < settings.heldout_share for name in docs["record_id"]]
    joined = docs.join(judged, on="record_id", how="left", maintain_order="left").with_columns(
        *(
            pl.when(is_copy).then(f"_{name}").otherwise(name).alias(name)
            for name in ("verdict", "reason", "evidence")
        ),
        split=pl.when(pl.Series(heldout, dtype=pl.Boolean))
        .then(pl.lit("heldout"))
        .otherwise(pl.lit("train")),
    )
    return joined.select(*docs.columns, "split", "duplicate_of")


def _share(seed: int, record_id: str) -> float:
    """A number in [0, 1) that belongs to the record."""
    return int(digest("heldout", str(seed), record_id)[:12], 16) / 16**12
