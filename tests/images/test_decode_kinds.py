"""Files as people bring them: whatever the kind, the same picture, or the reason why not."""

import io
import itertools
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms, features

from mincurate.errors import UserError
from mincurate.images import bit_depth, collection, jpeg2000, sources
from mincurate.images import decode as decoding
from mincurate.images.bit_depth import Range, Rendering
from mincurate.images.decode import Identity, UnreadableImage, decode, identify
from mincurate.images.sources import Source

SIDE = 64


def scene() -> NDArray[np.uint8]:
    """A smooth picture with a red square: mistakes of planes, order, sign or range show."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] * 4
    rgb = np.stack([x, y, (x + y) // 2], -1).astype(np.uint8)
    rgb[4:20, 4:20] = [250, 20, 20]
    return rgb


RGB = scene()
GREY = RGB[..., 1]
HALF = np.where(np.arange(SIDE) < 32, 255, 100).astype(np.uint8)[None].repeat(SIDE, 0)
"""An alpha: opaque on the left."""


def seen(path: Path, **options: Any) -> NDArray[np.int64]:
    """What is decoded, ``(SIDE, SIDE, 3)``."""
    return decode(str(path), size=SIDE, **options).transpose(1, 2, 0).astype(int)


def look(path: Path) -> Identity:
    return identify(Source(str(path), "x"), size=None)


def rgb_of(grey: NDArray[Any]) -> NDArray[Any]:
    return np.stack([grey] * 3, -1)


def assert_alike(found: NDArray[Any], expected: NDArray[Any], levels: float = 2) -> None:
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= levels


def over(colors: NDArray[Any], alpha: NDArray[Any], ground: float) -> NDArray[Any]:
    share = alpha[..., None] / 255
    return colors * share + ground * (1 - share)


# TIFF


def bits(values: NDArray[Any], n: int) -> NDArray[Any]:
    """Eight bits as ``n`` bits of an unsigned type."""
    kind = np.uint16 if n <= 16 else np.uint32
    return (values.astype(np.float64) * ((2**n - 1) / 255)).round().astype(kind)


TIFFS: dict[str, tuple[NDArray[Any], NDArray[Any], dict[str, Any]]] = {
    "8 bits": (RGB, RGB, {}),
    "16 bits": (bits(RGB, 16), RGB, {}),
    "32 bits": (bits(RGB, 32), RGB, {}),
    "half floats": ((RGB / 255).astype(np.float16), RGB, {}),
    "floats": ((RGB / 255).astype(np.float32), RGB, {}),
    "doubles": (RGB / 255, RGB, {}),
    "floats to 255": (RGB.astype(np.float32), RGB, {}),
    "floats to 65535": (RGB.astype(np.float32) * 257, RGB, {}),
    "planes of 8 bits": (RGB.transpose(2, 0, 1), RGB, {"planarconfig": "separate"}),
    "planes of 16 bits": (bits(RGB, 16).transpose(2, 0, 1), RGB, {"planarconfig": "separate"}),
    "planes of floats": (
        (RGB / 255).astype(np.float32).transpose(2, 0, 1),
        RGB,
        {"planarconfig": "separate"},
    ),
    "grey": (GREY, rgb_of(GREY), {}),
    "grey of 16 bits": (bits(GREY, 16), rgb_of(GREY), {}),
    "grey of 32 bits": (bits(GREY, 32), rgb_of(GREY), {}),
    "grey half floats": ((GREY / 255).astype(np.float16), rgb_of(GREY), {}),
    "grey floats": ((GREY / 255).astype(np.float32), rgb_of(GREY), {}),
    "grey doubles": (GREY / 255, rgb_of(GREY), {}),
    "signed, 8 bits": ((GREY.astype(int) - 128).astype(np.int8), rgb_of(GREY), {}),
    "signed, 16 bits": ((GREY * 257.0 - 32768).round().astype(np.int16), rgb_of(GREY), {}),
    "signed, 32 bits": ((GREY * 16843009.0 - 2**31).astype(np.int32), rgb_of(GREY), {}),
    "white is zero": (255 - GREY, rgb_of(GREY), {"photometric": "miniswhite"}),
    "white is zero, 16 bits": (
        65535 - bits(GREY, 16),
        rgb_of(GREY),
        {"photometric": "miniswhite"},
    ),
    "white is zero, floats": (
        (1 - GREY / 255).astype(np.float32),
        rgb_of(GREY),
        {"photometric": "miniswhite"},
    ),
    "three grey bands": (RGB, RGB, {"photometric": "minisblack", "planarconfig": "contig"}),
    "three grey planes of 16 bits": (
        bits(RGB, 16).transpose(2, 0, 1),
        RGB,
        {"photometric": "minisblack", "planarconfig": "separate"},
    ),
    "five bands": (
        np.concatenate([RGB, RGB[..., :2]], -1),
        RGB,
        {"photometric": "rgb", "extrasamples": ["unspecified"] * 2, "planarconfig": "contig"},
    ),
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "a strip": {},
    "strips": {"rowsperstrip": 5},
    "tiles": {"tile": (32, 48)},
    "deflate": {"compression": "zlib", "rowsperstrip": 7},
    "deflated tiles": {"compression": "zlib", "tile": (48, 32)},
    "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
    "big-endian BigTIFF": {"bigtiff": True, "byteorder": ">", "tile": (16, 16)},
}


@pytest.mark.parametrize("kind", TIFFS)
def test_a_tiff_of_any_numbers_in_any_layout_is_the_same_picture(tmp_path: Path, kind: str) -> None:
    values, expected, options = TIFFS[kind]
    options = {"photometric": "rgb" if 3 in values.shape else "minisblack", **options}
    for layout in LAYOUTS.values():
        tifffile.imwrite(tmp_path / "x.tif", values, **options, **layout)
        assert_alike(seen(tmp_path / "x.tif"), expected)


def by_libvips(values: NDArray[Any], path: Path, **options: Any) -> None:
    pyvips = pytest.importorskip("pyvips")
    pyvips.Image.new_from_array(values).tiffsave(str(path), **options)


@pytest.mark.parametrize("compression", ["lzw", "deflate"])
@pytest.mark.parametrize("predictor", ["none", "horizontal", "float"])
@pytest.mark.parametrize("tile", [False, True])
def test_what_libvips_compresses_is_the_same_picture(
    tmp_path: Path, compression: str, predictor: str, tile: bool
) -> None:
    kinds = [((RGB / 255).astype(np.float32), RGB), ((GREY / 255).astype(np.float32), rgb_of(GREY))]
    if predictor != "float":
        kinds += [(bits(RGB, 16), RGB), (bits(GREY, 16), rgb_of(GREY)), (RGB, RGB)]
    for values, expected in kinds:
        by_libvips(
            values,
            tmp_path / "x.tif",
            **{"compression": compression, "predictor": predictor, "tile": tile},
            **{"tile_width": 48, "tile_height": 32},
        )
        assert_alike(seen(tmp_path / "x.tif"), expected)


@pytest.mark.parametrize("compression", ["packbits", "lzma", "zstd"])
def test_other_compressions_of_16_bits_are_read_by_pillows_libtiff(
    tmp_path: Path, compression: str
) -> None:
    name = {"packbits": "packbits", "lzma": "lzma", "zstd": "zstd"}[compression]
    Image.fromarray(bits(GREY, 16)).save(tmp_path / "x.tif", compression=name)
    assert_alike(seen(tmp_path / "x.tif"), rgb_of(GREY))


@pytest.mark.parametrize("depth_", [1, 2, 4])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_a_tiff_of_few_bits_is_what_libvips_says(
    tmp_path: Path, depth_: int, white_is_zero: bool
) -> None:
    pyvips = pytest.importorskip("pyvips")
    path = str(tmp_path / "x.tif")
    few = GREY >> (8 - depth_) << (8 - depth_)
    for compression in ("none", "ccittfax4") if depth_ == 1 else ("none", "deflate"):
        pyvips.Image.new_from_array(few).tiffsave(
            path, bitdepth=depth_, miniswhite=white_is_zero, compression=compression, predictor=1
        )
        with tifffile.TiffFile(path) as file:
            assert file.pages[0].photometric == (0 if white_is_zero else 1)
        pyvips.cache_set_max(0)
        theirs = pyvips.Image.new_from_file(path).numpy()
        assert_alike(seen(tmp_path / "x.tif"), rgb_of(theirs.reshape(SIDE, SIDE)), 0)


def packed(values: NDArray[Any], n: int, fill_order: int = 1, predictor: int = 1) -> bytes:
    """A grey TIFF whose numbers of ``n`` bits lie side by side."""
    singles = (values[..., None] >> np.arange(n - 1, -1, -1)) & 1
    rows = np.packbits(singles.astype(np.uint8).reshape(len(values), -1), axis=1)
    if fill_order == 2:
        rows = np.packbits(np.unpackbits(rows[..., None], -1)[..., ::-1], -1)[..., 0]
    more = {317: predictor} if predictor > 1 else {}
    return directory(rows.tobytes(), values.shape, n, more, fill_order=fill_order)


def directory(
    body: bytes,
    shape: tuple[int, ...],
    n: int,
    more: dict[int, int] | None = None,
    *,
    fill_order: int = 1,
    kind: int = 1,
) -> bytes:
    tags = {256: shape[1], 257: shape[0], 258: n, 259: 1, 262: 1, 266: fill_order, 273: 8, 277: 1}
    tags |= {278: shape[0], 279: len(body), **(more or {}), 339: kind}
    entries = b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in tags.items())
    body += b"\0" * (len(body) % 2)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body
    return head + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("n", [10, 12, 14, 24])
def test_numbers_that_lie_side_by_side_are_taken_apart(tmp_path: Path, n: int) -> None:
    values = bits(GREY, n).astype(int)
    steps = np.diff(values, axis=1, prepend=0) % 2**n
    swapped = [packed(values, n, 2)] if n < 16 else []
    if n == 24:  # of three bytes, and in the file's order
        values, steps = (
            part >> 16 | part & 0xFF00 | (part & 0xFF) << 16 for part in (values, steps)
        )
    for data in (packed(values, n), packed(steps, n, predictor=2), *swapped):
        (tmp_path / "x.tif").write_bytes(data)
        assert_alike(seen(tmp_path / "x.tif"), rgb_of(GREY))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_palette_of_any_size_and_depth_is_the_same_picture(tmp_path: Path, dtype: Any) -> None:
    colors = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2])
    count = 256 if dtype is np.uint8 else 65536
    for scale, planes in itertools.product((1, 256), ("contig", "separate")):
        palette = np.zeros((3, count), np.uint16)
        palette[:, :256] = colors * scale
        tifffile.imwrite(
            tmp_path / "x.tif",
            GREY.astype(dtype),
            photometric="palette",
            colormap=palette,
            planarconfig=planes,
            compression="zlib",
        )
        assert_alike(seen(tmp_path / "x.tif"), colors.T[GREY], 0)


def test_webp_inside_of_a_tiff_is_read(tmp_path: Path) -> None:
    body = encoded(Image.fromarray(GREY).convert("RGB"), "WEBP", lossless=True)
    data = directory(body, GREY.shape, 8, {277: 3})
    data = data.replace(struct.pack("<HHII", 259, 4, 1, 1), struct.pack("<HHII", 259, 4, 1, 50001))
    data = data.replace(struct.pack("<HHII", 262, 4, 1, 1), struct.pack("<HHII", 262, 4, 1, 2))
    (tmp_path / "x.tif").write_bytes(data)
    assert_alike(seen(tmp_path / "x.tif"), rgb_of(GREY), 0)


@pytest.mark.parametrize("grey", [False, True])
def test_the_alpha_of_a_tiff_is_transparency(tmp_path: Path, grey: bool) -> None:
    colors = (GREY[..., None] if grey else RGB) / 255
    alpha = HALF[..., None] / 255
    expected = over(rgb_of(GREY) if grey else RGB, HALF, 255)
    for dtype, premultiplied, planes in itertools.product(
        (np.uint8, np.uint16, np.float32), (False, True), (False, True)
    ):
        stored = np.concatenate([colors * alpha if premultiplied else colors, alpha], -1)
        top = 1 if dtype is np.float32 else np.iinfo(dtype).max
        stored = stored * top if dtype is np.float32 else (stored * top).round()
        tifffile.imwrite(
            tmp_path / "x.tif",
            stored.astype(dtype).transpose(2, 0, 1) if planes else stored.astype(dtype),
            photometric="minisblack" if grey else "rgb",
            extrasamples=["assocalpha" if premultiplied else "unassalpha"],
            planarconfig="separate" if planes else "contig",
            compression="zlib" if planes else None,
        )
        assert_alike(seen(tmp_path / "x.tif"), expected, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_fourth_band_of_rgb_that_nothing_is_said_of_is_transparency(
    tmp_path: Path, dtype: Any
) -> None:
    values = np.dstack([RGB, HALF]).astype(dtype) * (257 if dtype is np.uint16 else 1)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="rgb", extrasamples=["unspecified"])
    assert_alike(seen(tmp_path / "x.tif"), RGB)
    assert look(tmp_path / "x.tif").warning == "1 of 4 bands not shown"
    data = (tmp_path / "x.tif").read_bytes()
    data = data.replace(struct.pack("<HH", 338, 3), struct.pack("<HH", 65000, 3))
    (tmp_path / "x.tif").write_bytes(data)
    assert_alike(seen(tmp_path / "x.tif"), over(RGB, HALF, 255))


def lab() -> NDArray[np.float64]:
    """The scene in CIE Lab, D50."""
    srgb, space = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    there = ImageCms.buildTransform(srgb, space, "RGB", "LAB")
    stored = np.asarray(ImageCms.applyTransform(Image.fromarray(RGB), there))
    return np.concatenate([stored[..., :1] / 2.55, stored[..., 1:].view(np.int8)], -1)


def wrapped(values: NDArray[Any], kind: str) -> NDArray[Any]:
    return values.round().astype(np.int64).astype(kind)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("photometric", ["cielab", "icclab"])
def test_lab_of_any_depth_is_the_same_picture(tmp_path: Path, kind: str, photometric: str) -> None:
    light, ab = lab()[..., :1], lab()[..., 1:]
    if kind == "float32":
        stored = lab().astype(np.float32)
    elif photometric == "cielab":
        scale = 2.55 if kind == "uint8" else 655.35
        step = 1 if kind == "uint8" else 256
        stored = wrapped(np.concatenate([light * scale, ab * step], -1), kind)
    elif kind == "uint8":
        stored = wrapped(np.concatenate([light * 2.55, ab + 128], -1), kind)
    elif kind == "uint16":
        stored = wrapped(np.concatenate([light * 652.8, ab * 256 + 32768], -1), kind)
    else:
        pytest.skip("never written")
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric=photometric)
    expected = RGB.astype(int)
    assert np.abs(seen(tmp_path / "x.tif") - expected).mean() < 3


@pytest.mark.parametrize(
    ("dtype", "signed"), [(np.uint8, False), (np.uint8, True), (np.uint16, False)]
)
@pytest.mark.parametrize("planes", [False, True])
def test_cmyk_of_any_depth_is_the_same_picture(
    tmp_path: Path, dtype: Any, signed: bool, planes: bool
) -> None:
    ink = np.asarray(Image.fromarray(RGB).convert("CMYK")).astype(dtype)
    ink = ink if dtype is np.uint8 else ink * 257
    ink = ink.view(np.int8) if signed else ink
    tifffile.imwrite(
        tmp_path / "x.tif",
        ink.transpose(2, 0, 1) if planes else ink,
        photometric="separated",
        planarconfig="separate" if planes else "contig",
    )
    assert_alike(seen(tmp_path / "x.tif"), RGB)


@pytest.mark.parametrize("step", [1, 2])
def test_uncompressed_ycbcr_is_the_same_picture(tmp_path: Path, step: int) -> None:
    smooth = RGB.repeat(2, 0).repeat(2, 1)[:SIDE, :SIDE]
    luma, *chroma = np.asarray(Image.fromarray(smooth).convert("YCbCr")).transpose(2, 0, 1)
    blocks = luma.reshape(SIDE // step, step, SIDE // step, step).transpose(0, 2, 1, 3)
    parts = [blocks.reshape(*blocks.shape[:2], -1), *(c[::step, ::step, None] for c in chroma)]
    body = np.concatenate(parts, -1).tobytes()
    tags = {256: (4, SIDE), 257: (4, SIDE), 258: (3, 8), 259: (3, 1), 262: (3, 6), 273: (4, 8)}
    tags |= {277: (3, 3), 278: (4, SIDE), 279: (4, len(body)), 284: (3, 1)}
    tags |= {530: (3, step | step << 16)}
    entries = b"".join(
        struct.pack("<HHII", t, kind, 2 if t == 530 else 1, v) for t, (kind, v) in tags.items()
    )
    data = struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + struct.pack("<H", len(tags))
    (tmp_path / "x.tif").write_bytes(data + entries + bytes(4))
    assert_alike(seen(tmp_path / "x.tif"), smooth, 6)


def test_the_full_image_counts_and_not_the_reduced_one_before_it(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(RGB[::8, ::8], photometric="rgb", subfiletype=1)
        file.write(RGB, photometric="rgb")
    assert_alike(seen(tmp_path / "x.tif"), RGB, 0)
    assert (look(tmp_path / "x.tif").width, look(tmp_path / "x.tif").height) == (SIDE, SIDE)


def test_of_several_pages_the_first_counts_and_a_warning_says_so(tmp_path: Path) -> None:
    for values in (RGB, bits(RGB, 16)):
        with tifffile.TiffWriter(tmp_path / "x.tif") as file:
            for page in (values, values[::-1], values):
                file.write(page, photometric="rgb")
        assert_alike(seen(tmp_path / "x.tif"), RGB)
        assert look(tmp_path / "x.tif").warning == "the first of 3 pages"


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_deep_tiff_is_turned_upright_as_a_plain_one(tmp_path: Path, orientation: int) -> None:
    pictures = []
    for values in (RGB, bits(RGB, 16)):
        tifffile.imwrite(
            tmp_path / "x.tif",
            values[:, :48],
            photometric="rgb",
            extratags=[(274, 3, 1, orientation, True)],
        )
        pictures.append(seen(tmp_path / "x.tif", fit="stretch"))
        found = look(tmp_path / "x.tif")
        assert (found.width, found.height) == ((48, 64) if orientation == 3 else (64, 48))
    assert_alike(*pictures)


@pytest.mark.parametrize(
    ("values", "options", "reason"),
    [
        (np.zeros((8, 8), np.complex64), {}, "unsupported TIFF: 64 bits of COMPLEXIEEEFP"),
        (np.zeros((8, 8), np.uint16), {"photometric": "cfa"}, "unsupported TIFF colours: CFA"),
    ],
)
def test_a_tiff_of_a_kind_that_is_not_read_has_the_reason(
    tmp_path: Path, values: NDArray[Any], options: dict[str, Any], reason: str
) -> None:
    tifffile.imwrite(tmp_path / "x.tif", values, **options)
    assert look(tmp_path / "x.tif").reason == reason


@pytest.mark.parametrize("kind", ["16 bits", "planes of floats", "white is zero, 16 bits"])
def test_a_cut_tiff_has_a_reason(tmp_path: Path, kind: str) -> None:
    values, _, options = TIFFS[kind]
    tifffile.imwrite(tmp_path / "x.tif", values, **{"photometric": "rgb", **options})
    data = (tmp_path / "x.tif").read_bytes()
    (tmp_path / "x.tif").write_bytes(data[:-100])
    assert look(tmp_path / "x.tif").reason == "damaged or unsupported TIFF file"


# Numbers wider than eight bits


@pytest.mark.parametrize("kind", ["png", "tif", "pgm"])
def test_the_bits_in_use_reach_from_black_to_white(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    for n in range(8, 17):
        values = bits(GREY, n)
        if kind == "pgm":
            path.write_bytes(b"P5 # by hand\n64 64\n65535\n" + values.astype(">u2").tobytes())
        else:
            Image.fromarray(values).save(path)
        assert_alike(seen(path), rgb_of(GREY))


@pytest.mark.parametrize("color", [2, 4, 6])
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("n", [12, 16])
def test_a_png_of_16_bits_keeps_its_lower_halves(
    tmp_path: Path, color: int, interlaced: bool, n: int
) -> None:
    pyvips = pytest.importorskip("pyvips")
    values = bits(RGB if color != 4 else GREY[..., None], n)
    if color != 2:
        values = np.concatenate([values, HALF[..., None].astype(np.uint16) * 257], -1)
    space = "grey16" if color == 4 else "rgb16"
    img = pyvips.Image.new_from_array(values).copy(interpretation=space)
    img.pngsave(str(tmp_path / "x.png"), interlace=interlaced)
    assert (tmp_path / "x.png").read_bytes()[24:26] == bytes([16, color])
    expected = RGB if color != 4 else rgb_of(GREY)
    if color != 2:
        expected = over(expected, HALF, 255)
    assert_alike(seen(tmp_path / "x.png"), expected)


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (28000, 30040, np.uint16),  # a thermal camera
        (270.0, 310.0, np.float32),  # kelvin
        (-1024, 3071, np.int16),  # Hounsfield units
        (-1.0, 1.0, np.float32),
        (0.0, 1e-6, np.float64),
        (1e6, 3e6, np.float32),
        (-3e38, 3e38, np.float32),
    ],
)
def test_numbers_of_any_range_reach_from_black_to_white(
    tmp_path: Path, low: float, high: float, dtype: Any
) -> None:
    share = GREY / GREY.max()
    values = (low * (1 - share) + high * share).astype(dtype)
    tifffile.imwrite(tmp_path / "x.tif", values)
    assert_alike(seen(tmp_path / "x.tif"), rgb_of(share * 255), 3)


NO_VALUES = [
    (np.float32, np.nan, {}),
    (np.float32, np.inf, {}),
    (np.float32, -np.inf, {}),
    (np.float64, -9999, {}),
    (np.float32, -3.4028235e38, {}),
    (np.float32, 1e20, {}),
    (np.float32, 5.5, {"extratags": [(42113, 2, 0, "5.5", True)]}),
    (np.int16, -32768, {}),
    (np.uint16, 0, {}),
    (np.uint16, 65535, {}),
    (np.uint16, 31000, {"extratags": [(42113, 2, 0, "31000", True)]}),
]


@pytest.mark.parametrize("count", [1, 20])
def test_what_is_no_value_does_not_stretch_the_range(tmp_path: Path, count: int) -> None:
    expected = (GREY / GREY.max() * 255).round()
    expected[:count, 40] = 0
    for dtype, marker, options in NO_VALUES:
        values = (28000 + GREY.astype(float) * 8).astype(dtype)
        values[:count, 40] = marker
        tifffile.imwrite(tmp_path / "x.tif", values, **options)
        assert_alike(seen(tmp_path / "x.tif"), rgb_of(expected), 3)
        assert look(tmp_path / "x.tif").warning == (
            f"{count / SIDE**2:.2g} of the values are missing, drawn black"
        )


def test_black_and_white_of_a_mask_are_values(tmp_path: Path) -> None:
    mask = np.where(GREY > 100, 65535, 0).astype(np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", mask)
    assert_alike(seen(tmp_path / "x.tif"), rgb_of(mask // 257), 0)


def test_a_set_is_drawn_by_its_own_range_and_says_so(tmp_path: Path) -> None:
    """Half as bright stays half as bright, and a dark frame stays dark."""
    said: list[str] = []

    class Listener(type(collection.SILENT)):  # type: ignore[misc]
        def say(self, text: str) -> None:
            said.append(text)

    for i in range(10):
        Image.fromarray(bits(GREY, 12) // (1 if i < 5 else 2)).save(tmp_path / f"{i}.png")
    noise = np.random.default_rng(0).integers(0, 5, (SIDE, SIDE)).astype(np.uint16)
    Image.fromarray(noise).save(tmp_path / "dark.png")
    Image.fromarray(RGB).save(tmp_path / "plain.png")
    found = collection.open_collection(tmp_path, labels=False, reporter=Listener())
    assert found.rendering == Rendering("auto", {"uint16 grey": [(0.0, 4095.0)]})
    assert "11 images of more than 8 bits, from black to white: 0 to 4095 (uint16 grey)." in said
    looks = {source.rel_path: identity.appearance for source, identity in found.files}
    assert looks["9.png"].brightness == pytest.approx(looks["0.png"].brightness / 2, abs=0.003)
    assert looks["dark.png"].contrast < 0.01
    recorded = Rendering.of_record({"background": "auto", "ranges": {"uint16 grey": [[0, 4095]]}})
    assert recorded == found.rendering
    for name, expected in (("0.png", GREY), ("9.png", GREY / 2)):
        assert_alike(seen(tmp_path / name, rendering=recorded), rgb_of(expected))


def test_files_of_other_depths_in_one_folder_have_ranges_of_their_own() -> None:
    ten = [Range("uint16 grey", 0, 1000 + i) for i in range(8)]
    sixteen = [Range("uint16 grey", 0, 60000 + i) for i in range(8)]
    floats = [Range("float32 rgb", 0, 0.9), None]
    ranges = bit_depth.ranges_of_set([*sixteen, *floats, *ten])
    assert ranges == {"float32 rgb": [(0, 1)], "uint16 grey": [(0, 1023), (0, 65535)]}
    rendering = Rendering("auto", ranges)
    assert bit_depth.range_for(ten[0], rendering) == (0, 1023)
    assert bit_depth.range_for(sixteen[0], rendering) == (0, 65535)
    assert bit_depth.range_for(Range("int16 grey", -5, 70), rendering) == (-5, 70)


# Colour profiles


PRIMARIES = {
    "sRGB": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    "Display P3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    "Adobe RGB": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
}
WHITE = (0.3127, 0.3290)


def linear(srgb: NDArray[Any]) -> NDArray[Any]:
    share = srgb / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def to_xyz(name: str) -> NDArray[np.float64]:
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in PRIMARIES[name]]).T
    white = np.array([WHITE[0] / WHITE[1], 1, (1 - sum(WHITE)) / WHITE[1]])
    return columns * np.linalg.solve(columns, white)


def written_in(name: str, gamma: float) -> NDArray[np.uint8]:
    """The scene, softened to fit, as its numbers are in another space."""
    light = linear(MUTED) @ (np.linalg.inv(to_xyz(name)) @ to_xyz("sRGB")).T
    return (light.clip(0, 1) ** (1 / gamma) * 255).round().astype(np.uint8)


MUTED = (RGB * 0.6 + 50).round().astype(np.uint8)


def profile(name: str, gamma: float, *, grey: bool = False) -> bytes:
    """An ICC profile of primaries and a gamma, from LittleCMS's own numbers for sRGB."""
    from mincurate.images.colour import _matrix_profile

    points = (*WHITE, *(number for point in PRIMARIES[name] for number in point))
    return _matrix_profile(gamma, points, grey=grey)


