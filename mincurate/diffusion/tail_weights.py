"""How often a training draws each image: those of rare labels oftener than they come."""

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
