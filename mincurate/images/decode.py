"""A file becomes a tensor, or the reason why it cannot.

Files come from strangers. They are read once and as a whole, opened by an allow-list of formats,
refused by the size their header declares, and decoded completely: half an image is no image.
What a file's pixels mean is settled here, once: the first frame, upright (EXIF), in sRGB (colour
profiles applied), on a ground where transparent, more than eight bits scaled by the set's range.
What harms no pixel, a missing end marker for instance, is a warning.
"""

import io
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from PIL import (  # a format is known once its plugin is imported
    AvifImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    Jpeg2KImagePlugin,  # noqa: F401
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    TiffImagePlugin,
    WebPImagePlugin,  # noqa: F401
)

from mincurate import hashing
from mincurate.errors import UnreadableImage
from mincurate.images import bands, bmp, colour, file_bytes, formats, isobmff, jpeg2000, tiff
from mincurate.images.appearance import Appearance, measure
from mincurate.images.bands import Ranges as BandRanges
from mincurate.images.bit_depth import DEFAULT, Range, Rendering, Samples
from mincurate.images.file_kinds import (
    FORMATS,
    pillows_name,
    shown_by_browsers,
    sniff,
    what_is_wrong,
)
from mincurate.images.sources import Source

Fit = Literal["crop", "pad", "stretch"]
MAX_PIXELS = 178_956_970
"""Where Pillow, too, speaks of a decompression bomb: half a gigabyte of RGB."""
_LIMIT = f"the limit is {MAX_PIXELS // 10**6} megapixels"
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
    warning: str | None = None
    """What is missing or left out of an image that is shown all the same."""
    range: Range | None = None
    """Of the file's own numbers, where they are wider than eight bits and of no declared range."""
    bands: BandRanges | None = None
    """Of each band, where the file has bands that are no colours, or they were asked for."""
    in_browsers: bool = True
    """Browsers show the file as it is."""


@dataclass
class _Opened:
    """What a file holds, decoded and not yet drawn."""

    img: Image.Image | Samples
    width: int
    height: int
    turn: int = 1
    """EXIF orientation that is still to be undone."""
    profile: bytes | None = None
    warnings: list[str | None] = field(default_factory=list)
    colourless: bool = False
    """It has bands that are no colours."""


@dataclass(frozen=True)
class _Drawn:
    """An image as upright RGB, perhaps reduced, and what is known of it in full.

    Of chosen bands there is one such image for every three.
    """

    images: list[Image.Image]
    width: int
    height: int
    warning: str | None
    range: Range | None
    bands: BandRanges | None
    colourless: bool


def identify(
    source: Source, *, size: int | None, fit: Fit = "crop", rendering: Rendering = DEFAULT
) -> Identity:
    """Hash, size, complexity (at ``size``, or at 32 where it is open) and looks, or the reason."""
    if source.reason:
        return Identity(reason=source.reason)
    try:
        data, drawn = _load(source.path, size or 32, rendering)
    except UnreadableImage as error:
        return Identity(reason=error.reason)
    ranges = drawn.bands
    if drawn.colourless and rendering.bands is None:
        with suppress(UnreadableImage):
            ranges = _load(source.path, size or 32, replace(rendering, bands=()))[1].bands
    fitted = fit_image(drawn.images[0], size or 32, fit)
    png = io.BytesIO()
    fitted.save(png, "PNG")
    return Identity(
        hashing.content_hash(data),
        drawn.width,
        drawn.height,
        png.tell() / (fitted.width * fitted.height),
        measure(drawn.images[0]),
        warning=drawn.warning,
        range=drawn.range,
        bands=ranges,
        in_browsers=shown_by_browsers(data),
    )


def decode(
    path: str, *, size: int, fit: Fit = "crop", rendering: Rendering = DEFAULT
) -> np.ndarray:
    """The image as (C, size, size) uint8, RGB or chosen bands; raises `UnreadableImage`."""
    _, drawn = _load(path, size, rendering)
    fitted = [np.asarray(fit_image(img, size, fit)).transpose(2, 0, 1) for img in drawn.images]
    return np.ascontiguousarray(np.concatenate(fitted)[: rendering.channels])


