"""From raw records to clean documents, each judged by rules on its text.

Belongs here: decoding and extracting a table of raw records, removing what a site repeats on all its
pages, normalising and masking, and the rules that refuse a text.
Does not belong here: the measures themselves (`curation.text`), duplicates (`duplicates`).
"""

from __future__ import annotations

from typing import Any

import polars as pl

from curation import progress, text
from curation.corpus import extraction
from curation.records import content_hashes, digest
from curation.settings import CleanSettings
from curation.verdicts import Rule, judge

_HTML_TYPES = ("text/html", "application/xhtml+xml")
#: A line is a header or footer of a site when it stands on so many of its pages and on this share of them.
_MIN_PAGES, _MIN_SHARE = 5, 0.3
#: Share of a page's characters that must be left when repeated lines are taken off.
_MIN_LEFT = 0.3
_MAX_LINE_BYTES = 600


# -- reading ------------------------------------------------------------------------------------


def _utf8(body: bytes | None) -> str | None:
    try:
        return None if body is None else body.decode()
    except UnicodeDecodeError:
        return None


def _as_utf8(bodies: pl.Series) -> pl.Series:
    """The bodies that are UTF-8; null where one is not."""
    try:
        return bodies.cast(pl.Binary).cast(pl.String)
    except pl.exceptions.ComputeError:  # at least one is not
        return pl.Series([_utf8(body) for body in bodies], dtype=pl.String)


def _decoded(raw: pl.DataFrame) -> pl.DataFrame:
    """`decoded` (null where the bytes are no text) and `charset` of each record."""
    as_utf8 = _as_utf8(raw["body"])
    named = raw["charset"].fill_null("utf-8").str.to_lowercase().is_in(["utf-8", "utf8"])
    plain = ~raw["media_type"].is_in(_HTML_TYPES).fill_null(False)
    # valid UTF-8 without control characters or a byte order mark, where nothing else is claimed
    odd = as_utf8.str.contains("[\\x00-\\x08\\x0E-\\x1F\ufeff]").fill_null(True)
    unsure = ~(named & plain & ~odd)
    found = [
        extraction.decode(body, charset) if body is not None else (None, "")
        for body, charset in raw.filter(unsure).select("body", "charset").iter_rows()
    ]
    others = pl.DataFrame(found, schema={"decoded": pl.String, "charset": pl.String}, orient="row")
    utf8 = pl.repeat("utf-8", raw.height, dtype=pl.String, eager=True)
    return pl.DataFrame(
        {
            "decoded": as_utf8.clone().scatter(unsure.arg_true(), others["decoded"]),
            "charset": utf8.scatter(unsure.arg_true(), others["charset"]),
        }
    )


def _extract(html: str, uri: str) -> extraction.Extracted | None:
    try:
        return extraction.extract(html, uri)
    except Exception:  # a parser's failure on one page of millions, of whatever kind, is that page's alone
        return None


def _read(raw: pl.DataFrame) -> pl.DataFrame:
    """Text of each record as it was found: read (null if unreadable), found_title, date, trimmed, is_html, charset."""
    decoded = _decoded(raw)
    body = decoded["decoded"]
    looks_like_html = body.str.slice(0, 2000).str.contains(r"(?i)<!doctype html|<html[\s>]")
    is_html = (
        raw["media_type"].is_in(_HTML_TYPES) | (raw["media_type"].is_null() & looks_like_html)
    ).fill_null(False)
    is_html &= body.is_not_null()
    pages = pl.DataFrame({"html": body, "uri": raw["uri"]}).filter(is_html)
    found = [
        _extract(html, uri)
        for html, uri in progress.track(pages.iter_rows(), "pages extracted", pages.height, 100)
    ]
    columns: dict[str, pl.Series] = {
        "read": body.clone(),
        "found_title": pl.Series([None], dtype=pl.String).new_from_index(0, raw.height),
        "date": pl.Series([None], dtype=pl.String).new_from_index(0, raw.height),
        "trimmed_lines": pl.Series([0], dtype=pl.UInt32).new_from_index(0, raw.height),
    }
    if found:
        rows = is_html.arg_true()
        columns["read"].scatter(
            rows, pl.Series([page.text if page else None for page in found], dtype=pl.String)
        )
        columns["found_title"].scatter(
            rows, pl.Series([page.title if page else None for page in found], dtype=pl.String)
        )
        columns["date"].scatter(
            rows, pl.Series([page.date if page else None for page in found], dtype=pl.String)
        )
        columns["trimmed_lines"].scatter(
            rows, pl.Series([page.trimmed if page else 0 for page in found], dtype=pl.UInt32)
        )
    return pl.DataFrame(columns).with_columns(is_html=is_html, charset=decoded["charset"])


