"""Which records are duplicates, and of which record that is kept.

Belongs here: candidate pairs from LSH bands, their verification, and the choice of representatives,
for documents as for SFT samples.
Does not belong here: shingles and signatures (`minhash`), or what counts as the same text (`records`).

A record is dropped only for a record that is kept and that it is really similar to: the exact Jaccard
similarity of the two is at least the threshold. Chains (a like b, b like c, a unlike c) therefore do
not drift, as they do where all of a connected component goes but one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from curation import progress
from curation.corpus import minhash
from curation.settings import DedupSettings
from curation.verdicts import Rule, judge

#: In a band, records of a bucket up to this size are all compared with each other; in a larger bucket
#: each is compared with so many that come first, and with the one before it.
_ALL_PAIRS, _LEADERS = 24, 8
#: Pairs are verified in blocks that hold at most about so many characters.
_BLOCK_CHARS = 32 << 20
_ROUNDS = 5


def _bucket_pairs(order: np.ndarray, sizes: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs of places (n, 2) within buckets that lie end to end in `order`."""
    begins = np.cumsum(sizes) - sizes
    for size in np.unique(sizes[(sizes > 1) & (sizes <= _ALL_PAIRS)]).tolist():
        members = order[begins[sizes == size][:, None] + np.arange(size)]
        first, second = np.triu_indices(size, 1)
        yield np.stack([members[:, first].ravel(), members[:, second].ravel()], axis=1)
    for begin, size in zip(begins[sizes > _ALL_PAIRS], sizes[sizes > _ALL_PAIRS], strict=True):
        members = np.sort(order[begin : begin + size])
        for leader in range(_LEADERS):
            rest = members[leader + 1 :]
            yield np.stack([np.full(len(rest), members[leader]), rest], axis=1)
        yield np.stack([members[_LEADERS:-1], members[_LEADERS + 1 :]], axis=1)


