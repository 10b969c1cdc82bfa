"""The domain: from seed documents to the domain's corpus, with a person's decisions on top.

Belongs here: the stages of the group `domain`. The methods are in `curation/domain/`,
those of its duplicates by meaning in `curation/corpus/`.
"""

from __future__ import annotations

import polars as pl

from assets import sources
from assets.stage import Run, document_shard, stage
from curation import lineage, vectors
from curation.corpus import cleaning, semantic
from curation.domain import classifier, keywords, recall
from curation.domain.reviews import apply_reviews, resolve
from curation.domain.seeds import judge_seeds
from curation.settings import (
    ClassifierSettings,
    CleanSettings,
    EncoderSettings,
    KeywordSettings,
    RecallSettings,
    SemanticSettings,
)
from resources import dictionaries, encoder, readers
from resources.reviews import Reviews


def _distinct(doc_embeddings: pl.LazyFrame, semantic_docs: pl.LazyFrame) -> pl.LazyFrame:
    """The vectors of the documents that no other kept one means as well."""
    return doc_embeddings.select("record_id", "vector").join(semantic_docs, on="record_id", how="semi")


@stage(
    "domain",
    lineage.source(),
    settings="corpus.clean",
    also=["corpus.dedup", "domain.seeds"],
    version=3,
    externals=["seed_sources"],
)
def seed_corpus(settings: CleanSettings, run: Run) -> pl.DataFrame:
    """The documents that define the domain, cleaned and deduplicated like all others, some of them held out."""
    read = pl.concat(readers.read_documents(shard) for shard in sources.shards(run.profile, "seed"))
    clean = cleaning.clean_all(read, settings)
    return judge_seeds(clean, run.profile.corpus.dedup, run.profile.domain.seeds, run.seed)


@stage(
    "domain",
    lineage.learn(),
    settings="domain.keywords",
    version=3,
    externals=["keyword_decisions", sources.DICTIONARIES],
    resources=["reviews"],
    kinds=["jieba", "polars"],
)
def keyword_table(
    seed_corpus: pl.LazyFrame,
    unique_docs: pl.LazyFrame,
    clean_docs: pl.LazyFrame,
    settings: KeywordSettings,
    reviews: Reviews,
    run: Run,
) -> pl.DataFrame:
    """Terms that are commoner in the seeds than in general text; a person's decisions on top."""
    # ids are hashes: the first of them in order are a random sample
    sample = unique_docs.select("record_id").sort("record_id").head(settings.general_sample)
    general = sample.join(clean_docs.select("record_id", "text"), on="record_id").collect()
    seeds = seed_corpus.select("record_id", "text", "split").collect()
    table = keywords.mine_keywords(
        seeds.filter(pl.col("split") == "train"),
        general,
        settings,
        reviews.decisions("keyword"),
        dictionaries.read_lexicon(settings),
    )
    heldout = seeds.filter(pl.col("split") == "heldout")
    run.note(**keywords.coverage(table, heldout=heldout["text"], general=general["text"]))
    return table


@stage("domain", lineage.learn(), settings="domain.encoder", kinds=["numpy"])
def document_encoder(
    unique_docs: pl.LazyFrame,
    clean_docs: pl.LazyFrame,
    seed_corpus: pl.LazyFrame,
    settings: EncoderSettings,
    run: Run,
) -> pl.DataFrame:
    """The encoder of the documents: LSA fitted on seeds and documents, or a model loaded."""
    general = unique_docs.select("record_id").join(clean_docs.select("record_id", "text"), on="record_id")
    texts = pl.concat([general, seed_corpus.select("record_id", "text")]).sort("record_id").collect()["text"]
    return encoder.describe(encoder.fit_encoder(settings, texts, run.seed, run.artefact), run.place)


@stage("domain", lineage.judge("seed_corpus"), settings="domain.encoder", kinds=["numpy"])
def seed_embeddings(
    seed_corpus: pl.LazyFrame, document_encoder: pl.LazyFrame, settings: EncoderSettings, run: Run
) -> pl.DataFrame:
    """A unit vector of the first tokens of every seed."""
    seeds = seed_corpus.select("record_id", "text", shard=pl.lit("seeds")).collect()
    return encoder.embed(encoder.load_encoder(settings, run.learned("document_encoder")), seeds, run.lake)


@stage(
    "domain", lineage.judge("unique_docs"), shards=document_shard, settings="domain.encoder", kinds=["numpy"]
)
def doc_embeddings(
    unique_docs: pl.LazyFrame,
    clean_docs: pl.LazyFrame,
    document_encoder: pl.LazyFrame,
    settings: EncoderSettings,
    run: Run,
) -> pl.DataFrame:
    """A unit vector of the first tokens of every unique document."""
    docs = unique_docs.select("record_id", "shard").join(
        clean_docs.select("record_id", "text"), on="record_id"
    )
    return encoder.embed(
        encoder.load_encoder(settings, run.learned("document_encoder")),
        docs.sort("record_id").collect(),
        run.lake,
    )


@stage("domain", lineage.judge("doc_embeddings"), settings="corpus.semantic", kinds=["numpy"])
def semantic_docs(
    doc_embeddings: pl.LazyFrame, unique_docs: pl.LazyFrame, settings: SemanticSettings, run: Run
) -> pl.DataFrame:
    """Documents that mean the same, or are all too typical, if the profile asks for that; else all are kept."""
    columns = ["record_id", "shard", *(["vector"] if settings.active else [])]
    docs = doc_embeddings.select(columns).join(unique_docs.select("record_id", "source"), on="record_id")
    return semantic.judge_meaning(docs.sort("record_id").collect(), settings, run.seed)


