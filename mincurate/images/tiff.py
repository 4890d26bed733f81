"""TIFF files that Pillow does not read, or reads as something else.

Pillow's tables know eight bits in the usual orders. Here are the others: 1 to 64 bits, integers
with and without a sign, fractions, planes one after another, strips and tiles, BigTIFF, bands
beyond three. tifffile reads the directory; the values are put together here, by NumPy.
"""

import io
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from tifffile import COMPRESSION, PHOTOMETRIC

from mincurate.errors import UnreadableImage
from mincurate.images.bit_depth import Samples, Space

MAX_SAMPLES = 2**30
"""Of all the bands of an image together."""
PAGES = 64
"""Among the first of so many is the full image looked for, where others are reduced or masks."""
_SPACES: dict[int, Space] = {
    **{PHOTOMETRIC.MINISWHITE: "grey", PHOTOMETRIC.MINISBLACK: "grey"},
    **{PHOTOMETRIC.RGB: "rgb", PHOTOMETRIC.SEPARATED: "cmyk"},
    **{PHOTOMETRIC.CIELAB: "lab", PHOTOMETRIC.ICCLAB: "lab", PHOTOMETRIC.PALETTE: "grey"},
}
_BANDS = {"grey": 1, "rgb": 3, "cmyk": 4, "lab": 3}
_BY_LIBTIFF = {COMPRESSION.LZW: 5, COMPRESSION.PACKBITS: 32773, COMPRESSION.LZMA: 34925}
_BY_LIBTIFF |= {COMPRESSION.ZSTD: 50000}
_DEFLATE = (COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE)
_UNPACKED_HERE = (COMPRESSION.NONE, *_DEFLATE, *_BY_LIBTIFF)
_REVERSED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], 1)[:, ::-1], 1)[:, 0]
_GDAL_NODATA = 42113


@dataclass(frozen=True)
class Directory:
    """What a TIFF file says of its image.

    Attributes:
        index: of the page that holds the image in full; the first that is not reduced.
        pages: how many there are, `PAGES` at most.
        width: as stored, in pixels.
        height: as stored, in pixels.
        orientation: as in EXIF.
        profile: the ICC profile.
        plain: Pillow knows such files, and reads them well.
        by_libtiff: if Pillow leaves it to libtiff; it would take YCbCr for not subsampled.
        page: tifffile's.
        stack: the pages that are the bands of one image, where each page holds one band.
        colourless: it has bands that are no colours.
    """

    index: int
    pages: int
    width: int
    height: int
    orientation: int
    profile: bytes | None
    plain: bool
    by_libtiff: bool
    page: Any
    stack: tuple[Any, ...]
    colourless: bool

    @property
    def numeric(self) -> bool:
        """Whether `read_bands` reads it: its bands are measurements, not parts of a colour code."""
        values = self.page.photometric in (
            PHOTOMETRIC.MINISBLACK,
            PHOTOMETRIC.MINISWHITE,
            PHOTOMETRIC.RGB,
        )
        return values and (not self.plain or self.page.compression in _UNPACKED_HERE)


