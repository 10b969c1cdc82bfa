"""Pairs for a reward model, and prompts for reinforcement learning.

Belongs here: which two answers to one prompt make a pair and why the one is better; which prompts are
left for PPO. Does not belong here: scores (`scores`), the SFT files (`exports.formats`).

A pair is only as good as its reason, so each names it: a person's edit, two answers of clearly different
quality, or an answer that was made worse on purpose. The last kind teaches a reward model no more than
what was done to it (an answer cut off, an answer to another question), and is marked as such.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import polars as pl

from curation import progress
from curation.exports.formats import jsonl
from curation.records import canonical, digest
from curation.schemas import Messages
from curation.settings import ExportSettings
from curation.synthesis.chat import Message
from curation.verdicts import REASONS, Rule, Verdict, judge

#: Words of courtesy and particles that do not make two prompts different.
_FILLERS = re.compile(
    r"请问|请你|请|麻烦|帮我|帮忙|给我|一下|谢谢|吗|呢|吧|啊|呀|的|了|\b(?:please|the|a|an|could you|can you)\b",
    re.IGNORECASE,
)
_SENTENCE_END = "。！？!?…；;\n."
#: Characters that an answer must have to be cut off, and from which a prompt is worth asking.
_CUT_FROM, _PROMPT_FROM, _PROMPT_TO = 40, 4, 4_000
#: Members of a cluster among which a near prompt is looked for, and how near it may be at most.
_NEIGHBOURS, _TOO_NEAR = 32, 0.5
#: Characters of a prompt that are compared.
_READ = 200
_SCHEMA: dict[str, Any] = {
    "record_id": pl.String,
    "parents": pl.List(pl.String),
    "prompt": pl.String,
    "context": Messages,
    "chosen": pl.String,
    "rejected": pl.String,
    "origin": pl.String,
    "verdict": Verdict,
    "reason": pl.String,
    "evidence": pl.String,
}


def prompt_form(prompt: str) -> str:
    """A prompt without courtesy, particles, punctuation, case and white space: what it asks."""
    return canonical(_FILLERS.sub("", prompt)) or canonical(prompt)


@dataclass(frozen=True)
class _Sample:
    record_id: str
    context: tuple[tuple[str, str], ...]
    answer: str
    quality: float
    cluster: int
    selected: bool
    form: str

    @property
    def prompt(self) -> str:
        return self.context[-1][1] if self.context else ""


def preference_pairs(
    samples: pl.DataFrame, decisions: pl.DataFrame, settings: ExportSettings, seed: int
) -> pl.DataFrame:
    """Pairs of a better and a worse answer to the same prompt; every sample is a parent of at least one row.

    Of one sample come, in this order: a person's edit as the better answer (`edit`); the best of several
    answers to the same prompt against each that is worse by `min_quality_gap` (`same_prompt`); and for a
    selected sample that is in neither, one pair with a made-up worse answer (`cut_off`, `swapped`). A
    sample that is in no pair has one row, dropped as `no_pair`.

    Parameters
    ----------
    samples
        Columns record_id, messages, quality (0 to 1), and where they are known cluster and selected (is
        it in the SFT set; by default all are).
    decisions
        Decisions of people on samples: columns target, decision, reviewer, at, edited (JSON: the answer,
        the messages, or an object with one of them).
    settings
        Limits.
    seed
        Seed of what is made up.

    Returns
    -------
    DataFrame
        Rows of the table `rm_files` but for run_id, sorted by record_id.
    """
    known = _samples(samples)
    rows = _edits(known, decisions)
    rows += _same_prompt(known, settings.min_quality_gap)
    paired = {parent for row in rows for parent in row["parents"]}
    if settings.made_up_pairs:
        rows += _made_up([one for one in known if one.record_id not in paired], known, seed)
        paired |= {parent for row in rows for parent in row["parents"]}
    rows += [_no_pair(one, settings) for one in known if one.record_id not in paired]
    return pl.DataFrame(rows, schema=_SCHEMA).unique("record_id", keep="first").sort("record_id")


def _samples(frame: pl.DataFrame) -> list[_Sample]:
    """The samples, sorted by record_id; the answer is the last message if an assistant says it."""
    defaults = {"cluster": pl.lit(0), "selected": pl.lit(True)}
    missing = [value.alias(name) for name, value in defaults.items() if name not in frame.columns]
    rows = frame.with_columns(missing).sort("record_id").iter_rows(named=True)
    found = []
    for row in rows:
        turns = [(turn["role"], turn["content"] or "") for turn in row["messages"] or []]
        answered = bool(turns) and turns[-1][0] == "assistant"
        context, answer = (tuple(turns[:-1]), turns[-1][1].strip()) if answered else (tuple(turns), "")
        form = "\n".join(prompt_form(text) for _, text in context)
        quality, cluster = row["quality"], row["cluster"]
        found.append(
            _Sample(row["record_id"], context, answer, 0.0 if quality is None else quality, cluster or 0, bool(row["selected"]), form)
        )  # fmt: skip
    return found


def _pair(
    origin: str, sample: _Sample, parents: list[str], chosen: str, rejected: str, noted: dict[str, Any]
) -> dict[str, Any]:
    return {
        "record_id": digest("pair", origin, *parents, chosen, rejected),
        "parents": parents,
        "prompt": sample.prompt,
        "context": _messages(sample),
        "chosen": chosen,
        "rejected": rejected,
        "origin": origin,
        "verdict": "kept",
        "reason": None,
        "evidence": json.dumps(noted, ensure_ascii=False),
    }


def _messages(sample: _Sample) -> list[Message]:
    return [{"role": role, "content": text} for role, text in sample.context]


def _no_pair(sample: _Sample, settings: ExportSettings) -> dict[str, Any]:
    noted = {
        "quality": sample.quality,
        "selected": sample.selected,
        "limits": {"min_quality_gap": settings.min_quality_gap, "made_up_pairs": settings.made_up_pairs},
    }
    return {
        "record_id": digest("pair", "none", sample.record_id),
        "parents": [sample.record_id],
        "prompt": sample.prompt,
        "context": _messages(sample),
        "chosen": sample.answer or None,
        "rejected": None,
        "origin": None,
        "verdict": REASONS["no_pair"].verdict,
        "reason": "no_pair",
        "evidence": json.dumps(noted, ensure_ascii=False),
    }


# -- a person's edit ----------------------------------------------------------------------------


def _edits(known: list[_Sample], decisions: pl.DataFrame) -> list[dict[str, Any]]:
    if decisions.is_empty():
        return []
    by_id = {one.record_id: one for one in known}
    rows = []
    for decision in decisions.filter(pl.col("decision") == "edit").sort("target").iter_rows(named=True):
        sample = by_id.get(decision["target"])
        edited = edited_answer(decision["edited"])
        if (
            sample is None
            or edited is None
            or not sample.answer
            or canonical(edited) == canonical(sample.answer)
        ):
            continue
        noted = {"reviewer": decision["reviewer"], "at": decision["at"], "decision": "edit"}
        rows.append(_pair("edit", sample, [sample.record_id], edited, sample.answer, noted))
    return rows


def edited_answer(edited: str | None) -> str | None:
    """The answer in a person's edit: a text, messages, or an object with answer, output or messages."""
    if not edited or not edited.strip():
        return None
    try:
        value = json.loads(edited)
    except json.JSONDecodeError:
        return edited.strip()
    if isinstance(value, dict):
        value = next((value[name] for name in ("answer", "output", "messages") if value.get(name)), None)
    if isinstance(value, list):
        last = value[-1] if value else None
        value = last.get("content") if isinstance(last, dict) and last.get("role") == "assistant" else None
    return value.strip() or None if isinstance(value, str) else None


