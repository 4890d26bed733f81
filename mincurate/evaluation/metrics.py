"""What generated images are judged by: pure functions on feature vectors (method, section 5).

Every function takes the features of real images ``(N, d)`` and of generated ones ``(M, d)`` in one
feature space, which only the caller knows and has to name: a number means nothing without it. A
metric against the rarest decile is the same call with those rows as the real ones. Most functions
return one value per image, so that `interval` can say how sure their mean is.

Distances are Euclidean and exact, and are computed in pieces of `PIECE` MiB.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mincurate.errors import UserError

DENSITY_NEIGHBORS = 5
"""k of AvgkNN."""
LOF_NEIGHBORS = 20
"""The default of scikit-learn, and of Breunig et al."""
MANIFOLD_K = 3
"""k of rarity score, precision and recall, as in their papers."""
COVERAGE_K = 5
"""k of density and coverage, as in their paper."""
NEAR_COPY_RATE = 0.01
"""Share of real images that count as near copies of another one."""
PIECE = 32
"""MiB of distances held at once; temporary copies take as much again, a few times."""
Vectors = NDArray[np.float32]
Values = NDArray[np.float64]
Interval = tuple[float, float, float]
"""Value, and the lower and upper end of its 95 % interval."""


# Neighbours


def nearest(
    real: ArrayLike, generated: ArrayLike | None = None
) -> tuple[Values, NDArray[np.int64]]:
    """Distance to the nearest real image and its index, ``(M,)`` each.

    Args:
        generated: None for the real images themselves, each compared with the others.
    """
    far, index = _neighbors(real, generated, 1)
    return far[:, 0], index[:, 0]


def neighbor_distance(
    real: ArrayLike, generated: ArrayLike | None = None, k: int = DENSITY_NEIGHBORS
) -> Values:
    """AvgkNN: mean distance to the ``k`` nearest real images, ``(M,)``; higher is rarer.

    Used by Sehwag et al., "Generating High Fidelity Data from Low-density Regions using Diffusion
    Models", CVPR 2022, and by the paper on minority guidance.

    Args:
        generated: None for the real images themselves, each compared with the others.
    """
    return _neighbors(real, generated, k)[0].mean(1)


def lof(
    real: ArrayLike, generated: ArrayLike | None = None, neighbors: int = LOF_NEIGHBORS
) -> Values:
    """Local outlier factor with respect to real images, ``(M,)``; 1 is inside, higher is rarer.

    Breunig et al., "LOF: Identifying Density-Based Local Outliers", SIGMOD 2000;
    `sklearn.neighbors.LocalOutlierFactor` does it.

    Args:
        generated: None for the real images themselves, each among the others.
        neighbors: at most ``N - 1`` are used.
    """
    from sklearn.neighbors import LocalOutlierFactor

    known, new = _pair(real, generated, 1)
    k = min(neighbors, len(known) - 1)
    model = LocalOutlierFactor(n_neighbors=k, novelty=new is not None).fit(known)
    found = model.negative_outlier_factor_ if new is None else model.score_samples(new)
    return -found.astype(np.float64)


# Balls around real images


def rarity(real: ArrayLike, generated: ArrayLike | None = None, k: int = MANIFOLD_K) -> Values:
    """Rarity score, ``(M,)``: radius of the smallest real ball an image lies in; higher is rarer.

    Han et al., "Rarity Score: A New Metric to Evaluate the Uncommonness of Synthesized Images",
    ICLR 2023. A real image's ball reaches to its ``k``-th nearest other real image. An image in no
    ball is off the manifold and has no score: NaN, never 0 (see `off_manifold`).

    Args:
        generated: None for the real images themselves, each against the balls of the others, as
            they would be without it.
    """
    known, new = _pair(real, generated, k + 1)
    radii = _neighbors(known, None, k + 1)[0].astype(np.float32)
    within, size = radii[:, k - 1], radii[:, k - 1 if new is not None else k]

    def smallest(distances: Vectors) -> Values:
        return np.where(distances <= within, size, np.inf).min(1)

    found = _by_piece(known, new, smallest)
    return np.where(np.isinf(found), np.nan, found)


def ball_ratio(real: ArrayLike, generated: ArrayLike | None = None, k: int = MANIFOLD_K) -> Values:
    """How far out of the real manifold an image lies, ``(M,)``: up to 1 is inside of a ball.

    The smallest ratio, over real images, of the distance to one and the radius of its ball (see
    `rarity`): the factor by which the balls must grow to reach the image.

    Args:
        generated: None for the real images themselves, each against the balls of the others, as
            they would be without it. They are then what a fresh real image would be, so that the
            quantiles of their ratios hold for fresh ones.
    """
    known, new = _pair(real, generated, k + 1)
    radii = _neighbors(known, None, k + 1)[0].astype(np.float32)
    inner, outer = radii[:, k - 1], radii[:, k]

    def smallest(distances: Vectors) -> Values:
        # A ball that owes its radius to this very image would reach to the next one without it.
        size = inner if new is not None else np.where(distances <= inner, outer, inner)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = distances / size
        return np.where(np.isnan(ratios), 0, ratios).min(1)  # nothing over nothing: on the spot

    return _by_piece(known, new, smallest)


def off_manifold(
    real: ArrayLike, generated: ArrayLike | None = None, k: int = MANIFOLD_K
) -> NDArray[np.bool_]:
    """Which images lie in no real ball, ``(M,)``; their share is the rarity score's blind spot."""
    return ball_ratio(real, generated, k) > 1


