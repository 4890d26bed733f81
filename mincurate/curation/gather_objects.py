"""The table of a run of objects for exports: a row per image, with its boxes and their ranks."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mincurate import hashing
from mincurate.images import regions

UNNAMED = "object"
"""Category of an object without a label."""
FACTS = ("rarity", "rarity_class", "rarity_kind")
"""What an exported box says of its rank."""

RankedBox = tuple[str, Sequence[float], Mapping[str, Any]]
"""A label, ``(x, y, width, height)`` in shares of the image's sides, and `FACTS`."""


def facts(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The `FACTS` of a row of the run's table, as JSON holds them; what it has none of left out."""
    known = {name: row[name] for name in FACTS if not pd.isna(row.get(name))}
    casts = {"rarity": float, "rarity_class": int, "rarity_kind": str}
    return {name: casts[name](value) for name, value in known.items()}


def boxes_of(frame: pd.DataFrame) -> dict[str, list[RankedBox]]:
    """The boxes of every image of a run's table, by its path."""
    by_path: dict[str, list[RankedBox]] = {}
    for row in frame[frame[regions.COLUMNS[0]].notna()].to_dict("records"):
        box = [float(row[name]) for name in regions.COLUMNS]
        label = UNNAMED if pd.isna(row["label"]) else str(row["label"])
        by_path.setdefault(str(row["path"]), []).append((label, box, facts(row)))
    return by_path


def gather_objects(
    frame: pd.DataFrame,
    tags: Mapping[str, Sequence[str]],
    splits: Mapping[str, str],
    boxes: Mapping[str, Sequence[RankedBox]] | None,
) -> pd.DataFrame:
    """One row per image, as `curation.selection` describes it.

    An image has the labels of its objects, and the class of the rarest of them.

    Args:
        frame: the run's table.
        tags: of images, by path.
        splits: of images, by path.
        boxes: of images as they are now, by path; those of the table when absent.
    """
    boxes = boxes_of(frame) if boxes is None else boxes
    readable = frame[frame["status"] == "ok"]
    rows = []
    for path in dict.fromkeys(readable["path"]):
        own = list(boxes.get(path, ()))
        names = list(dict.fromkeys(label for label, _, _ in own))
        ranks = [known["rarity_class"] for _, _, known in own if "rarity_class" in known]
        rows.append(
            {
                "path": path,
                "content_hash": hashing.fingerprint(path),
                "label": names[0] if names else None,
                "labels": names if len(names) > 1 else None,
                "boxes": own,
                "rarity_class": max(ranks, default=None),
                "minority_class": None,
                "source": "real",
                "weight": 1.0,
                "split": splits.get(path),
                "tags": list(tags.get(path, ())),
            }
        )
    return pd.DataFrame(rows, dtype=object)


def ranked(boxes: Any) -> bool:
    """Whether the boxes of an image, if it has any, say how rare they are."""
    return isinstance(boxes, list) and any(len(box) > 2 for box in boxes)


def table_of(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per exported object: the file of its image, its label, box and `FACTS`."""
    names = [name.removeprefix("box_") for name in regions.COLUMNS]
    objects = [
        {"file": file, "number": number, "label": label}
        | dict(zip(names, box, strict=True))
        | {name: known.get(name) for name in FACTS}
        for file, boxes in zip(rows["file"], rows["boxes"], strict=True)
        if isinstance(boxes, list)
        for number, (label, box, known) in enumerate(boxes, start=1)
    ]
    return pd.DataFrame(objects)
