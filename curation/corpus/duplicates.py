"""Which records are duplicates, and of which record that is kept.

Belongs here: candidate pairs from LSH bands, their verification, and the choice of representatives,
for documents as for SFT samples.
Does not belong here: shingles and signatures (`minhash`), duplicates by meaning (`semantic`), or what
counts as the same text (`records`).

A record is dropped only for a record that is kept and that it is really similar to: the exact Jaccard
similarity of the two is at least the threshold. Chains (a like b, b like c, a unlike c) therefore do
not drift, as they do where all of a connected component goes but one.

The similarity of two texts depends on nothing but the two texts. So what was once compared need not be
compared again: a run that is given the pairs of an earlier one reads only texts that are new, or that
new texts may resemble, and comes to the same result as one that is given nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation import progress
from curation.corpus import minhash
from curation.settings import DedupSettings
from curation.verdicts import Rule, judge

#: Pairs are verified in blocks whose texts have at most about so many bytes.
_BLOCK_BYTES = 8 << 20
#: Pairs of several bands are collected up to so many before equal ones are thrown out.
_MANY_PAIRS = 4 << 20
_ROUNDS = 5
#: Scores of faults, 0-1, that cleaning notes in the evidence of a document.
_FAULTS = ("garble", "repetition", "spam", "markup")
#: Pairs that were compared: keys of the two texts (the smaller first, see `_text_keys`).
COMPARED = {"a": pl.UInt64, "b": pl.UInt64, "similarity": pl.Float64}


def quality(evidence: pl.Expr) -> pl.Expr:
    """How free of faults a document is, Float64 0-1: one less the worst score that cleaning noted.

    In tenths, so that between texts which are about equally clean the next preference decides.
    """
    scores = [evidence.str.json_path_match(f"$.{name}").cast(pl.Float64) for name in _FAULTS]
    return (1 - pl.max_horizontal(scores)).fill_null(1.0).round(1).alias("quality")


# -- candidates -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """Records in order of preference: ids, keys of their texts (uint64), sizes of their shingle sets
    (uint32) and hashes of their bands (uint32, bands × rows)."""

    ids: pl.Series
    keys: np.ndarray
    sizes: np.ndarray
    bands: np.ndarray

    @classmethod
    def of(cls, docs: pl.DataFrame, places: np.ndarray) -> _Rows:
        """The rows of `docs` at these places."""
        from curation.corpus import minhash_kernels

        lists = docs["bands"]
        bands = (
            lists.explode().to_numpy().reshape(len(lists), -1) if len(lists) else np.zeros((0, 1), np.uint32)
        )
        return cls(
            docs["record_id"].gather(places),
            _text_keys(docs["content_hash"].gather(places)),
            docs["n_shingles"].to_numpy()[places],
            minhash_kernels.by_band(bands, places),
        )

    def __len__(self) -> int:
        return len(self.ids)


def _text_keys(content_hashes: pl.Series) -> np.ndarray:
    """The first 64 bits of content hashes (uint64): a pair of two of them is as good as 128 bits."""
    return content_hashes.str.head(16).str.to_integer(base=16, dtype=pl.UInt64).to_numpy()


def _first_candidates(rows: _Rows, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Distinct pairs (n, 2), each and all in order: each row and the first of each of its buckets.

    Also the places of all rows that share a bucket: no other row ever comes to be in a pair.
    """
    from curation.corpus import minhash_kernels

    pairs, shared = minhash_kernels.pairs_with_first(rows.bands, rows.sizes, threshold)
    return _unpacked(_distinct(pairs)), np.flatnonzero(shared)


def _candidates(rows: _Rows, among: np.ndarray, threshold: float) -> np.ndarray:
    """Distinct pairs (n, 2) of the places `among` that share a bucket of any band, each and all in order.

    Band by band: one sort of the hashes that may occur twice brings equal ones together.
    """
    from curation.corpus import minhash_kernels

    pairs, waiting = np.zeros(0, dtype=np.int64), list[np.ndarray]()
    for hashes in progress.track(rows.bands, "duplicate candidates"):
        keys = np.sort(minhash_kernels.shared_buckets(hashes, among))
        waiting.append(minhash_kernels.bucket_pairs(keys, rows.sizes, threshold))
        if sum(map(len, waiting)) > max(_MANY_PAIRS, len(pairs)):
            pairs, waiting = _distinct(np.concatenate([pairs, *waiting])), []
    return _unpacked(_distinct(np.concatenate([pairs, *waiting])))


