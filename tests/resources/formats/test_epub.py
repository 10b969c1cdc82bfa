import io
import json
import zipfile
from pathlib import Path

import pytest

CONTAINER = '<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'


def chapter(words: str) -> str:
    return f'<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>章</title></head><body><p>{words}</p></body></html>'


def book(chapters: dict[str, str | bytes], media: str = "application/xhtml+xml") -> bytes:
    items = "".join(
        f'<item id="c{index}" href="{name}" media-type="{media}"/>' for index, name in enumerate(chapters)
    )
    spine = "".join(f'<itemref idref="c{index}"/>' for index in reversed(range(len(chapters))))
    package = f'<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>茶经新读</dc:title></metadata><manifest>{items}</manifest><spine>{spine}</spine></package>'
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("mimetype", "application/epub+zip")
        packed.writestr("META-INF/container.xml", CONTAINER)
        packed.writestr("OEBPS/book.opf", package)
        for name, body in chapters.items():
            packed.writestr(f"OEBPS/{name}", body)
    return out.getvalue()


def test_chapters_come_in_the_order_of_the_spine(tmp_path: Path, documents) -> None:
    (tmp_path / "a.epub").write_bytes(book({"two.xhtml": chapter("第二章"), "one.xhtml": chapter("第一章")}))
    frame = documents(tmp_path, "epub")
    assert frame.select("uri", "position", "reason").rows() == [("a.epub", 0, None), ("a.epub", 1, None)]
    assert "第一章" in frame[0, "body"].decode()
    assert json.loads(frame[0, "evidence"])["book"] == "茶经新读"
    assert json.loads(frame[0, "evidence"])["chapter"] == "OEBPS/one.xhtml"
    assert frame[0, "media_type"] == "application/xhtml+xml"


def test_a_bomb_costs_its_chapter(tmp_path: Path, documents) -> None:
    (tmp_path / "a.epub").write_bytes(book({"bomb.xhtml": b"\n" * 60_000_000, "ok.xhtml": chapter("好")}))
    frame = documents(tmp_path, "epub", max_record_bytes=1_000_000)
    assert frame["reason"].to_list() == [None, "too_large"]
    assert frame[1, "body"] is None


def test_many_chapters_may_not_unpack_to_more_than_the_book_is_allowed(tmp_path: Path, documents) -> None:
    (tmp_path / "a.epub").write_bytes(book({f"{index}.xhtml": b"\n" * 15_000_000 for index in range(9)}))
    reasons = documents(tmp_path, "epub", max_unpacked_ratio=1)["reason"].to_list()
    assert reasons == [None] * 6 + ["too_large"] * 3


def test_chapters_that_cannot_be_read_are_rows(tmp_path: Path, documents) -> None:
    whole = book({"gone.xhtml": chapter("不见"), "ok.xhtml": chapter("好")})
    with zipfile.ZipFile(io.BytesIO(whole)) as packed, zipfile.ZipFile(tmp_path / "a.epub", "w") as out:
        for name in packed.namelist():
            if "gone" not in name:
                out.writestr(name, packed.read(name))
    assert documents(tmp_path, "epub")["reason"].to_list() == [None, "unreadable_file"]
    (tmp_path / "a.epub").write_bytes(book({"a.png": b"\x89PNG"}, "image/png"))
    assert documents(tmp_path, "epub")["reason"].to_list() == ["not_text"]


@pytest.mark.parametrize(
    "body",
    [b"", b"no zip at all", book({"a.xhtml": chapter("好")})[:-300]],
    ids=["empty", "garbage", "truncated"],
)
def test_a_book_that_cannot_be_opened_is_one_row(tmp_path: Path, documents, body: bytes) -> None:
    (tmp_path / "a.epub").write_bytes(body)
    assert documents(tmp_path, "epub")["reason"].to_list() == ["unreadable_file"]


def test_entities_of_a_package_are_not_followed(tmp_path: Path, documents) -> None:
    (tmp_path / "secret").write_text("秘密")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("META-INF/container.xml", CONTAINER)
        packed.writestr(
            "OEBPS/book.opf",
            f'<!DOCTYPE p [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]><package xmlns:dc="d"><metadata><dc:title>&x;</dc:title></metadata><manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="a"/></spine></package>',
        )
        packed.writestr("OEBPS/a.xhtml", chapter("好"))
    (tmp_path / "a.epub").write_bytes(out.getvalue())
    frame = documents(tmp_path, "epub")
    assert frame["reason"].to_list() == [None]
    assert "秘密" not in frame[0, "evidence"]
