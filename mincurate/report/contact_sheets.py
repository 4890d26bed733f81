"""Pictures of the report: the rarest and the commonest images, and their reconstructions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from mincurate.images.bit_depth import Rendering
from mincurate.report import figures
from mincurate.report.figures import Picture, data_uri
from mincurate.runs import schema
from mincurate.runs.store import Run


def sheets(
    ranked: pd.DataFrame,
    most: list[Picture | None],
    least: list[Picture | None],
    column: str,
) -> dict[str, list[dict[str, Any]]]:
    """Tiles of the contact sheets ``most`` and ``least``: a picture and its caption.

    Args:
        ranked: the images as `classes.rarest_first` orders them.
        most: pictures of the rarest, as `figures.ends` orders them.
        least: pictures of the commonest.
        column: what they are ranked by.
    """
    first, last = figures.ends(ranked)
    return {
        "most": _tiles(first, most, column, lambda i: i + 1),
        "least": _tiles(last, least, column, lambda i: len(ranked) - i),
    }


def _tiles(
    rows: pd.DataFrame, pictures: list[Picture | None], column: str, rank: Callable[[int], int]
) -> list[dict[str, Any]]:
    tiles = []
    row: Any
    for i, (row, picture) in enumerate(zip(rows.itertuples(), pictures, strict=True)):
        tiles.append(
            {
                "rank": rank(i),
                **_embedded(picture),
                "score": row.minority_score if pd.notna(row.minority_score) else None,
                "se": row.minority_score_se if pd.notna(row.minority_score_se) else None,
                "ranked_by": getattr(row, column),
                "label": row.label if isinstance(row.label, str) else "",
                "file": row.rel_path,
                "ordinal": _class_of(row),
            }
        )
    return tiles


def small(rows: pd.DataFrame, rendering: Rendering) -> list[dict[str, Any]]:
    """Pictures with the names of their files."""
    pictures = figures.thumbnails(rows, figures.TILE, rendering=rendering)
    return [
        {**_embedded(picture), "file": file}
        for picture, file in zip(pictures, rows["rel_path"], strict=True)
    ]


def _embedded(picture: Picture | None) -> dict[str, Any]:
    """A picture as the page holds it, a small one without loss."""
    small = picture is not None and max(picture.shape[:2]) <= 64
    uri = None if picture is None else data_uri(picture, None if small else 78)
    return {"picture": uri, "small": small}


def _class_of(row: Any) -> int | None:
    return int(row.rarity_class) if pd.notna(row.rarity_class) else None


def pairs(run: Run, ranked: pd.DataFrame) -> list[tuple[str, list[dict[str, Any]]]]:
    """Originals and reconstructions of the rarest and the commonest; empty if there are none."""
    path = run.path / schema.RECONSTRUCTIONS
    if not path.is_file():
        return []
    rows: dict[str, tuple[int, Any]] = {
        str(row.content_hash): (rank, row) for rank, row in enumerate(ranked.itertuples(), 1)
    }
    with np.load(path, allow_pickle=False) as arrays:
        pairs: list[dict[str, Any]] = [
            {
                "rank": rows[h][0],
                "original": data_uri(a, None if len(a) <= 64 else 78),
                "reconstruction": data_uri(b, None if len(b) <= 64 else 78),
                "small": len(a) <= 64,
                "score": rows[h][1].minority_score,
                "ordinal": _class_of(rows[h][1]),
                "label": rows[h][1].label if isinstance(rows[h][1].label, str) else "",
                "file": rows[h][1].rel_path,
            }
            for h, a, b in zip(
                map(str, arrays["content_hash"]),
                arrays["original"],
                arrays["reconstruction"],
                strict=True,
            )
            if h in rows
        ]
    most = sorted((p for p in pairs if p["rank"] <= (len(rows) + 1) // 2), key=lambda p: p["rank"])
    least = sorted((p for p in pairs if p not in most), key=lambda p: -p["rank"])
    groups = [(f"Rarest {run.noun}", most), (f"Commonest {run.noun}", least)]
    return [group for group in groups if group[1]]
