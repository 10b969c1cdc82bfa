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

import numpy as np
import polars as pl

from curation import progress
from curation.corpus import minhash
from curation.settings import DedupSettings
from curation.verdicts import Rule, judge

#: Pairs are verified in blocks that hold at most about so many characters.
_BLOCK_CHARS = 16 << 20
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


def _candidates(
    rows: pl.DataFrame, among: np.ndarray, threshold: float, *, to_first: bool = False
) -> np.ndarray:
    """Distinct pairs (n, 2) of the places `among` that share a bucket of any band, each and all in order.

    Band by band: one sort of the band's hashes brings equal ones together. `to_first` pairs each row of
    a bucket with the first one only.
    """
    from curation.corpus import minhash_kernels

    bands = _matrix(rows["bands"])
    sizes = rows["n_shingles"].to_numpy().astype(np.int64)
    places = among.astype(np.uint64)
    pairs, waiting = np.zeros(0, dtype=np.int64), list[np.ndarray]()
    for band in progress.track(range(bands.shape[1]), "duplicate candidates"):
        keys = np.sort(bands[among, band].astype(np.uint64) << np.uint64(32) | places)
        waiting.append(minhash_kernels.bucket_pairs(keys, sizes, threshold, to_first))
        if sum(map(len, waiting)) > max(_MANY_PAIRS, len(pairs)):
            pairs, waiting = _distinct(np.concatenate([pairs, *waiting])), []
    return _unpacked(_distinct(np.concatenate([pairs, *waiting])))


def _distinct(keys: np.ndarray) -> np.ndarray:
    """The keys in order, each once."""
    keys.sort()
    return keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys


def _matrix(lists: pl.Series) -> np.ndarray:
    """A Series of lists of equal length as a matrix."""
    return lists.explode().to_numpy().reshape(len(lists), -1) if len(lists) else np.zeros((0, 1), np.uint32)


# -- verification ---------------------------------------------------------------------------------


def _text_keys(content_hashes: pl.Series) -> pl.Series:
    """The first 64 bits of content hashes (UInt64): a pair of two of them is as good as 128 bits."""
    return content_hashes.str.head(16).str.to_integer(base=16, dtype=pl.UInt64)


