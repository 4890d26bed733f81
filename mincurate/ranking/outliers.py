"""Rarity from vectors alone: far from the crowd, far for its place in it, and unusual.

Three kinds of evidence, chosen on images that are not among those that docs/results reports
(`benchmarks/study.py`): pairs of classes of CIFAR-10, Fashion-MNIST and MNIST. Each finds rare
images that the others miss, and together they hold where any one fails: distances where common
images are spread wide, deviations where they are of many kinds, densities where rare ones are few.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mincurate.ranking.classes import mean_rank, tail_rows

NAMES = ("crowd_distance", "outlier_factor", "deviation")
"""The kinds of evidence, as columns of a run's table."""
WEIGHTS = (2, 2, 1)
"""What each counts in `rarity`."""
CROWD = 0.1
"""Share of the images that say how far an image is from what is common."""
REFERENCE = 4096
"""Images that every image is compared with, at most."""
CHUNK = 256
"""Vectors that are compared at a time: with `REFERENCE`, some 30 MB of distances and rows."""
Vectors = NDArray[np.float32]
Evidence = tuple[NDArray[np.float64], ...]


def reference(hashes: Iterable[str]) -> NDArray[np.int64]:
    """Rows of the images that `neighborhood` compares with: all, or a sample of `REFERENCE`.

    Content hashes are random, so that the first in their order are a random sample, the same
    whatever the order of the images.
    """
    return np.argsort(np.array(list(hashes), dtype=str), kind="stable")[:REFERENCE]


def neighborhood(
    vectors: Vectors, among: Vectors, rows: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far the nearest tenth (`CROWD`) of a set is, and how that compares with its own images.

    Few neighbours, as of `neighbor_distance`, may be rare themselves: a hundred alike rare images
    lie close together. That many more are close, only common images can say.

    Args:
        vectors: ``(N, d)``.
        among: ``(R, d)``, the `reference` images.
        rows: which of ``vectors`` the reference images are, so that none is compared with itself;
            ``None`` if none of them is there.

    Returns:
        The mean Euclidean distance, ``(N,)``, and the local outlier factor (Breunig et al., SIGMOD
        2000) with that many neighbours, ``(N,)``: about 1 in the midst of others, more where the
        neighbours have closer ones. Higher is rarer; NaN where ``among`` has fewer than two.
    """
    far, factor = np.full((2, len(vectors)), np.nan)
    if len(among) < 2:
        return far, factor
    k = max(1, round(CROWD * (len(among) - 1)))
    lengths = _lengths(among)
    itself, place = np.arange(len(among)), np.full(len(vectors), -1)
    if rows is not None:
        place[rows] = itself
    # Twice, because the distances of all reference images would take more memory than all else.
    reach, density = np.empty((2, len(among)))
    for i in range(0, len(among), CHUNK):
        own = itself[i : i + CHUNK]
        reach[own] = _nearest(among[own], among, lengths, own, k)[0].max(1)
    for i in range(0, len(among), CHUNK):
        own = itself[i : i + CHUNK]
        distance, index = _nearest(among[own], among, lengths, own, k)
        density[own] = _density(distance, reach[index])
    for i in range(0, len(vectors), CHUNK):
        distance, index = _nearest(vectors[i : i + CHUNK], among, lengths, place[i : i + CHUNK], k)
        far[i : i + CHUNK] = distance.mean(1)
        near = density[index].mean(1)
        factor[i : i + CHUNK] = near / _density(distance, reach[index])
    return far, factor


def _nearest(
    part: Vectors,
    among: Vectors,
    lengths: NDArray[np.float64],
    own: NDArray[np.int64],
    k: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distances and rows of the ``k`` nearest, ``(n, k)`` each, in no order; never row ``own``.

    Args:
        lengths: ``(R,)``, squared, of ``among``.
    """
    product = part @ among.T
    product *= 2
    squared = _lengths(part)[:, None] + lengths
    squared -= product
    squared[own >= 0, own[own >= 0]] = np.inf
    # A copy: a view of the nearest would keep the order of all of them in memory.
    index = np.argpartition(squared, k - 1, axis=1)[:, :k].copy()
    return np.sqrt(np.maximum(np.take_along_axis(squared, index, axis=1), 0)), index


def _lengths(vectors: Vectors) -> NDArray[np.float64]:
    """Squared lengths, ``(N,)``, in double precision of few vectors at a time."""
    found = np.empty(len(vectors))
    for start in range(0, len(vectors), CHUNK):
        part = vectors[start : start + CHUNK].astype(np.float64)
        found[start : start + CHUNK] = (part**2).sum(1)
    return found


def _density(distance: NDArray[np.float64], reach: NDArray[np.float64]) -> NDArray[np.float64]:
    """Local reachability density, ``(n,)``, from distances ``(n, k)`` and the neighbours' reach."""
    return 1 / (np.maximum(distance, reach).mean(1) + 1e-10)


def deviation(vectors: Vectors, among: Vectors) -> NDArray[np.float64]:
    """How many standard deviations the coordinates are from their mean, on average.

    Higher is rarer. Where the crowd is everything near, this is everything usual: it still tells
    images apart where the common ones are spread so wide that distances are large anyway.

    Args:
        vectors: ``(N, d)``.
        among: ``(R, d)``, the `reference` images, whose means and deviations count.
    """
    middle, spread = np.empty((2, vectors.shape[1]))
    for start in range(0, len(middle), CHUNK):
        values = among[:, start : start + CHUNK].astype(np.float64)
        middle[start : start + CHUNK] = values.mean(0)
        spread[start : start + CHUNK] = values.std(0) + 1e-6
    found = np.empty(len(vectors))
    for start in range(0, len(vectors), CHUNK):
        part = vectors[start : start + CHUNK]
        found[start : start + CHUNK] = (np.abs(part - middle) / spread).mean(1)
    return found


def evidence(vectors: Vectors, among: Vectors, rows: NDArray[np.int64] | None = None) -> Evidence:
    """All `NAMES` of a set, ``(N,)`` each; arguments as of `neighborhood`."""
    return *neighborhood(vectors, among, rows), deviation(vectors, among)


def rarity(vectors: Vectors, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean rank of the `evidence` of a set, ``(N,)``, whose `reference` images are ``rows``."""
    return mean_rank(*evidence(vectors, vectors[rows], rows), weights=WEIGHTS)


def tail_agreement(vectors: Vectors, rows: NDArray[np.int64]) -> float:
    """Share of the rarest tenth that two rankings have in common, each by half of the features.

    Rare images differ in many features, chance in a few: the more the halves agree, the better the
    ranking by all of them found the rare in the study (Spearman with its AUROC 0.68 on the pairs
    for choosing).

    Args:
        vectors: ``(N, d)``, N at least 10 and d at least 2.
        rows: as in `rarity`.
    """
    order = np.random.default_rng(0).permutation(vectors.shape[1])
    tails = []
    for half in (order[: len(order) // 2], order[len(order) // 2 :]):
        ranks = rarity(np.ascontiguousarray(vectors[:, half]), rows)
        tails.append(tail_rows(ranks))
    return float(np.isin(tails[0], tails[1]).mean())
