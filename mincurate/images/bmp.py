"""BMP of every kind that Chromium shows: Pillow refuses some, and reads damaged runs as something.

Bits under any masks, palettes of any size, run-length encoding of 4, 8 and 24 bits, headers of
Windows and OS/2. Pixels that the runs leave out are black, as in Chromium.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mincurate.errors import UnreadableImage

_PACKED, _RLE8, _RLE4, _FIELDS, _RLE24, _ALPHA_FIELDS = 0, 1, 2, 3, 4, 6
_MASKS = {16: (0x7C00, 0x3E0, 0x1F), 24: (0xFF0000, 0xFF00, 0xFF), 32: (0xFF0000, 0xFF00, 0xFF)}
_OS2 = 64
"""Bytes of the longest OS/2 header, in which two of the numbers for packing mean something else."""


@dataclass(frozen=True)
class Header:
    """What a BMP says of its pixels.

    Attributes:
        width: in pixels.
        height: in pixels.
        top_down: the first row is the uppermost.
        bits: per pixel.
        packing: the number that the format calls compression.
        masks: of red, green, blue and perhaps alpha, for 16 to 32 bits.
        palette: ``(256, 3)`` uint8; black where the file has fewer colours.
        start: of the pixels, in bytes.
        profile: the ICC profile.
    """

    width: int
    height: int
    top_down: bool
    bits: int
    packing: int
    masks: tuple[int, ...]
    palette: NDArray[np.uint8]
    start: int
    profile: bytes | None


def header(data: bytes) -> Header:
    """Read a file's headers; raises `struct.error` or ValueError where they make no sense."""
    start, size = struct.unpack_from("<II", data, 10)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HhHH", data, 18)
        packing, colors = _PACKED, 0
    else:
        fields = data[18 : 14 + min(size, 40)].ljust(36, b"\0")
        width, height, _, bits, packing, _, _, _, colors, _ = struct.unpack("<iiHHIIiiII", fields)
    if width < 1 or not height or bits not in (1, 2, 4, 8, 16, 24, 32):
        raise ValueError("no such BMP")
    after = 14 + size
    masks = _MASKS.get(bits, ())
    if packing in (_FIELDS, _ALPHA_FIELDS) and size != _OS2:
        count = 4 if packing == _ALPHA_FIELDS or size >= 56 else 3
        masks = struct.unpack_from(f"<{count}I", data, 54)
        after += 4 * count if size == 40 else 0
    entry = 3 if size == 12 else 4
    count = min(colors or 256, 256, 2**bits, max(0, start - after) // entry)
    palette = np.zeros((256, 3), np.uint8)
    stored = np.frombuffer(data, np.uint8, count * entry, after).reshape(count, entry)
    palette[:count] = stored[:, 2::-1]
    if size == _OS2 and packing == _FIELDS:
        raise UnreadableImage("unsupported BMP: Huffman-coded")
    return Header(
        width, abs(height), height < 0, bits, packing, masks, palette, start, _profile(data, size)
    )


def _profile(data: bytes, size: int) -> bytes | None:
    if size < 124 or len(data) < 138 or data[70:74] != b"DEBM":
        return None
    offset, length = struct.unpack_from("<II", data, 14 + 112)
    return data[14 + offset : 14 + offset + length] or None


def read(data: bytes, head: Header) -> tuple[Image.Image, str | None]:
    """The image, of mode RGB or RGBA, and a warning where pixels are left out.

    Raises:
        ValueError: rows are missing, or runs lead out of the image.
        UnreadableImage: it is packed in a way that is not read.
    """
    runs = {_RLE8: 8, _RLE4: 4, _RLE24: 24}.get(head.packing)
    warning = alpha = None
    if runs == head.bits:
        pixels, written = _unpacked_runs(data[head.start :], head)
        colors = head.palette[pixels] if runs < 24 else _under(pixels, head.masks)
        if not written.all():
            colors[~written] = 0
            warning = f"{1 - written.mean():.2g} of the pixels are not in the file, drawn black"
    elif head.packing in (_PACKED, _FIELDS, _ALPHA_FIELDS):
        pixels = _rows(data[head.start :], head)
        colors = head.palette[pixels] if head.bits <= 8 else _under(pixels, head.masks)
        if len(head.masks) == 4 and head.masks[3]:
            alpha = _field(pixels, head.masks[3])
            alpha = alpha if alpha.any() else None
    else:
        raise UnreadableImage(f"unsupported BMP: packing {head.packing} of {head.bits} bits")
    picture = colors if alpha is None else np.dstack([colors, alpha])
    return Image.fromarray(np.ascontiguousarray(picture if head.top_down else picture[::-1])), (
        warning
    )


def _rows(stored: bytes, head: Header) -> NDArray[np.uint32]:
    """The numbers of the pixels, ``(h, w)``, in the file's order of rows."""
    width, height, bits = head.width, head.height, head.bits
    row = (width * bits + 31) // 32 * 4
    padding = row - (width * bits + 7) // 8  # which the last row may lack
    if len(stored) < row * height - padding:
        raise ValueError("rows are missing")
    whole = stored[: row * height].ljust(row * height, b"\0")
    octets = np.frombuffer(whole, np.uint8).reshape(height, row)
    if bits < 8:
        shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
        parts = (octets[..., None] >> shifts) & (2**bits - 1)
        return parts.reshape(height, -1)[:, :width].astype(np.uint32)
    by_pixel = octets[:, : width * bits // 8].reshape(height, width, bits // 8)
    return sum(
        (by_pixel[..., i].astype(np.uint32) << np.uint32(8 * i) for i in range(bits // 8)),
        start=np.zeros((height, width), np.uint32),
    )


def _under(pixels: NDArray[np.uint32], masks: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.stack([_field(pixels, mask) for mask in masks[:3]], -1)


def _field(pixels: NDArray[np.uint32], mask: int) -> NDArray[np.uint8]:
    """The numbers under a mask, as 0 to 255."""
    if not mask:
        return np.zeros(pixels.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    field = (pixels & np.uint32(mask)) >> np.uint32(shift)
    return (field * (255.0 / (mask >> shift))).round().astype(np.uint8)


def _unpacked_runs(stored: bytes, head: Header) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """The numbers of the pixels and which of them the runs write, ``(h, w)`` each."""
    width, height = head.width, head.height
    octets = head.bits // 8 or 1
    pixels = np.zeros((height, width), np.uint32)
    written = np.zeros((height, width), bool)
    x = y = at = 0
    while at + 2 <= len(stored):
        count, code = stored[at], stored[at + 1]
        if count:  # a run that is too long ends with its row
            values = _values(stored[at + 1 : at + 1 + octets], head.bits)
            at += 1 + octets
            values = np.resize(values, min(count, width - x))
        elif code == 0:
            x, y, at = 0, y + 1, at + 2
            continue
        elif code == 1:
            return pixels, written
        elif code == 2:
            right, down = stored[at + 2 : at + 4]
            x, y, at = x + right, y + down, at + 4
            if x > width or y >= height:
                raise ValueError("a run leads out of the image")
            continue
        else:
            length = (code * head.bits + 7) // 8
            values = _values(stored[at + 2 : at + 2 + length], head.bits)[:code]
            at += 2 + length + length % 2
            if len(values) < code or x + code > width:
                raise ValueError("a run leads out of the image")
        if y >= height:
            raise ValueError("a run leads out of the image")
        pixels[y, x : x + len(values)] = values
        written[y, x : x + len(values)] = True
        x += len(values)
    if not written.all():
        raise ValueError("rows are missing")
    return pixels, written


def _values(octets: bytes, bits: int) -> NDArray[np.uint32]:
    """The numbers of 4, 8 or 24 bits that lie side by side."""
    numbers = np.frombuffer(octets, np.uint8).astype(np.uint32)
    if bits == 4:
        return np.stack([numbers >> 4, numbers & 15], -1).reshape(-1)
    return numbers.reshape(-1, 3) @ np.array([1, 256, 65536], np.uint32) if bits == 24 else numbers
