"""The pool: all instruction samples in one schema, judged for form, leaks and duplicates.

Belongs here: prompt and answer of a conversation, and the rules that a sample must pass.
Does not belong here: what the rules measure (`scores.rules`, `text`), how leaks and duplicates are found
(`pool.contamination`, `corpus.duplicates`), or what is learned about samples (`scores.quality`).
"""

from __future__ import annotations

import re

import polars as pl

from curation import text
from curation.corpus import minhash
from curation.corpus.duplicates import judge_duplicates
from curation.pool.contamination import canonical, find_leaks, phrasings
from curation.records import content_hashes
from curation.schemas import Messages
from curation.scores import rules
from curation.settings import PoolSettings
from curation.verdicts import Rule, judge

#: What stands in for an answer that nobody gave, in canonical form.
_PLACEHOLDERS = (
    "无", "略", "暂无", "没有", "空", "暂缺", "待补充", "待填写", "无答案", "无内容", "无输入", "无输出", "暂无答案", "暂无内容", "暂无回答", "答案略", "解析略",
    "none", "null", "nil", "nan", "na", "noanswer", "nooutput", "nocontent", "empty", "todo", "tbd", "undefined", "noinput", "xxx",
)  # fmt: skip
#: What stands before a placeholder in a prompt that asks for it: a quote, or a word such as answer.
_WANTED = r"(?i)(?:[“”‘’\"'「『`（(]|填写?|回答|输出|返回|写|答|为|则|或|or|say|output|return|answer|write)\s*[:：]?\s*"


def conversation(messages: pl.Series) -> pl.DataFrame:
    """Prompt and answer of each conversation, as they came in: columns prompt and answer.

    The answer is the last message, if it is the assistant's. The prompt is all before it, one message
    a line. Null, and messages without text, count as nothing said.
    """
    turns = messages.cast(Messages).fill_null([])
    frame = pl.DataFrame({"turns": turns}).with_columns(
        answered=pl.col("turns").list.last().struct.field("role").eq("assistant").fill_null(False)
    )
    content = pl.col("turns").list.eval(pl.element().struct.field("content").fill_null(""))
    before = content.list.head(pl.col("turns").list.len().cast(pl.Int64) - pl.col("answered").cast(pl.Int64))
    return frame.select(
        prompt=before.list.eval(pl.element().filter(pl.element() != "")).list.join("\n").fill_null(""),
        answer=pl.when("answered").then(content.list.last()).otherwise(pl.lit("")).fill_null(""),
    )


def pool_samples(
    samples: pl.DataFrame, benchmark: pl.DataFrame, settings: PoolSettings, seed: int = 1
) -> pl.DataFrame:
    """Judge instruction samples for form, leaks and duplicates.

    Parameters
    ----------
    samples
        record_id, source, uri, shard, native_id, task, messages, parents.
    benchmark
        id and text of the questions that must not leak; may be empty.
    seed
        Of the MinHash permutations.

    Returns
    -------
    One row a sample, in the order given, with the columns of the table `sft_pool` but for `run_id`.
    Garbled text, mark-up and repetition are measured on the text as it came in; `prompt` and `answer`
    are normalised, `messages` is left alone. Only samples that pass every other rule are compared with
    each other, by prompt and answer together.
    """
    frame = _measured(samples, benchmark, settings)
    form = _form_rules(settings)
    sound = ~pl.any_horizontal(*(rule.fires.fill_null(False) for rule in form))
    unique = _duplicates(frame.filter(sound), settings, seed)
    joined = frame.join(unique, on="record_id", how="left", maintain_order="left")
    duplicate, near = (
        Rule(reason, pl.col("_duplicate") == reason, {"duplicate_of": pl.col("duplicate_of"), "similarity": pl.col("_similarity")}, {"similarity": settings.dedup.threshold})
        for reason in ("duplicate_of", "near_duplicate_of")
    )  # fmt: skip
    judged = judge(joined, [*form, duplicate, near])
    return judged.drop(name for name in judged.columns if name.startswith("_"))


