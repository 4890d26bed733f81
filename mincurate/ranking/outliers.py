"""Rarity from embeddings alone: AvgkNN with many neighbours, local outlier factor, deviation.

Three kinds of evidence, chosen on pairs of classes of CIFAR-10, Fashion-MNIST and MNIST that are
not among those in docs/results (`benchmarks/study.py`). Each finds rare images that the others
miss, and each fails somewhere: distances where common images are widely spread, deviations where
common images are of many kinds, densities where rare images are few.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from mincurate.ranking.classes import mean_rank, tail_rows

NAMES = ("crowd_distance", "outlier_factor", "deviation")
"""The kinds of evidence, which are columns of the table; higher is rarer."""
Weights = tuple[int, int, int]
"""How much each counts in `rarity`."""
WEIGHTS: Weights = (2, 2, 1)
"""In most sets."""
OF_SEVERAL: Weights = (2, 3, 0)
"""In sets of several kinds: only the outlier factor asks how dense an image's own kind is, and a
deviation from the mean of them all says little."""
CROWD = 0.1
"""Neighbours of an image, as a share of the images that it is compared with."""
REFERENCE = 4096
"""Every image is compared with at most this many, a random sample."""
ONE_DEVIATION, TWO_DEVIATIONS = 0.8413, 0.9772
"""Quantiles of a normal distribution, one and two standard deviations above its middle."""
CHUNK = 256
"""Vectors compared at once: about 30 MB of distances and rows."""
THREADS = min(4, os.cpu_count() or 1)
"""Chunks that are compared beside one another."""
Vectors = NDArray[np.float32]
Evidence = tuple[NDArray[np.float64], ...]


def reference(hashes: Iterable[str], count: int | None = None) -> NDArray[np.int64]:
    """Rows of the images to compare with: all, or a random sample of ``count`` (`REFERENCE`).

    The sample holds the lowest content hashes, so it does not depend on the order of the images.
    """
    return np.argsort(np.array(list(hashes), dtype=str), kind="stable")[: count or REFERENCE]


def neighborhood(
    vectors: Vectors, among: Vectors, rows: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean distance to the nearest tenth (`CROWD`) of a set, and the local outlier factor there.

    The few neighbours of `neighbor_distance` may be rare themselves: a hundred similar rare images
    lie close together. With a tenth of the set as neighbours, only common images are close.

    Args:
        vectors: ``(N, d)``.
        among: ``(R, d)``, the `reference` images.
        rows: ``(R,)``, the rows of ``vectors`` that are the reference images: these are not
            compared with themselves. ``None`` if ``vectors`` holds no reference image.

    Returns:
        Mean Euclidean distance ``(N,)``, and local outlier factor ``(N,)`` (Breunig et al., SIGMOD
        2000): about 1 where the density is that of the neighbours, larger where it is lower.
        Higher is rarer; NaN if there are fewer than two reference images.
    """
    crowd_distance, factor = np.full((2, len(vectors)), np.nan)
    if len(among) < 2:
        return crowd_distance, factor
    far, near = _crowds(among)
    reach = far.max(1)
    density = _density(far, reach[near])
    further = np.arange(len(vectors))
    if rows is not None:
        crowd_distance[rows], factor[rows] = far.mean(1), density[near].mean(1) / density
        further = np.delete(further, rows)
    del far, near
    for block in np.split(further, range(REFERENCE, len(further), REFERENCE)):
        for part, distances, index in nearest_share(vectors[block], among, None):
            own = block[part]
            crowd_distance[own] = distances.mean(1)
            factor[own] = density[index].mean(1) / _density(distances, reach[index])
    return crowd_distance, factor


def _crowds(among: Vectors) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Distances of the reference images to the nearest tenth of the others, and their rows,
    ``(R, k)`` each: 20 MB for 4,096 images."""
    k = _share(among, CROWD)
    far, near = np.empty((len(among), k)), np.empty((len(among), k), np.int32)
    for own, distances, index in nearest_few(among, among, np.arange(len(among)), k):
        far[own], near[own] = distances, index
    return far, near


def nearest_share(
    vectors: Vectors, among: Vectors, rows: NDArray[np.int64] | None, share: float = CROWD
) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.int64]]]:
    """The nearest ``share`` of a set; the rest as for `nearest_few`."""
    return nearest_few(vectors, among, rows, _share(among, share))


def _share(among: Vectors, share: float) -> int:
    """How many images a share of all but one of them is."""
    return max(1, round(share * (len(among) - 1)))


def nearest_few(
    vectors: Vectors,
    among: Vectors,
    rows: NDArray[np.int64] | None,
    k: int,
    groups: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.int64]]]:
    """The nearest ``k`` of a set, chunk by chunk: where the chunk lies, distances, their rows.

    Other arguments as for `neighborhood`; distances and rows are ``(n, k)`` each, in no order.

    Args:
        groups: of ``vectors`` and of ``among``, ``(N,)`` and ``(R,)``: those of the same group are
            infinitely far.
    """
    squares, own_row = squared_lengths(among), np.full(len(vectors), -1)
    if rows is not None:
        own_row[rows] = np.arange(len(among))

    def search(part: slice) -> tuple[slice, NDArray[np.float64], NDArray[np.int64]]:
        left_out = groups[0][part][:, None] == groups[1] if groups else None
        return part, *nearest(vectors[part], among, squares, own_row[part], k, left_out)

    if len(vectors) <= CHUNK:  # threads would take longer to start than to search
        yield search(slice(0, len(vectors)))
        return
    parts = (slice(start, start + CHUNK) for start in range(0, len(vectors), CHUNK))
    with one_core_each(), ThreadPoolExecutor(THREADS) as pool:
        ahead = deque(pool.submit(search, part) for part in islice(parts, THREADS))
        while ahead:
            found = ahead.popleft().result()
            ahead.extend(pool.submit(search, part) for part in islice(parts, 1))
            yield found


@contextmanager
def one_core_each() -> Iterator[None]:
    """Within it each product of matrices runs on one core, as selecting does: threads share cores.

    Where each of two threads used both cores for its products, all took twice as long.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


