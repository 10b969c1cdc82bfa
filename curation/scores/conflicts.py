"""Answers to the same question that contradict each other.

Belongs here: which samples of a pool ask the same and come to different results. Does not belong here:
what an answer comes to (`scores.answers.result`), or which of the two is right: that is for a person.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import polars as pl

from curation.scores.answers import result

#: Prompts to which there is one right answer, which is a word or two.
_ONE_WORD = (
    r"分类|归类|类别|哪一?[类种个项]|属于|词性|情[感绪]|标签|判断|是否|首都|单词|"
    r"(?i:classif|categor|which of|part of speech|sentiment|capital of)"
)
#: Letters of an answer that is a word or two, at most.
_BRIEF = 12


def find_conflicts(pool: pl.DataFrame) -> pl.DataFrame:
    """Samples whose answer contradicts that of another one with the same prompt.

    Parameters
    ----------
    pool
        record_id, prompt, answer.

    Returns
    -------
    One row a sample that is contradicted, sorted by record_id: `conflicts_with`, the first record_id of
    those that contradict it. Prompts are the same but for spaces, case and their last mark. Two answers contradict each other where both name the letter of a
    choice, or say yes or no, or end in a number, and it is not the same (nor named in the other answer,
    if a number); or where the prompt asks for a class or a name and both are a word or two that share
    nothing.
    """
    same = pl.col("prompt").str.replace_all(r"\s", "").str.to_lowercase().str.strip_chars("。．.？?！!：:")
    many = (
        pool.select("record_id", "prompt", "answer")
        .filter(pl.len().over(same) > 1)
        .with_columns(question=same)
        .sort("record_id")
    )
    many = many.with_columns(
        result=result(many["prompt"], many["answer"]),
        numbers=pl.col("answer").str.extract_all(r"-?\d+(?:\.\d+)?(?:/\d+)?"),
        word=pl.col("answer").str.replace_all(r"[^\p{L}\p{N}]", "").str.to_lowercase(),
        one_word=pl.col("prompt").str.contains(_ONE_WORD),
    )
    found: dict[str, str] = {}
    for _, group in many.group_by("question", maintain_order=True):
        for one, other in combinations(group.to_dicts(), 2):
            if _contradict(one, other):
                found.setdefault(one["record_id"], other["record_id"])
                found.setdefault(other["record_id"], one["record_id"])
    names = sorted(found)
    columns = {"record_id": names, "conflicts_with": [found[name] for name in names]}
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def _contradict(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two answers to one question cannot both be right."""
    said = one["result"], other["result"]
    if None not in said:
        if not (said[0][-1:].isdigit() and said[1][-1:].isdigit()):
            return bool(said[0] != said[1])
        named = [{_value(number) for number in answer["numbers"]} for answer in (one, other)]
        return _value(said[0]) not in named[1] and _value(said[1]) not in named[0]
    words = one["word"], other["word"]
    brief = all(0 < len(word) <= _BRIEF for word in words)
    return bool(one["one_word"] and brief and not set(words[0]) & set(words[1]))


def _value(number: str) -> float | str:
    """The value of a number or a fraction; what is neither stays as it is."""
    above, _, below = number.partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        return number
