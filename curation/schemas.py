"""What each table of the lake looks like: one pandera model a table.

Belongs here: column names, types, bounds and descriptions, and the order of the tables. The models
feed the blocking schema check, the column schema shown in the Dagster UI and the catalog.
Does not belong here: how the rows are made, or which stage reads which table.
"""

from __future__ import annotations

from typing import Any

import pandera.polars as pa
import polars as pl

from curation.verdicts import REASONS, VERDICTS, Verdict

Messages = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
CriterionScores = pl.List(pl.Struct({"criterion": pl.String, "score": pl.Float64}))


def _column(description: str, *, nullable: bool = False, **checks: Any) -> Any:
    return pa.Field(description=description, nullable=nullable, **checks)


class Judged(pa.DataFrameModel):
    """The columns that every table has."""

    record_id: pl.String = _column(
        "128-bit id of the record, stable between runs", unique=True, str_length=32
    )
    verdict: pl.Enum = _column(
        "kept, dropped (a rule, a score, a person) or quarantined (unreadable)",
        dtype_kwargs={"categories": list(VERDICTS)},
    )
    reason: pl.String = _column(
        "why the row was not kept: a code of the registry", nullable=True, isin=sorted(REASONS)
    )
    evidence: pl.String = _column("JSON: what was measured, against which limit, with which other record")
    run_id: pl.String = _column(
        "the run that decided: hash of the code, settings and input versions that determined the outcome",
        str_length=32,
    )

    class Config:
        strict = True


class Placed(Judged):
    """A record that knows where it came from."""

    source: pl.String = _column("name of the source in the profile")
    uri: pl.String = _column("address or path that the record was read from")
    shard: pl.String = _column("partition that the record belongs to")


class RawCrawl(Placed):
    """Records as they came in, one row for every page tried, file, line or row."""

    position: pl.Int64 = _column("0-based place within the URI", ge=0)
    native_id: pl.String = _column("the id that the source itself gives", nullable=True)
    title: pl.String = _column("title that the source itself gives", nullable=True)
    media_type: pl.String = _column("MIME type of the body", nullable=True)
    charset: pl.String = _column("character set declared by the source", nullable=True)
    status: pl.Int32 = _column("HTTP status, where there is one", nullable=True)
    body: pl.Binary = _column("the bytes as they came in", nullable=True)
    fetched_at: pl.String = _column(
        "when it was fetched, ISO 8601 UTC (not part of the data version)", nullable=True
    )


class CleanDocs(Placed):
    """Normalised documents, judged by rules on their text."""

    title: pl.String = _column("title of the document", nullable=True)
    text: pl.String = _column("normalised text")
    content_hash: pl.String = _column("hash of the canonical form of the text", str_length=32)
    language: pl.String = _column("zh, en, mixed or other", isin=["zh", "en", "mixed", "other"])
    n_chars: pl.UInt32 = _column("characters without white space")


class Signatures(Judged):
    """MinHash signatures and LSH bands of the documents."""

    source: pl.String = _column("name of the source in the profile")
    shard: pl.String = _column("partition that the record belongs to")
    content_hash: pl.String = _column("hash of the canonical form of the text", str_length=32)
    n_chars: pl.UInt32 = _column("characters without white space")
    quality: pl.Float64 = _column("how free of faults the text is, in tenths", ge=0, le=1)
    n_shingles: pl.UInt32 = _column("distinct character n-grams")
    signature: pl.List = _column(
        "MinHash values, one a permutation (UInt32)", dtype_kwargs={"inner": pl.UInt32}
    )
    bands: pl.List = _column("hash of each LSH band (UInt32)", dtype_kwargs={"inner": pl.UInt32})


class UniqueDocs(Judged):
    """Documents over all shards, judged for duplicates."""

    source: pl.String = _column("name of the source in the profile")
    shard: pl.String = _column("partition that the record belongs to")
    duplicate_of: pl.String = _column("record_id of the representative that is kept", nullable=True)
    similarity: pl.Float64 = _column("Jaccard similarity to the representative", nullable=True, ge=0, le=1)


