"""Measures of a selection beside the pool that it was chosen from.

Belongs here: coverage, diversity, redundancy and distributions, each a function with its formula, and
`measure_selection`, which puts them side by side with random choices of the same size.
Does not belong here: pictures (`plots`, `report`) and what a trained model says (`comparison`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from curation import progress, verdicts
from curation.audit.scenes import Scenes, Taxonomy, scenes_of
from curation.records import digest
from curation.selection import kmeans
from curation.selection.geometry import exact_unit, has_direction
from curation.selection.sampling import pivotal_sample
from curation.vectors import top_k

NEAR_DUPLICATE = 0.95
RANDOM_DRAWS = 5
_BLOCK = 8_192
#: Rows of a set whose words are counted; sets of different size are compared on equally many.
_TOKEN_ROWS = 10_000
_TOKEN_CHARS = 1_000
#: Beyond this many rows near-duplicate pairs are not counted (the work grows with the square).
_PAIR_ROWS = 20_000
_SMOOTHING = 0.5
#: Rows of the pool that a set's vectors are compared with.
_REFERENCE_ROWS = 5_000


# -- coverage -----------------------------------------------------------------------------------


def cluster_coverage(cluster: np.ndarray, chosen: np.ndarray) -> float:
    """Share of the pool's clusters that have at least one chosen row."""
    pool = np.unique(cluster)
    return len(np.unique(cluster[chosen])) / len(pool) if len(pool) else 0.0


@dataclass(frozen=True)
class Coverage:
    """How far a set meets the targets of a taxonomy, under three names.

    Attributes
    ----------
    scenes
        Scene coverage: share of the scenes that have at least one sample.
    samples
        Sample coverage: sum over all scenes of w_s min(1, n_s / n*_s), with weights that add up to 1. A scene
        without samples counts as 0.
    samples_covered
        The same, averaged over the scenes that have samples only (their weights scaled to add up to 1): how
        full the scenes are that are there at all.
    """

    scenes: float
    samples: float
    samples_covered: float