def _candidates(bands: np.ndarray, sizes: np.ndarray, threshold: float) -> np.ndarray:
    """Distinct pairs of places (n, 2), the first the smaller, that share a bucket of any band.

    `sizes` are the numbers of shingles: sets whose sizes differ too much cannot reach the threshold.
    """
    rows = len(bands)
    keys = np.zeros(0, dtype=np.int64)
    for band in progress.track(range(bands.shape[1]), "duplicate candidates"):
        order = np.argsort(bands[:, band], kind="stable")
        ends = np.flatnonzero(np.diff(bands[order, band])) + 1
        bucket_sizes = np.diff(np.concatenate([[0], ends, [rows]]))
        found = [keys]
        for pairs in _bucket_pairs(order, bucket_sizes):
            counts = sizes[pairs]
            fits = counts.min(axis=1) >= threshold * counts.max(axis=1)
            low, high = pairs[fits].min(axis=1), pairs[fits].max(axis=1)
            found.append(low.astype(np.int64) * rows + high)
        keys = _distinct(np.concatenate(found))
    return np.stack([keys // rows, keys % rows], axis=1) if rows else np.zeros((0, 2), np.int64)


def _distinct(keys: np.ndarray) -> np.ndarray:
    """The keys in order, each once; faster than `np.unique`, since most of them are in order already."""
    keys = np.sort(keys, kind="stable")
    return keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys


def _likely(signatures: np.ndarray, pairs: np.ndarray, threshold: float) -> np.ndarray:
    """Pairs whose estimated similarity is not four standard errors below the threshold."""
    width = signatures.shape[1]
    floor = threshold - 4 * np.sqrt(max(threshold * (1 - threshold), 0.01) / width)
    kept = [pairs[:0]]
    for begin in range(0, len(pairs), 1 << 18):
        block = pairs[begin : begin + (1 << 18)]
        estimate = (signatures[block[:, 0]] == signatures[block[:, 1]]).mean(axis=1)
        kept.append(block[estimate >= floor])
    return np.concatenate(kept)


class _Verifier:
    """Exact similarity of pairs of places in `texts`; knows which shingles are common among them."""

    def __init__(self, texts: pl.Series, candidates: np.ndarray, settings: DedupSettings) -> None:
        self._texts, self._settings = texts, settings
        self._lengths = texts.str.len_chars().to_numpy().astype(np.int64)
        # where all texts are alike they are candidates: counting those is enough
        some = texts.gather(np.unique(candidates)) if settings.template_records else texts.head(0)
        self._counts = minhash.shingle_counts(some, settings.ngram)

    def similar(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pairs whose similarity reaches the threshold, and that similarity."""
        work = np.cumsum(self._lengths[pairs].sum(axis=1)) if len(pairs) else np.zeros(0, np.int64)
        blocks = np.split(np.arange(len(pairs)), np.flatnonzero(np.diff(work // _BLOCK_CHARS)) + 1)
        similarities = [
            minhash.jaccard(
                self._texts,
                pairs[block, 0],
                pairs[block, 1],
                self._settings.ngram,
                counts=self._counts,
                common=self._settings.template_records,
            )
            for block in progress.track(blocks, "duplicate verification")
        ]
        similarity = np.concatenate(similarities)
        similar = similarity >= self._settings.threshold
        return pairs[similar], similarity[similar]


def _matrix(lists: pl.Series) -> np.ndarray:
    """A Series of lists of equal length as a matrix."""
    return lists.explode().to_numpy().reshape(len(lists), -1) if len(lists) else np.zeros((0, 1), np.uint64)


def near_duplicate_pairs(
    signatures: pl.DataFrame, texts: pl.DataFrame, settings: DedupSettings
) -> pl.DataFrame:
    """Pairs of records whose texts are nearly the same.

    Parameters
    ----------
    signatures
        `record_id`, `signature`, `bands`, `n_shingles`. Where very many records share a bucket, each is
        compared with the first few of this order only.
    texts
        `record_id`, `text` of at least these records.

    Returns
    -------
    Frame with `a`, `b` (record ids, a before b in the order given) and `similarity`, the exact Jaccard
    similarity of their shingle sets (see `minhash.jaccard`), at least the threshold; sorted by that order.
    """
    ids = signatures["record_id"]
    joined = signatures.select("record_id").join(texts, on="record_id", how="left", maintain_order="left")
    candidates = _likely_pairs(signatures, settings)
    pairs, similarity = _Verifier(joined["text"], candidates, settings).similar(candidates)
    return pl.DataFrame(
        {"a": ids.gather(pairs[:, 0]), "b": ids.gather(pairs[:, 1]), "similarity": similarity}
    )


def _likely_pairs(rows: pl.DataFrame, settings: DedupSettings) -> np.ndarray:
    """Candidate pairs of places whose signatures do not speak against them."""
    sizes = rows["n_shingles"].to_numpy().astype(np.int64)
    pairs = _candidates(_matrix(rows["bands"]), sizes, settings.threshold)
    return _likely(_matrix(rows["signature"]), pairs, settings.threshold)


def _leaders(rows: int, pairs: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """Representative of each row, greedily in order of preference."""
    from curation import text_kernels

    order = np.lexsort((pairs[:, 0], pairs[:, 1]))
    leader: np.ndarray = text_kernels.leaders(rows, pairs[order, 0], pairs[order, 1], similarity[order])
    return leader


def _representatives(rows: int, candidates: np.ndarray, verifier: _Verifier) -> tuple[np.ndarray, np.ndarray]:
    """For each row the row that it is dropped for (itself if kept), and how alike they are.

    Rows are in order of preference. A kept row one of whose partners was dropped is compared with the
    representative of that partner too, for it may have met that partner only in a large bucket.
    """
    pairs, similarity = verifier.similar(candidates)
    leader = _leaders(rows, pairs, similarity)
    for _ in range(_ROUNDS):
        both = np.concatenate([pairs, pairs[:, ::-1]])
        both = both[(leader[both[:, 0]] == both[:, 0]) & (leader[both[:, 1]] != both[:, 1])]
        further = np.stack([both[:, 0], leader[both[:, 1]]], axis=1)
        further = np.sort(further[further[:, 0] != further[:, 1]], axis=1)
        keys = np.setdiff1d(further[:, 0] * rows + further[:, 1], pairs[:, 0] * rows + pairs[:, 1])
        more, more_similarity = verifier.similar(np.stack([keys // rows, keys % rows], axis=1))
        if not len(more):
            break
        pairs, similarity = np.concatenate([pairs, more]), np.concatenate([similarity, more_similarity])
        leader = _leaders(rows, pairs, similarity)
    alike = np.ones(rows)
    chosen = leader[pairs[:, 1]] == pairs[:, 0]
    alike[pairs[chosen, 1]] = similarity[chosen]
    return leader, alike


def judge_duplicates(
    docs: pl.DataFrame, settings: DedupSettings, *, prefer: Sequence[str] = ("n_chars",)
) -> pl.DataFrame:
    """Judge records for exact and near duplicates.

    Exact: the same `content_hash`. Near: Jaccard similarity of the shingle sets of at least the
    threshold. The representative that is kept comes first by the columns `prefer` (largest first),
    then by `record_id`; greedily in that order, each record is dropped for the most similar record
    that is kept already. Copies of a text that is itself dropped are near duplicates of its
    representative.

    Parameters
    ----------
    docs
        `record_id`, `content_hash`, `text`, `signature`, `bands`, `n_shingles`, and the columns in
        `prefer`.

    Returns
    -------
    One row a record, in the order given: `record_id`, `duplicate_of`, `similarity`, `verdict`,
    `reason`, `evidence` (for kept records, how many were dropped for them).
    """
    ranked = docs.with_row_index("place").sort(
        [*prefer, "record_id"], descending=[True] * len(prefer) + [False], nulls_last=True
    )
    unique = ranked.unique("content_hash", keep="first", maintain_order=True)
    candidates = _likely_pairs(unique, settings)
    verifier = _Verifier(unique["text"], candidates, settings)
    leader, alike = _representatives(unique.height, candidates, verifier)
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
    return judged.select("record_id", "duplicate_of", "similarity", "verdict", "reason", "evidence")
