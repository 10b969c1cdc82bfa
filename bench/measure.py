"""What benchmarks share: generated embeddings, and CPU seconds of ours and the peer's in turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, TypeVar

import numpy as np

from curation.vectors import normalise

T = TypeVar("T")


def embeddings(n: int, d: int = 384, topics: int = 500, seed: int = 0) -> np.ndarray:
    """Unit vectors float32 [n, d] like those of texts: topics of uneven size, and a falling spectrum."""
    random = np.random.default_rng(seed)
    spectrum = (np.arange(1, d + 1) ** -0.35).astype(np.float32)
    centres = np.random.default_rng(1).standard_normal((topics, d), dtype=np.float32) * spectrum
    shares = np.arange(1, topics + 1) ** -0.7
    vectors = random.standard_normal((n, d), dtype=np.float32)
    vectors *= spectrum
    vectors += centres[random.choice(topics, n, p=shares / shares.sum())]
    return normalise(vectors)


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """CPU seconds of all threads, and the result."""
    begun = time.process_time()
    result = work()
    return time.process_time() - begun, result


def compare(
    ours: Callable[[], Any], peers: Callable[[], Any], peer: str, rounds: int
) -> tuple[dict[str, float], Any, Any]:
    """Both in turn: median CPU seconds of each and of their ratios; and the last results."""
    seconds = []
    for _ in range(rounds):
        (one, mine), (other, theirs) = timed(ours), timed(peers)
        seconds.append((one, other))
    return (
        {
            "ours_cpu_seconds": round(median(one for one, _ in seconds), 3),
            f"{peer}_cpu_seconds": round(median(other for _, other in seconds), 3),
            "ratio": round(median(other / one for one, other in seconds), 2),
        },
        mine,
        theirs,
    )
