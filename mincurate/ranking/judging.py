"""Images by which a ranking is judged: of all of them, or of every label that is ranked apart."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mincurate.ranking import outliers, within_labels
from mincurate.ranking.outliers import Vectors

SAMPLE = 10_000
"""Of more images a ranking is judged by a random sample: its tail tells to 2 points."""
FEWEST = 50
"""Fewest images whose ranking is judged."""
Rank = Callable[[Vectors, NDArray[np.int64]], NDArray[np.float64]]
"""As images are ranked: of vectors, and rows to compare with, their rarity."""


@dataclass(frozen=True, eq=False)
class Sample:
    """At most `SAMPLE` images that are ranked among one another.

    Attributes:
        rows: ``(R,)``, those images, and after them others that they are compared with.
        ranked: how many of the rows are ranked.
        size: how many images the ranking has that they are a sample of.
        rank: of vectors ``(R, d)`` the rarity ``(ranked,)``.
    """

    rows: NDArray[np.int64]
    ranked: int
    size: int
    rank: Callable[[Vectors], NDArray[np.float64]]


def of_all(hashes: ArrayLike, rank: Rank) -> Iterator[Sample]:
    """One sample, or none of fewer than `FEWEST` images.

    Args:
        hashes: ``(N,)`` content hashes.
        rank: as they are ranked.
    """
    content = np.asarray(hashes, dtype=str)
    if len(content) < FEWEST:
        return
    rows = np.sort(outliers.reference(content, SAMPLE))
    among = outliers.reference(content[rows])
    yield Sample(rows, len(rows), len(content), lambda vectors: rank(vectors, among))


def of_labels(hashes: ArrayLike, labels: ArrayLike) -> Iterator[Sample]:
    """A sample of each label with `FEWEST` images or more, ranked by `within_labels`.

    Args:
        hashes: ``(N,)`` content hashes.
        labels: ``(N,)``; empty for none.
    """
    read = within_labels.labelling(hashes, labels)
    content = np.asarray(hashes, dtype=str)
    for label in read.labels:
        members, size = label.members, len(label.members)
        if size < FEWEST:
            continue
        if size > SAMPLE:
            members = members[np.sort(outliers.reference(content[members], SAMPLE))]
        rows = np.concatenate([members, read.others(label)])
        among = outliers.reference(content[members])
        yield Sample(rows, len(members), size, partial(_rank_within, len(members), among))


def _rank_within(ranked: int, among: NDArray[np.int64], vectors: Vectors) -> NDArray[np.float64]:
    """Rarity of the first images, of a label, that are compared with the others, which are not."""
    own, others = vectors[:ranked], vectors[ranked:]
    other = within_labels.distances(own, others)
    return within_labels.measure(own, among, other, len(others)).rarity
