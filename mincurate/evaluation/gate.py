"""The gate: which generated images are fit for a dataset, and what is wrong with the others.

Thresholds are not chosen but calibrated: each check, for itself, would flag a stated share of fresh
real images. Real images are compared leaving each one out, so that none has to be held back.
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
"""An image with several faults gets the first of these."""
NEAR_COPY_RATE = metrics.NEAR_COPY_RATE
OFF_MANIFOLD_RATE = 0.05
NOT_BELIEVED_RATE = 0.05


@dataclass(frozen=True)
class Gate:
    """Thresholds, in the feature space they were calibrated in.

    Attributes:
        near_copy: distance to a real image up to which an image is a near copy.
        allowance: factor, at least 1, by which the real balls grow (`metrics.ball_ratio`).
        floor: probability of the target class below which an image is not believed; None where
            there is no classifier.
        k: neighbours that a real image's ball reaches to.
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
            None for all. The allowance and the floor are theirs: rare real images lie off the
            manifold of the others far more often than common ones, and a gate calibrated on all
            would send back what was asked for.
        probability: ``(N,)`` in [0, 1], the classifier's probability of the generated class for
            the real images, at low noise; NaN where it is not known, which leaves an image out of
            the floor (see `unseen`); None without a classifier.
        near_copy_rate: share of fresh real images that would be called near copies.
        off_manifold_rate: share of fresh real images of the kind that would be called off the
            manifold, at most.
        not_believed_rate: share of fresh real images of the kind that would not be believed, at
            most.

    With fewer images of the kind than ``1 / rate`` a rate cannot be kept: the most extreme image
    sets the threshold, and the rate is about one in their number.

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
        known = believed[kind][~np.isnan(believed[kind])]
        if len(known) == 0:
            raise ValueError("no probability is known of a real image of the kind")
        floor = -_bound(-known, not_believed_rate)
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

    It believes its training images more than fresh ones: a floor for those would send back too
    many of these. Where fewer than ``1 / rate`` others of the kind are left, too few to keep the
    rate, all count.

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
    """What the gate says of every generated image.

    Args:
        real: the features ``(N, d)`` the gate was calibrated on.
        generated: ``(M, d)``.
        probability: ``(M,)`` in [0, 1], of the class that was asked for; needed where the gate has
            a floor.

    Returns:
        One row per generated image: ``reason`` (one of `REASONS`, None when accepted),
        ``nearest`` (index of the nearest real image), ``nearest_distance``, ``ball_ratio``, and
        ``probability`` (NaN without a classifier).
    """
    if (gate.floor is None) != (probability is None):
        raise ValueError("probabilities are needed by a gate with a floor, and by no other")
    far, index = metrics.nearest(real, generated)
    ratios = metrics.ball_ratio(real, generated, gate.k)
    believed = np.full(len(far), np.nan)
    doubted = np.zeros(len(far), dtype=bool)
    if gate.floor is not None:
        believed = np.asarray(probability, dtype=np.float64)
        if believed.shape != far.shape:
            raise ValueError(f"{believed.shape} probabilities for {len(far)} generated images")
        doubted = ~(believed >= gate.floor)  # no number at all is no belief either
    reasons = np.full(len(far), None, dtype=object)
    reasons[doubted] = NOT_BELIEVED
    reasons[ratios > gate.allowance] = OFF_MANIFOLD
    reasons[far <= gate.near_copy] = NEAR_COPY
    return pd.DataFrame(
        {
            "reason": pd.Series(reasons, dtype=object),
            "nearest": index,
            "nearest_distance": far,
            "ball_ratio": ratios,
            "probability": believed,
        }
    )


def counts(reasons: Iterable[str | None]) -> dict[str, int]:
    """How many images are ``accepted``, and how many are flagged for each of `REASONS`."""
    found = dict.fromkeys(("accepted", *REASONS), 0)
    for reason in reasons:
        found[reason if isinstance(reason, str) else "accepted"] += 1
    return found


def _bound(values: NDArray[np.float64], rate: float) -> float:
    """The value that a further one exceeds with a probability of at most ``rate``.

    The split-conformal quantile (Vovk et al., "Algorithmic Learning in a Random World", 2005); the
    largest value where there are too few for that.
    """
    n = len(values)
    place = min(n, int(np.ceil((n + 1) * (1 - rate))))
    return float(np.sort(values)[place - 1])