class SemanticDocs(Judged):
    """Documents judged for duplicates by meaning, and for being all too typical."""

    source: pl.String = _column("name of the source in the profile")
    shard: pl.String = _column("partition that the record belongs to")
    duplicate_of: pl.String = _column("record_id of the representative that is kept", nullable=True)
    similarity: pl.Float64 = _column("cosine similarity to the representative", nullable=True, ge=-1, le=1)
    to_centre: pl.Float64 = _column(
        "cosine similarity to the centre of its cluster; null where nothing was asked for",
        nullable=True,
        ge=-1,
        le=1,
    )


class SeedCorpus(Judged):
    """The in-domain documents that define the domain."""

    split: pl.String = _column("train, or heldout: nothing is learned from it", isin=["train", "heldout"])
    duplicate_of: pl.String = _column("record_id of the seed that is kept for it", nullable=True)
    source: pl.String = _column("name of the source in the profile")
    uri: pl.String = _column("path that the seed was read from")
    title: pl.String = _column("title of the seed", nullable=True)
    text: pl.String = _column("normalised text")
    content_hash: pl.String = _column("hash of the canonical form of the text", str_length=32)
    language: pl.String = _column("zh, en, mixed or other", isin=["zh", "en", "mixed", "other"])
    n_chars: pl.UInt32 = _column("characters without white space")


class KeywordTable(Judged):
    """Terms of the domain, mined from the seeds, with a person's decisions on top."""

    term: pl.String = _column("the term", unique=True)
    score: pl.Float64 = _column(
        "rank score: geometric mean of z-score and shrunk log-odds, by part of speech", ge=0
    )
    log_odds: pl.Float64 = _column("log-odds of documents of the domain against general ones that hold it")
    z_score: pl.Float64 = _column("log-odds divided by their standard error")
    tf_idf: pl.Float64 = _column("summed TF-IDF over the seeds")
    text_rank: pl.Float64 = _column("summed TextRank over the seeds")
    seed_docs: pl.UInt32 = _column("seed documents that hold the term")
    general_docs: pl.UInt32 = _column("sampled general documents that hold the term")
    part_of_speech: pl.String = _column("part of speech by jieba, or new", nullable=True)
    known: pl.Boolean = _column("whether jieba's dictionary holds it")
    example: pl.String = _column("the term in context, an example a line", nullable=True)  # type: ignore[assignment]
    suggested: pl.String = _column("what the score suggests", isin=["accept", "reject"])
    decided_by: pl.String = _column("reviewer who accepted, rejected, added or merged it", nullable=True)
    merged_into: pl.String = _column("the term that a person merged it into", nullable=True)
    synonyms: pl.List = _column("terms that a person merged into it", dtype_kwargs={"inner": pl.String})
    parents: pl.List = _column(
        "record_ids of seeds that hold it (at most 10)", dtype_kwargs={"inner": pl.String}
    )


class Encoder(Judged):
    """A fitted or loaded encoder."""

    name: pl.String = _column("kind of encoder and its settings")
    dimension: pl.UInt32 = _column("length of a vector", gt=0)
    fitted_on: pl.UInt32 = _column("texts that it was fitted on (0: loaded)")
    explained_variance: pl.Float64 = _column("share of the variance that the dimensions keep", nullable=True)
    path: pl.String = _column("folder of the artefact, below the lake", nullable=True)


class Embeddings(Judged):
    """Unit vectors of texts."""

    shard: pl.String = _column("partition that the record belongs to")
    vector: pl.List = _column(
        "unit vector (Float32), or zeros where the text has no known n-gram",
        dtype_kwargs={"inner": pl.Float32},
    )


class NearestDocs(Judged):
    """For each seed its most similar general documents."""

    parents: pl.List = _column("the seed", dtype_kwargs={"inner": pl.String})
    seed_id: pl.String = _column("record_id of the seed")
    doc_id: pl.String = _column("record_id of the general document", nullable=True)
    rank: pl.UInt32 = _column("1 for the most similar", ge=1)
    similarity: pl.Float64 = _column("cosine similarity", nullable=True)


