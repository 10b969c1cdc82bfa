"""Texts as the words that jieba cuts, all texts at once.

Belongs here: the segmenter with a user's words in it, words as numbers, parts of speech, stop words.
Does not belong here: what the words weigh (`domain.term_weights`), or reading dictionaries from files
(`resources.dictionaries`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain
from typing import Any

import numpy as np

from curation import progress

#: Words that say nothing of a subject, though jieba may call them nouns, verbs or adjectives.
STOP_WORDS = frozenset(
    [
        "可以",
        "没有",
        "不会",
        "不能",
        "不要",
        "不可",
        "不到",
        "不得",
        "一个",
        "这个",
        "那个",
        "哪个",
        "每个",
        "某个",
        "自己",
        "我们",
        "你们",
        "他们",
        "她们",
        "它们",
        "大家",
        "人们",
        "什么",
        "怎么",
        "怎样",
        "如何",
        "为什么",
        "多少",
        "因为",
        "由于",
        "因此",
        "所以",
        "如果",
        "假如",
        "虽然",
        "但是",
        "然而",
        "而且",
        "并且",
        "或者",
        "还是",
        "以及",
        "以便",
        "进行",
        "通过",
        "需要",
        "必须",
        "能够",
        "能",
        "会",
        "要",
        "应",
        "应该",
        "应当",
        "可",
        "可能",
        "已经",
        "曾经",
        "正在",
        "就是",
        "不是",
        "都是",
        "也是",
        "只是",
        "于是",
        "这样",
        "那样",
        "这种",
        "那种",
        "这些",
        "那些",
        "一种",
        "一些",
        "一样",
        "一定",
        "一直",
        "一起",
        "一般",
        "很多",
        "许多",
        "时候",
        "时间",
        "问题",
        "情况",
        "方面",
        "方法",
        "方式",
        "东西",
        "地方",
        "开始",
        "出现",
        "发生",
        "产生",
        "使用",
        "利用",
        "采用",
        "作为",
        "成为",
        "属于",
        "具有",
        "包括",
        "包含",
        "含有",
        "存在",
        "主要",
        "其中",
        "其他",
        "其它",
        "其余",
        "不同",
        "相同",
        "有关",
        "相关",
        "关于",
        "对于",
        "根据",
        "按照",
        "之间",
        "之后",
        "之前",
        "以上",
        "以下",
        "以内",
        "以外",
        "左右",
        "大约",
        "通常",
        "常常",
        "经常",
        "往往",
        "容易",
        "觉得",
        "知道",
        "认为",
        "表示",
        "说明",
        "指出",
        "起来",
        "出来",
        "下来",
        "上去",
        "下去",
        "进去",
        "过去",
        "得到",
        "达到",
        "做到",
        "看到",
        "导致",
        "引起",
        "造成",
        "使得",
        "提供",
        "帮助",
        "介绍",
        "请问",
        "您好",
        "你好",
        "谢谢",
        "建议",
        "注意",
        "特别",
        "非常",
        "比较",
        "更加",
        "最好",
        "最后",
        "首先",
        "其次",
        "然后",
        "同时",
        "此外",
        "另外",
        "例如",
        "比如",
        "等等",
        "所有",
        "任何",
        "各种",
        "各个",
        "各类",
        "整个",
        "部分",
        "全部",
        "有些",
        "有的",
        "有时",
        "是",
        "有",
        "在",
        "为",
        "使",
        "令",
        "让",
        "被",
        "把",
        "将",
        "对",
        "与",
        "和",
        "及",
        "或",
        "并",
        "而",
        "但",
        "也",
        "都",
        "还",
        "就",
        "又",
        "再",
        "很",
        "太",
        "更",
        "最",
        "不",
        "无",
        "没",
        "来",
        "去",
        "到",
        "由",
        "从",
        "向",
        "以",
        "于",
        "之",
        "其",
        "此",
        "该",
        "各",
        "每",
        "某",
        "等",
        "这",
        "那",
        "哪",
        "谁",
        "我",
        "你",
        "您",
        "他",
        "她",
        "它",
        "的",
        "地",
        "得",
        "了",
        "着",
        "过",
        "吗",
        "呢",
        "吧",
        "啊",
        "呀",
        "嘛",
        "们",
        "个",
        "种",
        "些",
        "次",
        "上",
        "下",
        "中",
        "内",
        "外",
        "里",
        "前",
        "后",
        "时",
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
        "it",
        "or",
        "by",
        "at",
        "from",
        "an",
        "not",
        "you",
        "we",
        "can",
        "have",
        "has",
        "which",
        "was",
        "were",
    ]
)


@dataclass(frozen=True)
class UserWord:
    """A word for the segmenter, as in jieba's dictionaries; without a frequency it always holds together."""

    word: str
    frequency: int | None = None
    tag: str | None = None