SPACES = [("sRGB", 1.8), ("Display P3", 2.2), ("Adobe RGB", 2.2), ("sRGB", 1.0)]


@pytest.mark.parametrize("kind", ["png", "tif", "jpg", "webp", "avif"])
def test_an_embedded_profile_is_applied(tmp_path: Path, kind: str) -> None:
    options = {"webp": {"lossless": True}, "jpg": {"quality": 95, "subsampling": 0}}.get(kind, {})
    if kind == "avif":
        options = {"quality": 100, "subsampling": "4:4:4"}
    path = tmp_path / f"x.{kind}"
    for name, gamma in SPACES:
        stored = Image.fromarray(written_in(name, gamma))
        stored.save(path, icc_profile=profile(name, gamma), **options)
        assert np.abs(seen(path) - MUTED).mean() < 3, name


@pytest.mark.parametrize("kind", ["16 bits", "planes of 16 bits", "floats"])
def test_a_profile_is_applied_to_deep_tiffs_whose_whole_range_is_then_meant(
    tmp_path: Path, kind: str
) -> None:
    dim = written_in("Display P3", 2.2)
    values = (dim / 255).astype(np.float32) if kind == "floats" else bits(dim, 16)
    separate = kind.startswith("planes")
    tifffile.imwrite(
        tmp_path / "x.tif",
        values.transpose(2, 0, 1) if separate else values,
        photometric="rgb",
        planarconfig="separate" if separate else "contig",
        iccprofile=profile("Display P3", 2.2),
    )
    assert np.abs(seen(tmp_path / "x.tif") - MUTED).mean() < 3
    assert look(tmp_path / "x.tif").range is None


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "LA"])
def test_a_profile_is_applied_in_every_mode(tmp_path: Path, mode: str) -> None:
    grey = mode in ("L", "LA")
    stored = Image.fromarray(written_in("sRGB", 1.8)).convert("L" if grey else "RGB")
    if mode == "P":
        stored = stored.quantize(64)
    plain = np.asarray(stored.convert("RGB"))
    if mode in ("RGBA", "LA"):
        stored.putalpha(255)
    stored.save(tmp_path / "x.png", icc_profile=profile("sRGB", 1.8, grey=grey))
    light = (plain / 255) ** 1.8
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    assert np.abs(seen(tmp_path / "x.png") - expected).mean() < 2


