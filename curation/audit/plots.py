"""Small charts as SVG text, right in light and dark, with Chinese labels.

Belongs here: drawing numbers that others have measured. The charts are written by hand, since they
must be small, free of fonts and scripts, and readable as an image in the Dagster UI as well as inside
a page. Does not belong here: measuring (`measures`), or putting charts together on a page (`report`).

Every chart is one `<svg>` with a card of its own as background, so that its text is readable on any
page; colours are CSS variables that follow the reader's light or dark setting.
"""

from __future__ import annotations

import base64
import html
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from curation.verdicts import VERDICTS

WIDTH = 760
_MARGIN = 20
_FONT = 12
_ROW = 24
_TITLE_HEIGHT = 40
_LEGEND_HEIGHT = 22
_FONTS = (
    "system-ui,-apple-system,'Segoe UI',Roboto,'PingFang SC','Hiragino Sans GB','Microsoft YaHei',"
    "'Noto Sans CJK SC','Noto Sans SC','Source Han Sans SC','WenQuanYi Micro Hei',sans-serif"
)
#: Colours of series and groups: apart for colour-blind readers, of middle lightness for both themes.
PALETTE = ("#2f7ed8", "#e8833a", "#2a9d7f", "#c2557a", "#8067c9", "#a5882a", "#3fa7c4", "#7b8794")
_STYLE = f"""<style>
.chart{{--card:#ffffff;--ink:#1f2933;--soft:#66727f;--line:#e3e7ec;--kept:#2a9d7f;--dropped:#e8a33a;--quarantined:#a06bc2;--faint:#9aa5b1;font-family:{_FONTS};font-size:{_FONT}px}}
@media (prefers-color-scheme:dark){{.chart{{--card:#181c22;--ink:#e4e8ee;--soft:#98a4b3;--line:#2c333d;--faint:#5d6875}}}}
.chart .card{{fill:var(--card)}}.chart .ink{{fill:var(--ink)}}.chart .soft{{fill:var(--soft)}}.chart .head{{fill:var(--ink);font-size:14px;font-weight:600}}
.chart .grid{{stroke:var(--line);stroke-width:1}}.chart .back{{fill:var(--line)}}.chart .mark{{stroke:var(--ink);stroke-width:1.2;stroke-dasharray:4 3}}
.chart .kept{{fill:var(--kept)}}.chart .dropped{{fill:var(--dropped)}}.chart .quarantined{{fill:var(--quarantined)}}.chart .faint{{fill:var(--faint)}}
</style>"""
#: Characters that XML 1.0 does not allow.
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
Points = ArrayLike | Sequence[float | None]


# -- text and numbers ---------------------------------------------------------------------------


def escape(value: object) -> str:
    """Text made safe for SVG and HTML, in elements and in quoted attributes."""
    return html.escape(_ILLEGAL.sub("", str(value)), quote=True)


def text_width(text: str, size: float = _FONT) -> float:
    """Approximate width of a text in pixels: wide (Chinese) characters count one em, others 0.6."""
    return size * sum(1.0 if unicodedata.east_asian_width(char) in "WF" else 0.6 for char in text)


def shorten(text: str, width: float, size: float = _FONT) -> str:
    """The text cut, with an ellipsis, so that it fits into `width` pixels."""
    text = " ".join(text.split())
    if text_width(text, size) <= width:
        return text
    while text and text_width(text, size) > width - size:
        text = text[:-1]
    return text + "…"


def number(value: float) -> str:
    """A number for people: thousands separated, three significant digits below 100."""
    if not math.isfinite(value):
        return "–"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between `low` and `high`, about `about` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _finite(values: Points) -> np.ndarray:
    """Values as float64, None as NaN."""
    return np.array([math.nan if v is None else v for v in values], dtype=np.float64)  # type: ignore[union-attr]


# -- parts of a chart ---------------------------------------------------------------------------


