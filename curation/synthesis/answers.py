"""Answers to prompts: the one that stands in the document, else the chat model's.

Belongs here: making samples out of prompts, and judging whether there is an answer at all.
Does not belong here: how good an answer is (`scores`), asking the server (`resources.chat`).
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from curation.schemas import Messages
from curation.settings import ChatSettings
from curation.synthesis.chat import Chat, Message, Reply
from curation.verdicts import REASONS, Verdict

SHARD = "synthesis"


def answer_prompts(prompts: pl.DataFrame, chat: Chat | None, settings: ChatSettings) -> pl.DataFrame:
    """One sample for every prompt, under the prompt's id.

    A grounded answer is taken as it is; every other prompt is put to the chat model. Without one it is
    dropped as `no_answer`; a reply that reached the limit of tokens is dropped as `truncated`; a request
    that failed after all retries is quarantined as `chat_failed`.

    Parameters
    ----------
    prompts
        Columns record_id, parents, method, task, instruction, input, grounded_answer.
    chat
        The chat model, or None.
    settings
        Named in the evidence: which model answered, and how.

    Returns
    -------
    DataFrame
        Rows of the table `answers` but for run_id, in the order of the prompts.
    """
    rows = list(prompts.iter_rows(named=True))
    asked = [row for row in rows if not row["grounded_answer"]] if chat is not None else []
    replies: dict[str, Reply] = {}
    if chat is not None and asked:
        found = chat([[_question(row)] for row in asked])
        replies = {row["record_id"]: reply for row, reply in zip(asked, found, strict=True)}
    texts = ("record_id", "source", "uri", "shard", "task", "reason", "evidence")
    schema: dict[str, Any] = {
        **dict.fromkeys(texts, pl.String),
        "parents": pl.List(pl.String),
        "messages": Messages,
        "verdict": Verdict,
    }
    samples = [_sample(row, replies.get(row["record_id"]), settings) for row in rows]
    return pl.DataFrame(samples, schema=schema)


def _question(row: dict[str, Any]) -> Message:
    parts = [part for part in (row["instruction"], row["input"]) if part]
    return {"role": "user", "content": "\n\n".join(parts)}


def _sample(row: dict[str, Any], reply: Reply | None, settings: ChatSettings) -> dict[str, Any]:
    answer, reason, noted = _answer(row, reply, settings)
    messages = [_question(row)]
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    return {
        "record_id": row["record_id"],
        "source": SHARD,
        "uri": f"{SHARD}/{row['method']}",
        "shard": SHARD,
        "parents": row["parents"],
        "task": row["task"],
        "messages": messages,
        "verdict": REASONS[reason].verdict if reason else "kept",
        "reason": reason,
        "evidence": json.dumps(noted, ensure_ascii=False),
    }


def _answer(
    row: dict[str, Any], reply: Reply | None, settings: ChatSettings
) -> tuple[str | None, str | None, dict[str, Any]]:
    """The answer, the reason against it, and the evidence."""
    if row["grounded_answer"]:
        return row["grounded_answer"], None, {"answered_by": "document"}
    if reply is None:
        return None, "no_answer", {"says": "no chat model is configured"}
    noted = {
        "answered_by": settings.model,
        "temperature": settings.temperature,
        "limits": {"max_tokens": settings.max_tokens},
    }
    if reply.text is None:
        return None, "chat_failed", noted | {"error": reply.error, "limits": {"retries": settings.retries}}
    if not reply.text.strip():
        return None, "no_answer", noted | {"says": "the reply was empty"}
    return reply.text.strip(), "truncated" if reply.cut_off else None, noted
