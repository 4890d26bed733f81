"""How often a training draws each image: rare ones oftener than they come."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def by_label(labels: Sequence[str | None], tail_weight: float) -> NDArray[np.float64]:
    """Weight of every image in the draw, ``(N,)``: ``n ** -tail_weight`` for a label of n images.

    Args:
        labels: of the images; those without one are weighed as if ``None`` were a label.
        tail_weight: 0 draws images as they come, 1 every label equally often.
    """
    images = Counter(labels)
    return np.array([images[label] ** -tail_weight for label in labels], np.float64)


def by_rarity(rarity: NDArray[np.float64], tail_weight: float) -> NDArray[np.float64]:
    """Weight of every image in the draw, ``(N,)``: ``r ** -tail_weight`` for the r-th rarest.

    The rarest share s of many images is then about ``s ** (1 - tail_weight)`` of what is drawn:
    with 0.5 the rarest tenth is a third of it.

    Args:
        rarity: ``(N,)``, higher is rarer; NaN counts as least rare.
        tail_weight: from 0 to 1.
    """
    from scipy.stats import rankdata

    return rankdata(-np.nan_to_num(rarity, nan=-np.inf)) ** -tail_weight
