"""Terms of the domain are found, general words fall away, and a person has the last word."""

import json

import polars as pl
import pytest

from curation.domain.keywords import coverage, mine_keywords
from curation.domain.words import STOP_WORDS, Lexicon, UserWord
from curation.errors import UserError
from curation.settings import KeywordSettings

SEEDS = [
    "绿茶的杀青决定香气，杀青之后揉捻。",
    "揉捻使茶汁附着，杀青不足则有青气。",
    "白茶不杀青，只萎凋和干燥。",
    "萎凋的时间要看天气，红茶也要萎凋。",
    "晒青毛茶先杀青，再揉捻，最后晒干。",
    "轻杀青的茶要重揉捻，萎凋可以省去。",
]
GENERAL = [
    "今天的天气很好，我们去公园散步。",
    "公司发布了新的手机，价格不贵。",
    "时间过得真快，孩子已经上小学了。",
    "球队在最后时间进球，赢得比赛。",
    "这家饭店的红茶味道一般，价格偏贵。",
    "天气转凉，公园里的人少了。",
    "孩子在小学门口等公司的班车。",
    "比赛因为天气推迟，球队回到饭店。",
]
COLUMNS = ("target", "decision", "reviewer", "at", "note", "edited")
NOBODY = pl.DataFrame(schema=dict.fromkeys(COLUMNS, pl.String))
#: A dozen short texts prove little: whatever speaks for a term counts.
EASY = {"min_score": 0.01, "min_pmi": 1.0}


def frame(texts):
    ids = [f"{place:032x}" for place in range(len(texts))]
    return pl.DataFrame({"record_id": ids, "text": texts}, schema={"record_id": pl.String, "text": pl.String})


def decisions(*rows):
    full = [(*row, *[None] * (len(COLUMNS) - len(row))) for row in rows]
    return pl.DataFrame(full, schema=NOBODY.schema, orient="row")


def mine(decided=NOBODY, lexicon=Lexicon(), seeds=SEEDS, **settings):  # noqa: B008
    chosen = KeywordSettings(**EASY | settings)
    return mine_keywords(frame(seeds), frame(GENERAL), chosen, decided, lexicon)


def by_term(table):
    return {row["term"]: row for row in table.iter_rows(named=True)}


def test_terms_of_the_domain_come_first_and_general_words_fall_away():
    table = mine()
    assert set(table["term"].head(3)) == {"杀青", "揉捻", "萎凋"}
    assert table["score"].is_sorted(descending=True)
    found = by_term(table)
    assert not {"天气", "时间", "价格", "最后", "可以"} & set(table.filter(pl.col("score") > 0)["term"])
    assert found["杀青"]["log_odds"] > 0
    assert found["杀青"]["z_score"] > found["萎凋"]["z_score"]
    assert min(found[term][name] for term in ("杀青", "揉捻") for name in ("tf_idf", "text_rank")) > 0


def test_a_word_that_no_dictionary_holds_is_found():
    found = by_term(mine())
    assert (found["揉捻"]["known"], found["揉捻"]["part_of_speech"]) == (False, "new")
    assert (found["杀青"]["known"], found["杀青"]["part_of_speech"]) == (True, "n")


def test_counts_examples_and_parents_are_true():
    row = by_term(mine())["萎凋"]
    assert (row["seed_docs"], row["general_docs"]) == (3, 0)
    assert row["parents"] == [f"{place:032x}" for place in (2, 3, 5)]
    assert row["example"].split("\n")[0] == SEEDS[2]
    assert row["example"].count("\n") == 2


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_the_seeds_does_not_matter(order):
    one = mine_keywords(frame(SEEDS)[::order], frame(GENERAL)[::order], KeywordSettings(**EASY), NOBODY)
    assert one.equals(mine())


def test_general_documents_of_the_domain_do_not_speak_against_its_terms():
    pages = [*GENERAL * 5, "这批茶先杀青，再揉捻，没有萎凋。", "萎凋、杀青、揉捻是制茶的工序。"]
    table = mine_keywords(frame(SEEDS), frame(pages), KeywordSettings(**EASY), NOBODY)
    apart = mine_keywords(frame(SEEDS), frame(pages[:-2]), KeywordSettings(**EASY), NOBODY)
    assert by_term(table)["杀青"]["general_docs"] == 2
    assert by_term(table)["杀青"]["z_score"] > by_term(apart)["杀青"]["z_score"]


