"""A row may be a part of an image: an object in a photograph, a tile of a large scan.

A region names a file and a box in it. All that reads pixels takes one in place of a path, and what
is ranked, mapped and shown is then the crop.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from mincurate import hashing

if TYPE_CHECKING:  # processes that decode know no pandas
    import pandas as pd

Box = tuple[float, float, float, float]
"""Left edge, top edge, width and height, as shares of the sides of the upright image."""
COLUMNS = ("box_x", "box_y", "box_width", "box_height")
"""The columns of a run's table that hold a `Box`; ``context`` is beside them."""


@dataclass(frozen=True)
class Region:
    """A part of an image.

    Attributes:
        path: of the file, or the URL of an object.
        box: what is cut out, within [0, 1].
    """

    path: str
    box: Box

    def __str__(self) -> str:
        x, y, width, height = (f"{100 * share:.4g}" for share in self.box)
        return f"{self.path} (box at {x} %, {y} %, {width} % x {height} %)"


FileOrRegion = str | Region
"""Where a picture comes from: a whole file, or a part of one."""


def path_of(place: FileOrRegion) -> str:
    """The file that a picture comes from."""
    return place if isinstance(place, str) else place.path


def widened(box: Box, context: float) -> Box:
    """The box with ``context`` times its sides added on each side, clipped to the image."""
    x, y, width, height = box
    left, top = max(0.0, x - context * width), max(0.0, y - context * height)
    right, bottom = min(1.0, x + (1 + context) * width), min(1.0, y + (1 + context) * height)
    return left, top, right - left, bottom - top


def pixels(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom in pixels; at least one pixel each way, within the image."""
    x, y, wide, high = box
    left, right = _span(x, wide, width)
    top, bottom = _span(y, high, height)
    return left, top, right, bottom


def _span(start: float, length: float, side: int) -> tuple[int, int]:
    first = min(max(math.floor(start * side + 0.5), 0), side - 1)
    last = math.floor((start + length) * side + 0.5)
    return first, min(max(last, first + 1), side)


def crop(img: Image.Image, box: Box) -> Image.Image:
    """The part of an upright image that a box holds."""
    return img.crop(pixels(box, *img.size))


def content_hash(file_hash: str, box: Box) -> str:
    """The hash of a region: that of its file's bytes, and its box."""
    return hashing.fingerprint([file_hash, list(box)])


def places(frame: "pd.DataFrame") -> list[FileOrRegion]:
    """Where the picture of each row of a run's table comes from."""
    paths = [str(path) for path in frame["path"]]
    if COLUMNS[0] not in frame:
        return list(paths)
    boxes = frame[[*COLUMNS, "context"]].astype("float64").itertuples(index=False, name=None)
    return [
        path if math.isnan(x) else Region(path, widened((x, y, width, height), context))
        for path, (x, y, width, height, context) in zip(paths, boxes, strict=True)
    ]
