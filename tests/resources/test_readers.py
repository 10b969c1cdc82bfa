import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.errors import UserError
from curation.records import record_id
from curation.schemas import columns
from curation.settings import Fields, Source
from curation.verdicts import conservation
from resources.readers import (
    declared_charset,
    is_binary,
    is_page,
    read_benchmark,
    read_documents,
    read_samples,
)
from resources.sources import plan_shards

IDS = Fields(id="id", title="title")  # type: ignore[call-arg]


def source(
    path: Path, kind: str = "jsonl", role: str = "document", fields: Fields = IDS, **more: Any
) -> Source:
    return Source(name="pool", role=role, kind=kind, path=str(path), fields=fields, **more)  # type: ignore[arg-type]


def documents(path: Path, kind: str = "jsonl", **more: Any) -> pl.DataFrame:
    return pl.concat([read_documents(shard) for shard in plan_shards([source(path, kind, **more)])])


def samples(path: Path, kind: str = "jsonl", **more: Any) -> pl.DataFrame:
    return pl.concat([read_samples(shard) for shard in plan_shards([source(path, kind, "sample", **more)])])


def write(path: Path, *rows: object) -> Path:
    path.write_bytes(
        b"\n".join(
            row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows
        )
    )
    return path


def test_a_readable_line_becomes_a_kept_row(tmp_path: Path) -> None:
    frame = documents(write(tmp_path / "a.jsonl", {"id": 7, "title": "龙井", "text": "明前\u2028茶"}))
    assert frame.columns == [name for name in columns("raw_crawl") if name != "run_id"]
    row = frame.row(0, named=True)
    assert (row["verdict"], row["reason"], row["native_id"], row["title"]) == ("kept", None, "7", "龙井")
    assert row["body"].decode() == "明前\u2028茶"
    assert (row["media_type"], row["uri"], row["position"]) == ("text/plain", "a.jsonl", 0)


@pytest.mark.parametrize(
    ("line", "reason", "says"),
    [
        (b'{"id": 1, "text": "cut', "unreadable_line", "unexpected end"),
        ('{"text": "旧编码"}'.encode("gb18030"), "unreadable_line", ""),
        (b"3", "unreadable_line", "a int, not an object"),
        (b'["text"]', "unreadable_line", "a list, not an object"),
        (b"\x00\x00\x00", "unreadable_line", ""),
        (b'{"text": {"zh": "a"}}', "unreadable_line", "text is a dict"),
        (b'{"text": 3.5}', "unreadable_line", "text is a float"),
        (b'{"text": "\\ud800"}', "unreadable_line", ""),
        (b'{"title": "a"}', "missing_field", "text is missing"),
        (b'{"text": null}', "missing_field", "text is missing"),
    ],
)
def test_a_bad_line_is_quarantined_with_its_bytes(
    tmp_path: Path, line: bytes, reason: str, says: str
) -> None:
    frame = documents(write(tmp_path / "a.jsonl", {"text": "好"}, b"", line, {"text": "也好"}))
    assert frame["reason"].to_list() == [None, reason, None]
    bad = frame.row(1, named=True)
    assert bad["verdict"] == "quarantined"
    assert bad["body"] == line
    noted = json.loads(bad["evidence"])
    assert says in noted["error"]
    assert bad["position"] == len('{"text": "好"}'.encode()) + 2
    assert reason == "missing_field" or "line" not in noted or noted["line"] == 3


def test_line_numbers_count_from_the_top_of_the_file_in_every_slice(tmp_path: Path) -> None:
    rows = [{"text": "茶" * 100} for _ in range(20)]
    frame = documents(write(tmp_path / "a.jsonl", *rows, b"{broken", *rows), shard_bytes=1_000)
    assert frame["shard"].n_unique() > 5
    (bad,) = frame.filter(pl.col("reason").is_not_null())["evidence"]
    assert json.loads(bad)["line"] == 21


@settings(max_examples=40, deadline=None)
@given(
    lines=st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([b"a", b"b", b"a~1"]).map(
                lambda name: b'{"id": "%s", "text": "x%s"}' % (name, b"y" * 120)
            ),
        ),
        max_size=30,
    ),
    size=st.integers(1_000, 2_000),
)
def test_slicing_changes_no_row_and_ids_are_unique(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], size: int
) -> None:
    path = tmp_path_factory.mktemp("slices") / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    whole = documents(path)
    sliced = documents(path, shard_bytes=size)
    assert sliced.drop("shard").equals(whole.drop("shard"))
    assert conservation("source", None, whole.lazy()).ok
    assert whole.height == sum(bool(line.strip()) for line in path.read_bytes().split(b"\n"))


def test_inserted_lines_do_not_rename_the_rest(tmp_path: Path) -> None:
    one, two = {"id": "a", "text": "甲"}, {"id": "b", "text": "乙"}
    before = documents(write(tmp_path / "a.jsonl", one, two))["record_id"].to_list()
    after = documents(write(tmp_path / "a.jsonl", {"id": "new", "text": "新"}, one, two))[
        "record_id"
    ].to_list()
    assert after[1:] == before


