"""Vectors that are there already, by the content of the images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mincurate.images.appearance import NO_VECTOR


@dataclass(frozen=True, eq=False)
class VectorTable:
    """Vectors by content hash, of some images.

    Attributes:
        name: of their source.
        rows: content hash to row.
        vectors: ``(M, d)`` float16, of length 1.
    """

    name: str
    rows: Mapping[str, int]
    vectors: NDArray[np.float16]

    @property
    def reason(self) -> str:
        """Why an image has no vector."""
        return NO_VECTOR + self.name
