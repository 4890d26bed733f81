"""The interactive map of the report: its points, and the pictures that show on hover."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mincurate.images import regions
from mincurate.images.bit_depth import DEFAULT, Rendering
from mincurate.report import figures
from mincurate.report.figures import Picture, data_uri
from mincurate.text import short

HOVER = 2000
"""Points of the map with a picture, at most; the others are plain dots."""
DOTS = 20_000
"""Points of the map, at most; of more images a fixed sample."""
CELL = 64
"""Side, in pixels, of a picture on the map, at most."""
MEGAPIXELS = 1000
"""Megapixels decoded for the pictures on the map, at most: half a minute on a slow core."""
SPRITES = 3_000_000
"""Bytes of all pictures on the map, at most; their quality is lowered to fit."""
GAP = 0.1
"""Widest gap between neighbours along an axis, as a share of its length, where gaps shrink."""
SPRITE_COLUMNS, SPRITE_ROWS = 20, 25


def points(
    ranked: pd.DataFrame, *, narrow: bool = False, rendering: Rendering = DEFAULT
) -> dict[str, Any] | None:
    """What the map's script draws: positions from 0 to 1000, the rarest image first.

    Args:
        ranked: the images as `classes.rarest_first` orders them.
        narrow: shrink wide gaps, for maps on which far distances mean nothing (UMAP).
        rendering: how the files become pixels.
    """
    mapped = ranked[ranked["map_x"].notna() & ranked["map_y"].notna()]
    if len(mapped) == 0:
        return None
    rng = np.random.default_rng(0)
    if len(mapped) > DOTS:
        mapped = mapped.iloc[np.sort(rng.choice(len(mapped), DOTS, replace=False))]
    # Half of the pictures are of the rarest images, the others of a random sample.
    rarest = min(HOVER // 2, len(mapped))
    others = rarest + rng.permutation(len(mapped) - rarest)[: HOVER - rarest]
    hover = np.concatenate([np.arange(rarest), np.sort(others)]).astype(int)
    hover = hover[_affordable(mapped.iloc[hover])]
    rows = mapped.iloc[hover]
    sides = rows[["width", "height"]].max(axis=1).dropna()
    cell = int(min(CELL, max(16, sides.max()))) if len(sides) else CELL
    pictures = figures.thumbnails(rows, cell, square=True, rendering=rendering)
    sprites = [p for p in pictures if p is not None]
    numbers = iter(range(len(sprites)))
    tooltips: dict[int, list[Any]] = {
        int(i): [
            -1 if picture is None else next(numbers),
            short(str(row.rel_path), 120),
            f"{row.rarity:.3f}",
            short(row.label, 60) if isinstance(row.label, str) else "",
        ]
        for i, picture, row in zip(hover, pictures, rows.itertuples(), strict=True)
    }
    drawn = mapped[["map_x", "map_y"]].to_numpy(np.float64)
    position = np.stack([_narrowed(axis) for axis in drawn.T], 1) if narrow else drawn
    low, high = position.min(0), position.max(0)
    coordinates = np.rint(1000 * (position - low) / np.where(high > low, high - low, 1)).astype(int)
    classes = mapped["rarity_class"].astype("Int64").fillna(-1).tolist()
    return {
        "cell": cell,
        "narrowed": bool((np.ptp(position, 0) < 0.99 * np.ptp(drawn, 0)).any()),
        "columns": SPRITE_COLUMNS,
        "per_sheet": SPRITE_COLUMNS * SPRITE_ROWS,
        "sheets": _sprite_sheets(sprites, cell),
        "hover": len(tooltips),
        "points": [
            [*xy, int(c), *tooltips.get(i, [])]
            for i, (xy, c) in enumerate(zip(coordinates.tolist(), classes, strict=True))
        ],
    }


def _narrowed(axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions along an axis with no gap much wider than `GAP` of its length."""
    order = np.argsort(axis, kind="stable")
    steps = np.diff(axis[order], prepend=axis[order[0]])
    for _ in range(20):  # narrowing a gap shortens the axis
        steps = np.minimum(steps, GAP * steps.sum())
    moved = np.empty_like(axis)
    moved[order] = steps.cumsum() + axis[order[0]]
    return moved


def _affordable(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """The first rows that `MEGAPIXELS` of decoding allow; a JPEG is decoded at reduced size, the
    file of several objects once and in full."""
    size = (rows["width"].fillna(0) * rows["height"].fillna(0)).to_numpy(np.float64) / 1e6
    jpeg = rows["rel_path"].str.lower().str.endswith((".jpg", ".jpeg")).to_numpy(bool)
    cost = np.where(jpeg, size / 16, size)
    if regions.COLUMNS[0] in rows:
        share = [1.0 if isinstance(p, str) else p.box[2] * p.box[3] for p in regions.places(rows)]
        of_file = size / np.maximum(share, 1e-9)
        cost = np.where(rows["path"].duplicated(), 0, of_file)
    return np.cumsum(cost) <= MEGAPIXELS


def _sprite_sheets(pictures: list[Picture], cell: int) -> list[str]:
    """Square pictures in sheets, as data URIs, at the best quality that fits into `SPRITES`."""
    per_sheet = SPRITE_COLUMNS * SPRITE_ROWS
    sheets = []
    for start in range(0, len(pictures), per_sheet):
        part = pictures[start : start + per_sheet]
        rows = -(-len(part) // SPRITE_COLUMNS)
        sheet = np.zeros((rows, SPRITE_COLUMNS, cell, cell, 3), np.uint8)
        for i, picture in enumerate(part):
            sheet[divmod(i, SPRITE_COLUMNS)] = picture
        sheets.append(sheet.transpose(0, 2, 1, 3, 4).reshape(rows * cell, SPRITE_COLUMNS * cell, 3))
    uris: list[str] = []
    for quality in (82, 60, 35, 10, 1):
        uris = [data_uri(sheet, quality) for sheet in sheets]
        if sum(map(len, uris)) <= SPRITES:
            break
    return uris
