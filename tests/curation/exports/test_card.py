"""The dataset card."""

import polars as pl
import pytest
import yaml

from curation import schemas
from curation.exports.card import card_figures, card_rows, dataset_card


def samples():
    said = [{"role": "user", "content": "怎么泡茶？"}, {"role": "assistant", "content": "用热水。"}]
    return pl.DataFrame(
        {
            "record_id": list("ab"),
            "messages": [said, [*said, *said]],
            "source": ["甲|乙", "synthesis"],
            "language": ["zh", "zh"],
            "task": ["qa", None],
        },
        schema_overrides={"messages": schemas.Messages},
    )


FUNNEL = [
    {
        "table": "sft_pool",
        "rows": 10,
        "kept": 7,
        "dropped": 2,
        "quarantined": 1,
        "reasons": {"too_short": 2, "unreadable_line": 1},
    }
]
SETTINGS = {"selection": {"budget": 2, "languages": ("zh",)}}


@pytest.fixture
def card():
    return dataset_card(
        "茶", card_figures(samples(), {"sft.openai.jsonl": 2}), FUNNEL, SETTINGS, samples().head(1)
    )


def test_figures_are_counted():
    figures = card_figures(samples(), {"sft.openai.jsonl": 2})
    assert figures["samples"] == 2
    assert figures["characters"] == 27
    assert figures["answer_characters_median"] == 4
    assert figures["multi_turn"] == 1
    assert (figures["language.zh"], figures["source.synthesis"], figures["task.–"]) == (2, 1, 1)
    rows = card_rows(figures, "exports/README.md")
    schemas.conform("dataset_card", rows.with_columns(run_id=pl.lit("0" * 32)))
    assert rows["record_id"].n_unique() == len(figures)


def test_the_front_matter_is_yaml_without_a_licence(card):
    _, matter, _ = card.split("---\n", 2)
    read = yaml.safe_load(matter)
    assert read["language"] == ["zh"]
    assert read["size_categories"] == ["n<1K"]
    assert read["configs"] == [{"config_name": "sft_openai", "data_files": "sft.openai.jsonl"}]
    assert "license" not in read
    assert "# license" in matter


def test_the_card_tells_how_it_came_about(card):
    for said in (
        "共 2 条指令样本",
        "2 instruction samples",
        "| `sft_pool` | 10 | 7 | 2 | 1 |",
        "- `too_short`: shorter than the limit",
        "budget: 2",
        "局限 · Limits",
    ):
        assert said in card
    assert "甲\\|乙" in card


def test_the_same_figures_give_the_same_bytes(card):
    assert card == dataset_card(
        "茶", card_figures(samples(), {"sft.openai.jsonl": 2}), FUNNEL, SETTINGS, samples().head(1)
    )


def test_a_text_cannot_break_out_of_its_fence():
    said = [{"role": "user", "content": "```\n# 标题"}, {"role": "assistant", "content": "`````"}]
    frame = pl.DataFrame(
        {"record_id": ["a"], "messages": [said]}, schema_overrides={"messages": schemas.Messages}
    )
    card = dataset_card("茶", card_figures(samples(), {}), [], {}, frame)
    assert "``````json" in card


def test_an_empty_set_has_a_card_too():
    figures = card_figures(samples().clear(), {})
    assert "没有样本" in dataset_card("空", figures, [], {})
    assert figures == {"samples": 0}