@dataclass(frozen=True)
class Lexicon:
    """What a user tells the segmenter: words of his own, and words that are never terms."""

    words: tuple[UserWord, ...] = ()
    stop_words: frozenset[str] = STOP_WORDS


@dataclass(frozen=True)
class Tokens:
    """The words of many texts end to end.

    `ids` [t] are places in `vocabulary`, `docs` [t] the text that each word is in, in rising order;
    `n_docs` counts the texts.
    """

    vocabulary: list[str]
    ids: np.ndarray
    docs: np.ndarray
    n_docs: int

    @cached_property
    def counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """For each word of each text, by text and word: text, word, how often, and where first."""
        size = max(len(self.vocabulary), 1)
        keys = self.docs.astype(np.int64) * size + self.ids
        order = np.argsort(keys, kind="stable")
        begins = np.flatnonzero(np.diff(keys[order], prepend=-1))
        found = keys[order[begins]]
        return found // size, found % size, np.diff(begins, append=len(keys)), order[begins]

    def select(self, first: int, last: int) -> Tokens:
        """The words of the texts from `first` up to `last`, not included."""
        begin, end = np.searchsorted(self.docs, [first, last])
        return Tokens(self.vocabulary, self.ids[begin:end], self.docs[begin:end] - first, last - first)

    def renamed(self, names: Mapping[str, str]) -> Tokens:
        """With words under another name, which may be in the vocabulary already (synonyms, lower case)."""
        places: dict[str, int] = {}
        moved = [places.setdefault(names.get(word, word), len(places)) for word in self.vocabulary]
        return Tokens(list(places), np.array(moved, dtype=np.int32)[self.ids], self.docs, self.n_docs)


def segmenter(words: Iterable[UserWord] = ()) -> Any:
    """A `rjieba.Jieba` (the same dictionary and model as jieba, compiled) that also knows these words."""
    import rjieba

    made = rjieba.Jieba()
    for one in words:
        made.add_word(one.word, one.frequency, one.tag)
    return made


@cache
def jieba_dictionary() -> Any:
    """The segmenter with nothing but jieba's own dictionary."""
    return segmenter()


def tokenise(texts: Iterable[str], jieba: Any, *, guess: bool = True) -> Tokens:
    """The words of each text, cut once.

    Parameters
    ----------
    jieba
        From `segmenter`.
    guess
        Whether characters that no dictionary joins are joined by the segmenter's model.
    """
    places: defaultdict[str, int] = defaultdict()
    places.default_factory = places.__len__
    lengths: list[int] = []
    blocks: list[np.ndarray] = []
    for block in progress.track(_blocks(texts), "words"):
        cut = [jieba.cut(text, guess) for text in block]
        lengths += map(len, cut)
        blocks.append(
            np.fromiter(
                map(places.__getitem__, chain.from_iterable(cut)), dtype=np.int32, count=sum(map(len, cut))
            )
        )
    ids = np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.int32)
    docs = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    return Tokens(list(places), ids, docs, len(lengths))


def _blocks(texts: Iterable[str], size: int = 1_000) -> list[list[str]]:
    every = list(texts)
    return [every[begin : begin + size] for begin in range(0, len(every), size)]


def parts_of_speech(vocabulary: Sequence[str], jieba: Any) -> list[str]:
    """The dictionary's tag of each word by itself: `x` for one that is in no dictionary.

    Tags of unknown words are guessed from their place in a text (`domain.tagging`).
    """
    tags = []
    for word in vocabulary:
        pieces = jieba.tag(word, False)
        tags.append((pieces[0][1] if len(pieces) == 1 else "") or "x")
    return tags
