import csv
import io
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.errors import UserError
from curation.settings import Fields, Source
from resources.readers import read_documents
from resources.sources import plan_shards

FIELDS = {"id": "id", "title": "title"}


def texts(frame: pl.DataFrame) -> list[str | None]:
    return [None if reason else body.decode() for body, reason in frame.select("body", "reason").iter_rows()]


def table(*rows: list[str], separator: str = ",") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows([["id", "title", "text"], *rows])
    return out.getvalue()


def test_a_record_is_a_row_and_its_position_the_byte_where_it_starts(tmp_path: Path, documents) -> None:
    written = table(["1", "龙井", "明前茶，\n雨前茶"], ["2", "", 'a "quoted" word'])
    (tmp_path / "a.csv").write_text(written)
    frame = documents(tmp_path, "csv", fields=FIELDS)
    assert texts(frame) == ["明前茶，\n雨前茶", 'a "quoted" word']
    assert frame["native_id"].to_list() == ["1", "2"]
    assert frame["position"].to_list() == [14, written.encode().index(b"2,")]


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "gb18030", "big5", "utf-16"])
def test_separators_and_character_sets(tmp_path: Path, documents, separator: str, charset: str) -> None:
    body = "春天的山上種滿了茶樹，農民一早就上山採茶，到了下午茶葉便可以開始炒製。"
    rows = [[str(index), "採茶", body] for index in range(5)]
    (tmp_path / "a.tsv").write_bytes(table(*rows, separator=separator).encode(charset))
    assert texts(documents(tmp_path, "csv", fields=FIELDS)) == [body] * 5


@pytest.mark.parametrize("charset", ["gb18030", "utf-16"])
def test_large_files_in_any_character_set_are_cut(tmp_path: Path, documents, charset: str) -> None:
    body = "春天的山上种满了茶树，\n农民一早就上山采茶。"
    rows = [[str(index), "采茶", body] for index in range(200)]
    (tmp_path / "a.csv").write_bytes(table(*rows).encode(charset))
    whole = documents(tmp_path, "csv", fields=FIELDS)
    cut = documents(tmp_path, "csv", fields=FIELDS, shard_bytes=1_000)
    assert texts(whole) == [body] * 200
    assert cut["shard"].n_unique() > 5
    assert cut.drop("shard").equals(whole.drop("shard"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('2,乙,"引号没有收尾', "does not end"),
        ('2,乙,"引号"之后还有字', "expected after"),
        ("2,乙", "2 fields for 3 columns"),
        ("2,乙,丙,丁", "4 fields for 3 columns"),
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_a_broken_record_is_quarantined_alone(
    tmp_path: Path, documents, line: str, says: str, last: bool
) -> None:
    after = [] if last else ['3,丙,"两行\n的字段"', "4,丁,下一行"]
    (tmp_path / "a.csv").write_text("\n".join(["id,title,text", "1,甲,好的一行", line, *after]))
    frame = documents(tmp_path, "csv", fields=FIELDS)
    assert texts(frame) == ["好的一行", None, *([] if last else ["两行\n的字段", "下一行"])]
    bad = frame.row(1, named=True)
    assert (bad["reason"], bad["body"].decode()) == ("unreadable_line", line)
    assert last or says in json.loads(bad["evidence"])["error"]


def test_bytes_that_are_no_text_cost_their_line(tmp_path: Path, documents) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,text\n1,\xff\xfe\xfa\n2," + "茶".encode() + b"\n3,a\0b\n")
    frame = documents(tmp_path, "csv")
    assert frame["reason"].to_list() == ["unreadable_text", None, None]


def test_a_header_that_is_none_is_a_row_that_cannot_be_read(tmp_path: Path, documents) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,text\r1,a\r2,b")
    assert documents(tmp_path, "csv")["reason"].to_list() == ["unreadable_text"]


def test_a_missing_column_is_an_error_and_an_empty_file_none(tmp_path: Path, documents) -> None:
    (tmp_path / "a.csv").write_text("")
    assert documents(tmp_path, "csv").is_empty()
    (tmp_path / "a.csv").write_text("id,content\n1,茶\n")
    with pytest.raises(UserError, match=r"a.csv has no column 'text'; allowed: id, content"):
        documents(tmp_path, "csv")


def test_samples(tmp_path: Path, samples) -> None:
    (tmp_path / "a.csv").write_text("instruction,input,output\n翻译,tea,茶\n")
    assert samples(tmp_path, "csv")[0, "messages"].to_list()[0]["content"] == "翻译\ntea"


CELL = st.text(st.sampled_from('ab",\n茶\r'), max_size=60)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(CELL, CELL), max_size=40), breaks=st.lists(st.integers(0, 3_000), max_size=3))
def test_cutting_changes_no_row_not_even_of_a_broken_file(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], breaks: list[int]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    body = bytearray(table(*(["x" * 60, *row] for row in rows)).encode())
    for at in breaks:
        if 14 < at < len(body) and body[at] < 128:
            body[at] = ord('"')
    path.write_bytes(bytes(body))

    def read(size: int) -> pl.DataFrame:
        source = Source(
            name="pool", role="document", kind="csv", path=str(path), shard_bytes=size, fields=Fields(id="id")
        )  # type: ignore[call-arg]
        return pl.concat([read_documents(shard) for shard in plan_shards([source])]).drop("shard")

    whole = read(1_000_000)
    assert read(1_000).equals(whole)
    assert whole["record_id"].is_unique().all()
    if not breaks:
        assert (
            whole.filter(pl.col("reason").is_null()).height
            >= sum(any(row) for row in rows) - whole["reason"].count()
        )
