"""Prompts whose answer stands in a document: the answer is quoted, so it is true to the document.

Belongs here: finding, in one document, passages that answer a question which makes sense without the
document (or with a given part of it), and wording that question. A document that holds nothing of the
kind gives nothing: better no sample than a bad one.
Does not belong here: the structure of documents (`synthesis.passages`), prompts without an answer
(`synthesis.rules`), choosing among the samples found (`synthesis.prompts`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from curation.records import canonical, digest
from curation.synthesis.novelty import tokens
from curation.synthesis.passages import (
    Block,
    Document,
    begins_clearly,
    content_words,
    has_markup,
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
_SHORTEST, _LONGEST = 18, 900
#: Texts that an instruction works on.
_SHORTEST_INPUT, _LONGEST_INPUT = 120, 1_800

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

_EXTRACT: dict[str, tuple[str, ...]] = {
    "temperature": ("找出下面这段话里所有的温度，并写出原文对应的小句。", "下文提到了哪些温度？逐条列出，并附上原文的说法。"),
    "percentage": ("列出下文出现的所有百分比，并附上原文对应的小句。", "下面这段话里有哪些百分比？逐条写出，并注明原文怎么说。"),
    "price": ("把下文中的金额逐条列出来，并附上原文对应的小句。", "下面的文字提到了哪些金额？请逐条摘出，并注明原文的说法。"),
}  # fmt: skip


def _worded(kind: str, document: Document, seed: int, *slots: str) -> str:
    """One of the wordings of a kind of task, always the same one for the same record and seed."""
    return _pick(_WORDINGS[kind, document.language], document, seed, kind, *slots).format(*slots)


def _pick(options: Sequence[str], document: Document, seed: int, *marks: str) -> str:
    return options[int(digest(str(seed), document.record_id, *marks)[:8], 16) % len(options)]


# -- what every sample must pass ------------------------------------------------------------------


def _names_topic(question: str, document: Document, about: str = "") -> bool:
    """Whether a question says what it is about: it holds a noun that is a term of the document, or that
    the passage `about` which answers it speaks of."""
    if document.language == "en":
        return any(term.lower() in question.lower() for term in document.terms)
    if any(term in question and is_thing(term) for term in document.terms):
        return True
    return any(is_thing(word) and word in about for word in content_words(question))


#: Nouns that are always "of something": alone they do not say what a sentence is about.
_RELATIONAL = frozenset(
    "方法 方式 方案 措施 办法 手段 原因 病因 因素 条件 症状 表现 现象 特点 特征 特性 性质 作用 功能 功效 用途 效果 成分 成份 组成 结构 材料 原料 "
    "步骤 工序 工艺 流程 过程 程序 阶段 类型 种类 分类 品种 形式 内容 范围 标准 指标 要求 原则 目的 目标 意义 优点 缺点 优势 问题 结果 结论 来源 "
    "产地 产区 历史 背景 治疗 诊断 预防 检查 手术 药物 患者 病人 疾病 疗法 研究 分析 实验 试验 数据 价格 费用 成本 温度 时间 颜色 色泽 香气 滋味 味道 "
    "口感 外形 品质 质量 数量 产量 面积 重量 长度 高度 地区 地方 部分 部位 单位 人员 公司 产品 系统 技术 设备 工具 例子 常见 主要 基本 治疗方案 并发症".split()
)


def is_thing(word: str) -> bool:
    """Whether a word names something by itself."""
    tags = tagged(word)
    if all(part in _RELATIONAL or len(part) == 1 for part, _ in tags) and word[:2] in _RELATIONAL or word in _RELATIONAL:
        return False
    return len(tags) > 1 or tags[0][1][0] == "n" or len(word) > 2


def _fits(answer: str, shortest: int = _SHORTEST, longest: int = _LONGEST) -> bool:
    return shortest <= len(answer) <= longest


_QUESTION_WORD = re.compile(
    r"什么|为何|为啥|怎么|怎样|如何|哪|多[少久大长高深远快宽重]|几[个种次天年]|吗[？?]?$|是否|能不能|可不可以|要不要|有没有|有何|是不是|行不行|好不好|会不会|该不该"
)
_ASKS_A_PERSON = re.compile(r"你|您|咱|(?:^|[，。])(?:那|还有|另外|然后|所以|可是|但|后来|而|再|最后)|呢[？?]?$")
_ENGLISH_QUESTION = re.compile(r"^(?:what|why|how|when|where|who|which|is|are|do|does|can|should|will)\b[^.!]*$", re.IGNORECASE)


def _as_question(line: str, document: Document, about: str = "") -> str | None:
    """The line as a question that stands on its own; None if it is not one. `about`: see `_names_topic`."""
    text = re.sub(r"^(?:问答|问|答网友|Q|FAQ|提问|请问)[：:，,]\s*", "", line.strip()).strip()
    if document.language == "en":
        stands = _ENGLISH_QUESTION.match(text) and _names_topic(text, document) and is_reply(text, "en")
        return text.rstrip("?") + "?" if stands and 12 <= len(text) <= 160 else None
    first_line = re.split(r"(?<=[？?])", text)[0] if "？" in text or "?" in text else text
    if not _QUESTION_WORD.search(first_line) or re.search(r"[。！!；;]", first_line) or _ASKS_A_PERSON.search(text):
        return None
    clauses = [one for one in re.split("[，,？?]", text) if one]
    if len(set(clauses)) < len(clauses):
        return None
    if not 6 <= len(text) <= 80 or refers(text) or not begins_clearly(text, "zh") or not _names_topic(text, document, about):
        return None
    if text[-1] in "？?。":
        return text
    return f"{text}？" if _QUESTION_WORD.search(re.split("[，,：:]", text)[-1]) else None


# -- questions that the document itself asks ------------------------------------------------------

_PAIR = re.compile(r"^(?:问|提问|Q)\s*\d{0,2}\s*[：:]\s*(?P<question>\S.*)$")
_REPLY = re.compile(r"^(?:答|回答|A)\s*\d{0,2}\s*[：:]\s*(?P<answer>\S.*)$")


def _question_pairs(document: Document, seed: int) -> Iterator[Grounded]:
    """Question and answer that stand in the document as such ("问：…", "答：…")."""
    lines = [line for block in document.blocks for line in block.text.split("\n")]
    for index, line in enumerate(lines[:-1]):
        asked, replied = _PAIR.match(line), _REPLY.match(lines[index + 1])
        if not asked or not replied:
            continue
        question = _as_question(asked["question"], document)
        rest = _until(lines[index + 2 :], lambda one: bool(_PAIR.match(one) or _REPLY.match(one)))
        last = index + 2 + len(rest) >= len(lines)
        # after the last pair a document may go on with something else
        answer = "\n".join([replied["answer"], *([] if last and len(lines) > index + 3 else rest)])
        if question and _fits(answer) and is_reply(answer, document.language) and is_whole(answer, document.language):
            yield Grounded("qa", question, "", answer, {"found": "question and answer"})


def _until(lines: Sequence[str], stop: Callable[[str], bool]) -> list[str]:
    taken = []
    for line in lines:
        if stop(line):
            break
        taken.append(line)
    return taken


def _titled_question(document: Document, seed: int) -> Iterator[Grounded]:
    """The title (or, without one, the first line) is a question and the text explains."""
    blocks = list(document.blocks)
    line = document.title
    if not line and len(blocks) > 1:
        line, blocks = blocks[0].text, blocks[1:]
        # on a page of questions the second paragraph is often still the asker's
        if line[-1] not in "？?" or sum(block.kind != "list" for block in blocks) > 1:
            return
    answer = "\n".join(block.text for block in blocks)
    question = _as_question(line, document, answer) if line else None
    if any(block.kind == "paragraph" and not is_whole(block.text, document.language) for block in blocks):
        return  # a line that just stops is rather more of the question, or a signature
    if question and _explains(answer, document) and _answers(question, answer, document):
        yield Grounded("qa", question, "", answer, {"found": "title is a question"})


def _sections(document: Document) -> Iterator[tuple[str, list[Block]]]:
    """Each heading with the blocks below it."""
    heading, below = "", list[Block]()
    for block in document.blocks:
        if block.kind == "heading":
            if heading:
                yield heading, below
            heading, below = block.text, []
        else:
            below.append(block)
    if heading:
        yield heading, below


_ASPECT = re.compile(r"^(?:主要|常见|基本)?[一-鿿]{1,6}(?:与|和|及)?[一-鿿]{0,6}$")


def _headed_sections(document: Document, seed: int) -> Iterator[Grounded]:
    """A heading is a question, or names an aspect of what the title names ("症状" below "高血压")."""
    for heading, below in _sections(document) if document.title else ():
        answer = "\n".join(block.text for block in below)
        question = _as_question(heading, document)
        if question is None and document.title in document.terms and _is_aspect(heading, document):
            question = _worded("introduction", document, seed, f"{document.title}的{heading}")
        if question and _explains(answer, document) and _answers(question, answer, document):
            yield Grounded("qa", question, "", answer, {"found": "heading", "heading": heading})


def _is_aspect(heading: str, document: Document) -> bool:
    nouns = all(tag[0] in "nbc" or tag in ("vn", "v") for _, tag in tagged(heading))
    return (
        document.language == "zh"
        and bool(_ASPECT.match(heading))
        and document.title not in heading
        and nouns
        and tagged(heading)[-1][1][0] == "n"
        and heading not in ("参考文献", "参考资料", "相关条目", "外部链接", "注释", "目录", "说明", "备注", "附注")
    )


def _explains(answer: str, document: Document) -> bool:
    """Whether a passage is a plain explanation that begins, ends and reads by itself."""
    return (
        _fits(answer, shortest=40)
        and is_plain(answer, document.language)
        and begins_clearly(answer, document.language)
        and is_whole(answer, document.language)
    )


def _answers(question: str, answer: str, document: Document) -> bool:
    """Whether the answer speaks of what is asked: it has half of the question's words, or opens with one."""
    if document.language == "en":
        return True
    words = content_words(question)
    opening = sentences(answer, "zh")[0]
    if re.search(r"多[少久大长高深远快宽重]|几[个种次天年]", question) and not re.search(r"[\d一二两三四五六七八九十百千万]", answer):
        return False
    if re.search(r"为什么|为何|为啥|原因", question) and not _CAUSAL.search(answer):
        return False
    opens = any(word in opening for word in words if is_thing(word))
    return opens or 2 * sum(word in answer for word in words) >= max(len(words), 1)