def _measured(samples: pl.DataFrame, benchmark: pl.DataFrame, settings: PoolSettings) -> pl.DataFrame:
    """The samples with their texts and, in columns beginning with `_`, what the rules look at."""
    said = conversation(samples["messages"])
    prompt, answer = (text.normalise(said[name])["text"] for name in ("prompt", "answer"))
    seen = rules.features(said["prompt"], said["answer"])
    both = prompt + "\n" + answer
    frame = samples.select("record_id", "source", "uri", "shard", "native_id", "task").with_columns(
        messages=samples["messages"].cast(Messages).fill_null([]),
        parents=samples["parents"].cast(pl.List(pl.String)).fill_null([]),
        prompt=prompt,
        answer=answer,
        content_hash=content_hashes(both),
        language=pl.lit(both).pipe(text.language),
        _prompt_chars=seen["prompt_chars"].cast(pl.UInt32),
        _answer_chars=seen["answer_chars"].cast(pl.UInt32),
        n_chars=pl.lit(both).pipe(text.n_chars),
        _nothing_said=_nothing_said(prompt, answer),
        _garble=seen["garble"],
        _repetition=seen["repetition"],
        _markup=seen["markup"],
        _spam=seen["spam"],
        _language_mismatch=rules.language_mismatch(prompt, answer),
    )
    return _with_leaks(frame, benchmark, settings)


def _nothing_said(prompts: pl.Series, answers: pl.Series) -> pl.Series:
    """True where prompt or answer is empty, only punctuation, or a placeholder that the prompt does not ask for."""
    answer = canonical(answers)
    wordless = (answer == "") & ~answers.str.contains(r"[\p{S}\p{N}]")
    placeholder = answer.is_in(_PLACEHOLDERS)
    asked_for = [
        re.search(_WANTED + word + r"(?:$|\W)", prompt) is not None
        for word, prompt in zip(answer.filter(placeholder), prompts.filter(placeholder), strict=True)
    ]
    hollow = placeholder.clone().scatter(placeholder.arg_true(), [not asked for asked in asked_for])
    return (prompts.str.strip_chars() == "") | wordless | hollow


def _with_leaks(frame: pl.DataFrame, benchmark: pl.DataFrame, settings: PoolSettings) -> pl.DataFrame:
    questions = benchmark.select("id", text=text.normalise(benchmark["text"])["text"])
    texts = pl.concat([frame.select("record_id", text=name) for name in ("prompt", "answer")])
    leaks = find_leaks(
        texts, phrasings(questions), settings.leak_chars, settings.leak_words, settings.leak_share
    )
    return frame.join(
        leaks.rename(lambda name: name if name == "record_id" else f"_leak_{name}"),
        on="record_id",
        how="left",
        maintain_order="left",
    )


def _form_rules(settings: PoolSettings) -> list[Rule]:
    """Rules on a single sample, in the order in which they are tried."""

    def above(reason: str, limit: float) -> Rule:
        name = {"boilerplate": "markup", "mojibake": "garble", "wrong_language": "language_mismatch"}.get(
            reason, reason
        )
        return Rule(reason, pl.col(f"_{name}") > limit, {name: pl.col(f"_{name}")}, {name: limit})

    prompt_chars, answer_chars = pl.col("_prompt_chars"), pl.col("_answer_chars")
    return [
        Rule("empty", pl.col("_nothing_said"), {"prompt_chars": prompt_chars, "answer_chars": answer_chars}),
        Rule(
            "too_short",
            (prompt_chars < settings.min_prompt_chars) | (answer_chars < settings.min_answer_chars),
            limits={"min_prompt_chars": settings.min_prompt_chars, "min_answer_chars": settings.min_answer_chars},
        ),
        Rule("too_long", pl.col("n_chars") > settings.max_chars, {"n_chars": pl.col("n_chars")}, {"max_chars": settings.max_chars}),
        above("mojibake", settings.max_garble),
        above("repetition", settings.max_repetition),
        above("boilerplate", settings.max_markup),
        above("spam", settings.max_spam),
        above("wrong_language", settings.max_language_mismatch),
        Rule(
            "benchmark_leak",
            pl.col("_leak_benchmark_id").is_not_null(),
            {"benchmark_id": pl.col("_leak_benchmark_id"), "leaked": pl.col("_leak_match"), "leaked_length": pl.col("_leak_length"), "leaked_share": pl.col("_leak_share")},
            {"leak_chars": settings.leak_chars, "leak_words": settings.leak_words, "leak_share": settings.leak_share},
        ),
    ]  # fmt: skip


def _duplicates(frame: pl.DataFrame, settings: PoolSettings, seed: int) -> pl.DataFrame:
    """Columns record_id, duplicate_of, _similarity and _duplicate (the reason) for each of the samples."""
    rows = frame.select("record_id", "source", "content_hash", "n_chars", "prompt", "answer")
    whole = rows.select(pl.col("prompt") + "\n" + pl.col("answer")).to_series()
    signed = rows.hstack(minhash.signatures(whole, settings.dedup, seed).drop("signature"))
    return judge_duplicates(signed, settings.dedup, parts=("prompt", "answer")).select(
        "record_id", "duplicate_of", _similarity=pl.col("similarity"), _duplicate=pl.col("reason")
    )
