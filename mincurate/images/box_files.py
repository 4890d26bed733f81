"""Objects as COCO, YOLO and Pascal VOC files have them. The files may come from a stranger.

What is odd about an object is its reason for being passed over; what is odd about a file is a
`UserError` only where that file was named.
"""

import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mincurate.errors import UserError
from mincurate.images import masks
from mincurate.images.labels import clean
from mincurate.text import short

Kind = Literal["COCO", "YOLO", "VOC"]
MAX_BYTES = {"COCO": 2**30, "YOLO": 2**24, "VOC": 2**24}
"""Larger files are not read."""
SHARES = (1.0, 1.0)
NO_BOX, CROWD = "without a box", "a crowd, not one object"


@dataclass(frozen=True)
class Entry:
    """An object in an image.

    Attributes:
        image: path or name of the image, or its name without a suffix.
        number: what names the object: the id of its annotation, or its place in the file from 1.
        label: of the object.
        box: left edge, top edge, width and height.
        size: width and height of the image in the unit of the box (`SHARES`); ``None`` where the
            file does not tell.
        reason: why it is passed over.
    """

    image: str
    number: str
    label: str | None = None
    box: tuple[float, float, float, float] | None = None
    size: tuple[float, float] | None = None
    reason: str | None = None


class Odd(Exception):
    """A file is not what its name announces; says in a fragment why."""


def _text(path: Path, kind: Kind) -> str:
    try:
        if path.stat().st_size > MAX_BYTES[kind]:
            raise Odd("too large")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Odd(error.strerror or "cannot be read") from None
    except UnicodeDecodeError:
        raise Odd("not text in UTF-8") from None


def coco(path: Path) -> list[Entry]:
    """The objects of a COCO file (https://cocodataset.org/#format-data).

    Raises:
        Odd: it is none.
    """
    try:
        content = json.loads(_text(path, "COCO"))
    except (ValueError, RecursionError):
        raise Odd("not JSON") from None
    if not isinstance(content, dict):
        raise Odd("not a COCO file")
    images, annotations = content.get("images"), content.get("annotations")
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise Odd("not a COCO file: it has no lists of images and annotations")
    if not any(isinstance(a, dict) and ("bbox" in a or "segmentation" in a) for a in annotations):
        raise Odd("a COCO file without boxes and masks")
    names = {
        str(c.get("id")): clean(c.get("name"))
        for c in content.get("categories") or []
        if isinstance(c, dict)
    }
    by_id = {str(image.get("id")): image for image in images if isinstance(image, dict)}
    return [
        _of_coco(annotation, by_id, names, number)
        for number, annotation in enumerate(annotations, start=1)
    ]


def _of_coco(
    annotation: Any, by_id: dict[str, dict[str, Any]], names: dict[str, str | None], number: int
) -> Entry:
    if not isinstance(annotation, dict):
        return Entry("", str(number), reason="not an annotation")
    name = short(str(annotation.get("id", number)), 40)
    image = by_id.get(str(annotation.get("image_id")))
    if image is None:
        return Entry("", name, reason="of an image that the file does not list")
    file, label = str(image.get("file_name")), names.get(str(annotation.get("category_id")))
    if annotation.get("iscrowd") in (1, True):
        return Entry(file, name, label, reason=CROWD)
    box, size = _numbers(annotation.get("bbox"), 4), _numbers(_sides(image), 2)
    known = (size[0], size[1]) if size and min(size) > 0 else None
    if box is not None:
        return Entry(file, name, label, (box[0], box[1], box[2], box[3]), known)
    outline = masks.around(annotation.get("segmentation"))
    reason = NO_BOX if outline is None else None
    return Entry(file, name, label, outline, known, reason)


def _sides(image: dict[str, Any]) -> list[Any]:
    return [image.get("width"), image.get("height")]


def _numbers(values: Any, count: int | None = None) -> list[float] | None:
    """Finite numbers, so many; ``None`` where they are something else."""
    if not isinstance(values, list) or (count is not None and len(values) != count):
        return None
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def yolo(path: Path, names: Sequence[str], *, keypoints: bool = False) -> list[Entry]:
    """The objects of a YOLO label file, boxes or polygons
    (https://docs.ultralytics.com/datasets/detect/).

    Args:
        names: of the classes; of a class beyond them, ``class 7``.
        keypoints: the numbers after the box are key points.

    Raises:
        Odd: it cannot be read.
    """
    lines = [line.split() for line in _text(path, "YOLO").splitlines() if line.strip()]
    return [
        _of_yolo(path.stem, str(number), parts, names, keypoints)
        for number, parts in enumerate(lines, start=1)
    ]


