"""Documents of one meaning, and prototypes."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.corpus import semantic
from curation.settings import SemanticSettings
from curation.vectors import series
from curation.verdicts import conservation


def docs(vectors: np.ndarray) -> pl.DataFrame:
    ids = [f"{row:04}" for row in range(len(vectors))]
    return pl.DataFrame({"record_id": ids, "source": "web", "shard": "s"}).with_columns(series(vectors))


def judged(vectors: np.ndarray, seed: int = 0, **chosen) -> pl.DataFrame:
    frame = docs(vectors)
    result = semantic.judge_meaning(frame, SemanticSettings(**chosen), seed)
    assert conservation("judge", frame.lazy(), result.lazy()).ok
    assert result["record_id"].equals(frame["record_id"])
    return result


def blobs(groups: int, members: int, spread: float, seed: int = 0) -> np.ndarray:
    """Unit vectors around `groups` directions at right angles."""
    random = np.random.default_rng(seed)
    centres = np.eye(32)[:groups].repeat(members, axis=0)
    points = centres + spread * random.normal(size=(groups * members, 32))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def test_of_one_meaning_the_farthest_from_the_centre_is_kept() -> None:
    vectors = blobs(4, 20, 0.02)
    result = judged(vectors, threshold=0.9, clusters=4)
    kept = result.filter(pl.col("verdict") == "kept")
    assert kept.height == 4
    for group in range(4):
        members = result[20 * group : 20 * (group + 1)]
        name = members.filter(pl.col("verdict") == "kept")["record_id"].item()
        assert members.filter(pl.col("record_id") == name)["to_centre"].item() == members["to_centre"].min()
        assert set(members["duplicate_of"].drop_nulls()) == {name}
    dropped = result.filter(pl.col("verdict") == "dropped")
    assert set(dropped["reason"]) == {"same_meaning_as"}
    noted = json.loads(dropped["evidence"][0])
    assert noted["duplicate_of"] == dropped["duplicate_of"][0]
    assert noted["similarity"] == dropped["similarity"][0] >= noted["limits"]["similarity"] == 0.9
    assert json.loads(kept["evidence"][0])["duplicates"] == 19


def test_similarities_are_cosines() -> None:
    vectors = blobs(3, 8, 0.1)
    result = judged(vectors, threshold=0.7, clusters=3)
    places = {name: row for row, name in enumerate(result["record_id"])}
    pairs = result.drop_nulls("duplicate_of")
    assert pairs.height
    for name, other, similarity in pairs.select("record_id", "duplicate_of", "similarity").iter_rows():
        assert similarity == pytest.approx(float(vectors[places[name]] @ vectors[places[other]]), abs=1e-3)


def test_equal_vectors_mean_the_same_even_at_one() -> None:
    vectors = np.concatenate([blobs(2, 1, 0.3)] * 3)
    result = judged(vectors, threshold=1.0, clusters=1)
    assert result["duplicate_of"].null_count() == 2
    assert set(result["similarity"].drop_nulls()) == {1.0}


def test_prototypes_are_the_nearest_to_the_centres() -> None:
    vectors = blobs(4, 25, 0.2)
    result = judged(vectors, prototypes=0.1, clusters=4)
    dropped = result.filter(pl.col("reason") == "prototypical")
    assert dropped.height == 10
    assert dropped["to_centre"].min() >= result.filter(pl.col("verdict") == "kept")["to_centre"].max()
    noted = json.loads(dropped["evidence"][0])
    assert noted["to_centre"] == dropped["to_centre"][0]
    assert noted["limits"]["prototypes"] == 0.1


def test_prototypes_are_of_what_is_left() -> None:
    vectors = np.concatenate([blobs(4, 10, 0.3), blobs(1, 60, 0.001)])
    result = judged(vectors, threshold=0.98, prototypes=0.2, clusters=4)
    reasons = result["reason"].value_counts()
    same = reasons.filter(pl.col("reason") == "same_meaning_as")["count"].item()
    assert 59 <= same < 65
    assert (result["reason"] == "prototypical").sum() == int(0.2 * (100 - same))


def test_nothing_is_asked_for() -> None:
    frame = docs(blobs(2, 5, 0.01)).drop("vector")
    result = semantic.judge_meaning(frame, SemanticSettings(), 0)
    assert set(result["verdict"]) == {"kept"}
    assert result["to_centre"].null_count() == result.height


def test_documents_without_a_vector_are_kept() -> None:
    vectors = np.concatenate([np.zeros((5, 32), dtype=np.float32), blobs(1, 5, 0.01)])
    result = judged(vectors, threshold=0.5, prototypes=0.9)
    assert set(result["verdict"][:5]) == {"kept"}
    assert judged(np.zeros((0, 32), dtype=np.float32), threshold=0.5).is_empty()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 5), st.randoms(use_true_random=False), st.sampled_from([0.3, 0.8, 0.99]))
def test_every_row_is_dropped_for_a_kept_one_whatever_the_order(seed, random, threshold) -> None:
    frame = docs(blobs(5, 12, 0.15, seed))
    chosen = SemanticSettings(threshold=threshold, prototypes=0.1)
    result = semantic.judge_meaning(frame, chosen, seed)
    kept = set(result.filter(pl.col("reason").is_null() | (pl.col("reason") == "prototypical"))["record_id"])
    assert set(result["duplicate_of"].drop_nulls()) <= kept
    assert (result["similarity"].drop_nulls() >= threshold).all()
    order = list(range(frame.height))
    random.shuffle(order)
    shuffled = semantic.judge_meaning(frame[order], chosen, seed)
    assert shuffled.sort("record_id").equals(result)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = blobs(3, 30, 0.1)
    whole = judged(vectors, threshold=0.8, clusters=2)
    monkeypatch.setattr(semantic, "_BLOCK", 7)
    assert judged(vectors, threshold=0.8, clusters=2).equals(whole)