def precision(real: ArrayLike, generated: ArrayLike, k: int = MANIFOLD_K) -> NDArray[np.bool_]:
    """Improved precision, ``(M,)``: whether a generated image lies in a real ball.

    Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models",
    NeurIPS 2019. The mean is the metric, 0 to 1. One outlier among the real images has a large
    ball, which makes precision too high; `density` mends that.
    """
    return ~off_manifold(real, generated, k)


def recall(real: ArrayLike, generated: ArrayLike, k: int = MANIFOLD_K) -> NDArray[np.bool_]:
    """Improved recall, ``(N,)``: whether a real image lies in a ball around a generated one.

    The same paper as `precision`. It grows with the number of generated images.
    """
    return ~off_manifold(generated, real, k)


def density(real: ArrayLike, generated: ArrayLike, k: int = COVERAGE_K) -> Values:
    """Density, ``(M,)``: in how many real balls a generated image lies, divided by ``k``.

    Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models", ICML 2020.
    The mean is about 1 for equal distributions and may be larger.
    """
    known, new = _both(real, generated, k)
    radii = _neighbors(known, None, k)[0][:, -1].astype(np.float32)
    return _by_piece(known, new, lambda distances: (distances <= radii).sum(1) / k)


def coverage(real: ArrayLike, generated: ArrayLike, k: int = COVERAGE_K) -> NDArray[np.bool_]:
    """Coverage, ``(N,)``: whether a generated image lies in a real image's ball.

    The same paper as `density`. About ``1 - 2 ** -k`` for equal distributions at equal number.
    """
    known, new = _both(real, generated, k)
    radii = _neighbors(known, None, k)[0][:, -1].astype(np.float32)
    return nearest(new, known)[0].astype(np.float32) <= radii


# Memorisation


