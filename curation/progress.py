"""Progress of long work, told to whoever listens.

Belongs here: `track` and `report`, which methods call, and `listen`, which the command line and the
Dagster stages call. Does not belong here: drawing (the listener's affair).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
#: `listener(what, done, total)`; total is None where it is not known.
Listener = Callable[[str, int, int | None], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def listener() -> Listener | None:
    """Who listens now, so that a new listener can pass on what it hears."""
    return _listener.get()


@contextmanager
def listen(new: Listener) -> Iterator[None]:
    """Send the progress of the work inside the block to a new listener."""
    token = _listener.set(new)
    try:
        yield
    finally:
        _listener.reset(token)


def report(what: str, done: int, total: int | None = None) -> None:
    """Say that `done` of `total` units of `what` are done."""
    heard_by = _listener.get()
    if heard_by is not None:
        heard_by(what, done, total)


def track(items: Iterable[T], what: str, total: int | None = None, every: int = 1) -> Iterator[T]:
    """Yield the items, reporting how many have been done, once in `every` of them and at the end."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    done = 0
    for item in items:
        yield item
        done += 1
        if done % every == 0:
            report(what, done, total)
    report(what, done, total)