_CAUSAL = re.compile(r"因|由于|导致|引起|造成|所以|使|让|有关|来自|源于|为了|才|从而|[就便]是")

# -- definitions and introductions ------------------------------------------------------------------

_DEFINES = re.compile(
    r"^(?:所谓)?[“\"「]?(?P<term>[A-Za-z0-9·\-㐀-鿿]{2,14}?)[”\"」]?(?:[（(][^（）()]{1,40}[）)])?[，,]?(?P<verb>指的是|是指|就是指|即指|是)(?P<genus>[^，。；：！？]{3,60})(?P<rest>[，。；：].*)$"
)
_DEFINES_EN = re.compile(r"^(?:An? |The )?(?P<term>[A-Za-z][A-Za-z0-9 -]{1,40}?)(?: \([^()]{1,40}\))? (?:is|are|refers to) (?P<genus>(?:an?|the|one of the|any) .{12,}[.])$")
_ENTRY = re.compile(r"^(?P<term>[A-Za-z0-9·\-㐀-鿿]{2,14})[：:]\s*(?P<genus>[^，。；：！？]{4,60})(?P<rest>[，。；].*)$")
_NO_GENUS = re.compile(r"^(?:最|很|非常|不|否|由于|因为|为了|从|在|对|把|被|用|以|由|靠|如此|这|那|什么|谁|怎|多|一件|一个(?:好|问题|误)|可以|应该|必须|需要)|[我你您他她它]|(?:关键|原因|问题|事|事情|事实|线索|办法|时候|结果|重点|前提|基础|条件|说法|选择|样子|东西|人|道理|理由|好事|话题|误区|常事|目的|目标|意思|标准|依据|做法|必须的|代表|例子|主角|首选|地方|之首|来源|途径|表现|象征|标志|核心|主力|内容|对象|环节|手段)$")
#: With such a verb behind a noun the words are a sentence of their own, not the name of a kind.
_CLAUSE_VERB = re.compile(r"取决于|等于|来自|导致|称为|叫做|意味着|指的是|[一-鿿]的[一-鿿]{1,6}(?:使|令|让|会|能|是)")
_KIND = re.compile(r"一[种类项个门款支座部名位条只套]|之一$|总称|统称|简称|别名|别称|俗称")


