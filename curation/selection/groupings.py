"""Ways to group unit vectors, behind one interface.

Belongs here: the registry of clustering methods and the measures of what they find. Does not belong here:
the table of clusters and its terms (`clusters`) and spherical k-means itself (`kmeans`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from curation import indexes
from curation.selection import greedy, kmeans, sampling
from curation.selection.geometry import exact_unit
from curation.settings import ClusterMethod

#: A method takes unit vectors on the grid (none all zeros), the wanted number of groups, the neighbours
#: of each row, and a seed; it gives each row's group, int64 [n], -1 for a row that fits into none.
Grouping = Callable[[np.ndarray, int, indexes.Found, int], np.ndarray]

#: Rows that HDBSCAN looks at, and the principal coordinates that it sees them in.
_HDBSCAN_ROWS, _HDBSCAN_DIMENSIONS = 20_000, 16
_BATCH = 4_096
_HALVINGS = 7
_SILHOUETTE_ROWS = 2_000


def by_kmeans(unit: np.ndarray, k: int, _: indexes.Found, seed: int) -> np.ndarray:
    """Spherical k-means (`kmeans.train`)."""
    return kmeans.assign(unit, kmeans.train(unit, k, seed))[0]


def by_mini_batch(unit: np.ndarray, k: int, _: indexes.Found, seed: int) -> np.ndarray:
    """Mini-batch k-means (Sculley, 2010; scikit-learn), on one thread so that it is always the same."""
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        model = MiniBatchKMeans(k, batch_size=_BATCH, n_init=1, random_state=seed).fit(unit)
    return kmeans.assign(unit, exact_unit(model.cluster_centers_))[0]


def by_communities(unit: np.ndarray, k: int, near: indexes.Found, seed: int) -> np.ndarray:
    """Communities of the graph of nearest neighbours (Louvain: Blondel et al., 2008; networkx).

    Their number comes from the graph: `k` is not looked at.
    """
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(len(unit)))
    rows, places = np.nonzero((near.index >= 0) & (near.similarity > 0))
    ends, weights = near.index[rows, places].tolist(), near.similarity[rows, places].tolist()
    graph.add_weighted_edges_from(zip(rows.tolist(), ends, weights, strict=True))
    group = np.empty(len(unit), dtype=np.int64)
    for number, members in enumerate(networkx.community.louvain_communities(graph, seed=seed)):
        group[list(members)] = number
    return group


def by_one_pass(unit: np.ndarray, k: int, _: indexes.Found, seed: int) -> np.ndarray:
    """The leader algorithm (Hartigan, 1975): a row far from all leaders is one; each joins the nearest.

    The radius is the largest, to within 1/128, that gives `k` leaders.
    """
    order, low, high = np.random.default_rng(seed).permutation(len(unit)), 0.0, 1.0
    for _round in range(_HALVINGS):
        middle = (low + high) / 2
        enough = sampling.accept_apart(order, unit, k, middle)[0].sum() >= k
        low, high = (low, middle) if enough else (middle, high)
    leaders = sampling.accept_apart(order, unit, k, high)[0]
    return kmeans.assign(unit, unit[leaders])[0]


def by_k_center(unit: np.ndarray, k: int, _: indexes.Found, seed: int) -> np.ndarray:
    """Each row joins the nearest of `k` rows that K-Center-Greedy takes."""
    return kmeans.assign(unit, unit[np.sort(greedy.k_center_greedy(unit, k, seed)[0])])[0]


def by_hdbscan(unit: np.ndarray, k: int, _: indexes.Found, seed: int) -> np.ndarray:
    """Dense regions of any shape (HDBSCAN: Campello et al., 2013; scikit-learn); the rest fits nowhere.

    In 16 principal coordinates, on a seeded sample of 20,000 rows; in larger pools every other row joins
    the nearest row of the sample. A region has at least n / (10 k) rows, and no fewer than 5.
    """
    from sklearn.cluster import HDBSCAN
    from sklearn.decomposition import PCA

    some = np.sort(np.random.default_rng(seed).permutation(len(unit))[:_HDBSCAN_ROWS])
    least = max(5, len(some) // (10 * k))
    if len(some) <= least:
        return np.zeros(len(unit), dtype=np.int64)
    size = min(_HDBSCAN_DIMENSIONS, unit.shape[1], len(some))
    points = PCA(size, random_state=seed, svd_solver="full").fit_transform(unit[some].astype(np.float64))
    found = HDBSCAN(min_cluster_size=least, copy=True).fit_predict(points).astype(np.int64)
    if len(some) == len(unit):
        return found
    return found[kmeans.assign(unit, unit[some])[0]]


GROUPINGS: dict[ClusterMethod, Grouping] = {
    "kmeans": by_kmeans,
    "mini_batch": by_mini_batch,
    "communities": by_communities,
    "one_pass": by_one_pass,
    "kcenter": by_k_center,
    "hdbscan": by_hdbscan,
}


def measures(unit: np.ndarray, cluster: np.ndarray, to_centre: np.ndarray, seed: int) -> dict[str, float]:
    """How good a clustering is, in itself.

    Returns
    -------
    dict
        clusters; smallest, largest (rows of a cluster); inertia: sum of 1 - cosine to the centre; silhouette:
        mean of (b - a) / max(a, b) over a seeded sample of 2,000 rows, a and b the mean cosine distance to
        the own and to the nearest other cluster of the sample (Rousseeuw, 1987; 0 where there is one only).
    """
    from sklearn.metrics import silhouette_score

    sizes = np.bincount(cluster)
    sizes = sizes[sizes > 0]
    some = np.sort(np.random.default_rng(seed).permutation(len(unit))[:_SILHOUETTE_ROWS])
    several = 1 < len(np.unique(cluster[some])) < len(some)
    silhouette = silhouette_score(unit[some], cluster[some], metric="cosine") if several else 0.0
    return {
        "clusters": float(len(sizes)),
        "smallest": float(sizes.min(initial=len(unit))),
        "largest": float(sizes.max(initial=0)),
        "inertia": float((1 - to_centre).sum()),
        "silhouette": float(silhouette),
    }


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Adjusted Rand index of two clusterings of the same rows: 1 the same, 0 as by chance (Hubert and Arabie, 1985)."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(one, other))