def test_truncated_gzip_keeps_what_comes_before_the_break(tmp_path: Path) -> None:
    rows = [{"id": index, "text": f"第{index * 7919 % 10007}行茶"} for index in range(5_000)]
    packed = gzip.compress("\n".join(json.dumps(row) for row in rows).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    frame = documents(tmp_path / "a.jsonl.gz")
    assert frame["reason"].to_list() == [None] * (frame.height - 1) + ["unreadable_file"]
    assert 2_000 < frame.height < 3_000
    (tmp_path / "a.jsonl.gz").write_bytes(packed)
    assert documents(tmp_path / "a.jsonl.gz")["native_id"].to_list() == [str(index) for index in range(5_000)]


def test_zstandard_is_unpacked(tmp_path: Path) -> None:
    with pa.CompressedOutputStream(str(tmp_path / "a.jsonl.zst"), "zstd") as out:
        out.write('{"text": "茶"}\n'.encode() * 3)
    assert documents(tmp_path / "a.jsonl.zst")["body"].to_list() == ["茶".encode()] * 3


def test_a_missing_or_empty_file_makes_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"")
    shards = plan_shards([source(tmp_path / "a.jsonl")])
    assert read_documents(shards[0]).is_empty()
    (tmp_path / "b.jsonl.gz").write_bytes(b"this is no gzip")
    assert documents(tmp_path / "b.jsonl.gz")["reason"].to_list() == ["unreadable_file"]


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n{"text": "b"}\r\n\r\n')
    assert documents(tmp_path / "a.jsonl")["body"].to_list() == [b"a", b"b"]


def test_parquet_rows_are_read_by_range(tmp_path: Path) -> None:
    table = pl.DataFrame(
        {
            "id": [str(index) for index in range(25)],
            "text": [f"茶{index}" for index in range(24)] + [None],
            "more": 1,
        }
    )
    table.write_parquet(tmp_path / "a.parquet", row_group_size=10)
    frame = documents(tmp_path / "a.parquet", "parquet", shard_rows=7)
    assert frame["native_id"].to_list() == table["id"].to_list()
    assert frame["position"].to_list() == list(range(25))
    assert frame["reason"].to_list() == [None] * 24 + ["missing_field"]
    assert frame[24, "body"] is not None


def test_a_broken_row_group_costs_its_own_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pl.DataFrame({"text": [f"{index * 7919:020d}" * 5 for index in range(3_000)]})
    table.write_parquet(path, row_group_size=1_000, compression="zstd", statistics=False)
    body = bytearray(path.read_bytes())
    middle = len(body) // 2
    body[middle : middle + 64] = b"\xff" * 64
    path.write_bytes(bytes(body))
    frame = documents(path, "parquet")
    assert frame.height == 3_000
    assert frame["position"].to_list() == list(range(3_000))
    lost = frame.filter(pl.col("reason") == "unreadable_file")
    assert 0 < lost.height <= 1_000
    path.write_bytes(b"PAR1 and no more")
    assert documents(path, "parquet")["reason"].to_list() == ["unreadable_file"]


def test_a_column_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    pl.DataFrame({"content": ["a"]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"source pool: a.parquet has no column 'text'; allowed: content"):
        documents(tmp_path / "a.parquet", "parquet")


def test_bytes_in_a_parquet_column_stay_as_they_are(tmp_path: Path) -> None:
    page = '<html><meta charset="gb2312"><p>旧网页</p></html>'.encode("gb18030")
    pl.DataFrame({"text": [page]}).write_parquet(tmp_path / "a.parquet")
    row = documents(tmp_path / "a.parquet", "parquet").row(0, named=True)
    assert (row["body"], row["media_type"], row["charset"]) == (page, "text/html", "gb2312")


def test_html_files(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes('<html><meta charset="GBK"><p>茶</p>'.encode("gb18030"))
    (tmp_path / "b.html").write_bytes(b"%PDF-1.7 not a page")
    frame = documents(tmp_path, "html")
    assert frame["reason"].to_list() == [None, "not_text"]
    assert frame[0, "charset"] == "gbk"
    assert frame["uri"].to_list() == ["a.html", "b.html"]


def test_sample_fields_become_messages(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        {"id": "1", "instruction": "翻译", "input": "tea", "output": "茶", "task": "translate"},
        {"id": "2", "instruction": "问", "input": "", "output": ""},
        {"id": "3", "instruction": "问", "input": None, "output": "答"},
    )
    frame = samples(path, fields=Fields(id="id", task="task"))  # type: ignore[call-arg]
    assert frame.columns == [name for name in columns("raw_samples") if name != "run_id"]
    assert frame["verdict"].to_list() == ["kept"] * 3
    said = frame["messages"].to_list()
    assert said[0] == [{"role": "user", "content": "翻译\ntea"}, {"role": "assistant", "content": "茶"}]
    assert [messages[0]["content"] for messages in said] == ["翻译\ntea", "问", "问"]
    assert frame["task"].to_list() == ["translate", None, None]
    assert frame["body"].null_count() == 3


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"instruction": "问"}, "missing_field"),
        ({"output": "答"}, "missing_field"),
        ({"instruction": "问", "output": None}, "missing_field"),
        ({"instruction": "问", "output": ["答"]}, "unreadable_line"),
        ({"instruction": "问", "input": 3, "output": "答"}, "unreadable_line"),
        ({"messages": []}, "missing_field"),
        ({"messages": "问"}, "unreadable_line"),
        ({"messages": [{"role": "wizard", "content": "问"}]}, "unreadable_line"),
        ({"messages": [{"role": "user"}]}, "missing_field"),
        ([1], "unreadable_line"),
    ],
)
def test_samples_that_cannot_be_used_are_quarantined(tmp_path: Path, row: object, reason: str) -> None:
    frame = samples(write(tmp_path / "a.jsonl", row))
    assert frame.select("verdict", "reason").row(0) == ("quarantined", reason)
    assert json.loads(frame[0, "body"]) == row
    assert frame["messages"].null_count() == 1


