"""What an image shows, as COCO and YOLO write it: boxes, or the whole image for every label."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mincurate.curation.gather_objects import ranked
from mincurate.curation.selection import texts
from mincurate.errors import UserError
from mincurate.images.decode import UnreadableImage, stored_size

WHOLE = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Annotation:
    """An object in an image.

    Attributes:
        name: its category.
        box: ``(x, y, width, height)``, shares of the image's sides from its top left corner.
        facts: how rare it is, where objects were ranked.
    """

    name: Any
    box: tuple[float, float, float, float] = WHOLE
    facts: Mapping[str, Any] = field(default_factory=dict)


def annotations(row: Mapping[str, Any], classes: str) -> list[Annotation]:
    """The objects of an image of `selection.select`; without boxes the whole image is one.

    Args:
        classes: ``label`` or ``rarity_class``; boxes have labels, and ranks where these are ranks
            of objects.
    """
    if ranked(row["boxes"]):
        objects = [Annotation(str(name), tuple(box), known) for name, box, known in row["boxes"]]
        if classes == "label":
            return objects
        known = [item for item in objects if classes in item.facts]
        return [replace(item, name=item.facts[classes]) for item in known]
    if classes == "label" and isinstance(row["boxes"], list):
        return [Annotation(str(name), tuple(box)) for name, box in row["boxes"]]
    names = (texts(row["labels"]) or texts(row["label"])) if classes == "label" else [row[classes]]
    return [Annotation(name) for name in names if not pd.isna(name)]


def coco(
    table: pd.DataFrame, objects: list[list[Annotation]], folder: Path, categories: list[Any]
) -> dict[str, list[dict[str, Any]]]:
    """The content of a COCO file (https://cocodataset.org/#format-data).

    Args:
        table: `export.COLUMNS`, of one split; its columns are keys of the entries in ``images``.
        objects: of every image.
        folder: of the export, to which ``file_name`` is relative.
        categories: of all splits.
    """
    number = {name: i for i, name in enumerate(categories, start=1)}
    images: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    for i, (row, shown) in enumerate(zip(table.to_dict("records"), objects, strict=True), start=1):
        width, height = _size(folder / row["file"])
        columns = {str(k): v for k, v in row.items() if k != "file" and not pd.isna(v)}
        size = {"width": width, "height": height}
        images.append({"id": i, "file_name": row["file"], **size, **columns})
        for item in shown:
            x, y, w, h = item.box
            box = [x * width, y * height, w * width, h * height]
            if item.box == WHOLE:
                box = [0, 0, width, height]
            entries.append(
                {
                    "id": len(entries) + 1,
                    "image_id": i,
                    "category_id": number[item.name],
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                    **item.facts,
                }
            )
    named = [{"id": i, "name": str(name), "supercategory": "image"} for name, i in number.items()]
    return {"images": images, "annotations": entries, "categories": named}


def yolo(objects: list[Annotation], categories: list[Any]) -> str:
    """The label file of an image: category, centre and size of each box, in shares of its sides."""
    lines = []
    for item in objects:
        x, y, w, h = item.box
        numbers = (x + w / 2, y + h / 2, w, h)
        lines.append(" ".join([str(categories.index(item.name)), *(f"{v:.6f}" for v in numbers)]))
    return "".join(f"{line}\n" for line in lines)


def _size(path: Path) -> tuple[int, int]:
    """Width and height as stored, in pixels, as readers of COCO expect."""
    try:
        return stored_size(str(path))
    except UnreadableImage:
        raise UserError(
            f"{path} is no image that can be read; leave it out of the export."
        ) from None
