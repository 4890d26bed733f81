"""Writing files that are either complete or absent, also after a kill or a power cut."""

import io
import os
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mincurate.runs import schema

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

WRITTEN = (
    "",
    schema.SHARDS,
    schema.IMAGES,
    schema.BASELINE,
    f"{schema.BASELINE}/{schema.IMAGES}",
    schema.FIGURES,
    schema.PREVIEWS,
)
"""Folders of a run in which `write_atomically` is used."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, flush it and rename it; replaces ``path``.

    Raises:
        OSError: it cannot be written; what ``path`` held is unchanged.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_table(path: Path, table: "pa.Table") -> None:
    """Write a Parquet file atomically; numbers, which rarely repeat, without a dictionary."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = [field.name for field in table.schema if pa.types.is_string(field.type)]
    buffer = io.BytesIO()
    pq.write_table(table, buffer, use_dictionary=words or False)
    write_atomically(path, buffer.getvalue())


def write_vectors(path: Path, vectors: "NDArray[np.float32]") -> None:
    """Write an array as a ``.npy`` file atomically."""
    from numpy import save

    buffer = io.BytesIO()
    save(buffer, vectors)
    write_atomically(path, buffer.getvalue())


def write_arrays(path: Path, **arrays: object) -> None:
    """Write arrays as an ``.npz`` file atomically."""
    from numpy import savez

    buffer = io.BytesIO()
    savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def read_arrays(path: Path) -> "dict[str, NDArray[Any]] | None":
    """The arrays of an ``.npz`` file; ``None`` if there is none, or not a whole one."""
    from numpy import load

    try:
        with load(path, allow_pickle=False) as saved:
            return {name: saved[name] for name in saved.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def begun(path: Path) -> set[Path]:
    """Temporary files of ``path`` that killed processes left."""
    return set(path.parent.glob(f".{path.name}.*.partial"))


def sweep(folder: Path) -> None:
    """Delete the temporary files that killed processes left; the caller holds the run's lock."""
    for name in WRITTEN:
        for partial in (folder / name).glob(".*.partial"):
            partial.unlink(missing_ok=True)
