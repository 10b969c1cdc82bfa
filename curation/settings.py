"""Settings of a whole run: one profile, one file, every field described and bounded.

Belongs here: the pydantic model of a profile, one section a stage, and reading one with overrides.
Does not belong here: what the settings do (the stage's module).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from curation.errors import UserError

Share = Annotated[float, Field(ge=0, le=1)]
Language = Literal["zh", "en", "mixed", "other"]
#: Ways to choose samples (`curation.selection.strategies`); `mix` mixes the others.
Strategy = Literal[
    "default", "random", "longest", "quality_top", "kmeans_nearest", "kmeans_random", "kmeans_farthest",
    "cluster_weighted", "neighbour_weighted", "stratified", "kcenter", "one_pass", "deita", "semdedup", "d4",
    "ifd_top", "superfiltering", "facility_location", "graph_cut", "dsir", "uncertain", "ppl_worst", "mix",
]  # fmt: skip
#: Ways to cluster samples (`curation.selection.groupings`).
ClusterMethod = Literal["kmeans", "mini_batch", "communities", "one_pass", "kcenter", "hdbscan"]
#: What samples can be grouped by, and the share of the budget of each value ("*": of every other value).
Shares = dict[Literal["language", "task", "source", "cluster"], dict[str, Share]]


class Section(BaseModel):
    """A group of settings; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# -- sources ------------------------------------------------------------------------------------


class Fields(Section):
    """Names of the columns or keys that hold what we need."""

    id: str | None = Field(None, description="the source's own id of a record")
    text: str = Field("text", description="text of a document")
    title: str | None = Field(None, description="title of a document")
    instruction: str = Field("instruction", description="instruction of a sample")
    input: str | None = Field("input", description="text that the instruction works on")
    output: str = Field("output", description="answer of a sample")
    messages: str | None = Field(
        None, description="list of role and content; takes the place of the three above"
    )
    task: str | None = Field(None, description="kind of task of a sample")


class Crawl(Section):
    """How a website is crawled."""

    allowed_domains: tuple[str, ...] = Field(
        (), description="hosts to stay on; by default those of the start URLs"
    )
    max_depth: int = Field(10, ge=0, le=1000, description="links to follow from a start URL")
    max_pages: int = Field(10_000, ge=1, description="pages to fetch at most")
    sitemaps: bool = Field(
        True,
        description="read the sitemaps that robots.txt names, and start URLs that end in .xml or .xml.gz",
    )
    refresh_hours: float | None = Field(
        None,
        gt=0,
        le=100_000,
        description="hours after which a run crawls again; by default only when it is asked to (--force raw_crawl)",
    )
    delay: float = Field(
        0.5,
        ge=0,
        le=600,
        description="seconds between two requests to one host; its robots.txt may ask for more",
    )
    concurrency: int = Field(8, ge=1, le=256, description="requests under way at once")
    host_concurrency: int = Field(4, ge=1, le=64, description="requests to one host under way at once")
    timeout: float = Field(30, gt=0, le=600, description="seconds that one request may take")
    max_bytes: int = Field(20_000_000, ge=1_000, description="bytes that one page may have, also unpacked")
    retries: int = Field(2, ge=0, le=20, description="tries after a failed one")
    max_backoff: float = Field(
        60,
        ge=0,
        le=3600,
        description="seconds to wait at most before another try, even if the server asks for more",
    )
    obey_robots: bool = Field(True, description="keep to robots.txt")
    allow_private_addresses: bool = Field(False, description="allow loopback and private addresses")
    user_agent: str = Field(
        "curation-dagster (+https://github.com/curation-dagster)", description="how the crawler names itself"
    )


