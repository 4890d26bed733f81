"""A first page for a review: the rarest image of every kind, in place of forty of one kind."""

import numpy as np
from numpy.typing import NDArray

PAGE = 40
"""Images of a page."""
AXES = 16
"""Principal components in which images are compared (`benchmarks/review.py`)."""


def diverse(vectors: NDArray[np.float32], size: int = PAGE) -> NDArray[np.int64]:
    """Rows of different images, the rarest first: the rarest of as many clusters (k-means).

    Args:
        vectors: ``(N, d)``, of the candidates, the rarest first.
        size: rows to return, at most.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    count = len(vectors)
    if count <= size:
        return np.arange(count)
    places = PCA(min(AXES, *vectors.shape), random_state=0).fit_transform(vectors)
    kinds = KMeans(size, n_init=1, random_state=0).fit_predict(places)
    _, rarest = np.unique(kinds, return_index=True)
    return np.sort(rarest)
