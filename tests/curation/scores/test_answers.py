"""Features of answers: what they see, what they cannot know, and that they do not depend on the order."""

import numpy as np
import polars as pl
import pytest

from curation.lsa import Lsa
from curation.scores import answers
from curation.scores.mismatch import encode
from curation.scores.reward import ENCODER

QUESTION = "判断题：月亮自己会发光。"


def measured(rows: list[tuple[str, str]]) -> pl.DataFrame:
    prompts, told = (pl.Series([row[side] for row in rows], dtype=pl.String) for side in (0, 1))
    encoder = Lsa.fit(pl.concat([prompts, told]), ENCODER, 0)
    return answers.features(prompts, told, encode(encoder, prompts), encode(encoder, told))


def test_what_is_seen_in_a_single_answer() -> None:
    rows = [
        ("怎样泡绿茶？", "步骤如下：\n1. 烧水，放凉到八十度。\n2. 放入茶叶。\n3. 首先倒掉第一泡，然后再冲。"),
        ("怎样泡绿茶？只用一句话简短回答。", "&lt;无输入&gt;"),
        ("1公斤等于多少克？", "抱歉，我不清楚。"),
        ("1公斤等于多少克？", "1公斤等于1000克。"),
    ]
    found = measured(rows)
    assert found["log_items"][0] == pytest.approx(np.log(4))
    assert found["steps"][0] > 0
    assert found["left_over"].to_list() == [0, 1, 0, 0]
    assert found["brief_length"].to_list()[0] == 0
    assert found["brief_length"][1] < 0
    assert found["apology"].to_list() == [0, 0, 1, 0]
    assert found["numbers_kept"].to_list()[2:] == [0, 1]
    assert found["prompt_covered"][3] > found["prompt_covered"][2]


def test_answers_to_one_question_are_compared() -> None:
    rows = [
        (QUESTION, "这个说法是错误的，月亮反射太阳的光。"),
        (QUESTION, "错误。月亮反射太阳的光，自己不发光。"),
        (QUESTION, "正确，月亮自己会发光。"),
        (QUESTION, "不对，月亮只是反射太阳的光。"),
        ("月亮离地球多远？", "大约三十八万公里。"),
    ]
    found = measured(rows)
    assert found["agreement"].to_list()[:4] == pytest.approx([2 / 3, 2 / 3, 0, 2 / 3])
    assert found["nearest"][0] > found["consensus"][0] > 0
    assert sum(found["relative_length"].to_list()[:4]) == pytest.approx(0)
    assert np.isnan(found.row(4)[-6:]).all()


def test_the_same_answer_twice_is_no_second_voice() -> None:
    rows = [(QUESTION, "错误，它反射光。"), (QUESTION, "正确，它会发光。"), (QUESTION, "错误，它不发光。")]
    twice = measured([*rows, rows[1]])
    assert twice.head(3)["agreement"].to_list() == [0.5, 0, 0.5]
    assert twice.row(1) == twice.row(3)


def test_the_order_changes_nothing() -> None:
    rows = [(QUESTION, f"错误，说法{number}：月亮反射太阳的光。") for number in range(5)] + [("你好吗？", "")]
    there, back = measured(rows), measured(rows[::-1]).reverse()
    np.testing.assert_allclose(there.to_numpy(), back.to_numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("prompt", "answer", "expected"),
    [
        ("下列哪一个是金属？A. 铁 B. 木", "答案是A，铁。", "A"),
        ("下列哪一个是金属？A. 铁 B. 木", "B", "B"),
        ("判断：水在零度结冰。", "对的，标准大气压下如此。", "yes"),
        ("鲸鱼是否是鱼？", "不是，鲸鱼是哺乳动物。", "no"),
        ("3加4等于多少？", "3加4等于7。", "7"),
        ("请介绍一下长城。", "长城有2000多年的历史。", None),
    ],
)
def test_what_an_answer_comes_to(prompt: str, answer: str, expected: str | None) -> None:
    assert answers.result(pl.Series([prompt]), pl.Series([answer])).to_list() == [expected]
