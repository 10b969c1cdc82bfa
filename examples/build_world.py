"""Makes the demo's data out of the clean texts, with everything planted that a real crawl brings along.

`python -m examples.build_world` reads `world/articles` and `world/clean` and writes beside them:
`traps.json` (pages to be caught), `general.jsonl` (with unreadable lines), `benchmark.jsonl`,
`sft.jsonl` (samples with defects) and `sft_labels.jsonl` (which sample has which). The same clean
texts and seed make the same files. Belongs here: planting. Does not belong here: serving (`serve`).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from examples.serve import WORLD, Article, read_articles

SEED = 20261120
Sample = dict[str, Any]
_DUPLICATE = ["duplicate_of", "near_duplicate_of"]
_ENDS = "。！？；：，、…!?;:,.\n ”’）)"


# -- the website --------------------------------------------------------------------------------

_SPAM = """皇冠国际娱乐城，新用户注册即送 888 元彩金，首存 100 送 100，存取款三分钟到账，二十四小时客服在线。

真人百家乐、时时彩、六合彩、老虎机、捕鱼达人应有尽有，赔率全网最高，信誉平台，大额无忧。

加微信领取内部必中计划，导师一对一带单，稳赚不赔，日入过万不是梦。

备用网址请收藏，澳门赌场官方直营，博彩牌照齐全，投注返水无上限，邀请好友再送彩金 188 元。"""
_REPEATED = "本站今日更新，欢迎各位茶友光临品鉴，转发有礼，先到先得。"
_RUSSIAN = """Самовар появился в русских домах в восемнадцатом веке и быстро стал центром чаепития.

В середине сосуда проходит труба, в которую кладут угли или сосновые шишки, поэтому вода долго остаётся горячей. Наверх ставят маленький чайник с крепкой заваркой, а в чашке её разбавляют кипятком из крана.

Тульские мастера делали самовары из латуни и меди, украшали их чеканкой и ставили клейма. Хороший самовар служил нескольким поколениям одной семьи."""
_PERSONAL = """编辑部搬到了老面粉厂三号楼，坐二十一路公交到终点站，往回走两百米就能看见红砖烟囱。

投稿请寄 editor@example.com，急事可以打值班手机 13800138000，周一至周五上午九点到十一点有人接。上一期作者沈禾的稿费因为卡号填错退了回来，请尽快与财务联系。

