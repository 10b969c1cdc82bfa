"""The pace at which one host is asked.

Belongs here: the delay between requests, pauses that a server asks for, and how long to wait before a
failed request is tried again. Does not belong here: the requests (`_spider`).
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import monotonic

#: Answers of a server that has too much to do; it may say in Retry-After how long to stay away.
BUSY = (429, 503)
#: Answers after which a request is worth another try.
PASSING = (*BUSY, 408, 500, 502, 504, 522, 524)
#: Pages in a row that a host turned away, all tries included, after which it is asked no more.
MAX_TURNED_AWAY = 5
#: Seconds that a Crawl-delay in robots.txt can ask for.
MAX_CRAWL_DELAY = 60.0


class Host:
    """One host: a number of requests under way at once, and a time from which on the next may go out."""

    def __init__(self, delay: float, concurrency: int) -> None:
        self.delay = delay
        self.slots = asyncio.Semaphore(concurrency)
        self.turned_away = 0
        self._free_at = 0.0
        self._door = asyncio.Lock()

    @property
    def is_closed(self) -> bool:
        """Whether it turned away so many pages that it is left alone."""
        return self.turned_away >= MAX_TURNED_AWAY

    async def turn(self) -> None:
        """Wait for one's turn."""
        async with self._door:
            while (wait := self._free_at - monotonic()) > 0:
                await asyncio.sleep(wait)
            self._free_at = monotonic() + self.delay

    def pause(self, seconds: float) -> None:
        """Ask nothing for so many seconds."""
        self._free_at = max(self._free_at, monotonic() + seconds)


def retry_after(header: bytes | None) -> float | None:
    """Seconds that a Retry-After header (RFC 9110, 10.2.3) asks to wait; None if it says nothing."""
    text = (header or b"").decode("latin-1").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:12])
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def backoff(attempt: int, asked: float | None, limit: float) -> float:
    """Seconds to wait after try number `attempt` (from 0): what the server asked for, or 1, 2, 4, ...;
    no more than the limit."""
    return min(limit, asked if asked is not None else 2.0 ** min(attempt, 30))