def test_a_cmyk_profile_gives_what_libvips_gives(tmp_path: Path) -> None:
    pyvips = pytest.importorskip("pyvips")
    img = pyvips.Image.new_from_array(RGB).copy(interpretation="srgb")
    path = str(tmp_path / "x.tif")
    img.icc_export(output_profile="cmyk").tiffsave(path)
    theirs = pyvips.Image.new_from_file(path).icc_transform("srgb").numpy()
    assert_alike(seen(tmp_path / "x.tif"), theirs)


@pytest.mark.parametrize("mode", ["RGB", "P", "L", "LA", "I;16", "LA;16", "RGB;16"])
def test_the_gamma_and_the_primaries_of_a_png_are_applied(tmp_path: Path, mode: str) -> None:
    pyvips = pytest.importorskip("pyvips")
    grey = mode[0] in "LI"
    stored = written_in("sRGB" if grey else "Display P3", 1.8)
    if grey:
        stored = (written_in("sRGB", 1.8).mean(-1, keepdims=True)).round().astype(np.uint8)
    expected = ((stored / 255) ** 1.8 * 255).clip(0, 255)
    values = np.dstack([stored, np.full((SIDE, SIDE), 255, np.uint8)]) if "A" in mode else stored
    deep = mode.endswith("16")
    space = {(1, 0): "b-w", (1, 1): "grey16", (0, 0): "srgb", (0, 1): "rgb16"}[grey, deep]
    img = pyvips.Image.new_from_array(bits(values, 16) if deep else values)
    data = img.copy(interpretation=space).pngsave_buffer(palette=mode == "P")
    points = (*WHITE, *(number for point in PRIMARIES["Display P3"] for number in point))
    extra = chunk(b"gAMA", struct.pack(">I", round(100_000 / 1.8)))
    if not grey:
        extra += chunk(b"cHRM", struct.pack(">8I", *(round(p * 100_000) for p in points)))
    (tmp_path / "x.png").write_bytes(data[:33] + extra + data[33:])
    light = expected / 255
    srgb = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    assert np.abs(seen(tmp_path / "x.png") - (srgb if grey else MUTED)).mean() < 3