def _is_genus(genus: str, term: str, *, sure: bool) -> bool:
    """Whether "是…" names the kind of thing: its last word is a noun, and it says more than praise.

    `sure`: the place (the beginning of the entry on that very term) already speaks for a definition.
    """
    if _NO_GENUS.search(genus) or _CLAUSE_VERB.search(genus) or refers(genus) or term in genus:
        return False
    head, tag = tagged(genus)[-1]
    is_noun = tag[0] in "ng" or tag in ("vn", "nz", "an", "l", "i") or bool(_KIND.search(genus))
    if not is_noun or head in ("时", "中", "里", "上", "下"):
        return False
    classified = bool(_KIND.search(genus)) or ("的" in genus and len(genus) >= 8) or term[-1] == genus[-1]
    return classified or sure


def _definitions(document: Document, seed: int) -> Iterator[Grounded]:
    """A sentence that says what a term is, with what the paragraph adds about it."""
    seen: set[str] = set()
    for number, block in enumerate(document.blocks):
        passages = block.items if block.kind == "list" else (block.text,)
        for passage in passages:
            for found in _defined(document, block, number, passage):
                term, answer, kind = found
                if term in seen or (term != document.title and not is_thing(term)) or not is_plain(answer, document.language) or not is_whole(answer, document.language):
                    continue
                seen.add(term)
                instruction = _worded(kind, document, seed, term)
                yield Grounded("definition", instruction, "", answer, {"found": "defining sentence", "term": term})


