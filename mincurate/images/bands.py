"""Images of bands that are no colours (satellites, microscopes): which are read, and how.

Every band is drawn by its own range in the set: what nearly all pixels of nearly all files lie in.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import cycle, islice

import numpy as np
from PIL import Image

from mincurate.errors import UnreadableImage, UserError
from mincurate.images import bit_depth, colour
from mincurate.images.bit_depth import FILES_TAIL, Range, Rendering, Samples

MOST = 64
"""Bands of an image, at most: its vector is a hundred times as long as that of a photograph."""
Ranges = tuple[Range | None, ...]
"""Of every band of a file; ``None`` where not one of its numbers is a value."""


def parse(text: str) -> tuple[int, ...]:
    """``3,2,1`` as numbers; ``all`` as none.

    Raises:
        UserError: it is neither.
    """
    if text.strip() == "all":
        return ()
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise UserError(f"--bands is all, or numbers of bands from 1 such as 3,2,1, not {text!r}.")
    return _checked(tuple(int(part) for part in parts))


def _checked(bands: tuple[int, ...]) -> tuple[int, ...]:
    if len(bands) > MOST:
        raise UserError(f"{len(bands)} bands are too many: choose at most {MOST} with --bands.")
    return bands


def choose(
    files: Sequence[Ranges | None], asked: tuple[int, ...] | None, background: str
) -> Rendering:
    """How a set is drawn: by its colours; or by bands, if asked or if those of most are no colours.

    Args:
        files: the bands of every readable file; ``None`` for one of colours.
        asked: numbers of bands, or none for all.

    Raises:
        UserError: the images have fewer bands.
    """
    numbers = Counter(len(file or ()) for file in files)
    count = max(numbers, key=lambda n: (numbers[n], n), default=0)
    if not count:
        return Rendering(background)
    if asked and max(asked) > count:
        raise UserError(f"There is no band {max(asked)}: most of the images have {count}.")
    chosen = asked or _checked(tuple(range(1, count + 1)))
    ranges = _ranges(file for file in files if file and len(file) == count)
    return Rendering(background, bands=chosen, of=count, band_ranges=ranges)


def _ranges(files: Iterable[Ranges]) -> dict[str, list[tuple[float, float]]]:
    by_kind: dict[str, list[Ranges]] = defaultdict(list)
    for file in files:
        kind = next((band.kind for band in file if band), None)
        if kind:
            by_kind[kind].append(file)
    return {
        kind: [_range(band) for band in zip(*by_kind[kind], strict=True)]
        for kind in sorted(by_kind)
    }


def _range(files: Ranges) -> tuple[float, float]:
    """Of one band, from that of each file."""
    own = [one for one in files if one]
    if not own:
        return 0.0, 1.0
    low = np.quantile([one.low for one in own], FILES_TAIL, method="inverted_cdf")
    high = np.quantile([one.high for one in own], 1 - FILES_TAIL, method="inverted_cdf")
    return float(low), float(high)


def numbers(img: Image.Image | Samples, profile: bytes | None) -> Samples:
    """The bands of a decoded image, ``(h, w, n)``; those of a picture are its colours."""
    if isinstance(img, Samples) and img.space in ("bands", "grey", "rgb"):
        return Samples(img.values, "bands", white_is_zero=img.white_is_zero, no_value=img.no_value)
    if isinstance(img, Image.Image) and img.mode in ("I", "F"):
        return Samples(np.asarray(img)[..., None], "bands")
    if isinstance(img, Image.Image) and img.mode.startswith("I;16"):
        return Samples(np.asarray(img).astype(np.uint16)[..., None], "bands")
    rgb, _, _ = colour.draw(img, profile, Rendering())
    grey = isinstance(img, Image.Image) and img.mode in ("1", "L", "LA", "La")
    return Samples(np.asarray(rgb)[..., : 1 if grey else 3], "bands")


def draw(samples: Samples, rendering: Rendering) -> tuple[list[Image.Image], Ranges, str | None]:
    """Chosen bands as images of three, their own ranges, and a warning.

    The last image is filled up from the first band on: of two bands the second is green, and the
    first red and blue.

    Args:
        samples: as `numbers` has them.

    Raises:
        UnreadableImage: it has another number of bands than the set.
    """
    count = samples.values.shape[2]
    if rendering.of not in (None, count):
        raise UnreadableImage(f"{count} bands, and most images of the set have {rendering.of}")
    chosen = rendering.bands or tuple(range(1, count + 1))
    ranges = None if rendering.stretch else rendering.band_ranges.get(samples.kind)
    levels, own, missing = [], [], 0.0
    for number in chosen:
        band = Samples(
            samples.values[..., number - 1 : number],
            "bands",
            white_is_zero=samples.white_is_zero,
            no_value=samples.no_value,
        )
        measured, markers = bit_depth.measure(band)
        own.append(measured)
        low, high = (measured.low, measured.high) if measured else (0.0, 1.0)
        black, white = ranges[number - 1] if ranges else (low, high)
        drawn, share = bit_depth.to_levels(band, black, white, markers)
        levels.append(drawn[..., 0])
        missing += share / len(chosen)
    groups = -(-len(levels) // 3)
    filled = list(islice(cycle(Image.fromarray(one) for one in levels), 3 * groups))
    images = [Image.merge("RGB", filled[3 * i : 3 * i + 3]) for i in range(groups)]
    warning = f"{missing:.2g} of the values are missing, drawn black" if missing else None
    return images, tuple(own), warning
