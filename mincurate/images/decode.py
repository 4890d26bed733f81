"""A file becomes a tensor, or the reason why it cannot.

Files come from strangers. They are read once and as a whole, opened by an allow-list of formats,
refused by the size their header declares, and decoded completely: half an image is no image.
What a file's pixels mean is settled here, once: upright (EXIF), over white where transparent, RGB,
first frame, 16 bits scaled and not clipped; colour profiles are not applied.
"""

import ctypes
import io
import logging
import os
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import (  # a format is known once its plugin is imported
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageCms,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
    _imaging,
)

from mincurate import hashing
from mincurate.images import object_storage
from mincurate.images.appearance import Appearance, measure
from mincurate.images.sources import Source, sniff, why

Fit = Literal["crop", "pad", "stretch"]
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MAX_PIXELS = 178_956_970
"""Where Pillow, too, speaks of a decompression bomb: half a gigabyte of RGB."""
_LIMIT = f"the limit is {MAX_PIXELS // 10**6} megapixels"
MAX_BYTES = 2**30
_BORDER = (
    # What Pillow raises on a hostile file is whatever its parsers stumble over: there is no common
    # class and no documented list. Decoding alone runs under this net: it hides no bug elsewhere.
    *(OSError, SyntaxError, ValueError, LookupError, ArithmeticError, TypeError, AttributeError),
    *(AssertionError, RuntimeError, EOFError, BufferError, struct.error, zlib.error),
)
_ORIENTATION = 0x0112
# EXIF orientation: what undoes it, and whether that swaps the sides
_TURNS: dict[int, tuple[Image.Transpose | None, bool]] = {
    1: (None, False),
    2: (Image.Transpose.FLIP_LEFT_RIGHT, False),
    3: (Image.Transpose.ROTATE_180, False),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, False),
    5: (Image.Transpose.TRANSPOSE, True),
    6: (Image.Transpose.ROTATE_270, True),
    7: (Image.Transpose.TRANSVERSE, True),
    8: (Image.Transpose.ROTATE_90, True),
}
_SIXTEEN_TO_EIGHT = ((np.arange(2**16) + 128) // 257).astype(np.uint8)


class UnreadableImage(Exception):
    """The file holds no image that can be used; ``reason`` is a fragment fit for a table."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Identity:
    """What is known of a file before it is scored: either a reason or everything else."""

    content_hash: str | None = None
    """BLAKE2b, 128 bits, of the file's bytes."""
    width: int | None = None
    height: int | None = None
    """Pixels of the upright image."""
    complexity: float | None = None
    """Bytes per pixel of the fitted image as PNG, about 0 (flat) to 3 (noise): an upper bound on
    its information (Serra et al., 2020, "Input complexity and out-of-distribution detection")."""
    appearance: Appearance | None = None
    reason: str | None = None


def identify(source: Source, *, size: int | None, fit: Fit = "crop") -> Identity:
    """Hash, size, complexity (at ``size``, or at 32 where it is open) and looks, or the reason."""
    if source.reason:
        return Identity(reason=source.reason)
    try:
        data, img, (width, height) = _load(source.path, size or 32)
    except UnreadableImage as error:
        return Identity(reason=error.reason)
    fitted = fit_image(img, size or 32, fit)
    png = io.BytesIO()
    fitted.save(png, "PNG")
    complexity = png.tell() / (fitted.width * fitted.height)
    content = hashing.content_hash(data)
    return Identity(content, width, height, complexity, measure(img))


def decode(path: str, *, size: int, fit: Fit = "crop") -> np.ndarray:
    """The image as (3, size, size) uint8, RGB; raises `UnreadableImage`."""
    _, img, _ = _load(path, size)
    return np.ascontiguousarray(np.asarray(fit_image(img, size, fit)).transpose(2, 0, 1))


def fit_image(img: Image.Image, size: int, fit: Fit = "crop") -> Image.Image:
    """An RGB image as ``size`` x ``size``; one that has this size already comes back unchanged.

    ``crop`` keeps the centre square, ``pad`` adds borders in the image's mean colour (black ones
    would be the most striking thing in the picture), ``stretch`` ignores the proportions.
    Shrinking is antialiased (Lanczos), growing bicubic.
    """
    if fit == "crop":
        side = min(img.size)
        left, top = (img.width - side) // 2, (img.height - side) // 2
        return _resize(img.crop((left, top, left + side, top + side)), (size, size))
    if fit == "stretch":
        return _resize(img, (size, size))
    if fit != "pad":
        raise ValueError(f"fit is crop, pad or stretch, not {fit!r}")
    scale = size / max(img.size)
    small = _resize(img, (max(1, round(img.width * scale)), max(1, round(img.height * scale))))
    red, green, blue = np.asarray(small).mean((0, 1)).round().astype(int).tolist()
    square = Image.new("RGB", (size, size), (red, green, blue))
    square.paste(small, ((size - small.width) // 2, (size - small.height) // 2))
    return square


def _resize(img: Image.Image, target: tuple[int, int]) -> Image.Image:
    if img.size == target:
        return img
    shrinks = target[0] < img.width or target[1] < img.height
    return img.resize(target, Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC)


def _load(path: str, size: int) -> tuple[bytes, Image.Image, tuple[int, int]]:
    """The file's bytes, its image as upright RGB, and the (width, height) of that in full.

    The image may come reduced, though never below three times ``size``.
    """
    try:
        data = _read(path)
        with _QUIET:
            try:
                return data, *_open(data, size)
            except Image.DecompressionBombError:  # from inside of a parser, without its numbers
                raise UnreadableImage(f"too large: {_LIMIT}") from None
            except _BORDER:
                raise UnreadableImage(_what_is_wrong(data)) from None
    except MemoryError:
        raise UnreadableImage("not enough memory to decode it") from None


def _read(path: str) -> bytes:
    try:
        data = (
            object_storage.read(path, MAX_BYTES)
            if object_storage.remote(path)
            else _read_file(path)
        )
    except OSError as error:
        raise UnreadableImage(why(error)) from None
    except ValueError:  # a NUL character in it
        raise UnreadableImage("not a valid path") from None
    if not data:
        raise UnreadableImage("empty file")
    return data


def _read_file(path: str) -> bytes:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # opening a pipe could wait for ever
        folder = stat.S_ISDIR(status.st_mode)
        raise UnreadableImage("a folder, not a file" if folder else "not a regular file")
    if status.st_size > MAX_BYTES:
        gib = f"{status.st_size / 2**30:.1f} GiB"
        raise UnreadableImage(f"too large: {gib}, the limit is {MAX_BYTES >> 30} GiB")
    with open(path, "rb") as file:
        return file.read(MAX_BYTES)


def _open(data: bytes, size: int) -> tuple[Image.Image, tuple[int, int]]:
    try:
        img: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = img.size
    except Image.DecompressionBombError:
        width, height = Image.OPEN[sniff(data[:512]) or ""][0](io.BytesIO(data), "").size
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"too large: {width} x {height} pixels, {_LIMIT}")
    if img.format == "PNG":  # decoding alone overlooks wrong checksums and a missing end
        img.verify()
        img = Image.open(io.BytesIO(data), formats=FORMATS)
    img.draft(None, (3 * size, 3 * size))  # a JPEG decodes to a half, quarter, eighth for less
    img.load()
    try:
        turn, sideways = _TURNS[img.getexif().get(_ORIENTATION, 1)]
    except _BORDER:  # damaged EXIF beside a good image
        turn, sideways = None, False
    rgb = _rgb(img)
    upright = rgb if turn is None else rgb.transpose(turn)
    return upright, (height, width) if sideways else (width, height)


def _rgb(img: Image.Image) -> Image.Image:
    if img.mode == "RGB" and not img.has_transparency_data:
        return img
    if img.mode in ("I", "F") or img.mode.startswith("I;16"):
        return _eight_bits(img).convert("RGB")
    if img.mode == "LAB":  # Image.convert would take its numbers for something else
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        to_srgb = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
        return ImageCms.applyTransform(img, to_srgb) or img  # None only where done in place
    if img.has_transparency_data:
        img = img.convert("RGBA")
        white = Image.new("RGB", img.size, "white")
        white.paste(img, mask=img.getchannel("A"))
        return white
    return img.convert("RGB")


def _eight_bits(img: Image.Image) -> Image.Image:
    """Greyscale of 16 or 32 bits scaled to 8, where `Image.convert` would clip it to white.

    65535 of 16 bits is white, in every image alike. Wider numbers declare no white: they are
    taken for the first range that holds them of 0..1 (fractions only), 0..255 and 0..65535, and
    else run from their smallest to their largest value.
    """
    if img.mode.startswith("I;16"):
        return Image.fromarray(_SIXTEEN_TO_EIGHT[np.asarray(img)])
    values = np.asarray(img, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite((low, high)).all():
        raise UnreadableImage("pixel values that are not finite numbers")
    whites = (255, 65535) if img.mode == "I" else (1, 255, 65535)
    black, white = next(((0, white) for white in whites if low >= 0 and high <= white), (low, high))
    scaled = (values - black) * (255 / (white - black or 1))
    return Image.fromarray(scaled.round().astype(np.uint8))


def _what_is_wrong(data: bytes) -> str:
    kind = sniff(data[:512])
    if kind in ("TIFF", "BMP"):  # formats with more variants than anybody reads
        return f"damaged or unsupported {kind} file"
    if kind in FORMATS:
        return f"truncated or damaged {kind} file"
    return f"unsupported format: {kind}" if kind else "not an image"


class _Quiet:
    """Inside, Pillow's warnings and libtiff's own lines on stderr stay unheard.

    Both settings belong to the process, so of all the threads inside the first one in changes
    them and the last one out changes them back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._set_tiff_handler: Callable[[int | None], int | None] = lambda handler: None
        with suppress(OSError, AttributeError):  # where Pillow's libtiff cannot be reached
            function = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
            self._set_tiff_handler = function
        logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its errors are printed

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\b")
                self._tiff_handler = self._set_tiff_handler(None)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._set_tiff_handler(self._tiff_handler)
                self._warnings.__exit__(None, None, None)


_QUIET = _Quiet()
