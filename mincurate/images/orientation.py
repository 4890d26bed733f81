"""Which way up an image is, as EXIF has it."""

from PIL import Image

from mincurate.images.formats import BORDER

_ORIENTATION = 0x0112
TURNS: dict[int, tuple[Image.Transpose | None, bool]] = {
    1: (None, False),
    2: (Image.Transpose.FLIP_LEFT_RIGHT, False),
    3: (Image.Transpose.ROTATE_180, False),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, False),
    5: (Image.Transpose.TRANSPOSE, True),
    6: (Image.Transpose.ROTATE_270, True),
    7: (Image.Transpose.TRANSVERSE, True),
    8: (Image.Transpose.ROTATE_90, True),
}
"""EXIF orientation: what undoes it, and whether that swaps the sides."""


def orientation(img: Image.Image) -> int:
    """The EXIF orientation of an image; 1, upright, where it has none."""
    for name in ("xmp", "XML:com.adobe.xmp"):  # of which browsers and libvips take no orientation
        img.info.pop(name, None)
    try:
        turn = img.getexif().get(_ORIENTATION, 1)
    except BORDER:  # damaged EXIF beside a good image
        return 1
    return turn if turn in TURNS else 1
