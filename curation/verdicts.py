"""The one idea: a stage never deletes a row, it judges it.

Belongs here: the verdict columns, the registry of reasons, `judge` (rules to verdicts), and the
conservation of rows between tables.
Does not belong here: what a stage measures (its own module) or how tables look (`schemas`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import polars as pl

VERDICTS = ("kept", "dropped", "quarantined")
Verdict = pl.Enum(VERDICTS)
#: Columns that every table has, filled by `judge` (and `run_id` by the stage that writes).
JUDGED = {"verdict": Verdict, "reason": pl.String, "evidence": pl.String}
KEPT = pl.col("verdict") == "kept"
F = TypeVar("F", pl.DataFrame, pl.LazyFrame)


@dataclass(frozen=True)
class Reason:
    """A stable code for why a row was not kept, with the verdict that it leads to."""

    code: str
    verdict: Literal["dropped", "quarantined"]
    says: str


REASONS: dict[str, Reason] = {
    reason.code: reason
    for reason in (
        # reading and crawling
        Reason("unreadable_line", "quarantined", "the line is not valid JSON or has no text where text is expected"),
        Reason("unreadable_file", "quarantined", "the file could not be opened or read"),
        Reason("unreadable_text", "quarantined", "the bytes could not be decoded into text"),
        Reason("missing_field", "quarantined", "a field that the source names is missing or empty"),
        Reason("too_large", "quarantined", "a line, page or file with more bytes than a record of the source may have"),
        Reason("http_error", "quarantined", "the server answered with an error status"),
        Reason("fetch_failed", "quarantined", "the page could not be fetched (connection, time-out, size, robots.txt out of reach)"),
        Reason("redirect_loop", "quarantined", "the page redirects without end"),
        Reason("redirected", "dropped", "the page redirects to another one, which has a row of its own"),
        Reason("off_site", "dropped", "a page redirects to it, but it lies on a host that the crawl does not cover"),
        Reason("robots_forbidden", "dropped", "robots.txt forbids the page"),
        Reason("address_forbidden", "dropped", "the address is private, loopback or not http(s), and the profile does not allow it"),
        Reason("over_crawl_budget", "dropped", "the page lies beyond the crawl's depth or page budget"),
        Reason("not_text", "dropped", "the page is neither HTML nor text"),
        Reason("robots_txt", "dropped", "robots.txt: read for what the crawler may fetch"),
        Reason("sitemap", "dropped", "a sitemap: read for the pages that it names"),
        Reason("not_an_article", "dropped", "a page of a wiki that is no article (talk, user, template, category, ...)"),
        # rules on text
        Reason("empty", "dropped", "no text is left"),
        Reason("too_short", "dropped", "shorter than the limit"),
        Reason("too_long", "dropped", "longer than the limit"),
        Reason("mojibake", "dropped", "garbled by a wrong character encoding"),
        Reason("wrong_language", "dropped", "not in a language that the profile asks for, or the answer's language is not the prompt's"),
        Reason("symbols", "dropped", "too large a share of symbols, digits or punctuation"),
        Reason("repetition", "dropped", "lines or phrases repeat too often"),
        Reason("boilerplate", "dropped", "web page furniture (menus, notices, mark-up) in place of text"),
        Reason("spam", "dropped", "advertising or gambling spam"),
        Reason("blocked_term", "dropped", "holds a term that the profile blocks"),
        Reason("offensive", "dropped", "the score of offensive language is above the limit"),
        # duplicates and leaks
        Reason("duplicate_of", "dropped", "the same text as another record, which is kept"),
        Reason("near_duplicate_of", "dropped", "nearly the same text as another record, which is kept"),
        Reason("same_meaning_as", "dropped", "means nearly the same as another record, which is kept"),
        Reason("prototypical", "dropped", "among the most typical of its cluster, of which there are many like it"),
        Reason("benchmark_leak", "dropped", "holds a good part of a benchmark question"),
        # domain
        Reason("not_recalled", "dropped", "neither near to a seed nor found by the domain classifier"),
        Reason("below_keyword_score", "dropped", "not among the best-scored terms"),
        Reason("synonym_of", "dropped", "a person merged the term into another one"),
        Reason("rejected_by_reviewer", "dropped", "a person rejected it"),
        # synthesis
        Reason("no_prompt_found", "dropped", "no prompt could be made from the document"),
        Reason("not_novel", "dropped", "too similar to a prompt that is there already"),
        Reason("no_answer", "dropped", "no answer could be found or the chat model gave none"),
        Reason("chat_failed", "quarantined", "the chat model failed after all retries"),
        # scores
        Reason("truncated", "dropped", "the answer breaks off"),
        Reason("answer_mismatch", "dropped", "the answer does not belong to its prompt"),
        Reason("unpredictable", "dropped", "the language model finds the answer too unlikely"),
        Reason("below_quality", "dropped", "the quality score is below the limit"),
        Reason("untrusted", "dropped", "too unlike the trusted samples: a discriminator tells it from them"),
        Reason("below_judge_score", "dropped", "the judging chat model scored it below the limit by a criterion"),
        Reason("garbled_judgement", "quarantined", "the judging chat model's answer could not be read after all retries"),
        # selection and exports
        Reason("over_budget", "dropped", "sound, but others were chosen within the budget"),
        Reason("over_quota", "dropped", "sound, but its language, task, source or cluster had its share of the budget"),
        Reason("too_similar", "dropped", "too close to a sample that was chosen before it"),
        Reason("over_represented", "dropped", "left out of the SFT files by resampling: its group has more than the wanted share"),
        Reason("no_pair", "dropped", "no better or worse answer to compare with"),
        Reason("in_sft_set", "dropped", "the sample, or one with the same prompt, is in the SFT set already"),
        Reason("no_prompt", "dropped", "not usable as a prompt on its own"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """One reason to refuse a row.

    `fires` is a Boolean expression (null counts as false). `measured` and `limits` are recorded in
    the evidence of *every* row, fired or not: a kept row must be able to say by how much it passed.
    """

    reason: str
    fires: pl.Expr
    measured: Mapping[str, pl.Expr] = field(default_factory=dict)
    limits: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.reason not in REASONS:
            raise ValueError(f"reason {self.reason!r} is not in the registry REASONS")


def evidence(measured: Mapping[str, pl.Expr | object], limits: Mapping[str, object] | None = None) -> pl.Expr:
    """JSON text of what was measured and, under `limits`, against what."""
    fields = [
        (value if isinstance(value, pl.Expr) else pl.lit(value)).alias(name)
        for name, value in measured.items()
    ]
    if limits:
        fields.append(
            pl.struct([pl.lit(value).alias(name) for name, value in limits.items()]).alias("limits")
        )
    return (pl.struct(fields).struct.json_encode() if fields else pl.lit("{}")).alias("evidence")


def judge(frame: F, rules: Sequence[Rule], **noted: pl.Expr | object) -> F:
    """Add `verdict`, `reason` and `evidence`: the first rule that fires decides, else the row is kept.

    Rows are neither added, removed nor reordered. `noted` names further values for the evidence.
    """
    verdict: pl.Expr = pl.lit("kept")
    reason: pl.Expr = pl.lit(None, dtype=pl.String)
    for rule in reversed(rules):
        fires = rule.fires.fill_null(False)
        verdict = pl.when(fires).then(pl.lit(REASONS[rule.reason].verdict)).otherwise(verdict)
        reason = pl.when(fires).then(pl.lit(rule.reason)).otherwise(reason)
    measured: dict[str, pl.Expr | object] = {}
    limits: dict[str, object] = {}
    for rule in rules:
        measured.update(rule.measured)
        limits.update(rule.limits)
    return frame.with_columns(
        verdict.cast(Verdict).alias("verdict"),
        reason.cast(pl.String).alias("reason"),
        evidence(measured | noted, limits),
    )


def kept(frame: pl.LazyFrame) -> pl.LazyFrame:
    """The rows that a downstream stage reads."""
    return frame.filter(KEPT)


def verdict_counts(frame: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Rows by `verdict` and `reason`, most frequent first: columns verdict, reason, rows."""
    return (
        frame.lazy()
        .group_by("verdict", "reason")
        .agg(pl.len().alias("rows"))
        .sort("verdict", "rows", "reason", descending=[False, True, False])
        .collect()
    )


