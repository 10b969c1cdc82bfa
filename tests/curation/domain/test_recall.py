"""Recall: nearest documents, keyword hits, the classifier, and a person's decisions."""

import json

import numpy as np
import polars as pl
import pytest

from curation import vectors
from curation.domain.classifier import DomainClassifier, train_classifier
from curation.domain.recall import host_shares, judge_recall, keyword_hits, language_reach, nearest_documents
from curation.domain.reviews import apply_reviews, resolve
from curation.settings import ClassifierSettings, RecallSettings
from curation.verdicts import conservation

NOBODY = pl.DataFrame(schema=dict.fromkeys(("record_id", "decision", "reviewer", "at", "note"), pl.String))


def ids(prefix: str, n: int) -> list[str]:
    return [f"{prefix}{place:031x}" for place in range(n)]


def test_each_seed_names_its_nearest_documents_and_every_seed_is_answered_for():
    docs = vectors.normalise(np.array([[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float32))
    seeds = vectors.normalise(np.array([[1, 0, 0], [0, -1, 0]], dtype=np.float32))
    rows, _ = nearest_documents(
        pl.Series(ids("a", 2)),
        seeds,
        pl.Series(ids("d", 4)),
        docs,
        RecallSettings(per_seed=2, min_similarity=0.5),
    )
    kept = rows.filter(pl.col("verdict") == "kept")
    assert kept.select("seed_id", "doc_id", "rank").rows() == [
        (ids("a", 1)[0], ids("d", 1)[0], 1),
        (ids("a", 1)[0], ids("d", 2)[1], 2),
    ]
    assert rows.height == 4
    assert conservation("expand", pl.LazyFrame({"record_id": ids("a", 2)}), rows.lazy()).ok


def test_a_seed_without_any_document_keeps_a_row():
    rows, found = nearest_documents(
        ids("a", 1), np.eye(1, 3, dtype=np.float32), [], np.zeros((0, 3), dtype=np.float32), RecallSettings()
    )
    assert rows.select("verdict", "reason", "doc_id").rows() == [("dropped", "not_recalled", None)]
    assert (found.method, found.agreement) == ("exact", 1.0)


def spoken(language: str, points: list[list[float]]) -> pl.DataFrame:
    unit = vectors.normalise(np.array(points, dtype=np.float32).reshape(len(points), 2))
    return pl.DataFrame({"language": [language] * len(points)}).with_columns(vectors.series(unit))


def test_a_language_is_as_near_to_the_seeds_as_its_median_document():
    seeds = spoken("zh", [[1, 0], [3, 4]])
    docs = pl.concat(
        [
            spoken("zh", [[4, 3]] * 15 + [[0, 1]] * 10),
            spoken("en", [[-1, 1]] * 15 + [[1, 0]] * 10),
            spoken("other", [[1, 0]] * 19),
        ]
    )
    reach = language_reach(seeds, docs)
    # 24/25 in the seeds' own language; 1/5 of sqrt(1/2) in the other
    assert reach.select("language", "documents", "out_of_reach").rows() == [
        ("en", 25, True),
        ("zh", 25, False),
    ]
    assert reach["reach"].to_list() == pytest.approx([0.2 * 0.5**0.5 / 0.96, 1.0], abs=1e-4)


def test_without_documents_of_their_language_the_seeds_are_the_measure():
    seeds, docs = spoken("zh", [[1, 0], [4, 3]]), spoken("en", [[3, 4]] * 20)
    assert language_reach(seeds, docs)["reach"].to_list() == pytest.approx([0.96 / 0.8], abs=1e-4)
    assert language_reach(seeds, docs.clear()).height == 0
    assert language_reach(seeds.clear(), docs)["out_of_reach"].to_list() == [True]


def test_keyword_hits_prefer_the_longer_term_and_name_each_once():
    docs = pl.DataFrame({"record_id": ids("d", 3), "text": ["乌龙茶和乌龙茶、茶", "咖啡", "Tea and TEA"]})
    hits = keyword_hits(docs, ["茶", "乌龙茶", "tea"])["keywords"].to_list()
    assert hits[0][0] == "乌龙茶"
    assert hits[1] == []
    assert len(hits[2]) >= 1
    assert keyword_hits(docs, [])["keywords"].to_list() == [[], [], []]


@pytest.fixture(scope="module")
def world():
    """400 documents in 20 dimensions, 60 of them of the domain, and 30 seeds."""
    generator = np.random.default_rng(5)
    centre = generator.standard_normal(20) * 1.2
    inside = generator.standard_normal((60, 20)) + centre
    outside = generator.standard_normal((340, 20))
    seeds = generator.standard_normal((30, 20)) + centre
    docs = pl.DataFrame({"record_id": ids("d", 400)}).with_columns(
        vectors.series(vectors.normalise(np.concatenate([inside, outside]).astype(np.float32)))
    )
    known = pl.DataFrame({"record_id": ids("a", 30)}).with_columns(
        vectors.series(vectors.normalise(seeds.astype(np.float32)))
    )
    return known, docs, np.arange(400) < 60


def test_the_classifier_finds_the_domain_and_knows_its_size(world):
    seeds, docs, truth = world
    model = train_classifier(seeds, docs, NOBODY, ClassifierSettings(unlabelled_sample=400), 1)
    probability = model.predict(docs)["probability"].to_numpy()
    assert probability[truth].mean() > 0.8
    assert probability[~truth].mean() < 0.1
    assert model.measures["estimated_share"] == pytest.approx(0.15, abs=0.05)
    assert model.rows().height == 430
    assert set(model.rows()["role"]) == {"seed", "unlabelled"}


def test_the_classifier_does_not_depend_on_the_order_and_comes_back_from_its_folder(world, tmp_path):
    seeds, docs, _ = world
    settings = ClassifierSettings(unlabelled_sample=300)
    one = train_classifier(seeds, docs, NOBODY, settings, 1)
    two = train_classifier(seeds, docs.reverse(), NOBODY, settings, 1)
    np.testing.assert_array_equal(one.weights, two.weights)
    one.save(tmp_path)
    loaded = DomainClassifier.load(tmp_path)
    assert loaded.predict(docs).equals(one.predict(docs))


def test_reviews_are_learned_from_and_measured_on(world):
    seeds, docs, truth = world
    rows = [
        (docs["record_id"][place], "accept" if truth[place] else "reject", "林", "2026", "")
        for place in range(0, 400, 4)
    ]
    reviewed = pl.DataFrame(rows, schema=NOBODY.schema, orient="row")
    model = train_classifier(seeds, docs, reviewed, ClassifierSettings(unlabelled_sample=400), 1)
    measures = model.measures
    assert measures["reviewed"] == 100
    inside = model.predict(docs)["probability"].to_numpy() >= 0.5
    assert measures["precision_low"] <= truth[inside].mean() <= measures["precision_high"]
    assert measures["recall_low"] <= inside[truth].mean() <= measures["recall_high"]
    assert set(model.rows()["role"]) == {"seed", "accepted", "rejected", "unlabelled"}


def test_a_model_with_reviews_comes_back_from_its_folder(world, tmp_path):
    seeds, docs, truth = world
    rows = [
        (docs["record_id"][place], "accept" if truth[place] else "reject", "林", "2026", "")
        for place in range(50, 80)
    ]
    reviewed = pl.DataFrame(rows, schema=NOBODY.schema, orient="row")
    model = train_classifier(seeds, docs, reviewed, ClassifierSettings(), 1)
    model.save(tmp_path)
    assert DomainClassifier.load(tmp_path).predict(docs).equals(model.predict(docs))


def test_the_pages_of_a_host_speak_for_each_other():
    uris = (
        [f"https://a.example/{page}" for page in range(10)]
        + [f"https://b.example/{page}" for page in range(9)]
        + ["text.jsonl"]
    )
    shares = host_shares(pl.DataFrame({"uri": uris, "recalled": [page < 3 for page in range(20)]}))
    assert shares.to_list() == [0.3] * 10 + [None] * 10


def test_what_is_recalled_says_through_which_channel():
    docs = pl.DataFrame({"record_id": ids("d", 4), "source": "s", "shard": "s"})
    probability = pl.DataFrame({"record_id": ids("d", 4), "probability": [0.9, 0.1, 0.2, 0.3]})
    nearest = pl.DataFrame({"doc_id": [ids("d", 2)[1]], "seed_id": ["s1"], "rank": [3], "similarity": [0.6]})
    hits = pl.DataFrame({"record_id": ids("d", 4), "keywords": [["茶"], [], [], []]})
    accepted = pl.DataFrame(
        [(ids("d", 3)[2], "accept", "林", "2026", "")], schema=NOBODY.schema, orient="row"
    )
    rows = judge_recall(docs, probability, nearest, hits, accepted, ClassifierSettings())
    assert rows["channel"].to_list() == ["classifier", "seed", "reviewer", None]
    assert rows["verdict"].to_list() == ["kept", "kept", "kept", "dropped"]
    assert json.loads(rows["evidence"][3])["probability"] == 0.3


def test_a_decision_finds_its_record_by_id_uri_or_native_id():
    records = pl.LazyFrame(
        {
            "record_id": ids("d", 3),
            "uri": ["http://a/1", "http://a/2", "f.jsonl"],
            "native_id": [None, None, "g-7"],
        }
    )
    decisions = pl.DataFrame(
        {
            "target": [ids("d", 1)[0], "http://a/2", "g-7", "nobody"],
            "decision": ["accept", "reject", "accept", "accept"],
            "reviewer": "林",
            "at": "2026",
            "note": "",
        }
    )
    assert dict(resolve(decisions, records).select("record_id", "decision").iter_rows()) == dict(
        zip(ids("d", 3), ["accept", "reject", "accept"], strict=True)
    )


def test_a_rejected_document_leaves_with_the_name_of_the_reviewer():
    docs = pl.DataFrame({"record_id": ids("d", 2), "probability": [0.9, 0.9]})
    reviewed = pl.DataFrame(
        [(ids("d", 1)[0], "reject", "林", "2026-01-02", "讲咖啡")], schema=NOBODY.schema, orient="row"
    )
    rows = apply_reviews(docs, reviewed)
    assert rows["reason"].to_list() == ["rejected_by_reviewer", None]
    assert json.loads(rows["evidence"][0])["note"] == "讲咖啡"
    assert rows["decided_by"].to_list() == ["林", None]