@pytest.mark.parametrize("content", [ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))])
def test_srgb_itself_and_the_usual_gamma_change_nothing(tmp_path: Path, content: Any) -> None:
    data = encoded(Image.fromarray(RGB), "PNG", icc_profile=content.tobytes())
    usual = chunk(b"gAMA", struct.pack(">I", 45455))
    plain = encoded(Image.fromarray(RGB), "PNG")
    for variant in (data, plain[:33] + usual + plain[33:]):
        (tmp_path / "x.png").write_bytes(variant)
        assert_alike(seen(tmp_path / "x.png"), RGB, 0)
        assert look(tmp_path / "x.png").warning is None


def test_a_profile_that_is_none_is_a_warning(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "x.png", icc_profile=b"no profile at all" * 20)
    assert_alike(seen(tmp_path / "x.png"), RGB, 0)
    assert look(tmp_path / "x.png").warning == "damaged colour profile, not applied"


# Transparency


def icon(level: int) -> Image.Image:
    pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
    pixels[..., :3] = level
    pixels[16:48, 16:48, 3] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("level", "ground"), [(255, 0), (250, 0), (0, 255), (128, 255)])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_the_ground_is_white_or_black_where_white_would_hide_the_picture(
    tmp_path: Path, level: int, ground: int, mode: str
) -> None:
    icon(level).convert(mode).save(tmp_path / "x.png")
    pixels = seen(tmp_path / "x.png")
    assert (pixels[0, 0] == ground).all() and (pixels[32, 32] == level).all()
    assert look(tmp_path / "x.png").appearance.contrast > 0.01