def _defined(document: Document, block: Block, number: int, passage: str) -> Iterator[tuple[str, str, str]]:
    """(term, answer, kind of wording) of the definitions in one passage."""
    if block.kind == "heading":
        return
    told = sentences(passage, document.language)
    if document.language == "en":
        for index, sentence in enumerate(told):
            match = _DEFINES_EN.match(sentence)
            if match and _known(match["term"], document) and begins_clearly(sentence, "en"):
                # in the middle of a sentence a term keeps its capital only if it always has one
                term = match["term"].lower() if match["term"].lower() in document.terms else match["term"]
                yield term, " ".join(_continued(told, index, match["term"])), "definition"
        return
    entry = _ENTRY.match(passage) if number == 0 or block.kind == "list" else None
    if entry and entry["term"] in document.terms and _is_genus(entry["genus"], entry["term"], sure=True) and "的" in entry["genus"]:
        if _is_noun(entry["term"]) and entry["term"] not in entry["rest"].split("。")[0]:
            yield entry["term"], f"{entry['term']}是{entry['genus']}{entry['rest']}", "definition"
        return
    nameless = _nameless_definition(document, number, told)
    if nameless:
        yield document.title, nameless, "definition"
        return
    for index, sentence in enumerate(told):
        match = _DEFINES.match(sentence)
        if not match or match["term"] not in document.terms:
            continue
        sure = number == 0 and index == 0 and match["term"] == document.title
        if _is_genus(match["genus"], match["term"], sure=sure or match["verb"] != "是"):
            follows = told if sure else _continued(told, index, match["term"])
            answer = "".join(follows)
            if _fits(answer, longest=400):
                yield match["term"], answer, "definition"


def _is_noun(term: str) -> bool:
    tags = tagged(term)
    return len(tags) == 1 or tags[-1][1][0] in "nvglix"


def _known(term: str, document: Document) -> bool:
    return any(term.lower() == known.lower() for known in document.terms)


def _continued(told: Sequence[str], index: int, term: str) -> list[str]:
    """The defining sentence and those after it that go on about the same thing."""
    taken = [told[index]]
    for sentence in told[index + 1 : index + 3]:
        about = re.match(rf"^(?:它|其(?!他|它|实|中|次)|这种|这类|{re.escape(term)}|It |Its |They |{re.escape(term)} )", sentence)
        if not about or sum(map(len, taken)) + len(sentence) > 260:
            break
        taken.append(sentence)
    return taken


def _nameless_definition(document: Document, number: int, told: Sequence[str]) -> str | None:
    """An entry that begins with its genus ("黄茶独有的工序。" below the title "闷黄"): the title is its subject."""
    if number or document.title not in document.terms or not told or document.title in told[0]:
        return None
    match = re.match(r"^(?P<genus>[^，。；：！？“”]{5,40})(?P<rest>[，。；].*)$", told[0])
    if not match or "的" not in match["genus"] or not begins_clearly(told[0], "zh"):
        return None
    # a sentence with a verb of its own has a subject of its own
    if re.search(r"[，；](?:就|便|却|也|又)?是|不", match["genus"] + match["rest"].split("。")[0]):
        return None
    words = tagged(match["genus"])
    head = match["genus"].rpartition("的")[2]
    is_phrase = all(tag[0] in "nbamqgszxhk" or tag in ("vn", "l", "i", "uj", "j", "f", "d") for _, tag in tagged(head))
    has_verb = any(word in ("是", "有", "在", "为", "叫", "会", "能", "可", "要", "被", "把") for word, _ in words)
    # the document must speak of the title, else the title is only a headline
    named = document.title in document.body
    if is_phrase and not has_verb and named and _is_genus(match["genus"], document.title, sure=True):
        return f"{document.title}是{''.join(told)}"
    return None


