"""The peers of `bench.dedup`, on their own: a script that needs pyarrow and the peer, and nothing of ours.

`python dedup_peers.py rensa|datasketch FILE` prints JSON. Both get the character 5-grams of the texts as
they are, 128 permutations and a threshold of 0.7, as their documentation shows it; texts are read in
batches, so that they cost no memory of their own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from resource import RUSAGE_SELF, getrusage
from typing import Any

import pyarrow.parquet as pq


def documents(file: str) -> Iterator[tuple[str, list[str]]]:
    """Id and 5-grams of each text."""
    for batch in pq.ParquetFile(file).iter_batches(10_000, columns=["record_id", "text"]):
        for name, text in zip(batch["record_id"].to_pylist(), batch["text"].to_pylist(), strict=True):
            yield name, [text[place : place + 5] for place in range(max(len(text) - 4, 1))]


def rensa(file: str) -> dict[str, Any]:
    """`RMinHashDeduplicator` with its LSH."""
    from rensa import RMinHash, RMinHashDeduplicator

    deduplicator = RMinHashDeduplicator(threshold=0.7, num_perm=128, use_lsh=True, num_bands=32)
    kept = 0
    for name, shingles in documents(file):
        signature = RMinHash(num_perm=128, seed=42)
        signature.update(shingles)
        kept += bool(deduplicator.add(name, signature))
    return {"kept": kept}


def datasketch(file: str) -> dict[str, Any]:
    """`MinHash` and `MinHashLSH`, signatures in batches."""
    from datasketch import MinHash, MinHashLSH

    index, kept = MinHashLSH(threshold=0.7, num_perm=128), 0
    for name, shingles in documents(file):
        signature = MinHash(num_perm=128)
        signature.update_batch([shingle.encode() for shingle in shingles])
        if not index.query(signature):
            index.insert(name, signature)
            kept += 1
    return {"kept": kept}


def main() -> None:
    """Run one peer on one file."""
    begun = time.perf_counter()
    found = {"rensa": rensa, "datasketch": datasketch}[sys.argv[1]](sys.argv[2])
    used = getrusage(RUSAGE_SELF)
    found |= {
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "seconds": round(time.perf_counter() - begun, 2),
        "peak_rss_mb": round(used.ru_maxrss / 1024),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
