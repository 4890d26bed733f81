"""Nearest neighbours among vectors, and AvgkNN: the mean distance to the k nearest."""

import numpy as np
from numpy.typing import NDArray

from mincurate.ranking.numba_code import calls_of

NEIGHBORS = 5
"""k of AvgkNN."""
EXACT_NEIGHBORS_LIMIT = 50_000
"""Above this many vectors neighbours are searched approximately (NN-descent)."""
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
    # A wider search than asked for: with k neighbours alone it misses some of the nearest.
    wide = max(k + 1, 20)
    with calls_of("pynndescent"):
        from pynndescent import NNDescent

        rows, distances = NNDescent(vectors, n_neighbors=wide, random_state=0).neighbor_graph
    return distances[:, 1 : k + 1].astype(np.float64), rows[:, 1 : k + 1].astype(np.int64)


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
