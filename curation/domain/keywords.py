"""The keyword table: terms of the domain, mined from the seeds, with a person's decisions on top.

Belongs here: candidates (words that jieba cuts, and new words that it does not know), their scores,
and the verdicts. Does not belong here: finding the terms in documents (`domain.recall`).
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl

from curation.records import digest
from curation.settings import KeywordSettings
from curation.verdicts import Rule, Verdict, judge

#: Words that say nothing of a subject, though jieba may call them nouns or verbs.
STOP_WORDS = frozenset(
    [
        "可以",
        "没有",
        "一个",
        "这个",
        "那个",
        "自己",
        "我们",
        "你们",
        "他们",
        "它们",
        "什么",
        "怎么",
        "如何",
        "因为",
        "所以",
        "如果",
        "但是",
        "而且",
        "或者",
        "以及",
        "进行",
        "通过",
        "需要",
        "能够",
        "应该",
        "已经",
        "还是",
        "就是",
        "不是",
        "都是",
        "这样",
        "那样",
        "这种",
        "一种",
        "一些",
        "很多",
        "许多",
        "时候",
        "时间",
        "问题",
        "情况",
        "方面",
        "方法",
        "东西",
        "地方",
        "开始",
        "出现",
        "使用",
        "作为",
        "成为",
        "具有",
        "包括",
        "主要",
        "其中",
        "其他",
        "不同",
        "相同",
        "之间",
        "以上",
        "以下",
        "左右",
        "大约",
        "一般",
        "通常",
        "可能",
        "觉得",
        "知道",
        "认为",
        "表示",
        "起来",
        "出来",
        "下来",
        "上去",
        "the",
        "and",
        "of",
        "to",
        "in",
        "is",
        "that",
        "for",
        "with",
        "as",
        "are",
        "on",
        "be",
        "this",
    ]
)
_CHINESE = re.compile(r"[\u4e00-\u9fff]{2,8}")
_LATIN = re.compile(r"[A-Za-z][A-Za-z0-9+.#-]{1,30}")
_RUN = re.compile(r"[\u4e00-\u9fff]+")
_LONGEST_NEW, _MOST_PARENTS = 5, 10
#: A new word: so often in the seeds, parts that hold together (PMI, nats), and free edges (entropy, nats).
_MIN_COUNT, _MIN_PMI, _MIN_ENTROPY = 3, 2.5, 0.9
#: Weight of the informative Dirichlet prior in words: a tenth of the texts, but no more than this.
_PRIOR_WORDS, _PRIOR_SHARE = 2_000.0, 0.1
_CONTEXT = 20

_COLUMNS: dict[str, Any] = {
    "record_id": pl.String, "term": pl.String, "score": pl.Float64, "tf_idf": pl.Float64, "seed_docs": pl.UInt32,
    "general_docs": pl.UInt32, "part_of_speech": pl.String, "example": pl.String, "decided_by": pl.String,
    "parents": pl.List(pl.String), "verdict": Verdict, "reason": pl.String, "evidence": pl.String,
}  # fmt: skip


def mine_keywords(
    seeds: pl.DataFrame, general: pl.DataFrame, settings: KeywordSettings, decisions: pl.DataFrame
) -> pl.DataFrame:
    """Mine and judge the terms of the domain.

    Parameters
    ----------
    seeds, general
        record_id and text: the domain's documents, and a sample of general ones to contrast with.
    decisions
        A person's decisions: target (the term), decision (accept, reject, add), reviewer, at, note.

    Returns
    -------
    Rows of the table `keyword_table` but for run_id, the best score first. The score is the z-score of
    the log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008): how surely
    a term is commoner in the seeds than in general text, rare terms being pulled towards 0.
    """
    texts = seeds.sort("record_id")
    found = {word for word, count in _new_words(texts["text"]).items() if count >= _MIN_COUNT}
    decided = {row["target"]: row for row in decisions.iter_rows(named=True)}
    wanted = found | {term for term, row in decided.items() if row["decision"] in ("add", "accept")}
    seed_words = [list(_words(text, wanted)) for text in texts["text"]]
    general_words = [list(_words(text, wanted)) for text in general.sort("record_id")["text"]]
    seed_counts, general_counts = _counts(seed_words), _counts(general_words)
    seed_docs, general_docs = _document_counts(seed_words), _document_counts(general_words)
    candidates = [
        term
        for term in sorted(seed_counts | dict.fromkeys(wanted - set(seed_counts), 0))
        if term in decided or (seed_docs[term] >= settings.min_seed_docs and _is_term(term, settings))
    ]
    scores = _log_odds(candidates, seed_counts, general_counts)
    holders: dict[str, list[int]] = defaultdict(list)
    for place, words in enumerate(seed_words):
        for word in set(words):
            holders[word].append(place)
    rows: list[dict[str, Any]] = []
    for term in candidates:
        idf = math.log((1 + len(general_words)) / (1 + general_docs[term])) + 1
        rows.append(
            {
                "record_id": digest("keyword", term),
                "term": term,
                "score": round(scores[term], 6),
                "tf_idf": round(seed_counts[term] * idf, 6),
                "seed_docs": seed_docs[term],
                "general_docs": general_docs[term],
                "part_of_speech": "new" if term in found else _part_of_speech(term),
                "example": _example(term, texts["text"], holders[term]),
                "parents": [texts["record_id"][place] for place in holders[term][:_MOST_PARENTS]],
            }
        )
    rows.sort(key=lambda row: (-row["score"], row["term"]))
    return _judge(rows, decided, settings)


def _judge(rows: list[dict], decided: dict[str, dict], settings: KeywordSettings) -> pl.DataFrame:
    """A person's decision counts; else the best `keep` terms with at least `min_score` are kept."""
    mined = 0
    for row in rows:
        decision = decided.get(row["term"])
        row["decided_by"] = decision["reviewer"] if decision else None
        row["_decision"] = decision["decision"] if decision else None
        row["_note"] = decision["note"] if decision else None
        row["_at"] = decision["at"] if decision else None
        mined += decision is None
        row["_rank"] = mined if decision is None else None
    columns = {name: kind for name, kind in _COLUMNS.items() if name not in ("verdict", "reason", "evidence")}
    extra: dict[str, Any] = {"_decision": pl.String, "_note": pl.String, "_at": pl.String, "_rank": pl.Int64}
    frame = pl.DataFrame(rows, schema=columns | extra, orient="row")
    low = ((pl.col("_rank") > settings.keep) | (pl.col("score") < settings.min_score)) & pl.col(
        "_decision"
    ).is_null()
    rules = [
        Rule("rejected_by_reviewer", pl.col("_decision") == "reject", {"decision": pl.col("_decision"), "decided_by": pl.col("decided_by"), "at": pl.col("_at"), "note": pl.col("_note")}),
        Rule("below_keyword_score", low, {"score": pl.col("score"), "rank": pl.col("_rank")}, {"min_score": settings.min_score, "keep": settings.keep}),
    ]  # fmt: skip
    counted = {name: pl.col(name) for name in ("seed_docs", "general_docs", "tf_idf", "part_of_speech")}
    return judge(frame, rules, **counted).select(list(_COLUMNS))


