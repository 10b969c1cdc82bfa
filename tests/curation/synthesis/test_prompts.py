"""From documents to judged prompts and from prompts to samples."""

import json

import polars as pl
import pytest

from curation import schemas
from curation.records import digest
from curation.settings import ChatSettings, PromptSettings
from curation.synthesis.answers import answer_prompts
from curation.synthesis.chat import Reply
from curation.synthesis.prompts import make_prompts
from curation.synthesis.rules import rule_prompts
from curation.synthesis.self_instruct import fault, read_numbered, self_instruct
from curation.verdicts import conservation

TEXTS = {
    "杀青": "杀青：绿茶制作中的关键工序，以高温钝化鲜叶中的酶，使叶子保持绿色。红茶和绿茶的分别就从这里开始。",
    "日记": "我今天在山上采了一天的茶，腰酸背痛，回来倒头就睡。",
    "产地": "绿茶主要产于浙江、安徽、江苏和四川等地，一年采三季。",
}
KEYWORDS = ["绿茶", "红茶", "杀青"]
HUMAN = [
    "写一首关于雨的诗。",
    "怎么把衬衫领口洗干净？",
    "解释什么是复利。",
    "翻译：今天天气很好。",
    "给同事写一封道歉信。",
    "为什么海水是咸的？",
    "列出三种早餐。",
]


@pytest.fixture
def documents():
    ids = [digest(name) for name in TEXTS]
    return pl.DataFrame(
        {"record_id": ids, "title": [None] * 3, "text": list(TEXTS.values())},
        schema_overrides={"title": pl.String},
    )


def make(documents, chat=None, seed=1, human=(), **settings):
    return make_prompts(documents, KEYWORDS, human, PromptSettings(**settings), chat, seed)


def model(*texts):
    """A chat model that gives these replies in turn and keeps what it was asked."""
    asked, replies = [], list(texts)

    def chat(conversations):
        asked.extend(conversations)
        return [replies.pop(0) if len(replies) > 1 else replies[0] for _ in conversations]

    chat.asked = asked
    return chat


def test_every_document_is_answered_for(documents):
    rows = make(documents)
    schemas.conform("prompts", rows.with_columns(run_id=pl.lit("0" * 32)))
    assert conservation("expand", documents.lazy(), rows.lazy()).ok
    nothing = rows.filter(pl.col("reason") == "no_prompt_found")
    assert nothing["parents"].to_list() == [[digest("日记")]]
    assert nothing["method"].to_list() == [None]


def test_the_order_of_the_documents_changes_nothing(documents):
    assert make(documents).equals(make(documents.reverse()))
    assert make(documents).equals(make(documents))


def test_a_grounded_answer_stands_in_its_document(documents):
    rows = make(documents, methods=("document",)).filter(pl.col("verdict") == "kept")
    assert set(rows["task"]) == {"definition", "fact"}
    for row in rows.iter_rows(named=True):
        text = documents.filter(pl.col("record_id") == row["parents"][0])["text"][0]
        assert row["grounded_answer"].removeprefix("杀青是") in text


def test_more_than_is_asked_for_of_a_document_is_over_budget(documents):
    rows = make(documents, methods=("document",), per_document=0).filter(pl.col("method") == "document")
    assert set(rows["reason"]) == {"over_budget"}
    rows = make(documents, max_prompts=1)
    kept = rows.filter(pl.col("verdict") == "kept")
    assert kept.height == 1
    assert kept["grounded_answer"][0] is not None


def test_a_prompt_that_is_there_already_is_not_novel(documents):
    first = (
        make(documents, methods=("document",)).filter(pl.col("verdict") == "kept")["instruction"].to_list()
    )
    rows = make(documents, methods=("document",), human=[f" {first[0]} "])
    refused = rows.filter(pl.col("reason") == "not_novel")
    assert refused["instruction"].to_list() == [first[0]]
    assert json.loads(refused["evidence"][0])["rouge_l"] == 1.0


def test_rules_compare_what_is_named_side_by_side(documents):
    rows = rule_prompts(documents, [*KEYWORDS, "海带"], 0)
    compared = rows.filter(pl.col("task") == "compare")
    assert [sorted(terms) for terms in compared["terms"].to_list()] == [["红茶", "绿茶"]]
    assert compared["parents"].to_list() == [[digest("杀青")]]
    assert "海带" not in "".join(rows["instruction"])
    assert rows["instruction"].n_unique() == rows.height
    assert rule_prompts(documents.clear(), KEYWORDS, 0).is_empty()


def test_self_instruct_shows_eight_examples_and_keeps_what_is_new():
    reply = Reply(
        "给刚入门的人说说怎样挑一只盖碗。\n10. 画一张茶园的图片。\n11. 解释什么是复利\n12. 嗯\n13. 把一斤茶叶分成三十克一包，能分几包，还剩多少？"
    )
    chat = model(reply)
    human = [*HUMAN, "算一算三十五乘以十二。"]
    found = self_instruct(human, ["什么是绿茶？"], KEYWORDS, chat, 2, 0.7, 3)
    request = chat.asked[0][0]["content"]
    assert all(text in request for text in human)
    assert request.endswith("\n9.")
    assert any(word in request for word in KEYWORDS)
    assert {one.instruction: one.reason for one in found} == {
        "给刚入门的人说说怎样挑一只盖碗。": None,
        "画一张茶园的图片。": "blocked_term",
        "解释什么是复利": "not_novel",
        "嗯": "too_short",
        "把一斤茶叶分成三十克一包，能分几包，还剩多少？": None,
    }


