import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest

from curation.settings import Source
from resources.sources import plan_shards


def record(
    uri: str,
    block: bytes,
    kind: str = "response",
    number: int = 0,
    media: str = "application/http; msgtype=response",
) -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {uri}\r\nWARC-Date: 2024-03-0{number % 9 + 1}T08:00:00Z\r\nWARC-Record-ID: <urn:uuid:{number:032d}>\r\nContent-Type: {media}\r\nContent-Length: {len(block)}\r\n\r\n"
    return head.encode() + block + b"\r\n\r\n"


def response(body: bytes, media: str = "text/html", status: str = "200 OK", **headers: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {media}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def page(number: int, words: int = 40) -> bytes:
    text = " ".join(str((number + 1) * 7919 * word % 100_003) for word in range(words))
    return f"<html><body><p>第{number}页：{text}</p></body></html>".encode()


def packed(records: list[bytes], ending: str) -> bytes:
    if ending == ".warc":
        return b"".join(records)
    pack = gzip.compress if ending == ".warc.gz" else lambda one: pa.Codec("zstd").compress(one, asbytes=True)
    return b"".join(map(pack, records))


def test_each_kind_of_record(tmp_path: Path, documents) -> None:
    gbk = '<html><meta charset="gbk"><p>旧网页</p></html>'.encode("gb18030")
    records = [
        record("", b"software: x\r\n", "warcinfo", 0, "application/warc-fields"),
        record("http://a.cn/1", b"GET / HTTP/1.1\r\n\r\n", "request", 1, "application/http; msgtype=request"),
        record("http://a.cn/1", response(gbk, "text/html; charset=GBK"), number=2),
        record("http://a.cn/2", response(gzip.compress(page(2)), Content_Encoding="gzip"), number=3),
        record("http://a.cn/3", response(b"", status="301 Moved", Location="http://a.cn/4"), number=4),
        record("http://a.cn/4", response(b"nothing", status="404 Not Found"), number=5),
        record("http://a.cn/5", response(b"\x89PNG\r\n", "image/png"), number=6),
        record("http://a.cn/6", response(b"\x89PNG\r\n", "text/html"), number=7),
        record("http://a.cn/7", b"", "revisit", 8),
        record("http://a.cn/8", "纯文字".encode(), "conversion", 9, "text/plain"),
    ]
    (tmp_path / "a.warc.gz").write_bytes(packed(records, ".warc.gz"))
    frame = documents(tmp_path, "warc")
    assert frame.select("uri", "reason", "status").rows() == [
        ("http://a.cn/1", None, 200),
        ("http://a.cn/2", None, 200),
        ("http://a.cn/3", "redirected", 301),
        ("http://a.cn/4", "http_error", 404),
        ("http://a.cn/5", "not_text", 200),
        ("http://a.cn/6", "not_text", 200),
        ("http://a.cn/7", "not_text", None),
        ("http://a.cn/8", None, None),
    ]
    assert frame[0, "charset"] == "gbk"
    assert frame[0, "fetched_at"] == "2024-03-03T08:00:00Z"
    assert frame["body"].to_list()[:2] == [gbk, page(2)]
    assert frame[7, "media_type"] == "text/plain"
    assert json.loads(frame[2, "evidence"])["target"] == "http://a.cn/4"


@pytest.mark.parametrize("ending", [".warc", ".warc.gz", ".warc.zst"])
def test_large_archives_are_cut_at_records(tmp_path: Path, documents, ending: str) -> None:
    records = [
        record(f"http://a.cn/{index}", response(page(index, 400)), number=index) for index in range(60)
    ]
    (tmp_path / f"a{ending}").write_bytes(packed(records, ending))
    whole = documents(tmp_path, "warc")
    cut = documents(tmp_path, "warc", shard_bytes=3_000)
    assert whole["body"].to_list() == [page(index, 400) for index in range(60)]
    assert cut["shard"].n_unique() > 10
    assert cut.drop("shard").equals(whole.drop("shard"))


@pytest.mark.parametrize("ending", [".warc.gz", ".warc.zst"])
@pytest.mark.parametrize("size", [10_000_000, 3_000])
def test_a_broken_record_costs_itself_alone(tmp_path: Path, documents, ending: str, size: int) -> None:
    members = [
        packed([record(f"http://a.cn/{index}", response(page(index, 400)), number=index)], ending)
        for index in range(9)
    ]
    members[4] = members[4][:40] + b"\xff" * 600 + members[4][640:]
    (tmp_path / f"a{ending}").write_bytes(b"".join(members))
    frame = documents(tmp_path, "warc", shard_bytes=size)
    kept = frame.filter(frame["reason"].is_null())
    assert kept["uri"].to_list() == [f"http://a.cn/{index}" for index in range(9) if index != 4]
    assert frame["reason"].drop_nulls().to_list() == ["unreadable_file"]


@pytest.mark.parametrize("ending", [".warc", ".warc.gz", ".warc.zst"])
def test_an_archive_that_ends_too_early(tmp_path: Path, documents, ending: str) -> None:
    records = [record(f"http://a.cn/{index}", response(page(index, 400)), number=index) for index in range(3)]
    body = packed(records, ending)
    (tmp_path / f"a{ending}").write_bytes(body[:-700])
    assert documents(tmp_path, "warc")["reason"].to_list() == [None, None, "unreadable_file"]
    (tmp_path / f"a{ending}").write_bytes(b"garbage" * 100)
    assert documents(tmp_path, "warc")["reason"].to_list() == ["unreadable_file"]
    (tmp_path / f"a{ending}").write_bytes(b"")
    assert documents(tmp_path, "warc").is_empty()


def test_an_archive_in_one_gzip_member_is_read_whole(tmp_path: Path, documents) -> None:
    records = [record("http://a.cn/same", response(page(index, 400)), number=0) for index in range(9)]
    (tmp_path / "a.warc.gz").write_bytes(gzip.compress(b"".join(records)))
    source = Source(name="pool", role="document", kind="warc", path=str(tmp_path), shard_bytes=2_000)  # type: ignore[call-arg]
    assert len(plan_shards([source])) == 1
    assert documents(tmp_path, "warc")["body"].to_list() == [page(index, 400) for index in range(9)]


def test_a_page_that_unpacks_without_end_is_too_large(tmp_path: Path, documents) -> None:
    bomb = gzip.compress(b"\0" * 30_000_000)
    records = [
        record("http://a.cn/bomb", response(bomb, Content_Encoding="gzip")),
        record("http://a.cn/ok", response(page(1)), number=1),
    ]
    (tmp_path / "a.warc").write_bytes(packed(records, ".warc"))
    frame = documents(tmp_path, "warc", max_record_bytes=1_000_000)
    assert frame["reason"].to_list() == ["too_large", None]
    assert json.loads(frame[0, "evidence"])["limits"] == {"max_record_bytes": 1_000_000}
