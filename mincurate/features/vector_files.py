"""Vectors in files, as NumPy, pandas, Arrow and spreadsheets write them: keys and rows."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mincurate.errors import UserError, reason
from mincurate.images.table_columns import PATH_COLUMNS, find_columns
from mincurate.images.tables import PARQUET

SUFFIXES = (".npy", ".npz", *PARQUET, ".csv", ".tsv")
IDS = ("sample_id", "id", "_id")
"""Columns and arrays of sample ids; those of paths are called as in any table of images."""
NAMES = ("vector", "vectors", "embedding", "embeddings", "feature", "features")
"""Columns and arrays of vectors, where there are several that might be."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Vectors as they were given.

    Attributes:
        vectors: ``(N, d)`` float32; the rows of another length than most are NaN.
        keys: paths or sample ids, N; ``None``: in the order of the images.
        odd: how many rows have another length than most, or are no list of numbers.
    """

    vectors: NDArray[np.float32]
    keys: list[str] | None
    odd: int = 0


def read(file: Path) -> Rows:
    """Read a file of vectors.

    ========================= ====================================================================
    ``.npy``                  an array ``(N, d)``; the paths in a ``.txt`` file of the same name,
                              one a line, or none: the rows are in the order of the images
    ``.npz``                  an array ``(N, d)``, and one of N paths or sample ids
    ``.parquet``              a column of paths or sample ids, and one of lists
    ``.csv``, ``.tsv``        a column of paths or sample ids; all others are numbers
    ========================= ====================================================================

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    if not file.is_file():
        raise UserError(f"There is no file of vectors {file}.")
    suffix = file.suffix.casefold()
    if suffix not in SUFFIXES:
        raise UserError(f"{file} is no file of vectors: give {', '.join(SUFFIXES)}.")
    try:
        if suffix == ".npy":
            return Rows(matrix(np.load(file, allow_pickle=False), str(file)), _beside(file))
        if suffix == ".npz":
            return _read_npz(file)
        return _read_parquet(file) if suffix in PARQUET else _read_text(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} cannot be read as vectors: {reason(error)}.") from error


def matrix(values: Any, name: str) -> NDArray[np.float32]:
    """An array ``(N, d)`` of numbers in single precision.

    Raises:
        UserError: it has another shape, or holds something else.
    """
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind not in "fiub":
        raise UserError(
            f"{name} holds {array.dtype} of shape {array.shape}: vectors are numbers of shape "
            "(images, dimensions)."
        )
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, np.float32)


def stack(keys: Sequence[str], lists: Sequence[Any], name: str) -> Rows:
    """Lists of numbers, N by N keys; ``None`` is no vector.

    Raises:
        UserError: none is a list of numbers.
    """
    given = [
        (key, _row(values)) for key, values in zip(keys, lists, strict=True) if values is not None
    ]
    lengths = np.array([0 if array is None else len(array) for _, array in given], np.int64)
    if not lengths.any():
        raise UserError(f"{name} holds no lists of numbers.")
    width = int(np.bincount(lengths[lengths > 0]).argmax())
    vectors = np.full((len(given), width), np.nan, np.float32)
    fits = np.flatnonzero(lengths == width)
    vectors[fits] = np.array([given[i][1] for i in fits])
    return Rows(vectors, [key for key, _ in given], len(given) - len(fits))


def _row(values: Any) -> NDArray[np.float32] | None:
    """One list of numbers; ``None`` for anything else."""
    try:
        with np.errstate(over="ignore"):
            array = np.asarray(values, np.float32)
    except (TypeError, ValueError):
        return None
    return array if array.ndim == 1 and len(array) else None


def _beside(file: Path) -> list[str] | None:
    """The lines of the ``.txt`` file of the same name."""
    names = file.with_suffix(".txt")
    return names.read_text(encoding="utf-8").splitlines() if names.is_file() else None


def _read_npz(file: Path) -> Rows:
    with np.load(file, allow_pickle=False) as saved:
        arrays = {name: saved[name] for name in saved.files}
    wide = [name for name, array in arrays.items() if array.ndim == 2]
    keys = [name for name, array in arrays.items() if array.ndim == 1 and array.dtype.kind in "US"]
    name = _one(wide, NAMES, f"{file} holds", "array (images, dimensions)")
    if not keys:
        return Rows(matrix(arrays[name], str(file)), None)
    key = _one(keys, (*PATH_COLUMNS, *IDS, "paths", "ids"), f"{file} holds", "array of paths")
    return Rows(matrix(arrays[name], str(file)), arrays[key].astype(str).tolist())


def _read_parquet(file: Path) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    schema = parquet.ParquetFile(file).schema_arrow
    lists = [f.name for f in schema if pa.types.is_list(f.type) or _other_list(f.type)]
    key, name = columns_of(str(file), lists, schema.names)
    if name is None:
        raise UserError(f"{file} has no column of lists of numbers; call it {NAMES[0]}.")
    table = parquet.read_table(file, columns=[key, name])
    keys = [str(value) for value in table[key].to_pylist()]
    column = table[name].combine_chunks()
    values = column.flatten()
    width, left = divmod(len(values), max(1, len(column)))
    even = not (column.null_count or left or values.null_count)
    if even and not pa.types.is_fixed_size_list(column.type):
        even = (np.diff(column.offsets.to_numpy()) == width).all()
    if even and width:
        array = values.to_numpy(zero_copy_only=False).reshape(-1, width)
        return Rows(matrix(array, str(file)), keys)
    return stack(keys, column.to_pylist(), str(file))


def _other_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _read_text(file: Path) -> Rows:
    import pandas as pd

    frame = pd.read_csv(file, sep="\t" if file.suffix.casefold() == ".tsv" else ",")
    key, _ = columns_of(str(file), [], [str(name) for name in frame.columns])
    numbers = frame.drop(columns=key)
    if not all(kind.kind in "fiub" for kind in numbers.dtypes):
        raise UserError(f"{file} has columns besides {key!r} that are no numbers.")
    return Rows(matrix(numbers, str(file)), frame[key].astype(str).tolist())


def columns_of(table: str, lists: Sequence[str], columns: Sequence[str]) -> tuple[str, str | None]:
    """The column of sample ids or paths of a table, and that of vectors, if any has lists."""
    name = _one(lists, NAMES, f"{table} has", "column of lists") if lists else None
    others = [column for column in columns if column not in lists]
    for key in IDS:
        if key in others:
            return key, name
    [at, *_], _ = find_columns(Path(table), others, None, None, False)
    return others[at], name


def _one(names: Sequence[str], usual: Sequence[str], what: str, kind: str) -> str:
    """The only name, or the only usual one."""
    chosen = names if len(names) == 1 else [name for name in names if name.casefold() in usual]
    if len(chosen) != 1:
        among = f"{len(names)}: {', '.join(names)}" if names else "none"
        raise UserError(f"{what} not one {kind} but {among}; call it {usual[0]}, and keep one.")
    return chosen[0]