def _text(x: float, y: float, text: object, kind: str = "ink", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, look: str, hover: object = "") -> str:
    title = f"<title>{escape(hover)}</title>" if hover else ""
    return f'<rect {look} x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" rx="2">{title}</rect>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str = "grid") -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _legend(entries: Mapping[str, str], y: float) -> list[str]:
    """One row of coloured squares with their names; `entries` maps names to SVG looks."""
    parts: list[str] = []
    x = float(_MARGIN)
    for name, look in entries.items():
        parts += [_rect(x, y - 9, 10, 10, look), _text(x + 15, y, name, "soft")]
        x += 15 + text_width(name) + 18
    return parts


def _svg(height: float, title: str, parts: Sequence[str], width: float = WIDTH) -> str:
    """The whole chart: card, heading and parts."""
    head = _text(_MARGIN, 26, shorten(title, width - 2 * _MARGIN, 14), "head") if title else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" aria-label="{escape(title)}" '
        f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:100%;height:auto">'
        f'{_STYLE}<rect class="card" width="{width:.0f}" height="{height:.0f}" rx="8"/>{head}{"".join(parts)}</svg>'
    )


def _series_looks(names: Sequence[str]) -> dict[str, str]:
    return {name: f'fill="{PALETTE[index % len(PALETTE)]}"' for index, name in enumerate(names)}


def _label_width(labels: Sequence[str], most: float) -> float:
    return min(most, max((text_width(label) for label in labels), default=0.0)) + 10


def _top(title: str, *, legend: bool = False) -> float:
    return (_TITLE_HEIGHT if title else 14) + (_LEGEND_HEIGHT if legend else 0)


class _Plane:
    """A plotting area with axes: turns data into pixels."""

    def __init__(
        self,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        top: float,
        height: float,
        width: float = WIDTH,
    ) -> None:
        self.left, self.right = 64.0, float(width - _MARGIN)
        self.top, self.bottom = top, top + height
        self.x_low, self.x_high = _widened(*x_range)
        self.y_low, self.y_high = _widened(*y_range)

    def x(self, value: float) -> float:
        return self.left + (value - self.x_low) / (self.x_high - self.x_low) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - (value - self.y_low) / (self.y_high - self.y_low) * (self.bottom - self.top)

    def axes(self, x_label: str = "", y_label: str = "") -> list[str]:
        parts = []
        for tick in ticks(self.y_low, self.y_high):
            parts += [
                _line(self.left, self.y(tick), self.right, self.y(tick)),
                _text(self.left - 8, self.y(tick) + 4, number(tick), "soft", "end"),
            ]
        for tick in ticks(self.x_low, self.x_high, max(3, round((self.right - self.left) / 85))):
            parts.append(_text(self.x(tick), self.bottom + 18, number(tick), "soft", "middle"))
        if x_label:
            parts.append(_text(self.right, self.bottom + 36, x_label, "soft", "end"))
        if y_label:
            parts.append(_text(self.left, self.top - 8, y_label, "soft"))
        return parts


