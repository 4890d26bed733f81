"""How far an image is from the real images around it: AvgkNN and the local outlier factor."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mincurate.evaluation.metrics.vectors import Values, check
from mincurate.ranking import neighbors as search

DENSITY_NEIGHBORS = search.NEIGHBORS
"""k of AvgkNN."""
LOF_NEIGHBORS = 20
"""The default of scikit-learn, and of Breunig et al."""


def nearest(
    real: ArrayLike, generated: ArrayLike | None = None
) -> tuple[Values, NDArray[np.int64]]:
    """Distance to the nearest real image and its row, ``(M,)`` each.

    Args:
        generated: None for the real images themselves, each compared with the others.
    """
    distances, rows = search.nearest(*check(real, generated, 1 if generated is None else 0), k=1)
    return distances[:, 0], rows[:, 0]


def neighbor_distance(
    real: ArrayLike, generated: ArrayLike | None = None, k: int = DENSITY_NEIGHBORS
) -> Values:
    """AvgkNN: mean distance to the ``k`` nearest real images, ``(M,)``; higher is rarer.

    Used by Sehwag et al., "Generating High Fidelity Data from Low-density Regions using Diffusion
    Models", CVPR 2022, and by the paper on minority guidance.

    Args:
        generated: None for the real images themselves, each compared with the others.
    """
    vectors = check(real, generated, k if generated is None else k - 1)
    return search.nearest(*vectors, k=k)[0].mean(1)


def lof(
    real: ArrayLike, generated: ArrayLike | None = None, neighbors: int = LOF_NEIGHBORS
) -> Values:
    """Local outlier factor with respect to real images, ``(M,)``; 1 is inside, higher is rarer.

    Breunig et al., "LOF: Identifying Density-Based Local Outliers", SIGMOD 2000;
    `sklearn.neighbors.LocalOutlierFactor` computes it.

    Args:
        generated: None for the real images themselves, each among the others.
        neighbors: at most ``N - 1`` are used.
    """
    from sklearn.neighbors import LocalOutlierFactor

    real_vectors, vectors = check(real, generated, 1)
    k = min(neighbors, len(real_vectors) - 1)
    model = LocalOutlierFactor(n_neighbors=k, novelty=vectors is not None).fit(real_vectors)
    factors = model.negative_outlier_factor_ if vectors is None else model.score_samples(vectors)
    return -factors.astype(np.float64)
