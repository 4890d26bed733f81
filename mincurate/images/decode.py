"""A file becomes a tensor, or the reason why it cannot.

Files come from strangers. They are read once and as a whole, opened by an allow-list of formats,
refused by the size their header declares, and decoded completely: half an image is no image.
What a file's pixels mean is settled here, once: the first frame, upright (EXIF), in sRGB (colour
profiles applied), on a ground where transparent, more than eight bits scaled by the set's range.
What harms no pixel, a missing end marker for instance, is a warning.
"""

import io
from contextlib import suppress
from dataclasses import dataclass, field, replace

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
from mincurate.images import (
    bands,
    bmp,
    colour,
    file_bytes,
    formats,
    isobmff,
    jpeg2000,
    regions,
    tiff,
)
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
from mincurate.images.fit import Fit, Resampling, fit_image, within
from mincurate.images.formats import BORDER
from mincurate.images.orientation import TURNS, orientation
from mincurate.images.regions import FileOrRegion, Region
from mincurate.images.sources import Source

MAX_PIXELS = 178_956_970
"""Where Pillow, too, speaks of a decompression bomb: half a gigabyte of RGB."""
_UNREDUCED = MAX_PIXELS
"""No image has a side that is longer: none is reduced for it."""
_LIMIT = f"the limit is {MAX_PIXELS // 10**6} megapixels"


@dataclass(frozen=True)
class Identity:
    """What is known of a file before it is scored: either a reason or everything else."""

    content_hash: str | None = None
    """BLAKE2b, 128 bits, of the file's bytes; of a part, of that and its box."""
    width: int | None = None
    height: int | None = None
    """Pixels of the upright image, or of the part of it."""
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


@dataclass
class LastFile:
    """The file whose part was cut out last, in full: its next parts need no second decoding."""

    path: str = ""
    content_hash: str = ""
    in_browsers: bool = True
    drawn: _Drawn | None = None


def identify(
    source: Source,
    *,
    size: int | None,
    fit: Fit = "crop",
    rendering: Rendering = DEFAULT,
    last: LastFile | None = None,
) -> Identity:
    """Hash, size, complexity (at ``size``, or at 32 where it is open) and looks, or the reason."""
    if source.reason:
        return Identity(reason=source.reason)
    place, last = source.place, last or LastFile()
    try:
        if isinstance(place, Region):
            content, drawn, in_browsers = *_cut(place, rendering, last), last.in_browsers
        else:
            data, drawn = _measured(place, size or 32, rendering)
            content, in_browsers = hashing.content_hash(data), shown_by_browsers(data)
    except UnreadableImage as error:
        return Identity(reason=error.reason)
    fitted = fit_image(drawn.images[0], size or 32, fit)
    png = io.BytesIO()
    fitted.save(png, "PNG")
    return Identity(
        content,
        drawn.width,
        drawn.height,
        png.tell() / (fitted.width * fitted.height),
        measure(drawn.images[0]),
        warning=drawn.warning,
        range=drawn.range,
        bands=drawn.bands,
        in_browsers=in_browsers,
    )


def decode(
    place: FileOrRegion,
    *,
    size: int,
    fit: Fit = "crop",
    rendering: Rendering = DEFAULT,
    resampling: Resampling = "lanczos",
    last: LastFile | None = None,
) -> np.ndarray:
    """The image, or a part of it, as (C, size, size) uint8, RGB or chosen bands.

    Raises:
        UnreadableImage: it cannot be read.
    """
    if isinstance(place, Region):
        _, drawn = _cut(place, rendering, last or LastFile())
    else:
        _, drawn = _load(place, size, rendering)
    fitted = [np.asarray(fit_image(img, size, fit, resampling)) for img in drawn.images]
    bands = np.concatenate([img.transpose(2, 0, 1) for img in fitted])
    return np.ascontiguousarray(bands[: rendering.channels])


def preview(path: str, *, side: int, rendering: Rendering = DEFAULT) -> bytes:
    """The image as a JPEG, of at most ``side`` pixels; raises `UnreadableImage`."""
    img = _load(path, side, rendering.picture)[1].images[0]
    jpeg = io.BytesIO()
    within(img, side).save(jpeg, "JPEG", quality=90)
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
        except (Image.DecompressionBombError, *BORDER):
            raise UnreadableImage(what_is_wrong(data)) from None


def _cut(region: Region, rendering: Rendering, last: LastFile) -> tuple[str, _Drawn]:
    """A region's hash and its crop, of all the pixels that the file has: an object is small."""
    if last.drawn is None or last.path != region.path:
        last.drawn = None  # two large images need not be held at once
        data, last.drawn = _measured(region.path, _UNREDUCED, rendering)
        last.path, last.content_hash = region.path, hashing.content_hash(data)
        last.in_browsers = shown_by_browsers(data)
    images = [regions.crop(img, region.box) for img in last.drawn.images]
    width, height = images[0].size
    content = regions.content_hash(last.content_hash, region.box)
    return content, replace(last.drawn, images=images, width=width, height=height)


def _measured(path: str, size: int, rendering: Rendering) -> tuple[bytes, _Drawn]:
    """As `_load`, with the ranges of the bands also where the image is drawn by its colours."""
    data, drawn = _load(path, size, rendering)
    if drawn.colourless and rendering.bands is None:
        with suppress(UnreadableImage):
            by_bands = _load(path, size, replace(rendering, bands=()))[1]
            return data, replace(drawn, bands=by_bands.bands)
    return data, drawn


def _load(path: str, size: int, rendering: Rendering) -> tuple[bytes, _Drawn]:
    """The file's bytes and its image, reduced perhaps, never below three times ``size``."""
    try:
        data = file_bytes.read(path)
        with formats.QUIET:
            try:
                return data, _draw(_open(data, size, rendering.bands is not None), rendering)
            except Image.DecompressionBombError:  # from inside of a parser, without its numbers
                raise UnreadableImage(f"too large: {_LIMIT}") from None
            except BORDER:
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
    return _Opened(shown, width, height, orientation(img), profile or None)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"too large: {width} x {height} pixels, {_LIMIT}")


def _open_png(data: bytes, size: int) -> _Opened:
    for version, warning in formats.png_versions(data):
        try:
            opened = _by_pillow(version, size)
            assert isinstance(opened.img, Image.Image)
            if formats.png_is_short(version, opened.img):
                raise UnreadableImage("truncated or damaged PNG file")
            opened.img = formats.png16(version, opened.img, opened.profile) or opened.img
        except (Image.DecompressionBombError, *BORDER) as error:
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
        with suppress(*BORDER):
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
    turn, sideways = TURNS[opened.turn]
    sides = (opened.height, opened.width) if sideways else (opened.width, opened.height)
    texts = [text for text in (*opened.warnings, *warnings) if text]
    upright = images if turn is None else [img.transpose(turn) for img in images]
    words = "; ".join(texts) or None
    return _Drawn(upright, *sides, words, own, ranges, opened.colourless)


def _formats(data: bytes) -> list[str]:
    """The one format that a file's first bytes announce, or all that are read."""
    name = pillows_name(data)
    return [name] if name in Image.OPEN else list(FORMATS)