def _introduction(document: Document, seed: int) -> Iterator[Grounded]:
    """The title names a thing, or an aspect of one, and the whole text explains it."""
    name, body = document.title, document.body
    if not name or _as_question(name, document) or not _explains(body, document) or len(body) < 80:
        return
    if document.language == "en":
        if name in document.terms and body.lower().startswith((name.lower(), f"the {name.lower()}", f"a {name.lower()}")):
            yield Grounded("introduction", _worded("introduction", document, seed, name), "", body, {"found": "entry"})
        return
    subject, _, aspect = name.partition("的")
    is_name = name in document.terms or (subject in document.terms and bool(re.fullmatch(r"[一-鿿]{2,8}", aspect)))
    if is_name and body.startswith(subject):
        yield Grounded("introduction", _worded("introduction", document, seed, name), "", body, {"found": "entry"})


# -- reasons, facts, steps ---------------------------------------------------------------------------

_BECAUSE = (
    re.compile(r"^(?P<subject>[^，。；：]{2,14})之所以(?P<what>[^。；：]{2,30})，(?:主要|其实|正)?(?:是因为|是由于|原因(?:在于|是))(?P<why>[^。]{8,})。$"),
    re.compile(r"^(?P<what>[^，。；：]{5,30})，(?:这)?(?:主要|其实|正)?(?:是因为|是由于|原因(?:之一)?(?:在于|是))(?P<why>[^。]{8,})。$"),
    re.compile(r"^(?:因为|由于)(?P<why>[^。；]{8,60})，(?:所以|因此|因而|故而|于是)(?P<what>[^，。；：]{5,30})。$"),
)  # fmt: skip


def _reasons(document: Document, seed: int) -> Iterator[Grounded]:
    """A sentence that names a cause in so many words: "why" is asked of what it explains."""
    if document.language == "en":
        return
    for sentence in _plain_sentences(document):
        for pattern in _BECAUSE:
            match = pattern.match(sentence)
            if not match:
                continue
            slots = match.groupdict()
            subject, what = slots.get("subject") or "", slots["what"]
            claim = f"{subject}{what}"
            if not _is_claim(claim, document):
                continue
            question = f"{subject}为什么{what}？" if subject else f"为什么{what}？"
            yield Grounded("reason", question, "", sentence, {"found": "cause"})
            break


def _is_claim(claim: str, document: Document) -> bool:
    """Whether a clause says something about a term that stands at its beginning."""
    begins = any(claim.startswith(term) and is_thing(term) for term in document.terms)
    return begins and not refers(claim) and len(tagged(claim)) >= 3 and not re.search(r"[“”（）？]|为什么|如何|怎", claim)


def _plain_sentences(document: Document) -> Iterator[str]:
    for block in document.blocks:
        if block.kind == "paragraph":
            for sentence in sentences(block.text, document.language):
                is_sound = begins_clearly(sentence, document.language) and is_plain(sentence, document.language)
                if is_sound and is_whole(sentence, document.language):
                    yield sentence


_NUMBER = "[两二三四五六七八九十\\d]{1,2}"
_FACTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"^(?P<subject>[^，。；：]{{2,16}}?)(?:大致|一般|通常|主要|又|可以|可)?(?:分为|分成|可分为)(?P<what>[^。；]{{4,}}?){_NUMBER}(?P<kind>大?[类种型级]|等级|阶段|部分|步)[。，；]"), "{subject}分为哪几{kind}？"),
    (re.compile(r"^(?P<subject>[^，。；：]{2,16}?)(?P<verb>主要产于|主产于|原产于|产于|主要分布在|分布于|分布在|位于)(?P<what>[^。；，]{3,}?(?:等地|一带|一线|[省市县区镇]|[^。；，]{2,}))[。，；]"), "{subject}{verb}哪里？"),
    (re.compile(r"^(?P<subject>[^，。；：]{2,16}?)由(?P<what>[^。；]{4,}?[、和与及][^。；，]+?)(?P<verb>组成|构成)[。，；]"), "{subject}由哪些部分{verb}？"),
    (re.compile(r"^(?P<subject>[^，。；：]{2,20}?)(?P<verb>主要包括|主要有|包括|包含|主要含有|含有)(?P<what>[^，。；]+?、[^。；]{4,})[。；]"), "{subject}{verb}哪些？"),
    (re.compile(r"^(?P<subject>[^，。；：]{2,16}?)(?P<verb>始见于|起源于|始于|诞生于|创建于|成立于)(?P<what>[^。；，]*?(?:年|世纪|代|朝|初|末)[^。；，]{0,8})[。，；]"), "{subject}{verb}什么时候？"),
)  # fmt: skip


