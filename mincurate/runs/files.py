"""Files that are either whole or not there, also after a kill or a power cut."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either whole or not there, also after a power cut."""
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
    """Write a Parquet file atomically."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_atomically(path, buffer.getvalue())


def write_vectors(path: Path, vectors: "NDArray[np.float32]") -> None:
    """Write an array as a ``.npy`` file atomically."""
    from numpy import save

    buffer = io.BytesIO()
    save(buffer, vectors)
    write_atomically(path, buffer.getvalue())


def begun(path: Path) -> set[Path]:
    """What `write_atomically` had begun of a file in processes that were killed."""
    return set(path.parent.glob(f".{path.name}.*.partial"))


def sweep(folder: Path) -> None:
    """Delete what a killed process had begun to write; only for whoever holds the folder."""
    for place in ("", "shards", "images", "baseline", "baseline/images", "figures"):
        for partial in (folder / place).glob(".*.partial"):
            partial.unlink(missing_ok=True)
