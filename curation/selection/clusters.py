"""Cluster and neighbour structure of the pool.

Belongs here: the cluster of each sample, the terms that name it, the density around a sample.
Does not belong here: training centres (`kmeans`), other ways to cluster (`groupings`), searching (`curation.indexes`), and what a cluster's size or a sample's density does to its weight (`weights`).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl

from curation import indexes, verdicts
from curation.selection import groupings, kmeans, weights
from curation.selection.geometry import exact_unit, has_direction
from curation.settings import SelectionSettings
from curation.vectors import DECIMALS

#: A cluster is named from the texts nearest to its centre: so many of them, so many characters each.
_NAMED_FROM, _NAMED_CHARS = 200, 400
_TERMS = 6
_STOP_WORDS = """
一个 一些 一下 一种 一样 一般 一定 一直 一起 上述 下列 下面 不会 不同 不是 不能 不要 与其 之一 之后 之间 之前 也是 了解 什么 他们 以上 以下
以及 任何 但是 作为 你们 使用 例如 依据 便于 其中 其他 其它 具有 写出 分别 列出 利用 包含 包括 即可 却是 原因 参考 另外 只是 只有 可能 可以
各种 同时 后来 否则 哪个 哪些 哪里 因为 因此 回答 在于 基于 多少 大家 如下 如何 如果 它们 完成 对于 将会 尽管 就是 已经 并且 并不 建议 应该 应当 开始 当然
很多 怎么 怎样 总之 您好 感谢 我们 或者 所以 所有 所示 才能 找到 按照 提供 提出 整个 文本 文章 方面 方式 无法 是否 更多 更加 最后 最终 有些 有关 有助于
根据 正在 正确 每个 比如 没有 注意 然后 然而 生成 由于 的话 目前 直接 相关 看到 知道 确保 示例 称为 第一 第二 第三 等等 答案 给出 给定 结果 编写 而且
而是 能够 自己 至于 虽然 表示 要求 解释 认为 许多 请问 谢谢 起来 足够 还有 还是 这个 这些 这样 这种 进行 选择 选项 通过 那么 那个 那些 都是 重要 问题
除了 随着 需要 非常 首先 其次 帮助 创建 描述 以便 简要 简单 句子 指令 输入 输出 任务 下文 原文 上文
about above after also and answer any are because been before being below between both but can could did does doing
down during each few following for from further given had has have having her here him his how instruction into
its itself just more most not now off once only other our out output over own please question same she should
some such text than that the their them then there these they this those through too under until use using very
was were what when where which while who whom why will with write would you your yes
"""
#: Words that say nothing about a subject: function words, and the phrases of instructions and answers.
STOP_WORDS = frozenset(_STOP_WORDS.split())


def cluster_count(rows: int, settings: SelectionSettings) -> int:
    """Number of clusters for so many rows: as set, else the square root; never more than rows."""
    return max(1, min(rows, settings.clusters or round(math.sqrt(rows)))) if rows else 0


def cluster_samples(
    ids: pl.Series, vectors: np.ndarray, texts: pl.Series, settings: SelectionSettings, seed: int
) -> pl.DataFrame:
    """Every sample's cluster, with the terms that name it, and how dense it is around the sample.

    Parameters
    ----------
    ids, texts
        n record ids (distinct) and texts.
    vectors
        float32 [n, d]; scaled to unit length here. Rows of zeros form a last cluster of their own.

    Returns
    -------
    Rows of the table Clusters (without `run_id`), sorted by record_id: the order of the input does
    not matter. Clusters are numbered from 0 by falling size.
    """
    order = ids.arg_sort()
    ids, texts, unit = ids.gather(order), texts.gather(order), exact_unit(vectors)[order.to_numpy()]
    near = indexes.neighbours(
        unit, max(0, min(settings.neighbours, len(unit) - 1)), settings.exact_neighbours, seed=seed
    )
    to_neighbours = indexes.mean_similarity(near.similarity, near.index)
    cluster, to_centre, fits = grouped(unit, near, settings, seed)
    rows = pl.DataFrame(
        {
            "record_id": ids.cast(pl.String),
            "cluster": pl.Series(cluster, dtype=pl.Int32),
            "to_centre": pl.Series(to_centre, dtype=pl.Float64),
            "to_neighbours": pl.Series(to_neighbours, dtype=pl.Float64),
            "fits": pl.Series(fits & fits_somewhere(to_neighbours), dtype=pl.Boolean),
            "covers": pl.Series(covers(near.similarity, near.index, to_neighbours), dtype=pl.UInt32),
        }
    )
    terms = cluster_terms(rows["cluster"], rows["to_centre"], texts)
    named = rows.join(terms, on="cluster", how="left", maintain_order="left").with_columns(
        pl.col("terms").fill_null("")
    )
    return verdicts.judge(
        named,
        [],
        cluster_size=pl.len().over("cluster"),
        clusters=rows["cluster"].n_unique(),
        cluster_method=settings.cluster_method,
        neighbours=near.index.shape[1],
        neighbour_search=near.method,
        neighbour_correlation=near.agreement,
        has_vector=pl.Series(has_direction(unit)),
        seed=seed,
    )


def covers(similarity: np.ndarray, index: np.ndarray, to_neighbours: np.ndarray) -> np.ndarray:
    """How many rows each row would stand for: those x with cos(x, row) >= r(x), int64 [n].

    r(x) is the mean similarity of x to its nearest neighbours, the radius of the measure C(S); `similarity`
    and `index` [n, k] are these neighbours. A row that nobody has near, as what is broken, stands for none.
    """
    near = (index >= 0) & (similarity >= to_neighbours[:, None] - 1e-6)
    return np.bincount(index[near], minlength=len(index))


def describe(
    table: pl.DataFrame, ids: pl.Series, vectors: np.ndarray, settings: SelectionSettings, seed: int
) -> dict[str, float]:
    """Measures of a clustering (`groupings.measures`), and its agreement with k-means where it is another.

    `ids` are those of the `vectors`, in any order.
    """
    unit = exact_unit(vectors)[ids.arg_sort().to_numpy()]
    rows = table.sort("record_id")
    cluster = rows["cluster"].to_numpy()
    found = groupings.measures(unit, cluster, rows["to_centre"].to_numpy(), seed)
    if settings.cluster_method != "kmeans":
        plain, _ = spherical_kmeans(unit, cluster_count(len(unit), settings), seed)
        found["agreement_with_kmeans"] = groupings.agreement(cluster, plain)
    return found | {"fit_nowhere": float((~rows["fits"]).sum())}


def spherical_kmeans(unit: np.ndarray, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Clusters of unit vectors by the angle between them.

    Centres are trained on a seeded sample of at most 256 rows a cluster (`kmeans.train`); then every
    row goes to its most similar centre. Neither threads nor machines change the result.

    Parameters
    ----------
    unit
        float32 [n, d], unit rows on the grid; rows of zeros are left out and form the last cluster.

    Returns
    -------
    cluster int32 [n], numbered by falling size (ties: by the first row), and the cosine similarity
    to the cluster's centre, float64 [n] (0 for rows of zeros).
    """
    cluster, similarity = np.zeros(len(unit), dtype=np.int32), np.zeros(len(unit))
    known = np.flatnonzero(has_direction(unit))
    if len(known):
        points = unit[known]
        nearest, near = kmeans.assign(points, kmeans.train(points, min(k, len(points)), seed))
        cluster[:], similarity[known] = _numbered(nearest, known, len(unit)), near
    return cluster, similarity