来稿请写明真实姓名和通信地址，三个月没有回音就可以另投。手写稿恕不退还，图片请单独作为附件，不要插在文档里。"""


class _Repost(NamedTuple):
    """A way in which other sites change what they copy."""

    name: str
    change: Callable[[Article, random.Random], tuple[str, str]]


def _with_note(note: str) -> Callable[[Article, random.Random], tuple[str, str]]:
    return lambda article, _: (article.title, f"{note.format(author=article.author)}\n\n{article.body}")


def _with_typos(article: Article, rng: random.Random) -> tuple[str, str]:
    return article.title, _typos(article.body, rng, 5)


def _without_end(article: Article, rng: random.Random) -> tuple[str, str]:
    first, *rest = article.body.split("\n\n")
    short = min(rest, key=len) if len(rest) > 2 else ""
    return f"【精选】{article.title}", "\n\n".join([first, *(part for part in rest if part != short)])


def _half_width(article: Article, rng: random.Random) -> tuple[str, str]:
    return article.title, article.body.translate(str.maketrans("，。；：？！（）", ",.;:?!()"))


_REPOSTS = (
    _Repost("编者按", _with_note("编者按：本文作者{author}，读来颇有意思，转给各位。")),
    _Repost("来源", _with_note("（来源：闲庭周刊　作者：{author}　转载请注明出处）")),
    _Repost("错字", _with_typos),
    _Repost("删节", _without_end),
    _Repost("半角标点", _half_width),
    _Repost("小编", _with_note("小编今天在网上看到一篇好文，分享给关注我们的朋友，记得点个在看。")),
)


def make_traps(articles: Sequence[Article], seed: int = SEED) -> list[dict[str, Any]]:
    """The pages of the website that are there to be caught.

    Each has its URL, the kind of trap, and under `expect` the reasons that may become of it (null:
    kept). Of a copy and its original (`of`), either may be the one that is refused.
    """
    rng = random.Random(seed)
    long = [article for article in articles if len(article.body) >= 350 and "    " not in article.body]
    tea = [article for article in long if article.section == "tea"]
    rest = [article for article in long if article.section != "tea"]
    rng.shuffle(tea)
    rng.shuffle(rest)
    copied = [article for pair in zip(tea, rest, strict=False) for article in pair]

    def take(count: int) -> list[Article]:
        nonlocal copied
        taken, copied = copied[:count], copied[count:]
        return taken

    traps: list[dict[str, Any]] = []

    def add(url: str, trap: str, title: str, expect: Sequence[str | None], **more: Any) -> None:
        traps.append({"url": url, "trap": trap, "title": title, "expect": list(expect), **more})

    for number, article in enumerate(take(8), 1):
        add(
            f"/mirror/{number:02d}.html",
            "exact_copy",
            f"{article.title}（镜像）",
            [None, *_DUPLICATE],
            of=article.url,
            article=_fields(article),
        )
    for number, article in enumerate(take(12), 1):
        repost = _REPOSTS[(number - 1) % len(_REPOSTS)]
        title, body = repost.change(article, rng)
        add(
            f"/repost/{number:02d}.html",
            "near_copy",
            f"{title}（转载）",
            [None, *_DUPLICATE],
            of=article.url,
            detail=repost.name,
            article=_fields(article, title, body),
        )
    for number, article in enumerate(take(8), 1):
        title, body = _traditional(article.title), _traditional(article.body)
        add(
            f"/hant/{number:02d}.html",
            "traditional_copy",
            title,
            [None, *_DUPLICATE],
            of=article.url,
            article=_fields(article, title, body, _traditional(article.author)),
        )
    garbled, old = take(2)
    add(
        old.url,
        "old_charset",
        old.title,
        [None],
        of=old.url,
        charset="gb18030",
        declared="gb2312",
        article=_fields(old),
    )
    title, body = _garbled(garbled.title), _garbled(garbled.body)
    add(
        "/archive/luanma.html",
        "mojibake",
        "旧文存档（乱码）",
        ["mojibake", "unreadable_text", "wrong_language", "symbols"],
        article=_fields(garbled, title, body),
    )
    add("/archive/empty.html", "empty_page", "一篇空白", ["empty", "too_short"])
    add(
        "/app/",
        "script_page",
        "网页应用",
        ["empty", "too_short"],
        body="<!DOCTYPE html><html><head><meta charset='utf-8'></head><body><div id='root'></div><script>window.start && start()</script></body></html>",
    )
    add(
        "/tea/9999.html",
        "missing_page",
        "已经删除的文章",
        ["http_error"],
        status=404,
        body="<html><body>页面不存在</body></html>",
    )
    add(
        "/broken/report.html",
        "server_error",
        "年度报告",
        ["http_error"],
        status=500,
        body="<html><body>Internal Server Error</body></html>",
    )
    add("/go/tea.html", "redirect", "茶事频道（旧址）", ["redirected"], status=301, target="/tea/")
    add("/loop/a.html", "redirect_loop", "环形跳转", ["redirect_loop"], status=302, target="/loop/b.html")
    add(
        "/loop/b.html",
        "redirect_loop",
        "环形跳转（二）",
        ["redirect_loop"],
        status=302,
        target="/loop/a.html",
    )
    add(
        "/private/drafts.html",
        "forbidden_page",
        "未发表的草稿",
        ["robots_forbidden"],
        body="<html><body><p>草稿，勿看。</p></body></html>",
    )
    add(
        "/private/statistics.html",
        "forbidden_page",
        "站务统计",
        ["robots_forbidden"],
        body="<html><body><p>统计，勿看。</p></body></html>",
    )
    add(
        "/files/price-list.pdf",
        "binary_file",
        "春茶价目表（PDF）",
        ["not_text"],
        media_type="application/pdf",
        body="%PDF-1.4\n1 0 obj << /Type /Catalog >> endobj\n%%EOF\n",
    )
    made = {"date": "2024-05-01", "author": "站务", "tags": []}
    add(
        "/promo/888.html",
        "spam",
        "注册送彩金",
        ["spam"],
        article={"title": "皇冠国际娱乐城 注册送彩金", "body": _SPAM, **made},
    )
    add(
        "/promo/today.html",
        "repetition",
        "每日更新",
        ["repetition"],
        article={"title": "每日更新", "body": "\n\n".join([_REPEATED] * 40), **made},
    )
    add(
        "/notice/repair.html",
        "short_page",
        "维护通知",
        ["too_short", "empty", "boilerplate"],
        body="<html><head><meta charset='utf-8'><title>通知</title></head><body><p>今晚维护。</p></body></html>",
    )
    add(
        "/world/samovar.html",
        "foreign_language",
        "Самовар",
        ["wrong_language"],
        body=_plain_page("ru", "Самовар", _RUSSIAN),
    )
    add(
        "/contact.html",
        "personal_data",
        "联系编辑部",
        [None],
        body=_plain_page("zh-CN", "联系编辑部", _PERSONAL),
    )
    return traps


def _fields(
    article: Article, title: str | None = None, body: str | None = None, author: str | None = None
) -> dict[str, Any]:
    return {
        "title": title or article.title,
        "date": article.date,
        "author": author or article.author,
        "tags": list(article.tags),
        "body": body or article.body,
    }


def _plain_page(language: str, title: str, body: str) -> str:
    paragraphs = "".join(f"<p>{part}</p>" for part in body.split("\n\n"))
    return f'<!DOCTYPE html><html lang="{language}"><head><meta charset="utf-8"><title>{title}</title></head><body><h1>{title}</h1>{paragraphs}</body></html>'


@cache
def _converter() -> Any:
    from opencc import OpenCC

    return OpenCC("s2t")


def _traditional(text: str) -> str:
    return str(_converter().convert(text))


def _garbled(text: str, read_as: str = "gb18030") -> str:
    """UTF-8 text as it looks to a program that takes its bytes for another encoding."""
    return text.encode("utf-8").decode(read_as, "replace")


# -- the general documents ----------------------------------------------------------------------


def plant_bad_lines(lines: Sequence[bytes], seed: int = SEED) -> list[bytes]:
    """The lines with seven unreadable ones put between them, as damaged files have them."""
    rng = random.Random(seed)
    good = rng.choice(lines)
    bad = [
        good[: len(good) // 2],  # cut off in the middle
        '{"id": "g-gbk", "text": "这一行是用旧编码写的"}'.encode("gb18030"),
        b"20240501",
        b'{"id": "g-no-text", "title": "\xe5\x8f\xaa\xe6\x9c\x89\xe6\xa0\x87\xe9\xa2\x98"}',
        b'{"id": "g-nested", "text": {"zh": "\xe5\x8c\x85\xe4\xba\x86\xe4\xb8\x80\xe5\xb1\x82"}}',
        b'{"id": "g-number", "text": 31415926}',
        b"\x00" * 64,  # what a crash leaves in a file
    ]
    result = list(lines)
    for line in bad:
        result.insert(rng.randrange(1, len(result)), line)
    return result


# -- the samples --------------------------------------------------------------------------------


def plant_defects(
    samples: Sequence[Sample],
    benchmark: Sequence[Sample],
    other_language: Sequence[Sample],
    seed: int = SEED,
) -> tuple[list[Sample], list[dict[str, Any]]]:
    """Samples with defects among them as they occur in the wild, shuffled, and the labels.

    Copies and leaks are added; the other defects spoil samples in place, so that no sound copy gives
    them away. No sample has two defects, and the original of a copy has none.

    Returns
    -------
    rows, labels
        id, instruction, input, output, task; and id, defect (null: none), of (the other sample or
        question), detail (which variant), in the same order.
    """
    rng = random.Random(seed)
    rows = [{**sample, "key": index} for index, sample in enumerate(samples)]
    labels: dict[int, tuple[str | None, int | str | None, str | None]] = {}
    free = list(range(len(rows)))
    rng.shuffle(free)

    def take(count: int, fits: Callable[[Sample], bool] = lambda _: True) -> list[Sample]:
        taken = [index for index in free if fits(rows[index])][:count]
        for index in taken:
            free.remove(index)
        return [rows[index] for index in taken]

    def add(row: Sample, defect: str, of: int | str | None, detail: str) -> None:
        rows.append({**row, "key": len(rows)})
        labels[rows[-1]["key"]] = (defect, of, detail)

    foreign = {sample["instruction"]: sample for sample in other_language}
    for row in take(len(foreign), lambda row: row["instruction"] in foreign):
        labels[row["key"]] = ("wrong_language", None, foreign[row["instruction"]]["language"])
        row["output"] = foreign[row["instruction"]]["output"]
    for first, second, detail in _swaps(take, rng):
        labels[first["key"]] = ("answer_swap", second["key"], detail)
    for row in take(25, lambda row: len(row["output"]) >= 100):
        row["output"] = _cut(row["output"], rng)
        labels[row["key"]] = ("truncated", None, "mid_sentence")
    for defect, count, variants, fits in (
        ("repetition", 20, _LOOPS, _is_long),
        ("empty", 12, _EMPTY, lambda _: True),
        ("html_boilerplate", 18, _FURNITURE, _is_long),
        ("mojibake", 12, _GARBLES, _is_chinese),
    ):
        for number, row in enumerate(take(count, fits)):
            detail, spoil = list(variants.items())[number % len(variants)]
            spoil(row, rng)
            labels[row["key"]] = (defect, None, detail)
    for row in take(20):
        add(row, "exact_dup", row["key"], "copy")
    for number, row in enumerate(take(25, lambda row: _is_chinese(row) and _is_long(row))):
        detail, change = list(_EDITS.items())[number % len(_EDITS)]
        copy = {**row, **{name: change(row[name], rng) for name in ("instruction", "output")}}
        if detail == "prefix":
            copy["output"] = row["output"]
        add(copy, "near_dup", row["key"], detail)
    for number, question in enumerate(rng.sample(list(benchmark), 15)):
        detail, layout = list(_LEAKS.items())[number % len(_LEAKS)]
        add({"input": "", "task": "qa", **layout(question)}, "benchmark_leak", question["id"], detail)
    rng.shuffle(rows)
    ids = {row["key"]: f"s{number:04d}" for number, row in enumerate(rows, 1)}
    told = []
    for row in rows:
        planted, of, variant = labels.get(row["key"], (None, None, None))
        told.append(
            {
                "id": ids[row["key"]],
                "defect": planted,
                "of": ids[of] if isinstance(of, int) else of,
                "detail": variant,
            }
        )
    names = ("instruction", "input", "output", "task")
    return [{"id": ids[row["key"]], **{name: row[name] for name in names}} for row in rows], told


def _is_long(row: Sample) -> bool:
    return len(row["output"]) >= 60


def _is_chinese(row: Sample) -> bool:
    text = row["output"]
    return sum("一" <= char <= "鿿" for char in text) >= 0.6 * len(text) and len(text) >= 30


def _swaps(take: Callable[..., list[Sample]], rng: random.Random) -> Iterable[tuple[Sample, Sample, str]]:
    """Pass answers round: 13 among any samples, 12 among pairs of the same kind of task."""
    ring = take(13, _is_long)
    pairs = [
        take(2, lambda row, task=task: row["task"] == task)
        for task in ("qa", "howto", "math", "write", "compare", "qa")
    ]
    groups = [("any", ring), *(("same_task", pair) for pair in pairs)]
    for detail, group in groups:
        answers = [row["output"] for row in group]
        for index, row in enumerate(group):
            giver = (index + 1) % len(group)
            row["output"] = answers[giver]
            yield row, group[giver], detail


def _cut(text: str, rng: random.Random) -> str:
    """Break a text off at a random place that is no end of a sentence or clause."""
    places = [
        at
        for at in range(int(0.3 * len(text)), int(0.85 * len(text)))
        if not {text[at - 1], text[at]} & set(_ENDS)
    ]
    return text[: rng.choice(places)]


def _sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[。！？!?\n])", text) if part.strip()]


def _spoiler(
    change: Callable[[str, random.Random], str], field: str = "output"
) -> Callable[[Sample, random.Random], None]:
    def spoil(row: Sample, rng: random.Random) -> None:
        row[field] = change(row[field], rng)

    return spoil


def _blank_prompt(row: Sample, _: random.Random) -> None:
    row["instruction"] = row["input"] = ""


def _phrase(text: str, rng: random.Random) -> str:
    start = rng.randrange(len(text) // 2)
    return text[start : start + rng.randint(4, 10)].strip() or text[:6]


_LOOPS = {
    "last_sentence": _spoiler(lambda text, rng: text + _sentences(text)[-1] * rng.randint(4, 9)),
    "whole_answer": _spoiler(lambda text, rng: "\n".join([text] * rng.randint(3, 4))),
    "phrase_loop": _spoiler(
        lambda text, rng: text[: len(text) // 2] + _phrase(text, rng) * rng.randint(20, 45)
    ),
    "character_loop": _spoiler(
        lambda text, rng: text[: len(text) * 2 // 3] + rng.choice("的了是。啊") * rng.randint(40, 120)
    ),
    "line_loop": _spoiler(
        lambda text, rng: text + "\n" + "\n".join([rng.choice(_sentences(text)).strip()] * rng.randint(6, 12))
    ),
}
_EMPTY = {
    "no_answer": _spoiler(lambda *_: ""),
    "spaces": _spoiler(lambda *_: "  \n"),
    "wide_space": _spoiler(lambda *_: "　"),
    "invisible": _spoiler(lambda *_: "\u200b\ufeff"),
    "no_prompt": _blank_prompt,
    "line_feeds": _spoiler(lambda *_: "\n\n\n"),
}
_FURNITURE = {
    "tags": _spoiler(
        lambda text, _: (
            "".join(
                f'<p class="MsoNormal" style="line-height:24px"><span>{part.strip()}</span></p>'
                for part in _sentences(text)
            )
            + '<div class="clear"></div>'
        )
    ),
    "navigation": _spoiler(
        lambda text, _: (
            f"首页 > 问答 > 生活 > 正文\n字号：大 中 小　打印　收藏\n{text}\n上一篇：没有了　下一篇：返回列表\n相关推荐　热门标签　联系我们　网站地图"
        )
    ),
    "copyright": _spoiler(
        lambda text, _: (
            f"{text}\n\n版权声明：本文内容由网友自发贡献，如有侵权请联系删除。转载请注明出处。\nCopyright © 2019-2024 All Rights Reserved 备案号：000000"
        )
    ),
    "entities": _spoiler(
        lambda text, _: (
            "&nbsp;&nbsp;"
            + text.replace("，", "，&nbsp;")
            .replace("“", "&ldquo;")
            .replace("”", "&rdquo;")
            .replace("。", "。<br/>\r\n")
        )
    ),
    "sharing": _spoiler(
        lambda text, _: (
            f"分享到：微博 微信 QQ空间 豆瓣\n{text}\n点击展开全文\n登录后发表评论　已有 12 人点赞　关注公众号获取更多内容\n扫一扫下载客户端"
        )
    ),
    "script": _spoiler(
        lambda text, _: (
            f'<script>var _hmt=_hmt||[];</script><div id="content"><h1>回答</h1>{text}</div><a href="/ask">我要提问</a><img src="/img/ad.gif" alt="广告">'
        )
    ),
}
_GARBLES = {
    "utf8_as_gbk": _spoiler(lambda text, _: _garbled(text)),
    "utf8_as_latin1": _spoiler(lambda text, _: _garbled(text, "cp1252")),
    "replaced_twice": _spoiler(lambda text, _: _garbled(text.encode("gb18030").decode("utf-8", "replace"))),
    "half": _spoiler(lambda text, _: text[: len(text) // 2] + _garbled(text[len(text) // 2 :])),
}
_TYPOS = (("的", "得"), ("在", "再"), ("做", "作"), ("那", "哪"), ("像", "象"), ("已", "己"), ("她", "他"), ("以", "已"), ("再", "在"), ("地", "的"), ("是", "事"), ("有", "又"))  # fmt: skip
_PREFIXES = ("请问，", "你好，", "麻烦帮忙看一下：", "我想知道，", "【求助】", "老师您好，")


def _typos(text: str, rng: random.Random, count: int = 3) -> str:
    """Put a wrong character of the same sound in some places; change round two where there are none."""
    wrong = dict(_TYPOS)
    places = [at for at, char in enumerate(text) if char in wrong]
    chars = list(text)
    for at in rng.sample(places, min(count, len(places))):
        chars[at] = wrong[chars[at]]
    if not places and len(chars) > 3:
        at = rng.randrange(len(chars) - 2)
        chars[at], chars[at + 1] = chars[at + 1], chars[at]
    return "".join(chars)


def _spaced(text: str, rng: random.Random) -> str:
    return "".join(char + (" " if rng.random() < 0.12 else "") for char in text).replace("\n", "\n\n")


def _shortened(text: str, rng: random.Random) -> str:
    parts = _sentences(text)
    if len(parts) > 2:
        parts.pop(rng.randrange(1, len(parts)))
    return "".join(parts)


_EDITS: dict[str, Callable[[str, random.Random], str]] = {
    "spacing": _spaced,
    "punctuation": lambda text, _: text.translate(str.maketrans("，。；：？！（）、", ",.;:?!(),")),
    "prefix": lambda text, rng: rng.choice(_PREFIXES) + text,
    "traditional": lambda text, _: _traditional(text),
    "dropped_sentence": _shortened,
    "typo": _typos,
}


def _lettered(question: Sample) -> list[str]:
    return [f"{letter}. {option}" for letter, option in zip("ABCDEFGH", question["options"], strict=False)]


def _answer(question: Sample) -> str:
    return str(question["options"]["ABCDEFGH".index(question["answer"])])


_LEAKS: dict[str, Callable[[Sample], Sample]] = {
    "choices": lambda question: {
        "instruction": "\n".join([question["question"], *_lettered(question)]),
        "output": f"{question['answer']}. {_answer(question)}",
    },
    "exam": lambda question: {
        "instruction": f"以下是一道关于{question['subject']}的单项选择题，请选出正确的一项并说明是哪一项。",
        "input": f"{question['question']} " + "　".join(_lettered(question)),
        "output": f"正确答案是{question['answer']}，也就是“{_answer(question)}”。",
    },
    "question_only": lambda question: {
        "instruction": question["question"],
        "output": f"{_answer(question)}。",
    },
}


# -- files --------------------------------------------------------------------------------------


def _read(path: Path) -> list[Sample]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line.strip()]


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def build(world: Path = WORLD, seed: int = SEED) -> None:
    """Write the demo's data files next to the clean texts."""
    clean = world / "clean"
    traps = make_traps(read_articles(world / "articles"), seed)
    (world / "traps.json").write_text(
        json.dumps(traps, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )
    lines = [line for line in (clean / "general.jsonl").read_bytes().split(b"\n") if line.strip()]
    (world / "general.jsonl").write_bytes(b"\n".join(plant_bad_lines(lines, seed)) + b"\n")
    benchmark = _read(clean / "benchmark.jsonl")
    _write(world / "benchmark.jsonl", benchmark)
    samples = _read(clean / "part1.jsonl") + _read(clean / "part2.jsonl")
    rows, labels = plant_defects(samples, benchmark, _read(clean / "other_language.jsonl"), seed)
    _write(world / "sft.jsonl", rows)
    _write(world / "sft_labels.jsonl", labels)


if __name__ == "__main__":
    build()
