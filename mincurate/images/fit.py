"""How an image becomes square."""

from typing import Literal

import numpy as np
from PIL import Image

Fit = Literal["crop", "pad", "stretch"]
Resampling = Literal["lanczos", "hamming"]
"""The filter that shrinks. Lanczos is the sharper; Hamming takes half the time."""


def fit_image(
    img: Image.Image, size: int, fit: Fit = "crop", resampling: Resampling = "lanczos"
) -> Image.Image:
    """An RGB image as ``size`` x ``size``; one that has this size already comes back unchanged.

    ``crop`` keeps the centre square, ``pad`` adds borders in the image's mean colour (black ones
    would be the most striking thing in the picture), ``stretch`` ignores the proportions.
    Shrinking is antialiased (``resampling``), growing bicubic.
    """
    if fit == "crop":
        side = min(img.size)
        left, top = (img.width - side) // 2, (img.height - side) // 2
        square = img.crop((left, top, left + side, top + side))
        return _resize(square, (size, size), resampling)
    if fit == "stretch":
        return _resize(img, (size, size), resampling)
    if fit != "pad":
        raise ValueError(f"fit is crop, pad or stretch, not {fit!r}")
    scale = size / max(img.size)
    sides = max(1, round(img.width * scale)), max(1, round(img.height * scale))
    small = _resize(img, sides, resampling)
    red, green, blue = np.asarray(small).mean((0, 1)).round().astype(int).tolist()
    padded = Image.new("RGB", (size, size), (red, green, blue))
    padded.paste(small, ((size - small.width) // 2, (size - small.height) // 2))
    return padded


def within(img: Image.Image, side: int) -> Image.Image:
    """The image in its proportions, of at most ``side`` pixels."""
    scale = min(1, side / max(img.size))
    sides = max(1, round(img.width * scale)), max(1, round(img.height * scale))
    return _resize(img, sides, "lanczos")


def _resize(img: Image.Image, target: tuple[int, int], resampling: Resampling) -> Image.Image:
    if img.size == target:
        return img
    if target[0] < img.width or target[1] < img.height:
        return img.resize(target, Image.Resampling[resampling.upper()])
    return img.resize(target, Image.Resampling.BICUBIC)
