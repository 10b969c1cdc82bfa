"""What the Dagster UI shows of a table.

Belongs here: the column schema, row counts by verdict and reason, previews, pictures, progress lines.
Does not belong here: making the pictures (`curation.audit.plots`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import dagster as dg
import polars as pl

from curation import progress, schemas
from curation.lineage import Relation
from curation.verdicts import REASONS, VERDICTS
from resources.lake import Lake

_PREVIEW_ROWS = 5
_PREVIEW_CHARS = 120


def definition(asset: str, relation: Relation) -> dict[str, Any]:
    """Metadata that an asset has before it was ever made: its columns and its relation to its inputs."""
    fields = schemas.TABLES[asset].to_schema().columns
    columns = [
        dg.TableColumn(
            name,
            str(dtype),
            description=fields[name].description,
            constraints=dg.TableColumnConstraints(nullable=fields[name].nullable, unique=fields[name].unique),
        )
        for name, dtype in schemas.columns(asset).items()
    ]
    return {"dagster/column_schema": dg.TableSchema(columns=columns), "relation": str(relation)}


def written(lake: Lake, asset: str, shards: Sequence[str | None], notes: dict[str, Any]) -> dict[str, Any]:
    """Metadata of a table that has just been written: counts, reasons, previews, and the stage's notes."""
    from curation.audit import plots

    stamps = [stamp for stamp in (lake.stamp(asset, shard) for shard in shards) if stamp]
    counts = {verdict: sum(stamp.counts.get(verdict, 0) for stamp in stamps) for verdict in VERDICTS}
    reasons: dict[str, int] = {}
    for stamp in stamps:
        for code, rows in stamp.reasons.items():
            reasons[code] = reasons.get(code, 0) + rows
    entries: dict[str, Any] = {"dagster/row_count": sum(counts.values()), **counts}
    if reasons:
        ordered = dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
        records = [
            dg.TableRecord({"reason": code, "rows": rows, "meaning": REASONS[code].says})
            for code, rows in ordered.items()
        ]
        entries["reasons"] = dg.MetadataValue.table(records)
        entries["reasons_plot"] = dg.MetadataValue.md(
            plots.as_markdown_image(
                plots.bars_svg(list(ordered), list(ordered.values()), title=f"{asset}: not kept")
            )
        )
    files = [str(lake.path(asset, shard)) for shard in shards]
    entries["path"] = dg.MetadataValue.path(files[0] if len(files) == 1 else str(lake.folder / asset))
    judged = lake.scan(asset, [shard for shard in shards if shard] or None, kept=False)
    entries["preview"] = _preview(judged.filter(pl.col("verdict") == "kept"))
    if reasons:
        entries["preview_not_kept"] = _preview(judged.filter(pl.col("verdict") != "kept"))
    for name, value in notes.items():
        is_picture = isinstance(value, str) and value.lstrip().startswith("<svg")
        entries[name] = dg.MetadataValue.md(plots.as_markdown_image(value)) if is_picture else value
    return entries


def _preview(rows: pl.LazyFrame) -> dg.MetadataValue:
    """The first rows as a Markdown table, long values cut."""
    shown = (
        rows.select(pl.exclude("run_id", "body", "vector", "signature", "bands"))
        .head(_PREVIEW_ROWS)
        .collect()
    )
    lines = ["| " + " | ".join(shown.columns) + " |", "|" + "---|" * shown.width]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in shown.iter_rows()]
    return dg.MetadataValue.md("\n".join(lines))


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    text = text if len(text) <= _PREVIEW_CHARS else text[:_PREVIEW_CHARS] + "…"
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;").replace("`", "'")


def log_progress(context: dg.AssetExecutionContext, every: float = 5.0) -> progress.Listener:
    """A listener that writes a line with rate and time left every few seconds, and passes all on."""
    outer = progress.listener()
    begun: dict[str, float] = {}
    said: dict[str, float] = {}

    def hear(what: str, done: int, total: int | None) -> None:
        if outer is not None:
            outer(what, done, total)
        now = time.monotonic()
        first = begun.setdefault(what, now)
        if now - said.setdefault(what, now) < every:
            return
        said[what] = now
        rate = done / (now - first) if now > first else 0.0
        left = f", {(total - done) / rate:,.0f} s left" if total and rate else ""
        context.log.info(f"{what}: {done:,}{f' of {total:,}' if total else ''} ({rate:,.0f}/s{left})")

    return hear
