"""A pandas data frame of images as a table on disk, which later calls can read again."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mincurate import hashing, paths
from mincurate.errors import UserError
from mincurate.images import file_names, object_storage, table_columns
from mincurate.images.labels import MISSING_IN_TABLES, clean
from mincurate.runs import atomic_files

if TYPE_CHECKING:
    import pandas as pd

NAME = Path("The data frame")
"""As which messages speak of it."""


def save(
    frame: "pd.DataFrame",
    *,
    labels: bool | None = None,
    label_column: str | None = None,
    path_column: str | None = None,
) -> Path:
    """Write the columns of paths and labels to ``MINCURATE_HOME/tables``; the same ones once.

    The columns are found as in a table (`table_columns.find_columns`); they may be levels of the
    index.
    Relative paths start at the current folder.

    Raises:
        UserError: there is no such column, or it holds something else.
    """
    import pyarrow as pa

    if any(name is not None and name not in frame.columns for name in frame.index.names):
        frame = frame.reset_index()
    columns = [str(name) for name in frame.columns]
    at, labels_at = table_columns.find_columns(NAME, columns, path_column, label_column, labels)
    taken = [*at, *labels_at]
    values = [[_path(v, columns[i]) for v in frame.iloc[:, i]] for i in at]
    values += [frame.iloc[:, i].tolist() for i in labels_at]
    arrays = [_array(column) for column in values]
    key = hashing.fingerprint([[columns[i] for i in taken], [_plain(c) for c in values]])
    table = paths.home() / "tables" / f"frame-{key[:12]}.parquet"
    if not table.is_file():
        try:
            table.parent.mkdir(parents=True, exist_ok=True)
            whole = pa.Table.from_arrays(arrays, names=[columns[i] for i in taken])
            atomic_files.write_table(table, whole)
        except OSError as error:
            raise UserError(
                f"Cannot write the data frame to {table}: {error.strerror}; set MINCURATE_HOME to "
                "a folder that can be written."
            ) from error
    return table


def _path(value: Any, column: str) -> Any:
    """A cell with a path, absolute; or with an image, as the Hugging Face hub keeps one."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, dict) and value.keys() & {"bytes", "path"}:
        stored = isinstance(value.get("bytes"), bytes)
        return value if stored or not value.get("path") else _path(value["path"], column)
    if isinstance(value, bytes):
        return {"bytes": value, "path": None}
    if not isinstance(value, str):
        if clean(value, MISSING_IN_TABLES) is None:
            return None
        raise UserError(
            f"Column {column!r} of the data frame holds {type(value).__name__} values, not paths: "
            "name another with --path-column."
        )
    path = object_storage.local(value)
    if not path.strip() or object_storage.scheme(path):
        return value
    path = os.path.expanduser(path if os.path.exists(path) else path.strip())
    return file_names.as_text(os.path.abspath(path))


def _array(values: list[Any]) -> Any:
    """A column for Arrow; what it cannot hold side by side, such as 1 and "a", becomes text."""
    import pyarrow as pa

    if any(isinstance(value, dict) for value in values):
        values = [{"bytes": None, "path": v} if isinstance(v, str) else v for v in values]
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.array([clean(value, MISSING_IN_TABLES) for value in values], pa.string())


def _plain(values: list[Any]) -> list[Any]:
    """What a fingerprint is taken of: images by their hash."""
    return [
        hashing.content_hash(v["bytes"]) if isinstance(v, dict) and v.get("bytes") else v
        for v in values
    ]