def remove_repeated_lines(pages: pl.DataFrame) -> pl.DataFrame:
    """Take the lines off web pages that their site repeats on many pages.

    `pages`: `text`, `source`, `uri`, `is_html`. A site is the host of the URI, or the source where
    there is none; a section is the first folder of the path. A line goes that stands on at least 5
    pages and 30 % of the pages of its site or of its section. A page that would lose most of its text
    is left alone: it is a copy of others, which is for the duplicates to judge.
    Returns `text` and `repeated_lines` (UInt32), one row a page; texts that are not pages are kept.
    """
    if not pages["is_html"].any():
        return pages.select("text", repeated_lines=pl.lit(0, dtype=pl.UInt32))
    site = pl.concat_str(
        "source", pl.col("uri").str.extract(r"^\w+://([^/?#]+)").fill_null(""), separator=" "
    )
    section = pl.col("uri").str.extract(r"^\w+://[^/?#]+/([^/?#]+)/").fill_null("")
    indexed = pages.select("text", "is_html", site=site, section=section).with_row_index("page")
    lines = indexed.filter("is_html").with_columns(line=pl.col("text").str.split("\n")).explode("line")
    lines = lines.with_columns(key=pl.col("line").str.strip_chars(), chars=pl.col("line").str.len_chars())
    often = pl.any_horizontal(_is_repeated("site"), _is_repeated("site", "section"))
    lines = lines.with_columns(repeated=often & pl.col("key").str.len_bytes().is_between(1, _MAX_LINE_BYTES))
    shorter = (
        lines.group_by("page", maintain_order=True)
        .agg(
            pl.col("line").filter(~pl.col("repeated")).str.join("\n").alias("left"),
            pl.col("repeated").sum().cast(pl.UInt32).alias("repeated_lines"),
            pl.col("chars").filter(~pl.col("repeated")).sum().alias("left_chars"),
            pl.col("chars").sum().alias("all_chars"),
        )
        .filter(pl.col("left_chars") >= _MIN_LEFT * pl.col("all_chars"))
    )
    return indexed.join(shorter, on="page", how="left", maintain_order="left").select(
        pl.coalesce("left", "text").alias("text"), pl.col("repeated_lines").fill_null(0)
    )


def _found(raw: pl.DataFrame) -> pl.DataFrame:
    """What `_read` reads, without what a site repeats: `text` (empty if unreadable), `readable`, `repeated_lines`, and its other columns."""
    read = _read(raw)
    pages = pl.DataFrame(
        {
            "text": read["read"].fill_null(""),
            "source": raw["source"],
            "uri": raw["uri"],
            "is_html": read["is_html"],
        }
    )
    readable = read.drop_in_place("read").is_not_null()
    return read.with_columns(readable=readable).hstack(remove_repeated_lines(pages))


def _is_repeated(*of: str) -> pl.Expr:
    """Whether a line stands on many of the pages that share `of`."""
    pages, holding = pl.col("page").n_unique().over(of), pl.col("page").n_unique().over(*of, "key")
    return (holding >= _MIN_PAGES) & (holding >= _MIN_SHARE * pages)


# -- rules --------------------------------------------------------------------------------------

#: The rules in the order in which they decide: reason, setting that holds the limit, what is measured.
#: Limits that begin with min_ are lower ones, with max_ upper ones; others are lists.
_LIMITS = (
    ("mojibake", "max_garble", "garble"),
    ("too_short", "min_chars", "n_chars"),
    ("too_long", "max_chars", "n_chars"),
    ("too_short", "min_words", "n_words"),
    ("too_long", "max_words", "n_words"),
    ("symbols", "max_symbol_share", "symbol_share"),
    ("symbols", "max_digit_share", "digit_share"),
    ("symbols", "max_punctuation_share", "punctuation_share"),
    ("wrong_language", "languages", "language"),
    ("wrong_language", "max_latin_share", "latin_share"),
    ("repetition", "max_repetition", "repetition"),
    ("repetition", "max_repeated_lines", "line_repetition"),
    ("spam", "max_spam", "spam"),
    ("boilerplate", "max_markup", "markup"),
    ("boilerplate", "max_debris", "debris"),
    ("boilerplate", "min_sentence_ends", "sentence_ends"),
    ("offensive", "max_offence", "offence"),
    ("blocked_term", "blocked_terms", "blocked_term"),
)


def _rule(reason: str, setting: str, measure: str, limit: Any) -> Rule:
    value = pl.col(measure)
    if setting.startswith("min_"):
        fires = value < limit
    elif setting.startswith("max_"):
        fires = value > limit
    elif setting == "languages":
        fires = ~value.is_in(limit)
    else:
        return Rule(reason, value.is_not_null(), {measure: value})
    shown = value.round(4) if isinstance(limit, float) else value
    return Rule(
        reason, fires, {measure: shown}, {setting: list(limit) if isinstance(limit, tuple) else limit}
    )


def _rules(settings: CleanSettings) -> list[Rule]:
    """The rules that are on."""
    limits = [(reason, setting, measure, getattr(settings, setting)) for reason, setting, measure in _LIMITS]
    chars = pl.col("n_chars")
    return [
        Rule("empty", chars == 0, {"n_chars": chars}),
        *(_rule(*rule) for rule in limits if rule[-1] not in (None, ())),
    ]