@stage(
    "domain", lineage.expand("seed_corpus"), settings="domain.recall", version=2, kinds=["faiss", "polars"]
)
def nearest_docs(
    seed_corpus: pl.LazyFrame,
    seed_embeddings: pl.LazyFrame,
    doc_embeddings: pl.LazyFrame,
    clean_docs: pl.LazyFrame,
    semantic_docs: pl.LazyFrame,
    settings: RecallSettings,
    run: Run,
) -> pl.DataFrame:
    """For every seed the general documents that are most similar to it."""
    seeds, docs = (
        points.select("record_id", "vector")
        .join(texts.select("record_id", "language"), on="record_id")
        .sort("record_id")
        .collect()
        for points, texts in (
            (seed_embeddings, seed_corpus),
            (_distinct(doc_embeddings, semantic_docs), clean_docs),
        )
    )
    rows, found = recall.nearest_documents(
        seeds["record_id"],
        vectors.matrix(seeds["vector"]),
        docs["record_id"],
        vectors.matrix(docs["vector"]),
        settings,
        run.seed,
    )
    run.note(index=found.method, index_recall=found.agreement)
    reach = recall.language_reach(seeds, docs)
    run.note(**{f"reach_{language}": share for language, share in reach.select("language", "reach").rows()})
    lost = reach.filter("out_of_reach").select(pl.format("{} ({} documents)", "language", "documents"))
    run.note(languages_out_of_reach=", ".join(lost.to_series()) or "none")
    return rows


@stage(
    "domain",
    lineage.learn(),
    settings="domain.classifier",
    externals=["document_decisions"],
    resources=["reviews"],
    kinds=["numpy"],
)
def domain_classifier(
    seed_corpus: pl.LazyFrame,
    seed_embeddings: pl.LazyFrame,
    doc_embeddings: pl.LazyFrame,
    semantic_docs: pl.LazyFrame,
    raw_crawl: pl.LazyFrame,
    settings: ClassifierSettings,
    reviews: Reviews,
    run: Run,
) -> pl.DataFrame:
    """A classifier of the domain, trained in rounds on the seeds, on unlabelled documents and on reviews."""
    split = seed_corpus.select("record_id", "split")
    seeds = seed_embeddings.join(split, on="record_id").sort("record_id").collect()
    docs = _distinct(doc_embeddings, semantic_docs).sort("record_id").collect()
    reviewed = resolve(reviews.decisions("document"), raw_crawl)
    train, heldout = (seeds.filter(pl.col("split") == part) for part in ("train", "heldout"))
    model = classifier.train_classifier(train, docs, reviewed, settings, run.seed)
    model.save(run.artefact)
    run.note(**model.measures)
    if heldout.height:
        found = model.predict(heldout)["probability"] >= settings.threshold
        run.note(heldout_seeds=heldout.height, heldout_seeds_recalled=found.mean())
    return model.rows()


@stage(
    "domain",
    lineage.judge("semantic_docs"),
    settings="domain.classifier",
    externals=["document_decisions"],
    resources=["reviews"],
)
def recalled_docs(
    semantic_docs: pl.LazyFrame,
    clean_docs: pl.LazyFrame,
    doc_embeddings: pl.LazyFrame,
    nearest_docs: pl.LazyFrame,
    keyword_table: pl.LazyFrame,
    domain_classifier: pl.LazyFrame,
    raw_crawl: pl.LazyFrame,
    settings: ClassifierSettings,
    reviews: Reviews,
    run: Run,
) -> pl.DataFrame:
    """Documents that are near to a seed, those that the domain classifier adds, and those that a person did."""
    docs = semantic_docs.select("record_id", "source", "shard").sort("record_id").collect()
    texts = (
        docs.lazy()
        .select("record_id")
        .join(clean_docs.select("record_id", "text"), on="record_id", maintain_order="left")
        .collect()
    )
    model = classifier.DomainClassifier.load(run.learned("domain_classifier"))
    probability = model.predict(doc_embeddings.select("record_id", "vector").collect())
    named = keyword_table.select(pl.concat_list("term", "synonyms").list.explode(keep_nulls=False)).collect()
    hits = recall.keyword_hits(texts, named.to_series().to_list())
    reviewed = resolve(reviews.decisions("document"), raw_crawl)
    return recall.judge_recall(docs, probability, nearest_docs.collect(), hits, reviewed, settings)


@stage("domain", lineage.judge("recalled_docs"), externals=["document_decisions"], resources=["reviews"])
def domain_docs(
    recalled_docs: pl.LazyFrame, clean_docs: pl.LazyFrame, raw_crawl: pl.LazyFrame, reviews: Reviews
) -> pl.DataFrame:
    """The extended domain corpus: what was recalled, with a person's decisions applied."""
    texts = clean_docs.select("record_id", "uri", "title", "text")
    docs = (
        recalled_docs.select("record_id", "source", "shard", "probability")
        .join(texts, on="record_id")
        .sort("record_id")
        .collect()
    )
    return apply_reviews(docs, resolve(reviews.decisions("document"), raw_crawl))
