"""Clean, filter and deduplicate a JSONL file: ours beside data-juicer's `dj-process`, each a process of its own.

`DJ_PROCESS` names the program (py-data-juicer in a virtual environment of its own; by default what is on
the PATH). `PIPELINE_TEXT` may name a JSONL file of real text (field `text`); otherwise a file of mixed
quality is made. CPU seconds and the peak memory are those of the process and all that it starts, start-up
and compiled code included.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import yaml

ROWS, ROUNDS = 50_000, 3
#: Rows that are cleaned together: it bounds the memory.
BATCH_ROWS = 4_000

# -- input ----------------------------------------------------------------------------------------

_WHO = [
    "村民",
    "老师",
    "医生",
    "记者",
    "孩子们",
    "工程师",
    "游客",
    "店主",
    "学生",
    "研究人员",
    "司机",
    "农民",
    "护士",
    "导演",
    "居民",
    "志愿者",
    "厨师",
    "律师",
    "教练",
    "管理员",
]
_WHEN = [
    "今年春天",
    "上个月",
    "昨天下午",
    "周末",
    "清晨",
    "去年冬天",
    "雨季到来之前",
    "放学以后",
    "过去十年里",
    "会议结束时",
    "天黑以前",
    "节日期间",
]
_WHERE = [
    "在河边",
    "在图书馆里",
    "在山脚下的小镇",
    "在实验室",
    "在车站附近",
    "在新修的公路旁",
    "在博物馆",
    "在老城区",
    "在学校操场",
    "在海边",
    "在工厂车间",
    "在菜市场",
]
_WHAT = [
    "讨论了水资源的分配",
    "整理出一份详细的记录",
    "修好了坏掉的水泵",
    "种下三百棵杨树",
    "举办了一场小型展览",
    "测量了土壤的湿度",
    "学会了怎样包粽子",
    "发现了一种少见的鸟",
    "比较了两种教学方法",
    "写完了调查报告",
    "准备了第二天的材料",
    "搬走了多年堆积的杂物",
]
_WHY = [
    "因为大家都希望环境能好一些",
    "这让许多人感到意外",
    "不过费用比预想的要高",
    "为的是让下一代了解传统",
    "结果和原先的估计差不多",
    "这个办法后来被别的地方采用",
    "有人提出了不同的意见",
    "经过反复试验才得到确认",
    "他们说这只是开始",
    "其中的道理并不复杂",
    "数据表明情况正在好转",
    "谁也没有想到会这样顺利",
]
_TRADITIONAL = str.maketrans(
    "师医记学这让许为发现种种减较过设时报试验双边东馆书里乡车",
    "師醫記學這讓許為發現種種減較過設時報試驗雙邊東館書裡鄉車",
)


def _sentence(chance: random.Random) -> str:
    parts = [chance.choice(words) for words in (_WHEN, _WHO, _WHERE, _WHAT)]
    number = f"，共{chance.randrange(2, 900)}人参加" if chance.random() < 0.2 else ""
    return "".join(parts) + number + "，" + chance.choice(_WHY) + "。"


def _document(chance: random.Random) -> str:
    paragraphs = ["".join(_sentence(chance) for _ in range(chance.randint(2, 5))) for _ in range(chance.randint(1, 5))]  # fmt: skip
    return "\n".join(paragraphs)


def _spoilt(text: str, earlier: str, chance: random.Random) -> str:
    """One of the ways in which a web text is not plain: about a third of the rows."""
    loud = "♪★◆▲※" * (len(text) // 8)
    ways = (
        (0.06, text.translate(_TRADITIONAL)),
        (0.10, earlier),
        (0.14, earlier[: len(earlier) * 9 // 10] + _sentence(chance)),
        (0.18, text + "\n联系邮箱news@example.com，服务器8.8.4.254，详见https://www.example.com/a?id=1"),
        (0.21, text[:12]),
        (0.24, text[:40] * 8),
        (0.27, text.encode().decode("latin-1")),
        (0.29, loud + text[:30]),
        (0.33, "　　" + text.replace("，", "， \u200b").replace("\n", "\r\n\r\n\r\n")),
        (0.35, "".join(chr(ord(char) + 0xFEE0) if "0" <= char <= "9" else char for char in text)),
    )
    place = chance.random()
    return next((spoilt for limit, spoilt in ways if place < limit), text)


def write_input(path: Path, rows: int, seed: int = 0) -> None:
    """A JSONL file of `rows` Chinese texts of mixed quality, 10 to 1,000 characters each."""
    chance, earlier = (
        random.Random(seed),
        "河边的柳树发了芽，孩子们在草地上放风筝，老人坐在长椅上晒太阳，远处传来钟声。",
    )
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            text = _spoilt(_document(chance), earlier, chance)
            earlier = text if chance.random() < 0.1 else earlier
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


# -- ours -----------------------------------------------------------------------------------------


def curate(source: Path, target: Path) -> None:
    """The project's own functions: normal form, personal data, rules, signatures, duplicates."""
    import polars as pl

    from curation import text
    from curation.corpus import cleaning, duplicates, minhash
    from curation.records import content_hashes
    from curation.settings import CleanSettings, DedupSettings
    from curation.verdicts import KEPT

    clean, dedup = CleanSettings(), DedupSettings(prefer=("length",))  # type: ignore[call-arg]
    parts, done = [], 0
    for batch in pl.scan_ndjson(source, schema={"text": pl.String}).collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):  # fmt: skip
        masked = text.mask_pii(text.normalise(batch["text"])["text"])
        ids = pl.Series([f"{row:08d}" for row in range(done, done + batch.height)], dtype=pl.String)
        done += batch.height
        judged = cleaning.judge_text(pl.DataFrame({"record_id": ids, "text": masked["text"]}), clean)
        kept = judged.filter(KEPT).select("record_id", "text", "n_chars")
        parts.append(
            kept.hstack([content_hashes(kept["text"])]).hstack(minhash.signatures(kept["text"], dedup))
        )
    docs = pl.concat(parts)
    unique = docs.select("text").filter(duplicates.judge_duplicates(docs, dedup)["verdict"] == "kept")
    unique.write_ndjson(target)


