"""Files that would break a careless reader: each ends with a quarantined row or a clear error."""

import gzip
import json
import tracemalloc
from pathlib import Path

import polars as pl
import pytest

from curation.corpus.cleaning import clean_all
from curation.errors import UserError
from curation.settings import CleanSettings, Source
from curation.verdicts import conservation
from resources import streams
from resources.readers import read_documents
from resources.sources import plan_shards


def read(path: Path, kind: str = "jsonl", **more: object) -> pl.DataFrame:
    source = Source(name="pool", role="document", kind=kind, path=str(path), **more)  # type: ignore[arg-type, call-arg]
    return pl.concat([read_documents(shard) for shard in plan_shards([source])])


ARTICLE = (
    "龙井茶产于杭州西湖一带，以色绿、香郁、味甘、形美著称。每年清明之前采摘的嫩芽叫作明前茶，数量很少，价格也最高。"
    "炒制的时候，师傅用手在锅里翻压茶叶，火候全凭多年的经验。"
)
GOOD = json.dumps({"text": "明前龙井，清香甘醇。"}, ensure_ascii=False).encode()


def test_a_line_of_200_mb_is_never_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as out:
        out.write(GOOD + b'\n{"text": "')
        for _ in range(200):
            out.write(b"x" * 1_000_000)
        out.write(b'"}\n' + GOOD + b"\n")
    tracemalloc.start()
    frame = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert frame["reason"].to_list() == [None, "too_large", None]
    noted = json.loads(frame[1, "evidence"])
    assert (noted["bytes"], noted["line"]) == (200_000_012, 2)
    assert frame[2, "position"] == len(GOOD) + 1 + 200_000_013
    assert peak < 100_000_000


@pytest.mark.parametrize("kind", ["csv", "text", "html", "wikipedia"])
def test_records_of_other_kinds_are_bounded_too(tmp_path: Path, kind: str) -> None:
    heads = {"csv": "id,text\n1,", "html": "<html><p>", "wikipedia": "<mediawiki><page><text>", "text": ""}
    (tmp_path / "a").write_text(heads[kind] + "x" * 3_000_000)
    frame = read(tmp_path / "a", kind, max_record_bytes=1_000_000)
    assert frame["reason"].to_list() == ["too_large"]
    assert frame[0, "body"] is None


@pytest.mark.parametrize("ending", ["gz", "bz2", "zst"])
def test_a_packed_file_may_not_unpack_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    import bz2

    import pyarrow as pa

    monkeypatch.setattr(streams, "_FREE_BYTES", 200_000)
    monkeypatch.setattr(streams, "BLOCK", 1 << 16)
    pack = {
        "gz": gzip.compress,
        "bz2": bz2.compress,
        "zst": lambda raw: pa.Codec("zstd").compress(raw, asbytes=True),
    }
    path = tmp_path / f"a.jsonl.{ending}"
    path.write_bytes(pack[ending]((GOOD + b"\n") * 3 + b"{}\n" * 300_000))
    frame = read(path, max_unpacked_ratio=2)
    assert frame["reason"].to_list()[:3] == [None] * 3
    assert frame["reason"].to_list()[-1] == "unreadable_file"
    assert 20_000 < frame.height < 200_000
    assert "max_unpacked_ratio 2" in frame[-1, "evidence"]


@pytest.mark.parametrize("ending", ["gz", "bz2", "zst"])
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_truncated_file_keeps_what_comes_before(tmp_path: Path, kind: str, ending: str) -> None:
    import bz2

    import pyarrow as pa

    pack = {
        "gz": gzip.compress,
        "bz2": bz2.compress,
        "zst": lambda raw: pa.Codec("zstd").compress(raw, asbytes=True),
    }
    numbers = [index * 7919 % 100_003 for index in range(60_000)]
    lines = [f'{{"text": "{n}茶"}}' if kind == "jsonl" else f"{n},{n}茶" for n in numbers]
    whole = pack[ending]("\n".join((["id,text"] if kind == "csv" else []) + lines).encode())
    (tmp_path / f"a.{kind}.{ending}").write_bytes(whole[: len(whole) * 3 // 4])
    frame = read(tmp_path / f"a.{kind}.{ending}", kind)
    assert frame["reason"].to_list() == [None] * (frame.height - 1) + ["unreadable_file"]
    assert frame.height > 20_000 or ending == "bz2"


def test_nul_bytes_and_invalid_utf8_cost_their_line(tmp_path: Path) -> None:
    bad = [b"\x00" * 500, b'{"text": "\xff\xfe\xfa"}', b'{"text": "a\x00b"}', b"\xef\xbf"]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([GOOD, *bad, GOOD]))
    frame = read(tmp_path / "a.jsonl")
    assert frame["reason"].to_list() == [None, *["unreadable_line"] * 4, None]
    assert frame["body"].to_list()[1:5] == bad


def test_json_nested_without_end_costs_its_line(tmp_path: Path) -> None:
    deep = b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([deep, b'{"text": {"zh": ["a"]}}', GOOD]))
    assert read(tmp_path / "a.jsonl")["reason"].to_list() == ["unreadable_line", "unreadable_line", None]


@pytest.mark.parametrize(
    "kind", ["jsonl", "csv", "wikipedia", "warc", "parquet", "huggingface", "epub", "text", "html"]
)
@pytest.mark.parametrize("body", [b"", b"\x00" * 5_000, b"\xff" * 5_000], ids=["empty", "nul", "ff"])
def test_no_file_crashes_a_reader(tmp_path: Path, kind: str, body: bytes) -> None:
    name = "a.parquet" if kind == "huggingface" else "a"
    (tmp_path / name).write_bytes(body)
    if (kind, body[:1]) == (
        "csv",
        b"\xff",
    ):  # a header that can be read, but is not the one that is asked for
        with pytest.raises(UserError, match="a has no column 'text'"):
            read(tmp_path / name, kind)
        return
    frame = read(tmp_path / name, kind)
    assert conservation("source", None, frame.lazy()).ok
    assert not frame.filter(frame["reason"].is_null() & (frame["body"].bin.size() > 0)).height or kind in (
        "text",
        "html",
    )


@pytest.mark.parametrize(
    "page",
    [
        "<html><body>" + "<div>" * 10_000 + "深处的一句话。" + "</div>" * 10_000 + "</body></html>",
        "<html><body>" + "<b><table><tr><td>" * 3_000,
        "<html>" + "<" * 100_000,
        "<html><body><p>" + "&#0;&#x110000;\u0000" * 1_000,
    ],
    ids=["nested", "open", "angles", "entities"],
)
def test_a_hostile_page_is_read_and_cleaned_or_refused(tmp_path: Path, page: str) -> None:
    (tmp_path / "a.html").write_text(page)
    (tmp_path / "b.html").write_text(f"<html><body><p>{ARTICLE}</p></body></html>")
    cleaned = clean_all(read(tmp_path, "html"), CleanSettings())  # type: ignore[call-arg]
    assert cleaned.height == 2
    assert cleaned.filter(pl.col("uri") == "b.html")["verdict"].to_list() == ["kept"]


def test_a_page_of_50_mb_is_refused_and_costs_itself_alone(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes(b"<html><body>" + b"<p>tea and more tea</p>" * 2_200_000)
    (tmp_path / "b.html").write_text("<html><body><p>明前龙井</p></body></html>")
    frame = read(tmp_path, "html")
    assert frame["reason"].to_list() == ["too_large", None]
    assert json.loads(frame[0, "evidence"])["bytes"] > 50_000_000