class RecalledDocs(Judged):
    """General documents, judged for whether they belong to the domain."""

    source: pl.String = _column("name of the source in the profile")
    shard: pl.String = _column("partition that the record belongs to")
    probability: pl.Float64 = _column("calibrated probability of the domain classifier", ge=0, le=1)
    channel: pl.String = _column("seed, classifier, both, or reviewer", nullable=True)
    seed_id: pl.String = _column("most similar seed", nullable=True)
    rank: pl.UInt32 = _column("rank among the documents most similar to that seed", nullable=True)
    similarity: pl.Float64 = _column("cosine similarity to that seed", nullable=True)
    keywords: pl.List = _column("terms of the keyword table found in it", dtype_kwargs={"inner": pl.String})


class DomainClassifier(Judged):
    """The rows that the domain classifier learned from and was measured on."""

    role: pl.String = _column(
        "seed, accepted, rejected, unlabelled", isin=["seed", "accepted", "rejected", "unlabelled"]
    )
    fold: pl.UInt8 = _column("fold of the cross-fitting: the model of a fold did not learn from its rows")
    label: pl.Float64 = _column("1 in the domain, 0 not", ge=0, le=1)
    probability: pl.Float64 = _column(
        "probability given by a model that did not learn from the row", ge=0, le=1
    )


class DomainDocs(Placed):
    """The extended domain corpus."""

    title: pl.String = _column("title of the document", nullable=True)
    text: pl.String = _column("normalised text")
    probability: pl.Float64 = _column("probability of being in the domain", ge=0, le=1)
    decided_by: pl.String = _column("reviewer who accepted or rejected it", nullable=True)


class Prompts(Judged):
    """Prompts made from documents, rules and other prompts."""

    parents: pl.List = _column(
        "record_ids of the documents it was made from", dtype_kwargs={"inner": pl.String}
    )
    method: pl.String = _column(
        "rule, document or self_instruct", isin=["rule", "document", "self_instruct"], nullable=True
    )
    task: pl.String = _column("kind of task", nullable=True)
    instruction: pl.String = _column("what is asked", nullable=True)
    input: pl.String = _column("text that the instruction works on, may be empty", nullable=True)
    grounded_answer: pl.String = _column(
        "answer taken from the document, where the method gives one", nullable=True
    )


class Answers(Judged):
    """Prompts with their answers, as samples."""

    source: pl.String = _column("how the sample was made")
    uri: pl.String = _column("the stage that made it")
    shard: pl.String = _column("partition that the sample belongs to")
    parents: pl.List = _column(
        "record_ids of the documents it was made from", dtype_kwargs={"inner": pl.String}
    )
    task: pl.String = _column("kind of task", nullable=True)
    messages: pl.List = _column(
        "the sample: list of role and content", dtype_kwargs={"inner": Messages.inner}
    )


class RawSamples(Placed):
    """Instruction samples as they came in, one row a line."""

    position: pl.Int64 = _column("0-based place within the URI", ge=0)
    native_id: pl.String = _column("the id that the source itself gives", nullable=True)
    task: pl.String = _column("kind of task, where the source names it", nullable=True)
    messages: pl.List = _column(
        "the sample: list of role and content", nullable=True, dtype_kwargs={"inner": Messages.inner}
    )
    body: pl.Binary = _column("the bytes of a line that could not be read", nullable=True)


class SftPool(Placed):
    """All instruction samples in one schema, judged for form, leaks and duplicates."""

    native_id: pl.String = _column("the id that the source itself gives", nullable=True)
    task: pl.String = _column("kind of task", nullable=True)
    messages: pl.List = _column(
        "the sample: list of role and content", dtype_kwargs={"inner": Messages.inner}
    )
    prompt: pl.String = _column("all but the last answer, normalised")
    answer: pl.String = _column("the last answer, normalised")
    content_hash: pl.String = _column("hash of the canonical form of prompt and answer", str_length=32)
    language: pl.String = _column("zh, en, mixed or other", isin=["zh", "en", "mixed", "other"])
    n_chars: pl.UInt32 = _column("characters of prompt and answer without white space")
    parents: pl.List = _column(
        "record_ids that it was made from (empty for samples from outside)", dtype_kwargs={"inner": pl.String}
    )
    duplicate_of: pl.String = _column("record_id of the representative that is kept", nullable=True)


