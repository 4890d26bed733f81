"""Which columns of a table hold paths and labels: the usual names, however they are spelled."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mincurate.errors import UserError

PATH_COLUMNS = (
    *("path", "filepath", "file_path", "file", "filename", "file_name", "image", "image_path"),
    *("img", "img_path", "image_file", "image_filename", "image_file_name", "img_file", "img_name"),
    *("image_name", "picture", "photo", "fullpath", "full_path", "abspath", "absolute_path"),
    *("relpath", "rel_path", "relative_path", "local_path", "uri", "image_uri", "url", "image_url"),
)
LABEL_COLUMNS = (
    *("label", "class", "category", "target", "ground_truth", "y", "label_name", "class_name"),
    *("category_name", "class_label", "target_name", "image_label", "species", "tag"),
    *("label_id", "class_id", "category_id", "class_index", "label_index"),
)


def find_columns(
    table: Path,
    columns: Sequence[str],
    path: str | None,
    label: str | None,
    labels: bool | None,
) -> tuple[list[int], list[int]]:
    """Where the columns of paths and of labels are; several where several have one name."""
    present = ", ".join(filter(None, columns)) or "none"
    paths = find(columns, PATH_COLUMNS, path)
    if not paths:
        raise UserError(
            f"{table} has no column {path!r}; it has: {present}."
            if path
            else f"{table} has no column of image paths (its columns: {present}): name it with "
            f"--path-column, or call it {', '.join(PATH_COLUMNS[:5])}."
        )
    if labels is False:
        return paths, []
    usual = [name for name in LABEL_COLUMNS if name != "y" or not find(columns, ("x",), None)]
    named = find(columns, usual, label)
    named = [i for i in named if i not in paths]
    if not named and (label or labels):
        raise UserError(
            f"{table} has no column {label!r}; it has: {present}."
            if label
            else f"{table} has no column of labels (its columns: {present}): name it with "
            f"--label-column, or call it {', '.join(LABEL_COLUMNS[:5])}."
        )
    return paths, named


def find(columns: Sequence[str], usual: Iterable[str], name: str | None) -> list[int]:
    """The columns called ``name``, or by the first usual name that there is."""
    if name is not None:
        same = [i for i, column in enumerate(columns) if column.strip() == name.strip()]
        return same or [i for i, column in enumerate(columns) if _plain(column) == _plain(name)]
    words = list(usual)
    for spell in (str.casefold, _plain):  # a column called "path" counts before one called "Paths"
        names = [spell(column) for column in columns]
        for word in map(spell, words):
            if word in names:
                first = columns[names.index(word)]
                return [i for i, column in enumerate(columns) if column == first]
    return []


def _plain(name: str) -> str:
    """``image_path`` of ``Image Path``, ``imagePaths`` and ``image-path``, without its signs."""
    letters = re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())
    return {"classes": "class", "categories": "category"}.get(letters) or (
        letters[:-1] if letters.endswith("s") and not letters.endswith(("ss", "ies")) else letters
    )


def name_at(columns: Sequence[str], at: Sequence[int]) -> str | None:
    """The name of the columns at some places, or None."""
    return columns[at[0]] if at else None


def same_values(
    table: Path, columns: Sequence[str], at: Sequence[int], lists: list[list[Any]]
) -> Any:
    """The values of one column; of several of one name, as joins leave, they must be the same."""
    if any(values != lists[0] for values in lists[1:]):
        raise UserError(
            f"{table} has {len(at)} different columns called {columns[at[0]]!r}: rename all but "
            "one."
        )
    return lists[0] if lists else []
