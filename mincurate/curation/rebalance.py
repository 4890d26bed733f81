"""How many images every class should have, and two ways there: adding and weighting."""

import math
from collections.abc import Hashable, Mapping
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mincurate.errors import UserError

By = Literal["label", "class", "minority"]
COLUMN_OF: dict[str, str] = {
    "label": "label",
    "class": "rarity_class",
    "minority": "minority_class",
}
"""The columns of `gather.gather` to rebalance by."""
Target = Literal["uniform", "sqrt"] | int
COLUMNS = ["class", "have", "target", "add", "weight"]


def count(labels: ArrayLike) -> dict[Hashable, int]:
    """Images per label or ordinal class; images without one (None, NaN) are not counted."""
    names = pd.Series(labels, dtype=object).dropna()
    return {name: int(n) for name, n in names.value_counts(sort=False).items()}


def plan(
    counts: Mapping[Hashable, int],
    to: Target = "uniform",
    *,
    real: Mapping[Hashable, int] | None = None,
) -> pd.DataFrame:
    """How many images every class has and should have.

    Args:
        counts: class to number of images, 0 or more.
        real: how many of them are real, where some are generated or mined. The targets follow from
            these, so that they stay the same when images are added.
        to: ``uniform``, as many of each as the largest class has; ``sqrt``, in proportion to the
            square root of what there is, the largest class staying as it is (Mahajan et al.,
            "Exploring the Limits of Weakly Supervised Pretraining", ECCV 2018); or a number for
            every class, which may be lower than what a class has.

    Returns:
        One row per class, in the order of the classes: ``class``, ``have``, ``target``, ``add``
        (images to generate, 0 or more; none are removed), and ``weight``: how often to draw an
        image of the class, with mean 1 over the images, so that without any new image the classes
        are drawn in proportion to their targets. A class without an image has weight 0.

    Raises:
        UserError: there is no image in any class, or no such target.
    """
    if isinstance(to, bool) or not (to in ("uniform", "sqrt") or isinstance(to, int)):
        raise UserError(f"Rebalance to uniform, sqrt or a number per class, not to {to!r}.")
    if isinstance(to, int) and to < 1:
        raise UserError(f"Rebalance to at least 1 image per class, not to {to}.")
    if any(n < 0 for n in counts.values()):
        raise ValueError("a class cannot have fewer than 0 images")
    classes = sorted(counts, key=_order)
    have = np.array([counts[name] for name in classes], dtype=np.int64)
    if have.sum() == 0:
        raise UserError("There is no image with a class to rebalance.")
    before = have
    if real is not None and any(real.values()):
        before = np.array([real.get(name, 0) for name in classes], dtype=np.int64)
    most = int(before.max())
    if to == "uniform":
        target = np.full_like(have, most)
    elif to == "sqrt":
        target = np.array([_rounded_root(int(n) * most) for n in before], dtype=np.int64)
    else:
        target = np.full_like(have, to)
    rate = np.divide(target, have, out=np.zeros(len(have)), where=have > 0)
    rows = {
        "class": pd.Series(classes, dtype=object).infer_objects(),
        "have": have,
        "target": target,
        "add": np.maximum(0, target - have),
        "weight": rate * have.sum() / (rate * have).sum(),
    }
    return pd.DataFrame(rows, columns=COLUMNS)


def sampling_weights(
    labels: ArrayLike, to: Target = "uniform", *, real: Mapping[Hashable, int] | None = None
) -> NDArray[np.float64]:
    """A weight per image, ``(N,)``, for ``torch.utils.data.WeightedRandomSampler(weights, N)``.

    The classes are drawn in proportion to the targets of `plan`, which takes ``real``. Images
    without a label (None, NaN) have weight 0 and are never drawn.

    Raises:
        UserError: as `plan`.
    """
    names = pd.Series(labels, dtype=object)
    table = plan(count(names), to, real=real)
    weights = names.map(dict(zip(table["class"], table["weight"], strict=True)))
    return np.array(weights.fillna(0), dtype=np.float64)  # torch wants it writable


def _order(name: Hashable) -> tuple[bool, float, str]:
    """Numbers first, by value; then names."""
    number = isinstance(name, int | float | np.number)
    return (False, float(name), "") if number else (True, 0.0, str(name))  # type: ignore[arg-type]


def _rounded_root(n: int) -> int:
    root = math.isqrt(n)
    return root + (n > root * (root + 1))


def plan_for(images: pd.DataFrame, by: By, to: Target, cap: int | None = None) -> pd.DataFrame:
    """`plan` of images in use; ``generate`` is how many to generate, ``add`` but at most ``cap``.

    Args:
        images: as `gather.in_use` gives them: accepted generated images count, and mined ones that
            were kept.

    Raises:
        UserError: no image has a label, or there is no such target.
    """
    values = images[COLUMN_OF[by]]
    if values.isna().all():
        raise UserError(f"No image of this run has a {by} to rebalance by.")
    table = plan(count(values), to, real=_real(images, by))
    most = table["add"].max() if cap is None else cap
    return table.assign(generate=np.minimum(table["add"], most))


def weights_for(images: pd.DataFrame, by: By, to: Target) -> pd.DataFrame:
    """``path`` and ``weight`` of every image, for ``WeightedRandomSampler(weights, N)``."""
    labels = images[COLUMN_OF[by]].tolist()
    weights = sampling_weights(labels, to, real=_real(images, by))
    return pd.DataFrame({"path": images["path"].to_numpy(), "weight": weights})


def _real(images: pd.DataFrame, by: By) -> dict[Hashable, int]:
    mined = images["mined"] == True if "mined" in images else False  # noqa: E712
    return count(images.loc[(images["source"] == "real") & ~mined, COLUMN_OF[by]])