class _Verifier:
    """Exact similarity of pairs of rows: looked up where it is known, else computed from the texts.

    With templates a similarity depends on all texts, so that nothing can be known beforehand.
    """

    def __init__(
        self,
        rows: pl.DataFrame,
        texts: pl.LazyFrame,
        candidates: np.ndarray,
        settings: DedupSettings,
        known: pl.DataFrame | None,
    ) -> None:
        self._ids, self._keys = rows["record_id"], _text_keys(rows["content_hash"])
        self._sizes = rows["n_shingles"].to_numpy().astype(np.int64)
        self._texts, self._settings = texts, settings
        self._known = None if settings.template_records else known
        self._parts = [name for name in texts.collect_schema().names() if name != "record_id"]
        self._counts: dict[str, np.ndarray] = {}
        self._compared = [pl.DataFrame(schema=COMPARED)]
        if settings.template_records:
            # where all texts are alike they are candidates: counting those is enough
            read = self._read(np.unique(candidates))
            self._counts = {name: minhash.shingle_counts(read[name], settings.ngram) for name in self._parts}

    @property
    def compared(self) -> pl.DataFrame:
        """All pairs that were asked for, fit to be `known` to a later run."""
        return pl.concat(self._compared[:1] if self._settings.template_records else self._compared)

    def similarity(self, pairs: np.ndarray) -> np.ndarray:
        """Similarity (float64) of pairs of places (n, 2)."""
        a, b = self._keys.gather(pairs[:, 0]), self._keys.gather(pairs[:, 1])
        keys = pl.DataFrame({"one": a, "other": b}).select(
            a=pl.min_horizontal("one", "other"), b=pl.max_horizontal("one", "other")
        )
        similarity = np.full(len(pairs), np.nan)
        if self._known is not None:
            found = keys.join(self._known, on=["a", "b"], how="left", maintain_order="left")
            similarity = found["similarity"].fill_null(float("nan")).to_numpy(writable=True)
        unknown = np.flatnonzero(np.isnan(similarity))
        similarity[unknown] = self._compute(pairs[unknown])
        self._compared.append(keys.with_columns(similarity=similarity))
        return similarity

    def _compute(self, pairs: np.ndarray) -> np.ndarray:
        needed = np.zeros(len(self._ids), dtype=bool)
        needed[pairs] = True
        texts, places = self._read(np.flatnonzero(needed)), (np.cumsum(needed) - 1)[pairs]
        # the sizes that are known are those of whole texts
        sizes = self._sizes[needed] if len(self._parts) == 1 else None
        return np.mean([self._alike(texts[name], places, sizes) for name in self._parts], axis=0)

    def _alike(self, texts: pl.Series, pairs: np.ndarray, sizes: np.ndarray | None) -> np.ndarray:
        lengths = texts.str.len_chars().to_numpy().astype(np.int64)
        work = np.cumsum(lengths[pairs].sum(axis=1))
        blocks = np.split(np.arange(len(pairs)), np.flatnonzero(np.diff(work // _BLOCK_CHARS)) + 1)
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

    def _read(self, places: np.ndarray) -> pl.DataFrame:
        """The texts of these rows, a column a part."""
        wanted = pl.LazyFrame({"record_id": self._ids.gather(places)}).with_row_index("wanted")
        found = self._texts.join(wanted, on="record_id").select("wanted", *self._parts)
        return found.collect(engine="streaming").sort("wanted").drop("wanted")


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
    pairs = _candidates(docs, np.arange(docs.height), settings.threshold)
    similarity = _Verifier(docs, texts, pairs, settings, None).similarity(pairs)
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

    order = np.lexsort((pairs[:, 0], pairs[:, 1]))
    leader: np.ndarray = minhash_kernels.leaders(rows, pairs[order, 0], pairs[order, 1], similarity[order])
    return leader


def _packed(pairs: np.ndarray) -> np.ndarray:
    return pairs[:, 0] << 32 | pairs[:, 1]


def _unpacked(keys: np.ndarray) -> np.ndarray:
    return np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1)


def _representatives(
    rows: pl.DataFrame, candidates: np.ndarray, verifier: _Verifier, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """For each row the row that it is dropped for (itself if kept), and how alike they are.

    Rows are in order of preference. First each is compared with the first of its buckets, which settles
    nearly all; then those that are kept are compared with each other, and with the representatives of
    those that they are like, until none of them is dropped any more.
    """
    count = rows.height
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
    keys, descending = _preference(settings)
    order = docs.with_row_index("place").select(
        "place", *(key.alias(f"key_{number}") for number, key in enumerate(keys))
    )
    places = order.sort(order.columns[1:], descending=descending, nulls_last=True)["place"]
    ranked = docs.select("record_id", "content_hash").with_columns(place=pl.int_range(pl.len()))[places]
    unique = ranked.unique("content_hash", keep="first", maintain_order=True)
    rows = docs.select("record_id", "content_hash", "bands", "n_shingles")[unique["place"]]
    candidates = _candidates(rows, np.arange(rows.height), settings.threshold, to_first=True)
    verifier = _Verifier(rows, texts, candidates, settings, known)
    leader, alike = _representatives(rows, candidates, verifier, settings.threshold)
    chosen = unique.select(
        "content_hash",
        first=pl.col("record_id"),
        representative=pl.col("record_id").gather(pl.Series(leader)),
        near=pl.Series(leader != np.arange(len(leader))),
        alike=pl.Series(alike),
    )
    matched = ranked.select("place", "record_id", "content_hash").join(
        chosen, on="content_hash", how="left", maintain_order="left"
    )
    is_kept = pl.col("record_id") == pl.col("representative")
    frame = (
        matched.with_columns(duplicates=pl.len().over("representative") - 1)
        .with_columns(
            match=pl.when(is_kept).then(None).when("near").then(pl.lit("near")).otherwise(pl.lit("exact")),
            duplicate_of=pl.when(~is_kept).then("representative"),
            similarity=pl.when(~is_kept).then("alike"),
        )
        .sort("place")
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
