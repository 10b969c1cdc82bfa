"""Charts: well-formed, safe with any text, and true to the numbers."""

from __future__ import annotations

import base64
import itertools
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.audit import plots

NS = "{http://www.w3.org/2000/svg}"
FUNNEL = [
    {"table": "clean_docs", "kept": 60, "dropped": 30, "quarantined": 10, "reasons": {"too_short": 30}},
    {"table": "空表", "kept": 0, "dropped": 0, "quarantined": 0},
]
CHARTS: dict[str, Callable[[], str]] = {
    "bars": lambda: plots.bars_svg(["甲", "乙"], [3, 1], title="柱状图"),
    "bars of two": lambda: plots.bars_svg(["a"], {"pool": [1.0], "chosen": [2.0]}),
    "bars, none": lambda: plots.bars_svg([], []),
    "bars, zero": lambda: plots.bars_svg(["a"], [0]),
    "funnel": lambda: plots.funnel_svg(FUNNEL, "漏斗"),
    "funnel, none": lambda: plots.funnel_svg([]),
    "histogram": lambda: plots.histogram_svg([1, 2, 2, math.nan, math.inf], marks={"limit": 1.5}),
    "histogram of two": lambda: plots.histogram_svg({"a": [1, 2], "b": []}),
    "histogram, none": lambda: plots.histogram_svg([]),
    "histogram, constant": lambda: plots.histogram_svg([5.0] * 9),
    "scatter": lambda: plots.scatter_svg([0, 1, math.nan], [1, 0, 2], groups=[0, 99, 1], highlight=[True, False, False], hovers=["<b>", "乙", "丙"]),
    "scatter, none": lambda: plots.scatter_svg([], []),
    "line": lambda: plots.line_svg([0, 1, 2], {"loss": [3.0, 2.0, 1.0], "held out": [None, 2.5, None]}, "损失"),
    "line, none": lambda: plots.line_svg([], {}),
    "intervals": lambda: plots.intervals_svg(["a", "b"], [1, 2], [0.5, math.nan], [1.5, math.nan], points=[[1], [2]]),
}  # fmt: skip


def _rects(svg: str) -> dict[str, float]:
    """Width of each rectangle with a hover text, by that text."""
    return {
        rect[0].text or "": float(rect.get("width", 0))
        for rect in ET.fromstring(svg).iter(f"{NS}rect")
        if len(rect)
    }


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_is_well_formed_and_finite(name: str) -> None:
    svg = CHARTS[name]()
    root = ET.fromstring(svg)
    assert root.tag == f"{NS}svg"
    assert root.get("role") == "img"
    body = svg.split("</style>")[1]
    assert not re.search(r'="[^"]*\b(nan|inf)\b', body)
    assert "prefers-color-scheme:dark" in svg


@given(st.text())
@settings(max_examples=60, deadline=None)
def test_any_text_is_safe(text: str) -> None:
    for svg in (
        plots.bars_svg([text], [1], title=text, unit=text),
        plots.funnel_svg(
            [{"table": text, "kept": 1, "dropped": 1, "quarantined": 0, "reasons": {text: 1}}], text
        ),
        plots.scatter_svg([0], [0], text, hovers=[text]),
        plots.line_svg([0, 1], {text: [0, 1]}, text, x_label=text, y_label=text),
    ):
        tags = {element.tag.removeprefix(NS) for element in ET.fromstring(svg).iter()}
        assert tags <= {"svg", "style", "rect", "text", "title", "line", "circle", "polyline"}
        assert plots.as_markdown_image(svg).count("\n") == 0


def test_bars_are_in_proportion() -> None:
    widths = _rects(plots.bars_svg(["甲", "乙"], [30, 10]))
    assert widths["甲: 30"] == pytest.approx(3 * widths["乙: 10"], rel=0.01)


def test_funnel_shares_and_reasons() -> None:
    widths = _rects(plots.funnel_svg(FUNNEL))
    kept = next(width for text, width in widths.items() if "kept: 60 of 100" in text)
    dropped = next(width for text, width in widths.items() if "dropped: 30 of 100" in text)
    assert kept == pytest.approx(2 * dropped, rel=0.01)
    assert any("too_short: 30" in text for text in widths)
    assert "空表: no rows" in widths


def test_histogram_counts_every_finite_value() -> None:
    bars = _rects(plots.histogram_svg([0, 0, 0, 1, math.nan], bins=2))
    assert sorted(int(text.rsplit(": ")[-1]) for text in bars) == [1, 3]


def test_markdown_image_holds_the_chart() -> None:
    svg = plots.bars_svg(["a"], [1], title="标题 [x]")
    image = plots.as_markdown_image(svg)
    match = re.fullmatch(r"!\[标题  x \]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", image)
    assert match
    assert base64.b64decode(match[1]).decode() == svg


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 97), (-3, 3), (0.001, 0.0013), (5, 5)])
def test_ticks_are_inside_and_even(low: float, high: float) -> None:
    got = plots.ticks(low, high)
    assert 1 <= len(got) <= 11
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in got)
    steps = [b - a for a, b in itertools.pairwise(got)]
    assert all(step == pytest.approx(steps[0]) for step in steps)


def test_text_is_cut_to_its_width() -> None:
    cut = plots.shorten("很长的中文标签" * 5, 100)
    assert cut.endswith("…")
    assert plots.text_width(cut) <= 100
    assert plots.shorten("短", 100) == "短"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234567, "1,234,567"), (0.12345, "0.123"), (123.456, "123.5"), (0, "0"), (math.nan, "–")],
)
def test_numbers(value: float, text: str) -> None:
    assert plots.number(value) == text