# -- two answers to one prompt -------------------------------------------------------------------


def _same_prompt(known: list[_Sample], min_gap: float) -> list[dict[str, Any]]:
    """The best answer to a prompt against every answer to the same prompt that is clearly worse."""
    groups: dict[str, list[_Sample]] = {}
    for one in known:
        if one.form and one.answer:
            groups.setdefault(one.form, []).append(one)
    rows = []
    for group in groups.values():
        best = max(group, key=lambda one: (one.quality, one.selected, one.record_id))
        for worse in group:
            gap = best.quality - worse.quality
            if worse is best or gap < min_gap or canonical(worse.answer) == canonical(best.answer):
                continue
            noted = {
                "quality": [best.quality, worse.quality],
                "gap": round(gap, 4),
                "limits": {"min_quality_gap": min_gap},
            }
            parents = [best.record_id, worse.record_id]
            rows.append(_pair("same_prompt", best, parents, best.answer, worse.answer, noted))
    return rows


# -- answers made worse ----------------------------------------------------------------------------


def _made_up(unpaired: list[_Sample], known: list[_Sample], seed: int) -> list[dict[str, Any]]:
    """For each selected sample one pair with an answer that is cut off or belongs to a near prompt."""
    clusters: dict[int, list[_Sample]] = {}
    for one in known:
        if one.answer:
            clusters.setdefault(one.cluster, []).append(one)
    rows = []
    # cluster by cluster, so that what was read of a prompt is still at hand
    in_turn = sorted(unpaired, key=lambda one: one.cluster)
    for one in progress.track(in_turn, "pairs made up", every=500):
        if not one.selected or not one.answer or not one.context:
            continue
        lot = int(digest(str(seed), "pair", one.record_id)[:8], 16)
        ways = (_cut_off, _swapped) if lot % 2 else (_swapped, _cut_off)
        made = ways[0](one, clusters[one.cluster], lot) or ways[1](one, clusters[one.cluster], lot)
        if made:
            rows.append(made)
    return rows