def closer_than_real(real: ArrayLike, generated: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Whether an image is closer to its nearest real image than that is to any other real one.

    Alaa et al., "How Faithful is Your Synthetic Data?", ICML 2022 (there, ``1 - authenticity``).
    Fresh real images are so, too, half of the time and more: compare with the real images' share.

    Args:
        generated: None for the real images themselves, each as if it were not among them.
    """
    known, new = _pair(real, generated, 2)
    own, owner = _neighbors(known, None, 2)
    far, index = nearest(known, new)
    if new is not None:
        return far < own[index, 0]
    mine = owner[index, 0] == np.arange(len(known))
    return far < np.where(mine, own[index, 1], own[index, 0])


def near_copy_distance(real: ArrayLike, rate: float = NEAR_COPY_RATE) -> float:
    """The distance within which the share ``rate`` of the real images have another real one.

    A fresh real image comes that close to one of them equally often, so that a larger share among
    generated images means copying. Give every real image once: where copies make up more than
    ``rate``, this is 0.
    """
    return float(np.quantile(nearest(real)[0], rate))


# Fréchet distance


def frechet_distance(real: ArrayLike, generated: ArrayLike) -> float:
    """Fréchet distance between the Gaussians of two sets of features (FID); 0 for equal ones.

    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
    Equilibrium", NeurIPS 2017, who use Inception's features; FID with any other features has
    another scale. With `spatial_vectors` it is the spatial FID. It is biased upwards by about
    ``1 / M``, and strongly so for fewer images than dimensions: compare equal numbers only.

    ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))``. With ``S = F^T F``, the trace of the root is
    the sum of the singular values of ``F1 F2^T``, which needs no root of a matrix and holds for
    covariances without full rank as well.
    """
    one, two = _both(real, generated, 1)
    mean1, factor1 = _gaussian(one)
    mean2, factor2 = _gaussian(two)
    shared = np.linalg.svd(factor1 @ factor2.T, compute_uv=False).sum()
    spread = np.square(factor1).sum() + np.square(factor2).sum()
    return max(0.0, float(np.square(mean1 - mean2).sum() + spread - 2 * shared))


def spatial_vectors(maps: ArrayLike, channels: int = 7) -> Vectors:
    """Features for the spatial FID: the first channels of maps ``(N, C, H, W)``, flattened.

    Nash et al., "Generating Images with Sparse Representations", ICML 2021, who take the first 7
    channels of a middle layer of Inception. It sees where things are, which pooling forgets.

    Returns:
        ``(N, channels * H * W)``.
    """
    layers = np.asarray(maps, dtype=np.float32)
    if layers.ndim != 4:
        raise ValueError(f"maps must be (N, C, H, W), not {layers.shape}")
    return layers[:, :channels].reshape(len(layers), -1)


# Intervals


def interval(values: ArrayLike, *, seed: int, resamples: int = 1000) -> Interval:
    """Mean of ``values`` and its 95 % bootstrap interval ``(mean, low, high)``, over images.

    Percentiles of the means of ``resamples`` draws with replacement. NaN (no value) is left out;
    without any value all three are NaN. A share of exactly 0 or 1 has an interval of no width: it
    only says that less than about ``3 / len(values)`` are otherwise.
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    n = len(known)
    if n == 0:
        return np.nan, np.nan, np.nan
    rng = np.random.default_rng(seed)
    means = [known[rng.integers(0, n, n)].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(known.mean()), float(low), float(high)


def frechet_interval(
    real: ArrayLike, generated: ArrayLike, *, seed: int, resamples: int = 50
) -> Interval:
    """`frechet_distance` and its 95 % interval ``(value, low, high)``, over generated images.

    The value plus or minus 1.96 standard deviations of the distances of ``resamples`` random halves
    (the delete-d jackknife: Shao and Wu, "A General Theory for Jackknife Variance Estimation",
    1989). A bootstrap would not do: a draw with replacement has fewer different images and so a
    larger distance. Measured, it is 3 times too wide for fewer images than dimensions and 1.3 times
    for five times as many; halves are 1.3 and 1.1 times too wide.
    """
    one, two = _both(real, generated, 1)
    n = len(two)
    if n < 4:
        raise UserError("The interval of a Fréchet distance needs at least 4 generated images.")
    value = frechet_distance(one, two)
    mean, factor = _gaussian(one)
    points = two.astype(np.float64) - mean
    seen = factor @ points.T  # the images as the real covariance sees them
    lengths = np.square(points).sum(1)
    rng = np.random.default_rng(seed)
    half, found = n // 2, []
    for _ in range(resamples):
        drawn = rng.permutation(n)[:half]
        shift = points[drawn].mean(0)
        spread = (lengths[drawn].sum() - half * np.square(shift).sum()) / (half - 1)
        rows = seen[:, drawn]
        rows = (rows - rows.mean(1, keepdims=True)) / np.sqrt(half - 1)
        gram = rows @ rows.T if len(rows) <= half else rows.T @ rows
        shared = np.sqrt(np.linalg.eigvalsh(gram).clip(0)).sum()
        found.append(np.square(shift).sum() + np.square(factor).sum() + spread - 2 * shared)
    width = 1.96 * float(np.std(found, ddof=1)) * np.sqrt(half / (n - half))
    return value, max(0.0, value - width), value + width


def as_vectors(features: ArrayLike, name: str) -> Vectors:
    """Features as they are computed with: ``(n, d)`` and finite, else a ValueError names them."""
    vectors = np.ascontiguousarray(features, dtype=np.float32)
    if vectors.ndim != 2:
        raise ValueError(f"{name} features must be (n, d), not {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise ValueError(f"{name} features hold numbers that are not finite")
    return vectors


def _pair(
    real: ArrayLike, generated: ArrayLike | None, neighbors: int
) -> tuple[Vectors, Vectors | None]:
    """Both sets as vectors, after seeing that real images have ``neighbors`` others."""
    if generated is not None:
        return _both(real, generated, neighbors)
    known = as_vectors(real, "real")
    if len(known) <= neighbors:
        raise UserError(
            f"{len(known)} images are too few to judge by; at least {neighbors + 1} are needed."
        )
    return known, None


def _both(real: ArrayLike, generated: ArrayLike, neighbors: int) -> tuple[Vectors, Vectors]:
    known, _ = _pair(real, None, neighbors)
    new = as_vectors(generated, "generated")
    if new.shape[1] != known.shape[1]:
        raise ValueError(f"features of {known.shape[1]} and {new.shape[1]} dimensions do not mix")
    if len(new) == 0:
        raise UserError("There are no images to judge.")
    return known, new


def _neighbors(
    real: ArrayLike, generated: ArrayLike | None, k: int
) -> tuple[Values, NDArray[np.int64]]:
    """Distances and indices ``(M, k)`` of the nearest real images, nearest first."""
    from sklearn.neighbors import NearestNeighbors

    known, new = _pair(real, generated, k if generated is None else k - 1)
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(known)
    far, index = search.kneighbors(new)
    return far.astype(np.float64), index


def _by_piece(
    real: Vectors, generated: Vectors | None, reduce: Callable[[Vectors], Values]
) -> Values:
    """Apply ``reduce`` to distances ``(rows, N)``, a few rows of ``generated`` at a time.

    Without ``generated`` the rows are the real ones and their distance to themselves is infinite.
    """
    from sklearn.metrics import pairwise_distances_chunked

    def piece(distances: Vectors, start: int) -> Values:
        if generated is None:
            rows = np.arange(len(distances))
            distances[rows, start + rows] = np.inf
        return reduce(distances)

    rows = real if generated is None else generated
    pieces = pairwise_distances_chunked(rows, real, reduce_func=piece, working_memory=PIECE)
    return np.concatenate(list(pieces)).astype(np.float64)


def _gaussian(vectors: Vectors) -> tuple[Values, Values]:
    """Mean ``(d,)`` and a factor ``F (min(n, d), d)`` of the covariance ``F^T F``."""
    if len(vectors) < 2:
        raise UserError("A Fréchet distance needs at least 2 images on both sides.")
    points = vectors.astype(np.float64)
    mean = points.mean(0)
    return mean, np.asarray(np.linalg.qr((points - mean) / np.sqrt(len(points) - 1), mode="r"))
