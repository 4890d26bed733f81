"""How sure a mean over images is: 95 % intervals."""

import numpy as np
from numpy.typing import ArrayLike

Interval = tuple[float, float, float]
"""Value, and the lower and upper end of its 95 % interval."""
BATCH_BYTES = 32 * 2**20
"""Resampled values held at once."""


def interval(values: ArrayLike, *, seed: int, resamples: int = 1000) -> Interval:
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