def _cut_off(one: _Sample, cluster: list[_Sample], lot: int) -> dict[str, Any] | None:
    """The answer up to somewhere between 30 and 70 % of it, in the middle of a sentence."""
    length = len(one.answer)
    if length < _CUT_FROM:
        return None
    place = int(length * (0.3 + 0.4 * ((lot >> 1) % 997) / 997))
    while place > 1 and not (one.answer[place - 1].isalnum() and one.answer[place].isalnum()):
        place -= 1
    rejected = one.answer[:place]
    if place < length // 5 or rejected[-1] in _SENTENCE_END:
        return None
    noted = {"made_up": "cut off", "kept_share": round(place / length, 3)}
    return _pair("cut_off", one, [one.record_id], one.answer, rejected, noted)


def _swapped(one: _Sample, cluster: list[_Sample], lot: int) -> dict[str, Any] | None:
    """The answer to the nearest of some other prompts in the cluster that ask for something else."""
    own = _bigrams(one.form)
    begin = lot % len(cluster)
    others = [cluster[(begin + step) % len(cluster)] for step in range(min(_NEIGHBOURS, len(cluster)))]
    best, nearness = None, 0.0
    for other in others:
        if other is one or other.answer == one.answer:
            continue
        theirs = _bigrams(other.form)
        shared = len(own & theirs)
        overlap = shared / max(len(own) + len(theirs) - shared, 1)
        if nearness < overlap < _TOO_NEAR:
            best, nearness = other, overlap
    if best is None:
        return None
    noted = {
        "made_up": "answer to another prompt",
        "other_prompt": best.prompt[:200],
        "nearness": round(nearness, 3),
    }
    return _pair("swapped", one, [one.record_id, best.record_id], one.answer, best.answer, noted)


@lru_cache(maxsize=20_000)
def _bigrams(text: str) -> frozenset[str]:
    """Pairs of characters of the beginning of a prompt."""
    begin = text[:_READ]
    return frozenset(begin[at : at + 2] for at in range(len(begin) - 1))


# -- prompts for reinforcement learning -------------------------------------------------------------


