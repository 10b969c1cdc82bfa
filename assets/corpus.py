"""The corpus: from the raw crawl to documents that are there once.

Belongs here: the stages of the group `corpus`. The methods are in `curation/corpus/`, the readers and
the crawler in `resources/`.
"""

from __future__ import annotations

from functools import partial

import polars as pl

from assets import sources
from assets.stage import Run, document_shard, stage
from curation import lineage
from curation.corpus import cleaning, duplicates, minhash
from curation.settings import CleanSettings, DedupSettings
from curation.verdicts import judge
from resources import crawler, readers

#: The seed of datasketch, so that signatures can be compared with those that others computed.
SIGNATURE_SEED = 1


@stage(
    "corpus",
    lineage.source(),
    shards=document_shard,
    externals=["document_sources"],
    kinds=["scrapy", "polars"],
)
def raw_crawl(shard: str, run: Run) -> pl.DataFrame:
    """Records as they came in: every page tried, every line and row, readable or not."""
    place = sources.shard(run.profile, "document", shard)
    if place.source.kind != "web":
        return readers.read_documents(place)
    folder = run.lake.workspace("_crawl", shard)
    run.afterwards.append(partial(crawler.forget, folder))
    return crawler.crawl(place.source, shard, folder, run.lake.scan("raw_crawl", [shard]))


@stage("corpus", lineage.judge("raw_crawl"), shards=document_shard, settings="corpus.clean", version=3)
def clean_docs(raw_crawl: pl.LazyFrame, settings: CleanSettings) -> pl.DataFrame:
    """Text extracted and normalised, personal data masked, and judged by rules."""
    return cleaning.clean_documents(raw_crawl.collect(), settings)


@stage(
    "corpus",
    lineage.judge("clean_docs"),
    shards=document_shard,
    settings="corpus.dedup",
    fields=["ngram", "permutations", "bands"],
    version=2,
    kinds=["numba", "polars"],
)
def signatures(clean_docs: pl.LazyFrame, settings: DedupSettings) -> pl.DataFrame:
    """MinHash signatures and LSH bands of every clean document."""
    columns = ["record_id", "source", "shard", "content_hash", "n_chars", "text"]
    docs = clean_docs.select(*columns, duplicates.quality(pl.col("evidence"))).collect()
    return judge(docs.hstack(minhash.signatures(docs["text"], settings, SIGNATURE_SEED)), [])


@stage("corpus", lineage.judge("signatures"), settings="corpus.dedup", version=2, kinds=["numba", "polars"])
def unique_docs(
    signatures: pl.LazyFrame, clean_docs: pl.LazyFrame, settings: DedupSettings, run: Run
) -> pl.DataFrame:
    """Exact and near duplicates over all shards, what was compared before taken as known; of each group
    one document is kept."""
    docs = signatures.drop("signature", "verdict", "reason", "evidence", "run_id").sort("record_id").collect()
    texts = clean_docs.select("record_id", "text")
    name = f"compared-{settings.ngram}-{minhash.METHOD}"
    judged, compared = duplicates.judge_further(docs, texts, settings, run.recall(name))
    run.remember(name, compared)
    run.note(pairs_compared=compared.height)
    return pl.concat([docs.select("source", "shard"), judged], how="horizontal")
