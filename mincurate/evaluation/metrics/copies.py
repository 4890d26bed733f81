"""Whether generated images copy real ones (memorisation)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mincurate.evaluation.metrics.neighborhood import nearest
from mincurate.evaluation.metrics.vectors import check
from mincurate.ranking import neighbors

NEAR_COPY_RATE = 0.01
"""Share of real images that count as near copies of another one."""


def closer_than_real(real: ArrayLike, generated: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Whether an image is closer to its nearest real image than that is to any other real one.

    Alaa et al., "How Faithful is Your Synthetic Data?", ICML 2022 (there, ``1 - authenticity``).
    This holds for half of fresh real images and more: compare with the real images' share.

    Args:
        generated: None for the real images themselves, each as if it were not among them.
    """
    real_vectors, vectors = check(real, generated, 2)
    own, owner = neighbors.nearest(real_vectors, k=2)
    distances, rows = nearest(real_vectors, vectors)
    if vectors is not None:
        return distances < own[rows, 0]
    mutual = owner[rows, 0] == np.arange(len(real_vectors))
    return distances < np.where(mutual, own[rows, 1], own[rows, 0])


def near_copy_distance(real: ArrayLike, rate: float = NEAR_COPY_RATE) -> float:
    """The distance within which the share ``rate`` of the real images have another real one.

    A fresh real image comes that close to one of them equally often, so that a larger share among
    generated images means copying. Give every real image once: where copies make up more than
    ``rate``, this is 0.
    """
    return float(np.quantile(nearest(real)[0], rate))
