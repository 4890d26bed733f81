"""How an image becomes square."""

from typing import Literal

import numpy as np
from PIL import Image

Fit = Literal["crop", "pad", "stretch"]


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


def within(img: Image.Image, side: int) -> Image.Image:
    """The image in its proportions, of at most ``side`` pixels."""
    scale = min(1, side / max(img.size))
    return _resize(img, (max(1, round(img.width * scale)), max(1, round(img.height * scale))))


def _resize(img: Image.Image, target: tuple[int, int]) -> Image.Image:
    if img.size == target:
        return img
    shrinks = target[0] < img.width or target[1] < img.height
    return img.resize(target, Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC)
