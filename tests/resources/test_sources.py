import os
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.errors import UserError
from curation.settings import Source
from resources import sources
from resources.sources import MAX_SHARDS, plan_shards, shard_files, version

KEY = re.compile(r"[A-Za-z0-9._~-]{1,120}")


def source(path: Path | str, kind: str = "jsonl", **more: object) -> Source:
    return Source(name="pool", role="document", kind=kind, path=str(path), **more)  # type: ignore[arg-type]


def lines(path: Path, shard: sources.Shard) -> list[bytes]:
    return path.read_bytes()[shard.start : shard.stop].splitlines()


def test_small_file_is_one_shard_named_as_the_source(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "茶"}\n')
    (only,) = plan_shards([source(tmp_path / "a.jsonl")])
    assert (only.key, only.start, only.stop) == ("pool", 0, None)


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(0, 900), min_size=1, max_size=60), end=st.booleans())
def test_slices_hold_every_line_once(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], end: bool
) -> None:
    path = tmp_path_factory.mktemp("slices") / "a.jsonl"
    written = [b"x" * length + b"%d" % index for index, length in enumerate(lengths)]
    path.write_bytes(b"\n".join(written) + (b"\n" if end else b""))
    shards = plan_shards([source(path, shard_bytes=1_000)])
    assert [line for shard in shards for line in lines(path, shard)] == written
    assert len({shard.key for shard in shards}) == len(shards)
    assert all(KEY.fullmatch(shard.key) for shard in shards)


def test_appending_leaves_earlier_slices_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(b"%0100d\n" % index for index in range(95)))
    before = {shard.key: version(shard) for shard in plan_shards([source(path, shard_bytes=2_000)])}
    with path.open("ab") as file:
        file.write(b"".join(b"%0100d\n" % index for index in range(50)))
    after = {shard.key: version(shard) for shard in plan_shards([source(path, shard_bytes=2_000)])}
    assert len(before) == 5
    assert len(after) == 8
    assert [key for key in before if before[key] != after[key]] == ["pool~a.jsonl~4"]


def test_there_are_never_more_shards_than_the_limit(tmp_path: Path) -> None:
    big = tmp_path / "big.jsonl"
    big.write_bytes(b"0123456789\n" * 50_000)
    many = tmp_path / "many"
    many.mkdir()
    for index in range(300):
        (many / f"{index:03d}.jsonl").write_text('{"text": "茶"}\n')
    shards = plan_shards([source(big, shard_bytes=1_000), source(many).model_copy(update={"name": "many"})])
    assert len(shards) <= MAX_SHARDS
    assert sum(len(lines(big, shard)) for shard in shards if shard.source.name == "pool") == 50_000
    grouped = [file.uri for shard in shards if shard.source.name == "many" for file in shard_files(shard)]
    assert grouped == [f"{index:03d}.jsonl" for index in range(300)]


def test_parquet_is_cut_by_rows(tmp_path: Path) -> None:
    pl.DataFrame({"text": ["茶"] * 25}).write_parquet(tmp_path / "a.parquet")
    shards = plan_shards([source(tmp_path / "a.parquet", "parquet", shard_rows=10)])
    assert [(shard.start, shard.stop) for shard in shards] == [(0, 10), (10, 20), (20, None)]


def test_html_files_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "HTML_FILES", 2)
    for name in ("c.html", "b/x.HTM", "a.html", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("<html></html>")
    shards = plan_shards([source(tmp_path, "html")])
    assert [[file.uri for file in shard_files(shard)] for shard in shards] == [
        ["a.html", "b/x.HTM"],
        ["c.html"],
    ]
    assert [shard.key for shard in shards] == ["pool~~0", "pool~~1"]


def test_uris_do_not_change_when_the_folder_moves(tmp_path: Path) -> None:
    (tmp_path / "one/deep").mkdir(parents=True)
    (tmp_path / "one/deep/a.jsonl").write_text("{}\n")
    (tmp_path / "one/b.jsonl.gz").write_bytes(b"")
    before = [file.uri for file in sources.files(source(tmp_path / "one"))]
    os.rename(tmp_path / "one", tmp_path / "two")
    assert (
        [file.uri for file in sources.files(source(tmp_path / "two"))]
        == before
        == ["b.jsonl.gz", "deep/a.jsonl"]
    )
    assert [file.uri for file in sources.files(source(tmp_path / "two/**/*.jsonl"))] == ["deep/a.jsonl"]


@pytest.mark.parametrize(
    "names",
    [
        ["春茶.jsonl", "夏茶.jsonl"],
        ["a b.jsonl", "a-b.jsonl"],
        ["x" * 90 + ".jsonl", "x" * 91 + ".jsonl"],
        ["a~0.jsonl", "a.jsonl"],
    ],
)
def test_odd_file_names_make_safe_and_different_keys(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text('{"text": "茶"}\n')
    keys = [shard.key for shard in plan_shards([source(tmp_path)])]
    assert len(set(keys)) == 2
    assert all(KEY.fullmatch(key) for key in keys)


@pytest.mark.parametrize("path", ["missing.jsonl", "*.jsonl", "."])
def test_nothing_there_is_an_error_that_names_source_and_path(tmp_path: Path, path: str) -> None:
    with pytest.raises(UserError, match=r"source pool: no jsonl file at .*") as error:
        plan_shards([source(tmp_path / path)])
    assert str(tmp_path) in str(error.value)


def test_version_follows_the_bytes_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("一\n")
    (shard,) = plan_shards([source(path)])
    first = version(shard)
    os.utime(path, ns=(1, 1))
    assert version(shard) == first
    path.write_text("二\n")
    os.utime(path, ns=(2, 2))
    assert version(shard) != first


def test_version_of_a_website_follows_its_settings() -> None:
    site = Source(name="site", role="document", kind="web", urls=("https://example.com/",))  # type: ignore[call-arg]
    deeper = site.model_copy(update={"crawl": site.crawl.model_copy(update={"max_depth": 3})})
    (one,), (two,) = plan_shards([site]), plan_shards([deeper])
    assert one.key == two.key == "site"
    assert version(one) == version(plan_shards([site])[0]) != version(two)


def test_a_broken_parquet_file_still_has_a_shard_and_a_version(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    (shard,) = plan_shards([source(tmp_path / "a.parquet", "parquet")])
    assert len(version(shard)) == 32