def _facts(document: Document, seed: int) -> Iterator[Grounded]:
    """A sentence that says into what a thing is divided, of what it consists, where or since when it is."""
    if document.language == "en":
        return
    for sentence in _plain_sentences(document):
        for pattern, wording in _FACTS:
            match = pattern.match(sentence)
            if not match:
                continue
            slots = match.groupdict()
            if _is_subject(slots["subject"], document) and _fits(sentence, longest=300):
                question = wording.format(**slots).replace("含有哪些", "含有哪些成分")
                yield Grounded("fact", question, "", sentence, {"found": "fact", "subject": slots["subject"]})
            break


def _is_subject(subject: str, document: Document) -> bool:
    """Whether a phrase is a noun phrase that begins with a term of the document."""
    if refers(subject) or not any(subject.startswith(term) and is_thing(term) for term in document.terms):
        return False
    words = tagged(subject)
    fits = all(tag[0] in "nbgzjlie" or tag in ("uj", "c", "vn", "a", "an", "v", "f") for _, tag in words)
    return fits and (subject in document.terms or words[-1][1][0] in "ng")


_HOW = re.compile(r"怎么|怎样|如何|步骤|方法|做法|流程|教程|指南|技巧|how to|steps", re.IGNORECASE)


def _steps(document: Document, seed: int) -> Iterator[Grounded]:
    """A numbered list below a heading or title that asks for a way of doing something."""
    heading = document.title
    for index, block in enumerate(document.blocks):
        if block.kind == "heading":
            heading = block.text
        if block.kind != "list" or not block.numbered or len(block.items) < 3 or not _HOW.search(heading):
            continue
        question = _as_question(heading, document)
        if question is None and re.fullmatch(r"[一-鿿A-Za-z0-9]{2,16}(?:步骤|方法|做法|流程)", heading) and _names_topic(heading, document):
            question = f"请写出{heading}。"
        # a whole document of this kind is found by its title
        alone = index == len(document.blocks) - 1 == 0
        if question and not alone and _fits(block.text) and is_plain(block.text, document.language):
            yield Grounded("steps", question, "", block.text, {"found": "numbered list", "steps": len(block.items)})


# -- tasks on a given text ------------------------------------------------------------------------

_BY_LINE = re.compile(r"^(?:作者|日期|时间|来源|标签|发布|编辑|记者|责编|tags?|date|author|by)\s*[：:]|^\d{4}[-/.年]\d{1,2}[-/.月]\d{1,2}日?(?:\s.*)?$", re.IGNORECASE)


def _input(document: Document) -> str:
    """The text of the document as the input of a task, without dates and names of authors."""
    lines = [line for line in document.body.split("\n") if not _BY_LINE.match(line)]
    return "\n".join(lines)


_GENERIC_TITLE = re.compile(r"首页|主页|网站|论坛|第[一二三四五六七八九十\d]+[页章节期篇集部]|无标题|untitled|index|home|登录|注册|404|目录|\.(?:html?|pdf|docx?|txt)$|https?:", re.IGNORECASE)


def _title(document: Document, seed: int) -> Iterator[Grounded]:
    """The real title of a text, where most of its words return in the text."""
    name, text = document.title, _input(document)
    if not _fits(text, _SHORTEST_INPUT, _LONGEST_INPUT) or _GENERIC_TITLE.search(name) or name in document.terms:
        return
    if not (5 <= len(name) <= 32 if document.language == "zh" else 2 <= len(name.split()) <= 14):
        return
    if canonical(name) in canonical(text) or has_markup(text) or _QUOTE_ONLY.search(text[:20]):
        return
    if document.language == "en":
        words = [word for word in tokens(name) if len(word) > 3]
        share = sum(word in text.lower() for word in words) / max(len(words), 1)
    else:
        words = content_words(name)
        share = sum(word in text for word in words) / max(len(words), 1)
    if words and share >= 0.5 and is_whole(text, document.language):
        yield Grounded("title", _worded("title", document, seed), text, name, {"found": "title", "words_in_text": round(share, 3)})