# -- data-juicer ----------------------------------------------------------------------------------


def _recipe(source: Path, target: Path) -> dict[str, Any]:
    """The same steps as operators of data-juicer."""
    steps: list[dict[str, Any]] = [
        {"fix_unicode_mapper": {}},
        {"chinese_convert_mapper": {"mode": "t2s"}},
        {"whitespace_normalization_mapper": {}},
        {"clean_email_mapper": {"repl": "<EMAIL>"}},
        {"clean_ip_mapper": {"repl": "<IP>"}},
        {"text_length_filter": {"min_len": 30, "max_len": 200_000}},
        {"special_characters_filter": {"min_ratio": 0.0, "max_ratio": 0.35}},
        {"character_repetition_filter": {"rep_len": 10, "min_ratio": 0.0, "max_ratio": 0.5}},
        {
            "document_minhash_deduplicator": {
                "tokenization": "character",
                "window_size": 5,
                "num_permutations": 128,
                "jaccard_threshold": 0.7,
            }
        },
    ]
    return {
        "project_name": "bench",
        "dataset_path": str(source),
        "export_path": str(target),
        "np": 2,
        "use_cache": False,
        "open_tracer": False,
        "process": steps,
    }


# -- measuring ------------------------------------------------------------------------------------


def _measured(command: list[str], folder: Path) -> dict[str, float]:
    """CPU seconds and peak memory (MB) of a process with its children."""
    log = (folder / "log").open("w")
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=Path(__file__).parents[1])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    log.close()
    if process.returncode:
        sys.exit(f"error: {command[0]} failed:\n" + "\n".join((folder / "log").read_text().splitlines()[-5:]))
    return {"cpu": used.ru_utime + used.ru_stime, "mb": used.ru_maxrss / 1024}


def run() -> dict[str, Any]:
    """CPU seconds and peak memory of both, interleaved, and the medians of their ratios."""
    peer = os.environ.get("DJ_PROCESS") or shutil.which("dj-process")
    if not peer:
        sys.exit("error: dj-process is not found; name it in DJ_PROCESS (pip install py-data-juicer, in a venv of its own)")  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = Path(os.environ.get("PIPELINE_TEXT") or folder / "in.jsonl")
        if not source.exists():
            write_input(source, ROWS)
        ours, theirs, recipe = folder / "ours.jsonl", folder / "theirs" / "out.jsonl", folder / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(_recipe(source, theirs)))
        pairs = [
            (
                _measured([sys.executable, "-m", "bench.pipeline", str(source), str(ours)], folder),
                _measured([peer, "--config", str(recipe)], folder),
            )
            for _ in range(ROUNDS)
        ]
        kept = [sum(1 for _ in file.open("rb")) for file in (ours, theirs)]
    return {
        "rows": ROWS,
        "ours_kept": kept[0],
        "data_juicer_kept": kept[1],
        "ours_cpu_seconds": round(median(one["cpu"] for one, _ in pairs), 2),
        "data_juicer_cpu_seconds": round(median(two["cpu"] for _, two in pairs), 2),
        "ratio": round(median(two["cpu"] / one["cpu"] for one, two in pairs), 1),
        "ours_peak_mb": round(max(one["mb"] for one, _ in pairs)),
        "data_juicer_peak_mb": round(max(two["mb"] for _, two in pairs)),
    }


if __name__ == "__main__":
    curate(Path(sys.argv[1]), Path(sys.argv[2]))
