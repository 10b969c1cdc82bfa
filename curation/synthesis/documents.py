"""Prompts whose answer stands in a document: the answer is quoted, so it is true to the document.

Belongs here: finding, in one document, passages that answer a question which makes sense without the
document: its own questions, definitions, entries, reasons, facts and steps. A document that holds nothing
of the kind gives nothing: better no sample than a bad one.
Does not belong here: the structure of documents (`synthesis.passages`), what every sample must pass
(`synthesis.grounded`), tasks on a given text (`synthesis.text_tasks`), prompts without an answer
(`synthesis.rules`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from curation.synthesis.grounded import (
    Grounded,
    answers,
    as_question,
    explains,
    fits,
    is_thing,
    names_topic,
    worded,
)
from curation.synthesis.passages import (
    Block,
    Document,
    begins_clearly,
    is_plain,
    is_reply,
    is_whole,
    refers,
    sentences,
    tagged,
)
from curation.synthesis.text_tasks import text_tasks

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
        question = as_question(asked["question"], document)
        rest = _until(lines[index + 2 :], lambda one: bool(_PAIR.match(one) or _REPLY.match(one)))
        last = index + 2 + len(rest) >= len(lines)
        # after the last pair a document may go on with something else
        answer = "\n".join([replied["answer"], *([] if last and len(lines) > index + 3 else rest)])
        if (
            question
            and fits(answer)
            and is_reply(answer, document.language)
            and is_whole(answer, document.language)
        ):
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
    question = as_question(line, document, answer) if line else None
    if any(block.kind == "paragraph" and not is_whole(block.text, document.language) for block in blocks):
        return  # a line that just stops is rather more of the question, or a signature
    if question and explains(answer, document) and answers(question, answer, document):
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
        question = as_question(heading, document)
        if question is None and document.title in document.terms and _is_aspect(heading, document):
            question = worded("introduction", document, seed, f"{document.title}的{heading}")
        if question and explains(answer, document) and answers(question, answer, document):
            yield Grounded("qa", question, "", answer, {"found": "heading", "heading": heading})


def _is_aspect(heading: str, document: Document) -> bool:
    nouns = all(tag[0] in "nbc" or tag in ("vn", "v") for _, tag in tagged(heading))
    return (
        document.language == "zh"
        and bool(_ASPECT.match(heading))
        and document.title not in heading
        and nouns
        and tagged(heading)[-1][1][0] == "n"
        and heading
        not in ("参考文献", "参考资料", "相关条目", "外部链接", "注释", "目录", "说明", "备注", "附注")
    )


# -- definitions and introductions ------------------------------------------------------------------

_DEFINES = re.compile(
    r"^(?:所谓)?[“\"「]?(?P<term>[A-Za-z0-9·\-㐀-鿿]{2,14}?)[”\"」]?(?:[（(][^（）()]{1,40}[）)])?[，,]?(?P<verb>指的是|是指|就是指|即指|是)(?P<genus>[^，。；：！？]{3,60})(?P<rest>[，。；：].*)$"
)
_DEFINES_EN = re.compile(
    r"^(?:An? |The )?(?P<term>[A-Za-z][A-Za-z0-9 -]{1,40}?)(?: \([^()]{1,40}\))? (?:is|are|refers to) (?P<genus>(?:an?|the|one of the|any) .{12,}[.])$"
)
_KIND_EN = re.compile(
    r"(?:an?|one of the) (?:\w+ ){0,2}(?:type|kind|form|class|branch|family|method|process|technique|species|genus|unit|measure|disease|disorder|device|system|instrument|theory)\b"
)
_ENTRY = re.compile(
    r"^(?P<term>[A-Za-z0-9·\-㐀-鿿]{2,14})[：:]\s*(?P<genus>[^，。；：！？]{4,60})(?P<rest>[，。；].*)$"
)
_NO_GENUS = re.compile(
    r"^(?:最|很|非常|不|否|由于|因为|为了|从|在|对|把|被|用|以|由|靠|如此|这|那|什么|谁|怎|多|一件|一个(?:好|问题|误)|可以|应该|必须|需要)|[我你您他她它]|(?:关键|原因|问题|事|事情|事实|线索|办法|时候|结果|重点|前提|基础|条件|说法|选择|样子|东西|人|道理|理由|好事|话题|误区|常事|目的|目标|意思|标准|依据|做法|必须的|代表|例子|主角|首选|地方|之首|来源|途径|表现|象征|标志|核心|主力|内容|对象|环节|手段)$"
)
#: With such a verb behind a noun the words are a sentence of their own, not the name of a kind.
_CLAUSE_VERB = re.compile(
    r"取决于|等于|来自|导致|称为|叫做|意味着|指的是|[一-鿿]的[一-鿿]{1,6}(?:使|令|让|会|能|是)"
)
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
                if (
                    term in seen
                    or (term != document.title and not is_thing(term))
                    or not is_plain(answer, document.language)
                    or not is_whole(answer, document.language)
                ):
                    continue
                seen.add(term)
                instruction = worded(kind, document, seed, term)
                yield Grounded(
                    "definition", instruction, "", answer, {"found": "defining sentence", "term": term}
                )


def _defined(document: Document, block: Block, number: int, passage: str) -> Iterator[tuple[str, str, str]]:
    """(term, answer, kind of wording) of the definitions in one passage."""
    if block.kind == "heading":
        return
    told = sentences(passage, document.language)
    if document.language == "en":
        for index, sentence in enumerate(told):
            match = _DEFINES_EN.match(sentence)
            entry_begins = number == index == 0 and sentence.lower().startswith(
                document.title.lower() or "\n"
            )
            if (
                match
                and (entry_begins or _KIND_EN.match(match["genus"]))
                and _known(match["term"], document)
                and begins_clearly(sentence, "en")
            ):
                # in the middle of a sentence a term keeps its capital only if it always has one
                term = match["term"].lower() if match["term"].lower() in document.terms else match["term"]
                yield term, " ".join(_continued(told, index, match["term"])), "definition"
        return
    entry = _ENTRY.match(passage) if number == 0 or block.kind == "list" else None
    if (
        entry
        and entry["term"] in document.terms
        and _is_genus(entry["genus"], entry["term"], sure=True)
        and "的" in entry["genus"]
    ):
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
            if fits(answer, longest=400):
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
        about = re.match(
            rf"^(?:它|其(?!他|它|实|中|次)|这种|这类|{re.escape(term)}|It |Its |They |{re.escape(term)} )",
            sentence,
        )
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
    is_phrase = all(
        tag[0] in "nbamqgszxhk" or tag in ("vn", "l", "i", "uj", "j", "f", "d") for _, tag in tagged(head)
    )
    has_verb = any(
        word in ("是", "有", "在", "为", "叫", "会", "能", "可", "要", "被", "把") for word, _ in words
    )
    # the document must speak of the title, else the title is only a headline
    named = document.title in document.body
    if is_phrase and not has_verb and named and _is_genus(match["genus"], document.title, sure=True):
        return f"{document.title}是{''.join(told)}"
    return None


def _introduction(document: Document, seed: int) -> Iterator[Grounded]:
    """The title names a thing, or an aspect of one, and the whole text explains it."""
    name, body = document.title, document.body
    if not name or as_question(name, document) or not explains(body, document) or len(body) < 80:
        return
    if document.language == "en":
        if name in document.terms and body.lower().startswith(
            (name.lower(), f"the {name.lower()}", f"a {name.lower()}")
        ):
            yield Grounded(
                "introduction", worded("introduction", document, seed, name), "", body, {"found": "entry"}
            )
        return
    subject, _, aspect = name.partition("的")
    is_name = name in document.terms or (
        subject in document.terms and bool(re.fullmatch(r"[一-鿿]{2,8}", aspect))
    )
    if is_name and body.startswith(subject):
        yield Grounded(
            "introduction", worded("introduction", document, seed, name), "", body, {"found": "entry"}
        )


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
    return (
        begins
        and not refers(claim)
        and len(tagged(claim)) >= 3
        and not re.search(r"[“”（）？]|为什么|如何|怎", claim)
    )


def _plain_sentences(document: Document) -> Iterator[str]:
    for block in document.blocks:
        if block.kind == "paragraph":
            for sentence in sentences(block.text, document.language):
                is_sound = begins_clearly(sentence, document.language) and is_plain(
                    sentence, document.language
                )
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
            if _is_subject(slots["subject"], document) and fits(sentence, longest=300):
                question = wording.format(**slots).replace("含有哪些", "含有哪些成分")
                yield Grounded("fact", question, "", sentence, {"found": "fact", "subject": slots["subject"]})
            break


def _is_subject(subject: str, document: Document) -> bool:
    """Whether a phrase is a noun phrase that begins with a term of the document."""
    if refers(subject) or not any(subject.startswith(term) and is_thing(term) for term in document.terms):
        return False
    words = tagged(subject)
    allowed = ("uj", "c", "vn", "a", "an", "v", "f")
    is_phrase = all(tag[0] in "nbgzjlie" or tag in allowed or word in ("按", "依") for word, tag in words)
    return is_phrase and (subject in document.terms or words[-1][1][0] in "ng")


_HOW = re.compile(r"怎么|怎样|如何|步骤|方法|做法|流程|教程|指南|技巧|how to|steps", re.IGNORECASE)


def _steps(document: Document, seed: int) -> Iterator[Grounded]:
    """A numbered list below a heading or title that asks for a way of doing something."""
    heading = document.title
    for index, block in enumerate(document.blocks):
        if block.kind == "heading":
            heading = block.text
        if block.kind != "list" or not block.numbered or len(block.items) < 3 or not _HOW.search(heading):
            continue
        question = as_question(heading, document)
        if (
            question is None
            and re.fullmatch(r"[一-鿿A-Za-z0-9]{2,16}(?:步骤|方法|做法|流程)", heading)
            and names_topic(heading, document)
        ):
            question = f"请写出{heading}。"
        # a whole document of this kind is found by its title
        alone = index == len(document.blocks) - 1 == 0
        if question and not alone and fits(block.text) and is_plain(block.text, document.language):
            yield Grounded(
                "steps", question, "", block.text, {"found": "numbered list", "steps": len(block.items)}
            )


# -- all of them --------------------------------------------------------------------------------

#: Finders, the most dependable first.
_ASKED = (
    _question_pairs,
    _titled_question,
    _headed_sections,
    _definitions,
    _reasons,
    _steps,
    _introduction,
    _facts,
)


def grounded_prompts(document: Document, seed: int) -> list[Grounded]:
    """All prompts that a document answers, best first: questions and tasks on its text take turns."""
    asked = [one for find in _ASKED for one in find(document, seed)]
    worked = list(text_tasks(document, seed))
    turns = [one for pair in zip(asked, worked, strict=False) for one in pair]
    paired = min(len(asked), len(worked))
    found: dict[tuple[str, str], Grounded] = {}
    for one in [*turns, *asked[paired:], *worked[paired:]]:
        found.setdefault((one.answer, one.input), one)
    return list(found.values())