def _of_yolo(
    image: str, number: str, parts: list[str], names: Sequence[str], keypoints: bool
) -> Entry:
    numbers = _numbers(parts)
    if numbers is None or len(numbers) < 5 or numbers[0] < 0 or numbers[0] % 1:
        return Entry(image, number, reason=NO_BOX)
    index = int(numbers[0])
    label = clean(names[index]) if index < len(names) else f"class {index}"
    polygon = len(numbers) >= 7 and len(numbers) % 2 == 1 and not keypoints
    if polygon:
        xs, ys = numbers[1::2], numbers[2::2]
        box = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
    else:
        x, y, width, height = numbers[1:5]
        box = (x - width / 2, y - height / 2, width, height)
    return Entry(image, number, label, box, SHARES)


def yolo_classes(folder: Path, root: Path) -> tuple[list[str], bool]:
    """The names of the classes that label files below ``folder`` use, and if they hold key points.

    From the ``names`` of a YAML file, or the lines of ``classes.txt`` or ``obj.names``, in the
    folder or the nearest one above it up to ``root``; empty where there is none.
    """
    for place in (folder, *folder.parents):
        for file in sorted(place.glob("*.y*ml")):
            content = _yaml(file)
            if isinstance(content, dict) and (names := _class_names(content.get("names"))):
                return names, "kpt_shape" in content
        for file in (place / "classes.txt", place / "obj.names"):
            if file.is_file():
                try:
                    return [line.strip() for line in _text(file, "YOLO").splitlines()], False
                except Odd:
                    continue
        if place == root:
            break
    return [], False


def _yaml(file: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(_text(file, "YOLO"))
    except (Odd, yaml.YAMLError, ValueError, RecursionError):
        return None


def _class_names(names: Any) -> list[str]:
    if isinstance(names, list):
        return [short(str(name)) for name in names]
    if isinstance(names, dict) and names and all(isinstance(key, int) for key in names):
        last = max(names)
        if min(names) >= 0 and last < 10**6:
            return [short(str(names.get(i, f"class {i}"))) for i in range(last + 1)]
    return []


def voc(path: Path) -> list[Entry]:
    """The objects of a Pascal VOC file.

    Raises:
        Odd: it is none.
    """
    parser = ET.XMLParser(target=_WithoutDoctype())
    try:
        root = ET.fromstring(_text(path, "VOC"), parser)
    except (ET.ParseError, ValueError, RecursionError) as error:
        raise Odd(f"not XML that is read ({short(str(error), 60)})") from None
    if root.tag != "annotation":
        raise Odd("not a VOC file")
    image = (root.findtext("filename") or "").strip() or path.stem
    size = _numbers([root.findtext("size/width"), root.findtext("size/height")])
    known = (size[0], size[1]) if size and min(size) > 0 else None
    entries = []
    for number, item in enumerate(root.findall("object"), start=1):
        label = clean(item.findtext("name"))
        edges = ("xmin", "ymin", "xmax", "ymax")
        corners = _numbers([item.findtext(f"bndbox/{edge}") for edge in edges])
        if corners is None:
            entries.append(Entry(image, str(number), label, reason=NO_BOX))
            continue
        left, top, right, bottom = corners
        box = (left, top, right - left, bottom - top)
        entries.append(Entry(image, str(number), label, box, known))
    return entries


class _WithoutDoctype(ET.TreeBuilder):
    """Refuses what entities are declared in: they can grow without end, or read other files."""

    def doctype(self, name: str, pubid: str, system: str) -> None:
        raise ValueError("it has a DOCTYPE")


def read(
    kind: Kind, file: Path, names: Sequence[str] = (), *, keypoints: bool = False
) -> list[Entry]:
    """The objects of a file; see `coco`, `yolo` and `voc`."""
    if kind == "COCO":
        return coco(file)
    return voc(file) if kind == "VOC" else yolo(file, names, keypoints=keypoints)


def find(folder: Path, stems: set[str]) -> Iterator[tuple[Kind, Path]]:
    """Files below a folder that may hold objects, sorted.

    Args:
        stems: names of images without their suffix: text files that are called so may be labels.
    """
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        if any(part.startswith(".") for part in parts) or not file.is_file():
            continue
        suffix = file.suffix.casefold()
        if suffix == ".json" and _announces_coco(file):
            yield "COCO", file
        elif suffix == ".xml":
            yield "VOC", file
        elif suffix == ".txt" and file.stem in stems:
            yield "YOLO", file


def _announces_coco(file: Path) -> bool:
    """Whether a JSON file has the words of COCO; it is read in full only then."""
    try:
        with file.open("rb") as stream:
            head = stream.read(2**26)
    except OSError:
        return False
    place = b'"bbox"' in head or b'"segmentation"' in head
    return place and b'"annotations"' in head and b'"images"' in head


def named(path: Path) -> tuple[Kind, Path]:
    """The kind of a file that the user names, by its suffix.

    Raises:
        UserError: by it, it is none.
    """
    kinds: dict[str, Kind] = {".json": "COCO", ".xml": "VOC", ".txt": "YOLO"}
    kind = kinds.get(path.suffix.casefold())
    if kind is None:
        raise UserError(
            f"--objects {path} is no COCO file (.json): give one, or a folder of YOLO (.txt) or "
            "VOC (.xml) files, or auto."
        )
    return kind, path
