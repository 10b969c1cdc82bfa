"""What can be seen of a sample without learning: lengths, scripts, endings, refusals, echoes.

Belongs here: features of prompt and answer by fixed rules, vectorised over columns.
Does not belong here: what is learned from them (`scores.quality`, `scores.mismatch`), or the scores of
a single text that documents share (`curation.text`).
"""

from __future__ import annotations

import polars as pl

from curation import text

#: Marks that end a sentence or close it.
FINAL = "。！？!?….～~”’」』】）)\\]}\"'》`;；"
_OPENING, _CLOSING = "（(「『【《〈“‘[{", "）)」』】》〉”’]}"
_REFUSAL = (
    r"作为(?:一个|一名|一款|个)?(?:人工智能|AI|大?语言模型|虚拟助手|聊天机器人|智能助手)|我(?:只)?是(?:一个|一款)?(?:人工智能|AI|语言模型)|"
    r"(?i:as an (?:ai|artificial intelligence)|i(?:'m| am) (?:just )?an? (?:ai|language model))|"
    r"^(?:很?抱歉|对不起|不好意思|(?i:sorry|i'm sorry|i am sorry|unfortunately))|"
    r"我(?:无法|不能|没有办法|没法)(?:提供|回答|完成|生成|访问|浏览|满足|帮助|确定|理解|执行)|(?i:i (?:cannot|can't|am unable to) (?:provide|answer|help|access|assist|fulfil))"
)
_CODE = r"(?s)```.*?(?:```|$)|(?m:^\s*(?:#|//|--).*$)|\"\"\".*?\"\"\"|'{3}.*?'{3}|`[^`\n]+`|\$\$.*?\$\$|\$[^$\n]+\$|https?://[^\s\p{Han}]+|[\w.+-]+@[\w.-]+"
#: Signs of code: what identifiers, calls and blocks are made of.
_CODE_SIGN = r"[{}\[\]=<>_\\|$#^]|\(\)|::|->|;\s*(?:\n|$)|(?m:^\s*(?:def|return|import|from|if|for|while|class|function|print|var|let|const)\b)|\w\("
_WORD = r"[A-Za-z\u00C0-\u024F]{2,}"
#: Three words in a row, not all of them names: Latin prose.
_PROSE = r"(?:[A-Za-z\u00C0-\u024F][a-z\u00C0-\u024F'’]*[,;:]?[ \n]){2,}[a-z\u00C0-\u024F'’]+"
_SCRIPTS = {
    "han": r"\p{Han}",
    "kana": r"[\p{Hiragana}\p{Katakana}]",
    "hangul": r"\p{Hangul}",
    "cyrillic": r"\p{Cyrillic}",
    "arabic": r"\p{Arabic}",
    "thai": r"\p{Thai}",
    "devanagari": r"\p{Devanagari}",
    "hebrew": r"\p{Hebrew}",
    "greek": r"\p{Greek}",
}
#: What a Latin word outside prose (a term, a name) weighs.
_TERM = 0.4
#: Prompts that ask for marked-up text.
_ASKS_FOR_MARKUP = r"(?i)html|xml|css|svg|markup|网页|前端|爬虫"
#: A prompt that speaks of languages may ask for any of them.
_NAMES_A_LANGUAGE = (
    r"(?i)翻译|译[成为文作出]|[英日法德俄韩葡拉泰阿意西中汉外][语文](?:版|单词|句|表达|写|回答|翻|造|诗|歌|名|里|中|怎)?|西班牙语|拉丁|罗马字|拼音|字母|双语|多语|语种|"
    r"translat|english|chinese|mandarin|japanese|korean|french|german|spanish|russian|latin|italian|portuguese|arabic|pinyin"
)  # fmt: skip


