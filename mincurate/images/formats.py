"""What Pillow does not do by itself: damage that harms no pixel, and numbers it would cut to eight.

Nothing is guessed. A damaged part is left out where the picture does not depend on it, and an end
marker is put where nothing but it is missing; rows that are not there are never made up.
"""

import ctypes
import io
import logging
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, _imaging

from mincurate.errors import UnreadableImage
from mincurate.images.bit_depth import Samples

BORDER = (
    # What Pillow raises on a hostile file is whatever its parsers stumble over: there is no common
    # class and no documented list. Decoding alone runs under this net: it hides no bug elsewhere.
    *(OSError, SyntaxError, ValueError, LookupError, ArithmeticError, TypeError, AttributeError),
    *(AssertionError, RuntimeError, EOFError, BufferError, struct.error, zlib.error),
)
CUT_OFF = "cut off: a part of the image is missing"
NO_END = "the end of the file is missing; the image is complete"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_NEEDED = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_COLORS = (b"tRNS",)
_MORE = (b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"eXIf")


def png_versions(data: bytes) -> Iterator[tuple[bytes, str | None]]:
    """A PNG with fewer and fewer chunks, each with a warning; the first that decodes is right.

    Texts and whatever else does not change the picture are always left out.

    Raises:
        UnreadableImage: a chunk that the picture depends on is damaged.
    """
    chunks, warning = _chunks(data)
    names = [*_NEEDED, *_COLORS, *_MORE]
    yield _png(chunks, names), warning
    present = {name for name, _ in chunks}
    for more in (_MORE, _COLORS):
        left_out = [name for name in more if name in present]
        names = [name for name in names if name not in more]
        if left_out:
            one_of = ", ".join(name.decode() for name in left_out)
            yield _png(chunks, names), f"damaged chunk left out, one of {one_of}"


def _chunks(data: bytes) -> tuple[list[tuple[bytes, bytes]], str | None]:
    """Names and bytes of the chunks whose checksums are right, and a warning."""
    chunks, damaged, at = [], [], len(_PNG_START)
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        whole = data[at : at + 12 + length]
        if len(whole) < 12 + length or not name.isalpha():
            break
        needed = name[:1].isupper()
        if zlib.crc32(whole[4:-4]) == int.from_bytes(whole[-4:], "big"):
            chunks.append((name, whole))
        elif name == b"IEND":
            break
        elif needed:
            raise UnreadableImage("truncated or damaged PNG file")
        else:
            damaged.append(name.decode())
        if needed and name not in _NEEDED:
            raise UnreadableImage(f"unsupported PNG file: chunk {name.decode()}")
        if name == b"IEND":
            return chunks, f"damaged {', '.join(damaged)} chunk left out" if damaged else None
        at += 12 + length
    return chunks, NO_END


def _png(chunks: list[tuple[bytes, bytes]], names: list[bytes]) -> bytes:
    end = b"\0\0\0\0IEND\xaeB`\x82"
    body = b"".join(whole for name, whole in chunks if name in names and name != b"IEND")
    return _PNG_START + body + end


