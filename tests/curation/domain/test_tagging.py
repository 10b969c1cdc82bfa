"""Words and parts of speech are those of jieba.posseg, also where no dictionary helps."""

import random
from itertools import pairwise

import jieba.posseg
import numpy as np
import pytest

from curation.domain.tagging import tokenise_tagged
from curation.domain.words import UserWord, segmenter

TEXTS = [
    "揉捻机把萎凋好的茶青压成条索，师傅陈阿福说力道要先轻后重。",
    "赵雨桐在景德镇学拉坯，三年里摔坏了一千多只碗。",
    "他花一百二十三块五买了件T恤，又用C++写了个爬虫，跑了2.5小时。",
    "血压138/92mmHg，医生让他少吃腌货，多走路。\r\n下月复查HbA1c。",
    "喵喵酱今天更新了vlog，标题是“凌晨四点的菜市场”！",
    "魑魅魍魉是传说里的鬼怪，饕餮则刻在青铜器上。",
    "㸆大虾要用文火，汤汁收得黏稠才入味　起锅撒葱花。",
    "蔡英杰和欧阳靖宇一起报名了半程马拉松，编号A07、B12。",
    "  ",
    "",
    "ok，no.1",
]


def tagged(texts, jieba_rs=None):
    tokens, tags = tokenise_tagged(texts, jieba_rs or segmenter())
    words = [tokens.vocabulary[place] for place in tokens.ids]
    cuts = np.searchsorted(tokens.docs, range(tokens.n_docs + 1))
    pairs = list(zip(words, tags.tolist(), strict=True))
    return [pairs[begin:end] for begin, end in pairwise(cuts)]


def expected(text):
    return [(one.word, one.flag) for one in jieba.posseg.cut(text)]


def test_words_and_tags_are_those_of_jieba():
    assert tagged(TEXTS) == [expected(text) for text in TEXTS]


def test_words_that_no_dictionary_holds_are_cut_and_tagged_together():
    words = dict(tagged(TEXTS)[1])
    assert words["赵雨桐"] == "nr"
    assert not jieba.dt.FREQ.get("赵雨桐")


def test_so_they_are_in_any_order_of_the_characters():
    characters = sorted({*"".join(TEXTS)})
    draw = random.Random(0)
    texts = ["".join(draw.choices(characters, k=40)) for _ in range(300)]
    assert tagged(texts) == [expected(text) for text in texts]


def test_a_text_does_not_change_the_words_of_another():
    assert tagged(["揉", "捻", "揉捻"]) == [tagged([text])[0] for text in ("揉", "捻", "揉捻")]


def test_the_words_of_a_user_hold_together():
    (words,) = tagged(["晒青毛茶要先杀青。"], segmenter([UserWord("晒青毛茶", tag="n")]))
    assert words[0] == ("晒青毛茶", "n")


@pytest.mark.parametrize("texts", [[], [""], ["", "，"]])
def test_few_words_or_none(texts):
    assert [len(one) for one in tagged(texts)] == [len(text) for text in texts]
