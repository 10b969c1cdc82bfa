"""New words hold together and stand free."""

import math

import polars as pl

from curation.domain.new_words import new_words

TEXT = pl.Series(["甲乙丙。丁乙丙戊", "己乙丙", "庚乙丙辛，壬癸"])


def find(texts=TEXT, known=(), cuts=None, **limits):
    chosen = {"longest": 4, "min_count": 2, "min_pmi": 0.5, "min_entropy": 0.5} | limits
    return new_words(texts, cuts or [list(text) for text in texts], set(known).__contains__, **chosen)


def test_a_run_that_holds_together_and_stands_free_is_found_with_its_count():
    assert find() == {"乙丙": 4}
    assert find(known={"乙丙"}) == {}
    assert find(min_count=5) == {}


def test_the_limits_are_the_measures_by_hand():
    # 16 characters, 乙 and 丙 four times each and always together
    pmi = math.log(4 * 16 / (4 * 4))
    assert find(min_pmi=pmi - 1e-9) == {"乙丙": 4}
    assert find(min_pmi=pmi + 1e-9) == {}
    # left 甲 丁 己 庚, right two characters and two ends: all four differ
    assert find(min_entropy=math.log(4) - 1e-9) == {"乙丙": 4}
    assert find(min_entropy=math.log(4) + 1e-9) == {}


def test_a_part_of_a_longer_word_is_not_found():
    whole = pl.Series(["甲乙丙丁", "戊乙丙丁", "乙丙丁己"])
    assert find(whole, min_pmi=0.1) == {"乙丙丁": 3}
    inside = [["甲乙", "丙"], ["丁乙", "丙戊"], ["己乙", "丙"], ["庚乙", "丙辛", "壬癸"]]
    texts = pl.Series(["甲乙丙", "丁乙丙戊", "己乙丙", "庚乙丙辛壬癸"])
    assert find(texts, cuts=inside) == {}


def test_words_do_not_reach_over_the_end_of_a_text():
    assert find(pl.Series(["天", "地", "天", "地"]), min_pmi=0.0, min_entropy=0.0) == {}
    assert find(pl.Series([], dtype=pl.String)) == {}
