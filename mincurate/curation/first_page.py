"""A first page for a review: the rarest images, each of another kind as far as there are kinds."""

import numpy as np
from numpy.typing import NDArray

PAGE = 40
"""Images of a page."""
AXES = 16
"""Principal components in which images are compared."""
LEAST = 0.1
"""Weight of the commonest candidate, where the rarest has 1."""


def diverse(vectors: NDArray[np.float32], size: int = PAGE) -> NDArray[np.int64]:
    """Rows of different images, the rarest first.

    Farthest-first traversal (Gonzalez, "Clustering to minimize the maximum intercluster distance",
    1985): the next image is the one farthest from all those chosen, and here distances count less
    the commoner an image is.

    Args:
        vectors: ``(N, d)``, of the candidates, the rarest first.
        size: rows to return, at most.
    """
    from sklearn.decomposition import PCA

    count = len(vectors)
    if count <= size:
        return np.arange(count)
    axes = min(AXES, *vectors.shape)
    places = PCA(axes, random_state=0).fit_transform(vectors)
    weights = np.linspace(1, LEAST, count)
    chosen = [0]
    squares = np.full(count, np.inf)
    while len(chosen) < size:
        squares = np.minimum(squares, ((places - places[chosen[-1]]) ** 2).sum(1))
        chosen.append(int((squares * weights).argmax()))
    return np.sort(np.array(chosen, np.int64))
