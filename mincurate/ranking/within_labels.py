"""Rarity among the images of one label: what stands out of it, or lies nearer to other labels.

What is far from all images of its label may be a rare one of it. What lies nearer to those of
another label is so by a kind that the label hardly has, or is labelled wrongly. Chosen on
`benchmarks/study.py --cases mislabelled`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mincurate.ranking import outliers
from mincurate.ranking.classes import mean_rank, mean_rank_among
from mincurate.ranking.outliers import Evidence, Vectors

NEAREST = 5
"""Images of the own label and of others to which `mismatch` compares distances."""
Weights = tuple[int, int, int, int]
WEIGHTS: Weights = (*outliers.WEIGHTS, 8)
"""How much each counts: the `outliers.NAMES`, and most of all the `mismatch`, which is high, too,
for what is far from all labels."""
WITHOUT_OTHERS: Weights = (*outliers.WEIGHTS, 0)
"""Where labels say nothing about what images look like (`TELLING`), and in all runs until
2026-11-29."""
TELLING = 0.15
"""Lowest kappa of a label that its images resemble: how much oftener the nearest of all images is
of the same label than by chance, 1 at most. Labels of kinds have 0.2 and more, random ones 0.1 and
less (567 and 112 labels of clothes, groceries, CIFAR-10 and digits)."""


@dataclass(frozen=True, eq=False)
class Label:
    """The images of a label, and what they are compared with.

    Attributes:
        name: the label; empty for the images that have none.
        members: ``(M,)``, their rows in a set.
        reference: which of the members they are compared with, at most `outliers.REFERENCE`.
        others: ``(R,)``, rows of images of other labels, as many at most. None are compared with
            images that have no label.
    """

    name: str
    members: NDArray[np.int64]
    reference: NDArray[np.int64]
    others: NDArray[np.int64]


def of_each(hashes: ArrayLike, labels: ArrayLike) -> Iterator[Label]:
    """Every label of a set.

    Args:
        hashes: ``(N,)`` content hashes, which decide what is compared with (`outliers.reference`).
        labels: ``(N,)``; empty for none.
    """
    content = np.asarray(hashes, dtype=str)
    by_hash = np.argsort(content, kind="stable")
    codes, names = pd.factorize(np.asarray(labels, dtype=object), sort=True)
    in_order = codes[by_hash]
    unlabelled = np.flatnonzero(names == "")
    labelled = ~np.isin(in_order, unlabelled)
    for code, name in enumerate(names):
        members = np.flatnonzero(codes == code)
        others = by_hash[labelled & (in_order != code)] if name else by_hash[:0]
        reference = outliers.reference(content[members])
        yield Label(name, members, reference, others[: outliers.REFERENCE])


@dataclass(frozen=True, eq=False)
class Measured:
    """The images of a label, measured.

    Attributes:
        evidence: `outliers.evidence` among the images of the label, and their `mismatch`, ``(M,)``
            each; higher is rarer.
        weights: how much each counts.
    """

    evidence: Evidence
    weights: Weights

    @property
    def rarity(self) -> NDArray[np.float64]:
        """Weighted mean rank of the evidence, ``(M,)`` in (0, 1]; higher is rarer."""
        return mean_rank(*self.evidence, weights=self.weights)


def measure(vectors: Vectors, label: Label) -> Measured:
    """Measure the images of a label.

    Args:
        vectors: ``(N, d)``, of the set.
    """
    own, others = vectors[label.members], vectors[label.others]
    among = own[label.reference]
    share, nearer = mismatch(own, among, others, label.reference)
    found = *outliers.evidence(own, among, label.reference), share
    counts = _tells(nearer, len(own), len(among), len(others))
    return Measured(found, WEIGHTS if counts else WITHOUT_OTHERS)


def _tells(nearer: float, images: int, own: int, others: int) -> bool:
    """Whether images resemble their label by more than `TELLING` and two standard errors.

    Args:
        nearer: share of the images to which one of the others is nearest.
        images: of the label.
        own: of the label, with which they are compared.
        others: of other labels, likewise.
    """
    if others == 0 or own < 2:
        return False
    chance = others / (own - 1 + others)
    error = math.sqrt(chance * (1 - chance) / images)
    return 1 - (nearer + 2 * error) / chance >= TELLING


def measure_among(
    vectors: Vectors, label: Label, joining: Vectors, before: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The `Measured.rarity` that joining images would have among those of a label, and `mismatch`.

    Args:
        vectors: ``(N, d)``, of the set.
        joining: ``(J, d)``.
        before: other labels do not count.
    """
    ranked = measure(vectors, label)
    among = vectors[label.members[label.reference]]
    share, _ = mismatch(joining, among, vectors[label.others])
    found = *outliers.evidence(joining, among), share
    weights = WITHOUT_OTHERS if before else ranked.weights
    return mean_rank_among(ranked.evidence, found, weights), share


def mismatch(
    vectors: Vectors,
    among: Vectors,
    others: Vectors,
    rows: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.float64], float]:
    """How much nearer other labels are than the own one, ``(N,)`` in [0, 1]; higher is nearer.

    The mean distance to the `NEAREST` images of the own label, as a share of that and the same of
    others: 0.5 where both are as near.

    Args:
        vectors: ``(N, d)``, of images of a label.
        among: ``(R, d)``, images of it.
        others: ``(S, d)``, images of other labels.
        rows: as for `outliers.neighborhood`.

    Returns:
        NaN if there are no others, or fewer than two of the own; and the share of the images to
        which one of the others is nearest of all.
    """
    if len(others) == 0 or len(among) < 2:
        return np.full(len(vectors), np.nan), 1.0
    own, nearest_own = _nearest(vectors, among, rows)
    other, nearest_other = _nearest(vectors, others, None)
    both = own + other
    share = np.divide(own, both, out=np.full(len(own), 0.5), where=both > 0)
    return share, float((nearest_other < nearest_own).mean())


def _nearest(
    vectors: Vectors, among: Vectors, rows: NDArray[np.int64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean distance to the nearest few, and the distance to the nearest, ``(N,)`` each."""
    mean, nearest = np.empty((2, len(vectors)))
    few = min(NEAREST, len(among) - (rows is not None))
    for part, distances, _ in outliers.nearest_few(vectors, among, rows, few):
        mean[part], nearest[part] = distances.mean(1), distances.min(1)
    return mean, nearest