@pytest.mark.parametrize(("background", "color"), [("white", 255), ("black", 0), ("#808080", 128)])
def test_a_background_that_is_asked_for_is_taken(
    tmp_path: Path, background: str, color: int
) -> None:
    icon(255).save(tmp_path / "x.png")
    pixels = seen(tmp_path / "x.png", rendering=Rendering(background))
    assert (pixels[0, 0] == color).all() and (pixels[32, 32] == 255).all()


def test_a_background_that_is_no_colour_is_a_mistake_of_the_user() -> None:
    with pytest.raises(UserError, match="give auto, a name such as white, or #RRGGBB"):
        Rendering("whitish")


def test_an_image_that_is_transparent_everywhere_is_blank(tmp_path: Path) -> None:
    Image.new("RGBA", (SIDE, SIDE), (9, 99, 9, 0)).save(tmp_path / "x.png")
    assert look(tmp_path / "x.png").appearance.contrast == 0


@pytest.mark.parametrize("n", [1, 2, 4, 8, 16])
def test_a_transparent_grey_of_any_depth_is_transparent(tmp_path: Path, n: int) -> None:
    """The chunk names it in the file's own numbers."""
    top = 2**n - 1
    values = np.where(HALF == 255, 0, top)
    if n == 16:
        rows = values.astype(">u2").tobytes()
        lines = [rows[i : i + 128] for i in range(0, len(rows), 128)]
    else:
        singles = (values[..., None] >> np.arange(n - 1, -1, -1)) & 1
        lines = [np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in singles]
    body = chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, n, 0, 0, 0, 0))
    body += chunk(b"tRNS", struct.pack(">H", 0))
    body += chunk(b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines)))
    data = b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")
    (tmp_path / "x.png").write_bytes(data)
    pixels = seen(tmp_path / "x.png", rendering=Rendering("#00ff00"))
    assert (pixels[:, :32] == [0, 255, 0]).all() and (pixels[:, 32:] == 255).all()


# GIF and animation


def gif(*, box: tuple[int, int, int, int], background: int, transparent: int | None) -> bytes:
    """A canvas of 64 x 64, palette red, green, blue, white; the first frame is red in ``box``."""
    left, top, right, bottom = box
    frame = Image.new("P", (right - left, bottom - top), 0)
    frame.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255])
    data = encoded(frame, "GIF")
    at = data.index(b",", 13 + 3 * 4)
    descriptor = struct.pack("<HHHH", left, top, right - left, bottom - top)
    head = b"GIF89a" + struct.pack("<HH", SIDE, SIDE) + data[10:11] + bytes([background, 0])
    palette = data[13 : 13 + 3 * 2 ** ((data[10] & 7) + 1)]
    control = b""
    if transparent is not None:
        control = b"!\xf9\x04" + bytes([9, 0, 0, transparent]) + b"\0"
    return head + palette + control + b"," + descriptor + data[at + 9 :]


@pytest.mark.parametrize("background", [1, 2])
@pytest.mark.parametrize("transparent", [None, 1])
def test_a_gifs_canvas_is_transparent_whatever_colour_it_names(
    tmp_path: Path, background: int, transparent: int | None
) -> None:
    (tmp_path / "x.gif").write_bytes(
        gif(box=(16, 16, 48, 48), background=background, transparent=transparent)
    )
    pixels = seen(tmp_path / "x.gif")
    assert (pixels[0, 0] == 255).all() and (pixels[32, 32] == [255, 0, 0]).all()
    assert (seen(tmp_path / "x.gif", rendering=Rendering("black"))[60, 60] == 0).all()


