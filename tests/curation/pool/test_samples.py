"""Every sample is judged once, with the reason that fits it."""

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation import schemas
from curation.pool.samples import conversation, pool_samples
from curation.records import digest
from curation.settings import PoolSettings, SampleDedupSettings

SETTINGS = PoolSettings(dedup=SampleDedupSettings(ngram=3, threshold=0.65, permutations=64, bands=16))
GOOD = (
    ("怎样泡一杯绿茶？", "水烧开后晾到八十度左右，先温杯，再放三克茶叶，沿杯壁注水，两分钟后就可以喝了。"),
    ("把“海内存知己”翻译成英文。", "A bosom friend afar brings a distant land near."),
    ("写一个求平方的 Python 函数。", "```python\ndef square(x):\n    return x * x\n```"),
    ("What is photosynthesis?", "It is the process by which plants turn light into chemical energy."),
    ("计算 12×12。", "144"),
    ("这条评论是正面还是负面？房间很干净。", "正面"),
    ("列出三种绿色蔬菜。", "菠菜、西兰花、芹菜"),
)


def frame(*pairs: tuple[str, str]) -> pl.DataFrame:
    rows = [
        {
            "record_id": digest(str(number), *pair),
            "source": "samples",
            "uri": "file.jsonl",
            "shard": "s0",
            "native_id": str(number),
            "task": None,
            "messages": [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}],
            "parents": [],
        }
        for number, pair in enumerate(pairs)
    ]
    kinds = {
        "record_id": pl.String,
        "source": pl.String,
        "uri": pl.String,
        "shard": pl.String,
        "native_id": pl.String,
        "task": pl.String,
        "messages": schemas.Messages,
        "parents": pl.List(pl.String),
    }
    return pl.DataFrame(rows, schema=kinds)


def judged(*pairs: tuple[str, str], benchmark: tuple[str, ...] = ()) -> pl.DataFrame:
    questions = pl.DataFrame(
        {"id": [f"q{n}" for n in range(len(benchmark))], "text": benchmark},
        schema={"id": pl.String, "text": pl.String},
    )
    return pool_samples(frame(*pairs), questions, SETTINGS)


def test_sound_samples_of_every_kind_are_kept() -> None:
    result = judged(*GOOD)
    assert result["reason"].to_list() == [None] * len(GOOD)
    assert schemas.conform("sft_pool", result.with_columns(run_id=pl.lit("0" * 32))).height == len(GOOD)
    assert result["language"].to_list()[:1] == ["zh"]


@pytest.mark.parametrize(
    ("prompt", "answer", "reason"),
    [
        ("怎样泡茶？", "", "empty"),
        ("怎样泡茶？", " 。 ", "empty"),
        ("怎样泡茶？", "略", "empty"),
        ("怎样泡茶？", "N/A", "empty"),
        ("无忧无虑的童年是什么样的？", "无", "empty"),
        ("", "水烧开后放茶叶。", "empty"),
        ("茶", "水烧开后放茶叶。", "too_short"),
        ("怎样泡茶？", "水烧开后，" * 3 + "放茶" * 10_001, "too_long"),
        ("怎样泡茶？", "æ°´çƒ§å¼€åŽæ”¾èŒ¶å¶ï¼Œä¸¤åˆ†é’ŸåŽå°±å¯ä»¥å–äº†", "mojibake"),
        ("怎样泡茶？", "先把水烧开，然后放茶叶。" + "再等一会儿，" * 20, "repetition"),
        (
            "怎样泡茶？",
            '<div class="c"><p>水烧开后放茶叶。</p></div><script>var a=1;</script><ul><li>首页</li></ul>',
            "boilerplate",
        ),
        (
            "怎样泡茶？",
            "First boil the water, then add the leaves and wait for two minutes.",
            "wrong_language",
        ),
        ("请问珠穆朗玛峰的南坡在哪一个国家的境内呢？", "尼泊尔", "benchmark_leak"),
    ],
)
def test_each_defect_has_its_reason(prompt: str, answer: str, reason: str) -> None:
    result = judged(*GOOD, (prompt, answer), benchmark=("珠穆朗玛峰的南坡在哪一个国家的境内",))
    assert result["reason"].to_list() == [None] * len(GOOD) + [reason]


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("句中有错别字吗？没有就输出“无”。今天天气很好。", "无"),
        ("写出大于号。", ">"),
        ("用一个表情回答：你开心吗？", "😊"),
        ("写一个网页，显示一个标题。HTML 代码即可。", "<html><body><h1>标题</h1></body></html>"),
        (
            "用英语回答：茶是从哪里来的？",
            "Tea comes from the leaves of a plant that grows in the south of China.",
        ),
        (
            "改正语法错误：She go to school every day with her brother.",
            "She goes to school every day with her brother.",
        ),
    ],
)
def test_what_was_asked_for_is_kept(prompt: str, answer: str) -> None:
    assert judged((prompt, answer))["reason"].to_list() == [None]