def directory(data: bytes) -> Directory:
    """Read a file's tags; raises what tifffile raises."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        pages: list[Any] = []
        for page in file.pages:
            pages.append(page)
            if len(pages) == PAGES:
                break
        index = next((i for i, page in enumerate(pages) if not page.subfiletype & 5), 0)
        page = pages[index]
        profile = page.tags.valueof(34675)
        channels = _channels(file) if len(pages) > 1 and page.samplesperpixel == 1 else ()
        stack = channels or (pages if page.samplesperpixel == 1 else [])
        alike = [p for p in stack if _alike(p, page)]
        return Directory(
            index,
            max(len(pages), int((file.imagej_metadata or {}).get("images", 1))),  # one page for all
            page.imagewidth,
            page.imagelength,
            page.tags.valueof(274) or 1,
            profile if isinstance(profile, bytes) else None,
            _plain(page),
            page.photometric == PHOTOMETRIC.YCBCR,
            page,
            tuple(alike) if len(alike) > 1 else (),
            bool(channels) or 0 in (page.extrasamples or ()),
        )


def _channels(file: Any) -> list[Any]:
    """The pages of the first slice and frame, one for each channel, where the file has them."""
    try:
        series = file.series[0]
        axes, shape = series.axes[:-2], series.shape[:-2]
        if not series.axes.endswith("YX") or "C" not in axes:
            return []
        places = np.arange(math.prod(shape)).reshape(shape)
        first = places[tuple(slice(None) if axis == "C" else 0 for axis in axes)]
        pages = [series.pages[i] for i in first[:PAGES].tolist()]
    except (ValueError, LookupError, TypeError, AttributeError):  # what strange texts make of it
        return []
    return [page.aspage() for page in pages if page is not None] if len(pages) > 1 else []


def _alike(page: Any, first: Any) -> bool:
    names = ("imagewidth", "imagelength", "bitspersample", "sampleformat", "samplesperpixel")
    return all(getattr(page, name) == getattr(first, name) for name in names)


def _plain(page: Any) -> bool:
    bits, kind = page.bitspersample, page.sampleformat
    # Pillow takes grey and its alpha in planes for one, small numbers of a palette for black, and
    # leaves out further bands unsaid.
    here = page.planarconfig == 2 or page.photometric == PHOTOMETRIC.PALETTE
    here |= 0 in (page.extrasamples or ())
    if here and page.compression in _UNPACKED_HERE:
        return False
    return bits in (1, 2, 4, 8) and kind in (1, 4) and page.photometric != PHOTOMETRIC.ICCLAB


def read(data: bytes, found: Directory) -> tuple[Samples, str | None]:
    """The numbers of an image, and a warning where not all its bands are taken.

    Raises:
        UnreadableImage: it is of a kind that is not read, or too large.
    """
    page = found.page
    space = _SPACES.get(page.photometric)
    if space is None:
        raise UnreadableImage(f"unsupported TIFF colours: {_name(page.photometric)}")
    dtype = _dtype(page)
    bands = page.samplesperpixel
    _check_size(found, bands)
    values = _values(page, data, dtype)
    extras = page.extrasamples or ((2,) if space == "rgb" and bands == 4 else ())  # as viewers do
    color = bands - sum(meaning in (1, 2) for meaning in extras)
    if space == "grey" and color >= 3:
        space = "rgb"
    color_bands = _BANDS[space]
    if bands < color_bands:
        raise UnreadableImage(f"unsupported TIFF: {bands} bands of {space}")
    alpha = None
    for at, meaning in enumerate(extras, start=bands - len(extras)):
        if meaning in (1, 2) and alpha is None and at < bands:
            share = _share(values[..., at])
            if meaning == 1:
                values = _unmultiplied(values, share)
            alpha = (share * 255).round().astype(np.uint8)
    unused = bands - color_bands - (alpha is not None)
    warning = f"{unused} of {bands} bands not shown" if unused else None
    values = values[..., :color_bands]
    if page.photometric == PHOTOMETRIC.PALETTE:
        space, values = "rgb", _colors(values[..., 0], page.colormap)
    if space == "cmyk":  # so say some files, but ink has no sign
        values = values.view(values.dtype.str.replace("i", "u"))
    absolute = values.dtype == np.uint8 or space in ("cmyk", "lab")
    if space == "lab":
        values = _lab(values, page.photometric)
    no_value = page.tags.valueof(_GDAL_NODATA)
    return Samples(
        values,
        space,
        alpha,
        white_is_zero=page.photometric == PHOTOMETRIC.MINISWHITE,
        no_value=_number(no_value) if isinstance(no_value, str) else None,
        absolute=absolute or (found.profile is not None and space == "rgb"),
    ), warning


def read_bands(data: bytes, header: Directory) -> Samples:
    """The numbers of all bands of an image: samples or pages that are not its transparency.

    Raises:
        UnreadableImage: it is of a kind that is not read, or too large.
    """
    page, dtype = header.page, _dtype(header.page)
    parts = header.stack or (page,)
    _check_size(header, len(parts) * page.samplesperpixel)
    values = [_values(part, data, dtype) for part in parts]
    meanings = page.extrasamples or ()
    colors = page.samplesperpixel - len(meanings)
    opaque = [*range(colors), *(colors + i for i, m in enumerate(meanings) if m not in (1, 2))]
    no_value = page.tags.valueof(_GDAL_NODATA)
    return Samples(
        np.concatenate(values, axis=2) if header.stack else values[0][..., opaque],
        "bands",
        white_is_zero=page.photometric == PHOTOMETRIC.MINISWHITE,
        no_value=_number(no_value) if isinstance(no_value, str) else None,
    )


def _check_size(header: Directory, bands: int) -> None:
    if header.page.imagedepth != 1:
        raise UnreadableImage("unsupported TIFF: a volume")
    if bands * header.width * header.height > MAX_SAMPLES:
        size = f"{header.width} x {header.height} pixels"
        raise UnreadableImage(f"too large: {bands} bands of {size}")


def _name(member: Any) -> str:
    return getattr(member, "name", str(member))


def _number(text: str) -> float | None:
    try:
        return float(text.strip("\0 "))
    except ValueError:
        return None


def _dtype(page: Any) -> np.dtype:
    """The type in which a sample is held, in this machine's byte order."""
    bits, kind = page.bitspersample, page.sampleformat
    if not isinstance(bits, int) or not isinstance(kind, int):
        raise UnreadableImage("unsupported TIFF: bands of different kinds")
    letter = {1: "u", 2: "i", 3: "f", 4: "u"}.get(kind)
    whole = bits in ((16, 32, 64) if letter == "f" else (8, 16, 24, 32, 64))
    if letter is None or (not whole and (letter != "u" or not 0 < bits < 16)):
        raise UnreadableImage(f"unsupported TIFF: {bits} bits of {_name(kind)}")
    octets = {24: 4}.get(bits, bits // 8) if whole else 1 if bits < 8 else 2
    return np.dtype(f"{letter}{octets}")


def _share(alpha: NDArray[Any]) -> NDArray[np.float32]:
    top = 1 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max
    return (alpha / np.float32(top)).clip(0, 1).astype(np.float32)


def _unmultiplied(values: NDArray[Any], share: NDArray[np.float32]) -> NDArray[Any]:
    straight = values / np.where(share == 0, 1, share)[..., None]
    if values.dtype.kind == "f":
        return straight.astype(values.dtype)
    return straight.round().clip(0, np.iinfo(values.dtype).max).astype(values.dtype)


def _lab(values: NDArray[Any], photometric: int) -> NDArray[np.uint8]:
    """Lab of any type as Pillow holds it: eight bits, a and b with 128 for zero."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "i":  # so say files whose a and b have a sign; lightness never has
        values = values.view(f"u{size}")
    if kind != "f" and size > 2:
        raise UnreadableImage("unsupported TIFF colours: Lab of more than 16 bits")
    lab = values.astype(np.float32)
    if kind == "f":  # 0 to 100, and a and b as they are
        white, step, zero = 100.0, 1, 0
    elif photometric == PHOTOMETRIC.ICCLAB:
        white, step, zero = (255.0, 1, 128) if size == 1 else (65280.0, 256, 32768)
    else:
        white, step, zero = float(np.iinfo(values.dtype).max), 256 ** (size - 1), 0
        lab[..., 1:] = values[..., 1:].view(f"i{size}")
    lab[..., 0] *= 255 / white
    lab[..., 1:] = (lab[..., 1:] - zero) / step + 128
    return lab.round().clip(0, 255).astype(np.uint8)


def _colors(indices: NDArray[Any], colormap: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """The colours that a palette ``(3, n)`` of 16 bits has for each index; some hold only eight."""
    levels = (colormap if colormap.max() < 256 else colormap >> 8).astype(np.uint8)
    return levels[:, np.minimum(indices, levels.shape[1] - 1)].transpose(1, 2, 0)


def _values(page: Any, data: bytes, dtype: np.dtype) -> NDArray[Any]:
    """All samples, ``(h, w, bands)``."""
    width, height, bands = page.imagewidth, page.imagelength, page.samplesperpixel
    planes = bands if page.planarconfig == 2 else 1
    inside = bands // planes
    wide, tall = (page.tilewidth, page.tilelength) if page.is_tiled else (width, page.rowsperstrip)
    if min(width, height, wide, tall, bands) < 1:
        raise ValueError("no pixels")
    across, down = math.ceil(width / wide), math.ceil(height / tall)
    if len(page.dataoffsets) < planes * across * down or wide * tall * inside > MAX_SAMPLES:
        raise ValueError("strips are missing")
    values = np.zeros((height, width, bands), dtype)
    for plane, row, column, raw in _segments(page, data, planes, across, down):
        rows = tall if page.is_tiled else min(tall, height - row * tall)
        block = _block(page, raw, (rows, wide, inside), dtype)
        top, left = row * tall, column * wide
        part = values[top : top + tall, left : left + wide, plane : plane + inside]
        part[:] = block[: part.shape[0], : part.shape[1]]
    return values


def _segments(
    page: Any, data: bytes, planes: int, across: int, down: int
) -> Iterator[tuple[int, int, int, bytes]]:
    """Plane, row, column and stored bytes of every strip or tile."""
    counts = page.databytecounts or (len(data) - page.dataoffsets[0],)
    for index in range(planes * across * down):
        offset, count = page.dataoffsets[index], counts[min(index, len(counts) - 1)]
        plane, place = divmod(index, across * down)
        yield plane, place // across, place % across, data[offset : offset + count]


def _block(page: Any, raw: bytes, shape: tuple[int, int, int], dtype: np.dtype) -> NDArray[Any]:
    """One strip or tile ``(rows, columns, bands)`` from its bytes."""
    rows, columns, bands = shape
    bits = page.bitspersample
    row_bytes = math.ceil(columns * bands * bits / 8)
    if page.fillorder == 2:
        raw = _REVERSED[np.frombuffer(raw, np.uint8)].tobytes()
    raw = _decompressed(page, raw, row_bytes, rows)
    if len(raw) < rows * row_bytes:
        raise ValueError("a strip is cut off")
    stored = np.frombuffer(raw, np.uint8, rows * row_bytes).reshape(rows, row_bytes)
    if page.predictor == 3:
        return _from_differences_of_bytes(stored, shape, dtype)
    if bits == 24:
        values = _of_three_octets(stored, page.parent.byteorder).reshape(shape).view(dtype)
    elif bits != 8 * dtype.itemsize:
        values = _unpacked(stored, bits, columns * bands).reshape(shape).astype(dtype)
    else:
        order = dtype.newbyteorder(page.parent.byteorder)
        values = stored.reshape(-1).view(order).reshape(shape).astype(dtype)
    if page.predictor == 2:  # of the bits, whatever they mean
        steps = values.view(f"u{dtype.itemsize}")
        np.cumsum(steps, axis=1, dtype=steps.dtype, out=steps)
        if bits < 8 * dtype.itemsize:
            steps &= steps.dtype.type(2**bits - 1)
    if bits == 24 and dtype.kind == "i":
        values = (values << 8) >> 8
    return values


def _of_three_octets(stored: NDArray[np.uint8], byteorder: str) -> NDArray[np.uint32]:
    octets = stored.reshape(-1, 3).astype(np.uint32)
    weights = [1, 256, 65536] if byteorder == "<" else [65536, 256, 1]
    return octets @ np.array(weights, np.uint32)


def _decompressed(page: Any, raw: bytes, row_bytes: int, rows: int) -> bytes:
    if page.compression == COMPRESSION.NONE:
        return raw
    if page.compression in _DEFLATE:
        return zlib.decompressobj().decompress(raw, row_bytes * rows)
    if page.compression in _BY_LIBTIFF:
        return _by_libtiff(_BY_LIBTIFF[page.compression], raw, row_bytes, rows)
    if page.compression == COMPRESSION.WEBP and page.bitspersample == 8:
        with Image.open(io.BytesIO(raw), formats=["WEBP"]) as img:
            mode = {3: "RGB", 4: "RGBA"}.get(row_bytes // img.width)
            if img.height >= rows and mode and row_bytes == img.width * len(mode):
                return img.convert(mode).tobytes()
    raise UnreadableImage(
        f"unsupported TIFF compression: {_name(page.compression)} of {page.bitspersample} bits"
    )


def _by_libtiff(compression: int, raw: bytes, row_bytes: int, rows: int) -> bytes:
    """The bytes as Pillow's libtiff unpacks them, which takes them for a grey image."""
    tags = {256: row_bytes, 257: rows, 258: 8, 259: compression, 262: 1, 273: 0, 277: 1}
    tags |= {278: rows, 279: len(raw)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        code.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little")
        for code, value in sorted(tags.items())
    )
    head = b"II*\0\x08\0\0\0" + len(tags).to_bytes(2, "little") + entries + bytes(4)
    with Image.open(io.BytesIO(head + raw), formats=["TIFF"]) as img:
        return img.tobytes()


def _from_differences_of_bytes(
    stored: NDArray[np.uint8], shape: tuple[int, int, int], dtype: np.dtype
) -> NDArray[Any]:
    """Undo the predictor for fractions: bytes by significance, as differences along the row."""
    rows, columns, bands = shape
    steps = np.cumsum(stored.reshape(rows, -1, bands), axis=1, dtype=np.uint8)
    by_byte = steps.reshape(rows, dtype.itemsize, columns * bands)
    together = np.ascontiguousarray(by_byte.transpose(0, 2, 1))
    return together.view(dtype.newbyteorder(">")).reshape(shape).astype(dtype)


def _unpacked(stored: NDArray[np.uint8], bits: int, per_row: int) -> NDArray[np.uint32]:
    """Numbers of 1 to 15 bits, each row starting at a byte: ``(rows, per_row)``."""
    singles = np.unpackbits(stored, axis=1)[:, : per_row * bits].reshape(len(stored), per_row, bits)
    total = np.zeros(singles.shape[:2], np.uint32)
    for i in range(bits):
        total = total << 1 | singles[..., i]
    return total
