from pathlib import Path

import pytest

from curation.corpus.cleaning import clean_documents
from curation.settings import CleanSettings

TEXT = "春天的山上种满了茶树，农民一早就上山采茶，到了下午茶叶便可以开始炒制。" * 3


@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-le"])
@pytest.mark.parametrize(("kind", "name"), [("text", "a.txt"), ("markdown", "a.md"), ("html", "a.html")])
def test_whatever_the_character_set_the_text_is_read(
    tmp_path: Path, documents, kind: str, name: str, charset: str
) -> None:
    body = (
        f"<html><head><title>茶</title></head><body><p>{TEXT}</p></body></html>" if kind == "html" else TEXT
    )
    (tmp_path / name).write_bytes(body.encode(charset))
    frame = documents(tmp_path, kind)
    if charset != "utf-16-le":  # no byte order mark: the NUL bytes tell that it is no plain text
        assert frame["reason"].to_list() == [None]
        assert TEXT in clean_documents(frame, CleanSettings())[0, "text"]  # type: ignore[call-arg]


def test_big5_and_a_wrong_declaration(tmp_path: Path, documents) -> None:
    traditional = "春天的山上種滿了茶樹，農民一早就上山採茶，到了下午茶葉便可以開始炒製。" * 3
    (tmp_path / "a.txt").write_bytes(traditional.encode("big5"))
    settings = CleanSettings(traditional_to_simplified=False)  # type: ignore[call-arg]
    assert traditional in clean_documents(documents(tmp_path, "text"), settings)[0, "text"]
    wrong = f'<html><meta charset="utf-8"><body><p>{TEXT}</p></body></html>'
    (tmp_path / "b.html").write_bytes(wrong.encode("gb18030"))
    assert TEXT in clean_documents(documents(tmp_path, "html"), settings)[0, "text"]


def test_files_are_put_together_by_number_and_bytes(tmp_path: Path, documents) -> None:
    for index in range(30):
        (tmp_path / f"{index:02d}.txt").write_text("茶" * 100)
    assert documents(tmp_path, "text")["shard"].n_unique() == 1
    cut = documents(tmp_path, "text", shard_bytes=1_000)
    assert cut["shard"].n_unique() == 10
    assert cut["uri"].to_list() == [f"{index:02d}.txt" for index in range(30)]


def test_files_that_are_no_text_or_too_large(tmp_path: Path, documents) -> None:
    (tmp_path / "a.txt").write_bytes(b"%PDF-1.7")
    (tmp_path / "b.txt").write_bytes(b"x" * 2_000)
    (tmp_path / "c.txt").write_bytes(b"")
    frame = documents(tmp_path, "text", max_record_bytes=1_000)
    assert frame["reason"].to_list() == ["not_text", "too_large", None]
    assert clean_documents(frame[2:], CleanSettings())[0, "reason"] == "empty"  # type: ignore[call-arg]