def _widened(low: float, high: float) -> tuple[float, float]:
    """A range with some length, whatever was given."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0.0, 1.0
    return (low, high) if high > low else (low - 0.5, high + 0.5)


# -- charts -------------------------------------------------------------------------------------


def bars_svg(
    labels: Sequence[str],
    values: Sequence[float] | Mapping[str, Sequence[float]],
    title: str = "",
    *,
    unit: str = "",
) -> str:
    """Horizontal bars, one a label, from zero; each with its number.

    Parameters
    ----------
    labels
        Names of the bars, from top to bottom.
    values
        One number a label, at least 0; or several named series of them, drawn beside each other with
        a legend. Numbers that are not finite are shown as a dash.
    title, unit
        Heading; text appended to each number.
    """
    series = dict(values) if isinstance(values, Mapping) else {"": values}
    looks = _series_looks(list(series))
    many = len(series) > 1
    top = _top(title, legend=many)
    left = _MARGIN + _label_width(labels, 260)
    thick = _ROW * 0.62 if not many else 11.0
    row = _ROW if not many else thick * len(series) + 12
    longest = max((v for one in series.values() for v in one if math.isfinite(v)), default=0.0)
    scale = (WIDTH - _MARGIN - 90 - left) / longest if longest > 0 else 0.0
    parts = _legend(looks, top - 12) if many else []
    for index, label in enumerate(labels):
        y = top + index * row
        parts.append(_text(left - 10, y + row / 2 + 2, shorten(label, left - 10 - _MARGIN), "ink", "end"))
        for place, (name, numbers) in enumerate(series.items()):
            value = float(numbers[index])
            length = max(value * scale, 1.0 if value > 0 else 0.0) if math.isfinite(value) else 0.0
            hover = f"{label}{f' · {name}' if name else ''}: {number(value)}{unit}"
            at = y + 4 + place * thick if many else y + (row - thick) / 2 - 2
            parts += [
                _rect(left, at, length, thick - (1 if many else 0), looks[name], hover),
                _text(left + length + 6, at + thick / 2 + 4, number(value) + unit, "soft"),
            ]
    return _svg(top + len(labels) * row + 14, title, parts)


def funnel_svg(rows: Sequence[Mapping[str, Any]], title: str = "") -> str:
    """One bar a stage, split into kept, dropped and quarantined shares.

    Parameters
    ----------
    rows
        In the order of the graph: `table`, `kept`, `dropped`, `quarantined` (numbers of rows) and
        optionally `reasons` (rows by reason), which shows when the pointer rests on a bar.
    """
    top = _top(title, legend=True)
    left = _MARGIN + _label_width([str(row["table"]) for row in rows], 180)
    width = WIDTH - _MARGIN - 170 - left
    parts = _legend({verdict: f'class="{verdict}"' for verdict in VERDICTS}, top - 12)
    for index, row in enumerate(rows):
        y = top + index * _ROW
        total = sum(int(row[verdict]) for verdict in VERDICTS)
        reasons = "\n".join(f"{code}: {count:,}" for code, count in (row.get("reasons") or {}).items())
        parts.append(_text(left - 10, y + 15, shorten(str(row["table"]), left - 10 - _MARGIN), "ink", "end"))
        if not total:
            parts.append(_rect(left, y + 4, width, 15, 'class="back"', f"{row['table']}: no rows"))
        x = left
        for verdict in VERDICTS:
            count = int(row[verdict])
            if count:
                hover = f"{row['table']} · {verdict}: {count:,} of {total:,}"
                hover += f"\n{reasons}" if verdict != "kept" and reasons else ""
                parts.append(_rect(x, y + 4, width * count / total, 15, f'class="{verdict}"', hover))
                x += width * count / total
        share = f"{int(row['kept']):,} of {total:,}"
        parts.append(_text(WIDTH - _MARGIN, y + 15, share, "soft", "end"))
    return _svg(top + len(rows) * _ROW + 14, title, parts)


def histogram_svg(
    values: ArrayLike | Mapping[str, ArrayLike],
    title: str = "",
    *,
    bins: int = 40,
    x_label: str = "",
    marks: Mapping[str, float] | None = None,
    width: float = WIDTH,
) -> str:
    """How often values fall into equal bins.

    Parameters
    ----------
    values
        Numbers (those that are not finite are left out), or several named sets of them. One set is
        drawn as counts; several as the share of each set, laid over each other.
    marks
        Named places on the x axis, such as a limit, drawn as dashed lines.
    width
        Of the whole chart, in pixels.
    """
    named = dict(values) if isinstance(values, Mapping) else {"": values}
    finite = {
        name: (a := np.asarray(one, dtype=np.float64).ravel())[np.isfinite(a)] for name, one in named.items()
    }
    looks, many = _series_looks(list(finite)), len(finite) > 1
    joined = np.concatenate([*finite.values(), np.array(list((marks or {}).values()), dtype=np.float64)])
    low, high = (float(joined.min()), float(joined.max())) if joined.size else (0.0, 1.0)
    low, high = _widened(low, high)
    edges = np.linspace(low, high, bins + 1)
    counts = {name: np.histogram(one, edges)[0].astype(np.float64) for name, one in finite.items()}
    if many:
        counts = {name: count / max(count.sum(), 1) for name, count in counts.items()}
    tallest = max((count.max() for count in counts.values()), default=0.0)
    top = _top(title, legend=many) + 14
    plane = _Plane((low, high), (0.0, float(tallest) or 1.0), top, 180, width)
    parts = plane.axes(x_label, "share" if many else "rows")
    for name, count in counts.items():
        for index in np.flatnonzero(count):
            x, y = plane.x(edges[index]), plane.y(count[index])
            hover = f"{name + ' · ' if name else ''}{number(edges[index])} to {number(edges[index + 1])}: {number(count[index])}"
            thick = plane.x(edges[index + 1]) - x - 1
            parts.append(
                _rect(
                    x,
                    y,
                    thick,
                    plane.bottom - y,
                    f'{looks[name]} fill-opacity="{0.55 if many else 0.9}"',
                    hover,
                )
            )
    for name, value in (marks or {}).items():
        x = plane.x(value)
        nearer_right = x > (plane.left + plane.right) / 2
        parts += [
            _line(x, plane.top, x, plane.bottom, "mark"),
            _text(
                x - 5 if nearer_right else x + 5,
                plane.top + 10,
                name,
                "ink",
                "end" if nearer_right else "start",
            ),
        ]
    if many:
        parts += _legend(looks, _top(title, legend=True) - 12)
    return _svg(plane.bottom + (46 if x_label else 30), title, parts, width)


def scatter_svg(
    x: ArrayLike,
    y: ArrayLike,
    title: str = "",
    *,
    groups: Sequence[int] | None = None,
    highlight: Sequence[bool] | None = None,
    hovers: Sequence[str] | None = None,
    height: float = 520,
) -> str:
    """A map of points without axes (the directions of a projection have no meaning).

    Parameters
    ----------
    x, y
        Places, in any unit; points that are not finite are left out.
    groups
        Number of each point's group, shown by colour.
    highlight
        Points to draw on top, larger and opaque; the others are faint.
    hovers
        Text of each point, shown when the pointer rests on it.
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    seen = np.isfinite(xs) & np.isfinite(ys)
    on_top = np.asarray(highlight, dtype=bool) if highlight is not None else np.zeros(len(xs), dtype=bool)
    if seen.any():
        plane = _Plane(
            (xs[seen].min(), xs[seen].max()), (ys[seen].min(), ys[seen].max()), _top(title) + 8, height
        )
        plane.left = float(_MARGIN)
    parts = []
    for index in [*np.flatnonzero(seen & ~on_top), *np.flatnonzero(seen & on_top)]:
        colour = PALETTE[int(groups[index]) % len(PALETTE)] if groups is not None else PALETTE[0]
        strong = highlight is None or on_top[index]
        look = f'fill="{colour}" fill-opacity="{0.9 if strong else 0.28}"'
        if on_top[index]:
            look += ' stroke="var(--ink)" stroke-width="0.8"'
        title_of = f"<title>{escape(hovers[index])}</title>" if hovers is not None else ""
        radius = 4.0 if on_top[index] else 2.4
        parts.append(
            f'<circle {look} cx="{plane.x(xs[index]):.1f}" cy="{plane.y(ys[index]):.1f}" r="{radius}">{title_of}</circle>'
        )
    return _svg(_top(title) + height + 28, title, parts)


