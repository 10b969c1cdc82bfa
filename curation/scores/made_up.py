"""Defects made on purpose, from samples that are believed sound: what the quality models learn from.

Belongs here: making an answer that is swapped, cut off, looping, garbled, marked up, a stub, without
marks, in disorder, foreign, an echo of its prompt, a refusal or an advertisement.
Does not belong here: finding such answers (`scores.rules`, `scores.mismatch`, `scores.truncation`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from curation import text
from curation.scores.mismatch import shuffled_partners

#: Kinds of defect. There are three times as many swapped answers as of any other: they are the hardest.
KINDS = (
    "swap", "cut", "repeat", "garble", "wrap", "stub", "strip", "scramble", "foreign", "echo", "refuse",
    "advertise",
)  # fmt: skip
SWAPS = 3
_STOPS = "。！？!?.;；…\n"
_BEFORE = (
    "首页 > 新闻 > 正文\n",
    '<div class="content"><p>',
    "当前位置：首页 > 资讯中心\n",
    '<ul><li><a href="/">首页</a></li><li><a href="/list">更多</a></li></ul>\n',
)
_AFTER = ("\n上一篇：没有了\n下一篇：返回列表\n版权所有 未经许可不得转载", "</p></div><script>var a=1;</script>", "\n分享到：微信 微博\n相关阅读 | 联系我们 | 网站地图", "<br/>&nbsp;&nbsp;<a href=\"#\">返回顶部</a>")  # fmt: skip
_REFUSALS = (
    "很抱歉，作为一个人工智能语言模型，我无法回答这个问题。",
    "对不起，我不能提供这方面的信息。如果您有其他问题，我很乐意帮忙。",
    "作为AI助手，我没有个人观点，也无法访问实时数据，因此不能完成这个请求。",
    "I'm sorry, but as an AI language model I cannot help with that.",
)
_ADVERTS = (
    "想了解更多请加微信：vip88661，免费领取资料，名额有限！",
    "本店限时优惠，全国包邮，咨询热线：400-820-1234，欢迎来电订购，货到付款。",
    "官方投注平台开户送彩金，登录网址下载，稳赚不赔，加QQ群：81234567。",
)


def cut_off(answer: str, generator: np.random.Generator) -> str | None:
    """The beginning of an answer, 15 to 90 % of it, that ends inside a sentence; None if it has no room."""
    length = len(answer)
    places = [
        place
        for place in range(max(8, int(0.15 * length)), int(0.9 * length) + 1)
        if answer[place - 1] not in _STOPS and answer[place] not in _STOPS and not answer[place - 1].isspace()
    ]
    return answer[: places[int(generator.integers(len(places)))]] if length >= 20 and places else None


def _repeat(answer: str, generator: np.random.Generator) -> str | None:
    """An answer that falls into a loop, or is said over again."""
    if len(answer) < 6:
        return None
    if generator.random() < 0.25:
        return "\n".join([answer] * int(generator.integers(2, 5)))
    start = int(generator.integers(0, len(answer) - 2))
    size = int(generator.choice([1, 3, 6, 15, 30]))
    loop = answer[start : start + size]
    return answer[:start] + loop * max(4, int(generator.integers(20, 120)) // len(loop))


def _garble(answer: str, generator: np.random.Generator) -> str | None:
    """An answer read in the wrong encoding, or with lost characters."""
    kind = int(generator.integers(4))
    body = answer.encode("utf-8", "replace")
    if kind == 0:
        return body.decode("gbk", "replace")
    if kind == 1:
        return body.decode("latin-1")
    if kind == 2:
        return answer.encode("gbk", "replace").decode("latin-1")
    lost = generator.random(len(answer)) < 0.3
    return (
        "".join("\ufffd" if gone else char for char, gone in zip(answer, lost, strict=True))
        if lost.any()
        else None
    )


def _wrap(answer: str, generator: np.random.Generator) -> str:
    """An answer with the furniture of the web page that it was scraped from, before it, after it or both."""
    before, after = (
        _BEFORE[int(generator.integers(len(_BEFORE)))],
        _AFTER[int(generator.integers(len(_AFTER)))],
    )
    start, end = ((before, ""), ("", after), (before, after))[int(generator.integers(3))]
    return start + answer + end


def _stub(answer: str, generator: np.random.Generator) -> str | None:
    """The first few characters of a long answer."""
    return answer[: int(generator.integers(1, 8))] if len(answer) >= 40 else None


def _strip(answer: str, generator: np.random.Generator) -> str | None:
    """A longer answer without a single mark or line break."""
    return "".join(char for char in answer if char.isalnum()) if len(answer) >= 40 else None


def _scramble(answer: str, generator: np.random.Generator) -> str | None:
    """A longer answer whose characters, or runs of a few of them, are in any order."""
    size = int(generator.choice([1, 2, 4]))
    runs = [answer[start : start + size] for start in range(0, len(answer), size)]
    return "".join(runs[place] for place in generator.permutation(len(runs))) if len(answer) >= 20 else None


def _refuse(answer: str, generator: np.random.Generator) -> str:
    """A stock refusal in place of the answer, or before it."""
    refusal = _REFUSALS[int(generator.integers(len(_REFUSALS)))]
    return refusal + answer if generator.random() < 0.3 else refusal


def _advertise(answer: str, generator: np.random.Generator) -> str:
    """An answer with an advertisement after its beginning."""
    advert = _ADVERTS[int(generator.integers(len(_ADVERTS)))]
    return answer[: int(generator.integers(0, 60))] + "\n" + advert


_SPOIL: dict[str, Callable[[str, np.random.Generator], str | None]] = {
    "cut": cut_off,
    "repeat": _repeat,
    "garble": _garble,
    "wrap": _wrap,
    "stub": _stub,
    "strip": _strip,
    "scramble": _scramble,
    "refuse": _refuse,
    "advertise": _advertise,
}


def made_up_defects(
    prompts: pl.Series, answers: pl.Series, vectors: np.ndarray, count: int, seed: int
) -> pl.DataFrame:
    """Spoilt copies of sound samples.

    Parameters
    ----------
    prompts, answers
        The sound samples.
    vectors
        Unit vectors of the prompts, float [n, d]: swapped answers come from near prompts as well.
    count
        Samples of each kind, at most (`SWAPS` times as many swaps).

    Returns
    -------
    Columns row (index of the sound sample), partner (index of the sample whose answer it got, or null),
    kind (of `KINDS`) and answer, sorted by kind and row.
    """
    generator = np.random.default_rng(seed)
    chosen = [np.sort(generator.permutation(len(prompts))[: SWAPS * count])]
    chosen += [np.sort(generator.permutation(len(prompts))[:count]) for _ in _SPOIL]
    frames = [_swapped(answers, vectors, chosen[0], seed), _foreign(prompts, answers, count, generator)]
    for (kind, spoil), rows in zip(_SPOIL.items(), chosen[1:], strict=True):
        spoilt = [spoil(answer, generator) for answer in answers.gather(rows)]
        frames.append(_frame(kind, rows, spoilt, answers.gather(rows).to_list()))
    echoed = np.sort(generator.permutation(len(prompts))[:count])
    frames.append(_frame("echo", echoed, prompts.gather(echoed).to_list(), answers.gather(echoed).to_list()))
    return pl.concat(frames).sort("kind", "row")


def _frame(
    kind: str,
    rows: np.ndarray,
    spoilt: list[str | None],
    before: list[str],
    partners: np.ndarray | None = None,
) -> pl.DataFrame:
    """The rows that could be spoilt; one that came out as it was is none."""
    frame = pl.DataFrame(
        {"row": rows, "partner": partners, "kind": [kind] * len(rows), "answer": spoilt, "before": before},
        schema={
            "row": pl.Int64,
            "partner": pl.Int64,
            "kind": pl.String,
            "answer": pl.String,
            "before": pl.String,
        },
    )
    return frame.filter(pl.col("answer").is_not_null() & (pl.col("answer") != pl.col("before"))).drop(
        "before"
    )


def _swapped(answers: pl.Series, vectors: np.ndarray, rows: np.ndarray, seed: int) -> pl.DataFrame:
    partners = shuffled_partners(vectors[rows], answers.gather(rows), seed)
    rows, partners = rows[partners >= 0], rows[partners[partners >= 0]]
    return _frame("swap", rows, answers.gather(partners).to_list(), answers.gather(rows).to_list(), partners)


def _foreign(
    prompts: pl.Series, answers: pl.Series, count: int, generator: np.random.Generator
) -> pl.DataFrame:
    """Answers in a language that is not the prompt's, where the pool has such answers."""
    asked, told = (
        pl.select(text.language(pl.lit(texts))).to_series().to_numpy() for texts in (prompts, answers)
    )
    parts = [np.zeros((0, 2), dtype=np.int64)]
    for one, other in (("zh", "en"), ("en", "zh")):
        rows, donors = np.flatnonzero(asked == one), np.flatnonzero(told == other)
        rows = np.sort(generator.permutation(rows)[: count if one == "zh" else count // 4])
        if len(rows) and len(donors):
            parts.append(np.stack([rows, generator.choice(donors, len(rows))], axis=1))
    pairs = np.concatenate(parts)
    return _frame(
        "foreign",
        pairs[:, 0],
        answers.gather(pairs[:, 1]).to_list(),
        answers.gather(pairs[:, 0]).to_list(),
        pairs[:, 1],
    )
