"""Answers that were given before, on disk, so that none is paid for twice.

Belongs here: keeping and finding them, by a key. Does not belong here: what the key is made of, asking
(`chat`).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from curation.errors import UserError
from curation.synthesis.chat import Reply
from curation.synthesis.costs import Usage

_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, text TEXT NOT NULL, cut_off INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, answer_tokens INTEGER NOT NULL
) WITHOUT ROWID
"""


class AnswerCache:
    """`answers.sqlite` in a folder: every answer is on disk before `add` returns.

    Several processes and threads may use it at once. It may be deleted at any time.

    Raises
    ------
    UserError
        The file is there and is no cache of answers.
    """

    def __init__(self, folder: str | Path) -> None:
        self._file = Path(folder) / "answers.sqlite"
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(
            self._file, timeout=60, isolation_level=None, check_same_thread=False
        )
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")  # on disk, not only handed to the system
            self._database.execute(_TABLE)
            self._database.execute("SELECT key, model, text, cut_off, prompt_tokens, answer_tokens FROM answers LIMIT 1")  # fmt: skip
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise UserError(
                f"not a cache of answers: {error}",
                where=str(self._file),
                allowed="delete it: its answers will be asked for again",
            ) from None

    def __enter__(self) -> AnswerCache:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._database.close()

    def find(self, keys: Iterable[str]) -> dict[str, Reply]:
        """The answers to those of the keys that have one."""
        sought = "SELECT text, cut_off, prompt_tokens, answer_tokens FROM answers WHERE key = ?"
        found = {}
        for key in keys:
            with self._lock:
                row = self._database.execute(sought, (key,)).fetchone()
            if row is not None:
                text, cut_off, prompt, answer = row
                found[key] = Reply(text, usage=Usage(prompt, answer), cut_off=bool(cut_off))
        return found

    def add(self, key: str, model: str, reply: Reply) -> None:
        """Keep an answer; the first of two to one key stays."""
        row = (key, model, reply.text, int(reply.cut_off), *reply.usage)
        with self._lock:
            self._database.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?)", row)