@pytest.mark.parametrize("disposal", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_of_an_animation_counts_as_it_is_shown(
    tmp_path: Path, disposal: int, kind: str
) -> None:
    frames = [icon(40), icon(200).rotate(45)]
    options: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": 50}
    if kind == "WEBP":
        options["lossless"] = True
    elif kind == "GIF" or disposal < 3:
        options["disposal"] = disposal
    (tmp_path / "x").write_bytes(encoded(frames[0], kind, **options))
    pixels = seen(tmp_path / "x")
    assert (pixels[0, 0] == 255).all()
    assert_alike(pixels[32, 32], np.array([40, 40, 40]), 0)


# Damage that harms no pixel, and damage that does


def encoded(img: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    img.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(name + data) if crc is None else crc
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)


JPEGS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "coarse": {"quality": 60},
    "optimised": {"optimize": True},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "not subsampled": {"subsampling": 0},
    "grey": {"grey": True},
    "flat": {"flat": True},
}


def jpeg(quality: int = 90, grey: bool = False, flat: bool = False, **options: Any) -> bytes:
    pixels = np.full((200, 200, 3), 60, np.uint8) if flat else RGB.repeat(4, 0).repeat(3, 1)
    if not flat:
        noise = np.random.default_rng(0).integers(0, 30, (256, 192, 3))
        pixels = (pixels * 0.8 + noise).astype(np.uint8)
    img = Image.fromarray(pixels)
    return encoded(img.convert("L") if grey else img, "JPEG", quality=quality, **options)


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_without_its_end_marker_is_read_with_a_warning(tmp_path: Path, kind: str) -> None:
    data = jpeg(**JPEGS[kind])
    (tmp_path / "whole.jpg").write_bytes(data)
    assert look(tmp_path / "whole.jpg").warning is None
    for end in (b"", b"\xff", bytes(512)):
        (tmp_path / "x.jpg").write_bytes(data[:-2] + end)
        assert_alike(seen(tmp_path / "x.jpg"), seen(tmp_path / "whole.jpg"), 0)
        assert look(tmp_path / "x.jpg").warning == (
            "the end of the file is missing; the image is complete"
        )


@pytest.mark.parametrize("kind", [kind for kind in JPEGS if kind != "flat"])
def test_a_jpeg_whose_rows_are_missing_is_never_filled_up_in_silence(
    tmp_path: Path, kind: str
) -> None:
    data = jpeg(**JPEGS[kind])
    cuts = [*(int(len(data) * share) for share in (0.3, 0.5, 0.8, 0.95)), -10, -4]
    for cut, end in itertools.product(cuts, (b"", b"\xff\xd9", bytes(4096))):
        if end == b"\xff\xd9" and (cut < 0 or (kind == "progressive" and cut > cuts[0])):
            continue  # at most the last block, or the last refinement: no decoder can tell
        (tmp_path / "x.jpg").write_bytes(data[:cut] + end)
        assert look(tmp_path / "x.jpg").reason in (
            "truncated or damaged JPEG file",
            "cut off: a part of the image is missing",
        ), (cut, end)


def test_a_jpeg_cut_at_a_restart_marker_is_cut(tmp_path: Path) -> None:
    data = jpeg(restart_marker_rows=1)
    at = [i for i in range(len(data) - 1) if data[i] == 0xFF and 0xD0 <= data[i + 1] <= 0xD7]
    assert len(at) > 4
    for place in (at[3], at[3] + 2, at[-1], at[-1] + 2):
        for end in (b"", b"\xff\xd9"):
            (tmp_path / "x.jpg").write_bytes(data[:place] + end)
            assert look(tmp_path / "x.jpg").reason, (place, end)


ANCILLARY = [
    chunk(b"tEXt", b"Comment\0hello", crc=1),
    chunk(b"iCCP", b"ICC\0\0" + zlib.compress(b"none"), crc=1),
    chunk(b"gAMA", struct.pack(">I", 45455), crc=1),
    chunk(b"pHYs", bytes(9), crc=1),
    chunk(b"tIME", bytes(7), crc=1),
    chunk(b"juNk", bytes(99), crc=1),
]
ODD = [
    chunk(b"pHYs", bytes(3)),
    chunk(b"zTXt", b"Comment\0\0not deflated"),
    chunk(b"iTXt", b"x\0\1\0\0\0broken"),
    chunk(b"tEXt", b"Comment\0" + bytes(2**21)),
    chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
    chunk(b"acTL", b"\0"),
    chunk(b"fcTL", bytes(26)),
]


@pytest.mark.parametrize("extra", ANCILLARY, ids=lambda extra: extra[4:8].decode())
def test_a_damaged_chunk_that_the_picture_does_without_is_a_warning(
    tmp_path: Path, extra: bytes
) -> None:
    data = encoded(Image.fromarray(RGB), "PNG")
    (tmp_path / "x.png").write_bytes(data[:33] + extra + data[33:])
    assert_alike(seen(tmp_path / "x.png"), RGB, 0)
    assert look(tmp_path / "x.png").warning == f"damaged {extra[4:8].decode()} chunk left out"


@pytest.mark.parametrize("extra", ODD, ids=lambda extra: extra[4:8].decode())
def test_a_chunk_whose_content_makes_no_sense_harms_nothing(tmp_path: Path, extra: bytes) -> None:
    data = encoded(Image.fromarray(RGB), "PNG")
    for at in (33, len(data) - 12):
        (tmp_path / "x.png").write_bytes(data[:at] + extra + data[at:])
        assert_alike(seen(tmp_path / "x.png"), RGB, 0)
        assert look(tmp_path / "x.png").reason is None


@pytest.mark.parametrize("end", [b"", b"\0\0\0\0IE", b"\0\0\0\0IEND\0\0\0\0"])
def test_a_png_whose_end_is_damaged(tmp_path: Path, end: bytes) -> None:
    data = encoded(Image.fromarray(RGB), "PNG")
    (tmp_path / "x.png").write_bytes(data[:-12] + end)
    assert_alike(seen(tmp_path / "x.png"), RGB, 0)
    assert (
        look(tmp_path / "x.png").warning == "the end of the file is missing; the image is complete"
    )


@pytest.mark.parametrize("cut", [13, 16, 40, 100])
def test_a_png_whose_rows_are_missing_is_not_read(tmp_path: Path, cut: int) -> None:
    data = encoded(Image.fromarray(RGB), "PNG")
    for end in (b"", b"\0\0\0\0IEND\xaeB`\x82"):
        (tmp_path / "x.png").write_bytes(data[:-cut] + end)
        assert look(tmp_path / "x.png").reason == "truncated or damaged PNG file"
    shorter = zlib.compress(zlib.decompress(data[data.index(b"IDAT") + 4 : -16])[: 193 * 40])
    header = data[: data.index(b"IDAT") - 4]
    (tmp_path / "x.png").write_bytes(header + chunk(b"IDAT", shorter) + data[-12:])
    assert look(tmp_path / "x.png").reason == "truncated or damaged PNG file"


# Other formats


def has(feature: str) -> Any:
    return pytest.mark.skipif(not features.check(feature), reason=f"Pillow without {feature}")


