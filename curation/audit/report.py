"""The selection report: one page that shows what was chosen, what was not, and why.

Belongs here: putting measures, charts and examples together as one HTML file that needs no network.
Does not belong here: drawing a chart (`plots`) or measuring (`measures`).

Every text of a record passes `plots.escape`; the page forbids all outside content by its own policy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from curation.audit import comparison as comparing
from curation.audit import plots
from curation.audit.measures import describe
from curation.selection.geometry import exact_unit
from curation.verdicts import REASONS

_MAP_ROWS = 1_500
_MAP_CHOSEN = 400
_CLUSTERS = 30
_EXAMPLES = 12
_TEXT = 260

_STYLE = """
:root{color-scheme:light dark;--page:#f3f5f7;--card:#fff;--ink:#1f2933;--soft:#66727f;--line:#e3e7ec;--kept:#2a9d7f;--dropped:#e8a33a;--blue:#2f7ed8}
@media (prefers-color-scheme:dark){:root{--page:#101318;--card:#181c22;--ink:#e4e8ee;--soft:#98a4b3;--line:#2c333d}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:14px/1.6 system-ui,-apple-system,'Segoe UI',Roboto,'PingFang SC','Hiragino Sans GB','Microsoft YaHei','Noto Sans CJK SC',sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 20px 60px}h1{font-size:24px;margin:0 0 4px}h2{font-size:17px;margin:36px 0 10px}p{margin:6px 0}.soft{color:var(--soft)}
.facts{display:flex;flex-wrap:wrap;gap:12px;margin:18px 0}.fact{background:var(--card);border-radius:8px;padding:12px 18px;min-width:130px}.fact b{display:block;font-size:22px;line-height:1.3}
.side{display:grid;grid-template-columns:repeat(auto-fit,minmax(440px,1fr));gap:14px;align-items:start}.side>*{min-width:0}
table{border-collapse:collapse;width:100%;background:var(--card);border-radius:8px;overflow:hidden}th,td{padding:6px 12px;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}tr:last-child td{border-bottom:0}
th{font-weight:600;color:var(--soft);font-size:12px}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.wide{overflow-x:auto}
.bar{display:block;height:7px;border-radius:3px;margin:3px 0;min-width:1px}.good{color:var(--kept);font-weight:600}.bad{color:#c77700;font-weight:600}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(340px,1fr));gap:12px}.card{background:var(--card);border-radius:8px;padding:12px 14px;border-left:4px solid var(--kept);overflow-wrap:anywhere}
.card.dropped{border-left-color:var(--dropped)}.card .q{font-weight:600;white-space:pre-wrap}.card .a{white-space:pre-wrap;margin-top:4px}.card .why{margin-top:8px;color:var(--soft);font-size:12px}.card .other{margin-top:8px;padding-left:10px;border-left:2px solid var(--line)}
#hover{white-space:pre-wrap;background:var(--card);border-radius:8px;padding:12px 16px;min-height:120px;max-height:420px;overflow:auto;position:sticky;top:12px}.map{display:grid;grid-template-columns:minmax(0,760px) minmax(220px,1fr);gap:14px}@media(max-width:900px){.map{grid-template-columns:1fr}}
details summary{cursor:pointer;color:var(--soft);margin:8px 0}code{font-size:12px;color:var(--soft)}
"""
_SCRIPT = """
const panel=document.getElementById('hover');
document.querySelectorAll('.map circle').forEach(dot=>dot.addEventListener('pointerenter',()=>{panel.textContent=dot.querySelector('title').textContent;}));
"""


def selection_report_html(
    pool: pl.DataFrame,
    vectors: np.ndarray,
    sft_set: pl.DataFrame,
    measures: pl.DataFrame,
    funnel: Sequence[Mapping[str, Any]],
    *,
    title: str,
    seed: int,
    comparison: pl.DataFrame | None = None,
) -> str:
    """The report as one HTML page.

    Parameters
    ----------
    pool
        The scored samples: record_id, prompt, answer, cluster, terms, quality.
    vectors
        float32 [n, d], one a row of `pool`.
    sft_set
        Table SftSet, rows of all verdicts.
    measures
        Table SelectionReport.
    funnel
        One mapping a table: table, kept, dropped, quarantined, reasons (see `plots.funnel_svg`).
    comparison
        Table StrategyComparison, where strategies were compared.

    Returns
    -------
    HTML text, without references to anything outside it; all texts are escaped.
    """
    order = pool["record_id"].arg_sort()
    judged = sft_set.select(
        "record_id",
        "verdict",
        "reason",
        "evidence",
        "quality_weight",
        "diversity_weight",
        "inclusion_probability",
    )
    rows = pool[order].join(judged, on="record_id", how="left", maintain_order="left")
    rows = rows.with_columns(chosen=(pl.col("verdict").cast(pl.String) == "kept").fill_null(False))
    sections = [
        _header(rows, title),
        _section("From the sources to the final set", _funnel(funnel)),
        _section("The choice beside a random one", _measures(measures)),
        _comparison(comparison),
        _section("Map of the pool", _map(rows, exact_unit(vectors)[order.to_numpy()], seed)),
        _section("Subjects", _clusters(rows)),
        _section("Weights", _weights(rows)),
        _section("Chosen", _chosen(rows)),
        _section("Not chosen", _refused(rows)),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">"
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{plots.escape(title)}</title><style>{_STYLE}</style></head><body><main>{''.join(sections)}</main>"
        f"<script>{_SCRIPT}</script></body></html>"
    )


# -- parts --------------------------------------------------------------------------------------


def _section(heading: str, body: str) -> str:
    return f"<section><h2>{plots.escape(heading)}</h2>{body}</section>" if body else ""


def _cut(text: str | None, size: int = _TEXT) -> str:
    """The beginning of a text, escaped."""
    text = (text or "").strip()
    return plots.escape(text[:size] + ("…" if len(text) > size else ""))


def _number(value: float | None) -> str:
    return "–" if value is None else plots.number(value)


def _header(rows: pl.DataFrame, title: str) -> str:
    chosen = rows.filter("chosen")
    facts = {
        "samples in the pool": rows.height,
        "chosen": chosen.height,
        "share": f"{chosen.height / max(rows.height, 1):.1%}",
        "subjects": rows["cluster"].n_unique(),
        "subjects reached": chosen["cluster"].n_unique(),
        "mean quality, pool": _number(_mean(rows["quality"])),
        "mean quality, chosen": _number(_mean(chosen["quality"])),
    }
    shown = {name: f"{value:,}" if isinstance(value, int) else value for name, value in facts.items()}
    cards = "".join(
        f'<div class="fact"><b>{plots.escape(v)}</b><span class="soft">{name}</span></div>'
        for name, v in shown.items()
    )
    return f'<h1>{plots.escape(title)}</h1><p class="soft">Which samples were chosen for training, what they cover, and why the others were not.</p><div class="facts">{cards}</div>'


def _mean(values: pl.Series) -> float | None:
    mean = values.cast(pl.Float64).mean()
    return None if mean is None else float(mean)  # type: ignore[arg-type]


def _funnel(funnel: Sequence[Mapping[str, Any]]) -> str:
    if not funnel:
        return ""
    reasons = "".join(
        f'<tr><td>{plots.escape(row["table"])}</td><td>{plots.escape(code)}</td><td class="n">{count:,}</td><td class="soft">{plots.escape(REASONS[code].says if code in REASONS else "")}</td></tr>'
        for row in funnel
        for code, count in (row.get("reasons") or {}).items()
    )
    table = f'<table><tr><th>table</th><th>reason</th><th class="n">rows</th><th>meaning</th></tr>{reasons}</table>'
    return plots.funnel_svg(funnel, "Rows of each table by verdict") + (
        f'<details><summary>Every reason</summary><div class="wide">{table}</div></details>'
        if reasons
        else ""
    )


def _measures(measures: pl.DataFrame) -> str:
    """Table of the measures; green where the choice is better than every random draw, amber where worse."""
    if not measures.height:
        return ""
    lines = []
    for row in measures.iter_rows(named=True):
        noted = json.loads(row["evidence"])
        low, high, value = noted.get("random_low"), noted.get("random_high"), row["selected"]
        says, more = describe(row["measure"])
        kind = ""
        if more is not None and None not in (low, high, value) and (value > high or value < low):
            kind = "good" if (value > high) == more else "bad"
        spread = f' <span class="soft">({_number(low)} to {_number(high)})</span>' if low is not None else ""
        lines.append(
            f'<tr><td>{plots.escape(row["measure"])}<br><span class="soft">{plots.escape(says)}</span></td><td class="n {kind}">{_number(value)}</td>'
            f'<td class="n">{_number(row["random"])}{spread}</td><td class="n">{_number(row["pool"])}</td></tr>'
        )
    table = (
        '<div class="wide"><table><tr><th>measure</th><th class="n">chosen</th><th class="n">random, same size (range)</th><th class="n">pool</th></tr>'
        + "".join(lines)
        + "</table></div>"
    )
    note = '<p class="soft">Green: better than all random draws. Amber: worse than all of them.</p>'
    return table + note + _measure_bars(measures)


def _measure_bars(measures: pl.DataFrame) -> str:
    """Measures in which more or less is better, relative to the random choice."""
    wanted = [name for name in measures["measure"] if describe(name)[1] is not None]
    shown = (
        measures.filter(pl.col("measure").is_in(wanted) & (pl.col("random") > 0))
        .with_columns(ratio=pl.col("selected") / pl.col("random"))
        .drop_nulls("ratio")
    )
    if not shown.height:
        return ""
    labels = [name.replace("_", " ") for name in shown["measure"]]
    series = {"chosen": shown["ratio"].to_list(), "random = 1": [1.0] * shown.height}
    return plots.bars_svg(labels, series, "The choice relative to a random one of the same size")


def _comparison(comparison: pl.DataFrame | None) -> str:
    if comparison is None or not comparison.height:
        return ""
    sentence = f"<p>{plots.escape(comparing.verdict_sentence(comparison))}</p>"
    return _section("What it does to a model", sentence + comparing.comparison_svg(comparison))


def project(unit: np.ndarray, seed: int) -> np.ndarray:
    """A map of vectors in the plane, float64 [n, 2]: t-SNE, or PCA where there are fewer than 10 rows.

    van der Maaten and Hinton, 2008, started from PCA. Only nearness on the map has a meaning.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    points = unit.astype(np.float64)
    if len(points) < 3 or points.shape[1] < 2:
        return np.column_stack([np.arange(len(points)), np.zeros(len(points))])
    if len(points) < 10:
        return PCA(2, random_state=seed).fit_transform(points)
    reduced = PCA(min(30, *points.shape), random_state=seed).fit_transform(points)
    perplexity = min(30.0, (len(points) - 1) / 3)
    return (
        TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
        .fit_transform(reduced)
        .astype(np.float64)
    )


def _map(rows: pl.DataFrame, unit: np.ndarray, seed: int) -> str:
    if not rows.height:
        return ""
    random = np.random.default_rng(seed)
    chosen = rows["chosen"].to_numpy()
    top = random.permutation(np.flatnonzero(chosen))[:_MAP_CHOSEN]
    rest = random.permutation(np.flatnonzero(~chosen))[: _MAP_ROWS - len(top)]
    shown = np.sort(np.concatenate([top, rest]))
    part = rows[shown]
    places = project(unit[shown], seed)
    hovers = [
        f"{terms or '–'}\n{'chosen' if is_chosen else reason or 'not judged'} · quality {_number(quality)}\n\n{(prompt or '')[:200]}\n\n{(answer or '')[:300]}"
        for terms, is_chosen, reason, quality, prompt, answer in part.select(
            "terms", "chosen", "reason", "quality", "prompt", "answer"
        ).iter_rows()
    ]
    svg = plots.scatter_svg(
        places[:, 0],
        places[:, 1],
        f"{len(top):,} chosen samples (large) among {len(rest):,} others (faint); colours are clusters",
        groups=part["cluster"].fill_null(0).to_list(),
        highlight=part["chosen"].to_list(),
        hovers=hovers,
    )
    return f'<div class="map"><div>{svg}</div><div><div id="hover" class="soft">Rest the pointer on a dot to read the sample.</div></div></div>'


def _clusters(rows: pl.DataFrame) -> str:
    """The largest clusters with their share of the pool and of the choice."""
    if not rows.height:
        return ""
    total, chosen = rows.height, max(int(rows["chosen"].sum()), 1)
    table = (
        rows.group_by("cluster", "terms")
        .agg(pl.len().alias("pool"), pl.col("chosen").sum(), pl.col("quality").mean())
        .sort("pool", "cluster", descending=[True, False])
    )
    longest = max(table["pool"].max() / total, table["chosen"].max() / chosen)  # type: ignore[operator]
    lines = []
    for cluster, terms, size, taken, quality in table.head(_CLUSTERS).iter_rows():
        shares = ((size / total, "var(--soft)"), (taken / chosen, "var(--blue)"))
        bars = "".join(
            f'<span class="bar" style="width:{100 * share / longest:.1f}%;background:{colour}"></span>'
            for share, colour in shares
        )
        lines.append(
            f'<tr><td class="n">{cluster}</td><td>{plots.escape(terms or "–")}</td><td class="n">{size:,}</td><td class="n">{taken:,}</td>'
            f'<td class="n">{size / total:.1%} / {taken / chosen:.1%}</td><td style="width:26%">{bars}</td><td class="n">{_number(quality)}</td></tr>'
        )
    more = (
        f'<p class="soft">The {_CLUSTERS} largest of {table.height:,} clusters.</p>'
        if table.height > _CLUSTERS
        else ""
    )
    head = '<tr><th class="n">cluster</th><th>terms</th><th class="n">pool</th><th class="n">chosen</th><th class="n">share of pool / chosen</th><th></th><th class="n">mean quality</th></tr>'
    return f'<div class="wide"><table>{head}{"".join(lines)}</table></div>{more}'


def _weights(rows: pl.DataFrame) -> str:
    chosen = rows.filter("chosen")
    charts = []
    for name, label in (
        ("inclusion_probability", "Inclusion probability"),
        ("quality_weight", "Quality weight"),
        ("diversity_weight", "Diversity weight"),
    ):
        sets = {"pool": rows[name].drop_nulls().to_numpy(), "chosen": chosen[name].drop_nulls().to_numpy()}
        charts.append(plots.histogram_svg(sets, label, x_label=label.lower()))
    return f'<div class="side">{"".join(charts)}</div>' if rows.height else ""


def _card(row: Mapping[str, Any], other: Mapping[str, Any] | None = None) -> str:
    noted = json.loads(row["evidence"])
    why = f"quality {_number(row['quality'])} · inclusion probability {_number(row['inclusion_probability'])}"
    if row["reason"]:
        why = f"{row['reason']}: {REASONS[row['reason']].says} · {why}"
    if noted.get("similarity") is not None:
        why += f" · similarity {_number(noted['similarity'])}"
    beside = (
        f'<div class="other"><span class="soft">chosen before it:</span><div class="q">{_cut(other["prompt"])}</div><div class="a">{_cut(other["answer"])}</div></div>'
        if other
        else ""
    )
    return (
        f'<div class="card {"" if row["chosen"] else "dropped"}"><div class="soft">{plots.escape(row["terms"] or "")}</div><div class="q">{_cut(row["prompt"])}</div>'
        f'<div class="a">{_cut(row["answer"])}</div>{beside}<div class="why">{plots.escape(why)}<br><code>{plots.escape(row["record_id"])}</code></div></div>'
    )


def _chosen(rows: pl.DataFrame) -> str:
    """One chosen sample of each of the largest clusters: the one with the highest inclusion probability."""
    shown = (
        rows.filter("chosen")
        .sort("inclusion_probability", "record_id", descending=[True, False])
        .unique("cluster", keep="first", maintain_order=True)
        .sort("cluster")
        .head(_EXAMPLES)
    )
    return (
        f'<div class="cards">{"".join(map(_card, shown.iter_rows(named=True)))}</div>' if shown.height else ""
    )


def _refused(rows: pl.DataFrame) -> str:
    """The most probable of those that were not chosen, by reason, with the choice that stood in the way."""
    refused = rows.filter(~pl.col("chosen") & pl.col("evidence").is_not_null()).sort(
        "inclusion_probability", "record_id", descending=[True, False]
    )
    parts = []
    for reason in sorted(refused["reason"].drop_nulls().unique()):
        of_reason = refused.filter(pl.col("reason") == reason)
        shown = of_reason.unique("cluster", keep="first", maintain_order=True).head(_EXAMPLES)
        names = [json.loads(text).get("close_to") for text in shown["evidence"]]
        others = {
            row["record_id"]: row
            for row in rows.filter(
                pl.col("record_id").is_in(pl.Series(names, dtype=pl.String).implode())
            ).iter_rows(named=True)
        }
        cards = "".join(
            _card(row, others.get(name)) for row, name in zip(shown.iter_rows(named=True), names, strict=True)
        )
        parts.append(
            f'<p>{plots.escape(reason)}: {of_reason.height:,} samples</p><div class="cards">{cards}</div>'
        )
    return "".join(parts)