class Clusters(Judged):
    """Cluster and neighbour structure of the pool."""

    cluster: pl.Int32 = _column("number of the cluster", ge=0)
    terms: pl.String = _column("terms that name the cluster")
    to_centre: pl.Float64 = _column("cosine similarity to the cluster's centre")
    to_neighbours: pl.Float64 = _column("mean cosine similarity to the nearest neighbours")
    fits: pl.Boolean = _column("whether it lies near to anything: if not, its cluster means little")
    covers: pl.UInt32 = _column("samples that have it among the nearer half of their neighbours")


class LanguageModel(Judged):
    """Training steps of the language model: the loss curve."""

    step: pl.UInt32 = _column("optimiser step")
    loss: pl.Float64 = _column("mean training loss since the row before, nats per token", nullable=True)
    heldout_loss: pl.Float64 = _column("loss on held-out samples, nats per token", nullable=True)
    tokens: pl.UInt64 = _column("tokens seen")
    path: pl.String = _column("folder of the artefact, below the lake", nullable=True)


class QualityModel(Judged):
    """Features of the quality and mismatch models with their weights."""

    model: pl.String = _column(
        "quality, mismatch, truncation, reward, or combination: what soundness, information and reward count",
        isin=["quality", "mismatch", "truncation", "reward", "combination"],
    )
    feature: pl.String = _column("name of the feature")
    weight: pl.Float64 = _column("weight in the standardised linear model")
    auc: pl.Float64 = _column("cross-validated AUC of the whole model on its training task", nullable=True)
    trained_on: pl.UInt32 = _column("rows that the model learned from")
    path: pl.String = _column("folder of the artefact, below the lake", nullable=True)


class Scores(Judged):
    """Named scores of every sample of the pool."""

    shard: pl.String = _column("partition that the record belongs to")
    ppl: pl.Float64 = _column("perplexity of the answer given the prompt", nullable=True, gt=0)
    loss_conditional: pl.Float64 = _column(
        "mean NLL of the answer given the prompt, nats per token", nullable=True
    )
    loss_alone: pl.Float64 = _column("mean NLL of the answer alone, nats per token", nullable=True)
    ifd: pl.Float64 = _column("instruction-following difficulty: ratio of the two losses", nullable=True)
    ifd_ppl: pl.Float64 = _column("ratio of the two perplexities", nullable=True)
    entropy: pl.Float64 = _column("mean token entropy of the answer given the prompt, nats", nullable=True)
    least_confidence: pl.Float64 = _column(
        "mean of 1 - p of the likeliest token of the answer", nullable=True, ge=0, le=1
    )
    margin: pl.Float64 = _column(
        "mean of p of the likeliest token less p of the next", nullable=True, ge=0, le=1
    )
    disagreement: pl.Float64 = _column(
        "mean mutual information between a token and the model over thinned models, nats", nullable=True
    )
    ppl_text: pl.Float64 = _column("perplexity of prompt and answer together", nullable=True, gt=0)
    match: pl.Float64 = _column("probability that the answer belongs to its prompt", ge=0, le=1)
    truncation: pl.Float64 = _column("probability that the answer is cut off", ge=0, le=1)
    repetition: pl.Float64 = _column("share of the answer that repeats itself", ge=0, le=1)
    garble: pl.Float64 = _column("share of the text that looks garbled", ge=0, le=1)
    markup: pl.Float64 = _column("share of the text that looks like web page furniture", ge=0, le=1)
    language_mismatch: pl.Float64 = _column(
        "how far the answer's script is from the one the prompt asks for", ge=0, le=1
    )
    surprise: pl.Float64 = _column(
        "loss of the answer beyond the entropy that the model expects, nats per token; shrunk for short answers",
        nullable=True,
    )
    verb_object: pl.String = _column(
        "what the prompt asks for, a verb and its object (Chinese only)", nullable=True
    )
    noise: pl.Float64 = _column(
        "estimated probability that the sample has the defect which its clearest score speaks of", ge=0, le=1
    )
    doubted: pl.Boolean = _column("whether confident learning takes the answer for another prompt's")
    conflicts_with: pl.String = _column(
        "record_id of a sample that answers the same question otherwise", nullable=True
    )
    soundness: pl.Float64 = _column("how free of known defects, rank-normalised", ge=0, le=1)
    reward: pl.Float64 = _column("what the reward model gives, log-odds; null without one", nullable=True)
    complexity: pl.Float64 = _column(
        "how hard the instruction is by a scorer model, mean over the turns; null without one",
        nullable=True,
        ge=1,
        le=6,
    )
    answer_quality: pl.Float64 = _column(
        "how good the answer is by a scorer model, mean over the turns; null without one",
        nullable=True,
        ge=1,
        le=6,
    )
    evol: pl.Float64 = _column(
        "complexity times answer quality, summed over the turns; null without both scorers",
        nullable=True,
        gt=0,
    )
    trust: pl.Float64 = _column(
        "probability of being of the trusted kind; null without trusted sources", nullable=True, ge=0, le=1
    )
    quality: pl.Float64 = _column("combined quality, rank-normalised", ge=0, le=1)


