import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from curation.errors import UserError

FIELDS = {"id": "id", "title": "title"}


def saved_to_disk(folder: Path, rows: int = 40, each: int = 10) -> None:
    """A dataset folder as `Dataset.save_to_disk` lays it out, with a cache file that is no part of it."""
    folder.mkdir(parents=True)
    table = pa.table(
        {"id": [str(index) for index in range(rows)], "text": [f"第{index}段茶文" for index in range(rows)]}
    )
    for name in ("data-00000-of-00001.arrow", "cache-1f2e.arrow"):
        with pa.OSFile(str(folder / name), "wb") as out, pa.ipc.new_stream(out, table.schema) as stream:
            stream.write_table(table, max_chunksize=each)
    (folder / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]})
    )
    (folder / "dataset_info.json").write_text("{}")


def test_a_saved_dataset_is_read_without_its_caches(tmp_path: Path, documents) -> None:
    saved_to_disk(tmp_path / "set/train")
    saved_to_disk(tmp_path / "set/test", rows=3)
    (tmp_path / "set/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    frame = documents(tmp_path / "set", "huggingface", fields=FIELDS)
    assert frame.height == 43
    assert frame["uri"].unique().sort().to_list() == [
        "test/data-00000-of-00001.arrow",
        "train/data-00000-of-00001.arrow",
    ]
    cut = documents(tmp_path / "set", "huggingface", fields=FIELDS, shard_rows=7)
    assert cut["shard"].n_unique() == 7
    assert cut.drop("shard").equals(frame.drop("shard"))


def test_an_arrow_file_that_breaks_off_keeps_what_comes_before(tmp_path: Path, documents) -> None:
    saved_to_disk(tmp_path / "set")
    file = tmp_path / "set/data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[:-600])
    frame = documents(tmp_path / "set", "huggingface")
    assert 10 < frame.height < 40
    assert frame["reason"].to_list() == [None] * (frame.height - 1) + ["unreadable_file"]


@pytest.mark.parametrize("layout", ["parquet", "jsonl", "csv"])
def test_layouts_of_the_hub(tmp_path: Path, documents, samples, layout: str) -> None:
    rows = pl.DataFrame({"instruction": ["问"], "output": ["答"], "text": ["一段茶文"]})
    (tmp_path / "data").mkdir()
    path = tmp_path / f"data/train-00000-of-00001.{layout}"
    {"parquet": rows.write_parquet, "jsonl": rows.write_ndjson, "csv": rows.write_csv}[layout](path)
    (tmp_path / "README.md").write_text("# 数据集")
    assert documents(tmp_path, "huggingface")[0, "body"].decode() == "一段茶文"
    assert samples(tmp_path, "huggingface")[0, "verdict"] == "kept"


def test_a_folder_without_a_dataset_is_an_error(tmp_path: Path, documents) -> None:
    (tmp_path / "README.md").write_text("# 数据集")
    with pytest.raises(UserError, match="no huggingface file"):
        documents(tmp_path, "huggingface")
    assert documents(tmp_path / "README.md", "huggingface")["reason"].to_list() == ["unreadable_file"]


@pytest.mark.parametrize("odd", [None, b"\xff\xfe", "nested", 3])
def test_many_rows_at_once_come_out_as_one_by_one(tmp_path: Path, documents, odd: object) -> None:
    """A value that needs a closer look sends its batch down the slow path; the others must not differ."""
    page = "\ufeff <!DOCTYPE html><html><p>网页</p></html>"
    texts = ["明前茶", page, "  < 不是网页", "", "<html>"] * 4
    ids = pa.array([str(index) if index % 3 else "" for index in range(20)])
    titles = pa.array([None if index % 4 else f"题{index}" for index in range(20)])
    plain = pa.table({"id": ids, "title": titles, "text": pa.array(texts)})
    path = tmp_path / "a.parquet"
    parquet.write_table(plain, path)
    (tmp_path / "lines").mkdir()
    lines = [json.dumps(row, ensure_ascii=False) for row in plain.to_pylist()]
    (tmp_path / "lines/a.jsonl").write_text("\n".join(lines))
    same = ["native_id", "title", "body", "media_type", "charset", "reason"]
    fast = documents(path, "parquet", fields=FIELDS)
    assert fast.select(same).equals(documents(tmp_path / "lines", "jsonl", fields=FIELDS).select(same))
    kinds = {None: pa.string(), "nested": pa.list_(pa.string()), 3: pa.int64()}
    if odd is None:
        other = pa.array([*texts[:19], None], kinds[None])
    elif odd == b"\xff\xfe":
        other = pa.array([*(text.encode() for text in texts[:19]), odd], pa.binary())
        other = pa.Array.from_buffers(pa.string(), 20, other.buffers())
    else:
        other = pa.array([[text] for text in texts] if odd == "nested" else [3] * 20, kinds[odd])
    parquet.write_table(pa.table({"id": ids, "title": titles, "text": other}), path)
    slow = documents(path, "parquet", fields=FIELDS)
    if odd in (None, b"\xff\xfe"):
        assert slow[:19].select(same).equals(fast[:19].select(same))
        assert slow[19, "reason"] == ("missing_field" if odd is None else "unreadable_text")
    else:
        assert slow["reason"].to_list() == ["unreadable_line"] * 20