@pytest.mark.parametrize("named", [None, "talk"])
def test_conversations(tmp_path: Path, named: str | None) -> None:
    turns = [
        {"from": "system", "value": "规矩"},
        {"from": "human", "value": "问"},
        {"from": "gpt", "value": "答"},
    ]
    openai = [{"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}]
    path = write(tmp_path / "a.jsonl", {named or "conversations": turns}, {named or "messages": openai})
    frame = samples(path, fields=Fields(messages=named))  # type: ignore[call-arg]
    assert [[turn["role"] for turn in said] for said in frame["messages"]] == [
        ["system", "user", "assistant"],
        ["user", "assistant"],
    ]


def test_samples_in_parquet(tmp_path: Path) -> None:
    pl.DataFrame({"instruction": ["问"], "output": ["答"]}).write_parquet(tmp_path / "a.parquet")
    assert samples(tmp_path / "a.parquet", "parquet")[0, "messages"].to_list()[1]["content"] == "答"
    talk = [{"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}]
    pl.DataFrame({"messages": [talk]}).write_parquet(tmp_path / "b.parquet")
    assert samples(tmp_path / "b.parquet", "parquet")[0, "verdict"] == "kept"
    (tmp_path / "c.html").write_text("<html></html>")
    with pytest.raises(UserError, match="kind html holds no samples"):
        samples(tmp_path / "c.html", "html")


def test_benchmark_layouts(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        {"id": "q1", "question": "哪一种是绿茶？", "options": ["龙井", "滇红"], "answer": "A"},
        {"Question": "x", "question": "哪一种是红茶？", "A": "龙井", "B": "滇红", "Answer": "B"},
        {"question": "几克茶？", "choices": {"text": ["三克", "五克"], "label": ["A", "B"]}},
        {"text": "只有题干"},
        {"stem": "别的名字"},
        b"{broken question",
        b"17",
    )
    frame = read_benchmark(source(path, role="benchmark", fields=Fields()))  # type: ignore[call-arg]
    assert frame.columns == ["id", "text"]
    assert frame["text"].to_list() == [
        "哪一种是绿茶？\n龙井\n滇红",
        "哪一种是红茶？\n龙井\n滇红",
        "几克茶？\n三克\n五克",
        "只有题干",
        "别的名字",
        "{broken question",
        "17",
    ]
    assert frame["id"][0] == "q1"
    assert frame["id"].n_unique() == frame.height


def test_what_a_body_is() -> None:
    assert is_page(b"\xef\xbb\xbf <!-- x -->\n<!DOCTYPE html><html>")
    assert not is_page("文中提到 <html> 标签".encode())
    assert is_binary(b"\x89PNG\r\n")
    assert is_binary(b"abc\0def")
    assert not is_binary("茶".encode("utf-16"))
    assert declared_charset(b'<?xml version="1.0" encoding="Big5"?>') == "big5"
    assert declared_charset(b"plain") is None


def test_ids_are_made_of_source_uri_and_place(tmp_path: Path) -> None:
    frame = documents(
        write(tmp_path / "a.jsonl", {"id": 7, "text": "茶"}, {"text": "水"}, {"id": 7, "text": "雨"})
    )
    places = ["7", *frame["position"].to_list()[1:]]
    assert frame["record_id"].to_list() == [record_id("pool", "a.jsonl", place) for place in places]
    pl.DataFrame({"text": ["茶", "水"]}).write_parquet(tmp_path / "b.parquet")
    ids = documents(tmp_path / "b.parquet", "parquet")["record_id"].to_list()
    assert ids == [record_id("pool", "b.parquet", row) for row in (0, 1)]
