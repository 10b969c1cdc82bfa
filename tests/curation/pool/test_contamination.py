"""Leaks of benchmark questions are found, exam phrases are not taken for leaks."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.pool.contamination import COMMON, LEAKS, canonical, find_leaks, phrasings, spaced_words
from curation.records import canonical as canonical_text

QUESTION = "第一次工业革命中，瓦特改良的蒸汽机最先广泛用于哪一个行业？"


def texts(*rows: str) -> pl.DataFrame:
    return pl.DataFrame(
        {"record_id": [f"r{number}" for number in range(len(rows))], "text": rows},
        schema={"record_id": pl.String, "text": pl.String},
    )


def questions(*rows: str) -> pl.DataFrame:
    return pl.DataFrame(
        {"id": [f"q{number}" for number in range(len(rows))], "text": rows},
        schema={"id": pl.String, "text": pl.String},
    )


def leaking(frame: pl.DataFrame) -> list[str]:
    return frame["record_id"].to_list()


def test_a_run_of_thirteen_characters_is_a_leak_whatever_the_punctuation_and_width() -> None:
    found = find_leaks(
        texts("请问：革命中，瓦特改良的 蒸汽机，最先广泛用于——（　）", "瓦特是英国人，他改良了蒸汽机。"),
        questions(QUESTION),
    )
    assert found.rows() == [("r0", "q0", "革命中瓦特改良的蒸汽机最先广泛用于", 17, pytest.approx(15 / 25))]
    assert dict(found.schema) == LEAKS


def test_twelve_characters_are_none() -> None:
    run = canonical_text(QUESTION)[5:17]
    assert find_leaks(texts(f"甲{run}乙"), questions(QUESTION)).is_empty()
    assert leaking(find_leaks(texts(f"甲{run}乙"), questions(QUESTION), n_chars=12, least_share=0.4)) == [
        "r0"
    ]


def test_a_run_does_not_reach_from_one_text_into_the_next() -> None:
    half = len(QUESTION) // 2
    parts = texts(QUESTION[half - 8 : half], QUESTION[half : half + 8])
    assert find_leaks(parts, questions(QUESTION)).is_empty()
    assert find_leaks(texts(QUESTION[4:20]), questions(QUESTION[:12], QUESTION[12:])).is_empty()


def test_english_counts_words() -> None:
    question = "Which of the following planets has the largest number of known moons in 2020?"
    near = "which of the following planets has the largest NUMBER"  # nine words in a row
    far = "Tell me: which of the following planets has the largest number of known moons?"
    found = find_leaks(texts(near, far), questions(question))
    assert found.rows() == [
        (
            "r1",
            "q0",
            "which of the following planets has the largest number of known moons",
            12,
            pytest.approx(10 / 12),
        )
    ]


def test_letters_in_a_row_are_no_chinese_run() -> None:
    assert find_leaks(
        texts("print(hello_world_function)"), questions("调用print(hello_world_function)")
    ).is_empty()


def test_a_short_question_must_be_there_as_a_whole() -> None:
    rows = texts("东方三圣是指哪三位？", "东方有三圣", "羊水", "羊")
    assert leaking(find_leaks(rows, questions("东方三圣是指"))) == ["r0"]
    assert leaking(find_leaks(rows, questions("羊"))) == ["r3"]  # too short to be contained
    assert leaking(find_leaks(texts("the sun and the moon", "the sun"), questions("The sun?"))) == ["r1"]


def test_what_many_questions_hold_is_a_phrase() -> None:
    phrase = "根据上述材料下列各项说法中正确的是"
    many = questions(*(f"{phrase}第{number}" for number in "甲乙丙丁"))
    assert len(many) > COMMON
    assert find_leaks(texts(f"看图，{phrase}哪个"), many).is_empty()
    assert leaking(find_leaks(texts(f"看图，{phrase}哪个"), many.head(COMMON))) == ["r0"]


def test_what_is_followed_by_anything_is_a_phrase_but_not_a_long_run() -> None:
    phrase = "下列各句中没有语病的一句是"
    rows = texts(
        *(f"{phrase}：{tail}" for tail in ("春天来了", "他走得快", "我们读书", "天下雨了", "花都开了"))
    )
    assert find_leaks(rows, questions(phrase)).is_empty()
    copies = texts(*([f"{phrase}：春天来了"] * 5))
    assert find_leaks(copies, questions(phrase)).height == 5
    long = texts(*(f"{QUESTION}{tail}" for tail in ("春天", "他走", "我们", "天下", "花都")))
    assert find_leaks(long, questions(QUESTION)).height == 5


def test_a_run_that_is_little_of_the_question_is_no_leak() -> None:
    law = "人民法院人民检察院和公安机关办理刑事案件应当分工负责"
    question = f"某日甲在饭店与乙争吵后将其打伤，乙报案。根据规定，{law}，下列关于本案管辖的说法正确的是"
    assert find_leaks(texts(f"宪法第一百四十条说的是什么？{law}。"), questions(question)).is_empty()
    edited = question.replace("争吵", "吵架").replace("规定", "法律").replace("说法", "叙述")
    assert leaking(find_leaks(texts(edited), questions(question))) == ["r0"]


def test_a_stock_question_needs_its_options_in_a_longer_text() -> None:
    stem, options = "下列各句中表达得体的一句是", "\n请您惠存\n请你笑纳\n我去拜读\n您的拙作"
    frame = phrasings(questions(stem + options))
    other = f"请回答下面的题。{stem}\nA. 蒙您光临寒舍\nB. 我来府上赐教\nC. 令尊是我父亲\nD. 家母身体欠安"
    assert leaking(find_leaks(texts(stem, other, f"请回答下面的题。{stem}{options}"), frame)) == ["r0", "r2"]


def test_prompt_and_answer_of_a_record_may_be_given_apart() -> None:
    frame = pl.DataFrame({"record_id": ["a", "a"], "text": ["不相干的话", QUESTION]})
    assert leaking(find_leaks(frame, questions(QUESTION))) == ["a"]


def test_questions_with_options_are_met_in_three_forms() -> None:
    frame = phrasings(questions("羊的妊娠期是\n三个月\n五个月\n七个月", "一句话"))
    assert frame.rows() == [
        ("q0", "羊的妊娠期是\n三个月\n五个月\n七个月"),
        ("q1", "一句话"),
        ("q0", "羊的妊娠期是"),
        ("q0", "羊的妊娠期是\nA. 三个月\nB. 五个月\nC. 七个月"),
    ]
    sample = texts("羊的妊娠期是\nA. 三个月\nB. 五个月\nC. 七个月", "请问羊的妊娠期是多久")
    assert leaking(find_leaks(sample, frame)) == ["r0", "r1"]


@pytest.mark.parametrize("benchmark", [questions(), questions("", "  ", "。")])
def test_nothing_leaks_without_questions(benchmark: pl.DataFrame) -> None:
    assert find_leaks(texts("", "一句话", "。"), benchmark).is_empty()


def test_no_texts() -> None:
    assert find_leaks(texts(), questions(QUESTION)).is_empty()


@given(st.text("中文字abZ ＡＢ１２，。！·x²½Ⅳéß\n\t-_()（）", min_size=1, max_size=40))
def test_the_canonical_form_is_that_of_the_records(text: str) -> None:
    plain = canonical(pl.Series([text]))[0]
    assert plain == (canonical_text(text) if any(char.isalnum() for char in text) else "")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([QUESTION, QUESTION[3:20], "无关的一句话", "", "a b c"]), max_size=6),
    st.randoms(),
)
def test_order_does_not_matter(rows: list[str], random: object) -> None:
    frame = texts(*rows)
    shuffled = frame.sample(fraction=1, shuffle=True, seed=3)
    assert find_leaks(frame, questions(QUESTION)).equals(find_leaks(shuffled, questions(QUESTION)))


def test_words_are_cut_at_chinese() -> None:
    assert spaced_words(pl.Series(["Don't 用 GPT-4 写"]))[0] == " dont \n gpt 4 \n "
