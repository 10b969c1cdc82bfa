"""Verb and object of Chinese prompts."""

from __future__ import annotations

import polars as pl
import pytest

from curation.scores.verb_objects import request, verb_objects


@pytest.mark.parametrize(
    ("prompt", "tag"),
    [
        ("请写一首关于春天的诗。", "写 诗"),
        ("请帮我解释光合作用的过程", "解释 过程"),
        ("写一篇介绍北京历史的文章", "写 文章"),
        ("根据以下文章，总结主要观点。", "总结 观点"),
        ("对以下文本进行分类", "分类 文本"),
        ("找出句子中的错误并说明原因", "找出 错误"),
        ("今天天气很好。请描述监督学习的概念。", "描述 概念"),
    ],
)
def test_what_is_asked_for(prompt: str, tag: str) -> None:
    assert verb_objects(pl.Series([prompt])).to_list() == [tag]


@pytest.mark.parametrize("prompt", ["", "Write a poem about spring.", "我喜欢画画。", "！！！", None])
def test_what_asks_for_nothing_in_chinese_has_no_tag(prompt: str | None) -> None:
    assert verb_objects(pl.Series([prompt], dtype=pl.String)).to_list() == [None]


def test_an_object_may_stand_before_its_verb() -> None:
    clause = [
        ("把", "p"),
        ("下面", "f"),
        ("的", "uj"),
        ("句子", "n"),
        ("翻译", "v"),
        ("成", "v"),
        ("英文", "nz"),
    ]
    assert request(clause) == ("翻译", "句子")
    assert request([("患者", "n"), ("出现", "v"), ("头痛", "n")]) is None
