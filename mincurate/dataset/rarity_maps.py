"""Where an image is rare: the ranks of its tiles as a heat map of FiftyOne."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mincurate.dataset import ownership
from mincurate.dataset import samples as parts
from mincurate.dataset.app_config import HEATMAP
from mincurate.ranking import classes

TAIL = 1 - 1 / classes.TAIL_PARTS
"""Where the rarest tenth begins."""
MOST = 512
"""Numbers along a side of a map, at most."""


def write(fo: Any, dataset: Any, frame: pd.DataFrame) -> None:
    """Write the map of every image that has ranked tiles.

    Args:
        frame: the run's table, with the sample of every row as ``id``.
    """
    if not dataset.has_field(HEATMAP):
        ownership.claim(dataset, fields=[HEATMAP])
        words = "How far in the rarest tenth the tiles over each place are: 0 not in it, 1 rarest"
        dataset.add_sample_field(
            HEATMAP, fo.EmbeddedDocumentField, embedded_doc_type=fo.Heatmap, description=words
        )
    ranked = frame[frame["rarity"].notna() & frame["box_x"].notna()]
    maps = {
        sample: fo.Heatmap(map=rarity_map(tiles), range=[0, 1])
        for sample, tiles in ranked.groupby("id", sort=False)
    }
    parts.images(dataset).set_values(HEATMAP, maps, key_field="id", progress=False)


def rarity_map(tiles: pd.DataFrame) -> NDArray[np.float32]:
    """How far in the rarest tenth the tiles over each place of an image are, ``(H, W)``.

    Tiles that do not rank there count as 0, the rarest as 1; the values are means over tiles.

    A cell is as large as the smallest step between tiles; a place is covered by one tile at least.

    Args:
        tiles: of one image, with their boxes and ``rarity``.
    """
    boxes = tiles[["box_x", "box_y", "box_width", "box_height"]].to_numpy(float)
    width, height = (_cells(boxes[:, axis], boxes[0, 2 + axis]) for axis in (0, 1))
    total, count = np.zeros((height, width)), np.zeros((height, width))
    tail = ((tiles["rarity"].to_numpy(float) - TAIL) / (1 - TAIL)).clip(0, 1)
    for (x, y, wide, high), rarity in zip(boxes, tail, strict=True):
        rows = slice(round(y * height), max(round((y + high) * height), round(y * height) + 1))
        columns = slice(round(x * width), max(round((x + wide) * width), round(x * width) + 1))
        total[rows, columns] += rarity
        count[rows, columns] += 1
    return (total / np.maximum(count, 1)).astype(np.float32)


def _cells(starts: NDArray[np.float64], length: float) -> int:
    """How many cells there are along a side, from where tiles of ``length`` start."""
    steps = np.diff(np.unique(np.round(starts, 9)))
    return int(min(MOST, max(1, round(1 / min([length, *steps])))))