def test_a_person_rejects_accepts_and_adds():
    decided = by_term(
        mine(
            decisions(
                ("杀青", "reject", "林", "2026-01-01", "试试"),
                ("天气", "accept", "林", "2026-01-01", ""),
                ("岩 韵", "add", "林", "2026-01-01", ""),
            )
        )
    )
    rejected = decided["杀青"]
    assert (rejected["verdict"], rejected["reason"]) == ("dropped", "rejected_by_reviewer")
    evidence = json.loads(rejected["evidence"])
    assert (evidence["suggested"], evidence["decision"]) == ("accept", "reject")
    assert (evidence["decided_by"], evidence["at"], evidence["note"]) == ("林", "2026-01-01", "试试")
    assert decided["天气"]["verdict"] == "kept"
    assert (decided["天气"]["suggested"], decided["岩 韵"]["seed_docs"]) == ("reject", 0)
    assert decided["岩 韵"]["verdict"] == "kept"
    assert decided["岩 韵"]["decided_by"] == "林"
    assert decided["揉捻"]["decided_by"] is None


def test_a_decision_changes_the_row_of_its_term_and_no_other():
    before, after = by_term(mine()), by_term(mine(decisions(("萎凋", "reject", "林", "2026", ""))))
    assert {term for term in before if before[term] != after[term]} == {"萎凋"}


def test_merged_terms_count_as_one_and_keep_a_row_of_their_own():
    merged = by_term(mine(decisions(("晒干", "merge", "林", "2026", "", '"干燥"')), min_seed_docs=1))
    assert merged["干燥"]["seed_docs"] == 2
    assert merged["干燥"]["synonyms"] == ["晒干"]
    assert "晒干" in merged["干燥"]["example"]
    variant = merged["晒干"]
    assert (variant["reason"], variant["merged_into"], variant["seed_docs"]) == ("synonym_of", "干燥", 1)


def test_terms_merged_in_a_circle_are_a_mistake():
    circle = decisions(
        ("晒干", "merge", "林", "2026", "", '"干燥"'), ("干燥", "merge", "林", "2026", "", '"晒干"')
    )
    with pytest.raises(UserError, match="circle: 晒干 → 干燥 → 晒干"):
        mine(circle)


def test_a_user_names_words_and_stop_words():
    lexicon = Lexicon((UserWord("晒青毛茶"), UserWord("茶汁", 100, "n")), STOP_WORDS | {"杀青"})
    found = by_term(mine(lexicon=lexicon, min_seed_docs=1))
    assert found["晒青毛茶"]["seed_docs"] == 1
    assert found["茶汁"]["part_of_speech"] == "n"
    assert "杀青" not in found


def test_parts_of_speech_have_weights_and_no_weight_is_no_term():
    plain, half = by_term(mine()), by_term(mine(part_of_speech={"n": 0.5}))
    assert half["杀青"]["score"] == pytest.approx(plain["杀青"]["score"] / 2, abs=1e-6)
    assert "杀青" not in by_term(mine(part_of_speech={"v": 1}))
    assert "杀青" in by_term(mine(part_of_speech={"v": 1}, lexicon=Lexicon((UserWord("杀青"),))))


def test_only_the_best_terms_are_kept():
    rows = mine(keep=1)
    assert rows.filter(pl.col("verdict") == "kept")["term"].to_list() == [rows["term"][0]]
    assert set(rows.filter(pl.col("verdict") != "kept")["reason"]) == {"below_keyword_score"}


def test_coverage_counts_kept_terms_and_their_synonyms():
    table = mine(decisions(("公园", "merge", "林", "2026", "", '"杀青"')), keep=2)
    texts = {
        "heldout": pl.Series(["杀青太久", "别的"]),
        "general": pl.Series(["公园", "饭店", "球队", "孩子"]),
    }
    assert coverage(table, **texts) == {"heldout_coverage": 0.5, "general_coverage": 0.25}


def test_no_seeds_give_no_terms():
    assert mine(seeds=[]).height == 0
