"""Read again everything a run keeps, and say in words what is damaged and what mends it.

A finished marker means finished, not whole: disks forget, copies are cut short. Nothing is changed
here, and nothing heavy is needed: digests, tables, vectors and pictures are read as they lie.
"""

import io
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mincurate import paths
from mincurate.errors import UserError
from mincurate.runs import command as commands
from mincurate.runs import digests, manifest, schema, shards, store
from mincurate.runs.store import Run

UNREADABLE = (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile, zlib.error)
"""What readers of tables and arrays raise on damage, Arrow's own errors among them."""
Wrong = tuple[str, str]
"""A file, relative to the run's folder, and what is wrong with it."""


@dataclass(frozen=True)
class Damage:
    """Something that is not what it should be.

    Attributes:
        path: of the file.
        what: is wrong, as the rest of a sentence that begins with the file.
        mend: what to do, as a sentence.
    """

    path: Path
    what: str
    mend: str

    @property
    def words(self) -> str:
        """All of it in one line."""
        return f"{self.path} {self.what}. {self.mend}"


def verify(run: Run) -> list[Damage]:
    """Read a run's files again: digests, tables, vectors, map, images, classifiers, model.

    A run that is not finished is held to what it has finished.
    """
    try:
        record = run.record
    except UserError:
        record = None
    if not isinstance(record, dict) or not record.get("key"):
        mend = f"Delete the folder {run.path} and give the run's command again."
        return [Damage(run.path / schema.RECORD, "cannot be read", mend)]
    made = store.kind_of(run) == store.AUGMENT
    wrong = dict(_sealed(run.path))
    for name, what in _shards(run) if not made else _images(run):
        wrong.setdefault(name, what)
    if run.finished:
        for name, what in _generated(run, record) if made else _scored(run, record):
            wrong.setdefault(name, what)
    again = _again(run, record)
    found = [Damage(run.path / name, what, again(name)) for name, what in wrong.items()]
    return [*found, *_networks(run, record)]


def _sealed(folder: Path) -> Iterator[Wrong]:
    """Files that are not what they were when the last command on the folder ended."""
    yield from digests.broken(folder).items()


def _shards(run: Run) -> Iterator[Wrong]:
    for index in shards.damaged_shards(run):
        yield f"shards/scores-{index:06d}.parquet", "is not what its marker says"


def _scored(run: Run, record: dict[str, Any]) -> Iterator[Wrong]:
    """A finished scoring run: every row is there once, and has its vector."""
    table = yield from _read(run, "scores.parquet", pq.read_table)
    flat = yield from _read(run, "scores.csv", _rows)
    vectors = yield from _read(run, "embeddings.npy", _array)
    named = yield from _read(run, "embeddings.parquet", pq.read_table)
    yield from _read(run, "reconstructions.npz", _arrays)
    if record.get("map_method") not in (None, "none"):
        yield from _read(run, "map.npz", _arrays)
    joined: list[str] = []
    if record.get("counts", {}).get("joined"):
        kept = yield from _read(run, "joined.npz", _arrays)
        joined = kept["content_hash"].tolist() if kept else []
    if not (run.path / "report.html").is_file():
        yield "report.html", "is gone"
    if table is None:
        return
    n, images = table.num_rows, record["counts"]["images"]
    if n != images:
        yield "scores.parquet", f"has {n:,} rows, not {images:,}"
    key = "sample_id" if "sample_id" in table.column_names else "rel_path"
    doubled = n - len(set(table[key].to_pylist()))
    if doubled:
        yield "scores.parquet", f"holds {doubled:,} files twice"
    if flat is not None and flat != n:
        yield "scores.csv", f"has {flat:,} rows, and scores.parquet {n:,}"
    columns = ("content_hash", "status", "duplicate_of")
    rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
    scored = {content for content, status, copy in rows if status == "ok" and copy is None}
    if named is not None and vectors is not None:
        hashes = named["content_hash"].to_pylist()
        if vectors.shape[:1] != (len(hashes),) or not np.isfinite(vectors).all():
            yield "embeddings.npy", f"does not hold {len(hashes):,} vectors"
        if len(set(hashes)) < len(hashes):
            yield "embeddings.parquet", "names images twice"
        missing = len(scored - {*hashes, *joined})
        if missing:
            yield "embeddings.parquet", f"lacks {missing:,} of the scored images"


