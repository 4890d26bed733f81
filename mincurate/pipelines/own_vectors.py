"""Vectors that a user gives to `score`: where they are kept, and read again by later commands."""

import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mincurate import hashing, paths
from mincurate.errors import UserError
from mincurate.features import own_vectors, vector_files
from mincurate.features.embedder import Embedder
from mincurate.features.own_vectors import CLOSE, FUNCTION, OwnVectors
from mincurate.images import collection
from mincurate.images.collection import FIFTYONE, Collection, Place
from mincurate.images.sources import Source
from mincurate.pipelines.open_images import place_of
from mincurate.progress import Reporter
from mincurate.ranking.reference import Base
from mincurate.runs import atomic_files, command, store

BRAIN = "brain:"
PREFIXES = (FIFTYONE, BRAIN, FUNCTION)
"""What sources begin with that are no files."""


def source_of(vectors: Any) -> str | None:
    """What a run records of vectors: a place that later calls can read.

    Args:
        vectors: ``FILE`` (`vector_files.read`), ``fiftyone:FIELD`` or ``brain:KEY``; an array
            ``(N, d)`` in the order of the images; a dict from paths or sample ids to vectors; a
            pandas data frame as in a file; or a function from images ``(n, 3, 224, 224)``, a
            tensor in [-1, 1], to vectors ``(n, d)``. Arrays, dicts and data frames are written to
            ``MINCURATE_HOME/vectors``.

    Raises:
        UserError: it is something else.
    """
    if vectors is None or (isinstance(vectors, str) and vectors.startswith(PREFIXES)):
        return vectors
    if isinstance(vectors, str | os.PathLike):
        return command.lasting(os.fspath(vectors), bare=True)
    if callable(vectors):
        return own_vectors.function_source(vectors)
    return str(_save(vectors))


def read(source: str | None, place: Place) -> OwnVectors | None:
    """The vectors of a source; ``None`` without one, and for a function.

    Args:
        place: of the images.

    Raises:
        UserError: there are none, or they cannot be read.
    """
    if source is None or source.startswith(FUNCTION):
        return None
    if not source.startswith(PREFIXES):
        return OwnVectors(source, vector_files.read(Path(source)), str(Path(source).parent))
    name = collection.place_name(place)
    if not name.startswith(FIFTYONE):
        raise UserError(
            f"--vectors {source} takes the vectors of the dataset that is scored, and {name} is "
            "none: score fiftyone:NAME."
        )
    from mincurate.dataset import vectors

    kind, _, key = source.partition(":")
    of = vectors.of_field if kind == "fiftyone" else vectors.of_brain
    return OwnVectors(source, of(name.removeprefix(FIFTYONE), key))


def embedder_of(
    source: str | None, own: OwnVectors | None, images: Collection, device: str, reporter: Reporter
) -> Embedder | None:
    """The embedder of a collection, after a word on what was matched; ``None`` without a source.

    Raises:
        UserError: no image has a vector.
    """
    if source is None:
        return None
    if own is None:
        return own_vectors.function_embedder(source, device)
    embedder, lines = own_vectors.embedder_of_images(own, images)
    for line in lines:
        reporter.say(line)
    return embedder


def refuse_generated(run: store.Run) -> None:
    """Raise `UserError` where a run's vectors are not of a network: new images have none."""
    source = run.record["settings"].get("vectors")
    if source and not source.startswith(FUNCTION):
        raise UserError(
            f"The vectors of run {run.key} are from {source}, which has none of generated or other "
            "images: score the images with a network (--embedding), or with a Python function."
        )


def of_new(base: Base, vectors: Any = None) -> OwnVectors | None:
    """The vectors of images that join a run; ``None`` where a network or function gives them.

    Args:
        base: the run.
        vectors: as for `source_of`; the run's own source, read again, when ``None``.

    Raises:
        UserError: they have no paths, or differ from those of the run.
    """
    settings = base.run.record["settings"]
    source = source_of(vectors) or settings.get("vectors")
    own = read(source, place_of(base.run)) if source else None
    if own is None:
        return None
    if not settings.get("vectors"):
        raise UserError(f"Run {base.run.key} has vectors of a network: leave vectors out.")
    if own.rows.keys is None:
        raise UserError(
            f"{own.name} has no paths, so that nobody knows which vectors are new: give a file "
            "with paths or sample ids."
        )
    _check_same(base, own)
    return own


