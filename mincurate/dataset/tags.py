"""A field of the user's, read by path: the splits of an export."""

from typing import Any

from mincurate.dataset import samples as parts
from mincurate.dataset.database import check_database, load
from mincurate.errors import UserError


def field(dataset: str, name: str) -> dict[str, str]:
    """A field of every sample that has it, text or a classification, by the path of its file.

    Raises:
        UserError: the database does not answer, or there is no such dataset or field.
    """
    check_database()
    loaded = load(dataset)
    if not loaded.has_field(name):
        raise UserError(f"The dataset {dataset!r} has no field {name!r}.")
    paths, values = parts.images(loaded).values(["filepath", name])
    pairs = zip(paths, (_text(value) for value in values), strict=True)
    return {path: text for path, text in pairs if text}


def _text(value: Any) -> str:
    text = getattr(value, "label", value)
    return "" if text is None else str(text)
