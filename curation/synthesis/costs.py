"""What a chat model may cost: tokens and money, reserved before a request and settled after it.

Belongs here: the cap and the account that keeps to it. Does not belong here: counting tokens (the server
does), asking (`resources.chat`).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import NamedTuple


class Usage(NamedTuple):
    """Tokens of a prompt and of its answer."""

    prompt: int = 0
    answer: int = 0

    @property
    def tokens(self) -> int:
        """Both together."""
        return self.prompt + self.answer


@dataclass(frozen=True)
class Cap:
    """The most that all answers of a table may cost; None: no limit. Prices are of 1,000 tokens."""

    tokens: int | None = None
    money: float | None = None
    prompt_price: float = 0.0
    answer_price: float = 0.0

    def price(self, usage: Usage) -> float:
        """Money that these tokens cost."""
        return (usage.prompt * self.prompt_price + usage.answer * self.answer_price) / 1000

    def allows(self, usage: Usage) -> bool:
        """Whether so much in all is within the cap."""
        within = self.tokens is None or usage.tokens <= self.tokens
        return within and (self.money is None or self.price(usage) <= self.money)


class Account:
    """What was spent under a cap, by any number of threads.

    A request reserves the most that it can cost before it is sent, so that requests under way together
    keep to the cap; afterwards it settles for what it did cost. Requests that wait, in their order, until
    those before them are settled are thus let in exactly as if each were made alone.
    """

    def __init__(self, cap: Cap = Cap()) -> None:
        self.cap = cap
        self._lock = threading.Lock()
        self._held, self._paid = Usage(), Usage()

    @property
    def paid(self) -> Usage:
        """What requests of this account have cost; answers that were there before have cost it nothing."""
        return self._paid

    def reserve(self, most: Usage) -> bool:
        """Set aside the most that a request can cost; False if the cap has no room for it."""
        with self._lock:
            held = _plus(self._held, most)
            if not self.cap.allows(held):
                return False
            self._held = held
            return True

    def settle(self, most: Usage, cost: Usage, *, now: bool = True) -> None:
        """A request that reserved `most` has cost `cost`; not `now` if an earlier run paid for it."""
        with self._lock:
            self._held = Usage(
                self._held.prompt - most.prompt + cost.prompt, self._held.answer - most.answer + cost.answer
            )
            if now:
                self._paid = _plus(self._paid, cost)


def _plus(one: Usage, other: Usage) -> Usage:
    return Usage(one.prompt + other.prompt, one.answer + other.answer)
