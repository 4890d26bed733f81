"""The boxes around the polygons and masks of COCO files, for objects whose box is not there.

Masks are run lengths, column by column, as numbers or as text
(https://github.com/cocodataset/cocoapi, ``common/maskApi.c``).
"""

import math
from collections.abc import Sequence
from typing import Any

Outline = tuple[float, float, float, float]
"""Left edge, top edge, width and height, in pixels."""
MOST = 2**32
"""Pixels of a mask, at most."""


def around(segmentation: Any) -> Outline | None:
    """The box around polygons or a mask; ``None`` where there are none, or something else."""
    try:
        if isinstance(segmentation, dict):
            height, width = (int(side) for side in segmentation["size"])
            return _around_mask(_runs(segmentation["counts"]), height, width)
        if isinstance(segmentation, list):
            return _around_points([float(n) for shape in segmentation for n in _pairs(shape)])
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    return None


def _pairs(shape: Sequence[Any]) -> Sequence[Any]:
    if len(shape) % 2:
        raise ValueError
    return shape


def _around_points(numbers: list[float]) -> Outline | None:
    xs, ys = numbers[::2], numbers[1::2]
    if not xs or not all(map(math.isfinite, numbers)):
        return None
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def _around_mask(runs: list[int], height: int, width: int) -> Outline | None:
    """Runs are of background and object in turn, down the columns from the left."""
    whole = 0 < height * width <= MOST and min(height, width) > 0 and sum(runs) == height * width
    if not whole or min(runs) < 0:
        return None
    edges: list[tuple[int, int, int, int]] = []
    start = 0
    for place, length in enumerate(runs):
        if place % 2 and length:
            left, right = start // height, (start + length - 1) // height
            top, bottom = start % height, (start + length - 1) % height
            edges.append((left, right, *((top, bottom) if left == right else (0, height - 1))))
        start += length
    if not edges:
        return None
    lefts, rights, tops, bottoms = zip(*edges, strict=True)
    left, top = min(lefts), min(tops)
    return left, top, max(rights) + 1 - left, max(bottoms) + 1 - top


def _runs(counts: Any) -> list[int]:
    """Run lengths; in text each is digits of five bits, and from the fourth on the difference to
    the one before the last."""
    if isinstance(counts, list):
        return [int(count) for count in counts]
    runs: list[int] = []
    value = shift = 0
    for letter in counts.encode("ascii"):
        digit = letter - 48
        value |= (digit & 0x1F) << shift
        shift += 5
        if shift > 60:
            raise ValueError
        if digit & 0x20:
            continue
        if digit & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
