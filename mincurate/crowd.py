"""Rarity from vectors alone: far from the crowd, and unusual in many respects.

Two kinds of evidence, chosen on pairs of classes that are not among those that README reports
(`benchmarks/study.py`); each finds rare images that the other misses, and their mean rank beats
both, and nearest neighbours, LOF, isolation forests, ECOD and COPOD on the same vectors.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mincurate.ordinal import mean_rank

CROWD = 0.05
"""Share of the images whose distance says how far an image is from what is common."""
REFERENCE = 4096
"""Images that every image is compared with, at most."""
CHUNK = 1024
"""Vectors that are compared at a time."""


def reference(hashes: Iterable[str]) -> NDArray[np.int64]:
    """Rows of the images that `crowd_distance` compares with: all, or a sample of `REFERENCE`.

    Content hashes are random, so that the first in their order are a random sample, the same
    whatever the order of the images.
    """
    return np.argsort(np.array(list(hashes), dtype=str), kind="stable")[:REFERENCE]


def crowd_distance(
    vectors: NDArray[np.float32],
    among: NDArray[np.float32],
    rows: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Mean Euclidean distance to the nearest twentieth (`CROWD`) of a set; higher is rarer.

    Few neighbours, as of `neighbor_distance`, may be rare themselves: a hundred alike rare images
    lie close together. That many more are close, only common images can say.

    Args:
        vectors: ``(N, d)``.
        among: ``(R, d)``, the `reference` images.
        rows: which of ``vectors`` the reference images are, so that none is compared with itself;
            ``None`` if none of them is there.

    Returns:
        ``(N,)``; NaN where there is no other image.
    """
    place = np.full(len(vectors), -1)
    if rows is not None:
        place[rows] = np.arange(len(rows))
    others = len(among) - (rows is not None)
    if others < 1:
        return np.full(len(vectors), np.nan)
    k = max(1, round(CROWD * others))
    lengths = (among.astype(np.float64) ** 2).sum(1)
    found = np.empty(len(vectors))
    for start in range(0, len(vectors), CHUNK):
        part = vectors[start : start + CHUNK]
        squared = (part.astype(np.float64) ** 2).sum(1)[:, None] + lengths - 2.0 * (part @ among.T)
        own = place[start : start + CHUNK]
        squared[own >= 0, own[own >= 0]] = np.inf
        nearest = np.partition(squared, k - 1, axis=1)[:, :k]
        found[start : start + CHUNK] = np.sqrt(np.maximum(nearest, 0)).mean(1)
    return found


def deviation(vectors: NDArray[np.float32], among: NDArray[np.float32]) -> NDArray[np.float64]:
    """How many standard deviations the coordinates are from their mean, on average.

    Higher is rarer. Where the crowd is everything near, this is everything usual: it still tells
    images apart where the common ones are spread so wide that distances are large anyway.

    Args:
        vectors: ``(N, d)``.
        among: ``(R, d)``, the `reference` images, whose means and deviations count.
    """
    values = among.astype(np.float64)
    middle, spread = values.mean(0), values.std(0) + 1e-6
    found = np.empty(len(vectors))
    for start in range(0, len(vectors), CHUNK):
        part = vectors[start : start + CHUNK]
        found[start : start + CHUNK] = (np.abs(part - middle) / spread).mean(1)
    return found


def evidence(
    vectors: NDArray[np.float32], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`crowd_distance` and `deviation` of a set, whose `reference` images are ``rows``."""
    among = vectors[rows]
    return crowd_distance(vectors, among, rows), deviation(vectors, among)


def tail_agreement(vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> float:
    """Share of the rarest tenth that two rankings have in common, each by half of the features.

    Rare images differ in many features, chance in a few: the more the halves agree, the better the
    ranking by all of them found the rare in the study (Spearman with its AUROC 0.74 and 0.54 on the
    two sets of pairs).

    Args:
        vectors: ``(N, d)``, N at least 10 and d at least 2.
        rows: as in `evidence`.
    """
    order = np.random.default_rng(0).permutation(vectors.shape[1])
    count = len(vectors) // 10
    tails = []
    for half in (order[: len(order) // 2], order[len(order) // 2 :]):
        ranks = mean_rank(*evidence(np.ascontiguousarray(vectors[:, half]), rows))
        tails.append(np.argsort(-ranks, kind="stable")[:count])
    return float(np.isin(tails[0], tails[1]).mean())
