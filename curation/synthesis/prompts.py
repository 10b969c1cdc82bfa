"""All prompts that a domain corpus gives, judged: found in documents, made by rule, written by a model.

Belongs here: bringing the three methods together, novelty among them, limits and the table.
Does not belong here: how a method makes prompts (its own module), answers (`synthesis.answers`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import polars as pl

from curation import progress
from curation.records import canonical, digest
from curation.settings import PromptSettings
from curation.synthesis.chat import Chat
from curation.synthesis.documents import grounded_prompts
from curation.synthesis.passages import documents_of
from curation.synthesis.rules import rule_prompts
from curation.synthesis.self_instruct import Proposal, self_instruct
from curation.verdicts import REASONS, Verdict

_SCHEMA: dict[str, Any] = {
    "record_id": pl.String,
    "parents": pl.List(pl.String),
    "method": pl.String,
    "task": pl.String,
    "instruction": pl.String,
    "input": pl.String,
    "grounded_answer": pl.String,
    "verdict": Verdict,
    "reason": pl.String,
    "evidence": pl.String,
}
Row = dict[str, Any]


def make_prompts(
    documents: pl.DataFrame,
    keywords: Sequence[str],
    human_prompts: Sequence[str],
    settings: PromptSettings,
    chat: Chat | None,
    seed: int,
) -> pl.DataFrame:
    """Prompts from the documents of the domain; every document is a parent of at least one row.

    Parameters
    ----------
    documents
        Columns record_id, title, text: the domain corpus.
    keywords
        Terms of the domain, the best first.
    human_prompts
        Instructions written by people: examples for Self-Instruct, and what is no longer novel.
    settings
        Which methods, how many prompts.
    chat
        The chat model, or None: then there is no Self-Instruct.
    seed
        Seed of wordings and draws.

    Returns
    -------
    DataFrame
        Rows of the table `prompts` but for run_id, sorted by method and record_id. A document that
        gives nothing has one row, dropped as `no_prompt_found`.
    """
    documents = documents.sort("record_id")
    rows: list[Row] = []
    if "document" in settings.methods:
        rows += _from_documents(documents, keywords, settings, seed)
    if "rule" in settings.methods:
        rows += _from_rules(documents, keywords, seed)
    rows = _without_repeats(rows, human_prompts)
    _limit(rows, settings.max_prompts, seed)
    if "self_instruct" in settings.methods and chat is not None:
        rows += _from_model(documents, keywords, human_prompts, rows, settings, chat, seed)
    answered = {parent for row in rows for parent in row["parents"]}
    rows += [_nothing(one) for one in documents["record_id"] if one not in answered]
    return pl.DataFrame(rows, schema=_SCHEMA).sort("method", "record_id", nulls_last=True)


def _row(
    method: str | None,
    parents: Sequence[str],
    task: str | None,
    instruction: str | None,
    input_: str | None,
    answer: str | None,
    noted: dict[str, Any],
) -> Row:
    return {
        "record_id": digest("prompt", method or "none", *parents, instruction or "", input_ or ""),
        "parents": list(parents),
        "method": method,
        "task": task,
        "instruction": instruction,
        "input": input_,
        "grounded_answer": answer,
        **_judged(None, noted),
    }


def _judged(reason: str | None, noted: dict[str, Any]) -> Row:
    return {
        "verdict": REASONS[reason].verdict if reason else "kept",
        "reason": reason,
        "evidence": json.dumps(noted, ensure_ascii=False),
    }


def _refuse(row: Row, reason: str, **noted: object) -> None:
    row.update(_judged(reason, json.loads(row["evidence"]) | noted))


def _nothing(record_id: str) -> Row:
    row = _row(None, [record_id], None, None, None, None, {})
    _refuse(row, "no_prompt_found", says="no passage of it answers a question by itself")
    return row


def _from_documents(
    documents: pl.DataFrame, keywords: Sequence[str], settings: PromptSettings, seed: int
) -> list[Row]:
    """Prompts whose answer stands in the document; the best `per_document` are kept."""
    rows = []
    parsed = documents_of(documents, keywords)
    for document in progress.track(parsed, "documents read for prompts", documents.height, every=200):
        for place, found in enumerate(grounded_prompts(document, seed)):
            noted = found.measured | {"place": place + 1, "limits": {"per_document": settings.per_document}}
            row = _row(
                "document",
                [document.record_id],
                found.task,
                found.instruction,
                found.input,
                found.answer,
                noted,
            )
            if place >= settings.per_document:
                _refuse(row, "over_budget")
            rows.append(row)
    return rows


def _from_rules(documents: pl.DataFrame, keywords: Sequence[str], seed: int) -> list[Row]:
    made = rule_prompts(documents, keywords, seed)
    return [
        _row("rule", row["parents"], row["task"], row["instruction"], "", None, {"terms": row["terms"]})
        for row in made.iter_rows(named=True)
    ]


def _prompt_key(row: Row) -> str:
    return canonical(f"{row['instruction']}\n{row['input'] or ''}")


def _without_repeats(rows: list[Row], human_prompts: Sequence[str]) -> list[Row]:
    """Refuse a prompt that is there already, word for word.

    Prompts of the same form about different things ("什么是红茶？", "什么是绿茶？") are close by ROUGE-L and
    yet new, so that measure is left to what a model writes freely.
    """
    human = {canonical(text): text for text in reversed(human_prompts) if text}
    first: dict[str, str] = {}
    unique = {row["record_id"]: row for row in reversed(rows)}
    rows = [row for row in rows if unique[row["record_id"]] is row]
    for row in rows:
        if row["verdict"] != "kept":
            continue
        key = _prompt_key(row)
        if key in human:
            _refuse(row, "not_novel", rouge_l=1.0, nearest=human[key], nearest_is="written by a person")
        elif first.setdefault(key, row["record_id"]) != row["record_id"]:
            _refuse(row, "not_novel", rouge_l=1.0, nearest=row["instruction"], nearest_id=first[key])
    return rows


def _limit(rows: list[Row], most: int, seed: int) -> None:
    """Refuse what is over the limit: those with an answer first, among them by lot."""
    kept = [row for row in rows if row["verdict"] == "kept"]
    kept.sort(key=lambda row: (row["grounded_answer"] is None, digest(str(seed), row["record_id"])))
    for row in kept[most:]:
        _refuse(row, "over_budget", limits={"max_prompts": most})


def _from_model(
    documents: pl.DataFrame,
    keywords: Sequence[str],
    human_prompts: Sequence[str],
    rows: list[Row],
    settings: PromptSettings,
    chat: Chat,
    seed: int,
) -> list[Row]:
    """Instructions written by the chat model. Their parents are documents on the terms of the request."""
    kept = [row["instruction"] for row in rows if row["verdict"] == "kept"]
    wanted = max(0, min(settings.self_instruct_prompts, settings.max_prompts - len(kept)))
    proposals = self_instruct(human_prompts, kept, list(keywords), chat, wanted, settings.max_rouge_l, seed)
    by_term = _documents_by_term(documents, {term for one in proposals for term in one.keywords})
    made: dict[str, Row] = {}
    for one in proposals:
        parents = sorted({by_term[term] for term in one.keywords if term in by_term})
        row = _row(
            "self_instruct", parents, "self_instruct", one.instruction, "", None, _noted(one, settings)
        )
        if one.instruction is None:
            row["record_id"] = digest("prompt", "self_instruct", *parents, one.request)
        if one.reason:
            _refuse(row, one.reason)
        made.setdefault(row["record_id"], row)
    return list(made.values())


def _noted(one: Proposal, settings: PromptSettings) -> dict[str, Any]:
    noted = {
        "request": one.request,
        "about": list(one.keywords),
        "examples": {"human": list(one.human), "generated": list(one.generated)},
        "rouge_l": one.rouge_l and round(one.rouge_l, 4),
        "nearest": one.nearest,
        "limits": {"max_rouge_l": settings.max_rouge_l},
    }
    return noted | ({"error": one.error} if one.error else {})


def _documents_by_term(documents: pl.DataFrame, terms: set[str]) -> dict[str, str]:
    """For each term the first document that holds it."""
    found = {}
    for term in sorted(terms):
        holding = documents.filter(pl.col("text").str.contains(term, literal=True))
        if not holding.is_empty():
            found[term] = holding["record_id"][0]
    return found
