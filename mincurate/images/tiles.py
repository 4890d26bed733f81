"""Large images as tiles: every image becomes the boxes of a grid, whose rows are ranked."""

import re
from dataclasses import dataclass, replace

from mincurate.errors import UserError
from mincurate.images.decode import Identity
from mincurate.images.regions import Box
from mincurate.images.sources import Source

LEAST = 8
"""Smallest side of a tile, in pixels."""
MOST = 1_000_000
"""Tiles of a run, at most."""


@dataclass(frozen=True)
class Tiling:
    """A grid of squares.

    Attributes:
        size: side of a tile, in pixels of the upright image.
        stride: from the left edge of a tile to that of the next one, and likewise downwards.
    """

    size: int
    stride: int

    @classmethod
    def parse(cls, text: str) -> "Tiling":
        """``SIZE`` or ``SIZE/STRIDE``.

        Raises:
            UserError: it is neither.
        """
        found = re.fullmatch(r"\s*(\d{1,6})\s*(?:/\s*(\d{1,6})\s*)?", text)
        size = int(found[1]) if found else 0
        stride = int(found[2] or size) if found else 0
        if size < LEAST or not 1 <= stride <= size:
            raise UserError(
                f"--tiles is SIZE or SIZE/STRIDE in pixels, such as 256 or 256/128, not {text!r}; "
                f"a tile has {LEAST} pixels or more, and the stride is at most the size."
            )
        return cls(size, stride)

    def __str__(self) -> str:
        return f"{self.size}/{self.stride}"

    def starts(self, length: int) -> list[int]:
        """Where tiles start along a side of ``length`` pixels; the last one ends at its end."""
        last = max(0, length - self.size)
        return [*range(0, last, self.stride), last]

    def boxes(self, width: int, height: int) -> dict[str, Box]:
        """The tiles of an image, row by row, by their left and top edge: ``x,y`` in pixels."""
        wide, high = min(self.size, width), min(self.size, height)
        return {
            f"{x},{y}": (x / width, y / height, wide / width, high / height)
            for y in self.starts(height)
            for x in self.starts(width)
        }


def sources(images: list[Source], identities: list[Identity], tiling: Tiling) -> list[Source]:
    """The tiles of all images; an image that cannot be read stays one row, with its reason.

    Args:
        identities: of the images, with their sizes.

    Raises:
        UserError: there are more than `MOST` tiles.
    """
    rows: list[Source] = []
    for image, identity in zip(images, identities, strict=True):
        if not identity.width or not identity.height:
            rows.append(replace(image, reason=image.reason or identity.reason))
            continue
        for place, box in tiling.boxes(identity.width, identity.height).items():
            name = f"{image.rel_path}#{place}"
            rows.append(replace(image, rel_path=name, box=box, context=0.0, object_id=place))
        if len(rows) > MOST:
            raise UserError(
                f"These images have more than {MOST:,} tiles of {tiling.size} px: take larger "
                "tiles, or fewer images (--max-images)."
            )
    return rows