class Source(Section):
    """Where records come from."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,60}$", description="name of the source")
    role: Literal["document", "seed", "sample", "benchmark"] = Field(description="what the records are")
    kind: Literal[
        "web",
        "html",
        "text",
        "markdown",
        "epub",
        "warc",
        "wikipedia",
        "jsonl",
        "csv",
        "parquet",
        "huggingface",
    ] = Field(description="how it is read")
    path: str | None = Field(
        None, description="file, folder or glob, local or an fsspec URL such as s3:// (all kinds but web)"
    )
    urls: tuple[str, ...] = Field((), description="start URLs (kind web)")
    crawl: Crawl = Field(Crawl(), description="how to crawl (kind web)")  # type: ignore[call-arg]
    fields: Fields = Field(Fields(), description="names of columns or keys")  # type: ignore[call-arg]
    shard_rows: int = Field(50_000, ge=1, description="rows in one shard (parquet, huggingface)")
    shard_bytes: int = Field(64_000_000, ge=1_000, description="bytes of files in one shard (other kinds)")
    max_record_bytes: int = Field(
        20_000_000,
        ge=1_000,
        description="bytes that one line, page, chapter or file may have, unpacked; larger ones are quarantined",
    )
    max_unpacked_ratio: int = Field(
        100,
        ge=1,
        description="times its own size that a packed file may unpack to, beyond the first 100 MB",
    )

    @model_validator(mode="after")
    def _has_place(self) -> Source:
        if self.kind == "web" and not self.urls:
            raise ValueError("kind web needs urls")
        if self.kind != "web" and not self.path:
            raise ValueError(f"kind {self.kind} needs a path")
        if self.kind == "web" and self.role != "document":
            raise ValueError("kind web can only have the role document")
        return self


# -- stages -------------------------------------------------------------------------------------


class CleanSettings(Section):
    """Cleaning of documents and the rules that judge them. A limit of null turns a rule off: nothing is measured."""

    traditional_to_simplified: bool = Field(True, description="convert traditional characters")
    mask_pii: bool = Field(
        True,
        description="mask identity numbers, phones, e-mails, bank cards, IP addresses and number plates",
    )
    languages: tuple[Language, ...] | None = Field(
        ("zh", "en", "mixed"), description="languages to keep; null: all"
    )
    min_chars: int | None = Field(30, ge=0, description="characters without white space, at least")
    max_chars: int | None = Field(200_000, ge=1, description="characters without white space, at most")
    min_words: int | None = Field(None, ge=0, description="words (as jieba cuts them), at least")
    max_words: int | None = Field(None, ge=1, description="words (as jieba cuts them), at most")
    max_symbol_share: Share | None = Field(
        0.35, description="share of characters that are neither letters, digits nor common punctuation"
    )
    max_digit_share: Share | None = Field(0.5, description="share of digits")
    max_punctuation_share: Share | None = Field(0.5, description="share of common punctuation")
    max_latin_share: Share | None = Field(None, description="share of Latin letters")
    max_repetition: Share | None = Field(
        0.5, description="repetition score: share of the text in repeated lines, runs and loops"
    )
    max_repeated_lines: Share | None = Field(
        0.4, description="share of the text in lines that occurred before"
    )
    min_sentence_ends: Share | None = Field(
        None, description="share of the lines that end as a sentence does, at least"
    )
    max_garble: Share | None = Field(0.05, description="share of characters that look like mojibake")
    max_markup: Share | None = Field(
        0.3, description="share of the text that is HTML mark-up or page furniture"
    )
    max_debris: Share | None = Field(
        0.1,
        description="share of the lines that a page left behind: lists of titles, halves of dates, counters",
    )
    max_spam: Share | None = Field(0.5, description="spam score of advertising and gambling terms")
    max_offence: Share | None = Field(
        1.0, description="score of offensive language; 1 measures it and never refuses"
    )
    blocked_terms: tuple[str, ...] = Field((), description="terms that no document may hold")


class DedupSettings(Section):
    """Exact and near duplicates: MinHash LSH, every candidate verified."""

    ngram: int = Field(5, ge=1, le=50, description="characters in a shingle")
    permutations: int = Field(128, ge=16, le=1024, description="MinHash values in a signature")
    bands: int = Field(32, ge=1, le=512, description="LSH bands; must divide the permutations")
    threshold: Share = Field(0.7, description="Jaccard similarity from which two texts are duplicates")
    prefer: tuple[Literal["source", "quality", "length"], ...] = Field(
        ("source", "quality", "length"),
        description="which of several duplicates is kept: that of the better source, the cleaner, the longer; last, the first id",
    )
    sources: tuple[str, ...] = Field(
        (), description="names of sources, the best first; all others come after them"
    )
    template_records: int = Field(
        0,
        ge=0,
        lt=65_535,
        description="a shingle that more records hold is a template and does not count for similarity; 0: all count, "
        "and new shards alone are compared with what is there",
    )

    @model_validator(mode="after")
    def _bands_divide(self) -> DedupSettings:
        if self.permutations % self.bands:
            raise ValueError("bands must divide permutations")
        return self


class SampleDedupSettings(DedupSettings):
    """Exact and near duplicates among samples: short, and often made from one template."""

    ngram: int = Field(2, ge=1, le=50, description="characters in a shingle")
    threshold: Share = Field(0.65, description="Jaccard similarity from which two texts are duplicates")
    prefer: tuple[Literal["source", "length"], ...] = Field(
        ("source", "length"),
        description="which of several duplicates is kept: that of the better source, the longer; last, the first id",
    )
    template_records: int = Field(
        200,
        ge=0,
        lt=65_535,
        description="a shingle that more records hold is a template and does not count for similarity; 0: all count",
    )


class SemanticSettings(Section):
    """Duplicates by meaning: SemDeDup, and the prototypes of D4, on the vectors of documents."""

    threshold: float | None = Field(
        None,
        gt=0,
        le=1,
        description="cosine similarity (1 - epsilon) from which two documents of a cluster mean the same; none: not judged",
    )
    prototypes: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the documents left that is dropped as nearest to the centres of a second clustering",
    )
    clusters: int = Field(0, ge=0, description="k-means clusters; 0: the square root of the documents")

    @property
    def active(self) -> bool:
        """Whether anything is asked for."""
        return self.threshold is not None or self.prototypes > 0


class EncoderSettings(Section):
    """How texts become vectors."""

    kind: Literal["lsa", "static", "transformers"] = Field(
        "lsa",
        description="LSA fitted on the corpus, static word or character vectors, or a Hugging Face encoder",
    )
    dimension: int = Field(256, ge=8, le=4096, description="length of a vector (lsa)")
    max_tokens: int = Field(512, ge=8, le=32_768, description="first tokens of a text that are read")
    buckets_log2: int = Field(
        18, ge=10, le=24, description="hash buckets of the n-grams, as a power of two (lsa)"
    )
    fit_rows: int = Field(50_000, ge=100, description="texts that the projection is fitted on, at most")
    model: str | None = Field(
        None, description="path or hub id (transformers); file in the text format of word2vec (static)"
    )
    pooling: Literal["cls", "mean", "last"] = Field(
        "cls", description="how token vectors become one: first, mean or last token (transformers)"
    )
    prefix: str = Field("", description="instruction put before each text (transformers)")
    batch_tokens: int = Field(4_096, ge=64, description="tokens in a batch (transformers)")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="numbers that a model computes with; auto: bfloat16 on a GPU or a CPU that multiplies it, else float32 (transformers)",
    )

    @model_validator(mode="after")
    def _model_named(self) -> EncoderSettings:
        if self.kind != "lsa" and not self.model:
            raise ValueError(f"kind {self.kind} needs a model: a path, or a hub id (transformers)")
        return self


class SeedSettings(Section):
    """The documents that define the domain."""

    heldout_share: float = Field(
        0.1, ge=0, le=0.9, description="share of the seeds that nothing is learned from, to measure with"
    )


class KeywordSettings(Section):
    """Mining of domain terms."""

    keep: int = Field(300, ge=1, description="best-scored terms that are suggested and kept before review")
    min_seed_docs: int = Field(2, ge=1, description="seed documents that must hold a term")
    min_score: float = Field(
        1.0, ge=0, description="score, at least (geometric mean of the z-score and the shrunk log-odds)"
    )
    general_sample: int = Field(20_000, ge=100, description="general documents to contrast with, at most")
    part_of_speech: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        {"n": 1, "vn": 1, "an": 1, "j": 1, "eng": 1, "v": 0.5, "a": 0.5, "l": 0.5, "i": 0.5},
        description="weight of a term by the beginning of jieba's tag, the longest counts; no other tags are terms",
    )
    dictionaries: tuple[str, ...] = Field(
        (), description="files of words that hold together, as for jieba: word, frequency, tag in a line"
    )
    stop_words: tuple[str, ...] = Field((), description="files of words that are never terms, one in a line")
    longest_new_word: int = Field(6, ge=2, le=20, description="characters of a new word, at most")
    min_new_word_count: int = Field(3, ge=2, description="times that a new word must be in the seeds")
    min_pmi: float = Field(
        2.5, ge=0, description="pointwise mutual information of the parts of a new word (nats), at least"
    )
    min_entropy: float = Field(
        0.9, ge=0, description="entropy of what stands beside a new word, to either side (nats), at least"
    )


class RecallSettings(Section):
    """The documents nearest to each seed."""

    per_seed: int = Field(10, ge=1, le=10_000, description="most similar documents of each seed")
    min_similarity: float = Field(0.25, ge=-1, le=1, description="cosine similarity, at least")
    index: Literal["exact", "ivf", "hnsw"] = Field(
        "exact",
        description="how documents are searched: all of them, the nearest cells only, or along a graph (slow to"
        " build); an index pays from about a million documents",
    )
    index_recall: Share = Field(
        0.95,
        description="share of the nearest documents that an index must find, measured on a sample of seeds",
    )


class ClassifierSettings(Section):
    """The domain classifier, trained in rounds."""

    rounds: int = Field(4, ge=1, le=50, description="rounds at most")
    stop_share: Share = Field(0.98, description="stop when this share of what is collected was there before")
    unlabelled_sample: int = Field(
        100_000, ge=100, description="general documents taken as unlabelled, at most"
    )
    folds: int = Field(
        2,
        ge=2,
        le=20,
        description="folds of the cross-fitting: a document is judged by a model that did not see it",
    )
    regularisation: float = Field(1e-3, gt=0, le=10, description="L2 penalty of the logistic regression")
    threshold: Share = Field(0.5, description="probability from which a document is recalled")


class PromptSettings(Section):
    """Prompts made from the domain corpus."""

    per_document: int = Field(2, ge=0, le=100, description="prompts of a document at most")
    max_prompts: int = Field(20_000, ge=0, description="prompts in all at most")
    methods: tuple[Literal["rule", "document", "self_instruct"], ...] = Field(
        ("rule", "document", "self_instruct"),
        description="ways to make prompts; self_instruct needs a chat model",
    )
    self_instruct_prompts: int = Field(100, ge=0, description="prompts to ask the chat model for")
    max_rouge_l: Share = Field(
        0.7, description="ROUGE-L to an earlier prompt from which a new one is not novel"
    )


class ChatSettings(Section):
    """The chat model: none, or any OpenAI-compatible server."""

    base_url: str | None = Field(
        None, description="address of the server, such as http://localhost:8000/v1; none by default"
    )
    model: str = Field("default", description="name of the model on that server")
    api_key_env: str = Field("OPENAI_API_KEY", description="environment variable that holds the key")
    temperature: float = Field(0.7, ge=0, le=2, description="sampling temperature")
    max_tokens: int = Field(1024, ge=1, description="tokens of an answer at most")
    timeout: float = Field(60, gt=0, description="seconds that one answer may take")
    retries: int = Field(3, ge=0, le=20, description="tries after a failed one")
    concurrency: int = Field(8, ge=1, le=256, description="requests under way at once")


class PoolSettings(Section):
    """Which samples get into the pool."""

    min_prompt_chars: int = Field(2, ge=0, description="characters of the prompt, at least")
    min_answer_chars: int = Field(1, ge=1, description="characters of the answer, at least")
    max_chars: int = Field(20_000, ge=1, description="characters of prompt and answer, at most")
    max_garble: Share = Field(0.05, description="share of characters that look like mojibake")
    max_repetition: Share = Field(0.4, description="share of the answer that repeats itself")
    max_markup: Share = Field(0.3, description="share of the answer that is web page furniture")
    max_spam: Share = Field(0.5, description="spam score of the answer: advertising and gambling terms")
    max_language_mismatch: Share = Field(
        0.6, description="how far the answer's script may be from what the prompt asks for"
    )
    leak_chars: int = Field(
        13,
        ge=5,
        le=200,
        description="characters in a row shared with a benchmark question that count as a leak",
    )
    leak_words: int = Field(
        10,
        ge=3,
        le=100,
        description="English words in a row shared with a benchmark question that count as a leak",
    )
    leak_share: Share = Field(
        0.5, description="share of the question's trigrams that prompt or answer must hold besides, at least"
    )
    dedup: SampleDedupSettings = Field(
        SampleDedupSettings(),  # type: ignore[call-arg]
        description="exact and near duplicates",
    )


class LanguageModelSettings(Section):
    """The small language model that is trained on the pool, or a causal LM to load."""

    model: str | None = Field(
        None, description="path or hub id of a causal language model; by default one is trained on the pool"
    )
    vocabulary: int = Field(6_000, ge=300, le=200_000, description="tokens of the trained tokenizer")
    hidden: int = Field(128, ge=16, le=4096, description="width of the trained model")
    layers: int = Field(3, ge=1, le=48, description="layers of the trained model")
    heads: int = Field(4, ge=1, le=64, description="attention heads of the trained model")
    max_steps: int = Field(2_000, ge=1, description="full batches to train on, at most")
    max_epochs: float = Field(
        6, gt=0, le=1000, description="times that a sample is read in training, at most"
    )
    max_seconds: float = Field(
        600,
        gt=0,
        description="processor time of two common cores that training may take, by reckoning and not by the clock, so that the result stays the same",
    )
    batch_tokens: int = Field(512, ge=64, description="tokens in a batch, in training")
    whole_text: bool = Field(
        False, description="measure the perplexity of prompt and answer together too; half as much work again"
    )
    scoring_tokens: int = Field(1_024, ge=64, description="tokens in a batch, in scoring; a GPU wants more")
    max_tokens: int = Field(256, ge=16, description="tokens of a sample that are read; longer ones are cut")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="peak learning rate of the matrices")
    embedding_learning_rate: float = Field(
        0.03, gt=0, le=1, description="peak learning rate of the token embeddings, which begin at random"
    )
    heldout_rows: int = Field(200, ge=0, description="samples held out for the loss curve")
    threads: int = Field(
        2,
        ge=1,
        le=256,
        description="CPU threads; the number changes no result",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="numbers that a model scores with; auto: bfloat16 for a loaded model on a GPU or a CPU that multiplies bfloat16, else float32",
    )
    dropout: float = Field(
        0.0,
        ge=0,
        le=0.9,
        description="share of the feed-forward outputs that is left out in training, and by each thinned model",
    )
    dropout_passes: int = Field(
        0,
        ge=0,
        le=100,
        description="thinned models whose disagreement is measured (Monte Carlo dropout); 0: none",
    )
    pre_experience: bool = Field(
        False,
        description="train the loaded model on a few samples of each cluster of the prompts before it scores (Cherry LLM)",
    )
    experience_clusters: int = Field(100, ge=1, le=10_000, description="clusters (pre_experience)")
    experience_rows: int = Field(10, ge=1, le=1_000, description="samples of each cluster (pre_experience)")
    experience_learning_rate: float = Field(
        2e-5, gt=0, le=1, description="peak learning rate (pre_experience)"
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> LanguageModelSettings:
        if self.hidden % (2 * self.heads):
            raise ValueError("hidden must be a multiple of twice the heads")
        return self

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> LanguageModelSettings:
        if self.dropout_passes == 1:
            raise ValueError("one thinned model cannot disagree: dropout_passes is 0 or at least 2")
        if self.dropout_passes and not self.dropout:
            raise ValueError("dropout_passes needs a dropout above 0")
        if self.dropout and self.model and not (self.dropout_passes or self.pre_experience):
            raise ValueError("dropout of a loaded model needs dropout_passes")
        if self.pre_experience and not self.model:
            raise ValueError(
                "pre_experience needs a model (path or hub id): the trained one knows the samples"
            )
        return self


class ScoreSettings(Section):
    """Quality model and the limits below which a sample is dropped."""

    train_rows: int = Field(40_000, ge=50, description="samples that the models learn from, at most")
    made_up: int = Field(
        800,
        ge=20,
        description="made-up defects of each kind that the models learn from (three times as many swapped answers), at most",
    )
    folds: int = Field(3, ge=2, le=20, description="folds of the cross-fitting")
    false_positive_rate: float = Field(
        0.035, ge=0, le=0.5, description="share of sound samples that the learned scores may drop in all"
    )
    min_quality: Share = Field(0.0, description="soundness (its rank in the pool), at least")
    information_weight: Share = Field(
        0.5,
        description="what information (distinct letters of the answer) counts beside soundness in the quality",
    )
    reward_weight: Share = Field(
        0.33, description="what the reward counts in the quality, where there is a reward model"
    )
    fit_weights_from: int = Field(
        200,
        ge=20,
        description="reviewed samples (a tenth each way, at least) from which on the weights are fitted to them",
    )
    preferences: str | None = Field(
        None,
        description="JSONL file of prompt, chosen, rejected: trains a reward model, or fine-tunes the one that is named",
    )
    reward_model: str | None = Field(
        None, description="path or hub id of a sequence classification or reward model"
    )
    reward_tokens: int = Field(512, ge=16, description="tokens of a sample that the reward model reads")
    reward_epochs: int = Field(3, ge=1, le=100, description="epochs of its fine-tuning, at most")
    reward_learning_rate: float = Field(1e-5, gt=0, le=1, description="peak learning rate of its fine-tuning")
    reward_batch: int = Field(16, ge=1, description="pairs in a batch of its fine-tuning")
    complexity_scorer: str | None = Field(
        None,
        description="path or hub id of a causal language model that rates the complexity of an instruction, 1 to 6 (DEITA)",
    )
    quality_scorer: str | None = Field(
        None, description="path or hub id of one that rates an answer to an instruction, 1 to 6 (DEITA)"
    )
    scorer_tokens: int = Field(1_024, ge=64, description="tokens of a turn that these two read, at most")
    trusted_sources: tuple[str, ...] = Field(
        (),
        description="names of sources whose samples are trusted, as are those accepted in review: a discriminator says which others could pass for them; none: off",
    )
    trust_rounds: int = Field(5, ge=1, le=50, description="rounds of the discriminator, at most")
    min_trust: Share = Field(
        0.0, description="probability of being of the trusted kind, at least; 0 drops nothing"
    )

    @model_validator(mode="after")
    def _limit_has_a_measure(self) -> ScoreSettings:
        if self.min_trust and not self.trusted_sources:
            raise ValueError("min_trust needs trusted_sources")
        return self


class JudgeSettings(Section):
    """A chat model as a judge of samples (the one of synthesis.chat; without it there is none)."""

    rows: int = Field(500, ge=0, description="samples judged, at most; 0: none")
    share: Share = Field(1.0, description="share of the scored samples judged, at most")
    choice: Literal["doubt", "random"] = Field(
        "doubt", description="which samples are judged: those of a quality near the border, or any"
    )
    border: Share = Field(
        0.9,
        description="quality (a rank in the pool) around which the choice is in doubt: 1 less the share to be selected",
    )
    criteria: dict[
        Annotated[str, Field(pattern=r"^\w[\w -]{0,59}$")], Annotated[str, Field(min_length=1)]
    ] = Field(
        {},
        description="the rubric: what each criterion asks, by its name; none: helpfulness, correctness, relevance, clarity, safety",
    )
    model: str | None = Field(None, description="name of the model that judges; by default that of the chat")
    temperature: float = Field(0.0, ge=0, le=2, description="sampling temperature")
    max_tokens: int = Field(512, ge=1, description="tokens of a judgement, at most")
    max_chars: int = Field(
        6_000, ge=100, description="characters of a sample that are shown, at most; the middle is left out"
    )
    retries: int = Field(2, ge=0, le=20, description="new questions after an answer that cannot be read")
    cap_tokens: int | None = Field(
        2_000_000, ge=1, description="tokens that the judgements may cost in all, at most; none: no limit"
    )
    cap_money: float | None = Field(
        None, gt=0, description="money that they may cost in all, at most, in the unit of the prices"
    )
    prompt_price: float = Field(0.0, ge=0, description="price of 1,000 tokens of a question")
    answer_price: float = Field(0.0, ge=0, description="price of 1,000 tokens of an answer")
    min_score: float = Field(
        2.0, ge=1, le=5, description="score by each criterion, at least; 1 drops no sample"
    )
    weight: Share = Field(0.5, description="share of the judge's score in the quality of a judged sample")

    @model_validator(mode="after")
    def _cap_has_a_price(self) -> JudgeSettings:
        if self.cap_money is not None and not (self.prompt_price or self.answer_price):
            raise ValueError("cap_money needs a prompt_price or an answer_price")
        return self


class SelectionSettings(Section):
    """The weighted choice."""

    budget: float = Field(
        0.1, gt=0, description="samples to choose: a count (1 or more) or a share of the pool (below 1)"
    )
    budget_tokens: int | None = Field(
        None,
        ge=1,
        description="tokens to choose, in place of `budget`: characters of Chinese, words of others",
    )
    quotas: Shares = Field(
        {}, description="most that a language, task, source or cluster may have of the budget, as a share"
    )
    floors: Shares = Field(
        {}, description="least that a language, task, source or cluster must have of the budget, as a share"
    )
    cluster_method: ClusterMethod = Field(
        "kmeans", description="how samples are clustered; communities and hdbscan find the number themselves"
    )
    clusters: int = Field(0, ge=0, description="clusters; 0: the square root of the pool's size")
    neighbours: int = Field(
        10,
        ge=1,
        le=1000,
        description="nearest neighbours: whose mean similarity is the density, and of whom a choice can stand for all",
    )
    exact_neighbours: int = Field(
        200_000,
        ge=0,
        description="samples up to which neighbours are searched exactly; beyond, in near cells only, so that"
        " the densities correlate with the exact ones by 0.995 on a sample",
    )
    harm: float = Field(
        10.0, ge=0, le=1000, description="sound samples whose lesson one defective sample undoes"
    )
    quality_power: float = Field(
        0.25,
        ge=0,
        le=20,
        description="exponent of the quality in the quality weight, beside the chance of a defect",
    )
    diversity_power: float = Field(1.0, ge=0, le=20, description="exponent of the diversity weight")
    scarcity: Share | None = Field(
        None,
        description="how much quality and centrality count: 1 fully, 0 not at all; by default the less, the more neighbourhoods can have a choice of their own",
    )
    max_similarity: float = Field(
        0.95,
        ge=-1,
        le=1,
        description="cosine similarity to an earlier choice above which a sample is refused",
    )
    neighbour_threshold: float = Field(
        0.8,
        ge=-1,
        le=1,
        description="cosine similarity from which others are neighbours (neighbour_weighted)",
    )
    strategy: Strategy = Field("default", description="how to choose; default: the weighted choice")
    mix: dict[Strategy, Annotated[float, Field(gt=0)]] = Field(
        {"default": 1.0}, description="strategies that are mixed, and in which proportion (strategy mix)"
    )

    @model_validator(mode="after")
    def _can_be_met(self) -> SelectionSettings:
        if not self.mix or "mix" in self.mix:
            raise ValueError("mix names at least one strategy, and not itself")
        for column, shares in self.floors.items():
            named = {name: share for name, share in shares.items() if name != "*"}
            if sum(named.values()) > 1:
                raise ValueError(f"the floors of {column} add up to more than 1")
            quotas = self.quotas.get(column, {})
            for name, share in shares.items():
                if share > quotas.get(name, quotas.get("*", 1.0)):
                    raise ValueError(f"the floor of {column} {name} is above its quota")
        return self


class Resampling(Section):
    """A distribution that the SFT files shall have."""

    by: Literal["language", "task", "source", "cluster"] = Field(
        description="what the samples are grouped by"
    )
    shares: dict[str, Share] = Field(
        description="share of each value; the values that are not named share what is left as they do in the choice"
    )

    @model_validator(mode="after")
    def _sum_is_a_share(self) -> Resampling:
        if not 0 < sum(self.shares.values()) <= 1 + 1e-9:
            raise ValueError("shares must add up to more than 0 and at most 1")
        return self


class ExportSettings(Section):
    """Files for training."""

    formats: tuple[Literal["alpaca", "sharegpt", "openai"], ...] = Field(
        ("alpaca", "sharegpt", "openai"), description="formats of the SFT files"
    )
    ppo_prompts: int = Field(1_000, ge=0, description="prompts for reinforcement learning, at most")
    min_quality_gap: Share = Field(
        0.3, description="by how much the better of two answers to one prompt must be ahead in quality"
    )
    made_up_pairs: bool = Field(
        True, description="pair a selected answer with one made worse (cut off, or taken from a near prompt)"
    )
    name: str = Field("sft", pattern=r"^[A-Za-z0-9_-]+$", description="stem of the file names")
    resample: Resampling | None = Field(
        None,
        description="repeat samples, and leave others out, until the SFT files have this distribution; off by default",
    )


class Scene(Section):
    """A subject or use that the choice should cover."""

    terms: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=1, description="a sample belongs to the scene if its prompt holds one of these"
    )
    target: float | None = Field(
        None,
        gt=0,
        description="samples wanted: a count (1 or more) or a share of the choice (below 1); by default an even share",
    )
    weight: float = Field(1.0, ge=0, description="how much the scene counts in the coverage")


class AuditSettings(Section):
    """Reports, the proof and the review queue."""

    strategies: tuple[Strategy, ...] = Field(
        ("default", "random", "longest"), description="strategies to compare by training"
    )
    comparison_model: Literal["transformer", "ngrams"] = Field(
        "transformer",
        description="what is trained: the small language model (or the one that is named), or an n-gram model, which takes a second and differs less by chance",
    )
    comparison_seeds: int = Field(
        2, ge=0, le=50, description="folds of the comparison, each with a seed of its own; 0: no comparison"
    )
    comparison_share: Share = Field(
        0.1, gt=0, description="share of the pool's tokens that each strategy chooses"
    )
    comparison_epochs: float = Field(
        1, gt=0, le=1000, description="times that the choice is read in training"
    )
    comparison_whole: int = Field(
        0,
        ge=0,
        description="folds in which the whole pool is read too, which takes as long as 1 / comparison_share others",
    )
    comparison_heldout: int = Field(100, ge=10, description="samples held out in each fold")
    scenes: Literal["clusters", "verbs"] | dict[str, Scene] = Field(
        "clusters",
        description="taxonomy whose coverage is measured: clusters, the commonest verbs with their objects, or scenes by name",
    )
    queue: int = Field(50, ge=0, description="records to ask a person about, of each kind")
    host_share: Share = Field(
        0.1, description="share of a host's pages that is recalled, from which its others are proposed"
    )

    @model_validator(mode="after")
    def _some_scene_counts(self) -> AuditSettings:
        if not isinstance(self.scenes, str) and not sum(scene.weight for scene in self.scenes.values()) > 0:
            raise ValueError("scenes: at least one scene needs a weight above 0")
        return self


class CorpusProfile(Section):
    clean: CleanSettings = CleanSettings()  # type: ignore[call-arg]
    dedup: DedupSettings = DedupSettings()  # type: ignore[call-arg]
    semantic: SemanticSettings = SemanticSettings()  # type: ignore[call-arg]


class DomainProfile(Section):
    seeds: SeedSettings = SeedSettings()  # type: ignore[call-arg]
    keywords: KeywordSettings = KeywordSettings()  # type: ignore[call-arg]
    encoder: EncoderSettings = EncoderSettings()  # type: ignore[call-arg]
    recall: RecallSettings = RecallSettings()  # type: ignore[call-arg]
    classifier: ClassifierSettings = ClassifierSettings()  # type: ignore[call-arg]


class SynthesisProfile(Section):
    prompts: PromptSettings = PromptSettings()  # type: ignore[call-arg]
    chat: ChatSettings = ChatSettings()  # type: ignore[call-arg]


class ScoresProfile(Section):
    language_model: LanguageModelSettings = LanguageModelSettings()  # type: ignore[call-arg]
    quality: ScoreSettings = ScoreSettings()  # type: ignore[call-arg]
    judge: JudgeSettings = JudgeSettings()  # type: ignore[call-arg]


class Profile(Section):
    """Everything that decides what a run does."""

    name: str = Field(description="name of the profile")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of everything random")
    lake: str = Field(description="folder or fsspec URL of the tables; relative to the profile's file")
    sources: tuple[Source, ...] = Field(description="where records come from")
    reviews: tuple[str, ...] = Field(
        (), description="JSONL files of decisions, relative to the profile's file"
    )
    corpus: CorpusProfile = CorpusProfile()
    domain: DomainProfile = DomainProfile()
    synthesis: SynthesisProfile = SynthesisProfile()
    pool: PoolSettings = PoolSettings()  # type: ignore[call-arg]
    sample_encoder: EncoderSettings = EncoderSettings()  # type: ignore[call-arg]
    scores: ScoresProfile = ScoresProfile()
    selection: SelectionSettings = SelectionSettings()  # type: ignore[call-arg]
    exports: ExportSettings = ExportSettings()  # type: ignore[call-arg]
    audit: AuditSettings = AuditSettings()  # type: ignore[call-arg]

    @field_validator("sources")
    @classmethod
    def _names_differ(cls, sources: tuple[Source, ...]) -> tuple[Source, ...]:
        names = [source.name for source in sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources have the name {', '.join(twice)}")
        return sources

    def section(self, path: str) -> Section:
        """The section at a dotted path, such as `corpus.clean`."""
        part: Any = self
        for name in path.split("."):
            part = getattr(part, name)
        if not isinstance(part, Section):
            raise KeyError(f"{path} is a field, not a section")
        return part

    def of_role(self, role: str) -> tuple[Source, ...]:
        """The sources of a role."""
        return tuple(source for source in self.sources if source.role == role)


# -- reading ------------------------------------------------------------------------------------

_VARIABLE = re.compile(r"\$\{(\w+)\}")


def _expand(value: Any, where: str) -> Any:
    """Replace `${NAME}` by the environment variable, in all strings below `value`."""
    if isinstance(value, str):

        def variable(match: re.Match[str]) -> str:
            found = os.environ.get(match[1])
            if found is None:
                raise UserError(f"the environment variable {match[1]} is not set", where=where)
            return found

        return _VARIABLE.sub(variable, value)
    if isinstance(value, list):
        return [_expand(item, where) for item in value]
    if isinstance(value, dict):
        return {key: _expand(item, where) for key, item in value.items()}
    return value


def _override(raw: dict[str, Any], assignment: str) -> None:
    """Apply `a.b.c=value` (value in YAML) to the raw profile."""
    path, equals, value = assignment.partition("=")
    if not equals or not path:
        raise UserError(f"cannot read {assignment!r}", where="--set", allowed="section.field=value")
    *sections, field = path.split(".")
    part = raw
    for name in sections:
        part = part.setdefault(name, {})
        if not isinstance(part, dict):
            raise UserError(f"{path} does not name a setting", where="--set", allowed="section.field=value")
    try:
        part[field] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(
            f"cannot read the value {value!r}", where=f"--set {path}", allowed="a YAML value"
        ) from None


def _absolute(place: str, base: Path) -> str:
    if "://" in place:
        return place
    path = base / Path(place).expanduser()
    try:
        return str(path.resolve())
    except RuntimeError:  # a link to itself: what reads it makes a quarantined row of it
        return os.path.abspath(path)


def _absolute_words(keywords: KeywordSettings, base: Path) -> KeywordSettings:
    """The settings with the files of words relative to the profile's file."""
    files = {
        name: tuple(_absolute(file, base) for file in getattr(keywords, name))
        for name in ("dictionaries", "stop_words")
    }
    return keywords.model_copy(update=files)


