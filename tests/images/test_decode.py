"""A file becomes a tensor, or the reason why it cannot."""

import contextlib
import hashlib
import io
import os
import socket
import struct
import threading
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from mincurate.images import decode as decoding
from mincurate.images import decode_pool, file_bytes
from mincurate.images import orientation as orientations
from mincurate.images.decode import Identity, UnreadableImage, decode, fit_image, identify
from mincurate.images.decode_pool import decode_many, identify_many
from mincurate.images.fit import Resampling
from mincurate.images.sources import Source, find


def picture(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    """Smooth enough for JPEG, and different in every corner."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    phase = np.random.default_rng(seed).random()
    rgb = np.stack([x, y, (np.sin(4 * x * y + phase) + 1) / 2], -1) * 255
    return Image.fromarray(rgb.round().astype(np.uint8))


def encoded(img: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    img.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_header(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def webp_canvas(width: int, height: int) -> bytes:
    """A header only: Pillow's WebP parser refuses such a one by itself."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = encoded(picture(), "WEBP", save_all=True, append_images=[picture(seed=1)])
    at = body.index(b"VP8X") + 12
    return body[:at] + sides + body[at + 6 :]


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "text")
    return file.getvalue()


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def load(data: bytes, tmp_path: Path, size: int = 30, **options: object) -> np.ndarray:
    """(3, size, size) of a file with these bytes."""
    path = tmp_path / "file"
    path.write_bytes(data)
    return decode(str(path), size=size, **options)


def look(data: bytes, tmp_path: Path) -> Identity:
    path = tmp_path / "file"
    path.write_bytes(data)
    return identify(Source(str(path), "file"), size=None)


def array(img: Image.Image) -> np.ndarray:
    return np.asarray(img.convert("RGB")).transpose(2, 0, 1)


# A folder of files from strangers


