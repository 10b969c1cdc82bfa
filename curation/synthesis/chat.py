"""What the methods know of a chat model: a callable from conversations to replies.

Belongs here: the types of a conversation and a reply. Does not belong here: any server, key or cache
(`resources.chat`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypedDict

from curation.synthesis.costs import Usage


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class Reply:
    """What a chat model gave for one conversation: `text`, or None and the `error`.

    `usage` is what the answer cost when it was given: as the server counts, else the most that it can have
    cost. `cut_off` says that the answer reached the limit of tokens; `over_cap` that nobody was asked,
    since the cost cap had no room left.
    """

    text: str | None
    error: str | None = None
    usage: Usage = field(default_factory=Usage)
    cut_off: bool = False
    over_cap: bool = False


class Chat(Protocol):
    """A chat model: one reply for each conversation, in order; it raises only where no server is there."""

    def __call__(self, conversations: Sequence[Sequence[Message]], /) -> list[Reply]: ...
