"""JPEG 2000 of 16 bits: Pillow keeps their upper halves, which are black where only 12 are used.

OpenCV, which FiftyOne brings, reads all bits. Grey images Pillow keeps whole, and what declares 9
to 15 bits it takes for what it is.
"""

from typing import Any

import numpy as np

from mincurate.images.bit_depth import Samples

CUT = "only the upper 8 of its 16 bits are read"
_SIZE = b"\xff\x4f\xff\x51"


def depth(data: bytes) -> int:
    """Bits of the deepest component, as the codestream's header has them; 0 without a header."""
    start = data.find(_SIZE)
    count = int.from_bytes(data[start + 40 : start + 42], "big") if start >= 0 else 0
    return max(
        ((bits & 0x7F) + 1 for bits in data[start + 42 : start + 42 + 3 * count : 3]), default=0
    )


def read16(data: bytes, mode: str) -> tuple[Samples | None, str | None]:
    """All bits of a colour image of 16; ``None``, and perhaps a warning, where Pillow's have to do.

    Args:
        data: the file.
        mode: Pillow's, of the decoded image.
    """
    if mode == "I;16" or depth(data) < 16:
        return None, None
    values = _by_opencv(data) if mode in ("RGB", "RGBA") else None
    if values is None or values.dtype != np.uint16 or values.shape[2:] != (len(mode),):
        return None, CUT
    alpha = (values[..., 3] / 257).round().astype(np.uint8) if mode == "RGBA" else None
    return Samples(np.ascontiguousarray(values[..., 2::-1]), "rgb", alpha), None


def _by_opencv(data: bytes) -> Any:
    import cv2

    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
