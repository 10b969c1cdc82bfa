"""The dataset card: what is in the files, where it comes from, how it was chosen, and what it is not.

Belongs here: the figures of the card and its Markdown, in Chinese and English.
Does not belong here: the report with plots (`audit.report`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import yaml

from curation.records import digest
from curation.verdicts import REASONS, Verdict

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"))  # fmt: skip
_LANGUAGE_NAMES = {
    "zh": "中文 Chinese",
    "en": "英文 English",
    "mixed": "中英混合 mixed",
    "other": "其他 other",
}


def card_figures(samples: pl.DataFrame, files: Mapping[str, int]) -> dict[str, float]:
    """The figures of the card by name.

    Parameters
    ----------
    samples
        The final set: columns messages, source, language, and task where it is known.
    files
        Name of each file with its lines.
    """
    figures: dict[str, float] = {"samples": samples.height}
    turns = pl.col("messages").list.len()
    contents = pl.col("messages").list.eval(pl.element().struct.field("content").str.len_chars())
    last = pl.col("messages").list.last().struct.field("content").str.len_chars()
    if not samples.is_empty():
        measured = samples.select(
            characters=contents.list.sum().sum(),
            answer_characters_median=last.median(),
            answer_characters_longest=last.max(),
            multi_turn=(turns > 3).sum(),
        )
        figures |= {name: float(value or 0) for name, value in measured.row(0, named=True).items()}
    for column in ("language", "source", "task"):
        if column not in samples.columns:
            continue
        counts = (
            samples.group_by(pl.col(column).fill_null("–"))
            .len()
            .sort(["len", column], descending=[True, False])
        )
        figures |= {f"{column}.{name}": float(rows) for name, rows in counts.iter_rows()}
    return figures | {f"lines.{name}": float(lines) for name, lines in files.items()}


def card_rows(figures: Mapping[str, float], path: str) -> pl.DataFrame:
    """Rows of the table `dataset_card` but for run_id."""
    schema: dict[str, Any] = {"record_id": pl.String, "path": pl.String, "figure": pl.String, "value": pl.Float64, "verdict": Verdict, "reason": pl.String, "evidence": pl.String}  # fmt: skip
    rows = [
        {"record_id": digest("card", name), "path": path, "figure": name, "value": value, "verdict": "kept", "reason": None, "evidence": "{}"}
        for name, value in figures.items()
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=schema)


def dataset_card(
    name: str,
    figures: Mapping[str, float],
    funnel: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    examples: pl.DataFrame | None = None,
) -> str:
    """The card as Markdown with YAML front matter, as the Hugging Face hub reads it.

    Parameters
    ----------
    name
        Name of the dataset.
    figures
        From `card_figures`.
    funnel
        For each table: table, rows, kept, dropped, quarantined, and reasons (code to rows).
    settings
        What decided, section by section; shown as YAML. Secrets do not belong in a profile.
    examples
        A few samples to show: columns record_id and messages.

    Returns
    -------
    str
        Nothing in it depends on the clock: the same figures give the same bytes.
    """
    parts = [
        _front_matter(name, figures),
        f"# {_plain(name)}",
        _summary(figures),
        _files(figures),
        _counts("语言 · Languages", "language", figures),
        _counts("来源 · Sources", "source", figures),
        _counts("任务 · Tasks", "task", figures),
        _resampling(figures),
        _examples(examples),
        _funnel(funnel),
        _how(settings),
        _LIMITS,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(name: str, figures: Mapping[str, float]) -> str:
    languages = [one for one in ("zh", "en") if figures.get(f"language.{one}")]
    if figures.get("language.mixed"):
        languages = ["zh", "en"]
    total = figures["samples"]
    matter: dict[str, Any] = {
        "pretty_name": name,
        "language": languages or ["zh"],
        "task_categories": ["text-generation"],
        "tags": ["sft", "instruction-tuning", "curation-dagster"],
        "size_categories": [next((label for limit, label in _SIZES if total < limit), "100M<n<1B")],
    }
    files = [one.removeprefix("lines.") for one in figures if one.startswith("lines.")]
    if files:
        matter["configs"] = [
            {"config_name": file.removesuffix(".jsonl").replace(".", "_"), "data_files": file}
            for file in sorted(files)
        ]
    text = yaml.safe_dump(matter, allow_unicode=True, sort_keys=False).strip()
    return f"---\n# license: to be filled in by whoever publishes the data; the licences of the sources decide\n{text}\n---"


def _summary(figures: Mapping[str, float]) -> str:
    total = figures["samples"]
    if not total:
        return "## 概要 · Summary\n\n本数据集没有样本。 The dataset holds no samples."
    return (
        "## 概要 · Summary\n\n"
        f"共 {total:,.0f} 条指令样本，{figures['characters']:,.0f} 个字符；回答长度的中位数为 {figures['answer_characters_median']:,.0f} 个字符，"
        f"最长 {figures['answer_characters_longest']:,.0f} 个；多轮对话 {figures['multi_turn']:,.0f} 条。\n\n"
        f"{total:,.0f} instruction samples with {figures['characters']:,.0f} characters; the median answer has "
        f"{figures['answer_characters_median']:,.0f} characters, the longest {figures['answer_characters_longest']:,.0f}; "
        f"{figures['multi_turn']:,.0f} samples have more than one turn.\n\n"
        "每一行都带有 `record_id`，可用 `curation why RECORD_ID` 查询它入选的全部理由。 "
        "Every line carries its `record_id`; `curation why RECORD_ID` tells why it was chosen."
    )


def _files(figures: Mapping[str, float]) -> str:
    rows = [
        (name.removeprefix("lines."), lines) for name, lines in figures.items() if name.startswith("lines.")
    ]
    return _section(
        "文件 · Files", ("文件 file", "行数 lines"), [(f"`{file}`", f"{lines:,.0f}") for file, lines in rows]
    )


def _counts(title: str, prefix: str, figures: Mapping[str, float]) -> str:
    total = max(figures["samples"], 1)
    rows = [
        (name.removeprefix(f"{prefix}."), rows)
        for name, rows in figures.items()
        if name.startswith(f"{prefix}.")
    ]
    names = _LANGUAGE_NAMES if prefix == "language" else {}
    cells = [(_plain(names.get(one, one)), f"{number:,.0f}", f"{number / total:.1%}") for one, number in rows]
    return _section(title, ("", "样本 samples", "占比 share"), cells)


def _resampling(figures: Mapping[str, float]) -> str:
    """The distribution before and after the resampling, beside the wanted one, and how far both are from it."""
    groups = [name.removeprefix("wanted.") for name in figures if name.startswith("wanted.")]
    if not groups:
        return ""
    totals = {
        when: max(sum(figures[f"{when}.{one}"] for one in groups), 1)
        for when in ("before", "wanted", "after")
    }
    cells = [
        (
            _plain(one.partition(".")[2]),
            *(f"{figures[f'{when}.{one}']:,.0f} ({figures[f'{when}.{one}'] / total:.1%})" for when, total in totals.items()),
        )
        for one in groups
    ]  # fmt: skip
    for name in ("KL", "JS"):
        before, after = (f"{figures[f'{name.lower()}_{when}']:.4f}" for when in ("before", "after"))
        cells.append((f"{name} (bits)", before, "0", after))
    by = groups[0].partition(".")[0]
    header = (by, "之前 before", "目标 wanted", "之后 after")
    note = (
        f"训练文件中的样本被重复（最多 {figures['most_times']:,.0f} 次）或舍去，以接近目标分布；KL 与 JS 是与目标的差距。 "
        f"Samples are repeated in the files (up to {figures['most_times']:,.0f} times), or left out, to come near to the "
        "wanted distribution; KL and JS say how far from it the files are."
    )
    return _section("重采样 · Resampling", header, cells) + f"\n\n{note}"


def _section(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    rule = "|---" + "|---:" * (len(header) - 1) + "|"
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return "\n".join([f"## {title}", "", lines[0], rule, *lines[1:]])


def _plain(text: str) -> str:
    """Text that cannot break out of a table cell or become mark-up."""
    return (
        " ".join(text.split())
        .replace("\\", "\\\\")
        .replace("|", "\\|")
        .replace("<", "&lt;")
        .replace("`", "'")
    )


def _examples(examples: pl.DataFrame | None) -> str:
    if examples is None or examples.is_empty():
        return ""
    shown = []
    for row in examples.select("record_id", "messages").iter_rows(named=True):
        text = json.dumps(
            {"record_id": row["record_id"], "messages": row["messages"]}, ensure_ascii=False, indent=2
        )
        # a fence that the text itself cannot close
        fence = "`" * (3 if "```" not in text else max(map(len, text.split("\n"))) + 1)
        shown.append(f"{fence}json\n{text}\n{fence}")
    return "\n\n".join(["## 示例 · Examples", *shown])


def _funnel(funnel: Sequence[Mapping[str, Any]]) -> str:
    if not funnel:
        return ""
    rows = []
    for one in funnel:
        reasons = "；".join(f"`{code}` {number:,}" for code, number in one["reasons"].items())
        counts = (f"{one[name]:,}" for name in ("rows", "kept", "dropped", "quarantined"))
        rows.append((f"`{one['table']}`", *counts, reasons or "–"))
    header = ("表 table", "行 rows", "保留 kept", "剔除 dropped", "隔离 quarantined", "原因 reasons")
    used = sorted({code for one in funnel for code in one["reasons"] if code in REASONS})
    meanings = [f"- `{code}`: {REASONS[code].says}" for code in used]
    intro = "没有一条记录被悄悄删除：每一步都给每条记录一个结论和理由。 No record is deleted without a word: every step judges every record."
    return "\n".join(
        [
            _section("筛选过程 · The funnel", header, rows).replace("\n\n", f"\n\n{intro}\n\n", 1),
            "",
            *meanings,
        ]
    )


def _how(settings: Mapping[str, Any]) -> str:
    text = yaml.safe_dump(
        json.loads(json.dumps(settings, default=str)), allow_unicode=True, sort_keys=True
    ).strip()
    return (
        "## 如何选出 · How it was chosen\n\n"
        "全部由以下设置决定，种子固定，可以重放。 Decided by these settings alone; seeds are fixed and the choice can be replayed.\n\n"
        f"```yaml\n{text}\n```"
    )


_LIMITS = """## 局限 · Limits

- 样本的对错没有逐条核实；质量分是统计模型的估计。 Answers were not checked one by one; the quality score is the estimate of a statistical model.
- 来源的偏差会带进数据集。 The biases of the sources are in the data.
- 个人信息按规则遮盖，可能有遗漏。 Personal data was masked by rules, which may miss some.
- 从文档摘出的回答忠实于文档，但文档本身可能有误。 Answers quoted from documents are true to the document, which may itself be wrong.

## 许可 · Licence

由发布者根据各来源的许可填写。 To be filled in by the publisher, according to the licences of the sources."""
