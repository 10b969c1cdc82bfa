"""What makes an answer a good one, as far as it can be seen: features of prompts and their answers.

Belongs here: structure, reasoning, relevance, completeness, and how an answer stands among the other
answers to its prompt. Does not belong here: defects by fixed rules (`scores.rules`, which are read here
as well), or what is learned from all of these (`scores.reward`).

A feature that cannot be measured is NaN: what is learned from them takes the mean in its place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from curation import text
from curation.scores import rules
from curation.scores.mismatch import Encoded

_ITEM = r"(?m)^\s*(?:[-*•·]|\d+[.、)）]|[（(][一二三四五六七八九十\d]+[)）]|[一二三四五六七八九十]+、)"
_STEPS = r"首先|其次|然后|接着|最后|第[一二三四五六]|步骤|(?i:\bfirst(?:ly)?\b|\bsecond(?:ly)?\b|\bthen\b|\bfinally\b|\bstep\b)"
_REASONS = r"因为|由于|因此|所以|从而|可知|可得|根据|即|说明|(?i:\bbecause\b|\btherefore\b|\bsince\b|\bthus\b|\bso\b)"
_EXAMPLES = r"例如|比如|譬如|举例|如：|(?i:\bfor example\b|\bfor instance\b|\bsuch as\b|\be\.g\.)"
_SUMMARY = r"综上|总之|总的来说|总而言之|答案[是为：:]|(?i:\bin summary\b|\bin conclusion\b|\boverall\b|\banswer is\b)"
_HEDGES = r"可能|也许|大概|或许|不确定|似乎|不清楚|不知道|(?i:\bmight\b|\bperhaps\b|\bmaybe\b|\bnot sure\b|\bi think\b|\bdon't know\b)"
_COURTESY = r"希望.{0,8}(?:帮助|有用)|如果您?(?:有|还|需要)|请(?:随时|告诉|提供)|(?i:feel free|let me know|hope this helps|happy to help)"
#: Left over from tools: entities, end tokens, placeholders, messages of services.
_LEFT_OVER = r"&(?:lt|gt|amp|quot|nbsp|#\d+);|</?s>|<\|[a-z_]+\|>|<(?:no|无)\s?(?:input|输入)>|\[\d{3,}\]|\u{200b}|系统检测|(?i:\bno ?input\b)"
_APOLOGY = r"抱歉|对不起|(?i:\bsorry\b|\bapologi[sz]e)"
_BRIEF = r"直接回答|不需要.{0,6}(?:解释|理由)|简短|简要|一句话|一个词|(?i:\bbriefly\b|\bone sentence\b|\bone word\b)"
_CHOICE = r"判断|是否|对吗|正确吗|对还是错|选择题|哪一?个|(?:\bA[.、．].*\bB[.、．])|(?i:^(?:is|are|do|does|can|which)\b|true or false)"
_ASKS_LONG = r"(?:详细|论述|阐述|分析|讨论|写一[篇份]|文章|计划|为什么|如何|怎[么样]|(?i:\bexplain|\bdescribe|\bwrite|\bhow to\b|\bessay\b))"
_FALSE = r"(?:不正确|不对|错误|不是|不能|不会|不可以|否|(?i:\bfalse\b|\bincorrect\b|\bno\b))"
_TRUE = r"(?:正确|对的?|是的|可以|能够|(?i:\btrue\b|\bcorrect\b|\byes\b))"
#: Other answers from which on the consensus of a prompt can be told.
_PEERS = 2

#: Names of the features, in the order of the columns of `features`.
FEATURES = (
    "log_chars", "log_chars_squared", "stub", "brief_length", "choice_length", "long_length", "log_items",
    "log_paragraphs", "code", "formula", "bold", "log_numbers", "equations", "steps", "reasons", "examples",
    "summary", "hedges", "courtesy", "left_over", "apology", "questions_back", "sentence_length",
    "vocabulary", "latin", "han", "repetition", "garble", "markup", "language_mismatch", "refusal", "echo", "unpunctuated",
    "spam", "open_end", "left_open", "comma", "cosine", "prompt_covered", "answer_covered", "same_as_prompt",
    "numbers_kept", "consensus", "nearest", "agreement", "relative_length", "shared_length", "spread",
)  # fmt: skip

#: Features of the last ones that compare an answer with others.
_COMPANY = 6


def features(prompts: pl.Series, answers: pl.Series, prompt: Encoded, answer: Encoded) -> pl.DataFrame:
    """Features of answers to prompts, columns `FEATURES`, all Float64.

    `prompt` and `answer` are the same texts, encoded (`mismatch.encode`). The last six columns compare
    an answer with the other answers to its prompt in the frame: how like them it is in words
    (`consensus`, and `nearest` the one most like it), the share of them that comes to the same result
    (`agreement`: Wang et al. 2022, "Self-consistency"), its length against theirs, and how much the
    lengths of all of them and their words agree; NaN for a prompt with fewer than three answers.
    """
    own, company = (
        own_features(prompts, answers, prompt, answer),
        among_answers(_texts(prompts, answers), answer),
    )
    return pl.concat([own, company], how="horizontal").select(pl.col(FEATURES).cast(pl.Float64))


def own_features(prompts: pl.Series, answers: pl.Series, prompt: Encoded, answer: Encoded) -> pl.DataFrame:
    """The features of `features` that an answer has whatever else is in the frame: all but the last six."""
    frame = _texts(prompts, answers)
    ruled = rules.features(frame["prompt"], frame["answer"]).drop("prompt_chars", "answer_chars")
    ends = rules.endings(frame["answer"]).select("open_end", "left_open", "comma")
    parts = [_form(frame), ruled, ends, _relevance(frame, prompt, answer)]
    return pl.concat(parts, how="horizontal").select(pl.col(FEATURES[:-_COMPANY]).cast(pl.Float64))


def _texts(prompts: pl.Series, answers: pl.Series) -> pl.DataFrame:
    return pl.DataFrame(
        {"prompt": prompts.cast(pl.String).fill_null(""), "answer": answers.cast(pl.String).fill_null("")}
    )


def _form(frame: pl.DataFrame) -> pl.DataFrame:
    """Length, structure and manner of the answers."""
    prompt, answer = pl.col("prompt"), pl.col("answer")
    chars = text.n_chars(answer).cast(pl.Float64)
    size = (chars + 1).log()
    per_hundred = 100 / chars.clip(50)

    def count(pattern: str) -> pl.Expr:
        return answer.str.count_matches(pattern).cast(pl.Float64)

    sentences = count(r"[。！？!?；;\n]|\.\s").clip(1)
    characters = answer.str.split("").list
    return frame.select(
        log_chars=size,
        log_chars_squared=(size - 4.5) ** 2,
        stub=chars < 8,
        brief_length=pl.when(prompt.str.contains(_BRIEF)).then(size - 4.5).otherwise(0.0),
        choice_length=pl.when(prompt.str.contains(_CHOICE)).then(size - 4.5).otherwise(0.0),
        long_length=pl.when(prompt.str.contains(_ASKS_LONG)).then(size - 4.5).otherwise(0.0),
        log_items=(count(_ITEM) + 1).log(),
        log_paragraphs=(count(r"\n") + 1).log(),
        code=answer.str.contains("```"),
        formula=answer.str.contains(r"\$|\\frac|\\\(|\\\["),
        bold=answer.str.contains(r"\*\*|(?m:^#+ )"),
        log_numbers=(count(r"\d+(?:\.\d+)?") + 1).log(),
        equations=(count(r"[=≈≥≤]") + 1).log(),
        steps=(count(_STEPS) * per_hundred).clip(0, 5),
        reasons=(count(_REASONS) * per_hundred).clip(0, 5),
        examples=(count(_EXAMPLES) + 1).log(),
        summary=answer.str.contains(_SUMMARY),
        hedges=(count(_HEDGES) * per_hundred).clip(0, 5),
        courtesy=answer.str.contains(_COURTESY),
        left_over=answer.str.contains(_LEFT_OVER),
        apology=answer.str.contains(_APOLOGY),
        questions_back=answer.str.contains(r"[?？]\s*$"),
        sentence_length=(chars / sentences + 1).log(),
        vocabulary=characters.n_unique().cast(pl.Float64) / (chars.clip(1)).sqrt(),
        latin=text.latin_share(answer),
        han=text.han_share(answer),
    )


def _relevance(frame: pl.DataFrame, prompt: Encoded, answer: Encoded) -> pl.DataFrame:
    """How much of the prompt is taken up in the answer, and the other way round."""
    asked, told = pl.col("prompt"), pl.col("answer")
    shared = prompt.numbers.list.set_intersection(answer.numbers).list.len().cast(pl.Float64)
    flat = (told.str.replace_all(r"\s", ""), asked.str.replace_all(r"\s", ""))
    return frame.select(
        cosine=pl.Series(np.einsum("ij,ij->i", prompt.vectors, answer.vectors).astype(np.float64)),
        prompt_covered=pl.Series(_covered(prompt.terms, answer.terms)),
        answer_covered=pl.Series(_covered(answer.terms, prompt.terms)),
        same_as_prompt=flat[1].str.ends_with(flat[0]) & (flat[0] != ""),
        numbers_kept=pl.Series(shared / prompt.numbers.list.len().cast(pl.Float64).clip(1)),
    )


def _covered(of: Any, by: Any) -> np.ndarray:
    """Share of each row's squared TF-IDF weight in terms that the other row holds, float64 [n]."""
    held = by.copy()
    held.data = np.ones_like(held.data)
    return np.asarray(of.multiply(of).multiply(held).sum(axis=1), dtype=np.float64).ravel()