@pytest.mark.parametrize(
    ("suffix", "options", "levels"),
    [
        pytest.param("avif", {"quality": 100, "subsampling": "4:4:4"}, 4, marks=has("avif")),
        pytest.param("jp2", {}, 0, marks=has("jpg_2000")),
        pytest.param("j2k", {}, 0, marks=has("jpg_2000")),
        ("ppm", {}, 0),
        ("webp", {"lossless": True}, 0),
        ("bmp", {}, 0),
        ("dib", {}, None),
    ],
)
def test_a_format_is_listed_and_read(
    tmp_path: Path, suffix: str, options: dict[str, Any], levels: int | None
) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(RGB).save(path, **options)
    assert [source.path for source in sources.find(tmp_path)] == [str(path)]
    if levels is None:
        assert look(path).reason
    else:
        assert_alike(seen(path), RGB, levels)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 2 // 3])
        assert look(path).reason


@pytest.mark.parametrize("boxes", [True, False], ids=["jp2", "codestream"])
def test_jpeg_2000_of_16_bits_in_colour_keeps_its_lower_halves(tmp_path: Path, boxes: bool) -> None:
    import cv2

    lossless = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]
    file = cv2.imencode(".jp2", bits(RGB, 12)[..., ::-1], lossless)[1].tobytes()
    path = tmp_path / "x.jp2"
    path.write_bytes(file if boxes else file[file.index(b"\xff\x4f\xff\x51") :])
    assert np.asarray(Image.open(path)).max() <= 16  # the upper halves
    assert_alike(seen(path), RGB)
    own = look(path).range
    assert own is not None and own.kind == "uint16 rgb" and 3900 < own.high < 4096


def test_jpeg_2000_of_which_half_the_bits_are_read_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2

    (tmp_path / "x.jp2").write_bytes(cv2.imencode(".jp2", bits(RGB, 16))[1].tobytes())
    monkeypatch.setattr(jpeg2000, "_by_opencv", lambda data: None)
    assert look(tmp_path / "x.jp2").warning == "only the upper 8 of its 16 bits are read"


