"""A person fills in a file, and the decisions come back from it."""

import polars as pl
import pytest

from curation.domain.reviews import KeywordDecision, read_keyword_decisions
from curation.errors import UserError
from curation.settings import KeywordSettings
from resources.dictionaries import read_lexicon, version
from resources.keyword_files import read_keywords, write_keywords
from resources.reviews import Reviews

TABLE = pl.DataFrame(
    {
        "term": ["杀青", "晒干", "天气", "=揉捻"],
        "score": [3.5, 2.0, 1.0, 0.5],
        "decision": ["accept", "merge", None, "Reject"],
        "merge_into": [None, "干燥", None, None],
        "note": ["", None, None, "不像"],
    }
)
MADE = [
    KeywordDecision("杀青", "accept"),
    KeywordDecision("晒干", "merge", "干燥"),
    KeywordDecision("=揉捻", "reject", note="不像"),
]


@pytest.mark.parametrize("ending", ["csv", "xlsx", "jsonl"])
def test_what_is_written_is_read(tmp_path, ending):
    file = tmp_path / f"keywords.{ending}"
    write_keywords(TABLE, file)
    assert list(read_keyword_decisions(read_keywords(file), str(file))) == MADE


def test_a_csv_as_excel_saves_it_in_china_is_read(tmp_path):
    file = tmp_path / "keywords.csv"
    file.write_bytes("term,decision\n杀青,accept\n".encode("gb18030"))
    assert list(read_keyword_decisions(read_keywords(file), "f")) == MADE[:1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"term": "茶", "decision": "maybe"}, "row 1: decision 'maybe'; allowed: accept, reject, add, merge"),
        ({"term": "", "decision": "accept"}, "row 1: a decision without a term"),
        ({"term": "茶", "decision": "merge", "merge_into": "茶"}, "another term in merge_into"),
        ({"term": "茶", "decision": "accept", "merge_into": "水"}, "another term in merge_into"),
        ({"word": "茶"}, "no column term, decision"),
    ],
)
def test_a_wrong_row_is_named(row, message):
    with pytest.raises(UserError, match=message):
        list(read_keyword_decisions(pl.DataFrame([row]), "f"))


def test_an_unknown_ending_or_a_broken_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"cannot write \.txt"):
        write_keywords(TABLE, tmp_path / "k.txt")
    (tmp_path / "k.xlsx").write_bytes(b"no")
    with pytest.raises(UserError, match="cannot read"):
        read_keywords(tmp_path / "k.xlsx")
    with pytest.raises(UserError, match="cannot read"):
        read_keywords(tmp_path / "nowhere.csv")


def test_only_new_decisions_are_stored_and_a_circle_stores_none(tmp_path):
    reviews = Reviews(store=str(tmp_path / "s"))
    assert reviews.add_keywords(MADE, "林") == 3
    before = reviews.version("keyword")
    assert reviews.add_keywords(MADE, "陈") == 0
    assert reviews.version("keyword") == before
    with pytest.raises(UserError, match="circle"):
        reviews.add_keywords(
            [KeywordDecision("茶", "accept"), KeywordDecision("干燥", "merge", "晒干")], "林"
        )
    assert reviews.version("keyword") == before


def test_dictionaries_are_read_and_their_version_follows_what_they_say(tmp_path):
    words, stops = tmp_path / "words.txt", tmp_path / "stops.txt"
    words.write_text("岩韵 5 n\n单丛\n", encoding="utf-8-sig")
    stops.write_text("茶叶\n")
    settings = KeywordSettings(dictionaries=(str(words),), stop_words=(str(stops),))
    lexicon = read_lexicon(settings)
    assert [(one.word, one.frequency, one.tag) for one in lexicon.words] == [
        ("岩韵", 5, "n"),
        ("单丛", None, None),
    ]
    assert {"茶叶", "可以"} <= lexicon.stop_words
    before = version(settings)
    stops.write_text("茶叶\n茶杯\n")
    assert version(settings) != before
    words.write_text("岩韵 5 n 多余\n")
    with pytest.raises(UserError, match=r"words\.txt, line 1"):
        read_lexicon(settings)