class Judgements(Judged):
    """What a chat model says of the scored samples, by a rubric."""

    shard: pl.String = _column("partition that the record belongs to")
    status: pl.String = _column(
        "judged, or why not: no chat model, not chosen, over the cost cap, request failed, garbled answer",
        isin=["judged", "no_chat_model", "not_chosen", "over_cap", "failed", "garbled"],
    )
    criteria: pl.List = _column(
        "score of each criterion, 1 to 5", nullable=True, dtype_kwargs={"inner": CriterionScores.inner}
    )
    judge_score: pl.Float64 = _column("mean of the criteria, 1 to 5", nullable=True, ge=1, le=5)
    judge_reason: pl.String = _column("the reason that the model gives", nullable=True)
    quality: pl.Float64 = _column("combined quality with the judge's score in it", ge=0, le=1)


class SftSet(Judged):
    """The pool's scored samples, judged for the final set."""

    shard: pl.String = _column("partition that the record belongs to")
    messages: pl.List = _column(
        "the sample: list of role and content", dtype_kwargs={"inner": Messages.inner}
    )
    cluster: pl.Int32 = _column("number of the cluster", ge=0)
    quality_weight: pl.Float64 = _column("quality weight", ge=0)
    diversity_weight: pl.Float64 = _column("diversity weight", ge=0)
    inclusion_probability: pl.Float64 = _column("probability of being chosen", ge=0, le=1)


class SftFiles(Judged):
    """Samples written to the SFT files."""

    line: pl.UInt32 = _column(
        "0-based line in each of the files, the first where there are more", nullable=True
    )
    times: pl.UInt32 = _column("lines that it has in each of the files: more or less than 1 by resampling")


class RmFiles(Judged):
    """Pairs for a reward model: a better and a worse answer to the same prompt."""

    parents: pl.List = _column(
        "record_ids of the samples that the pair was made from", dtype_kwargs={"inner": pl.String}
    )
    prompt: pl.String = _column("the prompt: the last message before the answer")
    context: pl.List = _column("all messages before the answer", dtype_kwargs={"inner": Messages.inner})
    chosen: pl.String = _column("the better answer", nullable=True)
    rejected: pl.String = _column("the worse answer", nullable=True)
    origin: pl.String = _column("where the worse answer comes from", nullable=True)


class PpoFiles(Judged):
    """Prompts for reinforcement learning."""

    prompt: pl.String = _column("the prompt: the last message before the answer")
    context: pl.List = _column("all messages before the answer", dtype_kwargs={"inner": Messages.inner})
    cluster: pl.Int32 = _column("number of the cluster", ge=0, nullable=True)


class DatasetCard(Judged):
    """The dataset card and what it counts."""

    path: pl.String = _column("file, below the lake")
    figure: pl.String = _column("name of the figure")
    value: pl.Float64 = _column("the figure", nullable=True)


