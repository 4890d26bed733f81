"""How an image looks, in five numbers, and what is broken about it.

The numbers are measured once, when a file is identified; whether an image is blurred depends on
the others: a set may be soft as a whole.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:  # processes that decode measure, too, and know no pandas
    import pandas as pd


SIDE = 256
"""The shorter side is reduced to less than twice that: no blur that matters is lost."""
BLANK = 0.01
"""Contrast below which an image is blank: two and a half of 256 levels."""
DEVIATIONS = 4.0
"""How many deviations an image's sharpness lies below that of its set when it is blurred."""
FEWEST = 20
"""Images whose sharpness is known, at least, before any is called blurred."""
GREY = 0.03
"""Chroma of the mean colour below which an image has no hue."""
HUES = {
    "red": 15,
    "orange": 45,
    "yellow": 75,
    "green": 165,
    "cyan": 200,
    "blue": 260,
    "magenta": 345,
}
"""What a hue is called below so many degrees; beyond the last it is red again."""
NO_VECTOR = "no vector that can be used in "
"""How the reason of a readable image begins that the user's own vectors leave out."""
UNREADABLE, COPY, BLANKNESS, BLUR = "unreadable", "copy", "blank", "blurred"


class Appearance(NamedTuple):
    """What is measured, of pixels in [0, 1].

    Attributes:
        brightness: mean luma (Rec. 601).
        contrast: standard deviation of the channel in which it is greatest.
        sharpness: mean absolute Laplacian over mean gradient of the luma, about 0.2 (blurred) to 2
            (noise): how much of the edges is fine. ``None`` where there is no edge.
        colorfulness: Hasler and Suesstrunk, 2003, "Measuring colourfulness in natural images", at
            1/255 of their scale; 0 is grey.
        hue: of the mean colour, in degrees: 0 red, 60 yellow, 120 green, 180 cyan, 240 blue, 300
            magenta. ``None`` where it is nearly grey.
    """

    brightness: float
    contrast: float
    sharpness: float | None
    colorfulness: float
    hue: float | None


NAMES = Appearance._fields


def measure(img: Image.Image) -> Appearance:
    """Measure an RGB image."""
    factor = min(img.size) // SIDE
    pixels = np.asarray(img.reduce(factor) if factor > 1 else img, np.float32) / 255
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    one, two = red - green, (red + green) / 2 - blue
    spread, middle = np.hypot(one.std(), two.std()), np.hypot(one.mean(), two.mean())
    return Appearance(
        float(luma.mean()),
        float(pixels.std((0, 1)).max()),
        _sharpness(luma),
        float(spread + 0.3 * middle),
        _hue(*(float(channel.mean()) for channel in (red, green, blue))),
    )


def _hue(red: float, green: float, blue: float) -> float | None:
    """The angle of a colour in the plane of chroma, in degrees."""
    along, across = red - (green + blue) / 2, math.sqrt(3) / 2 * (green - blue)
    if math.hypot(along, across) < GREY:
        return None
    return math.degrees(math.atan2(across, along)) % 360


def hue_names(degrees: NDArray[np.float64]) -> NDArray[np.object_]:
    """Hues ``(N,)`` in words (`HUES`); ``grey`` for NaN."""
    names = np.array([*HUES, "red"], object)
    words = names[np.searchsorted(list(HUES.values()), degrees, side="right").clip(0, len(HUES))]
    return np.where(np.isnan(degrees), "grey", words)


def _sharpness(luma: NDArray[np.floating]) -> float | None:
    if min(luma.shape) < 3:
        return None
    gradient = np.hypot(np.diff(luma, axis=1)[:-1], np.diff(luma, axis=0)[:, :-1]).mean()
    if gradient < 1e-4:
        return None
    inner = luma[1:-1, 1:-1]
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float(np.abs(4 * inner - around).mean() / gradient)


def sharpness_floor(sharpness: NDArray[np.float64]) -> float:
    """The sharpness below which an image of this set is blurred; 0 where there are too few.

    `DEVIATIONS` below the median of the logarithms, by their median absolute deviation.
    """
    log_sharpness = np.log(sharpness[sharpness > 0])
    if len(log_sharpness) < FEWEST:
        return 0.0
    middle = np.median(log_sharpness)
    # Drawings may be equally sharp to the last digit; a tenth less is not blurred yet.
    deviation = max(1.4826 * float(np.median(np.abs(log_sharpness - middle))), 0.05)
    return float(np.exp(middle - DEVIATIONS * deviation))


def broken(frame: "pd.DataFrame", floor: float) -> NDArray[np.object_]:
    """What is broken about each file of a run's table, in a word, or ``None``.

    Args:
        frame: with ``status``, ``reason``, ``duplicate_of``, ``contrast`` and ``sharpness``.
        floor: `sharpness_floor` of the set.
    """
    contrast, sharpness = (
        frame[name].astype("float64").to_numpy() for name in ("contrast", "sharpness")
    )
    words = np.full(len(frame), None, object)
    words[sharpness < floor] = BLUR
    words[contrast < BLANK] = BLANKNESS
    words[frame["duplicate_of"].notna().to_numpy(bool)] = COPY
    whole = frame["reason"].astype("string").str.startswith(NO_VECTOR).fillna(False)
    words[((frame["status"] != "ok") & ~whole).to_numpy(bool)] = UNREADABLE
    return words