# -- the other answers to the same prompt -------------------------------------------------------


def among_answers(frame: pl.DataFrame, answer: Encoded) -> pl.DataFrame:
    """Each answer beside the other distinct ones to its prompt (the last columns of `features`)."""
    numbered = frame.with_row_index("row").with_columns(
        group=pl.col("prompt").str.replace_all(r"\s", ""),
        size=(text.n_chars(pl.col("answer")) + 1).log(),
        result=result(frame["prompt"], frame["answer"]),
    )
    columns = np.full((frame.height, 6), np.nan)
    for (_,), group in numbered.group_by("group", maintain_order=True):
        distinct = group.unique("answer", keep="first", maintain_order=True)
        if distinct.height > _PEERS:
            measured = _beside(distinct, answer)
            place = {words: number for number, words in enumerate(distinct["answer"])}
            columns[group["row"].to_numpy()] = measured[[place[words] for words in group["answer"]]]
    names = ("consensus", "nearest", "agreement", "relative_length", "shared_length", "spread")
    return pl.DataFrame(columns, schema=list(names))


def _beside(group: pl.DataFrame, answer: Encoded) -> np.ndarray:
    """The six figures of distinct answers to one prompt, float64 [n, 6]."""
    n = group.height
    terms = answer.terms[group["row"].to_numpy()]
    alike = np.asarray((terms @ terms.T).todense(), dtype=np.float64)
    np.fill_diagonal(alike, 0.0)
    size = group["size"].to_numpy()
    others = (size.sum() - size) / (n - 1)
    results = group["result"].to_list()
    known = sum(one is not None for one in results)
    agreement = [
        (results.count(one) - 1) / (known - 1) if one is not None and known > _PEERS else np.nan
        for one in results
    ]
    consensus = alike.sum(axis=1) / (n - 1)
    return np.stack(
        [
            consensus,
            alike.max(axis=1),
            agreement,
            size - others,
            np.full(n, size.mean()),
            np.full(n, consensus.mean()),
        ],
        axis=1,
    )


