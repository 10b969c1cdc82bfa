"""The formats of the SFT files."""

import json

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from curation import schemas
from curation.exports.formats import jsonl, sft_files, to_alpaca, to_openai, to_sharegpt
from curation.records import digest
from curation.settings import ExportSettings
from curation.verdicts import conservation


def turns(*texts, system=None):
    said = [
        {"role": "user" if at % 2 == 0 else "assistant", "content": text} for at, text in enumerate(texts)
    ]
    return ([{"role": "system", "content": system}] if system else []) + said


CHAT = turns("泡茶用什么水？", "软水。", "温度呢？", "八十度。", system="你是茶师。")


def frame(*conversations):
    ids = [digest(str(number)) for number in range(len(conversations))]
    return pl.DataFrame(
        {"record_id": ids, "messages": conversations},
        schema={"record_id": pl.String, "messages": schemas.Messages},
    )


def test_alpaca_keeps_system_and_history():
    assert to_alpaca([CHAT], ["a"]) == [
        {
            "record_id": "a",
            "instruction": "温度呢？",
            "input": "",
            "output": "八十度。",
            "system": "你是茶师。",
            "history": [["泡茶用什么水？", "软水。"]],
        }
    ]
    assert to_alpaca([turns("问", "答")], ["b"]) == [
        {"record_id": "b", "instruction": "问", "input": "", "output": "答"}
    ]


def test_alpaca_joins_messages_of_one_side():
    said = [
        {"role": "user", "content": "一"},
        {"role": "user", "content": "二"},
        {"role": "assistant", "content": "三"},
    ]
    assert to_alpaca([said], ["a"])[0]["instruction"] == "一\n\n二"
    greeting = [{"role": "assistant", "content": "您好"}, *turns("问", "答")]
    assert to_alpaca([greeting], ["a"])[0]["history"] == [["", "您好"]]


def test_sharegpt_and_openai():
    (line,) = to_sharegpt([CHAT], ["a"])
    assert line["system"] == "你是茶师。"
    assert [one["from"] for one in line["conversations"]] == ["human", "gpt", "human", "gpt"]
    assert to_openai([CHAT], ["a"]) == [{"record_id": "a", "messages": CHAT}]


def test_files_hold_the_kept_samples_in_one_order():
    samples = frame(turns("一", "甲"), turns("二"), turns("三", " "), turns("四", "丁"), [], CHAT)
    rows, files = sft_files(samples, ExportSettings(name="tea"), seed=0)
    schemas.conform("sft_files", rows.with_columns(run_id=pl.lit("0" * 32)))
    assert conservation("judge", samples.lazy(), rows.lazy()).ok
    assert rows.filter(pl.col("verdict") != "kept")["reason"].to_list() == ["no_answer"] * 3
    assert sorted(files) == ["tea.alpaca.jsonl", "tea.openai.jsonl", "tea.sharegpt.jsonl"]
    by_line = rows.filter(pl.col("verdict") == "kept").sort("line")
    assert by_line["line"].to_list() == [0, 1, 2]
    for lines in files.values():
        assert [json.loads(line)["record_id"] for line in lines] == by_line["record_id"].to_list()
    again, _ = sft_files(samples.reverse(), ExportSettings(name="tea"), seed=0)
    assert again.equals(rows)


def test_no_samples_no_lines():
    rows, files = sft_files(frame(), ExportSettings(formats=("openai",)), seed=0)
    assert rows.is_empty()
    assert [list(lines) for lines in files.values()] == [[]]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8"), min_size=1),
            st.text(st.characters(codec="utf-8"), min_size=1),
        ),
        max_size=5,
    )
)
def test_every_line_is_one_line_and_comes_back_as_it_was(pairs):
    conversations = [turns(*pair) for pair in pairs]
    text = "".join(jsonl(to_openai(conversations, [str(at) for at in range(len(pairs))])))
    assert len(text.splitlines()) == len(pairs)
    assert [json.loads(line)["messages"] for line in text.splitlines()] == conversations