def png_is_short(data: bytes, img: Image.Image) -> bool:
    """Whether rows of a PNG are missing though its data end well: Pillow leaves them black.

    Args:
        img: decoded.
    """
    width, height, bits, color = struct.unpack_from(">IIBB", data, 16)
    interlaced = data[28]
    last = img.crop((0, height - 1, width, height))
    if not interlaced and last.getbbox(alpha_only=False):
        return False
    chunks, _ = _chunks(data)
    pixel = bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    expected = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        expected += rows * (1 + -(-columns * pixel // 8)) if columns > 0 and rows > 0 else 0
    inflate = zlib.decompressobj()
    for name, whole in chunks:
        part = whole[8:-4] if name == b"IDAT" else b""
        while part and expected > 0:
            expected -= len(inflate.decompress(part, 2**20))
            part = inflate.unconsumed_tail
    return expected > 0


_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)


def png_is_grey(data: bytes) -> bool:
    """Whether a PNG's header says so, with alpha or without."""
    return data[25] in (0, 4)


def png16(data: bytes, img: Image.Image, profile: bytes | None) -> Samples | None:
    """The numbers of a PNG of 16 bits as they are, where Pillow would keep the upper halves.

    Args:
        data: the file.
        img: opened by Pillow, not decoded yet.
        profile: that is going to be applied. Where it is one of the PNG's own gamma, or of three
            colours, the whole range of 16 bits is meant.
    """
    bits, color = data[24], data[25]
    if bits != 16:
        return None
    values: NDArray[Any]
    if color == 0:
        values = np.asarray(img).astype(np.uint16)[..., None]
    elif color == 4:  # two numbers of two bytes, taken for four bands
        bands = _raw(data, "RGBA", "RGBA").astype(np.uint16)
        values = bands[..., ::2] << 8 | bands[..., 1::2]
    else:
        mode = "RGB" if color == 2 else "RGBA"
        upper, lower = (_raw(data, mode, f"{mode};16{end}").astype(np.uint16) for end in "BL")
        values = upper << 8 | lower
    alpha = None
    if color in (4, 6):
        alpha = (values[..., -1] / 257).round().astype(np.uint8)
        values = values[..., :-1]
    key = img.info.get("transparency")
    if color in (0, 2) and key is not None:
        alpha = np.where((values == np.array(key)).all(-1), 0, 255).astype(np.uint8)
    absolute = bool(profile) and (color in (2, 6) or "icc_profile" not in img.info)
    return Samples(values, "grey" if png_is_grey(data) else "rgb", alpha, absolute=absolute)


def _raw(data: bytes, mode: str, raw_mode: str) -> np.ndarray:
    """A PNG's bytes, unpacked as if they were of another mode with as many bytes per pixel."""
    img: Any = Image.open(io.BytesIO(data), formats=["PNG"])
    img._mode = mode
    img.tile = [tile._replace(args=raw_mode) for tile in img.tile]
    img.info.pop("transparency", None)
    return np.asarray(img)


def whole_jpeg(data: bytes) -> bytes | None:
    """A JPEG whose end marker is missing with that marker; ``None`` where rows are missing, too.

    A decoder that runs out of data makes up the rest in silence. So the end is tried with
    different bytes in front of it: where the picture depends on them, it is not all there.
    """
    end = _JPEG_PADDING.search(data)
    data = (data[: end.start()] if end else data).rstrip(b"\xff")
    if not all_scans(data):
        return None
    pictures = []
    restart = max((data.rfind(b"\xff" + bytes([n])), n) for n in range(0xD0, 0xD8))
    following = 0xD0 + (restart[1] + 1) % 8 if restart[0] >= 0 else 0xD0
    for filling in (bytes(256), b"\xaa" * 256, bytes([0xFF, following]) + b"\x5c" * 256):
        with Image.open(io.BytesIO(data + filling + b"\xff\xd9"), formats=["JPEG"]) as img:
            pictures.append(img.tobytes())
    if any(picture != pictures[0] for picture in pictures):
        return None
    return data + b"\xff\xd9"


_JPEG_PADDING = re.compile(rb"\0{16,}\Z")


def jpeg_end(data: bytes) -> int | None:
    """Where the end marker of a file's first JPEG stands; ``None`` where there is none."""
    for marker, at, _ in _markers(data):
        if marker == 0xD9:
            return at
    return None


def _markers(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Code, place and content of every marker of a file's first JPEG."""
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        marker = data[at + 1]
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, at, data[at + 4 : at + 2 + length]
        if marker == 0xD9:
            return
        at += 2 + length
        if marker == 0xDA:
            after = _NEXT_MARKER.search(data, at)
            at = after.start() if after else len(data)


_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)


def all_scans(data: bytes) -> bool:
    """Whether every coefficient of every component has been sent, to its last bit."""
    missing: dict[int, set[int]] = {}
    for marker, _, content in _markers(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(content) > 5:
            missing = {number: set(range(64)) for number in content[6::3]}
        elif marker == 0xDA and content:
            count = content[0]
            numbers, spectrum = content[1 : 1 + 2 * count : 2], content[1 + 2 * count :]
            if len(spectrum) == 3 and not spectrum[2] & 15:
                for number in numbers:
                    missing.get(number, set()).difference_update(
                        range(spectrum[0], spectrum[1] + 1)
                    )
    return bool(missing) and not any(missing.values())


def pnm16(data: bytes) -> Samples | None:
    """The numbers of a PGM or PPM of more than eight bits; ``None`` for any other file."""
    head = _PNM.match(data)
    if head is None or not 255 < int(head[4]) < 65536:
        return None
    width, height, bands = int(head[2]), int(head[3]), 1 if head[1] in b"25" else 3
    count = width * height * bands
    if head[1] in b"56":
        values = np.frombuffer(data, ">u2", count, head.end()).astype(np.uint16)
    else:
        plain = re.sub(rb"#[^\r\n]*", b"", data[head.end() :])
        values = np.array(plain.split(maxsplit=count)[:count], np.uint16)
    return Samples(values.reshape(height, width, bands), "grey" if bands == 1 else "rgb")


_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PNM = re.compile(rb"P([2356])" + (_GAP + rb"(\d{1,9})") * 3 + rb"\s")


def gif_frame(img: Any) -> tuple[int, int, int, int] | None:
    """The part of a GIF's canvas that its first frame covers, before it is decoded."""
    box = tuple(img.tile[0][1]) if img.tile else (0, 0, *img.size)
    return box if box != (0, 0, *img.size) else None


def only(img: Image.Image, frame: tuple[int, int, int, int]) -> Image.Image:
    """The image with everything transparent outside of ``frame``."""
    full = img.convert("RGBA")
    alpha = Image.new("L", img.size, 0)
    alpha.paste(full.getchannel("A").crop(frame), frame)
    full.putalpha(alpha)
    return full


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
        for name in ("PIL", "tifffile"):  # else their errors are printed
            logging.getLogger(name).addHandler(logging.NullHandler())

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


QUIET = _Quiet()
