"""Traits of a group of images: what is more frequent in it, or more extreme, than in all images."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mincurate.images.appearance import hue_names

LEANS, OFTEN = 1.5, 0.2
"""A label or hue is a trait if it is `LEANS` times as frequent in the group as in all images, and
at least `OFTEN` of the group have it."""
FEWEST = 3
"""Images of the group that have a label, a hue or a fault in common, at least."""
FAR = (0.1, 0.9)
"""A measure is a trait if the group's median lies beyond these percentiles of all images."""
WORDS = {
    "sharpness": ("blurrier", "sharper"),
    "brightness": ("darker", "brighter"),
    "contrast": ("flatter", "richer in contrast"),
    "colorfulness": ("greyer", "more colourful"),
    "complexity": ("plainer", "busier"),
    "size": ("smaller", "larger"),
    "aspect": ("more upright", "more stretched out"),
}
"""Measures, with the words for a low and a high value; size and aspect are computed from width and
height."""
MOST_MEASURES = 3
"""Measures among the traits of a group, at most: the most extreme ones."""


class Trait(NamedTuple):
    """A trait in a word or two, for the name of a group, and in full."""

    name: str
    words: str


def traits(
    images: pd.DataFrame, members: NDArray[np.int64], near: int | None = None
) -> tuple[Trait, ...]:
    """Traits of a group: broken files, labels, hue and measures, in this order.

    Args:
        images: all images, with the columns of the table.
        members: rows of the group.
        near: row of the nearest common image, whose label is a trait, too.
    """
    near_label = images["label"].iloc[near] if near is not None else None
    nearest = [Trait(f"near {near_label}", f"nearest to {near_label}")]
    return (
        *_broken(images, members),
        *_frequent(images["label"], members),
        *(nearest if isinstance(near_label, str) else []),
        *_hue(images, members),
        *_extreme(images, members),
    )


def _broken(images: pd.DataFrame, members: NDArray[np.int64]) -> list[Trait]:
    if "broken" not in images:
        return []
    counts = images["broken"].iloc[members].value_counts()
    often = counts[(counts >= FEWEST) & (counts >= OFTEN * len(members))] / len(members)
    return [Trait(str(name), f"{share:.0%} are {name}") for name, share in often.items()]


def _hue(images: pd.DataFrame, members: NDArray[np.int64]) -> list[Trait]:
    if "hue" not in images:
        return []
    hues = pd.Series(hue_names(images["hue"].to_numpy(np.float64)))
    return _frequent(hues, members)[:1]


def _frequent(values: pd.Series, members: NDArray[np.int64]) -> list[Trait]:
    """The values that are frequent in the group, by `LEANS`, `OFTEN` and `FEWEST`; two at most."""
    overall = {str(value): n / len(values) for value, n in values.value_counts().items()}
    frequent = []
    for value, n in values.iloc[members].value_counts().items():
        name, share = str(value), n / len(members)
        if n >= FEWEST and share >= max(OFTEN, LEANS * overall[name]):
            frequent.append(Trait(name, f"{share:.0%} are {name} ({_share(overall[name])} of all)"))
    return frequent[:2]


def _share(share: float) -> str:
    """In percent, where neither none nor all is meant."""
    return "under 1%" if share < 0.01 else f"{min(share, 0.99):.0%}"


def _extreme(images: pd.DataFrame, members: NDArray[np.int64]) -> list[Trait]:
    """The measures in which the group's median is extreme, by `FAR`; the most extreme first."""
    extreme = []
    for column, (low, high) in WORDS.items():
        values = _measure(images, column)
        measured = values[~np.isnan(values)]
        if len(measured) == 0 or np.isnan(values[members]).all():
            continue
        median = float(np.nanmedian(values[members]))
        # Half of the equal values count as below: in a column of one value nothing is extreme.
        below = ((measured < median).mean() + (measured <= median).mean()) / 2
        if not FAR[0] < below < FAR[1]:
            word, share = (low, 1 - below) if below <= FAR[0] else (high, below)
            extreme.append((share, Trait(word, f"{word} than {_share(share)} of all")))
    extreme.sort(key=lambda measure: -measure[0])
    return [trait for _, trait in extreme[:MOST_MEASURES]]


def _measure(images: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """A column of `WORDS`, ``(N,)``; NaN where the table does not have it."""
    if column in ("size", "aspect"):
        width, height = (images[side].to_numpy(np.float64) for side in ("width", "height"))
        return width * height if column == "size" else width / height
    if column not in images:
        return np.full(len(images), np.nan)
    return images[column].to_numpy(np.float64)
