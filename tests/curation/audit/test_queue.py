"""The review queue: the doubtful first, nothing twice, nothing that was decided."""

from __future__ import annotations

import numpy as np
import polars as pl

from curation import schemas
from curation.audit.queue import review_queue
from curation.settings import AuditSettings

NO_DECISIONS = pl.DataFrame(schema={"kind": pl.String, "target": pl.String})


def _id(number: int) -> str:
    return f"{number:032x}"


KEYWORDS = pl.DataFrame(
    {
        "record_id": [_id(n) for n in range(4)],
        "term": ["糖尿病", "血糖", "饮食", "方法"],
        "score": [9.0, 5.0, 2.1, 0.5],
        "seed_docs": [9, 7, 4, 3],
        "general_docs": [0, 1, 20, 90],
        "example": ["糖尿病患者", None, "饮食清淡", "方法如下"],
        "verdict": ["kept", "kept", "kept", "dropped"],
    }
)
DOCUMENTS = pl.DataFrame(
    {
        "record_id": [_id(n) for n in range(10, 14)],
        "probability": [0.99, 0.52, 0.49, 0.01],
        "score": [9.0, 0.1, -0.1, -9.0],
        "host_share": pl.Series([None, None, None, None], dtype=pl.Float64),
        "text": ["清楚在内", "两可一", "两可二", "清楚在外"],
        "verdict": ["kept", "kept", "dropped", "dropped"],
    }
)
SAMPLES = pl.DataFrame(
    {
        "record_id": [_id(n) for n in range(20, 24)],
        "prompt": ["问一", "问二", "问三", "问四"],
        "answer": ["答一", "答二", "答三", "答四"],
        "quality": [0.9, 0.8, 0.2, 0.1],
        "match": [0.95, 0.05, 0.9, 0.5],
        "truncation": [0.1, 0.1, 0.1, 0.1],
        "verdict": ["kept", "dropped", "kept", "kept"],
    }
)

APART = np.eye(4)
LIKE = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1.0]])


def queue(
    documents: pl.DataFrame,
    settings: AuditSettings,
    decisions: pl.DataFrame = NO_DECISIONS,
    features: np.ndarray = APART,
) -> pl.DataFrame:
    return review_queue(KEYWORDS, documents, SAMPLES, decisions, settings, features, 1)


def test_the_doubtful_come_first() -> None:
    rows = queue(DOCUMENTS, AuditSettings(queue=2))
    schemas.conform("review_queue", rows.with_columns(run_id=pl.lit("0" * 32)))
    targets = {
        kind: rows.filter(pl.col("kind") == kind)["target"].to_list()
        for kind in ("keyword", "document", "sample")
    }
    assert set(targets["keyword"]) == {"饮食", "方法"}
    assert targets["document"] == [_id(12), _id(11)] or targets["document"] == [_id(11), _id(12)]
    assert targets["sample"][0] == _id(21)
    why = rows.filter(pl.col("target") == _id(21))["why"].item()
    assert "its match 0.05" in why
    assert "dropped with quality 0.8" in why
    assert rows["record_id"].is_unique().all()


def test_decided_records_are_not_asked_again() -> None:
    decisions = pl.DataFrame(
        {"kind": ["keyword", "document", "sample"], "target": ["饮食", _id(11), _id(21)]}
    )
    rows = queue(DOCUMENTS, AuditSettings(queue=50), decisions)
    assert rows.height == 9
    assert not set(decisions["target"]) & set(rows["target"])


def test_like_documents_are_asked_once() -> None:
    rows = queue(DOCUMENTS, AuditSettings(queue=2), features=LIKE)
    documents = rows.filter(pl.col("kind") == "document")["target"].to_list()
    assert len(documents) == 2
    assert len({_id(11), _id(12)} & set(documents)) == 1


def test_pages_of_a_host_that_is_in_the_domain_are_proposed() -> None:
    documents = DOCUMENTS.with_columns(host_share=pl.Series([None, None, 0.05, 0.4]))
    rows = queue(documents, AuditSettings(queue=5))
    why = dict(rows.select("target", "why").iter_rows())
    assert why[_id(13)] == "not recalled (probability 0.01), but 40 % of the pages of its host are"
    assert "settles as much doubt as" in why[_id(12)]


def test_the_order_of_the_input_does_not_matter() -> None:
    rows = queue(DOCUMENTS, AuditSettings())
    other = review_queue(
        KEYWORDS.reverse(),
        DOCUMENTS.reverse(),
        SAMPLES.reverse(),
        NO_DECISIONS,
        AuditSettings(),
        APART[::-1],
        1,
    )
    assert rows.equals(other)


def test_empty_tables() -> None:
    rows = review_queue(
        KEYWORDS.clear(),
        DOCUMENTS.clear(),
        SAMPLES.clear(),
        NO_DECISIONS,
        AuditSettings(),
        np.zeros((0, 3)),
        1,
    )
    schemas.conform("review_queue", rows.with_columns(run_id=pl.lit("0" * 32)))
    assert rows.height == 0
    assert queue(DOCUMENTS, AuditSettings(queue=0)).height == 0
