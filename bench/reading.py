"""Reading and cleaning a large JSONL file: peak memory and speed; and reading beside plain Python.

`READING_BYTES` sets the size of the generated file (default 5 GB). The stages `raw_crawl` and
`clean_docs` work through its shards in one process of their own, so that its peak is theirs. Plain Python
reads the first lines of the same file one by one with `json` and makes the same columns of them.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from bench.measure import compare, timed
from curation.records import record_id
from curation.settings import Fields, Profile, Source

BYTES, LINES, ROUNDS = int(os.environ.get("READING_BYTES", "5_000_000_000")), 77_000, 3
_PARTS = (
    ("这家茶园", "镇上的医院", "实验小组", "图书馆", "老师傅", "施工队", "那位编辑", "气象台"),
    ("今年春天", "上个月底", "昨天下午", "去年冬天", "这个周末", "节后第一天", "清晨六点", "雨停以后"),
    ("把新采的样品", "将整理好的记录", "把修好的设备", "将一批旧书", "把三份报告", "将收到的来信", "把测量结果", "将剩下的材料"),
    ("送到了县里", "登记在册", "分给了大家", "放回了仓库", "寄给了合作单位", "公布在墙上", "交给了下一班", "重新核对了一遍"),
)  # fmt: skip


def write_lines(path: Path, size: int) -> None:
    """A JSONL file of at least `size` bytes: an id, a title, and some paragraphs of Chinese sentences."""
    random = np.random.default_rng(0)
    written = number = 0
    with path.open("w", encoding="utf-8") as out:
        while written < size:
            picks = random.integers(0, 8, (1_000, 24, 4))
            figures = random.integers(1, 10_000, (1_000, 24))
            for rows, counts in zip(picks.tolist(), figures.tolist(), strict=True):
                text = "\n".join(
                    f"{''.join(part[at] for part, at in zip(_PARTS, row, strict=True))}，一共{count}件。"
                    for row, count in zip(rows, counts, strict=True)
                )
                line = json.dumps(
                    {"id": f"doc-{number}", "title": text[:12], "text": text}, ensure_ascii=False
                )
                written += len(line.encode()) + 1
                number += 1
                out.write(line + "\n")


def _source(path: Path, kind: str = "jsonl") -> Source:
    fields = Fields(id="id", title="title")  # type: ignore[call-arg]
    return Source(name="crawl", role="document", kind=kind, path=str(path), fields=fields)  # type: ignore[arg-type, call-arg]


def run_stages(path: Path, lake_folder: Path) -> dict[str, Any]:
    """`raw_crawl` and `clean_docs` shard by shard, as a run of the graph writes them."""
    import assets
    from assets.stage import STAGES, Run
    from resources.lake import Draft, Lake, Stamp
    from resources.sources import plan_shards

    assets.load()
    lake = Lake(root=str(lake_folder))
    profile = Profile(name="reading", lake=str(lake_folder), sources=(_source(path),))  # type: ignore[call-arg]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    shards = plan_shards(profile.sources)
    rows = {"raw_crawl": 0, "clean_docs": 0}
    seconds = dict.fromkeys(rows, 0.0)
    for name in rows:
        stage = STAGES[name]
        for shard in shards:
            begun = time.process_time()
            frames = {other: lake.scan(other, [shard.key]) for other in stage.loaded}
            run = Run("run", 0, profile, lake, name)
            written = lake.write(Draft(stage.execute(shard.key, frames, run, {}), Stamp(name, shard.key)))
            rows[name] += written.counts["kept"]
            seconds[name] += time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "shards": len(shards),
        "kept": rows,
        "mb_per_cpu_second": {
            name: round(path.stat().st_size / 1e6 / used, 1) for name, used in seconds.items()
        },
        "imports_mb": round(before / 1024),
        "peak_rss_mb": round(peak / 1024),
    }


def _ours(source: Source) -> pl.DataFrame:
    from resources.readers import read_documents
    from resources.sources import plan_shards

    return pl.concat([read_documents(shard) for shard in plan_shards([source])])


def _plain(path: Path) -> pl.DataFrame:
    """Rows of a JSONL file with `json`, in the columns that matter of ours."""
    rows, at = [], 0
    with path.open("rb") as lines:
        for line in lines:
            found = json.loads(line)
            rows.append(
                {
                    "record_id": record_id("crawl", path.name, found["id"]),
                    "uri": path.name,
                    "position": at,
                    "native_id": found["id"],
                    "title": found["title"],
                    "body": found["text"].encode(),
                    "evidence": json.dumps({"bytes": len(line)}),
                }
            )
            at += len(line)
    return pl.DataFrame(rows)


def run() -> dict[str, Any]:
    """Peak memory and MB/s of both stages on the whole file; CPU seconds of reading its first lines."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        big, small, table = folder / "big.jsonl", folder / "small.jsonl", folder / "small.parquet"
        write_lines(big, BYTES)
        command = [sys.executable, "-m", "bench.reading", str(big), str(folder / "lake")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        with big.open("rb") as lines, small.open("wb") as out:
            out.writelines(islice(lines, LINES))
        pl.read_ndjson(small).write_parquet(table)
        same = (
            _ours(_source(small))
            .select("record_id", "body", "position")
            .equals(_plain(small).select("record_id", "body", "position"))
        )
        seconds, _, _ = compare(lambda: _ours(_source(small)), lambda: _plain(small), "python", ROUNDS)
        parquet = median(timed(lambda: _ours(_source(table, "parquet")))[0] for _ in range(ROUNDS))
        return {
            "bytes": big.stat().st_size,
            **json.loads(done.stdout),
            "read": {
                "lines": LINES,
                "same_rows": same,
                **seconds,
                "parquet_cpu_seconds": round(parquet, 3),
            },
        }


if __name__ == "__main__":
    print(json.dumps(run_stages(Path(sys.argv[1]), Path(sys.argv[2]))))