def line_svg(
    x: ArrayLike,
    series: Mapping[str, Points],
    title: str = "",
    *,
    x_label: str = "",
    y_label: str = "",
) -> str:
    """Lines over a common x axis, such as a loss curve; missing values (None, NaN) are passed over."""
    xs = np.asarray(x, dtype=np.float64)
    lines = {name: _finite(values) for name, values in series.items()}
    every = np.concatenate([one[np.isfinite(one)] for one in lines.values()] or [np.empty(0)])
    looks, top = _series_looks(list(lines)), _top(title, legend=True) + 14
    y_range = (float(every.min()), float(every.max())) if every.size else (0.0, 1.0)
    x_range = (float(xs.min()), float(xs.max())) if xs.size else (0.0, 1.0)
    plane = _Plane(x_range, y_range, top, 240)
    parts = plane.axes(x_label, y_label) + _legend(looks, top - 26)
    for index, (name, values) in enumerate(lines.items()):
        colour = PALETTE[index % len(PALETTE)]
        places = [(plane.x(xs[i]), plane.y(values[i]), i) for i in np.flatnonzero(np.isfinite(values))]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b, _ in places)
        parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round" points="{path}"/>'
        )
        if len(places) <= 60:
            parts += [
                f'<circle fill="{colour}" cx="{a:.1f}" cy="{b:.1f}" r="2.6"><title>{escape(f"{name} · {number(xs[i])}: {number(values[i])}")}</title></circle>'
                for a, b, i in places
            ]
    return _svg(plane.bottom + (46 if x_label else 30), title, parts)