def _absolute_pairs(scores: ScoreSettings, base: Path) -> ScoreSettings:
    """The settings with the file of pairs relative to the profile's file."""
    return scores.model_copy(
        update={"preferences": scores.preferences and _absolute(scores.preferences, base)}
    )


def _first_error(error: ValidationError, where: str, raw: Mapping[str, Any]) -> UserError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return UserError(f"unknown key {key}", where=where, allowed=_keys_beside(first["loc"]))
    given = "" if isinstance(first["input"], dict | list) else f" (given: {first['input']!r})"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return UserError(f"{key}: {first['msg']}{given}{more}", where=where)


def _keys_beside(path: Sequence[int | str]) -> str:
    """The keys that are allowed where an unknown one was found."""
    model: Any = Profile
    for part in path[:-1]:
        if isinstance(part, int):
            continue
        field = model.model_fields[part]
        model = field.annotation
        while not (isinstance(model, type) and issubclass(model, BaseModel)):
            model = model.__args__[0]  # tuple[Source, ...] and the like
    return ", ".join(model.model_fields)


def load_profile(path: str | Path, overrides: Sequence[str] = ()) -> Profile:
    """Read and check a profile.

    Parameters
    ----------
    path
        YAML file. `${NAME}` in it is replaced by environment variables; relative paths are relative
        to the folder of the file.
    overrides
        `section.field=value`, values in YAML, applied before checking.

    Raises
    ------
    UserError
        The file is missing or not YAML, a key is unknown, or a value is out of bounds.
    """
    file = Path(path).expanduser().resolve()
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the profile: {error.strerror or error}", where=str(path)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"not a YAML file: {str(error).splitlines()[0]}", where=str(path)) from None
    if not isinstance(raw, dict):
        raise UserError("not a mapping of sections", where=str(path), allowed=", ".join(Profile.model_fields))
    for assignment in overrides:
        _override(raw, assignment)
    raw = _expand(raw, str(path))
    raw.setdefault("name", file.stem)
    try:
        profile = Profile.model_validate(raw)
    except ValidationError as error:
        raise _first_error(error, str(path), raw) from None
    base = file.parent
    return profile.model_copy(
        update={
            "lake": _absolute(profile.lake, base),
            "reviews": tuple(_absolute(name, base) for name in profile.reviews),
            "scores": profile.scores.model_copy(
                update={"quality": _absolute_pairs(profile.scores.quality, base)}
            ),
            "domain": profile.domain.model_copy(
                update={"keywords": _absolute_words(profile.domain.keywords, base)}
            ),
            "sources": tuple(
                source.model_copy(update={"path": source.path and _absolute(source.path, base)})
                for source in profile.sources
            ),
        }
    )