def test_later_rounds_show_six_human_and_two_generated_examples():
    replies = [
        Reply(f"9. {text}")
        for text in (
            "说说怎样挑一只盖碗。",
            "春茶为何比夏茶贵？",
            "列一份茶园冬季的农活清单。",
            "用八十个字推荐一款早餐茶。",
        )
    ]
    chat = model(*replies)
    human = [*HUMAN, "算一算三十五乘以十二。"]
    found = self_instruct(human, [], KEYWORDS, chat, 12, 0.7, 3)
    late = found[-1]
    assert (len(late.human), len(late.generated)) == (6, 2)
    assert found == self_instruct(human, [], KEYWORDS, model(*replies), 12, 0.7, 3)


def test_a_failed_request_is_a_quarantined_row(documents):
    rows = make(
        documents,
        model(Reply(None, "status 500")),
        human=HUMAN,
        methods=("self_instruct",),
        self_instruct_prompts=3,
    )
    failed = rows.filter(pl.col("method") == "self_instruct")
    assert set(failed["reason"]) == {"chat_failed"}
    assert set(failed["verdict"].cast(pl.String)) == {"quarantined"}
    assert "status 500" in failed["evidence"][0]
    assert conservation("expand", documents.lazy(), rows.lazy()).ok


def test_self_instruct_rows_conform_and_are_limited(documents):
    reply = Reply("9. 说说怎样挑一只盖碗。\n10. 春茶为何比夏茶贵？\n11. 列一份茶园冬季的农活清单。")
    rows = make(documents, model(reply), human=HUMAN, self_instruct_prompts=2)
    schemas.conform("prompts", rows.with_columns(run_id=pl.lit("0" * 32)))
    made = rows.filter(pl.col("method") == "self_instruct")
    assert made.filter(pl.col("verdict") == "kept").height == 2
    assert conservation("expand", documents.lazy(), rows.lazy()).ok


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("9. 一\n10. 二\n11. 三", ["一", "二", "三"]),
        ("一\n10. 二", ["一", "二"]),
        ("好的，以下是新任务：\n\n9、一\n10、二\n\n希望有用！", ["一", "二"]),
        ("任务9：**一**\n任务10：“二”", ["一", "二"]),
        ("9. 一\n9. 一", ["一"]),
        ("没有编号", []),
        ("", []),
    ],
)
def test_reading_a_numbered_list(text, items):
    assert read_numbered(text, 9) == items


def test_the_last_item_of_a_reply_that_was_cut_off_is_left_out():
    assert read_numbered("9. 一\n10. 二只说了一", 9, cut_off=True) == ["一"]


def test_faults_of_form():
    assert fault("比较绿茶和红茶。", "zh") is None
    assert fault("Compare green tea with black tea.", "zh") == "wrong_language"
    assert fault("请看下图回答问题。", "zh") == "blocked_term"
    assert fault("Profile a customer for a tea shop.", "en") is None
    assert fault("，，，，，，", "zh") == "symbols"


# -- answers ------------------------------------------------------------------------------------


def test_a_grounded_answer_needs_no_model_and_the_rest_is_dropped_without_one(documents):
    prompts = make(documents).filter(pl.col("verdict") == "kept")
    rows = answer_prompts(prompts, None, ChatSettings())
    schemas.conform("answers", rows.with_columns(run_id=pl.lit("0" * 32)))
    assert conservation("judge", prompts.lazy(), rows.lazy()).ok
    assert rows["record_id"].to_list() == prompts["record_id"].to_list()
    grounded = prompts["grounded_answer"].is_not_null()
    assert rows.filter(grounded)["verdict"].cast(pl.String).unique().to_list() == ["kept"]
    assert rows.filter(~grounded)["reason"].unique().to_list() == ["no_answer"]
    assert json.loads(rows.filter(~grounded)["evidence"][0])["says"] == "no chat model is configured"
    assert [len(turns) for turns in rows["messages"]] == [2 if one else 1 for one in grounded]
    assert rows["uri"].is_in(["synthesis/document", "synthesis/rule"]).all()


def test_the_model_is_asked_only_for_what_has_no_answer():
    prompts = pl.DataFrame(
        [
            {"record_id": digest(name), "parents": ["p"], "method": "rule", "task": "t", "instruction": name, "input": text, "grounded_answer": answer}
            for name, text, answer in (("一", "", "有"), ("二", "文", None), ("三", "", None), ("四", "", None), ("五", None, None))
        ],
        schema_overrides={"grounded_answer": pl.String},
    )  # fmt: skip
    chat = model(Reply("好"), Reply(None, "time-out"), Reply("说到一半", cut_off=True), Reply("  "))
    rows = answer_prompts(prompts, chat, ChatSettings(model="m"))
    assert [turns[0]["content"] for turns in chat.asked] == ["二\n\n文", "三", "四", "五"]
    assert rows["reason"].to_list() == [None, None, "chat_failed", "truncated", "no_answer"]
    assert rows["verdict"].cast(pl.String).to_list() == ["kept", "kept", "quarantined", "dropped", "dropped"]
    assert rows["messages"][1].to_list()[-1] == {"role": "assistant", "content": "好"}
    assert "time-out" in rows["evidence"][2]


def test_no_documents_no_prompts_no_answers(documents):
    rows = make(documents.clear())
    assert rows.is_empty()
    assert answer_prompts(rows, None, ChatSettings()).is_empty()