@dataclass(frozen=True)
class Conservation:
    """Rows in against rows out of one table. `ok` when nothing was lost, invented or doubled."""

    rows_in: int
    rows_out: int
    kept: int
    dropped: int
    quarantined: int
    lost: int
    invented: int
    doubled: int
    unexplained: int

    @property
    def ok(self) -> bool:
        return (
            self.lost == self.invented == self.doubled == self.unexplained == 0
            and self.kept + self.dropped + self.quarantined == self.rows_out
        )


def conservation(
    relation: Literal["source", "judge", "expand", "merge", "learn"],
    inputs: pl.LazyFrame | None,
    output: pl.LazyFrame,
) -> Conservation:
    """Recount a table against what it was made of.

    Parameters
    ----------
    relation
        `judge`: every kept input row comes out once under its own id. `expand`, `merge`: every kept
        input row is a parent of at least one output row, and no parent is unknown. `source`,
        `learn`: only the table itself is checked (ids unique, reasons registered).
    inputs
        Frame with `record_id`, the kept rows of the input; None for `source` and `learn`.
    output
        The whole table, all verdicts.
    """
    names = output.collect_schema().names()
    columns = ["record_id", "verdict", "reason"] + (["parents"] if "parents" in names else [])
    rows = output.select(columns).collect()
    ids = rows["record_id"]
    counts = {name: rows.filter(pl.col("verdict") == name).height for name in VERDICTS}
    explained = rows.with_columns(
        expected=pl.col("reason").replace_strict(
            {code: reason.verdict for code, reason in REASONS.items()}, default=None, return_dtype=pl.String
        )
    ).select(
        pl.when(KEPT).then(pl.col("reason").is_null()).otherwise(
            (pl.col("verdict").cast(pl.String) == pl.col("expected")).fill_null(False)
        )
    ).to_series()  # fmt: skip
    rows_in = lost = invented = 0
    if relation in ("judge", "expand", "merge"):
        if inputs is None:
            raise ValueError(f"a {relation} table needs its inputs to be checked")
        before = inputs.select("record_id").collect()["record_id"]
        answered = ids if relation == "judge" else rows["parents"].explode().drop_nulls()
        rows_in = before.len()
        lost = before.filter(~before.is_in(answered.implode())).len()
        invented = answered.unique().filter(~answered.unique().is_in(before.implode())).len()
    return Conservation(
        rows_in=rows_in,
        rows_out=rows.height,
        **counts,
        lost=lost,
        invented=invented,
        doubled=rows.height - ids.n_unique(),
        unexplained=rows.height - int(explained.sum()),
    )
