"""The gate: which generated images may go into a dataset, and why the others are rejected.

Thresholds are calibrated, not chosen: each check alone would reject a stated share of fresh real
images. Real images are compared leave-one-out, so that none has to be held out.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mincurate.errors import UserError
from mincurate.evaluation import metrics

NEAR_COPY, OFF_MANIFOLD, NOT_BELIEVED = "near-copy", "off-manifold", "not-believed"
REASONS = (NEAR_COPY, OFF_MANIFOLD, NOT_BELIEVED)
"""An image that fails several checks gets the first of these."""
NEAR_COPY_RATE = metrics.NEAR_COPY_RATE
OFF_MANIFOLD_RATE = 0.05
NOT_BELIEVED_RATE = 0.05


@dataclass(frozen=True)
class Gate:
    """Thresholds, in the feature space they were calibrated in.

    Attributes:
        near_copy: distance to a real image up to which an image is a near copy.
        allowance: factor, at least 1, by which the real balls grow (`metrics.ball_ratio`).
        floor: probability of the target class below which an image is rejected; None without a
            classifier.
        k: a real image's ball reaches to its k-th neighbour.
        feature_space: what the features are.
    """

    near_copy: float
    allowance: float
    floor: float | None
    k: int
    feature_space: str


def calibrate(
    real: ArrayLike,
    *,
    feature_space: str,
    like: ArrayLike | None = None,
    probability: ArrayLike | None = None,
    near_copy_rate: float = NEAR_COPY_RATE,
    off_manifold_rate: float = OFF_MANIFOLD_RATE,
    not_believed_rate: float = NOT_BELIEVED_RATE,
    k: int = metrics.MANIFOLD_K,
) -> Gate:
    """Thresholds from the real training images.

    Args:
        real: features ``(N, d)`` of the training images, every image once.
        like: ``(N,)`` true for the real images of the kind that is generated, or their indices;
            None for all. They set the allowance and the floor: rare real images lie off the
            manifold of the others far more often than common ones, and a gate calibrated on all
            would reject what was asked for.
        probability: ``(N,)`` in [0, 1], the classifier's probability of the generated class for
            the real images, at low noise; NaN leaves an image out of the floor (see `unseen`);
            None without a classifier.
        near_copy_rate: share of fresh real images that would be called near copies.
        off_manifold_rate: share of fresh real images of the kind that would be called off the
            manifold, at most.
        not_believed_rate: share of fresh real images of the kind that would fall below the floor,
            at most.

    With fewer images of the kind than ``1 / rate`` a rate cannot be met: the most extreme image
    sets the threshold, and the rate is about one divided by their number.

    Raises:
        UserError: there are too few real images, or none of the kind.
    """
    for rate in (near_copy_rate, off_manifold_rate, not_believed_rate):
        if not 0 <= rate < 1:
            raise ValueError(f"a rate is at least 0 and below 1, not {rate}")
    ratios = metrics.ball_ratio(real, k=k)
    kind = np.arange(len(ratios)) if like is None else np.arange(len(ratios))[np.asarray(like)]
    if len(kind) == 0:
        raise UserError("There is no real image of the class that is generated to calibrate on.")
    floor = None
    if probability is not None:
        believed = np.asarray(probability, dtype=np.float64)
        if believed.shape != ratios.shape:
            raise ValueError(f"{believed.shape} probabilities for {len(ratios)} real images")
        of_kind = believed[kind][~np.isnan(believed[kind])]
        if len(of_kind) == 0:
            raise ValueError("no real image of the kind has a probability")
        floor = -_bound(-of_kind, not_believed_rate)
    return Gate(
        near_copy=metrics.near_copy_distance(real, near_copy_rate),
        allowance=max(1.0, _bound(ratios[kind], off_manifold_rate)),
        floor=floor,
        k=k,
        feature_space=feature_space,
    )


def unseen(
    probability: ArrayLike,
    seen: ArrayLike,
    like: ArrayLike | None = None,
    rate: float = NOT_BELIEVED_RATE,
) -> NDArray[np.float64]:
    """The probabilities to `calibrate` a floor on: those of images the classifier did not train on.

    It gives its training images higher probabilities than fresh ones: a floor from those would
    reject too many of these. Where fewer than ``1 / rate`` others of the kind are left, too few to
    meet the rate, all count.

    Args:
        probability: ``(N,)``, as in `calibrate`.
        seen: ``(N,)`` true for the images that the classifier was trained on, or their indices.
        like: as in `calibrate`.

    Returns:
        ``(N,)``, NaN for the images that do not count.
    """
    believed = np.array(probability, dtype=np.float64)
    fresh = np.ones(len(believed), dtype=bool)
    fresh[np.asarray(seen)] = False
    kind = np.ones(len(believed), dtype=bool)
    if like is not None:
        kind[:] = False
        kind[np.asarray(like)] = True
    if (fresh & kind).sum() >= 1 / rate:
        believed[~fresh] = np.nan
    return believed


def inspect(
    gate: Gate, real: ArrayLike, generated: ArrayLike, probability: ArrayLike | None = None
) -> pd.DataFrame:
    """Check every generated image.

    Args:
        real: the features ``(N, d)`` the gate was calibrated on.
        generated: ``(M, d)``.
        probability: ``(M,)`` in [0, 1], of the target class; needed where the gate has a floor.

    Returns:
        One row per generated image: ``reason`` (one of `REASONS`, None when accepted),
        ``nearest`` (index of the nearest real image), ``nearest_distance``, ``ball_ratio``, and
        ``probability`` (NaN without a classifier).
    """
    if (gate.floor is None) != (probability is None):
        raise ValueError("probabilities are needed by a gate with a floor, and by no other")
    distances, nearest = metrics.nearest(real, generated)
    ratios = metrics.ball_ratio(real, generated, gate.k)
    believed = np.full(len(distances), np.nan)
    below_floor = np.zeros(len(distances), dtype=bool)
    if gate.floor is not None:
        believed = np.asarray(probability, dtype=np.float64)
        if believed.shape != distances.shape:
            raise ValueError(
                f"{believed.shape} probabilities for {len(distances)} generated images"
            )
        below_floor = ~(believed >= gate.floor)  # NaN is below it, too
    reasons = np.full(len(distances), None, dtype=object)
    reasons[below_floor] = NOT_BELIEVED
    reasons[ratios > gate.allowance] = OFF_MANIFOLD
    reasons[distances <= gate.near_copy] = NEAR_COPY
    return pd.DataFrame(
        {
            "reason": pd.Series(reasons, dtype=object),
            "nearest": nearest,
            "nearest_distance": distances,
            "ball_ratio": ratios,
            "probability": believed,
        }
    )


def counts(reasons: Iterable[str | None]) -> dict[str, int]:
    """How many images are ``accepted``, and how many are rejected for each of `REASONS`."""
    totals = dict.fromkeys(("accepted", *REASONS), 0)
    for reason in reasons:
        totals[reason if isinstance(reason, str) else "accepted"] += 1
    return totals


def _bound(values: NDArray[np.float64], rate: float) -> float:
    """The value that a fresh one exceeds with a probability of at most ``rate``.

    The split-conformal quantile (Vovk et al., "Algorithmic Learning in a Random World", 2005); the
    largest value where there are too few for that.
    """
    n = len(values)
    rank = min(n, int(np.ceil((n + 1) * (1 - rate))))
    return float(np.sort(values)[rank - 1])