_QUOTE_ONLY = re.compile(r"^(?:\d+楼|沙发|【)")
_ABSTRACT = re.compile(r"^(?:摘\s*要|内容提要|内容摘要|核心提示|导\s*读|导语|提要|Abstract|Summary|TL;DR)\s*[：:]\s*(?P<abstract>\S.*)$", re.IGNORECASE)


def _summary(document: Document, seed: int) -> Iterator[Grounded]:
    """An abstract that is marked as one, or a lead that really sums up: what it says comes back below."""
    paragraphs = [block.text for block in document.blocks if block.kind != "heading" and not _BY_LINE.match(block.text)]
    if len(paragraphs) < 3:
        return
    marked = _ABSTRACT.match(paragraphs[0])
    lead, rest = marked["abstract"] if marked else paragraphs[0], "\n".join(paragraphs[1:])
    shortest = 3 * len(lead)
    fits = 30 <= len(lead) <= 250 and shortest <= len(rest) and _fits(rest, _SHORTEST_INPUT, _LONGEST_INPUT) and not has_markup(rest)
    if not fits or not is_plain(lead, document.language) or not is_whole(lead, document.language) or lead in rest:
        return
    returned, central = _overlap(lead, rest, document.language)
    if marked or (returned >= 0.6 and central >= 0.6):
        measured = {"found": "marked abstract" if marked else "lead", "lead_words_below": returned, "main_words_in_lead": central}
        yield Grounded("summary", _worded("summary", document, seed), rest, lead, measured)


def _overlap(lead: str, rest: str, language: str) -> tuple[float, float]:
    """Share of the lead's words that return in the rest, and of the rest's main words that the lead has."""
    pick = content_words if language == "zh" else lambda text: [word for word in tokens(text) if len(word) > 3]
    said, below = set(pick(lead)), Counter(pick(rest))
    main = [word for word, times in sorted(below.items(), key=lambda item: (-item[1], item[0])) if times > 1][:5]
    if not said or len(main) < 3:
        return 0.0, 0.0
    return round(len(said & below.keys()) / len(said), 3), round(sum(word in said for word in main) / len(main), 3)


_DIGITS = r"(?:\d+(?:,\d{3})*(?:\.\d+)?|[零〇一二三四五六七八九十百千两]+(?:点[零〇一二三四五六七八九]+)?)"
_RUN = rf"{_DIGITS}(?:(?:、|，(?=\d)|至|到|~|～|-|—|–|和|或){_DIGITS})*"
_BARE = re.compile(rf"(?<![第\d十百千]){_RUN}(?=\s*(?:[，。；、：）)]|上下|左右|以上|以下|$))")
_QUANTITIES: dict[str, tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]] = {
    # what is asked for; words that the paragraph needs; words that make it ambiguous or incomplete
    "temperature": (re.compile(rf"(?:零下|摄氏)?{_RUN}(?:多|余|来|几)?\s*(?:℃|°C|摄氏度|度)(?![量数日过假身外角])"), re.compile("温|℃|摄氏"), re.compile("[^0-9]一度|再度|几度|角度|旋转|酒精|纬|经度|度数|硬度|湿度(?!计)|坡度|华氏|℉|零点|度[、和或]|半度|湿")),
    "percentage": (re.compile(rf"百分之{_RUN}(?:到百分之{_RUN})?|\d+(?:\.\d+)?\s*[%％](?:\s*(?:[-~～—–至到])\s*\d+(?:\.\d+)?\s*[%％])?"), re.compile("百分之|[%％]"), re.compile(r"[一二三四五六七八九两半]成|分之一|百分点|‰|一半|[三四五]分之|\d\s*[-~～—–至到]\s*\d+(?:\.\d+)?\s*[%％]")),
    "price": (re.compile(rf"{_RUN}(?:多|余|来)?(?:[万亿])?\s*(?:元|块钱|美元|欧元|港元|日元)"), re.compile("元|块钱"), re.compile(r"[0-9一二三四五六七八九十百](?:块(?!钱)|毛|角|分钱)|[￥$¥]|元素|元旦|公元|[一二三四五]元[论次]")),
}  # fmt: skip
_CLAUSE = re.compile(r"[^，。；：！？,;:!?\n]+")
_CLAUSE_OPENING = re.compile(r"^(?:而且|并且|但是|不过|因此|所以|其中|只是|但|而|且|也|又|再|就|则|等)")


