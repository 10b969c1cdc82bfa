"""Vectors that were computed before, beside the lake, by what was read and by whom.

Belongs here: keeping and finding them. Does not belong here: computing them (`encoder`).

One folder an encoder's version, one Parquet file a time that new texts were encoded, named by its own
contents: writers never meet, and what is there is never changed. It may be deleted at any time.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation import vectors
from curation.records import digest
from resources.lake import Lake


@dataclass(frozen=True)
class VectorCache:
    """The vectors of one version of an encoder; `keys` are hashes of texts."""

    lake: Lake
    version: str

    def find(self, keys: pl.Series) -> pl.DataFrame:
        """Those of the keys that are there: columns key and vector."""
        folder = self.lake.folder / "_vectors" / self.version
        wanted = pl.DataFrame({"key": keys}).unique()
        found = [
            pl.read_parquet(io.BytesIO(file.read_bytes())).join(wanted, on="key", how="semi")
            for file in (sorted(folder.glob("*.parquet")) if folder.exists() else [])
        ]
        empty = pl.DataFrame(schema={"key": pl.String, "vector": pl.List(pl.Float32)})
        return pl.concat([empty, *found]).unique("key", keep="first", maintain_order=True)

    def add(self, keys: pl.Series, points: np.ndarray) -> None:
        """Keep the vectors [n, d] of keys that were not there."""
        if not len(keys):
            return
        buffer = io.BytesIO()
        pl.DataFrame({"key": keys}).with_columns(vectors.series(points)).write_parquet(buffer)
        name = digest(*keys)
        self.lake.write_bytes(
            self.lake.folder / "_vectors" / self.version / f"{name}.parquet", buffer.getbuffer()
        )


def keys_of(texts: pl.Series) -> pl.Series:
    """Hash of each text."""
    return pl.Series("key", [digest(text or "") for text in texts], dtype=pl.String)