def preview(path: str, *, side: int, rendering: Rendering = DEFAULT) -> bytes:
    """The image as a JPEG, of at most ``side`` pixels; raises `UnreadableImage`.

    It is drawn by its own range, so that something is seen of a dark image, too.
    """
    img = _load(path, side, replace(rendering.picture, stretch=True))[1].images[0]
    scale = min(1, side / max(img.size))
    jpeg = io.BytesIO()
    size = max(1, round(img.width * scale)), max(1, round(img.height * scale))
    _resize(img, size).save(jpeg, "JPEG", quality=90)
    return jpeg.getvalue()


def stored_size(path: str) -> tuple[int, int]:
    """Width and height as a file's header has them, not upright; raises `UnreadableImage`."""
    data = file_bytes.read(path)
    with formats.QUIET:
        try:
            kind = sniff(data[:512])
            if kind in ("TIFF", "BMP"):
                head = tiff.directory(data) if kind == "TIFF" else bmp.header(data)
                return head.width, head.height
            if kind == "AVIF":
                data = isobmff.one_association(data)
            if kind == "HEIC":
                _register_heif()
            with Image.open(io.BytesIO(data), formats=_formats(data)) as img:
                return img.size
        except (Image.DecompressionBombError, *_BORDER):
            raise UnreadableImage(what_is_wrong(data)) from None


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


def _load(path: str, size: int, rendering: Rendering) -> tuple[bytes, _Drawn]:
    """The file's bytes and its image, reduced perhaps, never below three times ``size``."""
    try:
        data = file_bytes.read(path)
        with formats.QUIET:
            try:
                return data, _draw(_open(data, size, rendering.bands is not None), rendering)
            except Image.DecompressionBombError:  # from inside of a parser, without its numbers
                raise UnreadableImage(f"too large: {_LIMIT}") from None
            except _BORDER:
                raise UnreadableImage(what_is_wrong(data)) from None
    except MemoryError:
        raise UnreadableImage("not enough memory to decode it") from None


def _open(data: bytes, size: int, by_bands: bool) -> _Opened:
    kind = sniff(data[:512])
    if kind == "TIFF":
        return _open_tiff(data, size, by_bands)
    own = {"PNG": _open_png, "JPEG": _open_jpeg, "JPEG 2000": _open_jpeg2000, "BMP": _open_bmp}
    if kind in own:
        return own[kind](data, size)
    if kind == "AVIF":
        _check_size(*isobmff.largest_size(data))
        data = isobmff.one_association(data)
    if kind == "HEIC":
        _register_heif()
    samples = formats.pnm16(data) if kind == "PNM" else None
    if samples is not None:
        height, width, _ = samples.values.shape
        _check_size(width, height)
        return _Opened(samples, width, height)
    return _by_pillow(data, size)


def _by_pillow(data: bytes, size: int, page: int = 0) -> _Opened:
    try:
        img: Image.Image = Image.open(io.BytesIO(data), formats=_formats(data))
        width, height = img.size
    except Image.DecompressionBombError:
        width, height = Image.OPEN[pillows_name(data)][0](io.BytesIO(data), "").size
    _check_size(width, height)
    if page:
        img.seek(page)
        width, height = img.size
        _check_size(width, height)
    img.draft(None, (3 * size, 3 * size))  # a JPEG decodes to a half, quarter, eighth for less
    frame = formats.gif_frame(img) if img.format == "GIF" else None
    img.load()
    shown = formats.only(img, frame) if frame else img
    profile = img.info.get("icc_profile")
    if img.format == "PNG" and not profile:
        profile = colour.calibration(img.info, grey=formats.png_is_grey(data))
    return _Opened(shown, width, height, _orientation(img), profile or None)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"too large: {width} x {height} pixels, {_LIMIT}")


def _orientation(img: Image.Image) -> int:
    for name in ("xmp", "XML:com.adobe.xmp"):  # of which browsers and libvips take no orientation
        img.info.pop(name, None)
    try:
        turn = img.getexif().get(_ORIENTATION, 1)
    except _BORDER:  # damaged EXIF beside a good image
        return 1
    return turn if turn in _TURNS else 1


