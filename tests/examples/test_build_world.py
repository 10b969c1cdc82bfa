import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from examples.build_world import _ENDS, build, make_traps, plant_bad_lines, plant_defects
from examples.serve import WORLD, read_articles, read_traps
from resources.reviews import Reviews

PLANTED = {
    "exact_dup": 20,
    "near_dup": 25,
    "answer_swap": 25,
    "truncated": 25,
    "repetition": 20,
    "empty": 12,
    "html_boilerplate": 18,
    "mojibake": 12,
    "wrong_language": 10,
    "benchmark_leak": 15,
}


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line.strip()]


CLEAN = WORLD / "clean"
SAMPLES = read(CLEAN / "part1.jsonl") + read(CLEAN / "part2.jsonl")
BENCHMARK = read(CLEAN / "benchmark.jsonl")
OTHERS = read(CLEAN / "other_language.jsonl")


@pytest.fixture(scope="module")
def planted() -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    rows, labels = plant_defects(SAMPLES, BENCHMARK, OTHERS)
    assert [row["id"] for row in rows] == [label["id"] for label in labels]
    return {row["id"]: row for row in rows}, labels


def test_as_many_of_each_defect_as_there_should_be(
    planted: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    rows, labels = planted
    assert Counter(label["defect"] for label in labels if label["defect"]) == PLANTED
    assert len(rows) == len(SAMPLES) + 20 + 25 + 15


def test_sound_samples_are_untouched(planted: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    rows, labels = planted
    clean = {(sample["instruction"], sample["input"]): sample["output"] for sample in SAMPLES}
    sound = [rows[label["id"]] for label in labels if label["defect"] is None]
    assert len(sound) > 300
    assert all(clean[row["instruction"], row["input"]] == row["output"] for row in sound)


def test_each_defect_is_one(planted: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    rows, labels = planted
    clean = {(sample["instruction"], sample["input"]): sample["output"] for sample in SAMPLES}
    defect_of = {label["id"]: label["defect"] for label in labels}
    questions = {question["id"]: question["question"] for question in BENCHMARK}
    for label in labels:
        row = rows[label["id"]]
        prompt, answer = (row["instruction"], row["input"]), row["output"]
        match label["defect"]:
            case "exact_dup":
                assert {**rows[label["of"]], "id": row["id"]} == row
                assert defect_of[label["of"]] is None
            case "near_dup":
                original = rows[label["of"]]
                assert (row["instruction"], answer) != (original["instruction"], original["output"])
                assert defect_of[label["of"]] is None
            case "answer_swap":
                giver = rows[label["of"]]
                assert clean[giver["instruction"], giver["input"]] == answer != clean[prompt]
            case "truncated":
                assert clean[prompt].startswith(answer)
                assert answer[-1] not in _ENDS
                assert len(answer) < 0.9 * len(clean[prompt])
            case "empty":
                assert not answer.strip(" \n　\u200b\ufeff") or not "".join(prompt)
            case "benchmark_leak":
                assert questions[label["of"]] in "".join(prompt)
            case "mojibake" | "repetition" | "html_boilerplate" | "wrong_language":
                assert answer != clean[prompt]


def test_the_seed_decides(planted: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    rows, labels = plant_defects(SAMPLES, BENCHMARK, OTHERS)
    assert (list(rows), labels) == (list(planted[0].values()), planted[1])
    assert plant_defects(SAMPLES, BENCHMARK, OTHERS, seed=1)[0] != rows


def test_bad_lines_are_bad_and_the_others_all_there() -> None:
    lines = [line for line in (CLEAN / "general.jsonl").read_bytes().split(b"\n") if line]
    planted = plant_bad_lines(lines)
    added = Counter(planted) - Counter(lines)
    assert [line for line in planted if line not in added] == lines
    assert len(planted) == len(lines) + 7

    def text(line: bytes) -> object:
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            return None
        return found.get("text") if isinstance(found, dict) else None

    assert not any(isinstance(text(line), str) for line in added)


def test_copies_differ_from_their_originals_as_they_should() -> None:
    articles = {article.url: article for article in read_articles()}
    for trap in make_traps(list(articles.values())):
        if trap["trap"] == "exact_copy":
            assert trap["article"]["body"] == articles[trap["of"]].body
        elif trap["trap"] in ("near_copy", "traditional_copy"):
            assert (trap["article"]["title"], trap["article"]["body"]) != (
                articles[trap["of"]].title,
                articles[trap["of"]].body,
            )


def test_the_files_are_those_that_the_script_makes(tmp_path: Path) -> None:
    shutil.copytree(WORLD / "articles", tmp_path / "articles")
    shutil.copytree(CLEAN, tmp_path / "clean")
    build(tmp_path)
    for name in ("traps.json", "general.jsonl", "benchmark.jsonl", "sft.jsonl", "sft_labels.jsonl"):
        assert (tmp_path / name).read_bytes() == (WORLD / name).read_bytes(), name


def test_decisions_are_readable_and_about_what_is_there(tmp_path: Path) -> None:
    reviews = Reviews(store=str(tmp_path / "none.sqlite"), files=[str(WORLD / "decisions.jsonl")])
    assert reviews.decisions("keyword")["decision"].value_counts(sort=True).rows() == [
        ("accept", 6),
        ("reject", 4),
        ("add", 2),
    ]
    documents = reviews.decisions("document")
    assert documents["decision"].value_counts().sort("decision").rows() == [("accept", 8), ("reject", 8)]
    known = {f"http://127.0.0.1:8808{article.url}" for article in read_articles()}
    known |= {row["id"] for row in read(CLEAN / "general.jsonl")}
    assert set(documents["target"]) <= known
    copied = {f"http://127.0.0.1:8808{trap['of']}" for trap in read_traps() if trap.get("of")}
    assert not copied & set(documents["target"])
