"""The two-dimensional map of the vectors (UMAP), and the places of images that join it."""

import numpy as np
from numpy.typing import NDArray

from mincurate.ranking.neighbors import NEIGHBORS
from mincurate.ranking.numba_code import calls_of

MAP_MIN_IMAGES = 30
"""Fewer images than this are mapped by PCA: UMAP's neighbourhoods would hold nearly all of them."""
MAP_LANDMARKS = 50_000
"""Above this many images UMAP maps a random sample of this size, and the others join it."""
MAP_DIMENSIONS = 50
"""Principal components that UMAP uses above `MAP_LANDMARKS` images."""
MAP_CHUNK = 20_000
"""Images that join such a map at once."""


def fit_map(vectors: NDArray[np.float32], seed: int) -> tuple[NDArray[np.float32], str]:
    """A two-dimensional map ``(N, 2)`` of ``(N, d)`` vectors, and the method.

    Memory, besides the vectors, is that for `MAP_LANDMARKS` of them, however many there are.

    Returns:
        The points, and ``umap``, or ``pca`` for fewer than `MAP_MIN_IMAGES` vectors, or ``none``
        (points are NaN) for fewer than three.
    """
    n = len(vectors)
    if n < 3:
        return np.full((n, 2), np.nan, dtype=np.float32), "none"
    if n < MAP_MIN_IMAGES:
        from sklearn.decomposition import PCA

        return PCA(n_components=2, random_state=seed).fit_transform(vectors).astype("f4"), "pca"
    return (_umap if n <= MAP_LANDMARKS else _landmark_map)(vectors, seed), "umap"


def _landmark_map(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """UMAP of a random sample, reduced by PCA, which the other vectors then join in chunks."""
    from sklearn.decomposition import PCA

    n = len(vectors)
    picks = np.sort(np.random.default_rng(seed).choice(n, MAP_LANDMARKS, replace=False))
    pca = PCA(min(MAP_DIMENSIONS, vectors.shape[1]), random_state=seed)
    landmarks = pca.fit_transform(vectors[picks]).astype(np.float32)
    points = np.empty((n, 2), np.float32)
    points[picks] = fitted = _umap(landmarks, seed)
    others = np.setdiff1d(np.arange(n), picks, assume_unique=True)
    for start in range(0, len(others), MAP_CHUNK):
        chunk = others[start : start + MAP_CHUNK]
        joining = pca.transform(vectors[chunk]).astype(np.float32)
        points[chunk] = join_map(joining, landmarks, fitted)
    return points


def _umap(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    with calls_of("umap", "pynndescent"):
        from umap import UMAP

        points = UMAP(n_neighbors=15, min_dist=0.1, random_state=seed).fit_transform(vectors)
    return points.astype(np.float32)


def join_map(
    new: NDArray[np.float32], vectors: NDArray[np.float32], points: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Place ``new`` vectors ``(M, d)`` on a fitted map: vectors ``(N, d)`` at points ``(N, 2)``.

    Each goes to the mean of its nearest neighbours' points, weighted by inverse distance, which is
    where UMAP's own transform starts. An image that is on the map already lands on its own point.
    """
    from sklearn.neighbors import KNeighborsRegressor

    k = min(NEIGHBORS, len(vectors))
    regressor = KNeighborsRegressor(n_neighbors=k, weights="distance").fit(vectors, points)
    return regressor.predict(new).astype(np.float32)
