"""Colours become sRGB on an opaque ground: profiles are applied, transparency is laid over.

The profile is applied by LittleCMS (relative colorimetric), as libvips does. One that is sRGB
itself changes nothing; one that is damaged, or for another kind of image, is not applied.
"""

import io
import struct
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageColor

from mincurate.errors import UnreadableImage
from mincurate.images import bit_depth
from mincurate.images.appearance import BLANK
from mincurate.images.bit_depth import Range, Rendering, Samples

HIDDEN = 2 * BLANK
"""Contrast on white below which a transparent image is laid over black instead."""
DAMAGED = "damaged colour profile, not applied"
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_D50 = np.array([0.9642, 1, 0.8249])
_USUAL_GAMMA = 0.45455
_SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)


def draw(
    img: Image.Image | Samples, profile: bytes | None, rendering: Rendering
) -> tuple[Image.Image, Range | None, list[str | None]]:
    """A decoded image as opaque sRGB (mode RGB), the range of its own numbers, and warnings.

    Args:
        img: of any mode, or numbers of more than eight bits.
        profile: ICC.
    """
    colors, alpha, own, missing = (
        _levels(img, rendering) if isinstance(img, Samples) else _parts(img, rendering)
    )
    rgb, damage = to_srgb(colors, profile)
    if alpha is not None:
        rgb = over(rgb, alpha, rendering.background)
    return rgb, own, [missing, damage]


_Parts = tuple[Image.Image, Image.Image | None, Range | None, str | None]
"""Colours (mode L, RGB, CMYK or LAB), their alpha, their own range, a warning."""


def _parts(img: Image.Image, rendering: Rendering) -> _Parts:
    if img.mode in ("I", "F") or img.mode.startswith("I;16"):
        values = np.asarray(img)[..., None]
        if img.mode.startswith("I;16"):
            values = values.astype(np.uint16)
        return _levels(Samples(values), rendering)
    if img.mode == "La":  # of which Pillow knows one way out
        img = img.convert("LA")
    alpha = None
    if img.has_transparency_data:
        full = img.convert("RGBA")
        alpha = full.getchannel("A")
        grey = img.mode in ("1", "L", "LA")
        return full.convert("L") if grey else full.convert("RGB"), alpha, None, None
    if img.mode == "1":
        return img.convert("L"), None, None, None
    colors = img if img.mode in ("L", "RGB", "CMYK", "LAB") else img.convert("RGB")
    return colors, None, None, None


def _levels(samples: Samples, rendering: Rendering) -> _Parts:
    """Numbers of any kind as eight bits, in the range of the set or else in their own."""
    own, markers = (None, []) if samples.absolute else bit_depth.measure(samples)
    visible = samples.alpha is None or bool(samples.alpha.any())
    if own is not None:
        black, white = bit_depth.range_for(own, rendering)
    elif samples.absolute or not visible:
        black, white = bit_depth.full_range(samples.values.dtype)
    else:
        raise UnreadableImage("pixel values that are not finite numbers")
    levels, missing = bit_depth.to_levels(samples, black, white, markers)
    bands = [Image.fromarray(levels[..., i]) for i in range(levels.shape[2])]
    mode = {"grey": "L", "rgb": "RGB", "cmyk": "CMYK", "lab": "LAB"}[samples.space]
    img = bands[0] if mode == "L" else Image.merge(mode, bands)
    alpha = None if samples.alpha is None else Image.fromarray(samples.alpha)
    warning = f"{missing:.2g} of the values are missing, drawn black" if missing else None
    return img, alpha, own, warning


def to_srgb(img: Image.Image, profile: bytes | None) -> tuple[Image.Image, str | None]:
    """An image of mode L, RGB, CMYK or LAB as RGB, and a warning where its profile is damaged."""
    warning = None
    if img.mode == "LAB":  # Image.convert would take its numbers for something else
        return _apply(img, _from_lab()), None
    if profile:
        transform, warning = _transform(profile, img.mode)
        if transform is not None:
            return _apply(img, transform), warning
    return img if img.mode == "RGB" else img.convert("RGB"), warning  # no copy of a large image


