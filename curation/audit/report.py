"""The selection report: one page that shows what was chosen, what was not, and why.

Belongs here: putting measures, charts and examples together as one HTML file that needs no network.
Does not belong here: drawing a chart (`plots`) or measuring (`measures`).

Every text of a record passes `plots.escape`; the page forbids all outside content by its own policy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from curation.audit import comparison as comparing
from curation.audit import plots
from curation.audit.measures import SCENE, describe
from curation.selection.geometry import exact_unit
from curation.verdicts import REASONS

_MAP_ROWS = 1_500
_MAP_CHOSEN = 400
_CLUSTERS = 30
_EXAMPLES = 12
_TEXT = 260
_REASONS = 9
_THIRD = 370
#: The largest clusters have a colour of their own on the map; the others share the last one, a grey.
_COLOURED = len(plots.PALETTE) - 1
_SCENES = 30
#: Measures by what they tell.
_GROUPS = {
    "What it covers": (
        "samples", "cluster_coverage", "neighbourhood_coverage", "facility_location", "scene_coverage",
        "sample_coverage", "sample_coverage_covered", "outside_scenes",
    ),
    "How diverse it is": (
        "mean_pairwise_distance", "vendi_score", "cluster_entropy", "distinct_1", "distinct_2", "distinct_3",
        "near_duplicate_pairs", "near_duplicate_share",
    ),
    "How far it is from the pool": ("cluster_kl", "cluster_js", "embedding_js", "token_kl", "token_js"),
}  # fmt: skip
_OTHERS = "Quality, lengths, languages"

_STYLE = """
:root{color-scheme:light dark;--page:#f3f5f7;--card:#fff;--ink:#1f2933;--soft:#66727f;--line:#e3e7ec;--kept:#2a9d7f;--dropped:#e8a33a;--blue:#2f7ed8}
@media (prefers-color-scheme:dark){:root{--page:#101318;--card:#181c22;--ink:#e4e8ee;--soft:#98a4b3;--line:#2c333d}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:14px/1.6 system-ui,-apple-system,'Segoe UI',Roboto,'PingFang SC','Hiragino Sans GB','Microsoft YaHei','Noto Sans CJK SC',sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 20px 60px}h1{font-size:24px;margin:0 0 4px}h2{font-size:17px;margin:36px 0 10px}p{margin:6px 0}.soft{color:var(--soft)}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:12px;margin:18px 0}.fact{background:var(--card);border-radius:8px;padding:12px 18px}.fact b{display:block;font-size:22px;line-height:1.3}
.side{display:grid;grid-template-columns:repeat(auto-fit,minmax(440px,1fr));gap:14px;align-items:start}.third{display:grid;grid-template-columns:repeat(auto-fit,minmax(340px,1fr));gap:14px}.side>*,.third>*,.beside>*{min-width:0}
.beside{display:grid;grid-template-columns:minmax(0,760px) minmax(260px,1fr);gap:14px;align-items:start}.beside svg,.third svg{display:block;width:100%}.panel{background:var(--card);border-radius:8px;padding:12px 16px}.panel:not(:has(#hover)){max-height:900px;overflow:auto}.panel th,.panel td{padding:6px 5px}.panel table{border-radius:0}@media(max-width:900px){.beside{grid-template-columns:1fr}}
h3{font-size:13px;margin:0 0 6px;color:var(--soft)}.says{display:block;color:var(--soft);font-size:12px;line-height:1.35}
table{border-collapse:collapse;width:100%;background:var(--card);border-radius:8px;overflow:hidden}th,td{padding:6px 12px;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}tr:last-child td{border-bottom:0}
th{font-weight:600;color:var(--soft);font-size:12px}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.wide{overflow-x:auto}
.bar{display:block;height:7px;border-radius:3px;margin:3px 0;min-width:1px}.good{color:var(--kept);font-weight:600}.bad{color:#c77700;font-weight:600}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(340px,1fr));gap:12px}.card{background:var(--card);border-radius:8px;padding:12px 14px;border-left:4px solid var(--kept);overflow-wrap:anywhere}
.card.dropped{border-left-color:var(--dropped)}.card .q{font-weight:600;white-space:pre-wrap}.card .a{white-space:pre-wrap;margin-top:4px}.card .why{margin-top:8px;color:var(--soft);font-size:12px}.card .other{margin-top:8px;padding-left:10px;border-left:2px solid var(--line)}
.legend{font-size:12px;line-height:1.5}.legend i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:7px}.legend div{overflow:hidden;white-space:nowrap;text-overflow:ellipsis}
#hover{white-space:pre-wrap;overflow-wrap:anywhere;overflow:auto;min-height:120px;max-height:380px;margin-top:12px;padding-top:12px;border-top:1px solid var(--line);color:var(--soft)}@media(min-width:901px){.map{align-items:stretch}}
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
        _section("Map of the pool", _map(rows, exact_unit(vectors)[order.to_numpy()], seed)),
        _section("From the sources to the final set", _funnel(funnel)),
        _section("The choice beside a random one", _measures(measures)),
        _section("Scenes", _scenes(measures)),
        _comparison(comparison),
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


def _beside(chart: str, panel: str, kind: str = "") -> str:
    """A chart with what there is to read about it at its right."""
    return f'<div class="beside {kind}"><div>{chart}</div><div class="panel">{panel}</div></div>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are HTML already; a column whose name begins with # holds numbers."""
    kinds = [' class="n"' if name.startswith("#") else "" for name in head]
    lines = ["".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) for row in rows]
    top = "".join(
        f"<th{kind}>{plots.escape(name.lstrip('#'))}</th>" for kind, name in zip(kinds, head, strict=True)
    )
    return f"<table><tr>{top}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _funnel(funnel: Sequence[Mapping[str, Any]]) -> str:
    """Rows of each table by verdict (but for models, which judge nothing), the commonest reasons at its right, and all of them folded in."""
    models = [row for row in funnel if row.get("relation") == "learn" and not row["dropped"]]
    funnel = [row for row in funnel if row not in models]
    if not funnel:
        return ""
    reasons = [
        (row["table"], code, count, REASONS[code].says if code in REASONS else "")
        for row in funnel
        for code, count in (row.get("reasons") or {}).items()
    ]
    commonest = sorted(reasons, key=lambda reason: -reason[2])[:_REASONS]
    short = [
        (
            f'{plots.escape(code)}<span class="says">{plots.escape(table)}: {plots.escape(says)}</span>',
            f"{n:,}",
        )
        for table, code, n, says in commonest
    ]
    every = [
        (plots.escape(table), plots.escape(code), f"{n:,}", f'<span class="soft">{plots.escape(says)}</span>')
        for table, code, n, says in reasons
    ]
    return _beside(
        plots.funnel_svg(funnel, "Rows of each table by verdict"),
        "<h3>Why most rows were left out</h3>" + _table(("reason", "#rows"), short) if short else "",
    ) + (
        f'<details><summary>Every reason</summary><div class="wide">{_table(("table", "reason", "#rows", "meaning"), every)}</div></details>'
        if every
        else ""
    )


def _measures(measures: pl.DataFrame) -> str:
    """Tables of the measures, by what they tell; green where the choice beats every random draw, amber where it loses."""
    shown = measures.filter(~pl.col("measure").str.starts_with(f"{SCENE}."))
    if not shown.height:
        return ""
    cells: dict[str, list[Sequence[str]]] = {name: [] for name in (*_GROUPS, _OTHERS)}
    for row in shown.iter_rows(named=True):
        group = next((name for name, held in _GROUPS.items() if row["measure"] in held), _OTHERS)
        cells[group].append(_measure(row))
    head = ("measure", "#chosen", "#random (range)", "#pool")
    tables = "".join(
        f"<div><h3>{name}</h3>{_table(head, lines)}</div>" for name, lines in cells.items() if lines
    )
    note = '<p class="soft">Random choices are of the same size. <span class="good">Green</span>: better than all of them. <span class="bad">Amber</span>: worse than all of them.</p>'
    return f'{note}<div class="side">{tables}</div>'


def _measure(row: Mapping[str, Any]) -> Sequence[str]:
    """The cells of a measure."""
    noted = json.loads(row["evidence"])
    low, high, value = noted.get("random_low"), noted.get("random_high"), row["selected"]
    says, more = describe(row["measure"])
    kind = ""
    if more is not None and None not in (low, high, value) and (value > high or value < low):
        kind = "good" if (value > high) == more else "bad"
    spread = (
        f'<span class="says">{_number(low)} to {_number(high)}</span>'
        if low is not None and low < high
        else ""
    )
    name = row["measure"].replace("_", " ")
    return (
        f'<span title="{plots.escape(row["measure"])}">{plots.escape(name)}</span><span class="says">{plots.escape(says)}</span>',
        f'<span class="{kind}">{_number(value)}</span>',
        f"{_number(row['random'])}{spread}",
        _number(row["pool"]),
    )


def scenes_svg(measures: pl.DataFrame) -> str:
    """What is wanted of each scene, what was chosen, and what a random choice has; empty without scenes.

    `measures` is the table SelectionReport; the thirty scenes of the highest targets are drawn.
    """
    rows = _scene_rows(measures)
    if not rows:
        return ""
    series = {
        name: [math.nan if row[name] is None else row[name] for row in rows[:_SCENES]]
        for name in ("chosen", "target", "random")
    }
    return plots.bars_svg([row["scene"] for row in rows[:_SCENES]], series, "Samples of each scene")


def _scene_rows(measures: pl.DataFrame) -> list[dict[str, Any]]:
    """Scene, target, weight, chosen, random and pool of each scene, the highest target first."""
    found = []
    for row in measures.filter(pl.col("measure").str.starts_with(f"{SCENE}.")).iter_rows(named=True):
        noted = json.loads(row["evidence"])
        scene = row["measure"].partition(".")[2]
        aims = {"scene": scene, "target": noted["target"], "weight": noted["weight"]}
        found.append({**aims, "chosen": row["selected"], "random": row["random"], "pool": row["pool"]})
    return sorted(found, key=lambda row: (-row["target"], -row["pool"], row["scene"]))


def _scenes(measures: pl.DataFrame) -> str:
    """Chart and table of the scenes; amber where the choice has less than its target though the pool has more."""
    rows = _scene_rows(measures)
    lines = []
    for row in rows:
        short = row["chosen"] < row["target"] and row["pool"] > row["chosen"]
        kind = "bad" if short else "good" if row["chosen"] >= row["target"] else ""
        numbers = (_number(row[name]) for name in ("target", "random", "pool"))
        wanted, random, pool = numbers
        name = plots.escape(row["scene"]) + (
            f' <span class="soft">× {_number(row["weight"])}</span>' if row["weight"] != 1 else ""
        )
        lines.append((name, wanted, f'<span class="{kind}">{_number(row["chosen"])}</span>', random, pool))
    if not lines:
        return ""
    note = '<p class="soft"><span class="good">Green</span>: the target is met. <span class="bad">Amber</span>: it is not, though the pool has more.</p>'
    table = _table(("scene", "#target", "#chosen", "#random", "#pool"), lines)
    return note + _beside(scenes_svg(measures), table)


def _comparison(comparison: pl.DataFrame | None) -> str:
    if comparison is None or not comparison.height:
        return ""
    by_strategy = (
        comparison.group_by("strategy")
        .agg(pl.col("heldout_loss", "samples", "tokens").mean(), pl.len().alias("trainings"))
        .sort("heldout_loss", "strategy")
    )
    lines = [
        (plots.escape(name), f"{loss:.4f}", f"{samples:,.0f}", f"{tokens:,.0f}", f"{trainings}")
        for name, loss, samples, tokens, trainings in by_strategy.select(
            "strategy", "heldout_loss", "samples", "tokens", "trainings"
        ).iter_rows()
    ]
    table = _table(("trained on", "#loss", "#samples", "#tokens", "#runs"), lines)
    sentence = f"<p>{plots.escape(comparing.verdict_sentence(comparison))}</p>"
    return _section(
        "What it does to a model",
        sentence + _beside(comparing.comparison_svg(comparison), table),
    )


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
        f"{len(top):,} chosen samples (large) among {len(rest):,} others (faint)",
        groups=part["cluster"].clip(upper_bound=_COLOURED).to_list(),
        highlight=part["chosen"].to_list(),
        hovers=hovers,
    )
    terms = dict(rows.filter(pl.col("cluster") < _COLOURED).select("cluster", "terms").unique().iter_rows())
    entries = [(plots.PALETTE[cluster], terms[cluster] or "–") for cluster in sorted(terms)]
    if rows["cluster"].n_unique() > len(entries):
        entries.append((plots.PALETTE[_COLOURED], "all other clusters"))
    legend = "".join(
        f'<div><i style="background:{colour}"></i>{plots.escape(name)}</div>' for colour, name in entries
    )
    note = "Each dot is a sample; near dots say similar things. Rest the pointer on one to read it here."
    return _beside(svg, f'<div class="legend">{legend}</div><div id="hover">{note}</div>', "map")


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
        charts.append(plots.histogram_svg(sets, label, bins=24, width=_THIRD))
    return f'<div class="third">{"".join(charts)}</div>' if rows.height else ""


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
