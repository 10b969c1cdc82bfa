"""Pairs for a reward model and prompts for PPO."""

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation import schemas
from curation.exports.preference import (
    edited_answer,
    ppo_lines,
    ppo_prompts,
    preference_pairs,
    prompt_form,
    rm_lines,
)
from curation.records import digest
from curation.settings import ExportSettings
from curation.verdicts import conservation

SETTINGS = ExportSettings()
LONG = "绿茶用八十度左右的水冲泡，红茶用九十度以上的水冲泡，乌龙茶和黑茶都要用刚刚烧开的水，水温不够香气出不来，水温太高嫩芽会烫熟。"


def samples(*rows):
    """Rows of (prompt, answer, quality, cluster, selected)."""
    return pl.DataFrame(
        [
            {
                "record_id": digest(prompt, answer),
                "messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}],
                "quality": quality,
                "cluster": cluster,
                "selected": selected,
            }
            for prompt, answer, quality, cluster, selected in rows
        ],
        schema={"record_id": pl.String, "messages": schemas.Messages, "quality": pl.Float64, "cluster": pl.Int32, "selected": pl.Boolean},
    )  # fmt: skip


NO_DECISIONS = pl.DataFrame(
    schema=dict.fromkeys(("target", "decision", "reviewer", "at", "edited"), pl.String)
)


def edits(*rows):
    return pl.DataFrame(
        [(target, "edit", "小林", "2026", edited) for target, edited in rows],
        schema=NO_DECISIONS.schema,
        orient="row",
    )


def kept(rows):
    return rows.filter(pl.col("verdict") == "kept")


def test_a_persons_edit_is_better_than_what_it_mends():
    frame = samples(("怎么泡茶", "随便泡。", 0.5, 0, True))
    (row,) = kept(
        preference_pairs(frame, edits((frame["record_id"][0], '"用八十度的水泡。"')), SETTINGS, 0)
    ).iter_rows(named=True)
    assert (row["chosen"], row["rejected"], row["origin"]) == ("用八十度的水泡。", "随便泡。", "edit")
    assert json.loads(row["evidence"])["reviewer"] == "小林"


@pytest.mark.parametrize(
    ("edited", "answer"),
    [
        ('"好"', "好"),
        ("不是JSON的文字", "不是JSON的文字"),
        ('{"output": "好"}', "好"),
        ('{"messages": [{"role": "user", "content": "问"}, {"role": "assistant", "content": "好"}]}', "好"),
        ('[{"role": "assistant", "content": "好"}]', "好"),
        ('[{"role": "user", "content": "问"}]', None),
        ("{}", None),
        ("3", None),
        ("  ", None),
        (None, None),
    ],
)
def test_what_an_edit_may_look_like(edited, answer):
    assert edited_answer(edited) == answer


def test_two_answers_to_one_prompt_must_differ_clearly():
    frame = samples(
        ("请问怎么泡绿茶？", "八十度的水，泡两分钟。", 0.9, 0, True),
        ("怎么泡绿茶", "不知道。", 0.2, 0, False),
        ("怎么泡绿茶呢", "看着办吧，都行。", 0.7, 0, False),
        ("怎么泡红茶？", "九十度的水。", 0.1, 0, False),
    )
    rows = preference_pairs(frame, NO_DECISIONS, SETTINGS, 0)
    pairs = kept(rows).filter(pl.col("origin") == "same_prompt")
    assert pairs.select("chosen", "rejected").rows() == [("八十度的水，泡两分钟。", "不知道。")]
    assert json.loads(pairs["evidence"][0])["gap"] == 0.7
    assert set(rows.filter(pl.col("reason") == "no_pair")["chosen"]) == {"看着办吧，都行。", "九十度的水。"}


def test_prompts_that_ask_different_things_have_different_forms():
    assert prompt_form("请问，怎么泡绿茶呢？") == prompt_form("怎么泡绿茶")
    assert prompt_form("Could you please explain TEA?") == prompt_form("explain tea")
    assert prompt_form("怎么泡绿茶") != prompt_form("怎么泡红茶")
    assert prompt_form("3+5=?") != prompt_form("3+6=?")
    assert prompt_form("吗") == "吗"


def test_a_made_up_pair_says_how_it_was_made():
    rows = [
        (f"第{number}种茶用多少度的水泡才好喝", f"{LONG}共{number}条。", 0.8, 0, True) for number in range(12)
    ]
    pairs = kept(preference_pairs(samples(*rows), NO_DECISIONS, SETTINGS, 3))
    assert pairs.height == 12
    cut = pairs.filter(pl.col("origin") == "cut_off")
    assert cut.height > 0
    for row in cut.iter_rows(named=True):
        assert row["chosen"].startswith(row["rejected"])
        assert 0.2 <= len(row["rejected"]) / len(row["chosen"]) <= 0.7
        assert row["rejected"][-1] not in "。，"
    none = preference_pairs(samples(*rows), NO_DECISIONS, ExportSettings(made_up_pairs=False), 3)
    assert kept(none).is_empty()