def language_mismatch(prompts: pl.Series, answers: pl.Series) -> pl.Series:
    """How far the script of each answer is from the one its prompt asks for, Float64 in 0–1.

    The share of the answer's words (a Han character counts as two thirds of one) in a script that the
    prompt is not written in, times how much such text there is: eight words are enough for certainty.
    Code, formulae, URLs, names and single words are no language. A prompt that names a language, or
    holds prose in that script, may be answered in it.
    """
    prompt, answer = _scripts(prompts, "prompt_"), _scripts(answers, "answer_")
    frame = pl.concat(
        [prompt, answer, pl.DataFrame({"asked": prompts.fill_null("").str.contains(_NAMES_A_LANGUAGE)})],
        how="horizontal",
    )
    few = 0.15 * pl.col("prompt_words")
    known = {"latin": pl.col("prompt_terms") >= few.clip(3)}  # one or two Latin words are a name
    known |= {name: pl.col(f"prompt_{name}") >= few.clip(1) for name in _SCRIPTS}
    foreign = pl.sum_horizontal(
        pl.when(is_known).then(0.0).otherwise(f"answer_{name}") for name, is_known in known.items()
    )
    written = pl.col("answer_words").clip(1)
    sure = (foreign / 8).clip(0, 1)
    return frame.select(
        language_mismatch=pl.when(pl.col("asked") | (pl.col("prompt_words") < 1))
        .then(0.0)
        .otherwise((foreign / written).clip(0, 1) * sure)
    ).to_series()


def _scripts(texts: pl.Series, prefix: str) -> pl.DataFrame:
    """Words in each script (terms and names count less), `terms`: all Latin words, and `words`: all of any script."""
    plain = texts.fill_null("").str.replace_all(_CODE, "\n")
    column = pl.col("plain")
    signs = column.str.count_matches(_CODE_SIGN).cast(pl.Float64)
    latin = column.str.count_matches(_WORD).cast(pl.Float64)
    prose = (
        column.str.extract_all(_PROSE)
        .list.join(" ")
        .str.count_matches(r"[A-Za-z\u00C0-\u024F'’]+")
        .cast(pl.Float64)
    )
    counts = {
        name: column.str.count_matches(pattern).cast(pl.Float64) / 1.5 for name, pattern in _SCRIPTS.items()
    }
    counts["greek"] = counts["greek"] / 4  # mostly symbols
    japanese = counts["kana"] > 0.15 * counts["han"]  # its Han characters are Japanese too
    counts["kana"] = counts["kana"] + pl.when(japanese).then(counts["han"]).otherwise(0.0)
    counts["han"] = pl.when(japanese).then(0.0).otherwise(counts["han"])
    return (
        pl.DataFrame({"plain": plain})
        .select(
            latin=pl.when(signs > 0.2 * latin).then(0.0).otherwise(prose + _TERM * (latin - prose).clip(0)),
            terms=latin,
            **counts,
        )
        .with_columns(words=pl.sum_horizontal("terms", *_SCRIPTS))
        .rename(lambda name: prefix + name)
    )


def features(prompts: pl.Series, answers: pl.Series) -> pl.DataFrame:
    """Features of samples by fixed rules, one row a sample, all Float64.

    Columns
    -------
    prompt_chars, answer_chars
        Characters without white space.
    repetition, garble, markup
        Of the answer, as `text.repetition_score`, `text.garble_score`, `text.markup_score` define them;
        garble is the larger of prompt and answer; markup is 0 where the prompt asks for it. Measure them on texts before they are normalised.
    language_mismatch
        See `language_mismatch`.
    refusal
        1 where the answer refuses or speaks of itself as a machine.
    echo
        1 where the answer says the prompt over again.
    unpunctuated
        Share of the answer in runs of 30 and more Han characters without a mark or a break.
    spam
        Of the answer, as `text.spam_score` defines it.
    """
    frame = pl.DataFrame(
        {"prompt": prompts.cast(pl.String).fill_null(""), "answer": answers.cast(pl.String).fill_null("")}
    )
    prompt, answer = pl.col("prompt"), pl.col("answer")
    flat_prompt, flat_answer = (
        column.str.replace_all(r"[^\p{L}\p{N}]", "").str.to_lowercase() for column in (prompt, answer)
    )
    measured = frame.select(
        prompt_chars=text.n_chars(prompt),
        answer_chars=text.n_chars(answer),
        repetition=text.repetition_score(answer),
        garble=pl.max_horizontal(text.garble_score(prompt), text.garble_score(answer)),
        markup=pl.when(prompt.str.contains(_ASKS_FOR_MARKUP)).then(0.0).otherwise(text.markup_score(answer)),
        language_mismatch=pl.lit(language_mismatch(frame["prompt"], frame["answer"])),
        refusal=answer.str.contains(_REFUSAL),
        echo=(flat_answer.str.len_chars() >= 4) & (flat_answer.str.starts_with(flat_prompt) | (flat_answer == flat_prompt)) & (flat_prompt != ""),
        unpunctuated=answer.str.extract_all(r"\p{Han}{30,}").list.join("").str.len_chars() / answer.str.len_chars().clip(1),
        spam=text.spam_score(answer),
    )  # fmt: skip
    return measured.cast(pl.Float64)


