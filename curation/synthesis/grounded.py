"""What every prompt with an answer from a document is and must be.

Belongs here: the type, the wordings of the tasks, and the checks that a question makes sense by itself and
that a passage answers it. Does not belong here: finding them (`synthesis.documents`, `synthesis.text_tasks`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from curation.records import digest
from curation.synthesis.passages import (
    Document,
    begins_clearly,
    content_words,
    is_plain,
    is_reply,
    is_whole,
    refers,
    sentences,
    tagged,
)


@dataclass(frozen=True)
class Grounded:
    """A prompt with its answer, both taken from one document; `measured` goes into the evidence."""

    task: str
    instruction: str
    input: str
    answer: str
    measured: dict[str, object] = field(default_factory=dict)


#: Answers from this many characters on, up to that many.
SHORTEST, LONGEST = 18, 900
#: Texts that an instruction works on.
SHORTEST_INPUT, LONGEST_INPUT = 120, 1_800

# -- wordings -----------------------------------------------------------------------------------

_WORDINGS: dict[tuple[str, str], tuple[str, ...]] = {
    ("definition", "zh"): ("什么是{0}？", "{0}是什么？", "请解释一下什么是{0}。", "{0}指的是什么？", "给不了解的人解释一下{0}是什么。"),
    ("definition", "en"): ("What is {0}?", "Explain what {0} is.", "What does the term {0} mean?"),
    ("meaning", "zh"): ("“{0}”是什么意思？", "怎么理解“{0}”这个说法？", "请解释“{0}”这个词。"),
    ("introduction", "zh"): ("请介绍一下{0}。", "简单介绍一下{0}。", "给我讲讲{0}。", "写一段文字介绍{0}。"),
    ("introduction", "en"): ("Give a short introduction to {0}.", "Tell me about {0}.", "Write a short text about {0}."),
    ("title", "zh"): ("给下面这篇文章拟一个标题。", "为下文起一个合适的题目。", "读一读下面的文字，替它取个标题。", "请给这篇文章想一个贴切的标题，只写标题。", "下面的文章缺一个标题，请补上。"),
    ("title", "en"): ("Write a title for the following text.", "Suggest a fitting headline for this article.", "The text below has no title. Give it one."),
    ("summary", "zh"): ("用一小段话概括下面的内容。", "请为下文写一段摘要。", "下面这篇文章讲了什么？请简要概括。", "把下面的文字浓缩成一段导语。"),
    ("summary", "en"): ("Summarise the following text.", "Write a short abstract of this text.", "Condense the text below into one short paragraph."),
    ("timeline", "zh"): ("按时间先后列出下文提到的年份和事件。", "从下面的文字里整理出一份大事年表。", "请把下文中的事件按年份列成清单。"),
    ("timeline", "en"): ("List the years and events in the following text in order of time.", "Make a timeline of the events in this text."),
}  # fmt: skip


def worded(kind: str, document: Document, seed: int, *slots: str) -> str:
    """One of the wordings of a kind of task, always the same one for the same record and seed."""
    return pick(_WORDINGS[kind, document.language], document, seed, kind, *slots).format(*slots)


def pick(options: Sequence[str], document: Document, seed: int, *marks: str) -> str:
    return options[int(digest(str(seed), document.record_id, *marks)[:8], 16) % len(options)]


# -- what every sample must pass ------------------------------------------------------------------


def names_topic(question: str, document: Document, about: str = "") -> bool:
    """Whether a question says what it is about: it holds a noun that is a term of the document, or that
    the passage `about` which answers it speaks of."""
    if document.language == "en":
        return any(term.lower() in question.lower() for term in document.terms)
    if any(term in question and is_thing(term) for term in document.terms):
        return True
    return any(is_thing(word) and word in about for word in content_words(question))


#: Nouns that are always "of something": alone they do not say what a sentence is about.
_RELATIONAL_NOUNS = (
    "方法 方式 方案 措施 办法 手段 原因 病因 因素 条件 症状 表现 现象 特点 特征 特性 性质 作用 功能 功效 用途 效果 成分 成份 组成 结构 材料 原料 "
    "步骤 工序 工艺 流程 过程 程序 阶段 类型 种类 分类 品种 形式 内容 范围 标准 指标 要求 原则 目的 目标 意义 优点 缺点 优势 问题 结果 结论 来源 "
    "产地 产区 历史 背景 治疗 诊断 预防 检查 手术 药物 患者 病人 疾病 疗法 研究 分析 实验 试验 数据 价格 费用 成本 温度 时间 颜色 色泽 香气 滋味 味道 "
    "口感 外形 品质 质量 数量 产量 面积 重量 长度 高度 地区 地方 部分 部位 单位 人员 公司 产品 系统 技术 设备 工具 例子 常见 主要 基本 治疗方案 并发症"
)
_RELATIONAL = frozenset(_RELATIONAL_NOUNS.split())


def is_thing(word: str) -> bool:
    """Whether a word names something by itself."""
    tags = tagged(word)
    only_relational = all(part in _RELATIONAL or len(part) == 1 for part, _ in tags)
    if word in _RELATIONAL or (only_relational and word[:2] in _RELATIONAL):
        return False
    return len(tags) > 1 or tags[0][1][0] == "n" or len(word) > 2


def fits(answer: str, shortest: int = SHORTEST, longest: int = LONGEST) -> bool:
    return shortest <= len(answer) <= longest


_QUESTION_WORD = re.compile(
    r"什么|为何|为啥|怎么|怎样|如何|哪|多[少久大长高深远快宽重]|几[个种次天年]|吗[？?]?$|是否|能不能|可不可以|要不要|有没有|有何|是不是|行不行|好不好|会不会|该不该"
)
_ASKS_A_PERSON = re.compile(
    r"你|您|咱|(?:^|[，。])(?:那|还有|另外|然后|所以|可是|但|后来|而|再|最后)|呢[？?]?$"
)
_ENGLISH_QUESTION = re.compile(
    r"^(?:what|why|how|when|where|who|which|is|are|do|does|can|should|will)\b[^.!]*$", re.IGNORECASE
)


def as_question(line: str, document: Document, about: str = "") -> str | None:
    """The line as a question that stands on its own; None if it is not one. `about`: see `names_topic`."""
    text = re.sub(r"^(?:问答|问|答网友|Q|FAQ|提问|请问)[：:，,]\s*", "", line.strip()).strip()
    if document.language == "en":
        stands = _ENGLISH_QUESTION.match(text) and names_topic(text, document) and is_reply(text, "en")
        return text.rstrip("?") + "?" if stands and 12 <= len(text) <= 160 else None
    first_line = re.split(r"(?<=[？?])", text)[0] if "？" in text or "?" in text else text
    if (
        not _QUESTION_WORD.search(first_line)
        or re.search(r"[。！!；;]", first_line)
        or _ASKS_A_PERSON.search(text)
    ):
        return None
    clauses = [one for one in re.split("[，,？?]", text) if one]
    if len(set(clauses)) < len(clauses):
        return None
    if (
        not 6 <= len(text) <= 80
        or refers(text)
        or not begins_clearly(text, "zh")
        or not names_topic(text, document, about)
    ):
        return None
    if text[-1] in "？?。":
        return text
    return f"{text}？" if _QUESTION_WORD.search(re.split("[，,：:]", text)[-1]) else None


def explains(answer: str, document: Document) -> bool:
    """Whether a passage is a plain explanation that begins, ends and reads by itself."""
    return (
        fits(answer, shortest=40)
        and is_plain(answer, document.language)
        and begins_clearly(answer, document.language)
        and is_whole(answer, document.language)
    )


def answers(question: str, answer: str, document: Document) -> bool:
    """Whether the answer speaks of what is asked: it has half of the question's words, or opens with one."""
    if document.language == "en":
        return True
    words = content_words(question)
    opening = sentences(answer, "zh")[0]
    if _ASKS_A_NUMBER.search(question) and not _NUMBER.search(answer):
        return False
    if re.search(r"为什么|为何|为啥|原因", question) and not _CAUSAL.search(answer):
        return False
    opens = any(word in opening for word in words if is_thing(word))
    return opens or 2 * sum(word in answer for word in words) >= max(len(words), 1)


_ASKS_A_NUMBER = re.compile(r"多[少久大长高深远快宽重]|几[个种次天年]")
#: "一" alone is too often part of another word.
_NUMBER = re.compile(r"[\d两三四五六七八九十百千]|二(?!来)|一[个种天年月周次斤克升元块倍]|半")
_CAUSAL = re.compile(r"因|由于|导致|引起|造成|所以|使|让|有关|来自|源于|为了|才|从而|[就便]是")
