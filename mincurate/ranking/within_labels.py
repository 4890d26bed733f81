"""Rarity among the images of one label: what stands out of it, or lies nearer to other labels.

What is far from all images of its label may be a rare one of it. What lies nearer to those of
another label is so by a kind that the label hardly has, or is labelled wrongly. Chosen on the sets
with wrong labels of `benchmarks/study.py`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mincurate.ranking import outliers
from mincurate.ranking.classes import mean_rank, mean_rank_among, members_by_label
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
Distances = NDArray[np.float64]
"""``(N, 2)``: mean distance to the `NEAREST`, and distance to the nearest; infinite for none."""


@dataclass(frozen=True, eq=False)
class Label:
    """The images of a label.

    Attributes:
        name: the label; empty for the images that have none.
        code: its number among the labels.
        members: ``(M,)``, their rows in a set.
        reference: which of the members they are compared with, at most `outliers.REFERENCE`.
    """

    name: str
    code: int
    members: NDArray[np.int64]
    reference: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Labelling:
    """The labels of a set.

    Attributes:
        labels: of each the images.
        codes: ``(N,)``, the label of each image.
        sample: rows of the images with which those of other labels are compared, at most
            `outliers.REFERENCE`: of every label as many, or all that it has.
    """

    labels: Sequence[Label]
    codes: NDArray[np.int64]
    sample: NDArray[np.int64]

    def others(self, label: Label) -> NDArray[np.int64]:
        """Rows of the `sample` that are of other labels; none for images without a label."""
        return self.sample[self.codes[self.sample] != label.code] if label.name else self.sample[:0]


def labelling(hashes: ArrayLike, labels: ArrayLike) -> Labelling:
    """Read the labels of a set.

    Args:
        hashes: ``(N,)`` content hashes, which decide what is compared with (`outliers.reference`).
        labels: ``(N,)`` names; empty for none.
    """
    content = np.asarray(hashes, dtype=str)
    codes, of_each = np.empty(len(content), np.int64), []
    for code, (name, members) in enumerate(members_by_label(labels)):
        codes[members] = code
        of_each.append(Label(name, code, members, outliers.reference(content[members])))
    by_hash = np.argsort(content, kind="stable")
    by_hash = by_hash[np.array([bool(of.name) for of in of_each], bool)[codes[by_hash]]]
    turn = pd.Series(codes[by_hash]).groupby(codes[by_hash]).cumcount().to_numpy()
    sample = by_hash[np.argsort(turn, kind="stable")][: outliers.REFERENCE]
    return Labelling(of_each, codes, sample)


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


def measure_all(vectors: Vectors, labels: Labelling) -> Iterator[tuple[Label, Measured]]:
    """Measure the images of every label.

    Args:
        vectors: ``(N, d)``, of the set.
    """
    groups = labels.codes, labels.codes[labels.sample]
    other = distances(vectors, vectors[labels.sample], groups=groups)
    for label in labels.labels:
        others = len(labels.others(label))
        of_label = other[label.members] if others else np.full((len(label.members), 2), np.inf)
        yield label, measure(vectors[label.members], label.reference, of_label, others)


def measure(own: Vectors, reference: NDArray[np.int64], other: Distances, others: int) -> Measured:
    """Measure the images of a label.

    Args:
        own: ``(M, d)``.
        reference: which of them they are compared with.
        other: ``(M, 2)``, their `distances` to images of other labels.
        others: how many these are.
    """
    among = own[reference]
    near = distances(own, among, reference)
    counts = _tells(float((other[:, 1] < near[:, 1]).mean()), len(own), len(among), others)
    evidence = *outliers.evidence(own, among, reference), mismatch(near, other)
    return Measured(evidence, WEIGHTS if counts else WITHOUT_OTHERS)


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
    vectors: Vectors, labels: Labelling, label: Label, joining: Vectors, before: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The `Measured.rarity` that joining images would have among those of a label, and `mismatch`.

    Args:
        vectors: ``(N, d)``, of the set.
        joining: ``(J, d)``.
        before: other labels do not count.
    """
    own, others = vectors[label.members], vectors[labels.others(label)]
    among = own[label.reference]
    ranked = measure(own, label.reference, distances(own, others), len(others))
    share = mismatch(distances(joining, among), distances(joining, others))
    found = *outliers.evidence(joining, among), share
    weights = WITHOUT_OTHERS if before else ranked.weights
    return mean_rank_among(ranked.evidence, found, weights), share


def mismatch(own: Distances, other: Distances) -> NDArray[np.float64]:
    """How much nearer other labels are than the own one, ``(N,)`` in [0, 1]; higher is nearer.

    The mean distance to the `NEAREST` images of the own label, as a share of that and the same of
    others: 0.5 where both are as near. NaN for all where one has no image of either to compare
    with.
    """
    mean, of_others = own[:, 0], other[:, 0]
    if not (np.isfinite(mean).all() and np.isfinite(of_others).all()):
        return np.full(len(mean), np.nan)
    both = mean + of_others
    return np.divide(mean, both, out=np.full(len(mean), 0.5), where=both > 0)


def distances(
    vectors: Vectors,
    among: Vectors,
    rows: NDArray[np.int64] | None = None,
    groups: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> Distances:
    """Distances of images ``(N, d)`` to the nearest of others ``(R, d)``.

    Args:
        rows: as for `outliers.neighborhood`.
        groups: as for `outliers.nearest_few`.
    """
    found = np.full((len(vectors), 2), np.inf)
    few = min(NEAREST, len(among) - (rows is not None))
    if few < 1:
        return found
    for part, far, _ in outliers.nearest_few(vectors, among, rows, few, groups):
        count = np.isfinite(far).sum(1)
        total = np.where(np.isfinite(far), far, 0.0).sum(1)
        found[part, 0] = np.divide(total, count, out=np.full(len(far), np.inf), where=count > 0)
        found[part, 1] = far.min(1)
    return found
