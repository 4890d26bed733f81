"""Numbers wider than eight bits become levels of light: which number is black, which is white.

A file of 16 or 32 bits or of fractions seldom says so. What counts is the range of the *set*:
every file's own range is measured when it is identified, the set's range follows from them
(`ranges_of_set`), is recorded by the run, and all files of one kind of number are drawn by it.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from mincurate.errors import UserError

TAIL = 0.001
"""Share of an image's pixels at either end of its range that may lie outside."""
FILES_TAIL = 0.01
"""Share of a set's files at either end of its range that may lie outside."""
APART = 4
"""How many times greater the numbers of a file are than those of the next smaller one, at least,
where a set falls into groups."""
FEWEST_FILES, GROUP = 3, 0.05
"""Files of the smaller numbers, and their share of the set, below which they are no group."""
FEWEST_LEVELS = 16
"""Different values that an image holds, at least, beside one that stands for "no value"."""
_SAMPLE = 2**20
_ROWS = 2**22
_MARKERS = (0, -999, -9999, -99999, -32767, -32768, 32767, 65535)
"""Numbers that files use for "no value", beside the ends of each type and all beyond 1e19."""
Space = Literal["grey", "rgb", "cmyk", "lab", "bands"]


class Range(NamedTuple):
    """Where nearly all the numbers of an image lie, and what kind of numbers they are."""

    kind: str
    """``uint16 grey``, ``float32 rgb`` and so on: a set has one range for each kind."""
    low: float
    high: float


@dataclass(frozen=True)
class Rendering:
    """How a set's files become eight bits of RGB, or of chosen bands.

    Attributes:
        background: what shows through transparent pixels: a colour as Pillow names them
            (``white``, ``#336699``), or ``auto``: white, and black where it would hide the image.
        ranges: the numbers that are black and white, for each kind (`Range.kind`), as
            `ranges_of_set` has them; an image of another kind is drawn by its own range.
        bands: the bands that make an image, numbered from 1; empty: all that a file has. ``None``:
            its colours.
        of: bands that a file of the set has; one with another number is refused.
        band_ranges: the numbers that are black and white in each of a file's bands, for each kind.
        stretch: draw each image by its own range instead, for viewing.
    """

    background: str = "auto"
    ranges: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    bands: tuple[int, ...] | None = None
    of: int | None = None
    band_ranges: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    stretch: bool = False

    def __post_init__(self) -> None:
        if self.background != "auto":
            try:
                ImageColor.getrgb(self.background)
            except ValueError:
                raise UserError(
                    f"{self.background!r} is no colour for a background: give auto, a name such "
                    "as white, or #RRGGBB."
                ) from None

    @classmethod
    def of_record(cls, record: Mapping[str, Any] | None) -> "Rendering":
        """The rendering that `record` wrote into a run's record, or the default."""
        record = record or {}
        ranges, band_ranges = (
            {
                kind: [(low, high) for low, high in pairs]
                for kind, pairs in record.get(name, {}).items()
            }
            for name in ("ranges", "band_ranges")
        )
        bands = tuple(record["bands"]) if "bands" in record else None
        return cls(record.get("background", "auto"), ranges, bands, record.get("of"), band_ranges)

    def record(self) -> dict[str, Any]:
        """For ``run.json``, and for what depends on it."""
        absent = {"bands", "of", "band_ranges"} if self.bands is None else set()
        absent |= {"stretch"}
        return {name: value for name, value in asdict(self).items() if name not in absent}

    @property
    def channels(self) -> int:
        """Channels of a decoded image: 3, or as many as there are bands, where these are more."""
        return max(3, len(self.bands or ()))

    @property
    def picture(self) -> "Rendering":
        """The same for showing: by the image's own range, so that something is seen of a dark one,
        and of many bands the first three."""
        return replace(self, stretch=True, bands=self.bands and self.bands[:3])


DEFAULT = Rendering()


@dataclass(frozen=True, eq=False)
class Samples:
    """The numbers of an image, before they are levels of light.

    Attributes:
        values: ``(h, w, c)``, with c = 1 (grey), 3 (RGB, Lab), 4 (CMYK) or any (bands).
        alpha: ``(h, w)`` uint8, straight; ``None`` where everything is opaque.
        white_is_zero: the smallest number is the lightest.
        no_value: the number that the file itself calls "no value".
        absolute: the type's whole range is meant, from black to white.
    """

    values: NDArray[Any]
    space: Space = "grey"
    alpha: NDArray[np.uint8] | None = None
    white_is_zero: bool = False
    no_value: float | None = None
    absolute: bool = False

    @property
    def kind(self) -> str:
        """What `Range.kind` calls these numbers."""
        return f"{self.values.dtype.name} {self.space}"


def measure(samples: Samples) -> tuple[Range | None, list[float]]:
    """The range of an image's numbers, ``None`` where it has none, and its values for "no value".

    Transparent pixels, NaN and infinity do not count.
    """
    pixels = samples.values.reshape(-1, samples.values.shape[2])
    opaque = None if samples.alpha is None else samples.alpha.reshape(-1) > 0
    if len(pixels) > _SAMPLE:
        picks = np.random.default_rng(0).integers(0, len(pixels), _SAMPLE)
        pixels, opaque = pixels[picks], None if opaque is None else opaque[picks]
    values = (pixels if opaque is None else pixels[opaque]).reshape(-1)
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)].astype(np.float64)
    markers = [] if samples.no_value is None else [samples.no_value]
    values = values[~np.isin(values, markers)]
    for end in (np.min, np.max) if samples.no_value is None else ():
        marker = _marker(values, float(end(values))) if values.size else None
        if marker is not None:
            markers.append(marker)
            values = values[values != marker]
    if not values.size:
        return None, markers
    low, high = np.quantile(values, (TAIL, 1 - TAIL), method="inverted_cdf")
    return Range(samples.kind, float(low), float(high)), markers


