"""The objects that a label field of a FiftyOne dataset holds, each with its box.

A field holds one object of every sample (``Detection``, ``Polyline``) or a list of them. Instance
masks and polygons give the box around them; what of it the object does not fill stays in the crop.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mincurate.dataset import labels
from mincurate.dataset.labels import LabelField
from mincurate.errors import UserError
from mincurate.images import objects
from mincurate.images.labels import clean
from mincurate.images.regions import Box


@dataclass(frozen=True)
class Object:
    """An object of a sample.

    Attributes:
        path: of the image.
        sample_id: of its sample.
        label_id: of the object.
        label: as `clean` has it.
        box: within the image.
    """

    path: str
    sample_id: str
    label_id: str
    label: str | None
    box: Box


KINDS = ("Detections", "Polylines", "Detection", "Polyline")
TO_OBJECTS = {
    "Segmentation": "fiftyone.utils.labels.segmentations_to_detections(dataset, {name!r}, "
    "'objects', mask_types='thing')",
    "Keypoints": "boxes around the points, in a field of Detections,",
    "Keypoint": "boxes around the points, in a field of Detections,",
    "Heatmap": "detections of its peaks",
}
"""Kinds of fields that show places, and what makes objects of them."""


def fields(samples: Any) -> list[LabelField]:
    """The fields of a dataset or view that hold objects."""
    import fiftyone as fo

    kinds = {getattr(fo, kind): kind for kind in KINDS}
    schema = samples.get_field_schema(embedded_doc_type=tuple(kinds))
    return [LabelField(name, kinds[field.document_type]) for name, field in schema.items()]


def choose(samples: Any, name: str) -> LabelField:
    """The field of this name.

    Raises:
        UserError: there is none, or it holds no objects.
    """
    usable = fields(samples)
    for field in usable:
        if field.name == name:
            return field
    kind = getattr(getattr(samples.get_field(name), "document_type", None), "__name__", "")
    if kind in TO_OBJECTS:
        raise UserError(
            f"The field {name!r} is a {kind}, in which objects are not told apart: make "
            f"{TO_OBJECTS[kind].format(name=name)} and give --objects that field."
        )
    present = ", ".join(field.name for field in usable) or "none"
    raise UserError(
        f"The dataset {samples._root_dataset.name!r} has no objects in the field {name!r}; fields "
        f"of detections or polylines: {present}."
    )


def single(field: LabelField) -> bool:
    """Whether a sample has one object at most: FiftyOne then shows samples, not patches."""
    return field.kind in labels.SINGLE


def inside(field: LabelField) -> str:
    """The path of a field's objects."""
    return field.name if single(field) else f"{field.name}.{labels.LISTS[field.kind]}"


def ids(samples: Any, field: LabelField) -> dict[str, str]:
    """The id of the sample of every object, by the id of the object."""
    keys, objects = samples.values(["id", f"{inside(field)}.id"])
    each = ([one] if single(field) else one or () for one in objects)
    return {item: key for key, items in zip(keys, each, strict=True) for item in items if item}


def read(samples: Any, field: LabelField) -> tuple[list[Object], Counter[str]]:
    """The objects of samples, and how many are passed over, by reason.

    A polygon's box is the smallest that holds it.
    """
    boxed = field.kind in ("Detections", "Detection")
    shape = "bounding_box" if boxed else "points"
    names = [f"{inside(field)}.{part}" for part in ("id", "label", shape)]
    found: list[Object] = []
    passed_over: Counter[str] = Counter()
    for path, sample, *parts in zip(*samples.values(["filepath", "id", *names]), strict=True):
        if single(field):
            parts = [[part] for part in parts] if parts[0] else [None] * 3
        for label_id, text, corners in zip(*(part or () for part in parts), strict=True):
            numbers = corners if boxed else around(corners)
            box, reason = _box(numbers)
            if box is None:
                passed_over[reason] += 1
            else:
                found.append(Object(path, sample, label_id, clean(text), box))
    return found, passed_over


def _box(numbers: Any) -> tuple[Box | None, str]:
    try:
        four = [float(number) for number in numbers or ()]
    except (TypeError, ValueError):
        four = []
    return objects.clipped(four) if len(four) == 4 else (None, "without a box")


def around(shapes: Sequence[Sequence[Sequence[float]]] | None) -> list[float]:
    """The box around the points of all shapes of a polyline; empty without any."""
    points = [point for shape in shapes or () for point in shape]
    if not points:
        return []
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