def nearest(
    part: Vectors,
    among: Vectors,
    squares: NDArray[np.float64],
    own: NDArray[np.int64],
    k: int,
    left_out: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distances to the ``k`` nearest and their rows, ``(n, k)`` each, in no order.

    Args:
        part: ``(n, d)``.
        among: ``(R, d)``.
        squares: ``(R,)``, squared lengths of ``among``.
        own: ``(n,)``, the row of ``among`` that is the same image and is left out; -1 for none.
        left_out: ``(n, R)``, which are left out besides.
    """
    product = part @ among.T
    product *= 2
    squared = squared_lengths(part)[:, None] + squares
    squared -= product
    squared[own >= 0, own[own >= 0]] = np.inf
    if left_out is not None:
        squared[left_out] = np.inf
    # A copy: a view of the nearest would keep the order of all of them in memory.
    index = np.argpartition(squared, k - 1, axis=1)[:, :k].copy()
    return np.sqrt(np.maximum(np.take_along_axis(squared, index, axis=1), 0)), index


def squared_lengths(vectors: Vectors) -> NDArray[np.float64]:
    """Squared lengths ``(N,)``, in double precision."""
    squares = np.empty(len(vectors))
    for start in range(0, len(vectors), CHUNK):
        part = vectors[start : start + CHUNK].astype(np.float64)
        squares[start : start + CHUNK] = (part**2).sum(1)
    return squares


def _density(distances: NDArray[np.float64], reach: NDArray[np.float64]) -> NDArray[np.float64]:
    """Local reachability density ``(n,)`` (Breunig et al., definition 6).

    Args:
        distances: ``(n, k)``, to the neighbours.
        reach: ``(n, k)``, the distance from each neighbour to its own k-th neighbour.
    """
    return 1 / (np.maximum(distances, reach).mean(1) + 1e-10)


def standing_out(outlier_factor: NDArray[np.float64]) -> float:
    """How thinly the rarest lie for their neighbours: the factor two standard deviations up.

    Args:
        outlier_factor: ``(N,)``, of `neighborhood`.

    Returns:
        The quantile that a normal distribution has there; 1.05 to 1.1 where nothing stands out.
    """
    return float(np.quantile(outlier_factor, TWO_DEVIATIONS))


def deviation(vectors: Vectors, among: Vectors) -> NDArray[np.float64]:
    """Mean absolute z-score of the coordinates, ``(N,)``; higher is rarer.

    It separates images even where common ones are so widely spread that all distances are large.

    Args:
        vectors: ``(N, d)``.
        among: ``(R, d)``, the `reference` images; mean and standard deviation are theirs.
    """
    mean, std = np.empty((2, vectors.shape[1]))
    for start in range(0, len(mean), CHUNK):
        values = among[:, start : start + CHUNK].astype(np.float64)
        mean[start : start + CHUNK] = values.mean(0)
        std[start : start + CHUNK] = values.std(0) + 1e-6
    z_scores = np.empty(len(vectors))
    for start in range(0, len(vectors), CHUNK):
        part = vectors[start : start + CHUNK]
        z_scores[start : start + CHUNK] = (np.abs(part - mean) / std).mean(1)
    return z_scores


def evidence(vectors: Vectors, among: Vectors, rows: NDArray[np.int64] | None = None) -> Evidence:
    """All `NAMES`, ``(N,)`` each; higher is rarer. Arguments as for `neighborhood`."""
    return *neighborhood(vectors, among, rows), deviation(vectors, among)


def rarity(
    vectors: Vectors, rows: NDArray[np.int64], weights: Weights = WEIGHTS
) -> NDArray[np.float64]:
    """Weighted mean rank of the `evidence`, ``(N,)`` in (0, 1]; higher is rarer.

    Args:
        vectors: ``(N, d)``.
        rows: the `reference` images.
        weights: of the evidence.
    """
    return mean_rank(*evidence(vectors, vectors[rows], rows), weights=weights)


def tail_agreement(
    vectors: Vectors, rows: NDArray[np.int64], shared: int = 0, weights: Weights = WEIGHTS
) -> float:
    """Share of the rarest tenth that two rankings have in common, each by half of the features.

    Rare images differ in many features, noise in a few: the more the halves agree, the better the
    ranking by all features finds rare images (Spearman's correlation with its AUROC: 0.68 on the
    pairs of `benchmarks/study.py` used for choosing).

    Args:
        vectors: ``(N, d)``, N at least 10 and d at least 2.
        rows: the `reference` images.
        shared: so many of the last features are in both halves.
        weights: of the evidence.

    Returns:
        In [0, 1]; chance is about 0.1.
    """
    return agreement_of_halves(vectors, lambda half: rarity(half, rows, weights), shared)


def agreement_of_halves(
    vectors: Vectors, ranked: Callable[[Vectors], NDArray[np.float64]], shared: int = 0
) -> float:
    """`tail_agreement` of any ranking.

    Args:
        ranked: rarity of every image, given half of the features of ``vectors``.
    """
    order = np.random.default_rng(0).permutation(vectors.shape[1] - shared)
    both = np.arange(len(order), vectors.shape[1])
    tails = []
    for half in (order[: len(order) // 2], order[len(order) // 2 :]):
        half = np.concatenate([half, both])
        tails.append(tail_rows(ranked(np.ascontiguousarray(vectors[:, half]))))
    return float(np.isin(tails[0], tails[1]).mean())