def _marker(values: NDArray[Any], end: float) -> float | None:
    """``end``, the smallest or largest value, where it stands for "no value".

    That is a number which files use so, further from all the others than they spread.
    """
    limits = np.iinfo(values.dtype) if values.dtype.kind in "iu" else None
    usual = end in _MARKERS or abs(end) > 1e19
    if not usual and (limits is None or end not in (limits.min, limits.max)):
        return None
    rest = values[values != end]
    if not rest.size:
        return None
    low, high = float(rest.min()), float(rest.max())
    gap = low - end if end < low else end - high
    if gap <= high - low or len(np.unique(rest)) < FEWEST_LEVELS:
        return None
    return end


def shown_range(kind: str, low: float, high: float) -> tuple[float, float]:
    """The numbers that are black and white where nearly all lie in ``low`` to ``high``.

    The first usual range that holds them, where they fill a quarter of it: of integers as many
    bits as are in use (8, 9, ... 32), or the whole of a signed type; of fractions 0 to 1, 255 or
    65535. Else ``low`` to ``high`` itself.
    """
    dtype = np.dtype(kind.split()[0])
    if dtype.kind == "f":
        usual = [(0.0, 1.0), (0.0, 255.0), (0.0, 65535.0)]
    else:
        usual = [(0.0, float(2**bits - 1)) for bits in range(8, 8 * dtype.itemsize + 1)]
        usual.append((float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)))
    for black, white in usual:
        if black <= low and high <= white:
            flat = low == high
            return (black, white) if flat or high - low >= (white - black) / 4 else (low, high)
    return low, high


def ranges_of_set(ranges: Iterable[Range | None]) -> dict[str, list[tuple[float, float]]]:
    """What is black and white in a set, for each kind of number, from its files' own ranges.

    One range holds for all files of a kind; where some are `APART` from the others (10 and 16 bits
    in one folder), each such group has its own, smallest first. A few dark images are no group.
    """
    by_kind: dict[str, list[Range]] = defaultdict(list)
    for one in ranges:
        if one is not None:
            by_kind[one.kind].append(one)
    shown: dict[str, list[tuple[float, float]]] = {}
    for kind, files in sorted(by_kind.items()):
        shown[kind] = []
        for group in _groups(files):
            low = np.quantile([file.low for file in group], FILES_TAIL, method="inverted_cdf")
            high = np.quantile([file.high for file in group], 1 - FILES_TAIL, method="inverted_cdf")
            shown[kind].append(shown_range(kind, float(low), float(high)))
    return shown


def _groups(files: list[Range]) -> list[list[Range]]:
    groups: list[list[Range]] = [[]]
    enough, before = max(FEWEST_FILES, GROUP * len(files)), math.inf
    for file in sorted(files, key=lambda file: _size(file.low, file.high)):
        size = _size(file.low, file.high)
        if size >= APART * before and len(groups[-1]) >= enough:
            groups.append([])
        groups[-1].append(file)
        before = size
    return groups


def _size(low: float, high: float) -> float:
    return max(abs(low), abs(high))


def range_for(own: Range, rendering: Rendering) -> tuple[float, float]:
    """What is black and white in an image whose own numbers are so."""
    if rendering.stretch:
        return own.low, own.high
    ranges = rendering.ranges.get(own.kind) or [shown_range(*own)]
    reach = _size(own.low, own.high) / math.sqrt(APART)
    return next((pair for pair in ranges if _size(*pair) >= reach), ranges[-1])


def full_range(dtype: np.dtype) -> tuple[float, float]:
    """Black and white of a type whose whole range is meant; fractions run from 0 to 1."""
    if dtype.kind == "f":
        return 0.0, 1.0
    return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)


def to_levels(
    samples: Samples, black: float, white: float, markers: list[float]
) -> tuple[NDArray[np.uint8], float]:
    """Numbers as levels ``(h, w, c)`` uint8, and the share of them that are no values.

    What lies outside of ``black`` to ``white`` is clipped; "no value" is black.
    """
    values = samples.values
    levels = np.empty(values.shape, np.uint8)
    scale, missing = 255 / ((white - black) or 1), 0
    for start in range(0, len(values), rows := max(1, _ROWS // max(1, values[0].size))):
        part = values[start : start + rows]
        empty = np.isin(part, markers) if markers else np.zeros(part.shape, bool)
        if part.dtype.kind == "f":
            empty |= ~np.isfinite(part)
        numbers = np.where(empty, black, part.astype(np.float64))
        shares = ((numbers - black) * scale).round().clip(0, 255).astype(np.uint8)
        if samples.white_is_zero:
            shares = 255 - shares
        shares[empty] = 0
        levels[start : start + rows] = shares
        missing += int(empty.sum())
    return levels, missing / values.size
