from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curation.settings import Fields, Source
from curation.verdicts import conservation
from resources.readers import read_documents, read_samples
from resources.sources import MAX_SHARDS, plan_shards

Read = Callable[..., pl.DataFrame]


def _source(path: Path | str, kind: str, role: str, **more: Any) -> Source:
    fields = Fields(**more.pop("fields", {}))
    return Source(name="pool", role=role, kind=kind, path=str(path), fields=fields, **more)  # type: ignore[arg-type]


def _all(frames: list[pl.DataFrame]) -> pl.DataFrame:
    assert len(frames) <= MAX_SHARDS
    frame = pl.concat(frames)
    assert conservation("source", None, frame.lazy()).ok
    return frame


@pytest.fixture
def documents() -> Read:
    """All documents of a source, shard by shard; every table must conserve its rows."""

    def read(path: Path | str, kind: str, **more: Any) -> pl.DataFrame:
        shards = plan_shards([_source(path, kind, "document", **more)])
        return _all([read_documents(shard) for shard in shards])

    return read


@pytest.fixture
def samples() -> Read:
    """All samples of a source, shard by shard."""

    def read(path: Path | str, kind: str, **more: Any) -> pl.DataFrame:
        shards = plan_shards([_source(path, kind, "sample", **more)])
        return _all([read_samples(shard) for shard in shards])

    return read
