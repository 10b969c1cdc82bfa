"""Answers that contradict each other are found, others are left alone."""

import polars as pl
import pytest

from curation.scores.conflicts import find_conflicts

SUM = "小明买了3支笔，每支2元，一共多少元？"
CHOICE = "水的化学式是哪一个？A. H2O B. CO2"


def conflicts(*rows: tuple[str, str]) -> dict[str, str]:
    frame = pl.DataFrame(
        {
            "record_id": [str(number) for number in range(len(rows))],
            "prompt": [prompt for prompt, _ in rows],
            "answer": [answer for _, answer in rows],
        },
        schema=dict.fromkeys(("record_id", "prompt", "answer"), pl.String),
    )
    found = find_conflicts(frame)
    assert found.equals(find_conflicts(frame.reverse()))
    return dict(found.iter_rows())


@pytest.mark.parametrize(
    ("prompt", "one", "other"),
    [
        (SUM, "3×2=6，一共6元。", "一共5元。"),
        (CHOICE, "答案：A", "选B。"),
        ("判断：鲸鱼是鱼类。", "不正确，鲸鱼是哺乳动物。", "正确，鲸鱼生活在海里。"),
        ("给这句话的情感分类：这家店再也不来了。", "消极", "高兴"),
    ],
)
def test_what_contradicts(prompt: str, one: str, other: str) -> None:
    assert conflicts((prompt, one), (prompt, other)) == {"0": "1", "1": "0"}


@pytest.mark.parametrize(
    ("prompt", "one", "other"),
    [
        (SUM, "3×2=6，一共6元。", "6元，也就是3×2"),
        (SUM, "6", "6.0元"),
        (CHOICE, "A", "答案是A，即水。"),
        ("判断：鲸鱼是鱼类。", "不正确。", "错误，它是哺乳动物。"),
        ("给这句话的情感分类：这家店再也不来了。", "消极", "消极情绪"),
        ("写一首关于春天的诗。", "春风吹过山岗。", "花开满园，鸟儿歌唱。"),
        ("8-3等于多少？", "5", "5"),
    ],
)
def test_what_does_not(prompt: str, one: str, other: str) -> None:
    assert conflicts((prompt, one), (prompt, other)) == {}


def test_only_the_same_question_counts() -> None:
    assert conflicts(("8-3等于多少？", "5"), ("8+3等于多少？", "11")) == {}
    assert conflicts(("8-3 等于多少", "5"), ("8-3等于多少？", "11")) == {"0": "1", "1": "0"}
    assert conflicts() == {}
