"""Clean, filter and deduplicate a JSONL file: ours beside data-juicer's `dj-process`, each a process of its own.

`DJ_PROCESS` names the program (py-data-juicer in a virtual environment of its own; by default what is on
the PATH). `PIPELINE_TEXT` may name a JSONL file of real text (field `text`); otherwise a file of mixed
quality is made. CPU seconds and the peak memory are those of the process and all that it starts, start-up
and compiled code included.
"""

from __future__ import annotations

import itertools
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
BATCH_ROWS = 2_000

# -- input ----------------------------------------------------------------------------------------

_GLUE = "的了在是和有就也都而与及对把被让从到为这那其中并但因如果还要能会可以已经没有不过然后所以虽然"
_TRADITIONAL = str.maketrans(
    "国时来会学这说对发经开过长见书车门问间东", "國時來會學這說對發經開過長見書車門問間東"
)


def _words() -> tuple[list[str], list[int]]:
    """The words of jieba's dictionary that texts of it use, and how often."""
    import jieba

    jieba.initialize()
    counts = {word: count for word, count in jieba.dt.FREQ.items() if count >= 20 and len(word) > 1}
    return list(counts), list(itertools.accumulate(counts.values()))


def _sentence(chance: random.Random, words: tuple[list[str], list[int]]) -> str:
    chosen = chance.choices(words[0], cum_weights=words[1], k=chance.randint(4, 12))
    glued = [word + (chance.choice(_GLUE) if chance.random() < 0.5 else "") for word in chosen]
    cut = chance.randrange(len(glued))
    return "".join(glued[:cut]) + "，" * (cut > 0) + "".join(glued[cut:]) + chance.choice("。。。！？")


def _document(chance: random.Random, words: tuple[list[str], list[int]]) -> str:
    paragraphs = [[_sentence(chance, words) for _ in range(chance.randint(2, 6))] for _ in range(chance.randint(1, 6))]  # fmt: skip
    return "\n".join("".join(sentences) for sentences in paragraphs)


def _spoilt(text: str, earlier: str, chance: random.Random) -> str:
    """One of the ways in which a web text is not plain: about a third of the rows."""
    loud = "♪★◆▲※" * (len(text) // 8)
    ways = (
        (0.06, text.translate(_TRADITIONAL)),
        (0.10, earlier),
        (0.14, earlier[: len(earlier) * 19 // 20] + "……"),
        (0.18, text + "\n联系邮箱news@example.com，服务器8.8.4.254，详见https://www.example.com/a?id=1"),
        (0.21, text[:12]),
        (0.24, text[:40] * 8),
        (0.245, text.encode().decode("latin-1")),
        (0.29, loud + text[:30]),
        (0.33, "　　" + text.replace("，", "， \u200b").replace("\n", "\r\n\r\n\r\n")),
        (0.35, "".join(chr(ord(char) + 0xFEE0) if "0" <= char <= "9" else char for char in text)),
    )
    place = chance.random()
    return next((spoilt for limit, spoilt in ways if place < limit), text)


def write_input(path: Path, rows: int, seed: int = 0) -> None:
    """A JSONL file of `rows` Chinese texts of mixed quality, 10 to 1,000 characters each."""
    chance, words = random.Random(seed), _words()
    earlier = "河边的柳树发了芽，孩子们在草地上放风筝，老人坐在长椅上晒太阳，远处传来钟声。"
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            text = _spoilt(_document(chance, words), earlier, chance)
            earlier = text if chance.random() < 0.1 else earlier
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


# -- ours -----------------------------------------------------------------------------------------


def curate(source: Path, target: Path) -> None:
    """The project's own functions: normal form, personal data, rules, signatures, duplicates.

    As in the graph, clean texts lie on disk, and of the duplicates only those that must be compared are
    read again.
    """
    import polars as pl

    from curation import text
    from curation.corpus import cleaning, duplicates, minhash
    from curation.records import content_hashes
    from curation.settings import CleanSettings, DedupSettings
    from curation.verdicts import KEPT

    # the rules that data-juicer has under another name; the others are off
    others = ("max_digit_share", "max_punctuation_share", "max_repeated_lines", "max_garble", "max_markup")
    off = dict.fromkeys((*others, "max_debris", "max_spam", "max_offence", "languages"))
    clean, dedup = CleanSettings(**off), DedupSettings(prefer=("length",))  # type: ignore[arg-type,call-arg]

    def cleaned(lines: list[bytes], first: int, shard: Path) -> pl.DataFrame:
        texts = pl.read_ndjson(b"".join(lines), schema={"text": pl.String})["text"]
        ids = pl.Series([f"{row:08d}" for row in range(first, first + len(texts))], dtype=pl.String)
        masked = text.mask_pii(text.normalise(texts)["text"])["text"]
        judged = cleaning.judge_text(pl.DataFrame({"record_id": ids, "text": masked}), clean)
        kept = judged.filter(KEPT).select("record_id", "text", "n_chars")
        kept.select("record_id", "text").write_parquet(shard, compression="lz4")
        signed = minhash.signatures(kept["text"], dedup).drop("signature")
        return kept.drop("text").hstack([content_hashes(kept["text"])]).hstack(signed)

    parts, done = [], 0
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        with source.open("rb") as file:
            while lines := list(itertools.islice(file, BATCH_ROWS)):
                parts.append(cleaned(lines, done, Path(folder) / f"{done:08d}.parquet"))
                done += len(lines)
        texts = pl.scan_parquet(Path(folder) / "*.parquet")
        judged, _ = duplicates.judge_further(pl.concat(parts), texts, dedup)
        unique = judged.lazy().filter(KEPT).select("record_id")
        texts.join(unique, on="record_id", how="semi", maintain_order="left").select("text").sink_ndjson(
            target
        )


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