def _numbered(group: np.ndarray, known: np.ndarray, rows: int) -> np.ndarray:
    """Groups of the `known` rows numbered by falling size (ties: by the first row); the others come last."""
    numbers, first, inverse, size = np.unique(
        group, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(numbers), dtype=np.int32)
    rank[np.lexsort((first, -size))] = np.arange(len(numbers), dtype=np.int32)
    cluster = np.full(rows, len(numbers), dtype=np.int32)
    cluster[known] = rank[inverse]
    return cluster


def grouped(
    unit: np.ndarray, near: indexes.Found, settings: SelectionSettings, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clusters of unit vectors by the method that is set (`groupings`).

    Parameters
    ----------
    unit
        float32 [n, d], unit rows on the grid; rows of zeros form the last cluster.
    near
        Their nearest neighbours.

    Returns
    -------
    cluster int32 [n], numbered by falling size; cosine similarity to the cluster's centre, float64 [n];
    and whether the method found a place for the row, bool [n] (if not, its cluster is the one of the
    nearest centre).
    """
    k = cluster_count(len(unit), settings)
    known = np.flatnonzero(has_direction(unit))
    fits = has_direction(unit)
    if settings.cluster_method == "kmeans" or not len(known):
        return *spherical_kmeans(unit, k, seed), fits
    points = unit[known]
    group = groupings.GROUPINGS[settings.cluster_method](
        points, min(k, len(known)), _among(near, known), seed
    )
    placed = group >= 0
    fits[known[~placed]] = False
    if not placed.any():
        group, placed = np.zeros(len(group), dtype=np.int64), np.ones(len(group), dtype=bool)
    numbers, own = np.unique(group[placed], return_inverse=True)
    centres = exact_unit(weights.cluster_sums(points[placed], own))
    group = group.copy()
    if not placed.all():
        group[~placed] = numbers[kmeans.assign(points[~placed], centres)[0]]
    own = np.searchsorted(numbers, group)
    to_centre = np.zeros(len(unit))
    to_centre[known] = np.einsum("ij,ij->i", points, centres[own], dtype=np.float64).round(DECIMALS)
    return _numbered(group, known, len(unit)), to_centre, fits


def _among(near: indexes.Found, known: np.ndarray) -> indexes.Found:
    """The neighbours of some of the rows, named by their places among these."""
    if len(known) == len(near.index):
        return near
    place = np.full(len(near.index) + 1, -1, dtype=np.int64)  # the last stands for no row
    place[known] = np.arange(len(known))
    return replace(near, similarity=near.similarity[known], index=place[near.index[known]])


def fits_somewhere(to_neighbours: np.ndarray) -> np.ndarray:
    """Which rows are not far from everything; bool [n].

    Not those whose mean similarity to their neighbours lies below q1 - 1.5 (q3 - q1) (Tukey's fence).
    """
    if not len(to_neighbours):
        return np.zeros(0, dtype=bool)
    low, high = np.quantile(to_neighbours, [0.25, 0.75])
    return np.asarray(to_neighbours >= low - 1.5 * (high - low))


def cluster_terms(cluster: pl.Series, to_centre: pl.Series, texts: pl.Series) -> pl.DataFrame:
    """Terms that set each cluster apart: columns `cluster`, `terms` (best first, joined by spaces).

    Class-based TF-IDF (Grootendorst, 2022, "BERTopic"), on texts in place of occurrences, so that one
    text that repeats itself does not name a cluster: p(w, c) * ln(1 + 1 / f(w)), where p is the share
    of the texts of cluster c that hold word w, and f the sum of these shares over all clusters. Words
    are cut by jieba; single characters, numbers and stop words are left out, and so are words of one
    text only where the cluster has more than four.
    """
    import rjieba

    nearest = (
        pl.DataFrame({"cluster": cluster, "to_centre": to_centre, "text": texts})
        .with_row_index()
        .filter(pl.struct(-pl.col("to_centre"), "index").rank("ordinal").over("cluster") <= _NAMED_FROM)
        .select(
            "index",
            "cluster",
            pl.len().over("cluster").alias("texts"),
            pl.col("text").fill_null("").str.slice(0, _NAMED_CHARS).str.to_lowercase(),
        )
    )
    cut = [list(set(rjieba.cut(text))) for text in nearest["text"]]
    words = (
        nearest.select("cluster", "texts", pl.Series("word", cut, dtype=pl.List(pl.String)))
        .explode("word")
        .filter(
            pl.col("word").str.contains(r"^[\p{L}\p{N}+#.-]{2,20}$")
            & ~pl.col("word").str.contains(r"^[\p{N}.-]|[.-]$")
            & ~pl.col("word").is_in(sorted(STOP_WORDS))
        )
        .group_by("cluster", "texts", "word")
        .len("count")
        .filter((pl.col("count") > 1) | (pl.col("texts") <= 4))
        .sort("cluster", "word")
    )
    return (
        words.with_columns(share=pl.col("count") / pl.col("texts"))
        .with_columns(score=(pl.col("share") * (1 + 1 / pl.col("share").sum().over("word")).log()).round(9))
        .sort("cluster", "score", "word", descending=[False, True, False])
        .group_by("cluster", maintain_order=True)
        .agg(pl.col("word").head(_TERMS).str.join(" ").alias("terms"))
    )