def _words(text: str, wanted: set[str]) -> Iterator[str]:
    """The words of a text: those that jieba cuts, and every occurrence of a wanted one."""
    import rjieba

    for word in rjieba.cut(text):
        if word not in wanted:
            yield word.lower() if word.isascii() else word
    for term in wanted:
        for _ in range(text.count(term)):
            yield term


def _counts(documents: Iterable[list[str]]) -> Counter[str]:
    return Counter(word for words in documents for word in words)


def _document_counts(documents: Iterable[list[str]]) -> Counter[str]:
    return Counter(word for words in documents for word in set(words))


def _is_term(word: str, settings: KeywordSettings) -> bool:
    if word.lower() in STOP_WORDS or not (_CHINESE.fullmatch(word) or _LATIN.fullmatch(word)):
        return False
    return (_part_of_speech(word) or "x").startswith(settings.part_of_speech)


def _part_of_speech(term: str) -> str | None:
    """jieba's tag of a term by itself; `x` for one that it cuts in pieces."""
    import jieba
    import jieba.posseg

    jieba.setLogLevel(logging.WARNING)
    pieces = list(jieba.posseg.cut(term, HMM=False))
    return pieces[0].flag if len(pieces) == 1 else "x"


def _log_odds(terms: list[str], seeds: Counter[str], general: Counter[str]) -> dict[str, float]:
    """z-scores of the log-odds ratio, the prior proportional to the counts in both corpora together."""
    n_seeds, n_general = seeds.total(), general.total()
    n_all = max(n_seeds + n_general, 1)
    weight = min(_PRIOR_WORDS, _PRIOR_SHARE * n_all)
    z = {}
    for term in terms:
        one, two = seeds[term], general[term]
        prior = max(weight * (one + two) / n_all, 0.01)
        odds = [
            (count + prior) / max(total + weight - count - prior, 1e-9)
            for count, total in ((one, n_seeds), (two, n_general))
        ]
        delta = math.log(odds[0]) - math.log(odds[1])
        z[term] = delta / math.sqrt(1 / (one + prior) + 1 / (two + prior))
    return z


def _new_words(texts: pl.Series) -> Counter[str]:
    """Runs of 2 to 5 characters that hold together and stand free, but are not in jieba's dictionary.

    Cohesion is the smallest pointwise mutual information over all cuts in two; freedom the smaller of
    the entropies of the characters to the left and to the right.
    """
    import jieba

    jieba.setLogLevel(logging.WARNING)
    jieba.initialize()
    grams: Counter[str] = Counter()
    left: dict[str, Counter[str]] = defaultdict(Counter)
    right: dict[str, Counter[str]] = defaultdict(Counter)
    for text in texts:
        for run in _RUN.findall(text):
            for start in range(len(run)):
                for end in range(start + 1, min(len(run), start + _LONGEST_NEW) + 1):
                    gram = run[start:end]
                    grams[gram] += 1
                    if end - start > 1:
                        # the edge of a run counts as a neighbour of its own each time
                        left[gram][run[start - 1] if start else f"^{grams[gram]}"] += 1
                        right[gram][run[end] if end < len(run) else f"${grams[gram]}"] += 1
    singles = sum(count for gram, count in grams.items() if len(gram) == 1)
    found: Counter[str] = Counter()
    for gram, count in grams.items():
        if len(gram) < 2 or count < _MIN_COUNT or jieba.dt.FREQ.get(gram):
            continue
        cohesion = min(
            math.log(count * singles / (grams[gram[:cut]] * grams[gram[cut:]])) for cut in range(1, len(gram))
        )
        if cohesion >= _MIN_PMI and min(_entropy(left[gram]), _entropy(right[gram])) >= _MIN_ENTROPY:
            found[gram] = count
    return found


def _entropy(counts: Counter[str]) -> float:
    total = counts.total()
    return -sum(count / total * math.log(count / total) for count in counts.values())


def _example(term: str, texts: pl.Series, places: list[int]) -> str | None:
    """The term's first occurrence with some characters to either side."""
    for place in places:
        at = texts[place].lower().find(term.lower())
        if at >= 0:
            around = texts[place][max(0, at - _CONTEXT) : at + len(term) + _CONTEXT]
            return " ".join(around.split())
    return None
