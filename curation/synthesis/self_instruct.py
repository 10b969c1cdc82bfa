"""Self-Instruct: a chat model is shown eight tasks and writes new ones.

Belongs here: the request, reading the numbered list that comes back, and the filters on form.
Does not belong here: novelty (`synthesis.novelty`), asking the server (`resources.chat`).

References
----------
Wang et al. (2023), Self-Instruct: Aligning language models with self-generated instructions. Each
request shows eight tasks, six written by people and two made by the model before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from curation.records import canonical, digest
from curation.synthesis.chat import Chat, Message, Reply
from curation.synthesis.novelty import novel
from curation.synthesis.passages import language_of

HUMAN, GENERATED, NEW = 6, 2, 8
#: Characters of an instruction; Chinese says in one character what English says in about three.
_LENGTH = {"zh": (5, 300), "en": (12, 900)}
_LONGEST_EXAMPLE = 200
#: What a language model cannot see, hear or make.
BLOCKED_WORDS = (
    "图片", "图像", "照片", "截图", "图表", "下图", "上图", "如图", "画一", "绘制", "视频", "音频", "录音", "语音", "文件", "附件", "链接", "网址", "上网搜", "播放",
    "image", "images", "picture", "pictures", "photo", "graph", "graphs", "chart", "file", "files", "map", "maps", "draw", "plot", "video", "audio", "music", "flowchart", "diagram", "attachment", "link", "url",
)  # fmt: skip
_NUMBERED = re.compile(r"^\s*(?:任务|Task)?\s*(\d{1,2})\s*[.、．:：)）]\s*", re.IGNORECASE | re.MULTILINE)
_BLOCKED = re.compile(
    "|".join(rf"\b{re.escape(word)}\b" if word.isascii() else re.escape(word) for word in BLOCKED_WORDS),
    re.IGNORECASE,
)
_REQUEST = {
    "zh": "下面是一份任务清单，每条任务都是人会向助手提出的要求。请接着写{new}条新的任务，编号从{first}到{last}。\n"
    "要求：\n- 与已有的任务不重复，提问方式和任务类型尽量多样（问答、解释、比较、改写、分类、规划、计算、写作等）；\n"
    "- 每条任务自成一体，不看别的材料也能完成，不需要看图、上网或处理文件；\n- 每条一到两句话，用中文，只写任务，不写答案；\n"
    "{about}\n任务清单：\n{shown}\n{first}.",
    "en": "Below is a list of tasks that people give to an assistant. Continue it with {new} new tasks, numbered {first} to {last}.\n"
    "Rules:\n- do not repeat the tasks shown; vary the kind of task and the wording (questions, explanations, comparisons, rewriting, classification, planning, sums, writing);\n"
    "- each task is complete by itself and needs no picture, file or internet;\n- one or two sentences each, in English; only the task, no answer;\n"
    "{about}\nTasks:\n{shown}\n{first}.",
}
_ABOUT = {"zh": "- 任务围绕这些主题：{0}。", "en": "- the tasks are about these subjects: {0}."}


@dataclass(frozen=True)
class Proposal:
    """What came of a request: an instruction (or None with the `error`), what it was shown, and a verdict.

    `human` and `generated` are the examples that the request showed.
    """

    instruction: str | None
    human: tuple[str, ...]
    generated: tuple[str, ...]
    request: str
    reason: str | None = None
    error: str | None = None
    rouge_l: float | None = None
    nearest: str | None = None
    keywords: tuple[str, ...] = ()


def self_instruct(
    human: Sequence[str],
    known: Sequence[str],
    keywords: Sequence[str],
    chat: Chat,
    wanted: int,
    max_rouge_l: float,
    seed: int,
) -> list[Proposal]:
    """Ask for new instructions until enough are kept, in at most four rounds.

    Parameters
    ----------
    human
        Instructions written by people, the examples.
    known
        All instructions that a new one must differ from (the human ones need not be repeated).
    keywords
        Terms of the domain; some are named in each request.
    chat
        The chat model.
    wanted
        Instructions to keep.
    max_rouge_l
        ROUGE-L above which an instruction is not novel.
    seed
        Seed of the examples that are drawn.

    Returns
    -------
    list of Proposal
        Everything that was proposed, kept or not, and every request that failed.
    """
    texts = list(dict.fromkeys(text.strip() for text in human if text and text.strip()))
    # prompts that carry a long text with them make poor examples
    pool = [text for text in texts if len(text) <= _LONGEST_EXAMPLE] or texts
    if not pool or wanted <= 0:
        return []
    language = language_of(" ".join(pool[:50]))
    compared = list(dict.fromkeys([*texts, *known]))
    kept: list[str] = []
    proposals: list[Proposal] = []
    for turn in range(4):
        missing = wanted - len(kept)
        if missing <= 0:
            break
        # a quarter more than is missing: some will not be novel
        number = -(-missing * 5 // (NEW * 4))
        requests = [_draw(pool, kept, keywords, language, seed, f"{turn}:{index}") for index in range(number)]
        replies = chat([request.conversation for request in requests])
        for request, reply in zip(requests, replies, strict=True):
            for one in _judged(request, reply, language, [*compared, *kept], max_rouge_l):
                enough = one.reason is None and len(kept) >= wanted
                proposals.append(replace(one, reason="over_budget") if enough else one)
                if one.reason is None and not enough and one.instruction:
                    kept.append(one.instruction)
        if all(reply.text is None for reply in replies):
            break
    return proposals


@dataclass(frozen=True)
class _Asked:
    conversation: list[Message]
    human: tuple[str, ...]
    generated: tuple[str, ...]
    keywords: tuple[str, ...]
    first: int
    name: str


def _draw(
    human: Sequence[str], kept: Sequence[str], keywords: Sequence[str], language: str, seed: int, name: str
) -> _Asked:
    """A request with its examples, drawn by a generator of its own."""
    random = np.random.default_rng(int(digest("self_instruct", str(seed), name)[:16], 16))
    generated = tuple(kept[one] for one in random.permutation(len(kept))[:GENERATED])
    people = tuple(human[one] for one in random.permutation(len(human))[: HUMAN + GENERATED - len(generated)])
    examples = [(people + generated)[one] for one in random.permutation(len(people) + len(generated))]
    about = tuple(keywords[int(one)] for one in sorted(random.permutation(len(keywords))[:6]))
    shown = "\n".join(f"{number}. {_one_line(text)}" for number, text in enumerate(examples, 1))
    first = len(examples) + 1
    joined = ("、" if language == "zh" else ", ").join(about)
    content = _REQUEST[language].format(
        new=NEW,
        first=first,
        last=first + NEW - 1,
        shown=shown,
        about=_ABOUT[language].format(joined) if about else "",
    )
    return _Asked([{"role": "user", "content": content}], people, generated, about, first, name)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _judged(
    request: _Asked, reply: Reply, language: str, compared: Sequence[str], max_rouge_l: float
) -> list[Proposal]:
    bare = Proposal(None, request.human, request.generated, request.name, keywords=request.keywords)
    texts = [] if reply.text is None else read_numbered(reply.text, request.first, cut_off=reply.cut_off)
    if not texts:
        error = reply.error or "the reply holds no numbered list"
        return [replace(bare, reason="chat_failed", error=error)]
    faults = [fault(text, language) for text in texts]
    sound = [text for text, reason in zip(texts, faults, strict=True) if reason is None]
    novelty = novel(sound, compared, max_rouge_l).iter_rows(named=True)
    pool = [*compared, *sound]
    proposals = []
    for text, reason in zip(texts, faults, strict=True):
        if reason is not None:
            proposals.append(replace(bare, instruction=text, reason=reason))
            continue
        found = next(novelty)
        nearest = None if found["nearest"] is None else pool[found["nearest"]]
        judged = None if found["novel"] else "not_novel"
        proposals.append(
            replace(bare, instruction=text, reason=judged, rouge_l=found["rouge_l"], nearest=nearest)
        )
    return proposals


def read_numbered(text: str, first: int = 1, *, cut_off: bool = False) -> list[str]:
    """The items of a numbered list in a reply, in order, without doubles.

    The request ends with the first number, so a reply may begin right with that item. Where the reply
    was cut off, its last item is not whole and is left out.
    """
    marks = list(_NUMBERED.finditer(text))
    if not marks:
        return []
    items = []
    before = text[: marks[0].start()]
    if int(marks[0][1]) == first + 1 and before.strip():
        items.append(before)
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    items += [text[mark.end() : end] for mark, end in zip(marks, ends, strict=True)]
    if cut_off:
        items = items[:-1]
    cleaned = [
        re.sub(r"^\*\*(.+?)\*\*", r"\1", item.strip().split("\n\n")[0].strip()).strip(' "“”*')
        for item in items
    ]
    return list({canonical(item): item for item in reversed(cleaned) if item}.values())[::-1]


def fault(text: str, language: str) -> str | None:
    """Why an instruction is refused by its form: a code of `verdicts.REASONS`, or None."""
    shortest, longest = _LENGTH[language]
    if len(text) < shortest:
        return "too_short"
    if len(text) > longest:
        return "too_long"
    if _BLOCKED.search(text):
        return "blocked_term"
    if not (text[0].isalnum() or text[0] in "“《「\"'"):
        return "symbols"
    return None if language_of(text) == language else "wrong_language"
