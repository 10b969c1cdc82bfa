"""Identity of records: who a row is, and whether two rows say the same.

Belongs here: `record_id`, `content_hash` and the normal form that the hash is taken of.
Does not belong here: judging rows (`verdicts`) or finding near duplicates (`corpus.minhash`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import polars as pl
from blake3 import blake3

#: Bytes of a hash. 128 bits: among 10^12 records a collision has odds of about 10^-15.
HASH_BYTES = 16
#: Separates the parts of an id, so that ("a", "bc") and ("ab", "c") differ.
_PART = "\x1f"
#: Marks of almost every Chinese text, in the form that NFKC gives them; without them it has nothing to do.
_WIDE_MARKS = dict(zip("，！？：；（）…", (",", "!", "?", ":", ";", "(", ")", "..."), strict=True))
_NEITHER = re.compile(r"[\W_]+")  # neither letters nor digits


def digest(*parts: str) -> str:
    """128-bit BLAKE3 hash of the parts, as 32 hexadecimal digits."""
    return blake3(_PART.join(parts).encode("utf-8", "surrogatepass")).hexdigest(length=HASH_BYTES)


def record_id(source: str, uri: str, position: int | str) -> str:
    """Stable id of a record: source name, URI, and its place in it.

    `position` is the id that the source itself names where it has one (so that inserted lines do
    not rename the rest), else the record's 0-based index. The two kinds never collide.
    """
    place = f"#{position}" if isinstance(position, int) else f"id:{position}"
    return digest(source, uri, place)


def canonical(text: str) -> str:
    """Normal form that `content_hash` is taken of: NFKC, lower case, letters and digits only.

    White space and punctuation do not make two texts different; full and half width do not either.
    """
    for wide, plain in _WIDE_MARKS.items():
        text = text.replace(wide, plain)
    folded = unicodedata.normalize("NFKC", text).lower()
    return _NEITHER.sub("", folded) or folded.strip()


def content_hash(text: str) -> str:
    """128-bit hash of the canonical form of a text; exact duplicates share it."""
    return digest(canonical(text))


def content_hashes(texts: Iterable[str]) -> pl.Series:
    """`content_hash` of each text, as a String series named `content_hash`."""
    return pl.Series("content_hash", [content_hash(text) for text in texts], dtype=pl.String)