def _extraction(document: Document, seed: int) -> Iterator[Grounded]:
    """All temperatures, percentages or sums of money of a paragraph, each with the clause it stands in."""
    if document.language == "en":
        return
    for block in document.blocks:
        text = block.text
        if block.kind != "paragraph" or not _fits(text, 50, 420) or not is_whole(text, "zh") or "“" in text or has_markup(text):
            continue
        for kind, (pattern, needed, unclear) in _QUANTITIES.items():
            if not needed.search(text) or unclear.search(text) or _BARE.search(text):
                continue
            rows = _with_clauses(text, pattern)
            if 3 <= len(rows) <= 12 and len({value for value, _ in rows}) == len(rows):
                answer = "\n".join(f"{number}. {value}：{clause}" for number, (value, clause) in enumerate(rows, 1))
                instruction = _pick(_EXTRACT[kind], document, seed, kind)
                yield Grounded("extraction", instruction, text, answer, {"found": kind, "values": len(rows)})


def _with_clauses(text: str, pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """Every value with its clause, in order; empty if a clause is too short to say what the value is."""
    clauses = [(match.start(), match.end(), match[0].strip()) for match in _CLAUSE.finditer(text)]
    rows = []
    for match in pattern.finditer(text):
        clause = next((one for start, end, one in clauses if start <= match.start() < end), "")
        clause = _CLAUSE_OPENING.sub("", clause)
        if match[0] not in clause or len(clause) < len(match[0]) + 3:
            return []
        rows.append((match[0], clause))
    return rows


_YEAR = re.compile(r"(?:公元前?)?(?:\d{3,4}|[一二三四五六七八九〇零]{4})年")
_YEAR_FIRST = re.compile(r"^(?P<year>(?:公元)?(?:1\d{3}|20\d{2})年)(?:\d{1,2}月(?:\d{1,2}日)?)?[，,]?(?P<event>[^，,].{5,})[。]$")
_YEAR_FIRST_EN = re.compile(r"^In (?P<year>1\d{3}|20\d{2}),? (?P<event>.{12,})[.]$")


def _timeline(document: Document, seed: int) -> Iterator[Grounded]:
    """A paragraph whose years all stand at the beginning of a sentence, in order: years and events."""
    for block in document.blocks:
        if block.kind != "paragraph" or not _fits(block.text, 80, _LONGEST_INPUT) or not is_plain(block.text, document.language):
            continue
        pattern, any_year = (_YEAR_FIRST, _YEAR) if document.language == "zh" else (_YEAR_FIRST_EN, re.compile(r"\b(?:1\d{3}|20\d{2})\b"))
        found = [match for one in sentences(block.text, document.language) if (match := pattern.match(one))]
        years = [match["year"] for match in found]
        if len(found) < 3 or years != sorted(set(years)) or len(any_year.findall(block.text)) != len(found):
            continue
        if any(refers(match["event"][:4]) or match["event"][:1] in "它其他她" for match in found):
            continue
        ends, colon = ("。", "：") if document.language == "zh" else (".", ": ")
        answer = "\n".join(f"- {match['year']}{colon}{match['event']}{ends}" for match in found)
        yield Grounded("timeline", _worded("timeline", document, seed), block.text, answer, {"found": "years", "years": len(found)})


# -- all of them --------------------------------------------------------------------------------

#: Finders of questions that stand by themselves, the most dependable first; then tasks on a text.
_ASKED = (_question_pairs, _titled_question, _headed_sections, _definitions, _reasons, _steps, _introduction, _facts)
_WORKED_ON = (_summary, _timeline, _extraction, _title)


def grounded_prompts(document: Document, seed: int) -> list[Grounded]:
    """All prompts that a document answers, best first: questions and tasks on its text take turns."""
    asked = [one for find in _ASKED for one in find(document, seed)]
    worked = [one for find in _WORKED_ON for one in find(document, seed)]
    turns = [one for pair in zip(asked, worked, strict=False) for one in pair]
    paired = min(len(asked), len(worked))
    found: dict[tuple[str, str], Grounded] = {}
    for one in [*turns, *asked[paired:], *worked[paired:]]:
        found.setdefault((one.answer, one.input), one)
    return list(found.values())
