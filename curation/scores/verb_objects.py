"""What a Chinese prompt asks to be done, as a verb and its object: 写 诗, 解释 原理.

Belongs here: the tag of a prompt, from jieba's parts of speech. Does not belong here: what the tags are
used for (`audit.scenes`), or other rules on samples (`rules`).

The tags are the taxonomy of Self-Instruct (Wang et al., 2023), who parse English; here a few rules of Chinese
word order take the parser's place. English needs a tagger of its own: such prompts have no tag.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from curation import progress
from curation.domain.words import jieba_dictionary

Tagged = Sequence[tuple[str, str]]

#: The request is looked for in so many characters, and so many clauses of them.
_CHARS, _CLAUSES = 300, 8
_CLAUSE_END = re.compile(r"[，。；：？！,;:?!…\n]+")
_HAN = re.compile(r"[\u4e00-\u9fff]")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Verbs that lead up to the request or carry another verb, and say nothing of what is wanted.
_LIGHT = _words(
    "请 请问 请教 帮 帮忙 帮助 麻烦 让 使 叫 给 替 能 能够 可以 可能 可 会 要 想 想要 希望 需要 要求 应 应该 应当 必须 需 进行 加以 予以 作出 做出 "
    "是 为 有 没有 在 来 去 到 用 使用 利用 采用 运用 根据 依据 按照 基于 参考 告诉 知道 想知道 了解到 假设 假如 作为 成为 属于 包括 包含 存在 认为 觉得 "
    "如下 以下 给定 给 出 看 看到 听说 感到 患 得 开始 继续 尝试 试图 试 确保 保证 得到 提到 提及 所示 位于 工作 知识"
)
#: Verbs of requests that jieba's dictionary calls something else.
_VERBS = _words(
    "总结 概括 归纳 概述 比较 对比 分析 设计 翻译 翻译成 改写成 转换成 转化为 转换为 评论 点评 推荐 建议 续写 仿写 扩写 缩写 造句 列举 编程 预测 分类 排序 "
    "计算 证明 判断 校对 润色 编辑 命名 定义"
)
_NEXT_REQUEST = _words("并 并且 然后 再")
_BEFORE_OBJECT = _words("将 把 对 对于")
_PERSONS = _words("我 我们 他 她 它 他们 她们 它们")
_WISHES = _words("想 想要 要 需要 希望")


def verb_objects(prompts: pl.Series) -> pl.Series:
    """The tag of each prompt: verb and object with a space between, null where none is found.

    Of the first clause that has both: the first verb that is not merely polite or auxiliary, and the noun at
    the head of what follows it (Chinese noun phrases end with their head; what stands before 的 is left
    aside), or the noun that 将, 把 or 对 puts before the verb.
    """
    tags = [_of(text) for text in progress.track(prompts.fill_null(""), "verbs and objects", every=1000)]
    return pl.Series("verb_object", tags, dtype=pl.String)


def _of(prompt: str) -> str | None:
    clauses = [one for one in _CLAUSE_END.split(prompt[:_CHARS]) if _HAN.search(one)]
    for clause in clauses[:_CLAUSES]:
        found = request(jieba_dictionary().tag(clause, True))
        if found:
            return " ".join(found)
    return None


def request(clause: Tagged) -> tuple[str, str] | None:
    """Verb and object of a clause, given its words with jieba's parts of speech.

    A clause whose verb has a subject tells something: it asks for nothing.
    """
    for place, (word, tag) in enumerate(clause):
        if not _is_verb(word, tag) or _is_noun_here(clause, place):
            continue
        before, after = clause[:place], clause[place + 1 :]
        if _has_subject(before):
            return None
        end = next((i for i, (other, _) in enumerate(after) if other in _NEXT_REQUEST), len(after))
        begin = next((i + 1 for i, (other, _) in enumerate(before) if other in _BEFORE_OBJECT), None)
        fronted = _head(before[begin:]) if begin is not None else None
        found = fronted or _head(after[:end])
        if found:
            return word, found
    return None


def _is_verb(word: str, tag: str) -> bool:
    return word not in _LIGHT and (word in _VERBS or tag in ("v", "vn", "vi", "vg"))


def _is_noun_here(clause: Tagged, place: int) -> bool:
    """Whether a word that may be a noun too stands behind what describes it: 市场分析, 的设计."""
    tag = clause[place][1]
    may_be = tag == "vn" or tag.startswith("n")
    return may_be and place > 0 and (clause[place - 1][0] == "的" or _is_noun(*clause[place - 1]))


def _has_subject(before: Tagged) -> bool:
    """Whether a noun or a person stands there that belongs to no preposition and no light verb: 患者, 我."""
    for place, (word, tag) in enumerate(before):
        if tag == "p" or word in _LIGHT or word in _BEFORE_OBJECT:
            return False
        wishes = place + 1 < len(before) and before[place + 1][0] in _WISHES
        if (_is_noun(word, tag) or tag == "nr" or word in _PERSONS) and not wishes:
            return True
    return False


def _is_noun(word: str, tag: str) -> bool:
    return (tag.startswith("n") and tag != "nr") or tag in ("vn", "eng", "an")


def _head(phrase: Tagged) -> str | None:
    """The last noun of the first run of nouns behind the last 的, or of the first run of all."""
    behind = max((i + 1 for i, (word, _) in enumerate(phrase) if word == "的"), default=0)
    for part in (phrase[behind:], phrase):
        head = None
        for word, tag in part:
            if _is_noun(word, tag):
                head = word
            elif head:
                break
        if head:
            return head
    return None
