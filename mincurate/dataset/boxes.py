"""The objects that a label field of a FiftyOne dataset holds, each with its box."""

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


def fields(samples: Any) -> list[LabelField]:
    """The fields of a dataset or view that hold objects."""
    import fiftyone as fo

    kinds = {fo.Detections: "Detections", fo.Polylines: "Polylines"}
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
    present = ", ".join(field.name for field in usable) or "none"
    raise UserError(
        f"The dataset {samples._root_dataset.name!r} has no objects in the field {name!r}; fields "
        f"of detections or polylines: {present}."
    )


def inside(field: LabelField) -> str:
    """The path of a field's list of objects."""
    return f"{field.name}.{labels.LISTS[field.kind]}"


def read(samples: Any, field: LabelField) -> tuple[list[Object], Counter[str]]:
    """The objects of samples, and how many are passed over, by reason.

    A polygon's box is the smallest that holds it.
    """
    shape = "bounding_box" if field.kind == "Detections" else "points"
    names = [f"{inside(field)}.{part}" for part in ("id", "label", shape)]
    found: list[Object] = []
    passed_over: Counter[str] = Counter()
    for path, sample, ids, texts, shapes in zip(
        *samples.values(["filepath", "id", *names]), strict=True
    ):
        for label_id, text, corners in zip(ids or (), texts or (), shapes or (), strict=True):
            numbers = corners if field.kind == "Detections" else around(corners)
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