def _distinct(keys: np.ndarray) -> np.ndarray:
    """The keys in order, each once."""
    keys.sort()
    return keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys


# -- verification ---------------------------------------------------------------------------------


class _Verifier:
    """Exact similarity of pairs of rows: looked up where it is known, else computed from the texts.

    With templates a similarity depends on all texts, so that nothing can be known beforehand. Where
    nothing is known, the texts of the rows that are `shared` are read at once, else when they are needed.
    """

    def __init__(
        self,
        rows: _Rows,
        texts: pl.LazyFrame,
        candidates: np.ndarray,
        settings: DedupSettings,
        known: pl.DataFrame | None = None,
        shared: np.ndarray | None = None,
    ) -> None:
        self._rows, self._texts, self._settings = rows, texts, settings
        self._known = None if settings.template_records else known
        self._parts = [name for name in texts.collect_schema().names() if name != "record_id"]
        self._read = pl.DataFrame(schema={"place": pl.Int64} | dict.fromkeys(self._parts, pl.String))
        self._lines = np.full(len(rows), -1)  # of each row in `_read`
        self._counts: dict[str, np.ndarray] = {}
        self._compared = [pl.DataFrame(schema=COMPARED)]
        if settings.template_records:
            # where all texts are alike they are candidates: counting those is enough
            self._fetch(candidates)
            self._counts = {
                name: minhash.shingle_counts(self._read[name], settings.ngram) for name in self._parts
            }
        if self._known is None and shared is not None:
            self._fetch(shared)

    @property
    def compared(self) -> pl.DataFrame:
        """All pairs that were asked for, fit to be `known` to a later run."""
        return pl.concat(self._compared[:1] if self._settings.template_records else self._compared)

    def similarity(self, pairs: np.ndarray) -> np.ndarray:
        """Similarity (float64) of pairs of places (n, 2)."""
        one, other = self._rows.keys[pairs[:, 0]], self._rows.keys[pairs[:, 1]]
        keys = pl.DataFrame({"a": np.minimum(one, other), "b": np.maximum(one, other)})
        similarity = np.full(len(pairs), np.nan)
        if self._known is not None:
            found = keys.join(self._known, on=["a", "b"], how="left", maintain_order="left")
            similarity = found["similarity"].fill_null(float("nan")).to_numpy(writable=True)
        unknown = np.flatnonzero(np.isnan(similarity))
        similarity[unknown] = self._compute(pairs[unknown])
        self._compared.append(keys.with_columns(similarity=similarity))
        return similarity

    def _compute(self, pairs: np.ndarray) -> np.ndarray:
        self._fetch(pairs)
        lines = self._lines[pairs]
        # the sizes that are known are those of whole texts
        sizes = self._rows.sizes[self._read["place"].to_numpy()].astype(np.int64)
        known_sizes = sizes if len(self._parts) == 1 else None
        return np.mean([self._alike(self._read[name], lines, known_sizes) for name in self._parts], axis=0)

    def _alike(self, texts: pl.Series, pairs: np.ndarray, sizes: np.ndarray | None) -> np.ndarray:
        lengths = texts.str.len_bytes().to_numpy().astype(np.int64)
        work = np.cumsum(lengths[pairs[:, 1]])
        blocks = np.split(np.arange(len(pairs)), np.flatnonzero(np.diff(work // _BLOCK_BYTES)) + 1)
        return np.concatenate(
            [
                minhash.jaccard(
                    texts,
                    pairs[block, 0],
                    pairs[block, 1],
                    self._settings.ngram,
                    sizes=sizes,
                    counts=self._counts.get(texts.name),
                    common=self._settings.template_records,
                )
                for block in progress.track(blocks, "duplicate verification")
            ]
        )

    def _fetch(self, pairs: np.ndarray) -> None:
        """Read the texts of these rows, unless they are there."""
        missing = np.zeros(len(self._rows), dtype=bool)
        missing[pairs] = True
        places = np.flatnonzero(missing & (self._lines < 0))
        if not len(places):
            return
        wanted = pl.LazyFrame({"record_id": self._rows.ids.gather(places), "place": places})
        found = self._texts.join(wanted, on="record_id").select("place", *self._parts)
        read = found.collect(engine="streaming")
        self._lines[read["place"].to_numpy()] = np.arange(read.height) + self._read.height
        self._read = pl.concat([self._read, read])


def near_duplicate_pairs(docs: pl.DataFrame, texts: pl.LazyFrame, settings: DedupSettings) -> pl.DataFrame:
    """Pairs of records whose texts are nearly the same.

    Parameters
    ----------
    docs
        `record_id`, `content_hash`, `bands`, `n_shingles`. Where very many records share a bucket, each
        is compared with the first few of this order only.
    texts
        `record_id`, `text` of at least these records.

    Returns
    -------
    Frame with `a`, `b` (record ids, a before b in the order given) and `similarity`, the exact Jaccard
    similarity of their shingle sets (see `minhash.jaccard`), at least the threshold; sorted by that order.
    """
    places = np.arange(docs.height)
    rows = _Rows.of(docs, places)
    pairs = _candidates(rows, places, settings.threshold)
    similarity = _Verifier(rows, texts, pairs, settings).similarity(pairs)
    ids = docs["record_id"]
    found = {"a": ids.gather(pairs[:, 0]), "b": ids.gather(pairs[:, 1]), "similarity": similarity}
    return pl.DataFrame(found).filter(pl.col("similarity") >= settings.threshold)


# -- representatives ------------------------------------------------------------------------------


def _preference(settings: DedupSettings) -> tuple[list[pl.Expr], list[bool]]:
    """Keys by which records are sorted, best first, and which of them descend."""
    order = {name: place for place, name in enumerate(settings.sources)}
    keys = {
        "source": pl.col("source").replace_strict(order, default=len(order), return_dtype=pl.UInt32),
        "quality": pl.col("quality"),
        "length": pl.col("n_chars"),
    }
    # where no source is named, none is better than another
    chosen = [name for name in settings.prefer if name != "source" or settings.sources]
    return [*(keys[name] for name in chosen), pl.col("record_id")], [
        *(name != "source" for name in chosen),
        False,
    ]


def _leaders(rows: int, pairs: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """Representative of each row, greedily in order of preference."""
    from curation.corpus import minhash_kernels

    order = np.argsort(_packed(pairs[:, ::-1]))
    leader: np.ndarray = minhash_kernels.leaders(rows, pairs[order, 0], pairs[order, 1], similarity[order])
    return leader


def _packed(pairs: np.ndarray) -> np.ndarray:
    return pairs[:, 0] << 32 | pairs[:, 1]


def _unpacked(keys: np.ndarray) -> np.ndarray:
    return np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1)


def _representatives(
    rows: _Rows, candidates: np.ndarray, verifier: _Verifier, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """For each row the row that it is dropped for (itself if kept), and how alike they are.

    Rows are in order of preference. First each is compared with the first of its buckets, which settles
    nearly all; then those that are kept are compared with each other, and with the representatives of
    those that they are like, until none of them is dropped any more.
    """
    count = len(rows)
    pairs, similarity, tried = candidates[:0], np.zeros(0), np.zeros(0, dtype=np.int64)
    further, leader = candidates, np.arange(count)
    for _ in range(_ROUNDS):
        found = verifier.similarity(further)
        tried = np.concatenate([tried, _packed(further)])
        alike = found >= threshold
        pairs, similarity = (
            np.concatenate([pairs, further[alike]]),
            np.concatenate([similarity, found[alike]]),
        )
        leader = _leaders(count, pairs, similarity)
        is_kept = leader == np.arange(count)
        both = np.concatenate([pairs, pairs[:, ::-1]])
        both = both[is_kept[both[:, 0]] & ~is_kept[both[:, 1]]]
        met = np.stack([both[:, 0], leader[both[:, 1]]], axis=1)
        met = np.sort(met[met[:, 0] != met[:, 1]], axis=1)
        among = _candidates(rows, np.flatnonzero(is_kept), threshold)
        keys = _distinct(_packed(np.concatenate([met, among])))
        further = _unpacked(keys[np.isin(keys, tried, assume_unique=True, invert=True, kind="sort")])
        if not len(further):
            break
    best = np.ones(count)
    chosen = leader[pairs[:, 1]] == pairs[:, 0]
    best[pairs[chosen, 1]] = similarity[chosen]
    return leader, best


def judge_duplicates(
    docs: pl.DataFrame, settings: DedupSettings, *, parts: Sequence[str] = ("text",)
) -> pl.DataFrame:
    """Judge records for exact and near duplicates.

    Exact: the same `content_hash`. Near: Jaccard similarity of the shingle sets of at least the
    threshold. The representative that is kept comes first by the settings' preference, then by
    `record_id`; greedily in that order, each record is dropped for the most similar record that is kept
    already. Copies of a text that is itself dropped are near duplicates of its representative.

    Parameters
    ----------
    docs
        `record_id`, `content_hash`, `bands`, `n_shingles`, what the preference needs (`n_chars`,
        `quality`, `source`), and the texts: `parts` names their columns.
    parts
        The similarity of two records is the mean over these parts: a long answer does not drown the
        question that it answers.

    Returns
    -------
    One row a record, in the order given: `record_id`, `duplicate_of`, `similarity`, `verdict`,
    `reason`, `evidence` (for kept records, how many were dropped for them).
    """
    return judge_further(docs.drop(parts), docs.lazy().select("record_id", *parts), settings)[0]


def judge_further(
    docs: pl.DataFrame, texts: pl.LazyFrame, settings: DedupSettings, known: pl.DataFrame | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`judge_duplicates` where an earlier run, on some of the records, compared many pairs already.

    `docs` as there, but without texts; `texts` (`record_id`, `text`) is read only for records that
    must be compared. `known` are the pairs that were compared with the same `ngram` and
    `minhash.METHOD` (columns `COMPARED`), whatever records there were then. Returns the judged rows,
    which do not depend on `known`, and the pairs to hand on.
    """
    from curation.corpus import minhash_kernels

    keys, descending = _preference(settings)
    order = docs.select(place=pl.arg_sort_by(keys, descending=descending, nulls_last=True))
    places = order["place"].to_numpy().astype(np.int64)
    hashes = docs["content_hash"].gather(places)
    first = minhash_kernels.first_equal(_text_keys(hashes), _text_keys(hashes.str.tail(16)))
    is_first = first == np.arange(len(places))
    text = (np.cumsum(is_first) - 1)[first]  # of each ranked record, as a place in `rows`
    rows = _Rows.of(docs, places[is_first])
    candidates, shared = _first_candidates(rows, settings.threshold)
    verifier = _Verifier(rows, texts, candidates, settings, known, shared)
    leader, alike = _representatives(rows, candidates, verifier, settings.threshold)
    representative = np.empty_like(places)
    representative[places] = places[is_first][leader[text]]
    text_of = np.empty_like(places)
    text_of[places] = text
    is_kept = pl.col("is_kept")
    frame = docs.select(
        "record_id",
        representative=docs["record_id"].gather(representative),
        alike=pl.Series(alike[text_of]),
        near=pl.Series((leader != np.arange(len(leader)))[text_of]),
        is_kept=pl.Series(representative == np.arange(len(places))),
        duplicates=pl.Series(np.bincount(representative, minlength=len(places)) - 1),
    ).with_columns(
        match=pl.when(is_kept).then(None).when("near").then(pl.lit("near")).otherwise(pl.lit("exact")),
        duplicate_of=pl.when(~is_kept).then("representative"),
        similarity=pl.when(~is_kept).then("alike"),
    )
    rules = [
        Rule("duplicate_of", pl.col("match") == "exact", {"similarity": pl.col("similarity")}),
        Rule(
            "near_duplicate_of",
            pl.col("match") == "near",
            {"duplicate_of": pl.col("duplicate_of")},
            {"similarity": settings.threshold},
        ),
    ]
    judged = judge(frame, rules, match=pl.col("match"), duplicates=pl.when(is_kept).then("duplicates"))
    columns = ["record_id", "duplicate_of", "similarity", "verdict", "reason", "evidence"]
    return judged.select(columns), verifier.compared
