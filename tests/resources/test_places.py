"""Where sources may lie: folders with links, URLs, and what cannot be reached."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import fsspec
import polars as pl
import pytest

from curation.errors import UserError
from curation.settings import Fields, Source, load_profile
from resources.readers import read_documents
from resources.sources import files, plan_shards, version

LINES = [
    json.dumps({"id": str(index), "text": f"第{index}行茶文" * 8}, ensure_ascii=False) for index in range(50)
]


def source(path: str | Path, kind: str = "jsonl", **more: object) -> Source:
    return Source(name="pool", role="document", kind=kind, path=str(path), fields=Fields(id="id"), **more)  # type: ignore[arg-type, call-arg]


def documents(place: Source) -> pl.DataFrame:
    return pl.concat([read_documents(shard) for shard in plan_shards([place])])


@pytest.fixture
def bucket() -> Iterator[str]:
    system, folder = fsspec.filesystem("memory"), f"/{uuid4().hex}"
    system.pipe(f"{folder}/deep/a.jsonl", "\n".join(LINES).encode())
    system.pipe(f"{folder}/b.jsonl", b'{"text": "b"}\n')
    system.pipe(f"{folder}/notes.txt", "随笔".encode())
    yield f"memory:/{folder}"
    system.rm(folder, recursive=True)


def test_a_folder_a_glob_and_a_file_behind_a_url(bucket: str, tmp_path: Path) -> None:
    assert [one.uri for one in files(source(bucket))] == ["b.jsonl", "deep/a.jsonl"]
    assert [one.uri for one in files(source(f"{bucket}/**/*.jsonl"))] == ["b.jsonl", "deep/a.jsonl"]
    assert [one.uri for one in files(source(f"{bucket}/deep/a.jsonl"))] == ["a.jsonl"]
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.jsonl").write_text("\n".join(LINES))
    (tmp_path / "b.jsonl").write_text('{"text": "b"}\n')
    remote, local = (documents(source(place, shard_bytes=1_000)) for place in (bucket, tmp_path))
    assert remote["shard"].n_unique() > 5
    assert remote.equals(local)


def test_other_kinds_behind_a_url(bucket: str, tmp_path: Path) -> None:
    system = fsspec.filesystem("memory")
    folder = bucket.removeprefix("memory:/")
    pl.DataFrame({"text": ["茶"] * 30}).write_parquet(tmp_path / "a.parquet")
    system.pipe(f"{folder}/a.parquet", (tmp_path / "a.parquet").read_bytes())
    assert documents(source(bucket, "parquet", shard_rows=7)).height == 30
    assert documents(source(bucket, "text"))["body"].to_list() == ["随笔".encode()]


def test_the_version_of_a_file_behind_a_url_follows_its_state(bucket: str) -> None:
    (shard,) = plan_shards([source(f"{bucket}/b.jsonl")])
    first = version(shard)
    assert version(shard) == first
    fsspec.filesystem("memory").pipe(f"{bucket.removeprefix('memory:/')}/b.jsonl", b'{"text": "longer"}\n')
    assert version(shard) != first


def test_a_file_behind_http(tmp_path: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    (tmp_path / "a.jsonl").write_text("\n".join(LINES))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}"
        assert documents(source(f"{place}/a.jsonl")).height == 50
        with pytest.raises(UserError, match="source pool: "):
            plan_shards([source(f"{place}/missing.jsonl")])
        server.shutdown()
    (shard,) = plan_shards([source(tmp_path / "a.jsonl")])
    assert read_documents(shard).height == 50


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("memory://nowhere/at/all", "no jsonl file at memory://nowhere/at/all"),
        ("nosuchscheme://a/b.jsonl", "cannot list nosuchscheme://a/b.jsonl"),
    ],
)
def test_places_that_cannot_be_reached_are_one_clear_line(place: str, says: str) -> None:
    with pytest.raises(UserError, match=f"^source pool: {says}") as error:
        plan_shards([source(place)])
    assert "\n" not in str(error.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(
        UserError, match=r"s3:// needs a package that is not installed.*curation-dagster\[s3\]"
    ):
        plan_shards([source("s3://bucket/a.jsonl")])


def test_links_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "deep/real").mkdir(parents=True)
    (tmp_path / "deep/real/a.jsonl").write_text(LINES[0])
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/b.jsonl").write_text(LINES[1])
    os.symlink(tmp_path / "outside", tmp_path / "deep/link")
    os.symlink(tmp_path / "deep", tmp_path / "deep/real/up")
    os.symlink("..", tmp_path / "deep/link/up")
    os.symlink(tmp_path / "deep/real", tmp_path / "deep/again")
    for place in (tmp_path / "deep", tmp_path / "deep/**/*.jsonl"):
        assert [one.uri for one in files(source(place))] == ["link/b.jsonl", "real/a.jsonl"]


def test_a_link_to_itself_is_a_row_that_cannot_be_read(tmp_path: Path) -> None:
    os.symlink("a.jsonl", tmp_path / "a.jsonl")
    os.symlink("gone.jsonl", tmp_path / "b.jsonl")
    (tmp_path / "c.jsonl").write_text(LINES[0])
    frame = documents(source(tmp_path))
    assert frame["reason"].to_list() == ["unreadable_file", "unreadable_file", None]
    (tmp_path / "p.yaml").write_text(
        "lake: lake\nsources: [{name: pool, role: document, kind: jsonl, path: a.jsonl}]\n"
    )
    (place,) = load_profile(tmp_path / "p.yaml").sources
    assert documents(place)["reason"].to_list() == ["unreadable_file"]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "text", "html", "epub", "warc", "wikipedia"])
def test_a_file_that_may_not_be_read_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / "closed"
    path.write_text("x")

    def closed(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", closed)  # root may read all files, so the mode bits prove nothing
    frame = documents(source(path, kind))
    assert frame["reason"].to_list() == ["unreadable_file"]
    assert json.loads(frame[0, "evidence"])["error"] == "Permission denied"


def test_a_folder_that_may_not_be_read_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.jsonl").write_text(LINES[0])
    scan = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert documents(source(tmp_path))["reason"].to_list() == [None, "unreadable_file"]