def test_an_answer_is_swapped_with_a_near_but_other_prompt():
    frame = samples(
        ("绿茶怎么保存", "冷藏。", 0.9, 0, True),
        ("绿茶有哪些产地", "浙江、安徽。", 0.9, 0, True),
        ("怎么修自行车", "先看链条。", 0.9, 1, True),
    )
    rows = preference_pairs(frame, NO_DECISIONS, SETTINGS, 0)
    pairs = {row["chosen"]: row for row in kept(rows).iter_rows(named=True)}
    assert pairs["冷藏。"]["rejected"] == "浙江、安徽。"
    assert pairs["冷藏。"]["origin"] == "swapped"
    assert len(pairs["冷藏。"]["parents"]) == 2
    assert rows.filter(pl.col("reason") == "no_pair")["chosen"].to_list() == ["先看链条。"]


SAMPLES = st.lists(
    st.tuples(st.text("怎么泡茶？请 ", max_size=8), st.text("水热。冷", max_size=60), st.one_of(st.none(), st.floats(0, 1)), st.integers(0, 2), st.booleans()),
    max_size=12,
    unique_by=lambda row: row[:2],
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(SAMPLES, st.randoms())
def test_pairs_and_prompts_answer_for_every_sample_in_any_order(rows, random):
    frame = samples(*rows)
    shuffled = frame.sample(fraction=1, shuffle=True, seed=random.randint(0, 99)) if rows else frame
    pairs = preference_pairs(frame, NO_DECISIONS, SETTINGS, 5)
    assert conservation("expand", frame.lazy(), pairs.lazy()).ok
    assert pairs.equals(preference_pairs(shuffled, NO_DECISIONS, SETTINGS, 5))
    schemas.conform("rm_files", pairs.with_columns(run_id=pl.lit("0" * 32)))
    chosen = frame.filter("selected")["record_id"]
    prompts = ppo_prompts(frame, chosen, ExportSettings(ppo_prompts=2), 5)
    assert conservation("judge", frame.lazy(), prompts.lazy()).ok
    assert prompts.equals(ppo_prompts(shuffled, chosen, ExportSettings(ppo_prompts=2), 5))
    schemas.conform("ppo_files", prompts.with_columns(run_id=pl.lit("0" * 32)))
    assert kept(prompts).height <= 2


def test_ppo_prompts_are_new_good_and_spread_over_clusters():
    frame = samples(
        ("怎么泡绿茶？", "甲", 0.9, 0, True),
        ("请问怎么泡绿茶", "乙", 0.9, 0, False),
        ("绿茶产于哪里？", "丙", 0.8, 0, False),
        ("请问绿茶产于哪里", "丁", 0.3, 0, False),
        ("红茶为什么红？", "戊", 0.7, 0, False),
        ("怎么修自行车？", "己", 0.1, 1, False),
        ("嗯", "庚", 0.9, 1, False),
    )
    chosen = frame.filter("selected")["record_id"]
    rows = ppo_prompts(frame, chosen, ExportSettings(ppo_prompts=2), 0)
    reasons = dict(zip(rows["prompt"], rows["reason"], strict=True))
    assert reasons == {
        "怎么泡绿茶？": "in_sft_set",
        "请问怎么泡绿茶": "in_sft_set",
        "绿茶产于哪里？": None,
        "请问绿茶产于哪里": "duplicate_of",
        "红茶为什么红？": "over_budget",
        "怎么修自行车？": None,
        "嗯": "no_prompt",
    }
    doubled = rows.filter(pl.col("reason") == "duplicate_of")
    assert json.loads(doubled["evidence"][0])["duplicate_of"] == digest("绿茶产于哪里？", "丙")
    lines = [json.loads(line) for line in ppo_lines(rows)]
    assert {line["prompt"][0]["content"] for line in lines} == {"绿茶产于哪里？", "怎么修自行车？"}


def test_lines_of_the_reward_models_file_hold_the_whole_context():
    frame = samples(("怎么泡茶", "随便泡。", 0.5, 0, True))
    rows = preference_pairs(frame, edits((frame["record_id"][0], "用八十度的水泡。")), SETTINGS, 0)
    (line,) = [json.loads(line) for line in rm_lines(rows)]
    assert line["prompt"] == [{"role": "user", "content": "怎么泡茶"}]
    assert line["chosen"] == [{"role": "assistant", "content": "用八十度的水泡。"}]
    assert line["record_id"] == kept(rows)["record_id"][0]


def test_columns_that_are_not_known_may_be_missing():
    frame = samples(("怎么泡茶才好喝", LONG, 0.5, 0, True)).drop("cluster", "selected")
    assert kept(preference_pairs(frame, NO_DECISIONS, SETTINGS, 0)).height == 1
    assert kept(ppo_prompts(frame, pl.Series([], dtype=pl.String), SETTINGS, 0)).height == 1
