"""Balls around images as the manifold they lie on: rarity score, precision, recall, coverage."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mincurate.evaluation.metrics.intervals import SUBSETS, Interval, jackknife, subsets
from mincurate.evaluation.metrics.vectors import Values, Vectors, by_piece, check, check_both
from mincurate.ranking import neighbors

MANIFOLD_K = 3
"""k of rarity score, precision and recall, as in their papers."""
COVERAGE_K = 5
"""k of density and coverage, as in their paper."""
SHARE = 0.75
"""Of the generated images in each subset of the jackknife. Measured (`benchmarks/intervals.py`):
intervals hold in 94 to 100 of 100 repeats; those of halves in 91 to 100, those of nine tenths are
up to half too wide."""
LISTED = 12
"""Times k neighbours that are listed to find the k nearest of a half (fewer are among them for one
image in 10^8; then the last one counts)."""


def rarity(real: ArrayLike, generated: ArrayLike | None = None, k: int = MANIFOLD_K) -> Values:
    """Rarity score, ``(M,)``: radius of the smallest real ball an image lies in; higher is rarer.

    Han et al., "Rarity Score: A New Metric to Evaluate the Uncommonness of Synthesized Images",
    ICLR 2023. A real image's ball reaches to its ``k``-th nearest other real image. An image in no
    ball is off the manifold and has no score: NaN, never 0 (see `off_manifold`).

    Args:
        generated: None for the real images themselves, each against the balls of the others, as
            they would be without it.
    """
    real_vectors, vectors = check(real, generated, k + 1)
    radii = neighbors.nearest(real_vectors, k=k + 1)[0].astype(np.float32)
    within, size = radii[:, k - 1], radii[:, k - 1 if vectors is not None else k]

    def smallest(distances: Vectors, _: slice) -> Values:
        return np.where(distances <= within, size, np.inf).min(1)

    scores = by_piece(real_vectors, vectors, smallest)
    return np.where(np.isinf(scores), np.nan, scores)


def ball_ratio(real: ArrayLike, generated: ArrayLike | None = None, k: int = MANIFOLD_K) -> Values:
    """How far out of the real manifold an image lies, ``(M,)``: up to 1 is inside of a ball.

    The smallest ratio, over real images, of the distance to one and the radius of its ball (see
    `rarity`): the factor by which the balls must grow to reach the image.

    Args:
        generated: None for the real images themselves, each against the balls of the others, as
            they would be without it. They are then what a fresh real image would be, so that the
            quantiles of their ratios hold for fresh ones.
    """
    real_vectors, vectors = check(real, generated, k + 1)
    radii = neighbors.nearest(real_vectors, k=k + 1)[0].astype(np.float32)
    inner, outer = radii[:, k - 1], radii[:, k]

    def smallest(distances: Vectors, _: slice) -> Values:
        # A ball that owes its radius to this very image would reach to the next one without it.
        size = inner if vectors is not None else np.where(distances <= inner, outer, inner)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = distances / size
        return np.where(np.isnan(ratios), 0, ratios).min(1)  # 0 / 0: at the centre of a point

    return by_piece(real_vectors, vectors, smallest)


def off_manifold(
    real: ArrayLike, generated: ArrayLike | None = None, k: int = MANIFOLD_K
) -> NDArray[np.bool_]:
    """Which images lie in no real ball, ``(M,)``; they have no rarity score."""
    return ball_ratio(real, generated, k) > 1


def precision(real: ArrayLike, generated: ArrayLike, k: int = MANIFOLD_K) -> NDArray[np.bool_]:
    """Improved precision, ``(M,)``: whether a generated image lies in a real ball.

    Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models",
    NeurIPS 2019. The mean is the metric, 0 to 1. One outlier among the real images has a large
    ball, which makes precision too high; `density` corrects that.
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
    real_vectors, vectors = check_both(real, generated, k)
    radii = neighbors.nearest(real_vectors, k=k)[0][:, -1].astype(np.float32)
    return by_piece(real_vectors, vectors, lambda distances, _: (distances <= radii).sum(1) / k)


def coverage(real: ArrayLike, generated: ArrayLike, k: int = COVERAGE_K) -> NDArray[np.bool_]:
    """Coverage, ``(N,)``: whether a generated image lies in a real image's ball.

    The same paper as `density`. About ``1 - 2 ** -k`` for equal distributions at equal number.
    """
    real_vectors, vectors = check_both(real, generated, k)
    radii = neighbors.nearest(real_vectors, k=k)[0][:, -1].astype(np.float32)
    distances, _ = neighbors.nearest(vectors, real_vectors, k=1)
    return distances[:, 0].astype(np.float32) <= radii


def recall_interval(
    real: ArrayLike, generated: ArrayLike, *, seed: int, resamples: int = SUBSETS
) -> Interval:
    """The mean of `recall` and its 95 % interval, over generated images (`jackknife`)."""
    real_vectors, vectors = check_both(real, generated, MANIFOLD_K)
    check(vectors, None, MANIFOLD_K)
    k, n = MANIFOLD_K, len(vectors)
    rows = subsets(n, seed=seed, resamples=resamples, share=SHARE, least=k + 1)
    distances, nearest = neighbors.nearest(vectors, k=min(n - 1, LISTED * k))
    radii = np.full((len(rows), n), -1, dtype=np.float32)  # a ball of no size holds nothing
    for radius, members in zip(radii, rows, strict=True):
        inside = np.isin(nearest[members], members).cumsum(1)
        place = np.where(inside[:, -1] >= k, (inside >= k).argmax(1), -1)
        radius[members] = distances[members, place]

    def covered(distances: Vectors, _: slice) -> NDArray[np.bool_]:
        return np.stack([(distances <= radius).any(1) for radius in radii], axis=1)

    of_subsets = by_piece(vectors, real_vectors, covered).mean(0)
    value = float(recall(real_vectors, vectors).mean())
    return _share(jackknife(value, of_subsets, rows, n))


def coverage_interval(
    real: ArrayLike, generated: ArrayLike, *, seed: int, resamples: int = SUBSETS
) -> Interval:
    """The mean of `coverage` and its 95 % interval, over generated images (`jackknife`)."""
    real_vectors, vectors = check_both(real, generated, COVERAGE_K)
    radii = neighbors.nearest(real_vectors, k=COVERAGE_K)[0][:, -1].astype(np.float32)
    rows = subsets(len(vectors), seed=seed, resamples=resamples, share=SHARE)
    members = np.zeros((len(vectors), len(rows)), dtype=np.float32)
    for column, chosen in enumerate(rows):
        members[chosen, column] = 1

    def covered(distances: Vectors, reals: slice) -> NDArray[np.bool_]:
        inside = distances <= radii[reals, None]
        return inside.astype(np.float32) @ members > 0

    of_subsets = by_piece(vectors, real_vectors, covered).mean(0)
    value = float(coverage(real_vectors, vectors).mean())
    return _share(jackknife(value, of_subsets, rows, len(vectors)))


def _share(interval: Interval) -> Interval:
    """An interval of a share, which lies in [0, 1]."""
    value, low, high = interval
    return value, max(0.0, low), min(1.0, high)
