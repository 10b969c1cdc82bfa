"""Main text of Chinese pages: ours beside plain trafilatura, which is the larger part of it, on the same pages."""

from __future__ import annotations

from typing import Any

import numpy as np
import trafilatura

from bench.measure import compare
from curation.corpus.extraction import extract

PAGES, ROUNDS = 200, 3


def _pages() -> list[str]:
    """Pages as a portal serves them: menus, a share bar, an article, lists of headlines, notices."""
    generator = np.random.default_rng(0)

    def words(length: int) -> str:
        return "".join(map(chr, generator.integers(0x4E00, 0x5E00, length)))

    def links(count: int) -> str:
        return "".join(
            f'<li><a href="/{number}.html">{words(18)}</a><span>2023-05-{number % 28 + 1:02}</span></li>'
            for number in range(count)
        )

    def page() -> str:
        title = words(16)
        article = "".join(
            f"<p>{words(40)}，{words(60)}。{words(50)}。</p>" for _ in range(generator.integers(4, 16))
        )
        return (
            f"<!DOCTYPE html><html><head><title>{title}_{words(4)}网</title><style>p {{margin: 0}}</style></head><body>"
            f'<div class="nav"><ul>{links(12)}</ul></div><div class="path"><a href="/">首页</a> &gt; 正文</div><h1>{title}</h1>'
            f'<div class="share">分享到：微博 微信</div><div class="content">{article}<p>（责任编辑：{words(3)}）</p></div>'
            f'<div class="more"><h3>相关阅读</h3><ul>{links(30)}</ul></div><div class="footer">版权所有 不得转载</div>'
            "<script>var page = 1;</script></body></html>"
        )

    return [page() for _ in range(PAGES)]


def run() -> dict[str, Any]:
    """CPU seconds of both, interleaved, pages a second and the median of the ratios."""
    pages = _pages()
    extract(pages[0])  # imported before it is measured
    trafilatura.extract(pages[0])
    seconds, _, _ = compare(
        lambda: [extract(page) for page in pages],
        lambda: [trafilatura.extract(page) for page in pages],
        "trafilatura",
        ROUNDS,
    )
    return {
        "pages": PAGES,
        "megabytes": round(sum(len(page.encode()) for page in pages) / 1e6, 1),
        "ours_pages_per_cpu_second": round(PAGES / seconds["ours_cpu_seconds"], 1),
        **seconds,
    }
