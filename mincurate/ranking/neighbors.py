"""Nearest neighbours among vectors, and AvgkNN: the mean distance to the k nearest."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from mincurate.ranking import outliers

NEIGHBORS = 5
"""k of AvgkNN."""
EXACT_NEIGHBORS_LIMIT = 50_000
"""Above this many vectors neighbours are searched approximately, in cells."""
OF_A_CELL = 200
"""Vectors of a cell, on average."""
PROBES = 40
"""Cells in which the neighbours of a vector are sought."""
Distances = NDArray[np.float64]
Rows = NDArray[np.int64]


def nearest(
    among: NDArray[np.float32], vectors: NDArray[np.float32] | None = None, k: int = 1
) -> tuple[Distances, Rows]:
    """Euclidean distances to the ``k`` nearest and their rows, ``(M, k)`` each, nearest first.

    Exact, by brute force. Memory is that of the result and a few MiB.

    Args:
        among: ``(N, d)``, the vectors that are searched; at least ``k``.
        vectors: ``(M, d)``; None for each of ``among`` among the others, which takes ``k + 1``.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(among)
    distances, rows = search.kneighbors(vectors)
    return distances.astype(np.float64), rows


def neighbors(vectors: NDArray[np.float32], k: int = NEIGHBORS) -> tuple[Distances, Rows]:
    """Distances to every vector's nearest others and their rows, ``(N, k')`` each, nearest first.

    Args:
        vectors: ``(N, d)``.
        k: neighbours; ``k' = min(k, N - 1)``.
    """
    n = len(vectors)
    k = min(k, n - 1)
    if k < 1:
        return np.zeros((n, 0)), np.zeros((n, 0), dtype=np.int64)
    if n > EXACT_NEIGHBORS_LIMIT:
        return _approximate(vectors, k)
    return nearest(vectors, k=k)


def _approximate(vectors: NDArray[np.float32], k: int) -> tuple[Distances, Rows]:
    """Each vector is compared with those of the `PROBES` cells of a k-means that are nearest to it.

    How many of the nearest it finds stands in docs/results/speed.md; nothing is compiled for it.
    """
    members, probing = _cells(vectors)
    distances, rows = np.full((len(vectors), k), np.inf), np.full((len(vectors), k), -1)
    with outliers.one_core_each(), ThreadPoolExecutor(outliers.THREADS) as pool:
        searches = pool.map(partial(_search, vectors, k), members, probing)
        for own, far, index in chain.from_iterable(searches):
            far = np.concatenate([distances[own], far], axis=1)
            index = np.concatenate([rows[own], index], axis=1)
            order = far.argsort(axis=1)[:, :k]
            distances[own] = np.take_along_axis(far, order, axis=1)
            rows[own] = np.take_along_axis(index, order, axis=1)
    lone = np.flatnonzero(np.isinf(distances[:, -1]))  # their cells hold too few others
    if len(lone):
        far, index = nearest(vectors, vectors[lone], k + 1)
        others = np.argsort(index == lone[:, None], axis=1, kind="stable")[:, :k]
        distances[lone] = np.take_along_axis(far, others, axis=1)
        rows[lone] = np.take_along_axis(index, others, axis=1)
    return distances, rows


def _search(
    vectors: NDArray[np.float32], k: int, members: Rows, probing: Rows
) -> list[tuple[Rows, Distances, Rows]]:
    """The ``k`` nearest members of a cell, or all, of the vectors that probe it, in parts."""
    among, squares = vectors[members], outliers.squared_lengths(vectors[members])
    results = []
    for start in range(0, len(probing) if len(members) else 0, outliers.CHUNK):
        own = probing[start : start + outliers.CHUNK]
        place = np.minimum(np.searchsorted(members, own), len(members) - 1)
        place[members[place] != own] = -1
        found = outliers.nearest(vectors[own], among, squares, place, min(k, len(members)))
        results.append((own, found[0], members[found[1]]))
    return results


def _cells(vectors: NDArray[np.float32]) -> tuple[list[Rows], list[Rows]]:
    """Of every cell its members, ascending, and the rows of the vectors that probe it."""
    from sklearn.cluster import KMeans

    count = max(1, len(vectors) // OF_A_CELL)
    sample = np.random.default_rng(0).choice(len(vectors), min(len(vectors), 32 * count), False)
    fitted = KMeans(count, init="random", n_init=1, max_iter=8, random_state=0).fit(vectors[sample])
    probed = nearest(fitted.cluster_centers_, vectors, min(PROBES, count))[1]
    edges = np.arange(1, count)

    def by_cell(cells: Rows) -> list[Rows]:
        order = np.argsort(cells, kind="stable")
        return np.split(order, np.searchsorted(cells[order], edges))

    members = [rows[: 10 * OF_A_CELL] for rows in by_cell(probed[:, 0])]
    return members, [rows // probed.shape[1] for rows in by_cell(probed.ravel())]


def neighbor_distance(vectors: NDArray[np.float32], k: int = NEIGHBORS) -> Distances:
    """AvgkNN, ``(N,)``: mean Euclidean distance to the k nearest other vectors; higher is rarer.

    NaN where there is no other vector.

    Args:
        vectors: ``(N, d)``.
        k: neighbours.
    """
    return mean_distance(neighbors(vectors, k)[0], k)


def mean_distance(distances: Distances, k: int = NEIGHBORS) -> Distances:
    """`neighbor_distance` of the distances ``(N, k')`` that `neighbors` gives, nearest first."""
    nearest = distances[:, :k]
    return nearest.mean(axis=1) if nearest.shape[1] else np.full(len(nearest), np.nan)
