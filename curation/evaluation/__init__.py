"""Methods measured on labelled data.

Belongs here: one module a task, reading a folder in the layout of `docs/evaluate.md` and running
exactly the functions that the assets run. This is the one room of `curation/` that reads data files.
Does not belong here: a method of its own.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

from curation.errors import UserError
from curation.settings import Profile

TASKS = ("recall", "defects")


def evaluate(task: str, data: Path, profile: Profile, *, baselines: bool = False) -> dict[str, Any]:
    """Measure a task on a folder of labelled data.

    Returns
    -------
    dict
        task, data, seconds, peak_rss_mb, settings (the sections that the task used), metrics.

    Raises
    ------
    UserError
        The task is unknown, or the folder lacks a file.
    """
    if task not in TASKS:
        raise UserError(f"unknown task {task!r}", where="evaluate", allowed=", ".join(TASKS))
    if not data.is_dir():
        raise UserError("no such folder", where=str(data))
    started = time.monotonic()
    if task == "recall":
        from curation.evaluation.recall import evaluate_recall

        settings = profile.domain.model_dump()
        metrics = evaluate_recall(data, profile.domain, profile.seed, baselines=baselines)
    else:
        from curation.evaluation.defects import evaluate_defects

        settings = {"pool": profile.pool.model_dump(), "scores": profile.scores.model_dump()}
        metrics = evaluate_defects(data, profile, profile.seed)
    return {
        "task": task,
        "data": str(data),
        "seconds": round(time.monotonic() - started, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "settings": settings,
        "metrics": metrics,
    }