class SelectionReport(Judged):
    """Measures of the selection beside the pool and a random choice of the same size."""

    measure: pl.String = _column("name of the measure")
    selected: pl.Float64 = _column("in the final set", nullable=True)
    random: pl.Float64 = _column("in a random choice of the same size", nullable=True)
    pool: pl.Float64 = _column("in the whole pool", nullable=True)


class StrategyComparison(Judged):
    """What each strategy does to a trained model."""

    strategy: pl.String = _column("name of the strategy")  # type: ignore[assignment]
    seed: pl.UInt32 = _column("seed of the choice and the training")
    samples: pl.UInt32 = _column("samples trained on")
    tokens: pl.UInt64 = _column("tokens trained on")
    heldout_loss: pl.Float64 = _column(
        "loss on answers of held-out samples, nats per token, mean over samples"
    )
    group_loss: pl.Float64 = _column("the same, mean over the means of the clusters")


class ReviewQueue(Judged):
    """What a person should look at next."""

    parents: pl.List = _column("the record that is asked about", dtype_kwargs={"inner": pl.String})
    kind: pl.String = _column("keyword, document or sample", isin=["keyword", "document", "sample"])
    target: pl.String = _column("record_id or term to decide on")
    priority: pl.Float64 = _column("the higher, the sooner")
    why: pl.String = _column("why a person should look at it")
    text: pl.String = _column("what is to be judged")


#: Every table of the lake, in the order in which data flows.
TABLES: dict[str, type[Judged]] = {
    "raw_crawl": RawCrawl,
    "clean_docs": CleanDocs,
    "signatures": Signatures,
    "unique_docs": UniqueDocs,
    "seed_corpus": SeedCorpus,
    "keyword_table": KeywordTable,
    "document_encoder": Encoder,
    "seed_embeddings": Embeddings,
    "doc_embeddings": Embeddings,
    "semantic_docs": SemanticDocs,
    "nearest_docs": NearestDocs,
    "domain_classifier": DomainClassifier,
    "recalled_docs": RecalledDocs,
    "domain_docs": DomainDocs,
    "prompts": Prompts,
    "answers": Answers,
    "raw_samples": RawSamples,
    "sft_pool": SftPool,
    "sample_encoder": Encoder,
    "embeddings": Embeddings,
    "language_model": LanguageModel,
    "quality_model": QualityModel,
    "scores": Scores,
    "clusters": Clusters,
    "judgements": Judgements,
    "sft_set": SftSet,
    "sft_files": SftFiles,
    "rm_files": RmFiles,
    "ppo_files": PpoFiles,
    "dataset_card": DatasetCard,
    "selection_report": SelectionReport,
    "strategy_comparison": StrategyComparison,
    "review_queue": ReviewQueue,
}
#: Columns that say when, not what: left out of the data version, so that equal data stays equal.
VOLATILE = ("run_id", "fetched_at")
#: The same of keys in the evidence of a page: how the server names its version, and whether it was sent again.
VOLATILE_EVIDENCE = r',"(?:etag|last_modified)":"(?:[^"\\]|\\.)*"|,"unchanged":true'


def columns(asset: str) -> dict[str, pl.DataType]:
    """Column names and types of a table, in order; the five of `Judged` last."""
    fields = TABLES[asset].to_schema().columns
    own = [name for name in fields if name not in Judged.to_schema().columns or name == "record_id"]
    own.sort(key=lambda name: name != "record_id")
    names = [*own, *(name for name in Judged.to_schema().columns if name != "record_id")]
    types = {name: fields[name].dtype.type for name in names}
    return {name: Verdict if name == "verdict" else dtype for name, dtype in types.items()}


def empty(asset: str) -> pl.DataFrame:
    """A table without rows."""
    return pl.DataFrame(schema=columns(asset))


def conform(asset: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with exactly the columns of its table, in order and of the right types.

    Raises
    ------
    ValueError
        A column of the schema is missing from the frame.
    """
    wanted = columns(asset)
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise ValueError(f"table {asset}: missing columns {', '.join(missing)}")
    return frame.select(pl.col(name).cast(dtype) for name, dtype in wanted.items())
