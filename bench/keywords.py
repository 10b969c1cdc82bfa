"""Keywords of Chinese documents: our TF-IDF and TextRank beside jieba.analyse, from text to the top 20 words.

`CURATION_BENCH_TEXTS` names a Parquet file with a column `text` to measure on; by default the articles
of the demo's world, cut into paragraphs, are put together anew.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from curation.domain.tagging import tokenise_tagged
from curation.domain.term_weights import Weights, text_rank, tf_idf
from curation.domain.words import Tokens, segmenter, tokenise

DOCUMENTS, PARAGRAPHS, TOP, ROUNDS = 2_000, 3, 20, 3
_ARTICLES = Path(__file__).resolve().parent.parent / "examples" / "world" / "articles"
#: What jieba.analyse counts: TextRank takes these parts of speech only.
_TAGS = ("ns", "n", "vn", "v")


def _texts() -> list[str]:
    file = os.environ.get("CURATION_BENCH_TEXTS")
    if file:
        texts = pl.read_parquet(file, columns=["text"])["text"]
        return texts.sample(min(DOCUMENTS, len(texts)), seed=0).to_list()
    every = "\n".join(path.read_text(encoding="utf-8") for path in sorted(_ARTICLES.glob("*.md")))
    paragraphs = [line for line in every.split("\n") if len(line) > 40]
    chosen = np.random.default_rng(0).integers(0, len(paragraphs), (DOCUMENTS, PARAGRAPHS))
    return ["\n".join(paragraphs[place] for place in row) for row in chosen]


def _top(tokens: Tokens, weights: Weights) -> list[list[str]]:
    """The heaviest words of each text, of equal ones that which comes first."""
    docs, ids, _, first = tokens.counts
    size = len(tokens.vocabulary)
    places = np.searchsorted(docs * size + ids, weights.docs * size + weights.ids)
    order = np.lexsort((first[places], -weights.weight, weights.docs))
    begins = np.searchsorted(weights.docs[order], np.arange(tokens.n_docs + 1))
    return [
        [tokens.vocabulary[word] for word in weights.ids[order[begin : min(end, begin + TOP)]]]
        for begin, end in pairwise(begins)
    ]


def _counted(vocabulary: list[str], stop_words: set[str]) -> np.ndarray:
    return np.array([len(word.strip()) > 1 and word.lower() not in stop_words for word in vocabulary])


def _our_tf_idf(texts: list[str]) -> list[list[str]]:
    import jieba.analyse

    peer = jieba.analyse.default_tfidf
    tokens = tokenise(texts, segmenter())
    idf = np.array([peer.idf_freq.get(word, peer.median_idf) for word in tokens.vocabulary])
    return _top(tokens, tf_idf(tokens, idf, _counted(tokens.vocabulary, peer.stop_words)))


def _our_text_rank(texts: list[str]) -> list[list[str]]:
    import jieba.analyse

    stop_words = jieba.analyse.default_textrank.stop_words
    tokens, tags = tokenise_tagged(texts, segmenter())
    counted = _counted(tokens.vocabulary, stop_words)[tokens.ids] & np.isin(tags, _TAGS)
    return _top(tokens, text_rank(tokens, counted))


def _cpu_seconds(work: Callable[[], list[list[str]]]) -> tuple[float, list[list[str]]]:
    begun = time.process_time()
    found = work()
    return time.process_time() - begun, found


def _overlap(ours: list[list[str]], theirs: list[list[str]]) -> float:
    """Mean share of the peer's top words that are among ours."""
    shares = [len({*one} & {*two}) / len(two) for one, two in zip(ours, theirs, strict=True) if two]
    return float(np.mean(shares))


def run() -> dict[str, Any]:
    """CPU seconds of both, and how many of the top words are the same; medians of interleaved rounds."""
    import jieba
    import jieba.analyse
    import jieba.posseg

    jieba.setLogLevel(logging.WARNING)
    texts = _texts()
    jieba.initialize()
    pairs = {
        "tf_idf": (_our_tf_idf, jieba.analyse.extract_tags),
        "text_rank": (_our_text_rank, jieba.analyse.textrank),
    }
    figures: dict[str, Any] = {"documents": len(texts), "characters": sum(map(len, texts))}
    for name, (ours, theirs) in pairs.items():
        ours(texts[:20]), theirs(texts[0])  # loaded before it is measured
        rounds = []
        for _ in range(ROUNDS):
            one, found = _cpu_seconds(lambda ours=ours: ours(texts))  # type: ignore[misc]
            two, expected = _cpu_seconds(lambda theirs=theirs: [theirs(text, topK=TOP) for text in texts])  # type: ignore[misc]
            rounds.append((one, two))
        figures |= {
            f"{name}.ours_cpu_seconds": round(median(one for one, _ in rounds), 3),
            f"{name}.jieba_cpu_seconds": round(median(two for _, two in rounds), 3),
            f"{name}.ratio": round(median(two / one for one, two in rounds), 1),
            f"{name}.overlap": round(_overlap(found, expected), 4),
        }
    return figures