JPEG = encoded(picture(), "JPEG")
PNG = encoded(picture(), "PNG")
TRUNCATED = "truncated or damaged {} file"
HEIC = "damaged HEIC file" if find_spec("pillow_heif") else "HEIC needs pillow-heif"
BROKEN: dict[str, tuple[bytes, str]] = {
    "truncated.jpg": (JPEG[: len(JPEG) // 2], TRUNCATED.format("JPEG")),
    "truncated.png": (PNG[: len(PNG) // 2], TRUNCATED.format("PNG")),
    "checksum.png": (flipped(PNG, len(PNG) - 14), TRUNCATED.format("PNG")),
    "header-checksum.png": (flipped(PNG, 30), TRUNCATED.format("PNG")),
    "zero.png": (png_header(0, 5), TRUNCATED.format("PNG")),
    "no-data.png": (png_header(5, 5), TRUNCATED.format("PNG")),
    "bomb.png": (
        png_header(40_000, 40_000),
        "too large: 40000 x 40000 pixels, the limit is 178 megapixels",
    ),
    "bomb.webp": (webp_canvas(16_000, 16_000), "too large: the limit is 178 megapixels"),
    "empty.jpg": (b"", "empty file"),
    "text.jpg": (b"just some text\n", "not an image"),
    "one-byte.jpg": (b"\xff", "not an image"),
    "zeros.png": (bytes(5000), "not an image"),
    "html.jpg": (b"\n<!DOCTYPE html><html>404</html>", "unsupported format: HTML"),
    "pdf.png": (b"%PDF-1.7\n%...", "unsupported format: PDF"),
    "zip.png": (zipped(), "unsupported format: ZIP"),
    "svg.png": (b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "unsupported format: SVG"),
    "pam.jpg": (b"P7\nWIDTH 9\n", "unsupported format: PAM"),
    "postscript.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(100), HEIC),
    "lfs.png": (b"version https://git-lfs.github.com/spec/v1\n", "unsupported format: Git LFS poi"),
    "random.jpg": (
        b"\xff\xd8\xff\xe0" + np.random.default_rng(0).bytes(999),
        TRUNCATED.format("JPEG"),
    ),
    "tags.tif": (
        encoded(picture(), "TIFF")[:8] + b"\xff" * 200,
        "damaged or unsupported TIFF file",
    ),
    "offset.tif": (b"II*\0\xff\xff\xff\x7f", "damaged or unsupported TIFF file"),
    "screen.gif": (encoded(picture(), "GIF")[:500], TRUNCATED.format("GIF")),
    "corrupt.webp": (
        flipped(encoded(picture(), "WEBP"), 16)[:-20],
        TRUNCATED.format("WEBP"),
    ),
    "short.bmp": (encoded(picture(), "BMP")[:-900], "damaged or unsupported BMP file"),
    "nan.tif": (
        encoded(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"),
        "pixel values that are not finite numbers",
    ),
}
NO_FILES = {
    "dangling.png": "symbolic link to nothing",
    "outside.png": "symbolic link out of the folder, not followed",
    "zero-device.png": "symbolic link out of the folder, not followed",
    "folder.jpg": "a folder, not a file",
    "pipe.jpg": "not a regular file",
    "socket.png": "not a regular file",
}
"""What is in folders beside files, and the reason it gets."""


def good() -> dict[str, bytes]:
    img = picture()
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = img.quantize(16)
    frames = [picture(seed=seed) for seed in (1, 2)]
    return {
        "UPPER.JPG": JPEG,
        "wrong-suffix.png": JPEG,
        "new\nline.png": PNG,
        "Füße 猫.png": PNG,
        "no-suffix": PNG,
        "cmyk.jpg": encoded(img.convert("CMYK"), "JPEG"),
        "cmyk.tif": encoded(img.convert("CMYK"), "TIFF"),
        "grey.jpg": encoded(img.convert("L"), "JPEG"),
        "progressive.jpg": encoded(img, "JPEG", progressive=True),
        "grey16.png": encoded(
            Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30)), "PNG"
        ),
        "transparent-palette.png": encoded(palette, "PNG", transparency=0),
        "la.png": encoded(img.convert("LA"), "PNG"),
        "one-bit.png": encoded(img.convert("1"), "PNG"),
        "one-bit.tif": encoded(img.convert("1"), "TIFF", compression="group4"),
        "animated.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "animated.webp": encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "animated.png": encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "pages.tiff": encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]),
        "phone.jpe": encoded(frames[0], "MPO", save_all=True, append_images=frames[1:]),
        "rotated.jpg": encoded(img, "JPEG", exif=exif),
        "bad-exif.jpg": encoded(img, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\x12\x34"),
        "dot.png": encoded(Image.new("RGB", (1, 1), "red"), "PNG"),
        "thread.png": encoded(Image.new("RGB", (1, 5000), "red"), "PNG"),
        "a.bmp": encoded(img, "BMP"),
        "jpeg.tif": encoded(img, "TIFF", compression="jpeg"),
        "trailing.jpg": JPEG + b"bytes after the end",
        "one-byte-short.jpg": JPEG[:-1],
        "no-end.png": PNG[:-12],
        "ppm.jpg": encoded(img, "PPM"),
        "a.jp2": encoded(img, "JPEG2000"),
        "a.avif": encoded(img, "AVIF"),
    }


@pytest.fixture(autouse=True)
def nothing_reaches_stderr(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """libtiff writes there by itself, past Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert capfd.readouterr().err == ""


def furnish(root: Path, outside: Path) -> None:
    """Fill the folder ``root`` as people do: `BROKEN`, `good` and `NO_FILES`."""
    (outside / "x.png").write_bytes(PNG)
    for name, (data, _) in BROKEN.items():
        (root / name).write_bytes(data)
    for name, data in good().items():
        (root / name).write_bytes(data)
    (root / "dangling.png").symlink_to("nowhere.png")
    (root / "outside.png").symlink_to(outside / "x.png")
    (root / "folder.jpg").mkdir()
    os.mkfifo(root / "pipe.jpg")
    (root / "zero-device.png").symlink_to("/dev/zero")
    with contextlib.chdir(root), socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
    (root / "notes.txt").write_text("not listed")


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    """What is said of each file of a folder as people have them."""
    outside, root = (tmp_path_factory.mktemp(name) for name in ("outside", "root"))
    furnish(root, outside)
    sources = find(root)
    identities = identify_many(sources, size=32, workers=2)
    return {s.rel_path: i for s, i in zip(sources, identities, strict=True)}


def test_no_file_is_missing_from_the_list(strangers: dict[str, Identity]) -> None:
    assert set(strangers) == {*BROKEN, *good(), *NO_FILES}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_gets_its_reason(strangers: dict[str, Identity], name: str) -> None:
    found = strangers[name]
    assert found.reason is not None
    assert found.reason.startswith(BROKEN[name][1])
    assert found == Identity(reason=found.reason)  # either a reason or everything else


@pytest.mark.parametrize(("name", "reason"), NO_FILES.items())
def test_what_is_no_file_gets_its_reason(
    strangers: dict[str, Identity], name: str, reason: str
) -> None:
    assert strangers[name].reason == reason


@pytest.mark.parametrize("name", good())
def test_an_odd_file_that_is_an_image_is_one(strangers: dict[str, Identity], name: str) -> None:
    found = strangers[name]
    assert found.reason is None
    assert found.content_hash == hashlib.blake2b(good()[name], digest_size=16).hexdigest()
    sizes = {"rotated.jpg": (30, 40), "dot.png": (1, 1), "thread.png": (1, 5000)}
    sizes["grey16.png"] = (30, 30)
    assert (found.width, found.height) == sizes.get(name, (40, 30))
    assert found.complexity is not None
    assert 0 < found.complexity < 4


@pytest.mark.parametrize("name", [*BROKEN, *good()])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_what_is_identified_decodes_and_what_is_not_says_the_same(
    tmp_path: Path, name: str, fit: decoding.Fit
) -> None:
    data = BROKEN[name][0] if name in BROKEN else good()[name]
    if name in BROKEN:
        with pytest.raises(UnreadableImage) as error:
            load(data, tmp_path, 16, fit=fit)
        assert error.value.reason.startswith(BROKEN[name][1])
    else:
        pixels = load(data, tmp_path, 16, fit=fit)
        assert (pixels.shape, pixels.dtype) == ((3, 16, 16), np.uint8)
        assert pixels.flags.c_contiguous


def test_a_pipe_does_not_hang_even_when_named_directly(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero")):
        assert identify(Source(str(path), "x"), size=8).reason == "not a regular file"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/nowhere/x.png", "file not found"),
        ("/tmp", "a folder, not a file"),
        ("/tmp/\0.png", "not a valid path"),
        ("/" + "x" * 300, "file name too long"),
        ("/etc/passwd/x.png", "not a directory"),
    ],
)
def test_a_path_that_cannot_be_read_is_a_reason(path: str, reason: str) -> None:
    assert identify(Source(path, "x"), size=8).reason == reason
    with pytest.raises(UnreadableImage, match=reason):
        decode(path, size=8)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_without_permission_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(PNG)
    (tmp_path / "x.png").chmod(0)
    assert identify(Source(str(tmp_path / "x.png"), "x"), size=8).reason == "permission denied"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(13, "Permission denied"), "permission denied"),
        (OSError(5, "Input/output error"), "input/output error"),
        (MemoryError(), "not enough memory to decode it"),
    ],
)
def test_a_disk_or_a_memory_that_fails_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(file_bytes, "open", fail, raising=False)
    assert look(PNG, tmp_path).reason == reason


def test_memory_that_ends_while_decoding_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    grey = encoded(picture().convert("L"), "PNG")
    monkeypatch.setattr(Image.Image, "convert", fail)
    assert look(grey, tmp_path).reason == "not enough memory to decode it"


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "huge.tif", "wb") as file:
        file.truncate(3 * 2**30)  # sparse
    reason = identify(Source(str(tmp_path / "huge.tif"), "x"), size=8).reason
    assert reason == "too large: 3.0 GiB, the limit is 1 GiB"


@pytest.mark.parametrize("limit", [None, 10**9])
def test_the_limit_of_pixels_holds_when_somebody_lifts_that_of_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert look(png_header(40_000, 40_000), tmp_path).reason == BROKEN["bomb.png"][1]


def test_an_image_between_the_warning_and_the_limit_does_not_warn(tmp_path: Path) -> None:
    assert look(png_header(10_000, 10_000), tmp_path).reason == TRUNCATED.format("PNG")


def test_a_reason_that_is_known_already_is_kept(tmp_path: Path) -> None:
    source = Source(str(tmp_path / "x.png"), "x.png", reason="known")
    assert identify(source, size=8) == Identity(reason="known")


# Laws


def seeds() -> list[bytes]:
    img = picture(24, 20)
    grey16 = Image.fromarray(np.arange(480, dtype=np.uint16).reshape(20, 24) * 100)
    exif = Image.Exif()
    exif[0x0112] = 8
    return [
        encoded(img, "JPEG", exif=exif),
        encoded(img.convert("CMYK"), "JPEG"),
        encoded(img, "PNG"),
        encoded(img.quantize(8), "PNG", transparency=1),
        encoded(grey16, "PNG"),
        encoded(img, "WEBP"),
        encoded(img, "GIF", save_all=True, append_images=[picture(24, 20, 1)]),
        encoded(img, "BMP"),
        encoded(img, "TIFF", exif=exif),
        *(
            encoded(img, "TIFF", compression=name)
            for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")
        ),
        encoded(img.convert("F"), "TIFF"),
        encoded(grey16, "TIFF"),
        encoded(img, "JPEG", progressive=True)[:-2],
        encoded(img, "PPM"),
        encoded(img, "JPEG2000"),
        encoded(img, "AVIF"),
        encoded(img, "MPO", save_all=True, append_images=[picture(24, 20, 1)]),
    ]


SEEDS = seeds()


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        reach = draw(st.sampled_from([32, 128, len(data)]))  # headers are short
        at = draw(st.integers(0, min(reach, len(data)) - 1))
        data[at] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(data=mutations())
def test_a_mutated_file_is_an_image_or_a_reason(tmp_path: Path, data: bytes) -> None:
    images_limit = decoding.MAX_PIXELS
    decoding.MAX_PIXELS = 10**6  # what a mutated header may declare would only cost time
    try:
        found = look(data, tmp_path)
        if found.reason is None:
            assert load(data, tmp_path, 8).shape == (3, 8, 8)
        else:
            assert "\n" not in found.reason
            assert found == Identity(reason=found.reason)
    finally:
        decoding.MAX_PIXELS = images_limit


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_an_image_of_the_size_asked_for_is_not_touched(
    tmp_path: Path, kind: str, fit: decoding.Fit
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    img = Image.fromarray(noise)
    data = encoded(img, kind, lossless=True) if kind == "WEBP" else encoded(img, kind)
    np.testing.assert_array_equal(load(data, tmp_path, 30, fit=fit), noise.transpose(2, 0, 1))


def test_an_opaque_alpha_channel_changes_nothing(tmp_path: Path) -> None:
    img = picture(30, 30)
    pixels = load(encoded(img.convert("RGBA"), "PNG"), tmp_path)
    np.testing.assert_array_equal(pixels, array(img))


def test_only_the_cropped_side_is_lost_when_the_other_fits(tmp_path: Path) -> None:
    img = picture(41, 30)
    pixels = load(encoded(img, "PNG"), tmp_path)
    np.testing.assert_array_equal(pixels, array(img)[:, :, 5:35])


# What pixels mean


def checked(width: int, height: int) -> Image.Image:
    """Four quarters: red, green, blue, white."""
    img = Image.new("RGB", (width, height), "red")
    img.paste((0, 255, 0), (width // 2, 0, width, height // 2))
    img.paste((0, 0, 255), (0, height // 2, width // 2, height))
    img.paste((255, 255, 255), (width // 2, height // 2, width, height))
    return img


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    upright = checked(48, 32)
    undo = orientations.TURNS[orientation][0]
    back = {
        Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
        Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
    }
    stored = upright if undo is None else upright.transpose(back.get(undo, undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    data = encoded(stored, kind, exif=exif, **options)
    found = look(data, tmp_path)
    assert (found.width, found.height) == (48, 32)
    pixels = load(data, tmp_path, 32, fit="stretch").astype(int)
    assert np.abs(pixels - array(upright.resize((32, 32)))).mean() < 8


def test_orientation_six_is_the_phone_held_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the first row of the file is the right side of the picture
    stored = Image.new("RGB", (20, 20), "black")
    stored.paste((255, 255, 255), (0, 0, 20, 10))
    pixels = load(encoded(stored, "PNG", exif=exif), tmp_path, 20)
    assert pixels[:, :, 10:].min() == 255
    assert pixels[:, :, :10].max() == 0


def test_a_big_jpeg_has_its_full_size_and_the_same_picture(tmp_path: Path) -> None:
    img = picture(1600, 1200)
    exif = Image.Exif()
    exif[0x0112] = 6
    found = look(encoded(img, "JPEG", exif=exif), tmp_path)
    assert (found.width, found.height) == (1200, 1600)
    quick = load(encoded(img, "JPEG", quality=95), tmp_path, 32).astype(int)
    exact = load(encoded(img, "PNG"), tmp_path, 32)
    assert np.abs(quick - exact).max() <= 6


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path, kind: str) -> None:
    ramp = np.linspace(0, 65535, 900).round().astype(np.uint16).reshape(30, 30)
    pixels = load(encoded(Image.fromarray(ramp), kind), tmp_path)
    np.testing.assert_array_equal(pixels, np.stack([(ramp / 257).round()] * 3))


def test_eight_bits_survive_a_stay_in_sixteen(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    pixels = load(encoded(Image.fromarray(grey * 257), "PNG"), tmp_path, 16)
    np.testing.assert_array_equal(pixels[0], grey)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5], [1.0, 0.2]], np.float32), [[0, 128], [255, 51]]),
        (np.array([[0, 100], [200, 255]], np.float32), [[0, 100], [200, 255]]),
        (np.array([[0, 100], [200, 255]], np.int32), [[0, 100], [200, 255]]),
        (np.array([[0, 257], [514, 65535]], np.int32), [[0, 1], [2, 255]]),
        (np.array([[-1, 0], [1, 1]], np.float32), [[0, 128], [255, 255]]),
        (np.array([[1e6, 2e6], [3e6, 3e6]], np.float32), [[0, 128], [255, 255]]),
        (np.full((2, 2), -7, np.float32), [[0, 0], [0, 0]]),
        (np.array([[-3e38, 3e38], [0, 0]], np.float32), [[0, 255], [128, 128]]),
    ],
)
def test_wide_numbers_take_the_range_that_holds_them(
    tmp_path: Path, values: np.ndarray, expected: list[list[int]]
) -> None:
    pixels = load(encoded(Image.fromarray(values), "TIFF"), tmp_path, 2)
    assert np.abs(pixels.astype(int) - expected).max() <= 1  # 127.5 rounds either way


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_looks_like_the_rgb_it_came_from(tmp_path: Path, kind: str) -> None:
    img = picture(32, 32)
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    pixels = load(encoded(img.convert("CMYK"), kind, **options), tmp_path, 32).astype(int)
    assert np.abs(pixels - array(img)).mean() < 4


def test_lab_looks_like_the_rgb_it_came_from(tmp_path: Path) -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    img = Image.new("RGB", (8, 8), (200, 50, 30))
    there = ImageCms.applyTransform(img, ImageCms.buildTransform(srgb, lab, "RGB", "LAB"))
    pixels = load(encoded(there, "TIFF"), tmp_path, 8).astype(int)
    assert np.abs(pixels - array(img)).max() <= 4


def half_transparent(mode: str) -> tuple[Image.Image, dict[str, object]]:
    """Black, and white where the right half is transparent."""
    img = Image.new("RGBA", (8, 8), (0, 0, 0, 255))
    img.paste((9, 9, 9, 0), (4, 0, 8, 8))
    if mode == "P":
        flat = Image.new("P", (8, 8), 0)
        flat.putpalette([0, 0, 0, 9, 9, 9])
        flat.paste(1, (4, 0, 8, 8))
        return flat, {"transparency": 1}
    if mode in ("RGB", "L"):  # one colour is declared transparent
        return img.convert(mode), {"transparency": (9, 9, 9) if mode == "RGB" else 9}
    return img.convert(mode), {}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_what_is_transparent_becomes_white(tmp_path: Path, mode: str) -> None:
    img, options = half_transparent(mode)
    pixels = load(encoded(img, "PNG", **options), tmp_path, 8)
    assert pixels[:, :, :4].max() == 0
    assert pixels[:, :, 4:].min() == 255


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG", "MPO"])
def test_the_first_frame_counts(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    pixels = load(data, tmp_path, 8).astype(int)
    assert np.abs(pixels[:, 4, 4] - [255, 0, 0]).max() <= 4


# Fitting


def test_crop_keeps_the_centre_pad_keeps_all_and_stretch_ignores_proportions() -> None:
    img = Image.new("RGB", (60, 20), "red")
    img.paste((0, 0, 255), (20, 0, 40, 20))
    crop, pad, stretch = (np.asarray(fit_image(img, 20, fit)) for fit in ("crop", "pad", "stretch"))
    np.testing.assert_array_equal(crop, np.broadcast_to([0, 0, 255], (20, 20, 3)))
    assert abs(int(pad[0, 0, 0]) - 170) <= 2  # the mean colour: two thirds red
    assert np.abs(pad[10, 1].astype(int) - [255, 0, 0]).max() <= 30
    assert np.abs(stretch[0, 10].astype(int) - [0, 0, 255]).max() <= 30
    assert np.abs(stretch[0, 2].astype(int) - [255, 0, 0]).max() <= 30


def test_an_unknown_way_to_fit_is_an_error_and_not_a_reason(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="crop, pad or stretch"):
        load(PNG, tmp_path, fit="zoom")


@pytest.mark.parametrize("resampling", ["lanczos", "hamming"])
def test_shrinking_is_antialiased(resampling: Resampling) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = np.asarray(fit_image(Image.fromarray(stripes), 16, "crop", resampling)).astype(int)
    assert np.abs(small - 127)[:, 1:-1].max() <= 4  # the outermost see one side only


@given(width=st.integers(1, 90), height=st.integers(1, 90), size=st.integers(1, 40))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_proportions_fit_and_a_flat_image_stays_flat(
    width: int, height: int, size: int
) -> None:
    img = Image.new("RGB", (width, height), (10, 200, 77))
    for fit in ("crop", "pad", "stretch"):
        pixels = np.asarray(fit_image(img, size, fit))
        assert pixels.shape == (size, size, 3)
        assert (pixels == [10, 200, 77]).all()


def test_complexity_orders_flat_smooth_and_noise(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    flat, smooth, wild = (
        look(encoded(img, "PNG"), tmp_path).complexity or 0.0
        for img in (Image.new("RGB", (32, 32)), picture(32, 32), Image.fromarray(noise))
    )
    assert flat < 0.2 < smooth < 2.9 < wild < 3.2


# Many


def folder_of(tmp_path: Path, count: int) -> list[str]:
    paths = [tmp_path / f"{i:03}.png" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(
            b"bad" if i % 5 == 3 else encoded(Image.new("RGB", (8, 8), (i, 0, 0)), "PNG")
        )
    return [str(path) for path in paths]


def test_many_come_in_order_with_a_reason_for_each_bad_one(tmp_path: Path) -> None:
    paths = folder_of(tmp_path, 23)
    batches = list(decode_many(paths, size=8, workers=3, batch_size=10))
    assert [len(batch) for batch in batches] == [10, 10, 3]
    for i, item in enumerate(item for batch in batches for item in batch):
        if i % 5 == 3:
            assert isinstance(item, UnreadableImage)
            assert item.reason == "not an image"
        else:
            assert isinstance(item, np.ndarray)
            assert item[0, 0, 0] == i
    sources = [Source(path, path) for path in paths]
    one_by_one = [identify(source, size=8) for source in sources]
    assert list(identify_many(sources, size=8, workers=3)) == one_by_one


@pytest.mark.parametrize("count", [0, 1, 10])
def test_no_batch_is_empty(tmp_path: Path, count: int) -> None:
    batches = decode_many(folder_of(tmp_path, count), size=8, workers=2, batch_size=5)
    assert sum(len(batch) for batch in batches) == count


def spy_on_decode(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many images have been begun so far."""
    begun: list[str] = []

    def fake(_: str, jobs: list[tuple[str, int, str]]) -> list[np.ndarray]:
        begun.extend(path for path, *_ in jobs)
        return [np.zeros((3, 1, 1), np.uint8)] * len(jobs)

    monkeypatch.setattr(decode_pool, "_apart", fake)
    return lambda: len(begun)


def test_looking_ahead_is_bounded_and_stops_with_the_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = spy_on_decode(monkeypatch)
    threads = threading.active_count()
    batches = decode_many(["x"] * 10_000, size=1, workers=2, batch_size=10)
    for taken in range(1, 6):
        next(batches)
        time.sleep(0.02)
        assert begun() <= 10 * taken + 20
    batches.close()
    assert threading.active_count() == threads


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object, **__: object) -> None:
        raise KeyError("bug")

    monkeypatch.setattr(decode_pool, "_apart", bug)
    with pytest.raises(KeyError, match="bug"):
        list(decode_many(["x"] * 5, size=1, workers=2, batch_size=2))


def test_the_warnings_of_others_come_back_after_threads_have_decoded(tmp_path: Path) -> None:
    before = list(warnings.filters)
    paths = folder_of(tmp_path, 40)
    for batch in decode_many(paths, size=8, workers=4, batch_size=7):
        assert len(batch) <= 7
    assert list(warnings.filters) == before