def test_copies_name_the_one_that_is_kept() -> None:
    prompt, answer = GOOD[0]
    result = judged(*GOOD, (prompt, answer), (prompt, answer.replace("三克", "四克")))
    first = result["record_id"][0]
    family = [first, *result["record_id"][len(GOOD) :]]
    kept = [
        name
        for name, reason in result.select("record_id", "reason").iter_rows()
        if reason is None and name in family
    ]
    assert len(kept) == 1
    dropped = result.filter(pl.col("record_id").is_in(family) & pl.col("reason").is_not_null())
    assert set(dropped["duplicate_of"]) == set(kept)
    assert set(dropped["reason"]) <= {"duplicate_of", "near_duplicate_of"}
    assert all(json.loads(text)["duplicate_of"] == kept[0] for text in dropped["evidence"])


def test_a_sample_that_a_rule_drops_does_not_drag_its_sound_copy_along() -> None:
    prompt, answer = GOOD[0]
    result = judged((prompt, answer), (prompt, answer + "\n" + answer + "\n" + answer))
    assert result["reason"].to_list() == [None, "repetition"]


def test_the_text_is_normalised_and_the_messages_are_not() -> None:
    result = judged(("怎樣泡一杯綠茶？", "水燒開後放茶葉，兩分鐘後就可以喝了。"))
    assert result["answer"][0].startswith("水烧开")
    assert result["messages"][0][1]["content"].startswith("水燒開")


def test_the_prompt_is_all_before_the_last_answer() -> None:
    turns = [
        ("system", "你是茶艺师"),
        ("user", "怎样泡茶"),
        ("assistant", "用热水"),
        ("user", "多热"),
        ("assistant", "八十度"),
    ]
    messages = pl.Series(
        [
            [{"role": role, "content": content} for role, content in turns],
            None,
            [],
            [{"role": "user", "content": "喂"}],
        ],
        dtype=schemas.Messages,
    )
    assert conversation(messages).rows() == [
        ("你是茶艺师\n怎样泡茶\n用热水\n多热", "八十度"),
        ("", ""),
        ("", ""),
        ("喂", ""),
    ]


def test_no_samples() -> None:
    assert judged().height == 0
    assert set(schemas.columns("sft_pool")) - {"run_id"} <= set(judged().columns)


def test_null_messages_are_judged_too() -> None:
    broken = frame(GOOD[0]).with_columns(messages=pl.lit(None, dtype=schemas.Messages))
    assert pool_samples(broken, pl.DataFrame(schema={"id": pl.String, "text": pl.String}), SETTINGS)[
        "reason"
    ].to_list() == ["empty"]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=60)), max_size=6))
def test_every_sample_comes_out_once_with_a_verdict_that_its_reason_explains(
    pairs: list[tuple[str, str]],
) -> None:
    result = judged(*GOOD[:2], *pairs)
    assert result["record_id"].to_list() == frame(*GOOD[:2], *pairs)["record_id"].to_list()
    assert ((result["verdict"] == "kept") == result["reason"].is_null()).all()
    assert (
        result["evidence"]
        .str.json_decode(pl.Struct({"answer_chars": pl.Int64}))
        .struct.field("answer_chars")
        .null_count()
        == 0
    )