def intervals_svg(
    labels: Sequence[str],
    means: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    title: str = "",
    *,
    points: Sequence[Sequence[float]] | None = None,
    x_label: str = "",
) -> str:
    """A mean with its interval for each label, and the single measurements as faint dots below it.

    An interval that is not finite (one measurement only) is left out.
    """
    every = [v for one in (means, lows, highs, *(points or ())) for v in one if math.isfinite(v)]
    low, high = _widened(min(every, default=0.0), max(every, default=1.0))
    room = (high - low) * 0.05
    top, row = _top(title), 30
    plane = _Plane((low - room, high + room), (0, 1), top, len(labels) * row)
    plane.left, plane.right = _MARGIN + _label_width(labels, 200), WIDTH - _MARGIN - 90.0
    parts = []
    for tick in ticks(plane.x_low, plane.x_high, 6):
        at = plane.x(tick)
        parts += [
            _line(at, plane.top, at, plane.bottom),
            _text(at, plane.bottom + 18, number(tick), "soft", "middle"),
        ]
    for index, label in enumerate(labels):
        y = top + index * row + row / 2
        parts.append(_text(plane.left - 10, y + 4, shorten(label, plane.left - 10 - _MARGIN), "ink", "end"))
        for value in points[index] if points else ():
            if math.isfinite(value):
                parts.append(f'<circle class="faint" cx="{plane.x(value):.1f}" cy="{y + 9:.1f}" r="2.5"/>')
        if math.isfinite(lows[index]) and math.isfinite(highs[index]):
            a, b = plane.x(lows[index]), plane.x(highs[index])
            parts.append(
                f'<line stroke="{PALETTE[0]}" stroke-width="2.5" x1="{a:.1f}" y1="{y:.1f}" x2="{b:.1f}" y2="{y:.1f}"/>'
            )
        if math.isfinite(means[index]):
            hover = f"{label}: {means[index]:.4f} ({lows[index]:.4f} to {highs[index]:.4f})"
            parts.append(
                f'<circle fill="{PALETTE[0]}" cx="{plane.x(means[index]):.1f}" cy="{y:.1f}" r="5"><title>{escape(hover)}</title></circle>'
            )
            parts.append(_text(WIDTH - _MARGIN, y + 4, f"{means[index]:.4f}", "soft", "end"))
    if x_label:
        parts.append(_text(plane.right, plane.bottom + 36, x_label, "soft", "end"))
    return _svg(plane.bottom + (46 if x_label else 30), title, parts)


def as_markdown_image(svg: str) -> str:
    """A chart as a Markdown image with the picture inside, as the Dagster UI shows it."""
    label = re.search(r'aria-label="([^"]*)"', svg)
    name = re.sub(r"[\[\]\n]", " ", html.unescape(label[1])) if label else "chart"
    encoded = base64.b64encode(svg.encode("utf-8", "replace")).decode("ascii")
    return f"![{name}](data:image/svg+xml;base64,{encoded})"
