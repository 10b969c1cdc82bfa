"""Files of vectors in the text format of word2vec."""

import gzip

import pytest

from curation.errors import UserError
from resources.word_vectors import read_word_vectors

LINES = "2 3\n茶 1 0 0.5 \n水 0 1 -2e-1\n"


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_a_file_with_and_without_a_header_and_packed(tmp_path, header, packed) -> None:
    content = LINES if header else LINES.partition("\n")[2]
    file = tmp_path / ("v.txt.gz" if packed else "v.txt")
    file.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    found, dimension = read_word_vectors(file, {"茶", "水", "山"})
    assert dimension == 3
    assert sorted(found) == ["水", "茶"]
    assert found["水"].tolist() == pytest.approx([0, 1, -0.2])


def test_only_what_is_wanted_and_the_first_of_two(tmp_path) -> None:
    (tmp_path / "v.txt").write_text("茶 1 2\n水 3 4\n茶 5 6\nhot tea 7 8\n", encoding="utf-8")
    found, _ = read_word_vectors(tmp_path / "v.txt", {"茶", "hot tea"})
    assert {unit: vector.tolist() for unit, vector in found.items()} == {"茶": [1, 2], "hot tea": [7, 8]}


def test_a_file_that_is_missing(tmp_path) -> None:
    with pytest.raises(UserError, match="cannot read the vectors"):
        read_word_vectors(tmp_path / "none.txt", set())