def result(prompts: pl.Series, answers: pl.Series) -> pl.Series:
    """What an answer comes to, as a short string; null where it is nothing that could be compared.

    The letter of a choice; else yes or no where the prompt asks for a judgement; else the last number.
    """
    asked, told = pl.col("prompt"), pl.col("answer")
    letter = told.str.extract(r"(?:答案|选择?|选项)[^A-Za-z]{0,8}([A-F])(?:[^A-Za-z]|$)", 1)
    alone = told.str.extract(r"^\s*[(（]?([A-F])(?:[^A-Za-z]|$)", 1)
    judgement = asked.str.contains(
        r"判断|是否|对吗|正确吗|对还是错|(?i:true or false)|^(?i:is|are|does|do|can)\b"
    )
    opening = told.str.head(60)
    verdict = (
        pl.when(opening.str.contains(_FALSE))
        .then(pl.lit("no"))
        .when(opening.str.contains(_TRUE))
        .then(pl.lit("yes"))
    )
    number = told.str.extract_all(r"-?\d+(?:\.\d+)?(?:/\d+)?").list.last()
    counts = asked.str.contains(r"多少|几|计算|求|等于|(?i:how many|how much|calculate)")
    return (
        pl.DataFrame({"prompt": prompts, "answer": answers})
        .select(
            result=pl.when(asked.str.contains(r"\bA\s*[.、．:：)]")).then(pl.coalesce(letter, alone))
            .when(judgement).then(verdict)
            .when(counts).then(number)
        )
        .to_series()
    )  # fmt: skip