def _open_png(data: bytes, size: int) -> _Opened:
    for version, warning in formats.png_versions(data):
        try:
            opened = _by_pillow(version, size)
            assert isinstance(opened.img, Image.Image)
            if formats.png_is_short(version, opened.img):
                raise UnreadableImage("truncated or damaged PNG file")
            opened.img = formats.png16(version, opened.img, opened.profile) or opened.img
        except (Image.DecompressionBombError, *_BORDER) as error:
            damage: Exception = error
            continue
        opened.warnings.append(warning)
        return opened
    raise damage


def _open_jpeg(data: bytes, size: int) -> _Opened:
    ended = data.endswith(b"\xff\xd9") or formats.jpeg_end(data) is not None
    if not ended:
        whole = formats.whole_jpeg(data)
        if whole is None:
            raise UnreadableImage(what_is_wrong(data))
        opened = _by_pillow(whole, size)
        opened.warnings.append(formats.NO_END)
        return opened
    opened = _by_pillow(data, size)
    img = opened.img
    assert isinstance(img, Image.Image)
    # Where data run out, libjpeg fills up with middle grey.
    last = img.getpixel((img.width - 1, img.height - 1))
    grey = all(127 <= level <= 129 for level in (last if isinstance(last, tuple) else [last or 0]))
    if grey and formats.whole_jpeg(data[: formats.jpeg_end(data)]) is None:
        raise UnreadableImage(formats.CUT_OFF)
    if img.info.get("progressive") and not formats.all_scans(data):
        raise UnreadableImage(formats.CUT_OFF)
    return opened


def _open_tiff(data: bytes, size: int, by_bands: bool) -> _Opened:
    header = tiff.directory(data)
    width, height, orientation = header.width, header.height, header.orientation
    _check_size(width, height)
    if by_bands and header.numeric:
        return _Opened(tiff.read_bands(data, header), width, height, orientation)
    warning = f"the first of {header.pages} pages" if header.pages > 1 else None
    if header.plain:
        TiffImagePlugin.READ_LIBTIFF = header.by_libtiff
        with suppress(*_BORDER):
            opened = _by_pillow(data, size, header.index)
            opened.warnings.append(warning)
            opened.colourless = header.colourless
            return opened
    samples, left_out = tiff.read(data, header)
    texts = [warning, left_out]
    return _Opened(samples, width, height, orientation, header.profile, texts, header.colourless)


def _open_bmp(data: bytes, size: int) -> _Opened:
    head = bmp.header(data)
    _check_size(head.width, head.height)
    img, warning = bmp.read(data, head)
    return _Opened(img, *img.size, profile=head.profile, warnings=[warning])


def _open_jpeg2000(data: bytes, size: int) -> _Opened:
    opened = _by_pillow(data, size)
    assert isinstance(opened.img, Image.Image)
    samples, warning = jpeg2000.read16(data, opened.img.mode)
    opened.img = samples or opened.img
    opened.warnings.append(warning)
    return opened


def _register_heif() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise UnreadableImage("HEIC needs pillow-heif: pip install 'mincurate[heif]'") from None
    register_heif_opener()


def _draw(opened: _Opened, rendering: Rendering) -> _Drawn:
    own, ranges = None, None
    if rendering.bands is None:
        rgb, own, warnings = colour.draw(opened.img, opened.profile, rendering)
        images = [rgb]
    else:
        numbers = bands.numbers(opened.img, opened.profile)
        images, ranges, missing = bands.draw(numbers, rendering)
        warnings = [missing]
    turn, sideways = _TURNS[opened.turn]
    sides = (opened.height, opened.width) if sideways else (opened.width, opened.height)
    texts = [text for text in (*opened.warnings, *warnings) if text]
    upright = images if turn is None else [img.transpose(turn) for img in images]
    words = "; ".join(texts) or None
    return _Drawn(upright, *sides, words, own, ranges, opened.colourless)


def _formats(data: bytes) -> list[str]:
    """The one format that a file's first bytes announce, or all that are read."""
    name = pillows_name(data)
    return [name] if name in Image.OPEN else list(FORMATS)