def _measures(frame: pl.DataFrame, settings: CleanSettings) -> pl.DataFrame:
    """What the rules that are on ask for, and always `language` and `n_chars`."""
    on = {measure for _, setting, measure in _LIMITS if getattr(settings, setting) not in (None, ())}
    renamed = {"line_repetition": "repeated_lines", "sentence_ends": "ended", "symbol_share": "symbol", "digit_share": "digit",
               "punctuation_share": "punctuation", "latin_share": "latin"}  # fmt: skip
    wanted = ["language", "n_chars", *sorted(on - {"language", "n_chars", "blocked_term"})]
    found = text.measures(frame["text"], [renamed.get(name, name) for name in wanted])
    measured = pl.DataFrame(dict(zip(wanted, found, strict=True)))
    if "spam" in on and "title" in frame.columns:
        titled = frame.select(text.title_spam_score(pl.col("title"))).to_series()
        measured = measured.with_columns(spam=1 - (1 - pl.col("spam")) * (1 - titled))
    if "blocked_term" in on:
        terms = _blocked_term(settings.blocked_terms, settings.traditional_to_simplified)
        measured = measured.hstack(frame.select(blocked_term=terms))
    return measured


def _blocked_term(terms: tuple[str, ...], simplify: bool) -> pl.Expr:
    """The first term in the text that the profile blocks, in the normal form that the text has."""
    wanted = text.normalise(pl.Series(terms, dtype=pl.String), simplify=simplify)["text"]
    found = pl.col("text").str.extract_many([term for term in wanted if term], ascii_case_insensitive=True)
    return found.list.first()


def judge_text(
    frame: pl.DataFrame, settings: CleanSettings, *, first: tuple[Rule, ...] = (), **noted: pl.Expr
) -> pl.DataFrame:
    """Judge texts by the rules of cleaning alone.

    `frame` has a column `text` in normal form, and may have `title`, which is read for spam. Adds
    `language`, `n_chars` (UInt32, without white space), `verdict`, `reason` and `evidence`, which holds
    what the rules that are on measured and their limits; the first rule that fires decides, those in
    `first` before the others. `noted` goes into the evidence.
    """
    measured = frame.hstack(_measures(frame, settings))
    judged = judge(measured, [*first, *_rules(settings)], **noted)
    return judged.select(*frame.columns, "language", "n_chars", "verdict", "reason", "evidence")


def clean_documents(raw: pl.DataFrame, settings: CleanSettings) -> pl.DataFrame:
    """Read, normalise and judge raw records.

    HTML is reduced to its main text, other text is decoded; lines that a site repeats on its pages are
    removed; the text is normalised and personal data masked. What cannot be decoded is quarantined.

    Parameters
    ----------
    raw
        Rows of the table RawCrawl.

    Returns
    -------
    One row a record: `record_id`, `source`, `uri`, `shard`, `title`, `text` (cleaned as far as
    possible, empty if there is none), `content_hash`, `language`, `n_chars`, `verdict`, `reason`,
    `evidence`.
    """
    found = _found(raw)
    simplify = settings.traditional_to_simplified
    # texts are handed on, not kept: a shard holds many of them
    normal = text.normalise(found.drop_in_place("text"), simplify=simplify)
    masked = normal
    if settings.mask_pii:
        masked = text.mask_pii(normal.drop_in_place("text"))
    titles = pl.select(pl.coalesce(raw["title"], found["found_title"])).to_series()
    docs = raw.select("record_id", "source", "uri", "shard").with_columns(
        title=pl.select(
            pl.when(titles.is_not_null()).then(text.normalise(titles, simplify=simplify)["text"])
        ).to_series(),
        text=masked.drop_in_place("text"),
        readable=found["readable"],
        charset=found["charset"],
        changes=normal["changes"],
        traditional=normal["traditional"],
        repeated_lines=found["repeated_lines"],
        trimmed_lines=found["trimmed_lines"],
        date=found["date"],
    )
    noted = {name: pl.col(name) for name in ("charset", "changes", "traditional", "repeated_lines", "trimmed_lines", "date")}  # fmt: skip
    if settings.mask_pii:
        docs = docs.with_columns(masked=masked["n_masked"])
        noted["masked"] = pl.col("masked")
    unreadable = Rule("unreadable_text", ~pl.col("readable"))
    judged = judge_text(docs, settings, first=(unreadable,), **noted)
    return judged.select(
        "record_id", "source", "uri", "shard", "title", "text", content_hashes(judged["text"]),
        "language", "n_chars", "verdict", "reason", "evidence",
    )  # fmt: skip


def clean_all(raw: pl.DataFrame, settings: CleanSettings) -> pl.DataFrame:
    """`clean_documents` of the readable records; those that were refused before keep their verdict.

    For sources that are read and cleaned in one stage, such as the seeds.
    """
    readable = raw["verdict"].cast(pl.String) == "kept"
    refused = raw.filter(~readable).select(
        "record_id", "source", "uri", "shard", "title", text=pl.lit(""),
        content_hash=pl.lit(digest("")), language=pl.lit("other"), n_chars=pl.lit(0, dtype=pl.UInt32),
        verdict="verdict", reason="reason", evidence="evidence",
    )  # fmt: skip
    cleaned = clean_documents(raw.filter(readable), settings)
    return pl.concat([cleaned, refused], how="vertical_relaxed")
