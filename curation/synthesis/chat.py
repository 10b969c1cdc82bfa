"""What the methods know of a chat model: a callable from conversations to replies.

Belongs here: the types of a conversation and a reply. Does not belong here: any server, key or cache
(`resources.chat`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class Reply:
    """What a chat model gave for one conversation: `text`, or None and the `error`.

    `cut_off` says that the answer reached the limit of tokens; `tokens` are those that were paid for,
    prompt and answer, where the server counts them.
    """

    text: str | None
    error: str | None = None
    tokens: int = 0
    cut_off: bool = False


class Chat(Protocol):
    """A chat model: one reply for each conversation, in order; it never raises for a failed one."""

    def __call__(self, conversations: Sequence[Sequence[Message]], /) -> list[Reply]: ...