@pytest.mark.parametrize(
    "mode", ["L", "1", "I;16", "F", "RGB;16", "plain", "plain RGB", "plain 12"]
)
def test_every_netpbm_is_read(tmp_path: Path, mode: str) -> None:
    expected = rgb_of(GREY)
    if mode == "F":
        data = b"Pf\n64 64\n-1.0\n" + (GREY[::-1] / 255).astype("<f4").tobytes()
    elif mode == "1":
        expected = rgb_of(np.where(GREY > 127, 255, 0))
        data = b"P4\n64 64\n" + np.packbits(GREY <= 127, axis=1).tobytes()
    elif mode == "L":
        data = b"P5\n64 64\n255\n" + GREY.tobytes()
    elif mode == "I;16":
        data = b"P5\n64 64\n4095\n" + bits(GREY, 12).astype(">u2").tobytes()
    elif mode == "RGB;16":
        expected = RGB
        data = b"P6\n64 64\n1023\n" + bits(RGB, 10).astype(">u2").tobytes()
    elif mode == "plain 12":  # 12 bits under a header of 16
        expected = RGB
        numbers = " ".join(map(str, bits(RGB, 12).reshape(-1))).encode()
        data = b"P3\n# 5 5\n64 64\n65535\n" + numbers + b"\n"
    else:
        values = GREY if mode == "plain" else RGB
        expected = rgb_of(GREY) if mode == "plain" else RGB
        kind = b"P2" if mode == "plain" else b"P3"
        data = kind + b"\n64 64\n255\n" + " ".join(map(str, values.reshape(-1))).encode() + b"\n"
    (tmp_path / "x.pnm").write_bytes(data)
    assert_alike(seen(tmp_path / "x.pnm"), expected)
    (tmp_path / "x.pnm").write_bytes(data[: len(data) // 2])
    assert look(tmp_path / "x.pnm").reason == (
        f"truncated or damaged {'PFM' if mode == 'F' else 'PNM'} file"
    )


def bmp(masks: tuple[int, ...], n: int, *, top_down: bool = False, packing: int = 3) -> bytes:
    """Colours of the scene, and `HALF` as alpha, under masks."""
    bands = [*RGB.transpose(2, 0, 1), HALF]
    pixels = np.zeros((SIDE, SIDE), np.uint64)
    for mask, band in zip(masks, bands, strict=False):
        if mask:
            shift = (mask & -mask).bit_length() - 1
            pixels |= (band * ((mask >> shift) / 255)).round().astype(np.uint64) << np.uint64(shift)
    rows = pixels if top_down else pixels[::-1]
    body = rows.astype(f"<u{n // 8}").tobytes()
    more = struct.pack(f"<{len(masks)}I", *masks)
    header = 40 if len(masks) == 3 or packing == 6 else 56
    height = -SIDE if top_down else SIDE
    info = struct.pack("<IiiHHIIiiII", header, SIDE, height, 1, n, packing, len(body), 0, 0, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + len(more) + len(body), 0, 0, 54 + len(more)) + (
        info + more + body
    )


FIELDS = [
    ((0xF800, 0x7E0, 0x1F), 16, 3),
    ((0x7C00, 0x3E0, 0x1F), 16, 3),
    ((0xF00, 0xF0, 0xF), 16, 3),
    ((0x1F, 0x7E0, 0xF800), 16, 3),
    ((0xF00, 0xF0, 0xF, 0xF000), 16, 3),
    ((0xFF, 0xFF00, 0xFF0000), 32, 3),
    ((0x3FF, 0xFFC00, 0x3FF00000), 32, 3),
    ((0xFF00, 0xFF0000, 0xFF000000, 0xFF), 32, 3),
    ((0xFF0000, 0xFF00, 0xFF, 0xFF000000), 32, 6),
    ((0xFF0000, 0xFF00, 0xFF, 0), 32, 3),
]


def test_a_bmp_of_any_bit_fields_is_the_same_picture(tmp_path: Path) -> None:
    for (masks, n, packing), top_down in itertools.product(FIELDS, (False, True)):
        (tmp_path / "x.bmp").write_bytes(bmp(masks, n, top_down=top_down, packing=packing))
        expected = over(RGB, HALF, 255) if len(masks) == 4 and masks[3] else RGB
        assert_alike(seen(tmp_path / "x.bmp"), expected, 12 if n == 16 else 2)


def palette_bmp(n: int, body: bytes, *, size: int = 40, packing: int = 0, colors: int = 0) -> bytes:
    """A BMP of 64 x 64 whose palette runs from black to white."""
    levels = np.linspace(0, 255, colors or 2**n).round().astype(np.uint8)
    entry = 3 if size == 12 else 4
    palette = b"".join(bytes([level] * 3 + [0] * (entry - 3)) for level in levels)
    fields = struct.pack("<iiHHIIiiII", SIDE, SIDE, 1, n, packing, len(body), 0, 0, colors, 0)
    if size == 12:
        fields = struct.pack("<HHHH", SIDE, SIDE, 1, n)
    info = struct.pack("<I", size) + fields[: size - 4].ljust(size - 4, b"\0")
    start = 14 + len(info) + len(palette)
    return struct.pack("<2sIHHI", b"BM", start + len(body), 7, 9, start) + info + palette + body


@pytest.mark.parametrize("size", [12, 16, 40, 64, 108])
def test_a_bmp_of_any_palette_is_the_same_picture(tmp_path: Path, size: int) -> None:
    for n in (1, 2, 4, 8):
        few = (GREY >> (8 - n)).astype(np.uint8)
        singles = (few[::-1, :, None] >> np.arange(n - 1, -1, -1)) & 1
        body = np.packbits(singles.astype(np.uint8).reshape(SIDE, -1), axis=1).tobytes()
        expected = rgb_of((few * (255 / (2**n - 1))).round())
        (tmp_path / "x.bmp").write_bytes(palette_bmp(n, body, size=size))
        assert_alike(seen(tmp_path / "x.bmp"), expected, 0)
    if size == 40:  # more colours than eight bits can name
        (tmp_path / "x.bmp").write_bytes(palette_bmp(8, GREY[::-1].tobytes(), colors=300))
        expected = np.linspace(0, 255, 300).round()[GREY]
        assert_alike(seen(tmp_path / "x.bmp"), rgb_of(expected), 0)


def runs(values: NDArray[Any], n: int, *, absolute: bool) -> bytes:
    """Rows from the bottom, run-length encoded; ``values`` are palette numbers or BGR."""
    body = b""
    for row in values[::-1]:
        cells = [value.tobytes() for value in row]
        if n == 4:
            cells = [bytes([cell[0] * 17]) for cell in cells]
        if absolute:
            packed = b"".join(cells)
            if n == 4:
                packed = bytes(
                    a & 0xF0 | b & 15 for a, b in zip(packed[::2], packed[1::2], strict=True)
                )
            body += bytes([0, SIDE]) + packed
        else:
            body += b"".join(bytes([1]) + cell for cell in cells)
        body += b"\0\0"
    return body + b"\0\1"


@pytest.mark.parametrize("n", [4, 8, 24])
def test_the_runs_of_a_bmp_are_followed_to_the_letter(tmp_path: Path, n: int) -> None:
    packing, size = {4: (2, 40), 8: (1, 40), 24: (4, 64)}[n]
    values = RGB[..., ::-1] if n == 24 else (GREY >> (8 - n)).astype(np.uint8)
    expected = RGB if n == 24 else rgb_of((values * (255 / (2**n - 1))).round())
    colors = 1 if n == 24 else 0
    path = tmp_path / "x.bmp"
    for absolute in (False, True):
        body = runs(values, n, absolute=absolute)
        path.write_bytes(palette_bmp(n, body, size=size, packing=packing, colors=colors))
        assert_alike(seen(path), expected, 0)
    path.write_bytes(palette_bmp(n, body[:-80], size=size, packing=packing, colors=colors))
    assert look(path).reason == "damaged or unsupported BMP file"
    outside = b"\0\2\x3e\0" + bytes([0, 4, *[1] * (12 if n == 24 else 4)])
    path.write_bytes(palette_bmp(n, outside + body, size=size, packing=packing, colors=colors))
    assert look(path).reason == "damaged or unsupported BMP file"
    early = body[: body.index(b"\0\0", len(body) // 2)] + b"\0\1"
    path.write_bytes(palette_bmp(n, early, size=size, packing=packing, colors=colors))
    assert "of the pixels are not in the file, drawn black" in (look(path).warning or "")


@has("avif")
def test_an_avif_whose_properties_are_assigned_item_by_item_is_read(tmp_path: Path) -> None:
    """As early encoders wrote them, in boxes that libavif takes for a mistake."""
    picture = Image.fromarray(np.dstack([RGB, HALF]))
    data = encoded(picture, "AVIF", quality=100, subsampling="4:4:4")
    (tmp_path / "x.avif").write_bytes(data)
    expected = seen(tmp_path / "x.avif")
    assert_alike(expected, over(RGB, HALF, 255), 6)
    at = data.index(b"ipma") - 4
    length, count = struct.unpack_from(">I8xI", data, at)
    entries, cuts = data[at + 16 : at + length], [0]
    for _ in range(count):
        cuts.append(cuts[-1] + 3 + entries[cuts[-1] + 2])
    boxes = [
        struct.pack(">I4sII", 16 + end - start, b"ipma", 0, 1) + entries[start:end]
        for start, end in itertools.pairwise(cuts)
    ]
    more = 16 * (count - 1)
    apart = data[:at] + b"".join(boxes) + data[at + length :]
    for name in (b"meta", b"iprp"):
        place = apart.index(name) - 4
        size = int.from_bytes(apart[place : place + 4], "big") + more
        apart = apart[:place] + size.to_bytes(4, "big") + apart[place + 4 :]
    places = apart.index(b"iloc") + 12  # offsets of 4 bytes, of items with one extent each
    for item in range(count):
        place = places + 14 * item + 6
        offset = int.from_bytes(apart[place : place + 4], "big") + more
        apart = apart[:place] + offset.to_bytes(4, "big") + apart[place + 4 :]
    (tmp_path / "x.avif").write_bytes(apart)
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(tmp_path / "x.avif")
    assert_alike(seen(tmp_path / "x.avif"), expected, 0)


def heic() -> Callable[[Path, Image.Image], None]:
    heif = pytest.importorskip("pillow_heif")

    def write(path: Path, img: Image.Image) -> None:
        heif.from_pillow(img).save(path, quality=-1, chroma=444)

    return write


def test_heic_is_read_where_its_package_is_installed(tmp_path: Path) -> None:
    heic()(tmp_path / "x.heic", Image.fromarray(RGB))
    assert np.abs(seen(tmp_path / "x.heic") - RGB).mean() < 3
    (tmp_path / "x.heic").write_bytes((tmp_path / "x.heic").read_bytes()[:-30])
    assert "damaged HEIC" in (look(tmp_path / "x.heic").reason or "")


def test_without_its_package_the_reason_of_a_heic_file_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    (tmp_path / "x.heic").write_bytes(struct.pack(">I4s4sI", 24, b"ftyp", b"heic", 0) + bytes(99))
    assert look(tmp_path / "x.heic").reason == (
        "HEIC needs pillow-heif: pip install 'mincurate[heif]'"
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\x0a" + bytes(50), "unsupported format: JPEG XL"),
        (b"P7\nWIDTH 1\n", "unsupported format: PAM"),
        (b"PF\n1 1\n-1.0\n" + bytes(12), "unsupported format: PFM of three colours"),
    ],
)
def test_a_format_that_is_not_read_is_named(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "x.png").write_bytes(data)
    assert look(tmp_path / "x.png").reason == reason


# Names


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"\xff\xfe.png", b"a\\xe9.png", "é.png".encode()])
def test_a_name_of_any_bytes_is_read_and_told_as_text(tmp_path: Path, name: bytes) -> None:
    folder = bytes(tmp_path) + b"/d\xe9"
    os.mkdir(folder)
    with open(folder + b"/" + name, "wb") as file:
        file.write(encoded(Image.fromarray(RGB), "PNG"))
    [source] = sources.find(Path(os.fsdecode(folder)), False)
    assert source.reason is None
    source.path.encode("utf-8")
    assert_alike(seen(Path(source.path)), RGB, 0)


@pytest.fixture(autouse=True)
def nothing_reaches_stderr(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr().err == ""


def test_too_many_bands_or_pixels_are_refused_by_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "MAX_PIXELS", 1000)
    for data in (
        packed(bits(GREY, 12), 12),
        bmp((0xF00, 0xF0, 0xF), 16),
        b"P5\n64 64\n4095\n" + bytes(SIDE * SIDE * 2),
        encoded(Image.fromarray(RGB), "AVIF") if features.check("avif") else bmp(FIELDS[0][0], 16),
    ):
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(UnreadableImage, match="too large: 64 x 64 pixels"):
            seen(tmp_path / "x")