def endings(answers: pl.Series) -> pl.DataFrame:
    """How each answer ends: features that tell a finished one from one that was cut off, all Float64.

    A missing full stop alone says little: labels, sums, lists and lines of verse have none. So it is
    also told whether the answer is a single line, whether sentences before the end have full stops,
    whether the other lines end alike, and whether brackets, quotes or code were left open.
    """
    answer = pl.col("answer").str.strip_chars_end()
    lines = answer.str.split("\n").list.eval(
        pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != "")
    )
    last = lines.list.last().fill_null("")
    earlier = lines.list.head(pl.max_horizontal(lines.list.len().cast(pl.Int64) - 1, pl.lit(0)))
    body = answer.str.head(pl.max_horizontal(answer.str.len_chars().cast(pl.Int64) - 1, pl.lit(0)))
    item = r"^(?:[-*•·]|\d+[.、)）]|[（(]?[一二三四五六七八九十\d]+[)）、])"
    bare_item = last.str.contains(item + r"\s*$")
    closed = answer.str.contains(f"[{FINAL}]$") & ~bare_item
    stops = body.str.count_matches(r"[。！？!?]|[.;；](?:\s|$)").cast(pl.Float64)
    opened = pl.sum_horizontal(
        (
            answer.str.count_matches(_escape(o)).cast(pl.Int64)
            - answer.str.count_matches(_escape(c)).cast(pl.Int64)
        ).clip(0, 2)
        for o, c in zip(_OPENING, _CLOSING, strict=True)
    )
    stopped_before = earlier.list.eval(pl.element().str.contains(f"[{FINAL}]$").cast(pl.Float64)).list.mean()
    usual = earlier.list.eval(pl.element().str.len_chars().cast(pl.Float64)).list.mean()
    n_chars = answer.str.len_chars().cast(pl.Float64)
    return (
        pl.DataFrame({"answer": answers.cast(pl.String).fill_null("")})
        .select(
            open_end=~closed,
            open_end_after_sentences=~closed & (stops > 0),
            open_end_share=pl.when(~closed).then((stops + 1).log()).otherwise(0.0),
            open_end_single_line=~closed & (lines.list.len() <= 1),
            open_end_long_line=pl.when(~closed).then((last.str.len_chars() / 20).clip(0, 5)).otherwise(0.0),
            open_end_unlike_lines=pl.when(~closed).then(stopped_before.fill_null(0)).otherwise(0.0),
            open_end_like_lines=pl.when(~closed).then(1 - stopped_before.fill_null(1)).otherwise(0.0),
            short_last_line=pl.when(earlier.list.len() > 0).then((1 - last.str.len_chars() / usual.clip(1)).clip(0, 1)).otherwise(0.0),
            comma=answer.str.contains(r"[，、,：:—－-]$"),
            opening=answer.str.contains(r"[（(「『【《〈“‘\[{]$"),
            left_open=opened.cast(pl.Float64).clip(0, 3),
            code_left_open=(answer.str.count_matches("```") % 2) == 1,
            bare_item=bare_item,
            item=last.str.contains(item),
            digit=answer.str.contains(r"\d$"),
            latin=answer.str.contains(r"[A-Za-z]$"),
            inside_number=answer.str.contains(r"\d[.,]$"),
            log_chars=(n_chars + 1).log(),
            short=n_chars < 12,
            no_stops=stops == 0,
            code=(answer.str.count_matches(_CODE_SIGN) / n_chars.clip(1)).clip(0, 0.3) * 10,
        )
        .cast(pl.Float64)
        .fill_null(0.0)
    )  # fmt: skip


def _escape(mark: str) -> str:
    return "\\" + mark if mark in "([{)]}" else mark
