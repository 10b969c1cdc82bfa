"""The default selection among a million samples of which vectors and scores are given: seconds and peak memory.

From vectors to verdicts: clusters, densities and terms (`clusters.cluster_samples`), then weights, the draw
and the judgement of every row (`strategies.select_samples`). `BENCH_ROWS` sets another number of rows.
"""

from __future__ import annotations

import os
import resource
import time
from typing import Any

import numpy as np
import polars as pl

from bench.measure import embeddings
from curation.selection import clusters, strategies
from curation.settings import SelectionSettings

ROWS, DIMENSION, TOPICS, SHARE, SEED = 1_000_000, 256, 2_000, 0.01, 0


def _samples(rows: int) -> pl.DataFrame:
    """Ids and scores as the stages before would hand them on; short texts."""
    random = np.random.default_rng(SEED)
    ids = pl.Series("record_id", random.permutation(rows)).cast(pl.String).str.zfill(32)
    scores = {name: random.random(rows) for name in ("quality", "ppl", "ifd", "ifd_ppl", "entropy")}
    frame = pl.DataFrame([ids, *(pl.Series(name, values) for name, values in scores.items())])
    said = [pl.struct(role=pl.lit(role), content=pl.lit(text) + pl.col("record_id").str.tail(6)) for role, text in (("user", "问题"), ("assistant", "答案"))]  # fmt: skip
    return frame.with_columns(messages=pl.concat_list(said), shard=pl.lit("bench"), answer_chars=pl.lit(8))


def run() -> dict[str, Any]:
    """Wall-clock seconds of both steps, peak resident memory, and what came out."""
    rows = int(os.environ.get("BENCH_ROWS", ROWS))
    samples, vectors = _samples(rows), embeddings(rows, DIMENSION, TOPICS)
    given = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    texts = samples["messages"].list.last().struct.field("content")
    settings = SelectionSettings(budget=SHARE)
    begun = time.monotonic()
    table = clusters.cluster_samples(samples["record_id"], vectors, texts, settings, SEED)
    clustered = time.monotonic()
    pool = samples.join(table.select("record_id", "cluster", "covers"), on="record_id", maintain_order="left")
    judged = strategies.select_samples(pool, vectors, settings, SEED)
    done = time.monotonic()
    return {
        "rows": rows,
        "clusters_seconds": round(clustered - begun, 1),
        "selection_seconds": round(done - clustered, 1),
        "seconds": round(done - begun, 1),
        "inputs_mb": round(given / 1024),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "chosen": int((judged["verdict"] == "kept").sum()),
        "probability_sum": round(float(judged["inclusion_probability"].sum()), 6),
    }