def scene_coverage(counts: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> Coverage:
    """Coverage of the scenes of a taxonomy.

    Parameters
    ----------
    counts, targets
        [scenes]: samples of each scene, and how many there should be (above 0).
    weights
        [scenes]: how much each scene counts (None: all alike).

    Raises
    ------
    ValueError
        There is no scene, a target or the sum of the weights is not above 0, or the lengths differ.
    """
    counts, targets = np.asarray(counts, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    weights = np.ones(len(counts)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not len(counts) or not len(counts) == len(targets) == len(weights):
        raise ValueError("counts, targets and weights must be of one length, at least 1")
    if (targets <= 0).any() or (weights < 0).any() or weights.sum() <= 0:
        raise ValueError("targets must be above 0, weights at least 0 and not all 0")
    met, weights = np.minimum(counts / targets, 1.0), weights / weights.sum()
    there = counts > 0
    covered = float((weights * met)[there].sum() / weights[there].sum()) if weights[there].sum() > 0 else 0.0
    return Coverage(float(there.mean()), float((weights * met).sum()), covered)


def nearest_chosen(unit: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Cosine similarity of each row to the most similar chosen row, float32 [n] (-1 where none is)."""
    nearest, base = np.full(len(unit), -1.0, dtype=np.float32), unit[chosen]
    for start in progress.track(range(0, len(unit), _BLOCK), "coverage"):
        for other in range(0, len(base), _BLOCK):
            products = (unit[start : start + _BLOCK] @ base[other : other + _BLOCK].T).max(axis=1)
            np.maximum(nearest[start : start + _BLOCK], products, out=nearest[start : start + _BLOCK])
    return nearest


def neighbourhood_coverage(nearest: np.ndarray, to_neighbours: np.ndarray) -> float:
    """C(S): share of the pool's rows with a chosen row in their neighbourhood.

    A row x is covered if max_{s in S} cos(x, s) >= r(x), where r(x) is its mean similarity to its
    nearest neighbours in the pool: the radius follows the density. A chosen row covers itself.

    Parameters
    ----------
    nearest
        [n] similarity to the nearest chosen row (`nearest_chosen`).
    to_neighbours
        [n] mean similarity to the nearest neighbours (table Clusters).
    """
    return float((nearest >= np.round(to_neighbours, 6) - 1e-6).mean()) if len(nearest) else 0.0


def facility_location(nearest: np.ndarray) -> float:
    """F(S) = mean over the pool of max_{s in S} cos(x, s): how well the choice stands for the pool."""
    return float(nearest.mean(dtype=np.float64)) if len(nearest) else 0.0


# -- diversity ----------------------------------------------------------------------------------


def mean_pairwise_distance(unit: np.ndarray) -> float:
    """D(S) = mean of 1 - cos(x, y) over all pairs x != y of S, exactly and in linear time.

    The sum of all cosines is ||sum of x||^2, so D = 1 - (||sum x||^2 - sum ||x||^2) / (m (m - 1)).
    Rows of zeros are left out.
    """
    rows = unit[has_direction(unit)]
    m = len(rows)
    if m < 2:
        return 0.0
    total = rows.sum(axis=0, dtype=np.float64)
    lengths = float(np.einsum("ij,ij->", rows, rows, dtype=np.float64))
    return 1.0 - (float(total @ total) - lengths) / (m * (m - 1))


def vendi_score(unit: np.ndarray) -> float:
    """Effective number of different rows: exp(-sum l ln l), l the eigenvalues of K / m, K the cosines.

    Friedman and Dieng, 2023, "The Vendi score". The non-zero eigenvalues of K / m = V V' / m are those
    of the d x d matrix V' V / m. Rows of zeros are left out.
    """
    rows = unit[has_direction(unit)]
    if not len(rows):
        return 0.0
    gram = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK].astype(np.float64)
        gram += part.T @ part
    values = np.linalg.eigvalsh(gram / np.trace(gram))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def entropy(counts: np.ndarray) -> float:
    """-sum p log2 p of a distribution given as counts, in bits."""
    counts = counts[counts > 0]
    shares = counts / counts.sum() if len(counts) else counts
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def _smoothed(counts: np.ndarray) -> np.ndarray:
    return (counts + _SMOOTHING) / (counts + _SMOOTHING).sum()


def kl_divergence(counts: np.ndarray, reference: np.ndarray) -> float:
    """KL(P || Q) = sum p log2(p / q) in bits, both smoothed by adding 0.5 to every count."""
    if not len(counts):
        return 0.0
    p, q = _smoothed(counts), _smoothed(reference)
    return float((p * np.log2(p / q)).sum())


def js_divergence(counts: np.ndarray, reference: np.ndarray) -> float:
    """JS(P, Q) = (KL(P || M) + KL(Q || M)) / 2 with M = (P + Q) / 2; base 2, so between 0 and 1.

    Both are smoothed by adding 0.5 to every count.
    """
    if not len(counts):
        return 0.0
    p, q = _smoothed(counts), _smoothed(reference)
    middle = (p + q) / 2
    return float((p * np.log2(p / middle)).sum() + (q * np.log2(q / middle)).sum()) / 2


def interval(
    measure: Callable[[np.ndarray], float], rows: int, seed: int, draws: int = 200, confidence: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of a measure (Efron, 1979): quantiles over samples of the rows with replacement.

    Parameters
    ----------
    measure
        Takes row numbers, int64 [rows], each any number of times.
    rows
        Rows of the set that is measured.

    Raises
    ------
    ValueError
        There are no rows.
    """
    if rows < 1:
        raise ValueError("an interval needs at least one row")
    random = np.random.default_rng([seed, 13])
    values = [measure(random.integers(0, rows, rows)) for _ in range(draws)]
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def embedding_js(rows: np.ndarray, reference: np.ndarray, cells: int = 64, seed: int = 0) -> float:
    """JS divergence of two sets of unit vectors (on the grid) in embedding space, 0 to 1.

    Both are counted in the cells of spherical k-means trained on the two together: a histogram in many
    dimensions, as MAUVE has it (Pillutla et al., 2021).
    """
    both = np.concatenate([rows, reference])
    if not len(rows) or not len(reference):
        return 0.0
    centres = kmeans.train(both, min(cells, len(both)), seed)
    cell, _ = kmeans.assign(both, centres)
    one, other = (np.bincount(part, minlength=len(centres)) for part in np.split(cell, [len(rows)]))
    return js_divergence(one, other)


# -- resampling ---------------------------------------------------------------------------------


def resampling_rates(groups: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """How many times each row must be taken for its group to have its share of the reference; float64 [n].

    n q_g / n_g for a row of group g, with q the shares of the reference: above 1 the group is
    over-sampled, below 1 under-sampled. Groups that the rows lack are left out of the reference.

    Parameters
    ----------
    groups
        int64 [n].
    reference
        [groups]: counts or shares of the reference distribution.
    """
    size = np.bincount(groups, minlength=len(reference)).astype(np.float64)
    wanted = np.where(size > 0, np.asarray(reference, dtype=np.float64), 0.0)
    if wanted.sum() <= 0:
        raise ValueError("no group of the reference is among the rows")
    rate: np.ndarray = (len(groups) * wanted / wanted.sum() / np.maximum(size, 1.0))[groups]
    return rate


def resample(groups: np.ndarray, reference: np.ndarray, seed: int) -> np.ndarray:
    """Row numbers of a set of the same size with the reference's distribution; int64 [n], ascending.

    A row of rate r (`resampling_rates`) is taken floor(r) times, and once more with the chance that is
    left, by the pivotal design: group by group the numbers are right to within one.
    """
    rates = resampling_rates(groups, reference)
    whole = np.floor(rates + 1e-9)
    line = np.argsort(groups, kind="stable")
    more = np.zeros(len(groups), dtype=bool)
    more[line] = pivotal_sample(np.clip(rates - whole, 0.0, 1.0)[line], seed)
    return np.repeat(np.arange(len(groups)), whole.astype(np.int64) + more)


# -- redundancy ---------------------------------------------------------------------------------


def near_duplicates(unit: np.ndarray, limit: float = NEAR_DUPLICATE) -> int:
    """Number of pairs x < y of the set with cos(x, y) >= limit."""
    pairs = 0
    for start in progress.track(range(0, len(unit), _BLOCK), "near duplicates"):
        block = unit[start : start + _BLOCK]
        pairs += int(np.count_nonzero(np.triu(block @ block.T >= limit, 1)))
        for other in range(start + _BLOCK, len(unit), _BLOCK):
            pairs += int(np.count_nonzero(block @ unit[other : other + _BLOCK].T >= limit))
    return pairs


def near_duplicate_share(unit: np.ndarray, limit: float = NEAR_DUPLICATE) -> float:
    """Share of the rows that have another row of the set with cos >= limit."""
    if len(unit) < 2:
        return 0.0
    nearest, _ = top_k(unit, unit, 1, np.arange(len(unit)))
    return float((nearest[:, 0] >= limit).mean())


@dataclass(frozen=True)
class Words:
    """The words of some rows as numbers, in the order of the text.

    `row` and `word` are int64 [words]; `vocabulary` is the number of different words.
    """

    row: np.ndarray
    word: np.ndarray
    vocabulary: int

    @classmethod
    def of(cls, texts: pl.Series, rows: np.ndarray) -> Words:
        """Cut the first 1,000 characters of the given rows (ascending) into words, by jieba."""
        import rjieba

        cut = [
            [word for word in rjieba.cut(text) if word.strip()]
            for text in progress.track(
                texts.gather(rows).fill_null("").str.slice(0, _TOKEN_CHARS), "words", every=1000
            )
        ]
        frame = (
            pl.DataFrame({"row": rows, "word": pl.Series(cut, dtype=pl.List(pl.String))})
            .explode("word")
            .drop_nulls()
            .with_columns(pl.col("word").rank("dense").cast(pl.Int64) - 1)
        )
        return cls(frame["row"].to_numpy(), frame["word"].to_numpy(), frame["word"].n_unique())

    def among(self, rows: np.ndarray) -> Words:
        """The words of some of the rows."""
        inside = np.isin(self.row, rows)
        return Words(self.row[inside], self.word[inside], self.vocabulary)

    def counts(self) -> np.ndarray:
        """Number of times each word occurs, int64 [vocabulary]."""
        return np.bincount(self.word, minlength=self.vocabulary)

    def distinct(self, n: int) -> float:
        """Distinct-n (Li et al., 2016): different n-grams of words / all of them, within rows; n is 1 to 3."""
        last = len(self.word) - n + 1
        if last <= 0:
            return 0.0
        inside = self.row[n - 1 :] == self.row[:last]
        grams = np.zeros(last, dtype=np.int64)
        for place in range(n):
            grams = grams * self.vocabulary + self.word[place : place + last]
        grams = grams[inside]
        return len(np.unique(grams)) / len(grams) if len(grams) else 0.0


# -- side by side -------------------------------------------------------------------------------

#: Measures of this name, with the name of a scene behind a dot, count its samples.
SCENE = "scene"
#: What each measure says, for the evidence and the report; and whether more is better (None: neither).
MEASURES: dict[str, tuple[str, bool | None]] = {
    "samples": ("samples in the set", None),
    "cluster_coverage": ("share of the pool's clusters with a sample in the set", True),
    "neighbourhood_coverage": ("C(S): share of the pool with a sample of the set in its neighbourhood", True),
    "facility_location": ("F(S): mean similarity of the pool to the nearest sample of the set", True),
    "mean_pairwise_distance": ("D(S): mean cosine distance between two samples of the set", True),
    "vendi_score": ("effective number of different samples in the set", True),
    "cluster_entropy": ("entropy of the clusters in the set, bits", True),
    "distinct_1": ("different words / all words, on equally many samples", True),
    "distinct_2": ("different word pairs / all word pairs, on equally many samples", True),
    "distinct_3": ("different word triples / all word triples, on equally many samples", True),
    "near_duplicate_share": ("share of samples with another at a cosine similarity of 0.95 or more", False),
    "scene_coverage": ("share of the scenes with a sample in the set", True),
    "sample_coverage": ("weighted mean of min(1, n / n*) over the scenes, n* the samples wanted in the choice", True),
    "sample_coverage_covered": ("the same over the scenes that have a sample in the set", True),
    "outside_scenes": ("share of samples that belong to no scene", None),
    "near_duplicate_pairs": ("pairs in the set with a cosine similarity of 0.95 or more", False),
    "cluster_kl": ("KL divergence of the clusters in the set from those of the pool, bits", None),
    "cluster_js": ("JS divergence of the clusters in the set from those of the pool, 0 to 1", None),
    "embedding_js": ("JS divergence of the vectors in the set from those of the pool, 0 to 1", None),
    "token_kl": ("KL divergence of the words in the set from those of the pool, bits", None),
    "token_js": ("JS divergence of the words in the set from those of the pool, 0 to 1", None),
    "mean_quality": ("mean quality score", True),
    "noise": ("estimated share of defective samples: mean of the chance that the scores give each", False),
    "mean_answer_chars": ("mean length of the answers, characters", None),
    "median_answer_chars": ("median length of the answers, characters", None),
    "mean_prompt_chars": ("mean length of the prompts, characters", None),
}  # fmt: skip


def describe(measure: str) -> tuple[str, bool | None]:
    """What a measure says, and whether more is better (None: neither)."""
    kind, _, value = measure.partition(".")
    if kind == "language_share":
        return f"share of samples in the language {value}", None
    if kind == SCENE:
        return f"samples of the scene {value}", None
    return MEASURES[measure]


def measure_selection(
    pool: pl.DataFrame, vectors: np.ndarray, chosen: pl.Series, seed: int, taxonomy: Taxonomy = "clusters"
) -> pl.DataFrame:
    """Measures of the choice, of random choices of the same size, and of the pool.

    Parameters
    ----------
    pool
        record_id, cluster, to_neighbours, quality, prompt, answer, language: what was chosen from.
    vectors
        float32 [n, d], one a row of `pool`.
    chosen
        record_ids of the choice.
    taxonomy
        Scenes of which the coverage is measured (`scenes.scenes_of`, which says what columns it needs). Targets
        are those of the choice: what the pool's coverage lacks, no choice could have. Each scene has a row of
        its own, its target and weight in the evidence, but for clusters.

    Returns
    -------
    Rows of the table SelectionReport (without `run_id`), one a measure. `random` is the mean over five
    draws; the evidence has their range, and bootstrap intervals of the divergences of clusters. What cannot
    be measured (no texts, too many rows, no scenes) is null.
    """
    order = pool["record_id"].arg_sort()
    pool, unit = pool[order], exact_unit(vectors)[order.to_numpy()]
    mask = pool["record_id"].is_in(chosen.implode()).to_numpy()
    n, size = pool.height, int(mask.sum())
    draws = [np.zeros(n, dtype=bool) for _ in range(RANDOM_DRAWS)]
    for number, draw in enumerate(draws):
        draw[np.random.default_rng([seed, number]).permutation(n)[:size]] = True
    everything = np.ones(n, dtype=bool)
    scenes = scenes_of(pool, taxonomy)
    targets = scenes.targets(size, 1 - scenes.outside(everything))
    measured = _measurer(pool, unit, [mask, *draws, everything], size, seed)
    by_scene = taxonomy != "clusters"

    def measured_with_scenes(chosen: np.ndarray) -> dict[str, float | None]:
        return measured(chosen) | _scene_measures(scenes, targets, chosen, by_scene)

    selected, whole = measured_with_scenes(mask), measured_with_scenes(everything)
    randoms = [measured_with_scenes(draw) for draw in draws]
    drawn = {name: [one[name] for one in randoms if one[name] is not None] for name in selected}
    cluster = pool["cluster"].to_numpy()
    bounds = _divergence_intervals(cluster[mask], cluster, seed)
    aims = {f"{SCENE}.{name}": aim for name, *aim in zip(scenes.names, targets, scenes.weights, strict=True)}
    frame = pl.DataFrame(
        {
            "record_id": [digest("selection_report", name) for name in selected],
            "measure": list(selected),
            "selected": list(selected.values()),
            "random": [pl.Series(drawn[name], dtype=pl.Float64).mean() for name in selected],
            "pool": [whole[name] for name in selected],
            "low": [pl.Series(drawn[name], dtype=pl.Float64).min() for name in selected],
            "high": [pl.Series(drawn[name], dtype=pl.Float64).max() for name in selected],
            "selected_low": [bounds.get(name, (None, None))[0] for name in selected],
            "selected_high": [bounds.get(name, (None, None))[1] for name in selected],
            "target": [aims.get(name, (None, None))[0] for name in selected],
            "weight": [aims.get(name, (None, None))[1] for name in selected],
            "says": [describe(name)[0] for name in selected],
            "more_is_better": pl.Series([describe(name)[1] for name in selected], dtype=pl.Boolean),
        },
        schema_overrides=dict.fromkeys(
            (
                "selected",
                "random",
                "pool",
                "low",
                "high",
                "selected_low",
                "selected_high",
                "target",
                "weight",
            ),
            pl.Float64,
        ),
    ).with_columns(pl.col(pl.Float64).round(9))
    noted = {"random_draws": RANDOM_DRAWS, "seed": seed, "samples": size, "pool_samples": n}
    return verdicts.judge(
        frame,
        [],
        says=pl.col("says"),
        more_is_better=pl.col("more_is_better"),
        random_low=pl.col("low"),
        random_high=pl.col("high"),
        selected_low=pl.col("selected_low"),
        selected_high=pl.col("selected_high"),
        target=pl.col("target"),
        weight=pl.col("weight"),
        **noted,
    ).drop("low", "high", "selected_low", "selected_high", "target", "weight", "says", "more_is_better")


def _scene_measures(
    scenes: Scenes, targets: np.ndarray, chosen: np.ndarray, by_scene: bool
) -> dict[str, float | None]:
    """Coverage of the scenes by a set (a mask), and, where wanted, the samples of each."""
    counts = scenes.counts(chosen)
    covered = scene_coverage(counts, targets, scenes.weights) if len(counts) and chosen.any() else None
    found: dict[str, float | None] = {
        "scene_coverage": covered.scenes if covered else None,
        "sample_coverage": covered.samples if covered else None,
        "sample_coverage_covered": covered.samples_covered if covered else None,
        "outside_scenes": scenes.outside(chosen),
    }
    if by_scene:
        found |= {f"{SCENE}.{name}": float(count) for name, count in zip(scenes.names, counts, strict=True)}
    return found


def _divergence_intervals(
    chosen: np.ndarray, cluster: np.ndarray, seed: int
) -> dict[str, tuple[float, float]]:
    """95 % bootstrap intervals of the divergences of clusters, by name."""
    if not len(chosen):
        return {}
    whole = np.bincount(cluster)

    def of(divergence: Callable[[np.ndarray, np.ndarray], float]) -> tuple[float, float]:
        return interval(
            lambda rows: divergence(np.bincount(chosen[rows], minlength=len(whole)), whole), len(chosen), seed
        )

    return {"cluster_kl": of(kl_divergence), "cluster_js": of(js_divergence)}


def _measurer(
    pool: pl.DataFrame, unit: np.ndarray, sets: list[np.ndarray], size: int, seed: int
) -> Callable[[np.ndarray], dict[str, float | None]]:
    """A function from a set (a mask) to its measures; what all sets share is worked out once."""
    cluster = pool["cluster"].to_numpy()
    to_neighbours = pool["to_neighbours"].to_numpy()
    whole_clusters = np.bincount(cluster) if len(cluster) else np.empty(0, dtype=np.int64)
    lengths = {
        f"{part}_chars": pool[part].str.len_chars().fill_null(0).to_numpy() for part in ("prompt", "answer")
    }
    tokens = _token_rows(sets, min(size, _TOKEN_ROWS), seed)
    texts = pool.select(pl.concat_str("prompt", pl.lit("\n"), "answer", ignore_nulls=True)).to_series()
    words = Words.of(texts, np.unique(np.concatenate(list(tokens.values()))))
    whole_words = words.among(tokens[_key(sets[-1])]).counts()
    reference = np.sort(np.random.default_rng([seed, 17]).permutation(len(unit))[:_REFERENCE_ROWS])
    languages = sorted(pool["language"].drop_nulls().unique()) if "language" in pool.columns else []

    def measured(chosen: np.ndarray) -> dict[str, float | None]:
        count, rows = int(chosen.sum()), unit[chosen]
        clusters = np.bincount(cluster[chosen], minlength=len(whole_clusters))
        nearest = nearest_chosen(unit, chosen) if count < len(unit) else np.ones(len(unit))
        own = words.among(tokens[_key(chosen)])
        part = pool.filter(pl.Series(chosen))
        values: dict[str, float | None] = {
            "samples": count,
            "cluster_coverage": cluster_coverage(cluster, chosen),
            "neighbourhood_coverage": neighbourhood_coverage(nearest, to_neighbours),
            "facility_location": facility_location(nearest),
            "mean_pairwise_distance": mean_pairwise_distance(rows),
            "vendi_score": vendi_score(rows),
            "cluster_entropy": entropy(clusters),
            "distinct_1": own.distinct(1),
            "distinct_2": own.distinct(2),
            "distinct_3": own.distinct(3),
            "near_duplicate_pairs": near_duplicates(rows) if count <= _PAIR_ROWS else None,
            "near_duplicate_share": near_duplicate_share(rows) if count <= _PAIR_ROWS else None,
            "cluster_kl": kl_divergence(clusters, whole_clusters),
            "cluster_js": js_divergence(clusters, whole_clusters),
            "embedding_js": embedding_js(rows[: len(reference)], unit[reference], seed=seed),
            "token_kl": kl_divergence(own.counts(), whole_words),
            "token_js": js_divergence(own.counts(), whole_words),
            "mean_quality": _mean(part["quality"]),
            "noise": _mean(part["noise"]) if "noise" in part.columns else None,
            "mean_answer_chars": _mean(pl.Series(lengths["answer_chars"][chosen])),
            "median_answer_chars": float(np.median(lengths["answer_chars"][chosen])) if count else None,
            "mean_prompt_chars": _mean(pl.Series(lengths["prompt_chars"][chosen])),
        }
        for language in languages:
            values[f"language_share.{language}"] = _mean((part["language"] == language).cast(pl.Float64))
        return values

    return measured


def _key(mask: np.ndarray) -> bytes:
    return mask.tobytes()


def _token_rows(sets: list[np.ndarray], size: int, seed: int) -> Mapping[bytes, np.ndarray]:
    """Rows of each set whose words are counted: all sets are cut to the same number, with the seed."""
    chosen = {}
    for mask in sets:
        rows = np.flatnonzero(mask)
        chosen[_key(mask)] = np.sort(np.random.default_rng([seed, 7]).permutation(rows)[:size])
    return chosen


def _mean(values: pl.Series) -> float | None:
    mean = values.cast(pl.Float64).mean()
    return None if mean is None else float(mean)  # type: ignore[arg-type]
