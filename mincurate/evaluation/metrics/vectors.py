"""Sets of feature vectors as the metrics take them: checked, and compared a piece at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mincurate.errors import UserError

PIECE = 32
"""MiB of distances held at once; temporary copies take as much again, a few times."""
Vectors = NDArray[np.float32]
Values = NDArray[np.float64]


def as_vectors(features: ArrayLike, name: str) -> Vectors:
    """Features as float32.

    Raises:
        ValueError: they are not ``(n, d)`` and finite; the message has ``name``.
    """
    vectors = np.ascontiguousarray(features, dtype=np.float32)
    if vectors.ndim != 2:
        raise ValueError(f"{name} features must be (n, d), not {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise ValueError(f"{name} features hold numbers that are not finite")
    return vectors


def check(
    real: ArrayLike, generated: ArrayLike | None, neighbors: int
) -> tuple[Vectors, Vectors | None]:
    """Real and generated features as float32; None for the real images among themselves.

    Raises:
        UserError: there are not ``neighbors`` others for every real image, or no generated images.
        ValueError: features that are not finite, or of different dimensions.
    """
    if generated is not None:
        return check_both(real, generated, neighbors)
    real_vectors = as_vectors(real, "real")
    if len(real_vectors) <= neighbors:
        raise UserError(
            f"{len(real_vectors)} images are too few to judge by; at least {neighbors + 1} are "
            "needed."
        )
    return real_vectors, None


def check_both(real: ArrayLike, generated: ArrayLike, neighbors: int) -> tuple[Vectors, Vectors]:
    """As `check`, with generated features."""
    real_vectors, _ = check(real, None, neighbors)
    vectors = as_vectors(generated, "generated")
    if vectors.shape[1] != real_vectors.shape[1]:
        raise ValueError(
            f"features of {real_vectors.shape[1]} and {vectors.shape[1]} dimensions do not mix"
        )
    if len(vectors) == 0:
        raise UserError("There are no images to judge.")
    return real_vectors, vectors


def by_piece(
    real: Vectors, generated: Vectors | None, reduce: Callable[[Vectors, slice], NDArray[Any]]
) -> Values:
    """Apply ``reduce`` to distances ``(rows, N)``, a few rows of ``generated`` at a time.

    ``reduce`` is also given which rows they are, and returns one row or value for each. Without
    ``generated`` the rows are the real ones and their distance to themselves is infinite.
    """
    from sklearn.metrics import pairwise_distances_chunked

    def piece(distances: Vectors, start: int) -> NDArray[Any]:
        if generated is None:
            rows = np.arange(len(distances))
            distances[rows, start + rows] = np.inf
        return reduce(distances, slice(start, start + len(distances)))

    rows = real if generated is None else generated
    pieces = pairwise_distances_chunked(rows, real, reduce_func=piece, working_memory=PIECE)
    return np.concatenate(list(pieces)).astype(np.float64)
