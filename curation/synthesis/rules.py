"""Prompts made by rule from pairs of keywords and from single ones; they have no answer of their own.

Belongs here: which terms make a sensible task, and its wording. Only a chat model can answer these.
Does not belong here: prompts whose answer stands in a document (`synthesis.documents`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import polars as pl

from curation.records import digest
from curation.synthesis.grounded import is_thing
from curation.synthesis.passages import language_of, tagged

_ABOUT_ONE: dict[str, dict[str, tuple[str, ...]]] = {
    "zh": {
        "explain": ("用小学生也能听懂的话解释什么是{0}。", "打一个生活中的比方，说明{0}是怎么回事。", "向完全不了解的人介绍{0}，不超过一百五十字。", "分三点讲清楚{0}。"),
        "quiz": ("围绕{0}出三道选择题，并附上答案和理由。", "编五个关于{0}的问答，用来做知识卡片。"),
        "outline": ("写一份介绍{0}的文章提纲。", "要给新人讲半小时的{0}，请列出讲课提纲。"),
    },
    "en": {
        "explain": ("Explain {0} to a ten-year-old.", "Explain {0} in three short points.", "Use an everyday comparison to explain {0}."),
        "quiz": ("Write three multiple-choice questions about {0}, with answers and reasons.",),
        "outline": ("Write an outline for an article that introduces {0}.",),
    },
}  # fmt: skip
_ABOUT_TWO = {
    "zh": ("{0}和{1}有什么区别？", "比较{0}与{1}的异同。", "用表格对比{0}和{1}。", "{0}和{1}该怎么选？各适合什么情况？"),
    "en": ("What is the difference between {0} and {1}?", "Compare {0} and {1}.", "Make a table that compares {0} and {1}."),
}  # fmt: skip
#: Documents that are named as parents, at most.
_MOST_PARENTS = 5


def rule_prompts(documents: pl.DataFrame, keywords: Sequence[str], seed: int) -> pl.DataFrame:
    """One task about every keyword that names a thing, and one about every pair of kindred keywords.

    Two terms are kindred if they are of the same kind by their last part (绿茶, 红茶) and some document
    names them side by side ("绿茶和红茶", "绿茶、红茶").

    Parameters
    ----------
    documents
        Columns record_id and text.
    keywords
        Terms of the domain.

    Returns
    -------
    DataFrame
        parents (documents that hold the terms), task, instruction, terms; sorted by instruction.
    """
    schema: dict[str, Any] = {
        "parents": pl.List(pl.String),
        "task": pl.String,
        "instruction": pl.String,
        "terms": pl.List(pl.String),
    }
    terms = [
        term for term in dict.fromkeys(word.strip() for word in keywords) if len(term) > 1 and is_thing(term)
    ]
    holders = _holders(documents, terms)
    rows = []
    for term, found in holders.items():
        language = language_of(term)
        kinds = _ABOUT_ONE[language]
        kind = _pick(list(kinds), seed, "kind", term)
        rows.append(
            (sorted(found)[:_MOST_PARENTS], kind, _pick(kinds[kind], seed, kind, term).format(term), [term])
        )
    for first, second in _kindred(list(holders)):
        both = _side_by_side(documents, sorted(holders[first] & holders[second]), first, second)
        if both:
            wording = _pick(_ABOUT_TWO[language_of(first + second)], seed, first, second)
            rows.append((both, "compare", wording.format(first, second), [first, second]))
    return (
        pl.DataFrame(rows, schema=schema, orient="row")
        .unique("instruction", keep="first")
        .sort("instruction")
    )


def _pick(options: Sequence[str], seed: int, *marks: str) -> str:
    return options[int(digest(str(seed), *marks)[:8], 16) % len(options)]


def _holders(documents: pl.DataFrame, terms: Sequence[str]) -> dict[str, set[str]]:
    """For each term that is found at all, the documents that hold it."""
    if documents.is_empty() or not terms:
        return {}
    found = documents.select(
        "record_id",
        term=pl.col("text")
        .fill_null("")
        .str.extract_many(list(terms), ascii_case_insensitive=True, overlapping=True),
    )
    pairs = found.explode("term").drop_nulls().unique().sort("term", "record_id")
    by_name = {term.lower(): term for term in reversed(terms)}
    holders: dict[str, set[str]] = {}
    for term, ids in pairs.group_by("term", maintain_order=True).agg("record_id").iter_rows():
        holders.setdefault(by_name[term.lower()], set()).update(ids)
    return dict(sorted(holders.items()))


def _kindred(terms: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of terms with the same last part, neither of which is part of the other."""
    kin: dict[str, list[str]] = {}
    for term in sorted(terms):
        kin.setdefault(_last_part(term), []).append(term)
    return [
        (first, second)
        for group in kin.values()
        for first, second in combinations(group, 2)
        if first not in second and second not in first
    ]


def _side_by_side(documents: pl.DataFrame, ids: Sequence[str], first: str, second: str) -> list[str]:
    """Of the documents `ids` those that coordinate the two terms, the first few."""
    if not ids:
        return []
    one, other = re.escape(first), re.escape(second)
    joint = r"\s*(?:、|和|与|跟|或|及|以及|，|,|/|and|or|vs\.?)\s*"
    pattern = f"(?i)(?:{one}{joint}{other}|{other}{joint}{one})"
    found = documents.filter(pl.col("record_id").is_in(list(ids)) & pl.col("text").str.contains(pattern))
    return found["record_id"].sort().head(_MOST_PARENTS).to_list()


def _last_part(term: str) -> str:
    """The head of a compound: the last word, or the last character of a Chinese word."""
    if language_of(term) == "en":
        return term.lower().split()[-1] if " " in term else term
    last = tagged(term)[-1][0]
    return last if 1 < len(last) < len(term) else term[-1]
