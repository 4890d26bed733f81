"""What the user said of images in FiftyOne, read for the export: tags, and a field."""

from typing import Any

from mincurate.dataset.database import check_database, load
from mincurate.errors import UserError


def tags(name: str) -> dict[str, list[str]]:
    """The tags of every sample of a dataset, by the path of its file.

    Raises:
        UserError: the database does not answer, or there is no such dataset.
    """
    check_database()
    paths, found = load(name).values(["filepath", "tags"])
    return {path: list(said or ()) for path, said in zip(paths, found, strict=True)}


def field(name: str, wanted: str) -> dict[str, str]:
    """A field of every sample that has it, text or a classification, by the path of its file.

    Raises:
        UserError: the database does not answer, or there is no such dataset or field.
    """
    check_database()
    dataset = load(name)
    if not dataset.has_field(wanted):
        raise UserError(f"The dataset {name!r} has no field {wanted!r}.")
    paths, found = dataset.values(["filepath", wanted])
    pairs = zip(paths, (_text(value) for value in found), strict=True)
    return {path: text for path, text in pairs if text}


def _text(value: Any) -> str:
    said = getattr(value, "label", value)
    return "" if said is None else str(said)