def _images(run: Run) -> Iterator[Wrong]:
    """The images of a generation, and what its manifest says of them."""
    entries = manifest.read_manifest(run.path)
    lines = 0
    if (run.path / manifest.MANIFEST).is_file():
        lines = len((run.path / manifest.MANIFEST).read_bytes().splitlines())
    if lines != len(entries):
        yield manifest.MANIFEST, f"has {lines:,} lines, of which {len(entries):,} hold an image"
    for entry in entries:
        try:
            if manifest.damaged(run.path, entry):
                yield entry["file"], "is not the image that was generated"
            else:
                manifest.read_png(run.path / entry["file"])
        except (*UNREADABLE, SyntaxError):
            yield entry["file"], "cannot be decoded"


def _generated(run: Run, record: dict[str, Any]) -> Iterator[Wrong]:
    """A finished generation: a row, a vector and an image for every number."""
    table = yield from _read(run, "synthetic.parquet", pq.read_table)
    flat = yield from _read(run, "synthetic.csv", _rows)
    vectors = yield from _read(run, "embeddings.npy", _array)
    n = record["counts"]["images"]
    entries = {e["index"]: e for e in manifest.read_manifest(run.path)}
    if len(entries) != n:
        yield manifest.MANIFEST, f"has {len(entries):,} images, not {n:,}"
    if vectors is not None and vectors.shape[:1] != (n,):
        yield "embeddings.npy", f"does not hold {n:,} vectors"
    if flat is not None and flat != n:
        yield "synthetic.csv", f"has {flat:,} rows, not {n:,}"
    if table is None:
        return
    if table["index"].to_pylist() != list(range(n)):
        yield "synthetic.parquet", f"does not hold each of {n:,} images once"
    columns = (table[name].to_pylist() for name in ("index", "content_hash"))
    for index, content in zip(*columns, strict=True):
        entry = entries.get(index)
        if entry and entry.get("content_hash") not in (None, content):
            yield entry["file"], "is another image than the table's"


def _networks(run: Run, record: dict[str, Any]) -> Iterator[Damage]:
    """The classifiers of a run, and the model if it was trained here."""
    for folder in sorted(p for p in (run.path / "guidance").glob("*") if p.is_dir()):
        mend = f"Delete {folder}; `mincurate guide {run.key}` trains it anew."
        for name, what in digests.broken(folder).items():
            yield Damage(folder / name, what, mend)
    place = Path(str((record.get("model") or {}).get("name")))
    if place.parent == (paths.home() / "models").resolve():
        mend = f"Delete {place}; {_command(run, record)} with --fresh at its end trains it anew."
        if not place.is_dir():
            yield Damage(place, "is gone", mend)
        for name, what in digests.broken(place).items():
            yield Damage(place / name, what, mend)


def _again(run: Run, record: dict[str, Any]) -> Callable[[str], str]:
    """What mends a file of a run."""
    command = _command(run, record)

    def mend(name: str) -> str:
        if name == "report.html":
            return f"`{commands.quoted('mincurate', 'report', run.key)}` writes it again."
        if name == manifest.MANIFEST:
            return f"Delete it and give {command} again: it makes the same images."
        if name.startswith(("baseline/", "evaluation")):
            return f"`mincurate evaluate {run.key} --fresh` makes it again."
        if record.get("counts", {}).get("joined") and store.kind_of(run) == store.SCORE:
            return f"Give {command}, then `mincurate score-new {run.key}`: they make it again."
        return f"Give {command} again: it makes what is damaged anew and keeps the rest."

    return mend


def _command(run: Run, record: dict[str, Any]) -> str:
    if store.kind_of(run) == store.SCORE:
        return f"`{commands.command(run)}`"
    return f"the `mincurate augment {record.get('base')}` command that made {run.key}"


def _read(run: Run, name: str, reader: Callable[[Path], Any]) -> Generator[Wrong, None, Any]:
    """What ``reader`` makes of a file of the run; ``None``, said as a `Wrong`, if it cannot."""
    try:
        return reader(run.path / name)
    except FileNotFoundError:
        yield name, "is gone"
    except (*UNREADABLE, pa.ArrowException):
        yield name, "cannot be read"
    return None


def _rows(path: Path) -> int:
    import pandas as pd

    return len(pd.read_csv(path, dtype=str))


def _array(path: Path) -> NDArray[Any]:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
        return {name: kept[name] for name in kept.files}
