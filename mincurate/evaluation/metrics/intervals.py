"""How sure a metric is: 95 % intervals.

A mean over images is resampled with replacement (bootstrap). Metrics of a whole set of generated
images cannot be: a draw with replacement has fewer different images, which moves Fréchet distances
and shrinks the balls around neighbours. They are resampled without replacement (delete-d
jackknife: Shao and Wu, "A General Theory for Jackknife Variance Estimation", 1989).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float, float]
"""Value, and the lower and upper end of its 95 % interval."""
RESAMPLES = 1000
"""Draws of a bootstrap."""
SUBSETS = 50
"""Subsets of a jackknife."""
BATCH_BYTES = 32 * 2**20
"""Resampled values held at once."""


def interval(values: ArrayLike, *, seed: int, resamples: int = RESAMPLES) -> Interval:
    """Mean of ``values`` and its 95 % bootstrap interval ``(mean, low, high)``, over images.

    Percentiles of the means of ``resamples`` draws with replacement (`scipy.stats.bootstrap`).
    NaN (no value) is left out; without any value all three are NaN. A share of exactly 0 or 1 has
    an interval of no width: it only says that less than about ``3 / len(values)`` are otherwise.
    """
    from scipy.stats import bootstrap

    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[~np.isnan(numbers)]
    if len(numbers) == 0:
        return np.nan, np.nan, np.nan
    mean = float(numbers.mean())
    if len(numbers) == 1:
        return mean, mean, mean
    ends = bootstrap(
        (numbers,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, BATCH_BYTES // numbers.nbytes),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return mean, float(ends.low), float(ends.high)


def subsets(
    n: int, *, seed: int, resamples: int = SUBSETS, share: float = 0.5, least: int = 2
) -> list[NDArray[np.int64]]:
    """Random subsets of ``n`` images, as rows: this share of them, but not fewer than ``least``."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(n)[: max(int(share * n), least)] for _ in range(resamples)]


def jackknife(
    value: float, of_subsets: ArrayLike, rows: Sequence[NDArray[np.int64]], n: int
) -> Interval:
    """The interval of a metric of ``n`` images: 1.96 standard deviations to both sides.

    Args:
        value: of all images.
        of_subsets: of each of the `subsets` ``rows``.
    """
    size = len(rows[0])
    spread = float(np.std(np.asarray(of_subsets, dtype=np.float64), ddof=1))
    width = 1.96 * spread * float(np.sqrt(size / (n - size)))
    return value, value - width, value + width
