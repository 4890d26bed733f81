"""The labels of FiftyOne samples, whatever kind of field holds them: one name per image.

A field of several labels (``Classifications``, ``Detections``, ``Polylines``, ``Keypoints``, a list
of texts) gives an image a label where all of them are equal.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mincurate.dataset import ownership
from mincurate.errors import UserError
from mincurate.images.labels import clean

USUAL = ("ground_truth", "label", "labels", "class", "category", "target")
"""Fields that are taken before others, and the only ones of plain text that are taken unasked."""
OF_FIFTYONE = ("id", "filepath", "tags", "metadata", "created_at", "last_modified_at")
LISTS = {
    "Classifications": "classifications",
    "Detections": "detections",
    "Polylines": "polylines",
    "Keypoints": "keypoints",
}
SINGLE = ("Classification", "Detection", "Polyline", "Keypoint")
PLAIN = ("text", "number", "texts")
"""Fields that hold no label of FiftyOne's: text, numbers or booleans, lists of text."""
KINDS = (*SINGLE, *LISTS, *PLAIN)
"""In the order in which they are taken."""


@dataclass(frozen=True)
class LabelField:
    """A field that holds labels.

    Attributes:
        name: of the field.
        kind: one of `KINDS`.
    """

    name: str
    kind: str

    @property
    def path(self) -> str:
        """Where the text is."""
        if self.kind in PLAIN:
            return self.name
        inside = f".{LISTS[self.kind]}" if self.kind in LISTS else ""
        return f"{self.name}{inside}.label"


def candidates(samples: Any) -> list[LabelField]:
    """The fields that can hold labels, the one that is taken first."""
    kinds = {name: _kind(field) for name, field in samples.get_field_schema().items()}
    other = {*OF_FIFTYONE, *ownership.read(samples._root_dataset).fields} - set(USUAL)
    usable = [
        LabelField(name, kind)
        for name, kind in kinds.items()
        if kind and name not in other and (kind not in PLAIN or name in USUAL)
    ]
    return sorted(usable, key=_order)


def choose(samples: Any, name: str | None = None) -> LabelField | None:
    """The field ``name``, or without it the first of `candidates`.

    Raises:
        UserError: there is no such field, or it holds no labels.
    """
    usable = candidates(samples)
    if name is None:
        return next(iter(usable), None)
    field = samples.get_field(name)
    kind = _kind(field) if field is not None else None
    if kind is None or name in OF_FIFTYONE:
        present = ", ".join(f.name for f in usable) or "none"
        problem = "has no label field" if field is None else "has no labels in the field"
        raise UserError(
            f"The dataset {samples._root_dataset.name!r} {problem} {name!r}; label fields: "
            f"{present} (a field of text, numbers or booleans can be named too)."
        )
    return LabelField(name, kind)


def read(samples: Any, field: LabelField) -> list[str | None]:
    """One label per sample, as `clean` has it; ``None`` for none, or several different ones."""
    return [_single(value) for value in samples.values(field.path)]


def several(samples: Any, field: LabelField) -> dict[str, list[str]]:
    """All labels of the images that have more than one, by path."""
    paths, values = samples.values(["filepath", field.path])
    names = {p: _distinct(value) for p, value in zip(paths, values, strict=True)}
    return {path: labels for path, labels in names.items() if len(labels) > 1}


def words(samples: Any, field: LabelField | None) -> str:
    """Which field the labels are from, what in it is not used, and which fields are not."""
    if field is None:
        return "No label field in the dataset; --label-field names one of text or numbers."
    sentence = f"Labels: field {field.name!r} ({field.kind.casefold()})"
    ambiguous = sum(len(_distinct(value)) > 1 for value in samples.values(field.path))
    if ambiguous:
        sentence += f"; {ambiguous:,} images with several different labels count as unlabelled"
    others = [f.name for f in candidates(samples) if f.name != field.name]
    if others:
        sentence += f"; not used: {', '.join(others)} (--label-field chooses)"
    return sentence + "."


def matching(samples: Any, field: LabelField, label: str | None) -> Any:
    """The samples with this label as `read` gives it, or with none."""
    from fiftyone import ViewField as F

    clear = field.kind in (*SINGLE, "text") and all(
        clean(value) == value for value in samples.distinct(field.path)
    )
    if clear:
        value = F(field.path)
        return samples.match(~value.exists() if label is None else value == label)
    ids, names = samples.values("id"), read(samples, field)
    return samples.select([i for i, name in zip(ids, names, strict=True) if name == label])


def boxes(samples: Any, name: str) -> dict[str, list[tuple[str, list[float]]]]:
    """The boxes of a ``Detections`` or ``Detection`` field, by the path of the image.

    Returns:
        Path to label and ``[x, y, width, height]`` in shares of the image, 0 to 1; empty where the
        field holds no boxes.
    """
    field = samples.get_field(name)
    kind = _kind(field) if field is not None else None
    if kind not in ("Detections", "Detection"):
        return {}
    inside = f"{name}.detections" if kind == "Detections" else name
    paths, names, corners = samples.values(
        ["filepath", f"{inside}.label", f"{inside}.bounding_box"]
    )
    by_path: dict[str, list[tuple[str, list[float]]]] = {}
    for path, label, box in zip(paths, names, corners, strict=True):
        if kind == "Detection":
            label, box = [label], [box]
        pairs = zip(label or [], box or [], strict=True)
        by_path.setdefault(path, []).extend((str(t), list(b)) for t, b in pairs if t and b)
    return by_path


def _kind(field: Any) -> str | None:
    """One of `KINDS`, or ``None`` for a field that holds no labels."""
    import fiftyone as fo

    document = getattr(field, "document_type", None)
    if document is not None:
        name, own = document.__name__, document.__module__ == fo.Classification.__module__
        return name if own and name in KINDS else None
    if isinstance(field, fo.ListField):
        return "texts" if isinstance(field.field, fo.StringField) else None
    if isinstance(field, fo.StringField):
        return "text"
    return "number" if isinstance(field, fo.IntField | fo.BooleanField) else None


def _order(field: LabelField) -> tuple[int, bool, int]:
    usual = USUAL.index(field.name) if field.name in USUAL else len(USUAL)
    return usual, "pred" in field.name.casefold(), KINDS.index(field.kind)


def _distinct(value: Any) -> list[str]:
    values: Iterable[Any] = value if isinstance(value, list | tuple) else [value]
    names = (clean(item) for item in values)
    return list(dict.fromkeys(name for name in names if name is not None))


def _single(value: Any) -> str | None:
    names = _distinct(value)
    return names[0] if len(names) == 1 else None
