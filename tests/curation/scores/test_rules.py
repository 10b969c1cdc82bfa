"""What the fixed rules see of a sample."""

import polars as pl
import pytest

from curation.scores import rules

PROSE = "The best way to learn a language is to speak it with other people every day."


def mismatch(prompt: str, answer: str) -> float:
    return rules.language_mismatch(pl.Series([prompt]), pl.Series([answer]))[0]


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("怎样学好一门语言？", PROSE),
        ("How do I learn a language?", "每天都和别人说一说这门语言，慢慢就能学好了。"),
        ("怎样学好一门语言？", "毎日その言語を話すことが、いちばんの近道だと思います。"),
        ("怎样学好一门语言？", "Лучший способ выучить язык состоит в том чтобы говорить на нём каждый день"),
    ],
)
def test_an_answer_in_a_script_that_nobody_asked_for(prompt: str, answer: str) -> None:
    assert mismatch(prompt, answer) > 0.8


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("把这句话翻译成英文：每天都说。", PROSE),
        ("用英语写一句关于学习的话。", PROSE),
        (
            "改写句子。\nThe cat sat on the mat and looked at the dog.",
            "The cat was sitting on the mat, looking at the dog.",
        ),
        (
            "写一个求和的函数。",
            "def total(values):\n    # add all the values of the list together\n    return sum(values)",
        ),
        ("How do I learn a language?", PROSE),
        ("解方程 2x = 4。", "x = 2"),
        ("什么是 Photoshop？", "Photoshop 是 Adobe 公司的图像处理软件。"),
        ("水的化学式是什么？", "H2O"),
        ("怎样学好一门语言？", "每天都说。"),
        ("怎样学好一门语言？", ""),
        ("", PROSE),
    ],
)
def test_an_answer_in_a_script_that_fits(prompt: str, answer: str) -> None:
    assert mismatch(prompt, answer) < 0.3


def test_names_count_less_than_sentences() -> None:
    names = mismatch("列出三家公司。", "Apple, Microsoft, Google, Amazon, Netflix, Oracle, Intel, Nvidia")
    assert 0 < names < mismatch("列出三家公司。", PROSE)


def test_features_of_defects() -> None:
    prompt = "介绍一下北京的秋天。"
    answers = {
        "sound": "北京的秋天天高云淡，香山的红叶很有名，气候不冷不热。",
        "repetition": "北京的秋天很美。" * 12,
        "garble": "鍖椾含鐨勭澶╁ぉ楂樹簯娣★紝棣欏北鐨勭孩鍙跺緢鏈夊悕",
        "markup": '<p>北京的秋天</p><br/><a href="#">更多</a>',
        "spam": "北京赛车投注平台，开户送彩金，加微信 abc123456，登录网址下载",
        "refusal": "很抱歉，作为一个人工智能语言模型，我没有去过北京。",
        "echo": prompt,
        "unpunctuated": "北京的秋天天高云淡香山的红叶很有名气候不冷不热很多人都喜欢在这个时候去北京旅游看红叶",
    }
    seen = rules.features(pl.Series([prompt] * len(answers)), pl.Series(list(answers.values())))
    for place, kind in enumerate(answers):
        if kind != "sound":
            assert seen[kind][place] > max(0.2, 2 * seen[kind][0]), kind
    assert seen["answer_chars"][0] == len(answers["sound"])


def test_markup_that_was_asked_for_is_none() -> None:
    page = "<html><body><p>你好</p></body></html>"
    seen = rules.features(pl.Series(["写一个 HTML 网页", "打个招呼"]), pl.Series([page, page]))
    assert seen["markup"][0] == 0 < seen["markup"][1]


def test_endings() -> None:
    answers = [
        "茶要趁热喝。",
        "茶要趁热喝，",
        "茶有很多种。绿茶最清淡（不发酵",
        "1. 绿茶\n2. 红茶\n3.",
        "绿茶、红茶",
        "```python\nprint(1)\n",
        "",
    ]
    seen = rules.endings(pl.Series(answers))
    assert seen["open_end"].to_list() == [0, 1, 1, 1, 1, 0, 1]
    assert seen["comma"].to_list() == [0, 1, 0, 0, 0, 0, 0]
    assert seen["left_open"].to_list()[:3] == [0, 0, 1]
    assert seen["open_end_after_sentences"].to_list()[2] == 1
    assert seen["bare_item"].to_list()[3] == 1
    assert seen["code_left_open"].to_list()[5] == 1
    assert seen.null_count().sum_horizontal()[0] == 0


def test_no_rows_and_nulls() -> None:
    nothing = pl.Series([], dtype=pl.String)
    assert rules.features(nothing, nothing).height == rules.endings(nothing).height == 0
    unknown = pl.Series([None], dtype=pl.String)
    assert rules.features(unknown, unknown).null_count().sum_horizontal()[0] == 0
    assert rules.language_mismatch(unknown, unknown).to_list() == [0.0]