def with_vectors(files: list[Source], own: OwnVectors | None, reporter: Reporter) -> list[Source]:
    """The files that have a vector, where a run has the user's own; the others stay new."""
    if own is None or not files:
        return files
    fitting = own.fitting(files)
    if len(fitting) < len(files):
        reporter.warn(
            f"{len(files) - len(fitting):,} of {len(files):,} files have no vector in {own.name} "
            "and are left out: add their vectors, and do the same again."
        )
    return fitting


def _check_same(base: Base, own: OwnVectors) -> None:
    """Raise `UserError` where an image of the run has another vector now."""
    width = own.vectors.shape[1]
    if width != base.vectors.shape[1]:
        raise UserError(
            f"{own.name} has vectors of {width} dimensions, and run {base.run.key} of "
            f"{base.vectors.shape[1]}."
        )
    columns = [base.frame[c].tolist() for c in ("path", "rel_path")]
    ids = base.frame.get("sample_id", base.frame["path"]).tolist()
    sources = [Source(p, r, sample_id=i) for p, r, i in zip(*columns, ids, strict=True)]
    pairs = [(i, row) for i, s in enumerate(sources) if (row := own.row(s)) is not None]
    there = np.array([pair for pair in pairs if own.usable[pair[1]]], np.int64).reshape(-1, 2)
    if not np.allclose(base.vectors[there[:, 0]], own.vectors[there[:, 1]], rtol=0, atol=CLOSE):
        raise UserError(
            f"{own.name} has other vectors of the images of run {base.run.key} than when these "
            "were scored; score them again with --fresh."
        )


def _save(vectors: Any) -> Path:
    """Write an array, a dict or a data frame to ``MINCURATE_HOME/vectors``; the same one once."""
    if keyed := _by_key(vectors):
        import pyarrow as pa
        import pyarrow.parquet as parquet

        keys, lists = keyed
        arrays = [None if v is None else np.asarray(v, np.float32) for v in lists]
        buffer, suffix = io.BytesIO(), ".parquet"
        parquet.write_table(pa.table({"path": keys, "vector": arrays}), buffer)
    else:
        buffer, suffix = io.BytesIO(), ".npy"
        np.save(buffer, vector_files.matrix(vectors, "The array of vectors"))
    content = buffer.getvalue()
    file = paths.home() / "vectors" / f"{hashing.content_hash(content)[:12]}{suffix}"
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            atomic_files.write_atomically(file, content)
        except OSError as error:
            raise UserError(
                f"Cannot write the vectors to {file}: {error.strerror}; set MINCURATE_HOME to a "
                "folder that can be written."
            ) from error
    return file


def _by_key(vectors: Any) -> tuple[list[str], list[Any]] | None:
    """Paths or sample ids and vectors of a dict or a data frame; ``None`` for an array."""
    if isinstance(vectors, Mapping):
        return [os.fspath(key) for key in vectors], list(vectors.values())
    if not _is_frame(vectors):
        return None
    frame = vectors.rename(columns=str)
    if frame.index.dtype == object or frame.index.name is not None:
        frame = frame.reset_index(names="path" if frame.index.name is None else frame.index.name)
    key, name = vector_files.columns_of(
        "The data frame", [c for c in frame if _holds_lists(frame[c])], list(frame)
    )
    values = frame[name].tolist() if name else list(frame.drop(columns=key).to_numpy(np.float32))
    return [os.fspath(value) for value in frame[key]], values


def _is_frame(value: Any) -> bool:
    return "pandas" in sys.modules and isinstance(value, sys.modules["pandas"].DataFrame)


def _holds_lists(column: Any) -> bool:
    first = next((value for value in column if value is not None), None)
    return isinstance(first, list | tuple | np.ndarray)
