"""Main text of web pages: the figures of `curation evaluate html`.

Belongs here: reading the labelled folder and the arithmetic of the figures. Does not belong here: the
method (`curation.corpus.extraction`), of which exactly the functions of the assets are run, page by page.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from curation import progress, text
from curation.corpus import extraction
from curation.corpus.markup import FENCE
from curation.errors import UserError
from curation.evaluation.reading import read_lines, read_table
from curation.settings import Profile

_GRAM = 4


def evaluate_html(folder: Path, profile: Profile) -> dict[str, float]:
    """Extract the main text of labelled pages and decode the raw ones.

    Returns
    -------
    dict
        By kind, and by kind and page type: `f1` (mean over the pages of `gram_f1`), `leak` and `include`
        (mean over the pages of the share of must_exclude and must_include that stands in the text; pages
        without any are left out). With a folder raw_bytes: `raw.pages`, and `raw.decoded`, how many of
        them were decoded to text without U+FFFD that the rule for garbled text lets pass.

    Raises
    ------
    UserError
        A file is missing, cannot be read or lacks a column, or a labelled page is not there.
    """
    pages = read_table(folder, "pages", ["id", "html"])
    truth = read_lines(folder, "ground_truth", ["id", "main_text", "must_include", "must_exclude", "kind"])
    labelled = truth.join(pages.select("id", "html"), on="id", how="left", maintain_order="left")
    missing = labelled.filter(pl.col("html").is_null())["id"]
    if missing.len():
        raise UserError(f"lacks {missing.len()} labelled pages, such as {missing[0]}", where=str(folder))
    found = [
        extraction.extract(html).text
        for html in progress.track(labelled["html"], "pages extracted", labelled.height, 20)
    ]
    return figures(labelled.with_columns(found=pl.Series(found, dtype=pl.String))) | _raw_figures(
        folder, profile.corpus.clean.max_garble
    )


def figures(rows: pl.DataFrame) -> dict[str, float]:
    """The figures, from one row a page: main_text, must_include, must_exclude, kind, page_type, found."""
    texts = list(zip(map(_unfenced, rows["found"]), rows["main_text"].fill_null(""), strict=True))
    measured = rows.with_columns(
        pl.Series("f1", [gram_f1(found, wanted) for found, wanted in texts]),
        *(
            pl.Series(
                name,
                [
                    share_within(found, parts)
                    for found, parts in zip(rows["found"], rows[column].to_list(), strict=True)
                ],
                dtype=pl.Float64,
            )
            for name, column in (("leak", "must_exclude"), ("include", "must_include"))
        ),
    )
    metrics: dict[str, float] = {}
    for by in [["kind"], ["kind", "page_type"]] if "page_type" in rows.columns else [["kind"]]:
        for group, pages in sorted(measured.drop_nulls(by).group_by(by)):
            name = ".".join(map(str, group))
            for metric in ("f1", "leak", "include"):
                if pages[metric].count():
                    metrics[f"{name}.{metric}"] = float(pages[metric].mean())  # type: ignore[arg-type]
            metrics[f"{name}.pages"] = pages.height
    return metrics


def _squashed(written: str) -> str:
    return re.sub(r"\s+", "", written)


def _unfenced(written: str) -> str:
    """A text without the fences that mark its code: they are layout, which no page holds as text."""
    return "\n".join(line for line in written.split("\n") if line != FENCE)


def _grams(written: str) -> Counter[str]:
    """Character 4-grams without white space, with their counts; a shorter text is one gram."""
    bare = _squashed(written)
    return Counter(bare[place : place + _GRAM] for place in range(max(len(bare) - _GRAM + 1, bool(bare))))


def gram_f1(found: str, wanted: str) -> float:
    """F1 of the multisets of character 4-grams of two texts, white space removed; 1 if both are empty."""
    one, two = _grams(found), _grams(wanted)
    total = one.total() + two.total()
    return 2 * (one & two).total() / total if total else 1.0


def share_within(found: str, parts: Sequence[str] | None) -> float | None:
    """Share of the parts that stand in a text, white space apart; None if there are no parts."""
    wanted = [bare for part in parts or () if (bare := _squashed(part))]
    bare = _squashed(found)
    return sum(part in bare for part in wanted) / len(wanted) if wanted else None


def _raw_figures(folder: Path, max_garble: float | None) -> dict[str, float]:
    try:
        bodies = [file.read_bytes() for file in sorted((folder / "raw_bytes").glob("*.html"))]
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(error.filename)) from None
    if not bodies:
        return {}
    decoded = pl.DataFrame({"text": [extraction.decode(body, None)[0] for body in bodies]})
    right = decoded.select(
        pl.col("text").is_not_null()
        & ~pl.col("text").str.contains("\ufffd", literal=True)
        & (text.garble_score(pl.col("text")) <= (1.0 if max_garble is None else max_garble))
    ).to_series()
    return {"raw.decoded": float(right.fill_null(False).sum()), "raw.pages": float(len(bodies))}
