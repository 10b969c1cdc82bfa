"""Near duplicates among Chinese documents: ours beside rensa and datasketch, each in a process of its own.

`python -m bench.dedup [--texts FILE] [--peers PYTHON] [--rows N ...]`, or the environment variables
BENCH_TEXTS and BENCH_PEERS. FILE is a Parquet with a column `text`, real texts for choice; without it
texts are generated. PYTHON is an interpreter with rensa, datasketch and pyarrow; a peer that it lacks is
left out. Each corpus holds the texts themselves first and then lightly changed copies of them, in a
proportion that is the same for every size.

What is measured is what the stages `signatures` and `unique_docs` call, on what `clean_docs` hands them
(ids and content hashes are made beforehand): CPU seconds and peak memory of the whole process, start
and reading included, for us and for the peers alike.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import numpy as np
import polars as pl

from curation.corpus import duplicates, minhash
from curation.records import content_hashes, record_id
from curation.settings import DedupSettings

SETTINGS = DedupSettings()  # type: ignore[call-arg]
#: Rows of one shard, and the largest corpus for which texts are laid out.
SHARD, MOST = 50_000, 1_000_000
#: datasketch is so much slower that it is shown on a smaller corpus.
SMALL = 20_000
_PEERS = Path(__file__).with_name("dedup_peers.py")
_PREFIXES = ("转载：", "【原创】", "小编提示：", "来源：网络。", "更新：")


# -- corpora --------------------------------------------------------------------------------------


def generated(rows: int, seed: int = 0) -> list[str]:
    """Texts of some 200 characters, in words of one to three characters that are as uneven as real ones."""
    random = np.random.default_rng(seed)
    words = [
        "".join(map(chr, random.integers(0x4E00, 0x5E00, size))) for size in random.integers(1, 4, 30_000)
    ]
    drawn = np.minimum(random.zipf(1.15, (rows, 100)) - 1, random.integers(0, len(words), (rows, 100)))
    return ["".join(words[place] for place in row) for row in drawn]


def changed(text: str, random: np.random.Generator) -> str:
    """A copy with one light change: characters replaced, a stretch left out, or a note put before it."""
    kind, place = random.integers(3), int(random.integers(max(len(text), 1)))
    if kind == 0:
        for spot in random.integers(0, max(len(text), 1), 1 + len(text) // 100):
            text = text[:spot] + chr(random.integers(0x4E00, 0x5E00)) + text[spot + 1 :]
        return text
    if kind == 1:
        return text[:place] + text[place + 1 + len(text) // 20 :]
    return _PREFIXES[random.integers(len(_PREFIXES))] + text


def corpus(rows: int, originals: list[str], file: Path, seed: int = 0) -> None:
    """Write `rows` documents as `clean_docs` hands them on: originals, then changed copies of these."""
    random = np.random.default_rng(seed)
    own = originals[: max(1, round(rows * min(1.0, len(originals) / MOST)))][:rows]
    copied = random.integers(0, len(own), rows - len(own))
    texts = pl.Series("text", own + [changed(own[place], random) for place in copied])
    frame = pl.DataFrame(
        {"record_id": [record_id("bench", "texts", row) for row in range(rows)], "text": texts}
    ).with_columns(
        content_hashes(texts), n_chars=texts.str.len_chars(), quality=pl.lit(1.0), source=pl.lit("bench")
    )
    frame.sample(fraction=1, shuffle=True, seed=seed).write_parquet(file, row_group_size=SHARD)


# -- ours -----------------------------------------------------------------------------------------


def signed(rows: pl.LazyFrame, begin: int, end: int) -> pl.DataFrame:
    """What `unique_docs` reads of the table `signatures`, made shard by shard."""
    shards = []
    for first in range(begin, end, SHARD):
        part = rows.slice(first, min(SHARD, end - first)).collect()
        values = minhash.signatures(part["text"], SETTINGS).drop("signature")
        shards.append(part.drop("text").hstack(values))
    return pl.concat(shards)


def ours(file: Path) -> dict[str, Any]:
    """One whole run: signatures of all shards, duplicates over all of them."""
    rows = pl.scan_parquet(file)
    count = rows.select(pl.len()).collect().item()
    docs = signed(rows, 0, count)
    judged, compared = duplicates.judge_further(docs, rows.select("record_id", "text"), SETTINGS)
    return {"kept": (judged["verdict"] == "kept").sum(), "pairs_compared": compared.height}


def added(file: Path) -> dict[str, Any]:
    """A shard of one hundredth, added to the rest: CPU seconds beside those of a run over everything."""
    rows = pl.scan_parquet(file)
    texts = rows.select("record_id", "text")
    count = rows.select(pl.len()).collect().item()
    before = count - count // 100
    begun = time.process_time()
    old = signed(rows, 0, before)
    signed_in = time.process_time() - begun
    _, known = duplicates.judge_further(old, texts.slice(0, before), SETTINGS)
    begun = time.process_time()
    docs = pl.concat([old, signed(rows, before, count)])
    further, _ = duplicates.judge_further(docs, texts, SETTINGS, known)
    seconds = time.process_time() - begun
    begun = time.process_time()
    whole, _ = duplicates.judge_further(docs, texts, SETTINGS)
    full = signed_in * count / before + time.process_time() - begun
    return {
        "added_cpu_seconds": round(seconds, 2),
        "whole_cpu_seconds": round(full, 2),
        "share": round(seconds / full, 3),
        "same_result": further.equals(whole),
    }


def pairs(file: Path) -> dict[str, Any]:
    """Recall and precision of the pairs found, against all pairs compared one by one."""
    from scipy import sparse

    rows = pl.read_parquet(file).unique("content_hash", keep="first", maintain_order=True)
    docs = rows.drop("text").hstack(minhash.signatures(rows["text"], SETTINGS))
    found = duplicates.near_duplicate_pairs(docs, rows.lazy().select("record_id", "text"), SETTINGS)
    n, forms = SETTINGS.ngram, [minhash.canonical(text) for text in rows["text"]]
    sets = [{form[place : place + n] for place in range(max(len(form) - n + 1, 1))} for form in forms]
    number: dict[str, int] = {}
    places = [[number.setdefault(shingle, len(number)) for shingle in one] for one in sets]
    sizes = np.array([len(one) for one in sets])
    cells = (
        np.ones(sizes.sum(), dtype=np.int64),
        np.concatenate(places),
        np.concatenate([[0], np.cumsum(sizes)]),
    )
    held = sparse.csr_matrix(cells, shape=(len(sets), len(number)))
    both = sparse.triu(held @ held.T, 1).tocoo()
    similar = both.data >= SETTINGS.threshold * (sizes[both.row] + sizes[both.col] - both.data)
    ids = rows["record_id"].to_list()
    true = {(ids[a], ids[b]) for a, b in zip(both.row[similar], both.col[similar], strict=True)}
    ours_ = set(found.select("a", "b").iter_rows())
    hits = len(true & ours_)
    return {"documents": len(ids), "pairs": len(true), "recall": round(hits / max(len(true), 1), 4), "precision": round(hits / max(len(ours_), 1), 4)}  # fmt: skip


# -- runs -----------------------------------------------------------------------------------------

_TASKS = {"ours": ours, "added": added, "pairs": pairs}


def _alone(python: str, script: list[str], file: Path) -> dict[str, Any] | None:
    """Run one method in a process of its own; None where it is not installed."""
    done = subprocess.run([python, *script, str(file)], capture_output=True, text=True, check=False)
    if "ModuleNotFoundError" in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(
    texts: str | None = os.environ.get("BENCH_TEXTS"),
    peers: str = os.environ.get("BENCH_PEERS", sys.executable),
    sizes: tuple[int, ...] = (100_000, 1_000_000),
    rounds: int = 1,
) -> dict[str, Any]:
    """CPU seconds, peak memory and their ratios for each size; recall and precision; what an addition costs."""
    own = [sys.executable, "-m", "bench.dedup", "--only"]
    with tempfile.TemporaryDirectory() as folder:

        def made(rows: int) -> Path:
            file = Path(folder) / f"{rows}.parquet"
            if not file.exists():
                corpus(rows, originals, file)
            return file

        most = max(*sizes, SMALL)
        originals = (
            pl.read_parquet(texts, columns=["text"])["text"].to_list() if texts else generated(most // 4)
        )
        result: dict[str, Any] = {"texts": texts or "generated", "originals": min(len(originals), MOST)}
        _alone(own[0], [*own[1:], "ours"], made(1_000))  # compiled before it is measured
        result["pairs"] = _alone(own[0], [*own[1:], "pairs"], made(5_000))
        for rows in (SMALL, *sizes):
            names = ["ours", "datasketch"] if rows == SMALL else ["ours", "rensa"]
            figures: dict[str, Any] = {}
            for _ in range(rounds):
                for name in names:
                    script = [*own[1:], name] if name == "ours" else [str(_PEERS), name]
                    one = _alone(own[0] if name == "ours" else peers, script, made(rows))
                    if one and one["cpu_seconds"] < figures.get(name, {"cpu_seconds": np.inf})["cpu_seconds"]:
                        figures[name] = one
            for name in names[1:]:
                if name in figures:
                    figures["ratio"] = round(figures[name]["cpu_seconds"] / figures["ours"]["cpu_seconds"], 2)
            result[str(rows)] = figures
        if len(sizes) > 1:
            first, last = (result[str(rows)]["ours"]["cpu_seconds"] for rows in (min(sizes), max(sizes)))
            result["growth"] = round(last / first, 2)
        result["one_percent_added"] = _alone(own[0], [*own[1:], "added"], made(max(sizes)))
    return result


def main() -> None:
    """Run everything, or (with `--only`) one task on one corpus in this process."""
    parser = argparse.ArgumentParser(prog="python -m bench.dedup")
    parser.add_argument("--texts", default=os.environ.get("BENCH_TEXTS"))
    parser.add_argument("--peers", default=os.environ.get("BENCH_PEERS", sys.executable))
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs=2, metavar=("TASK", "FILE"))
    given = parser.parse_args()
    if not given.only:
        print(json.dumps(run(given.texts, given.peers, tuple(given.rows), given.rounds), ensure_ascii=False))
        return
    task, file = given.only
    begun = time.perf_counter()
    found = _TASKS[task](Path(file))
    used = getrusage(RUSAGE_SELF)
    measured = {
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "seconds": round(time.perf_counter() - begun, 2),
        "peak_rss_mb": round(used.ru_maxrss / 1024),
    }
    print(json.dumps(found | measured))


if __name__ == "__main__":
    main()
