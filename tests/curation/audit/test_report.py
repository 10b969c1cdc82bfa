"""The report: one page, nothing from outside, no text that could run, and the reasons to be read."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import polars as pl

from curation import schemas
from curation.audit import measures, report
from curation.selection import strategies
from curation.settings import SelectionSettings

ATTACK = '<script>alert(1)</script><img src=x onerror="alert(1)">\x00"\''
FUNNEL = [{"table": "clean_docs", "kept": 3, "dropped": 1, "quarantined": 0, "reasons": {"too_short": 1}}]


class Tags(HTMLParser):
    """Collects the tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def _page(n: int = 40, text: str = "什么是糖尿病") -> str:
    random = np.random.default_rng(0)
    pool = pl.DataFrame(
        {
            "record_id": [f"{i:032x}" for i in range(n)],
            "shard": ["a"] * n,
            "messages": pl.Series(
                [[{"role": "user", "content": text}, {"role": "assistant", "content": "答"}]] * n,
                dtype=schemas.Messages,
            ),
            "prompt": [f"{text}{i}" for i in range(n)],
            "answer": [text] * n,
            "language": ["zh"] * n,
            "terms": [text] * n,
            "quality": random.random(n),
            "cluster": pl.Series(random.integers(0, 4, n), dtype=pl.Int32),
            "to_neighbours": np.full(n, 0.4),
            "covers": np.zeros(n, dtype=np.uint32),
        },
        schema_overrides=dict.fromkeys(
            ("record_id", "shard", "prompt", "answer", "language", "terms"), pl.String
        ),
    )
    vectors = random.normal(size=(n, 6)).astype(np.float32)
    if n:
        vectors[1:8] = vectors[0]  # more than are left out: some meet one that is in
    sft_set = strategies.select_samples(pool, vectors, SelectionSettings(budget=max(n - 5, 1)), seed=0)
    chosen = sft_set.filter(pl.col("reason").is_null())["record_id"]
    measured = measures.measure_selection(pool, vectors, chosen, seed=0)
    funnel = [*FUNNEL, {**FUNNEL[0], "table": text}]
    return report.selection_report_html(pool, vectors, sft_set, measured, funnel, title=text, seed=0)


def test_texts_cannot_run() -> None:
    tags = Tags(_page(text=ATTACK)).tags
    assert [tag for tag, _ in tags].count("script") == 1
    assert not [tag for tag, _ in tags if tag in ("img", "iframe", "object", "link")]
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]


def test_nothing_comes_from_outside() -> None:
    page = _page()
    for tag, attributes in Tags(page).tags:
        assert not {"src", "href", "action"} & set(attributes), tag
    assert "default-src 'none'" in page
    assert "url(" not in page
    assert "@import" not in page


def test_reasons_and_measures_are_shown() -> None:
    page = _page()
    for wanted in (
        "too_similar",
        "too close to a sample that was chosen before it",
        "vendi_score",
        "shorter than the limit",
        "什么是糖尿病0",
    ):
        assert wanted in page


def test_an_empty_pool_still_has_a_page() -> None:
    assert "samples in the pool" in _page(0)


def test_map_separates_what_is_apart() -> None:
    random = np.random.default_rng(0)
    points = np.repeat(np.eye(6)[:2], 30, axis=0) + random.normal(scale=0.05, size=(60, 6))
    places = report.project(points.astype(np.float32), seed=0)
    assert places.shape == (60, 2)
    centres = places[:30].mean(axis=0), places[30:].mean(axis=0)
    spread = places[:30].std() + places[30:].std()
    assert np.linalg.norm(centres[0] - centres[1]) > spread
    for few in (0, 1, 2, 5):
        assert report.project(points[:few].astype(np.float32), seed=0).shape == (few, 2)
