"""The size of an object beside its vector: a crop that is resized for the network has lost it.

Platelets are small and alike; enlarged, they look like any other cell.
"""

import numpy as np
from numpy.typing import NDArray

from mincurate.ranking.outliers import Vectors

SHARE = 0.1
"""Variance of sizes that spread normally, as a share of the variance of the vectors (chosen on half
of BCCD and on pasted hats; `benchmarks/objects.py`)."""
LEAST = 0.05
"""Spread of the sizes, in logarithms, below which they count as one size."""
FARTHEST = 10.0
"""Spreads from the median beyond which a size is no farther: one coordinate must not be all."""


def beside(vectors: Vectors, widths: NDArray[np.float64], heights: NDArray[np.float64]) -> Vectors:
    """Vectors with the size of each object as one more coordinate, ``(N, d + 1)``.

    It is the logarithm of the side of a square of the same area, from the median, in units of the
    spread of the middle half of the objects: among many objects of one size, a smaller one is far.

    Args:
        vectors: ``(N, d)``.
        widths: ``(N,)``, in pixels; ``heights`` likewise.
    """
    if len(vectors) == 0:
        return vectors
    sides = np.log(np.maximum(widths * heights, 1.0)) / 2
    low, middle, high = np.quantile(sides, [0.25, 0.5, 0.75])
    spread = max((high - low) / 1.349, LEAST)  # the standard deviation, were they normal
    places = np.clip((sides - middle) / spread, -FARTHEST, FARTHEST)
    places *= np.sqrt(SHARE * vectors.var(0, dtype=np.float64).sum())
    return np.concatenate([vectors, places[:, None].astype(np.float32)], axis=1)