def _apply(img: Image.Image, transform: Any) -> Image.Image:
    return ImageCms.applyTransform(img, transform) or img  # None only where done in place


@lru_cache(maxsize=1)
def _from_lab() -> Any:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> tuple[Any, str | None]:
    """What turns an image of this profile into sRGB; ``None`` where there is nothing to do."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACES[mode]:
            return None, None
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, srgb, mode, "RGB", intent)
        if mode == "CMYK":
            return transform, None
        cube = _cube(mode)
        moved = np.asarray(_apply(cube, transform), int) - np.asarray(cube.convert("RGB"), int)
        return (transform if np.abs(moved).max() > 1 else None), None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None, DAMAGED


def _cube(mode: str) -> Image.Image:
    """Every colour, in steps."""
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    if mode == "L":
        return Image.fromarray(steps[None])
    red, green, blue = np.meshgrid(steps, steps, steps)
    return Image.fromarray(np.stack([red, green, blue], -1).reshape(1, -1, 3))


def calibration(info: dict[Any, Any], *, grey: bool) -> bytes | None:
    """The profile that a PNG's gAMA and cHRM chunks describe, where they are not as good as sRGB.

    Args:
        info: of Pillow's image.
    """
    gamma, points = info.get("gamma"), tuple(info.get("chromaticity") or _SRGB)
    if "srgb" in info or (not gamma and "chromaticity" not in info):
        return None
    gamma = gamma or _USUAL_GAMMA
    usual = np.allclose(points, _SRGB, atol=0.002) or grey
    if not 0.1 < gamma < 10 or (usual and abs(gamma - _USUAL_GAMMA) < 0.01):
        return None
    try:
        return _matrix_profile(1 / gamma, points, grey=grey)
    except (np.linalg.LinAlgError, ArithmeticError, struct.error):
        return None


def _matrix_profile(gamma: float, points: tuple[float, ...], *, grey: bool) -> bytes:
    """An ICC profile (version 2) of one gamma; ``points``: x, y of white, red, green, blue."""

    def xyz(x: float, y: float) -> np.ndarray:
        return np.array([x / y, 1, (1 - x - y) / y])

    white, *primaries = (xyz(*points[i : i + 2]) for i in (0, 2, 4, 6))
    matrix = np.stack(primaries, 1)
    matrix = matrix * np.linalg.solve(matrix, white)
    adapt = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD
    matrix = adapt @ matrix

    def numbers(values: Any) -> bytes:
        return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, min(round(gamma * 256), 65535), 0)
    text = b"calibration\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78),
        b"wtpt": b"XYZ \0\0\0\0" + numbers(_D50),
    }
    if grey:
        tags[b"kTRC"] = curve
    else:
        for i, color in enumerate((b"r", b"g", b"b")):
            tags[color + b"XYZ"] = b"XYZ \0\0\0\0" + numbers(matrix[:, i])
            tags[color + b"TRC"] = curve
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content
    space = b"GRAY" if grey else b"RGB "
    head = struct.pack(">I4sI4s4s4s", at + len(body), bytes(4), 0x02100000, b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + numbers(_D50) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + body


def over(img: Image.Image, alpha: Image.Image, background: str) -> Image.Image:
    """An RGB image with its ``alpha`` (mode L) over a background (`depth.Rendering`)."""
    if alpha.getextrema()[0] == 255:
        return img
    if background != "auto":
        return Image.composite(img, Image.new("RGB", img.size, _rgb(background)), alpha)
    on_white = Image.composite(img, Image.new("RGB", img.size, "white"), alpha)
    if _contrast(on_white) < HIDDEN:
        on_black = Image.composite(img, Image.new("RGB", img.size, "black"), alpha)
        if _contrast(on_black) > _contrast(on_white):
            return on_black
    return on_white


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue, *_ = ImageColor.getrgb(color)
    return red, green, blue


def _contrast(img: Image.Image) -> float:
    """As `appearance.measure` has it, of all pixels."""
    counts = np.array(img.histogram(), float).reshape(3, 256)
    levels = np.arange(256) / 255
    mean = counts @ levels / counts.sum(1)
    return float(np.sqrt((counts @ levels**2 / counts.sum(1) - mean**2).clip(0)).max())
