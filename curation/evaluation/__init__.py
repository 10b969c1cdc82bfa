"""Methods measured on labelled data.

Belongs here: one module a task, reading a folder in the layout of `docs/evaluate.md` and running
exactly the functions that the assets run. This is the one room of `curation/` that reads data files.
Does not belong here: a method of its own.
"""

from __future__ import annotations

import inspect
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

from curation.errors import UserError
from curation.settings import Profile


@dataclass(frozen=True)
class Task:
    """Where the function of a task is, and which sections of the profile it reads.

    The function is called as `function(folder, profile, **options)` and returns the metrics by name.
    Its keyword-only parameters are the options that the task takes.
    """

    function: str
    sections: tuple[str, ...] = ()

    def load(self) -> Callable[..., dict[str, float]]:
        """The function; its module is imported only now."""
        module, name = self.function.split(":")
        loaded: Callable[..., dict[str, float]] = getattr(import_module(f"{__name__}.{module}"), name)
        return loaded

    def settings(self, profile: Profile) -> dict[str, Any]:
        """The sections that the task reads, by their paths in the profile."""
        return {path: reduce(getattr, path.split("."), profile).model_dump() for path in self.sections}  # type: ignore[attr-defined]


TASKS = {
    "recall": Task("recall:evaluate_recall", ("domain",)),
    "defects": Task("defects:evaluate_defects", ("pool", "scores")),
    "selection": Task("selection:evaluate_selection", ("pool", "scores", "sample_encoder", "selection")),
    "proof": Task("proof:evaluate_proof", ("pool", "scores", "sample_encoder", "selection", "audit")),
    "html": Task("html:evaluate_html", ("corpus.clean",)),
    "neardup": Task("neardup:evaluate_neardup", ("pool.dedup", "sample_encoder")),
    "preference": Task("preference:evaluate_preference"),
    "quality": Task("quality:evaluate_quality", ("scores",)),
    "verdicts": Task("verdicts:evaluate_verdicts", ("scores",)),
}


def evaluate(task: str, data: Path, profile: Profile, **options: Any) -> dict[str, Any]:
    """Measure a task on a folder of labelled data.

    `options` are what the task takes beside the folder (see `Task`).

    Returns
    -------
    dict
        task, data, seconds, peak_rss_mb, settings (the sections that the task used), metrics.

    Raises
    ------
    UserError
        The task is unknown or does not take an option, or the folder lacks a file.
    """
    if task not in TASKS:
        raise UserError(f"unknown task {task!r}", where="evaluate", allowed=", ".join(TASKS))
    function = TASKS[task].load()
    _check_options(task, function, options)
    for folder in (data, options.get("train", data)):
        if not folder.is_dir():
            raise UserError("no such folder", where=str(folder))
    started = time.monotonic()
    metrics = function(data, profile, **options)
    return {
        "task": task,
        "data": str(data),
        "seconds": round(time.monotonic() - started, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "settings": TASKS[task].settings(profile),
        "metrics": metrics,
    }


def _check_options(task: str, function: Callable[..., Any], options: dict[str, Any]) -> None:
    parameters = inspect.signature(function).parameters.values()
    takes = [one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]
    for name in options:
        if name not in takes:
            allowed = ", ".join(f"--{option}" for option in takes) or "no options beside --data"
            raise UserError(f"does not take --{name}", where=f"evaluate {task}", allowed=allowed)
