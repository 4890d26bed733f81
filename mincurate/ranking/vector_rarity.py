"""The default ranking, by vectors: outlying images, or small kinds where the set asks for these."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mincurate.ranking import classes, outliers, small_kinds
from mincurate.ranking.outliers import Evidence, Vectors
from mincurate.ranking.small_kinds import Pattern


@dataclass(frozen=True, eq=False)
class VectorRarity:
    """Both kinds of evidence of rarity, and which of them ranks.

    Attributes:
        evidence: `outliers.evidence`.
        outlying: ``(N,)`` in (0, 1], its mean rank; higher is rarer.
        small_kind: ``(N,)`` in (0, 1], `small_kinds.rarity`; higher is rarer.
        pattern: of the set, which decides.
    """

    evidence: Evidence
    outlying: NDArray[np.float64]
    small_kind: NDArray[np.float64]
    pattern: Pattern

    @property
    def rarity(self) -> NDArray[np.float64]:
        """The evidence that ranks, ``(N,)`` in (0, 1]."""
        return self.small_kind if self.pattern.column == "small_kind" else self.outlying


def measure(vectors: Vectors, rows: NDArray[np.int64]) -> VectorRarity:
    """Measure a set.

    Args:
        vectors: ``(N, d)``.
        rows: the `outliers.reference` images.
    """
    among = vectors[rows]
    evidence = outliers.evidence(vectors, among, rows)
    usual = classes.mean_rank(*evidence, weights=outliers.WEIGHTS)
    pattern = small_kinds.pattern(among, evidence[0][rows], usual[rows])
    outlying = classes.mean_rank(*evidence, weights=pattern.weights)
    return VectorRarity(evidence, outlying, small_kinds.rarity(vectors, rows), pattern)
