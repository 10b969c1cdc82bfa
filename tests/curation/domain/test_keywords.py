"""Terms of the domain are found, general words fall away, and a person has the last word."""

import polars as pl
import pytest

from curation.domain.keywords import mine_keywords
from curation.settings import KeywordSettings

SEEDS = [
    "绿茶的杀青决定香气，杀青之后揉捻。",
    "揉捻使茶汁附着，杀青不足则有青气。",
    "白茶不杀青，只萎凋和干燥。",
    "萎凋的时间要看天气，红茶也要萎凋。",
    "晒青毛茶先杀青，再揉捻，最后晒干。",
]
GENERAL = [
    "今天的天气很好，我们去公园散步。",
    "公司发布了新的手机，价格不贵。",
    "时间过得真快，孩子已经上小学了。",
    "球队在最后时间进球，赢得比赛。",
    "这家饭店的红茶味道一般，价格偏贵。",
]
NOBODY = pl.DataFrame(schema=dict.fromkeys(("target", "decision", "reviewer", "at", "note"), pl.String))


def frame(texts):
    return pl.DataFrame({"record_id": [f"{place:032x}" for place in range(len(texts))], "text": texts})


def mine(decisions=NOBODY, **settings):
    chosen = KeywordSettings(min_score=0.5, **settings)
    return mine_keywords(frame(SEEDS), frame(GENERAL), chosen, decisions)


def test_terms_of_the_domain_come_first_and_general_words_fall_away():
    kept = mine().filter(pl.col("verdict") == "kept")["term"].to_list()
    assert kept[0] == "杀青"
    assert {"杀青", "揉捻", "萎凋"} <= set(kept)
    assert not {"天气", "时间", "价格"} & set(kept)


def test_counts_examples_and_parents_are_true():
    row = mine().filter(pl.col("term") == "萎凋").row(0, named=True)
    assert (row["seed_docs"], row["general_docs"]) == (2, 0)
    assert row["parents"] == [f"{2:032x}", f"{3:032x}"]
    assert "萎凋" in row["example"]


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_the_seeds_does_not_matter(order):
    seeds = frame(SEEDS)[::order]
    assert mine_keywords(seeds, frame(GENERAL), KeywordSettings(), NOBODY).equals(
        mine_keywords(frame(SEEDS), frame(GENERAL), KeywordSettings(), NOBODY)
    )


def test_a_person_rejects_accepts_and_adds():
    rows = [
        ("杀青", "reject", "林", "2026-01-01", "试试"),
        ("天气", "accept", "林", "2026-01-01", ""),
        ("岩韵", "add", "林", "2026-01-01", ""),
    ]
    decided = mine(pl.DataFrame(rows, schema=NOBODY.schema, orient="row"), min_seed_docs=1)
    by_term = {row["term"]: row for row in decided.iter_rows(named=True)}
    assert (by_term["杀青"]["verdict"], by_term["杀青"]["reason"]) == ("dropped", "rejected_by_reviewer")
    assert "试试" in by_term["杀青"]["evidence"]
    assert by_term["天气"]["verdict"] == "kept"
    assert by_term["岩韵"]["verdict"] == "kept"
    assert by_term["岩韵"]["decided_by"] == "林"
    assert by_term["揉捻"]["decided_by"] is None


def test_only_the_best_terms_are_kept():
    rows = mine(keep=1)
    assert rows.filter(pl.col("verdict") == "kept")["term"].to_list() == ["杀青"]
    assert set(rows.filter(pl.col("verdict") != "kept")["reason"]) == {"below_keyword_score"}


def test_no_seeds_give_no_terms():
    assert mine_keywords(frame(SEEDS).head(0), frame(GENERAL), KeywordSettings(), NOBODY).height == 0
