"""The demo's website: a made-up Chinese magazine on the loopback address, with the traps of a real one.

`python -m examples.serve [--port 8808] [--while COMMAND ...]`. Belongs here: making pages of the
articles in `world/articles` and of `world/traps.json`, and serving them. Does not belong here: the
traps themselves (`build_world`). Only the standard library is needed.
"""

from __future__ import annotations

import argparse
import errno
import html
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

WORLD = Path(__file__).resolve().parent / "world"
PORT = 8808
SITE = "闲庭周刊"
#: Sections in the order of the navigation bar, with the template (`_TEMPLATES`) of their pages.
SECTIONS = {
    "tea": ("茶事", "magazine"),
    "coffee": ("咖啡", "magazine"),
    "cooking": ("厨房", "portal"),
    "gardening": ("园艺", "modern"),
    "travel": ("行走", "magazine"),
    "history": ("旧事", "portal"),
    "astronomy": ("星空", "modern"),
    "health": ("健康", "portal"),
    "sports": ("运动", "modern"),
    "music": ("听音", "magazine"),
    "law": ("法律", "portal"),
    "finance": ("理财", "portal"),
    "programming": ("编程", "modern"),
}
PER_PAGE = 8
ROBOTS = "User-agent: *\nDisallow: /private/\nDisallow: /search\n\nSitemap: /sitemap.xml\n"
_ADS = (
    "春季新品茶具满 199 减 50，限时三天",
    "下载客户端，首月会员只要 1 元",
    "本地搬家，准时上门，不满意不收费",
    "零基础学摄影，前一百名送三脚架",
    "工厂直发实木书架，包安装包退换",
    "周末亲子农场，扫码领取门票",
)


@dataclass(frozen=True)
class Article:
    """A text with its head lines; `section` and `number` make its address."""

    section: str
    number: int
    title: str
    date: str
    author: str
    tags: tuple[str, ...]
    body: str

    @property
    def url(self) -> str:
        return f"/{self.section}/{self.number:04d}.html"


@dataclass(frozen=True)
class Answer:
    """What the server answers to a path."""

    body: bytes
    media_type: str = "text/html; charset=utf-8"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def read_articles(folder: Path = WORLD / "articles") -> list[Article]:
    """All articles, by section in the order of the navigation bar."""
    return [article for section in SECTIONS for article in _read_section(folder / f"{section}.md")]


