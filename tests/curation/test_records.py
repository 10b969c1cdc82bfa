"""Ids stay the same from run to run, and equal texts share a hash."""

from curation.records import canonical, content_hash, digest, record_id


def test_an_id_is_the_same_in_every_run():
    assert record_id("site", "http://a/b", 0) == "a332e9f4009ef9ebfce933a457805fdc"


def test_parts_of_an_id_cannot_be_confused():
    assert digest("a", "bc") != digest("ab", "c")
    assert record_id("s", "u", 1) != record_id("s", "u", "1")


def test_width_case_space_and_punctuation_do_not_change_the_hash():
    assert content_hash("Ｔｅａ　好喝！") == content_hash("tea好喝")
    assert content_hash("好喝") != content_hash("难喝")


def test_texts_of_punctuation_alone_differ_from_the_empty_one():
    assert canonical("！！") != ""
    assert content_hash("。") != content_hash("")