def ppo_prompts(
    samples: pl.DataFrame, chosen_ids: pl.Series, settings: ExportSettings, seed: int
) -> pl.DataFrame:
    """Prompts that are not in the SFT set, of the best quality in each cluster, clusters in turn.

    Parameters
    ----------
    samples
        Columns record_id, messages, quality, and cluster where it is known: the kept scored samples.
    chosen_ids
        record_id of the samples in the SFT set.
    settings
        `ppo_prompts`, how many.
    seed
        Seed of the order of clusters and of ties.

    Returns
    -------
    DataFrame
        One row for every sample, under its id: the table `ppo_files` but for run_id, sorted by record_id.
        Dropped: `in_sft_set`, `no_prompt`, `duplicate_of` (the same prompt), `over_budget`.
    """
    cluster = pl.col("cluster") if "cluster" in samples.columns else pl.lit(None)
    ends_with_answer = pl.col("messages").list.last().struct.field("role") == "assistant"
    context = (
        pl.when(ends_with_answer)
        .then(pl.col("messages").list.slice(0, pl.col("messages").list.len() - 1))
        .otherwise("messages")
    )
    frame = samples.sort("record_id").select(
        "record_id", "quality", cluster.cast(pl.Int32).alias("cluster"), context=context
    )
    last = pl.col("context").list.last().struct
    frame = frame.with_columns(
        prompt=pl.when(last.field("role") == "user")
        .then(last.field("content"))
        .fill_null("")
        .str.strip_chars(),
        form=pl.Series([_form(turns) for turns in frame["context"].to_list()], dtype=pl.String),
        lot=pl.Series([digest(str(seed), "ppo", one) for one in frame["record_id"]], dtype=pl.String),
        chosen=pl.col("record_id").is_in(chosen_ids.implode()),
    )
    taken = frame.filter("chosen").unique("form", keep="first").select("form", in_sft="record_id")
    frame = frame.join(taken, on="form", how="left").sort("record_id")
    length = pl.col("prompt").str.len_chars()
    usable = length.is_between(_PROMPT_FROM, _PROMPT_TO)
    free = usable & ~pl.col("chosen") & pl.col("in_sft").is_null()
    order = ["quality", "lot"]
    best_first = frame.filter(free).sort(order, descending=[True, False], nulls_last=True)
    first = best_first.unique("form", keep="first", maintain_order=True)
    turn = first.select("record_id", "lot", "cluster", turn=pl.int_range(pl.len()).over("cluster")).sort(
        "turn", "lot"
    )
    ranked = turn.select("record_id", "turn", rank=pl.int_range(pl.len()))
    frame = frame.join(ranked, on="record_id", how="left").join(
        first.select("form", same_as="record_id"), on="form", how="left"
    )
    doubled = free & (pl.col("same_as") != pl.col("record_id"))
    rules = [
        Rule("in_sft_set", pl.col("chosen") | pl.col("in_sft").is_not_null(), {"in_sft_set": pl.col("in_sft")}),
        Rule("no_prompt", ~usable, {"chars": length}, {"min_chars": _PROMPT_FROM, "max_chars": _PROMPT_TO}),
        Rule("duplicate_of", doubled, {"duplicate_of": pl.when(doubled).then("same_as")}),
        Rule("over_budget", pl.col("rank") >= settings.ppo_prompts, {"rank": pl.col("rank"), "rank_in_cluster": pl.col("turn")}, {"ppo_prompts": settings.ppo_prompts}),
    ]  # fmt: skip
    judged = judge(frame, rules, quality=pl.col("quality"))
    names = ("record_id", "prompt", "context", "cluster", "verdict", "reason", "evidence")
    return judged.select(names).sort("record_id")


def _form(turns: list[Message] | None) -> str:
    return "\n".join(prompt_form(turn["content"] or "") for turn in turns or [])


# -- files ------------------------------------------------------------------------------------------


def rm_lines(rows: pl.DataFrame) -> Iterator[str]:
    """Lines of the reward model's file: `prompt`, `chosen` and `rejected` as messages, as TRL reads them."""
    for row in rows.filter(pl.col("verdict") == "kept").iter_rows(named=True):
        answers = {name: [{"role": "assistant", "content": row[name]}] for name in ("chosen", "rejected")}
        yield from jsonl(
            [{"record_id": row["record_id"], "prompt": row["context"], **answers, "origin": row["origin"]}]
        )


def ppo_lines(rows: pl.DataFrame) -> Iterator[str]:
    """Lines of the file of prompts: `prompt` as messages."""
    kept = rows.filter(pl.col("verdict") == "kept")
    yield from jsonl(
        {"record_id": one, "prompt": context}
        for one, context in kept.select("record_id", "context").iter_rows()
    )
