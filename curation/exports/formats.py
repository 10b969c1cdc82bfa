"""SFT samples in the formats that training code reads.

Belongs here: Alpaca, ShareGPT and OpenAI messages, and the lines of a JSONL file. Every line carries the
`record_id` of its sample, so that `curation why` can be asked about a line of a training file.
Does not belong here: choosing samples (`selection`), writing files (the lake).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from curation.exports.resampling import group_of, repeats
from curation.settings import ExportSettings
from curation.synthesis.chat import Message
from curation.verdicts import Rule, judge

Conversations = Sequence[Sequence[Message]]
_SHAREGPT_ROLES = {"user": "human", "assistant": "gpt", "tool": "observation"}
#: Characters at which some readers end a line although JSON does not.
_LINE_ENDS = str.maketrans({"\u2028": "\\u2028", "\u2029": "\\u2029", "\x85": "\\u0085"})


def to_alpaca(conversations: Conversations, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Alpaca: instruction, input, output; `system` and `history` (pairs) only where there are any."""
    return [_alpaca(turns, one) for turns, one in zip(conversations, ids, strict=True)]


def _alpaca(turns: Sequence[Message], record_id: str) -> dict[str, Any]:
    system, pairs = _pairs(turns)
    *history, (prompt, answer) = pairs
    line: dict[str, Any] = {"record_id": record_id, "instruction": prompt, "input": "", "output": answer}
    if system:
        line["system"] = system
    if history:
        line["history"] = [list(pair) for pair in history]
    return line


def to_sharegpt(conversations: Conversations, ids: Sequence[str]) -> list[dict[str, Any]]:
    """ShareGPT: `conversations` of from and value; `system` only where there is one."""
    lines = []
    for turns, record_id in zip(conversations, ids, strict=True):
        system, rest = _without_system(turns)
        said = [
            {"from": _SHAREGPT_ROLES.get(turn["role"], turn["role"]), "value": turn["content"]}
            for turn in rest
        ]
        lines.append({"record_id": record_id, "conversations": said} | ({"system": system} if system else {}))
    return lines


def to_openai(conversations: Conversations, ids: Sequence[str]) -> list[dict[str, Any]]:
    """OpenAI: the messages as they are."""
    return [
        {
            "record_id": record_id,
            "messages": [{"role": turn["role"], "content": turn["content"]} for turn in turns],
        }
        for turns, record_id in zip(conversations, ids, strict=True)
    ]


FORMATS: Mapping[str, Callable[[Conversations, Sequence[str]], list[dict[str, Any]]]] = {
    "alpaca": to_alpaca,
    "sharegpt": to_sharegpt,
    "openai": to_openai,
}


def _without_system(turns: Sequence[Message]) -> tuple[str, list[Message]]:
    """All system messages as one text, and the rest in order."""
    system = "\n\n".join(turn["content"] for turn in turns if turn["role"] == "system")
    return system, [turn for turn in turns if turn["role"] != "system"]


def _pairs(turns: Sequence[Message]) -> tuple[str, list[tuple[str, str]]]:
    """The system text, and the conversation as pairs; messages of one side in a row become one."""
    system, rest = _without_system(turns)
    sides: list[tuple[bool, list[str]]] = []
    for turn in rest:
        answers = turn["role"] == "assistant"
        if sides and sides[-1][0] == answers:
            sides[-1][1].append(turn["content"])
        else:
            sides.append((answers, [turn["content"]]))
    if sides and sides[0][0]:
        sides.insert(0, (False, [""]))
    texts = ["\n\n".join(part) for _, part in sides]
    return system, list(zip(texts[::2], texts[1::2], strict=False)) or [("", "")]


def jsonl(lines: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Lines of a JSONL file, each with its line feed: the same lines give the same bytes."""
    for line in lines:
        yield json.dumps(line, ensure_ascii=False, separators=(", ", ": ")).translate(_LINE_ENDS) + "\n"


_ROLES = pl.col("messages").list.eval(pl.element().struct.field("role"))
_LAST = pl.col("messages").list.last().struct
_BLOCK = 2_000


def sft_files(
    samples: pl.DataFrame, settings: ExportSettings, seed: int
) -> tuple[pl.DataFrame, dict[str, Iterator[str]]]:
    """Samples as files for training.

    Parameters
    ----------
    samples
        Columns record_id and messages, and what `settings.resample` groups by: the final set.
    settings
        Formats, the stem of the file names, and the distribution that the files shall have.

    Returns
    -------
    rows
        Rows of the table `sft_files` but for run_id, sorted by record_id (a hash: a fixed shuffle). A
        sample that does not end with an answer to a user's message is dropped as `no_answer`, and one that
        resampling leaves out as `over_represented`.
    files
        File name to lines; they are made while they are read. `line` is the same in each of them. Every
        sample comes once, then those that come twice once more, and so on.
    """
    can_train = (
        _ROLES.list.contains("user")
        & (_LAST.field("role") == "assistant")
        & (_LAST.field("content").fill_null("").str.strip_chars().str.len_chars() > 0)
    ).fill_null(False)
    rows = samples.sort("record_id").with_columns(can_train=can_train)
    rules = [Rule("no_answer", ~pl.col("can_train"), {"messages": pl.col("messages").list.len()})]
    if settings.resample:
        able = rows.filter("can_train")
        group = group_of(able, settings.resample)
        drawn = able.select("record_id").hstack([group]).hstack(repeats(group, settings.resample, seed))
        rows = rows.join(drawn, on="record_id", how="left", maintain_order="left")
        noted = {name: pl.col(name) for name in ("group", "rate", "times")}
        rules.append(Rule("over_represented", pl.col("times") == 0, noted))
    else:
        rows = rows.with_columns(times=pl.col("can_train"))
    rows = judge(rows, rules).with_columns(pl.col("times").fill_null(0).cast(pl.UInt32))
    is_kept = pl.col("verdict") == "kept"
    rows = rows.with_columns(line=pl.when(is_kept).then(is_kept.cum_sum() - 1).cast(pl.UInt32))
    kept = rows.filter(is_kept)
    files = {f"{settings.name}.{name}.jsonl": jsonl(_lines(kept, name)) for name in settings.formats}
    return rows.select("record_id", "line", "times", "verdict", "reason", "evidence"), files


def _lines(kept: pl.DataFrame, name: str) -> Iterator[dict[str, Any]]:
    for turn in range(int(kept["times"].max() or 0)):  # type: ignore[arg-type]
        for block in kept.filter(pl.col("times") > turn).iter_slices(_BLOCK):
            yield from FORMATS[name](block["messages"].to_list(), block["record_id"].to_list())