def _read_section(path: Path) -> Iterator[Article]:
    texts = re.split(r"^=====$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for number, text in enumerate(texts, 1):
        head, _, body = text.strip("\n").partition("\n\n")
        lines = head.split("\n")
        fields = dict(line.split(": ", 1) for line in lines[1:])
        tags = tuple(tag.strip() for tag in fields["tags"].split(","))
        yield Article(
            path.stem,
            number,
            lines[0].removeprefix("# "),
            fields["date"],
            fields["author"],
            tags,
            body.strip("\n"),
        )


def read_traps(path: Path = WORLD / "traps.json") -> list[dict[str, Any]]:
    """The pages that are there to be caught, with what is expected to become of each."""
    return list(json.loads(path.read_text(encoding="utf-8")))


# -- pages --------------------------------------------------------------------------------------


def build_site(articles: Sequence[Article], traps: Sequence[dict[str, Any]]) -> dict[str, Answer]:
    """Every path of the site with its answer. The same world makes the same bytes."""
    by_url = {article.url: article for article in articles}
    site = {"/robots.txt": Answer(ROBOTS.encode(), "text/plain; charset=utf-8")}
    for article in articles:
        site[article.url] = _page(article, articles)
    for section in SECTIONS:
        site |= _lists(section, [article for article in articles if article.section == section])
    for trap in traps:
        site[trap["url"]] = _trap(trap, by_url, articles)
    site["/more.html"] = _html(
        _list_page("更多内容", [(trap["url"], trap["title"]) for trap in traps if trap.get("linked", True)])
    )
    site["/"] = _html(_home(articles))
    pages = sorted(
        url for url, answer in site.items() if answer.status == 200 and url.endswith((".html", "/"))
    )
    urls = "".join(
        f"<url><loc>{html.escape(url)}</loc></url>" for url in pages if not url.startswith("/private/")
    )
    site["/sitemap.xml"] = Answer(
        f'<?xml version="1.0" encoding="UTF-8"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>'.encode(),
        "application/xml",
    )
    return site


def _html(text: str) -> Answer:
    return Answer(text.encode("utf-8"))


def _trap(trap: dict[str, Any], by_url: dict[str, Article], articles: Sequence[Article]) -> Answer:
    """The answer of a trap: a text under another address, a redirect, or the raw body that it names."""
    if "target" in trap:
        return Answer(b"", status=trap["status"], headers={"Location": trap["target"]})
    if "article" in trap:
        given = trap["article"]
        section = by_url[trap["of"]].section if trap.get("of") else "tea"
        made = Article(
            section, 0, given["title"], given["date"], given["author"], tuple(given["tags"]), given["body"]
        )
        return _page(made, articles, trap.get("template"), trap.get("charset", "utf-8"), trap.get("declared"))
    return Answer(
        trap.get("body", "").encode("utf-8"),
        trap.get("media_type", "text/html; charset=utf-8"),
        trap.get("status", 200),
    )


def _page(
    article: Article,
    articles: Sequence[Article],
    template: str | None = None,
    charset: str = "utf-8",
    declared: str | None = None,
) -> Answer:
    """An article with the furniture of its section; `declared` is the character set that it claims."""
    name, usual = SECTIONS[article.section]
    others = sorted(
        (other for other in articles if other.section == article.section and other.title != article.title),
        key=lambda other: _number(article.title + other.title),
    )
    ranking = sorted(articles, key=lambda other: _number(article.section + other.url))[:8]
    parts = {
        "title": html.escape(article.title),
        "body": _body(article.body),
        "date": article.date,
        "author": html.escape(article.author),
        "keywords": html.escape(",".join(article.tags)),
        "tags": " ".join(f"<span>{html.escape(tag)}</span>" for tag in article.tags),
        "section": name,
        "section_url": f"/{article.section}/",
        "navigation": _navigation(),
        "related": _links((other.url, other.title) for other in others[:4]),
        "ranking": _links((other.url, other.title) for other in ranking),
        "reads": str(500 + _number(article.title) % 90_000),
        "comments": str(_number(article.author + article.title) % 60),
        "ad": _ADS[_number(article.title) % len(_ADS)],
        "ad2": _ADS[(_number(article.title) + 3) % len(_ADS)],
        "charset": declared or charset,
        "site": SITE,
    }
    text = _fill(_TEMPLATES[template or usual], parts)
    return Answer(text.encode(charset), "text/html" if declared else f"text/html; charset={charset}")


def _fill(template: str, parts: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _body(text: str) -> str:
    """The marked-up body as HTML: paragraphs, subtitles, lists, quotes, code."""
    return "\n".join(_block(block) for block in re.split(r"\n{2,}", text.strip("\n")))


def _block(block: str) -> str:
    lines = block.split("\n")
    if lines[0].startswith("## "):
        rest = _block("\n".join(lines[1:])) if lines[1:] else ""
        return f"<h2>{html.escape(lines[0][3:])}</h2>{rest}"
    if all(line.startswith("    ") for line in lines):
        return f"<pre><code>{html.escape(chr(10).join(line[4:] for line in lines))}</code></pre>"
    for mark, tag in ((r"- ", "ul"), (r"\d+\. ", "ol")):
        if all(re.match(mark, line) for line in lines):
            items = "".join(f"<li>{html.escape(re.sub(mark, '', line, count=1))}</li>" for line in lines)
            return f"<{tag}>{items}</{tag}>"
    if all(line.startswith(">") for line in lines):
        return (
            f"<blockquote>{''.join(f'<p>{html.escape(line[1:].strip())}</p>' for line in lines)}</blockquote>"
        )
    return f"<p>{'<br>'.join(html.escape(line) for line in lines)}</p>"


def _links(pairs: Iterable[tuple[str, str]]) -> str:
    items = "".join(f'<li><a href="{url}">{html.escape(title)}</a></li>' for url, title in pairs)
    return f"<ul>{items}</ul>"


def _navigation() -> str:
    links = "".join(f'<a href="/{section}/">{name}</a> ' for section, (name, _) in SECTIONS.items())
    return f'<a href="/">首页</a> {links}<a href="/more.html">更多</a>'


def _lists(section: str, articles: Sequence[Article]) -> dict[str, Answer]:
    """The list pages of a section, newest article first, with links from one to the next."""
    newest = sorted(articles, key=lambda article: (article.date, article.number), reverse=True)
    starts = range(0, max(1, len(newest)), PER_PAGE)
    urls = [
        f"/{section}/" if not index else f"/{section}/index_{index + 1}.html" for index in range(len(starts))
    ]
    turn = "".join(f'<a href="{url}">第{index + 1}页</a> ' for index, url in enumerate(urls))
    return {
        url: _html(
            _list_page(
                SECTIONS[section][0],
                [(article.url, article.title) for article in newest[start : start + PER_PAGE]],
                turn,
            )
        )
        for url, start in zip(urls, starts, strict=True)
    }


def _list_page(name: str, pairs: Sequence[tuple[str, str]], turn: str = "") -> str:
    parts = {"name": name, "links": _links(pairs), "turn": turn, "navigation": _navigation(), "site": SITE}
    return _fill(_LIST, parts)


def _home(articles: Sequence[Article]) -> str:
    newest = sorted(articles, key=lambda article: (article.date, article.url), reverse=True)[:12]
    blocks = "".join(
        f'<section><h3><a href="/{section}/">{name}</a></h3>{_links((a.url, a.title) for a in articles if a.section == section and a.number <= 3)}</section>'
        for section, (name, _) in SECTIONS.items()
    )
    parts = {"name": "首页", "links": _links((article.url, article.title) for article in newest) + blocks}
    return _fill(_LIST, parts | {"turn": "", "navigation": _navigation(), "site": SITE})


def _number(text: str) -> int:
    """A number that looks random and is always the same for a text."""
    return int.from_bytes(blake2b(text.encode("utf-8"), digest_size=6).digest())


_FOOTER = """<div class="footer"><p>关于我们 | 联系编辑部 | 版权声明 | 广告合作 | <a href="/private/statistics.html">站务</a> | <a href="/search?q=%E8%8C%B6">站内搜索</a></p>
<p>Copyright © 2019-2026 {{site}} 版权所有 未经授权请勿转载</p><p>虚构ICP备00000000号-1　网络出版许可（示例）第000号</p></div>"""
_LIST = (
    """<!DOCTYPE html>
<html lang="zh-CN"><head><meta charset="utf-8"><title>{{name}} - {{site}}</title></head>
<body><div class="top"><a href="/">{{site}}</a> | 登录 | 注册 | 手机版</div><div class="nav">{{navigation}}</div>
<div class="list"><h2>{{name}}</h2>{{links}}<div class="pages">{{turn}}</div></div>
"""
    + _FOOTER
    + "</body></html>"
)
_TEMPLATES = {
    "magazine": """<!DOCTYPE html>
<html lang="zh-CN"><head><meta charset="{{charset}}"><title>{{title}} - {{section}} - {{site}}</title><meta name="keywords" content="{{keywords}}">
<style>body{font:16px/1.8 serif}.nav a{margin:0 8px}</style><script>var page={ready:true};function share(where){window.open('/share?to='+where)}</script></head>
<body><div class="header"><div class="logo"><a href="/">{{site}}</a></div><div class="user">登录 | 注册 | <a href="/more.html">手机版</a></div></div>
<div class="nav">{{navigation}}</div>
<div class="crumbs">您的位置：<a href="/">首页</a> &gt; <a href="{{section_url}}">{{section}}</a> &gt; 正文</div>
<div class="main"><h1>{{title}}</h1>
<div class="byline">{{date}}　作者：{{author}}　阅读 {{reads}}　<span>字号：大 中 小</span></div>
<div class="share" onclick="share('all')">分享到： 微博 微信 空间 豆瓣 复制链接</div>
<div class="content">
{{body}}
</div>
<div class="tags">标签：{{tags}}</div>
<div class="ad">广告　{{ad}}</div>
<div class="related"><h4>相关阅读</h4>{{related}}</div>
<div class="comments"><h4>网友评论（{{comments}}）</h4><p>登录后才能发表评论，文明上网，理性发言。</p></div></div>
<div class="side"><h4>本周热读</h4>{{ranking}}<div class="ad">广告　{{ad2}}</div></div>
"""
    + _FOOTER
    + "</body></html>",
    "portal": """<html><head><meta http-equiv="Content-Type" content="text/html; charset={{charset}}"><title>{{title}}_{{section}}_{{site}}</title></head>
<body bgcolor="#ffffff"><table width="960" align="center"><tr><td colspan="2"><b>{{site}}</b>　设为首页　加入收藏</td></tr>
<tr><td colspan="2" class="menu">{{navigation}}</td></tr>
<tr><td width="680" valign="top"><font size="2">当前位置：<a href="/">首页</a> → <a href="{{section_url}}">{{section}}频道</a> → 浏览文章</font>
<h1 align="center">{{title}}</h1><p align="center"><font color="#888888">时间：{{date}}　来源：{{site}}　作者：{{author}}　点击：{{reads}} 次</font></p>
<table><tr><td class="gg">{{ad}}</td></tr></table>
<div id="zoom">
{{body}}
</div>
<p>【<a href="javascript:window.print()">打印</a>】【<a href="javascript:window.close()">关闭</a>】【收藏】【推荐给朋友】</p>
<p>关键词：{{tags}}</p><div class="xg"><b>延伸阅读</b>{{related}}</div><p>共有 {{comments}} 条评论　<a href="/login.html">我要评论</a></p></td>
<td width="260" valign="top"><b>点击排行</b>{{ranking}}<p>{{ad2}}</p><p>免责声明：本站文章仅代表作者个人观点，与本站立场无关。</p></td></tr></table>
"""
    + _FOOTER
    + "</body></html>",
    "modern": """<!DOCTYPE html>
<html lang="zh-CN"><head><meta charset="{{charset}}"><meta name="viewport" content="width=device-width"><title>{{title}} | {{site}}</title>
<meta property="og:title" content="{{title}}"><link rel="stylesheet" href="data:text/css,main%7Bmax-width:720px%7D"></head>
<body><header><a class="brand" href="/">{{site}}</a><nav>{{navigation}}</nav><button>订阅</button></header>
<main><nav aria-label="breadcrumb"><a href="/">首页</a> / <a href="{{section_url}}">{{section}}</a></nav>
<article><header><h1>{{title}}</h1><p class="meta"><address>{{author}}</address> · <time datetime="{{date}}">{{date}}</time> · {{reads}} 次阅读</p></header>
{{body}}
<footer>{{tags}}</footer></article>
<section class="actions"><button>赞</button> <button>收藏</button> <button>转发</button> <button>举报</button></section>
<aside class="promo"><p>{{ad}}</p></aside>
<section><h2>你可能还想看</h2>{{related}}</section>
<section class="reply"><h2>{{comments}} 条回应</h2><form><textarea placeholder="说点什么吧"></textarea><button>发送</button></form></section></main>
<aside><h2>大家都在读</h2>{{ranking}}<p>{{ad2}}</p></aside>
"""
    + _FOOTER
    + "</body></html>",
}


# -- serving ------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """The website on the loopback address; `port` 0 takes a free one."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, site: dict[str, Answer], port: int = PORT) -> None:
        self.site = site
        super().__init__(("127.0.0.1", port), _Handler)

    def __enter__(self) -> Server:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        answer = self.server.site.get(
            path, Answer("<html><body><h1>404</h1><p>页面不存在</p></body></html>".encode(), status=404)
        )
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.media_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing: the crawler's table has a row for every request."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted or, with --while, as long as a command runs. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="examples.serve", description="Serve the demo's website on 127.0.0.1."
    )
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument(
        "--while",
        dest="command",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="stop when this command ends, with its exit status",
    )
    given = parser.parse_args(arguments)
    try:
        server = Server(build_site(read_articles(), read_traps()), given.port)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        print(
            f"examples.serve: port {given.port} {'is taken by another program' if taken else f'cannot be opened: {error.strerror}'}; choose one with --port",
            file=sys.stderr,
        )
        return 1
    with server:
        print(
            f"{SITE}: http://127.0.0.1:{server.server_port}/ ({len(server.site)} pages)",
            file=sys.stderr,
            flush=True,
        )
        try:
            if given.command:
                return subprocess.run(given.command, check=False).returncode
            threading.Event().wait()
        except FileNotFoundError:
            print(f"examples.serve: no command {given.command[0]!r}", file=sys.stderr)
            return 127
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
