"""What was measured before, beside the lake, by the contents that were measured and by whom.

Belongs here: keeping and finding it. Does not belong here: measuring it (`encoder`, `language_model`).

One folder a version of what measures, one Parquet file a time that something new was measured, named by
its own contents: writers never meet, and what is there is never changed. It may be deleted at any time.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from curation.records import digest
from resources.lake import Lake


@dataclass(frozen=True)
class ContentCache:
    """What one version measured; `place` is its folder below the lake, `key` the hash of the contents."""

    lake: Lake
    place: str

    def measured(self, asked: pl.DataFrame, measure: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
        """The columns that `measure` gives, one row for each row asked for, in order.

        Only rows whose key is not there yet are measured, each key once.
        """
        kept = self._find(asked["key"])
        new = asked.unique("key", keep="first", maintain_order=True)
        if kept is not None:
            new = new.join(kept, on="key", how="anti", maintain_order="left")
        found = new.select("key").hstack(measure(new))
        self._add(found)
        known = found if kept is None else pl.concat([kept, found])
        return asked.select("key").join(known, on="key", how="left", maintain_order="left").drop("key")

    def _find(self, keys: pl.Series) -> pl.DataFrame | None:
        folder = self.lake.folder / self.place
        wanted = pl.DataFrame({"key": keys}).unique()
        found = [
            pl.read_parquet(io.BytesIO(file.read_bytes())).join(wanted, on="key", how="semi")
            for file in (sorted(folder.glob("*.parquet")) if folder.exists() else [])
        ]
        return pl.concat(found).unique("key", keep="first", maintain_order=True) if found else None

    def _add(self, found: pl.DataFrame) -> None:
        if found.is_empty():
            return
        buffer = io.BytesIO()
        found.write_parquet(buffer)
        name = digest(*found["key"])
        self.lake.write_bytes(self.lake.folder / self.place / f"{name}.parquet", buffer.getbuffer())


def keys_of(*texts: pl.Series) -> pl.Series:
    """Hash of the texts of each row."""
    rows = zip(*texts, strict=True)
    return pl.Series("key", [digest(*(text or "" for text in row)) for row in rows], dtype=pl.String)
