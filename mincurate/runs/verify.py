"""Read all files of a run again; report what is damaged and which command repairs it.

A run that was marked as finished may be damaged later. Nothing is changed here, and nothing that
computes is imported: checksums, tables, vectors and images are read as they are.
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
Problem = tuple[str, str]
"""A file, relative to the run's folder, and what is wrong with it."""


@dataclass(frozen=True)
class Damage:
    """A damaged or missing file.

    Attributes:
        path: of the file.
        problem: what is wrong, as the rest of a sentence that starts with the path.
        repair: what to do, as a sentence.
    """

    path: Path
    problem: str
    repair: str

    @property
    def words(self) -> str:
        """All of it in one line."""
        return f"{self.path} {self.problem}. {self.repair}"


def verify(run: Run) -> list[Damage]:
    """Check all files of a run: checksums, tables, vectors, map, images, classifiers and model.

    Of a run that is not finished, only what is complete is checked.
    """
    try:
        record = run.record
    except UserError:
        record = None
    if not isinstance(record, dict) or not record.get("key"):
        repair = f"Delete the folder {run.path} and repeat the command that made the run."
        return [Damage(run.path / schema.RECORD, "cannot be read", repair)]
    kind = store.kind_of(run)
    generated = kind == store.AUGMENT
    problems = digests.mismatches(run.path)
    for name, problem in _images(run) if generated else _shards(run):
        problems.setdefault(name, problem)
    if run.finished:
        check = {store.AUGMENT: _generation, store.MINE: _mined}.get(kind, _scores)
        for name, problem in check(run, record):
            problems.setdefault(name, problem)
    repair_of = _repairs(run, record)
    damages = [Damage(run.path / name, what, repair_of(name)) for name, what in problems.items()]
    return [*damages, *_networks(run, record)]


def _shards(run: Run) -> Iterator[Problem]:
    for kind in shards.KINDS:
        for index in shards.damaged_shards(run, kind):
            yield f"{schema.SHARDS}/{kind}-{index:06d}.parquet", "is damaged (checksum mismatch)"


def _scores(run: Run, record: dict[str, Any]) -> Iterator[Problem]:
    """Of a finished scoring run, in which every file has one row, and every image a vector."""
    table = yield from _read(run, schema.SCORES, pq.read_table)
    csv_rows = yield from _read(run, schema.SCORES_CSV, _rows)
    vectors = yield from _read(run, schema.VECTORS, _array)
    vector_hashes = yield from _read(run, schema.VECTOR_HASHES, pq.read_table)
    if not run.quick:
        yield from _read(run, schema.RECONSTRUCTIONS, _arrays)
    if record.get("map_method") not in (None, "none"):
        yield from _read(run, schema.MAP, _arrays)
    joined: list[str] = []
    if record.get("counts", {}).get("joined"):
        arrays = yield from _read(run, schema.JOINED, _arrays)
        joined = arrays["content_hash"].tolist() if arrays else []
    if not (run.path / schema.REPORT).is_file():
        yield schema.REPORT, "is missing"
    if table is None:
        return
    yield from _rows_of_scores(table, csv_rows, record["counts"]["images"])
    columns = ("content_hash", "status", "duplicate_of")
    rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
    scored = {content for content, status, first in rows if status == "ok" and first is None}
    if vector_hashes is not None and vectors is not None:
        hashes = vector_hashes["content_hash"].to_pylist()
        if vectors.shape[:1] != (len(hashes),) or not np.isfinite(vectors).all():
            yield schema.VECTORS, f"does not hold {len(hashes):,} vectors"
        if len(set(hashes)) < len(hashes):
            yield schema.VECTOR_HASHES, "lists images twice"
        missing = len(scored - {*hashes, *joined})
        if missing:
            yield schema.VECTOR_HASHES, f"lacks {missing:,} of the scored images"


def _rows_of_scores(table: pa.Table, csv_rows: int | None, images: int) -> Iterator[Problem]:
    """Of the two tables, which should hold each of so many images once."""
    n = table.num_rows
    if n != images:
        yield schema.SCORES, f"has {n:,} rows, not {images:,}"
    key = "sample_id" if "sample_id" in table.column_names else "rel_path"
    repeated = n - len(set(table[key].to_pylist()))
    if repeated:
        yield schema.SCORES, f"lists {repeated:,} files twice"
    if csv_rows is not None and csv_rows != n:
        yield schema.SCORES_CSV, f"has {csv_rows:,} rows, and {schema.SCORES} {n:,}"


def _images(run: Run) -> Iterator[Problem]:
    """Of the generated images and their manifest."""
    entries = manifest.read_manifest(run.path)
    lines = 0
    if (run.path / schema.MANIFEST).is_file():
        lines = len((run.path / schema.MANIFEST).read_bytes().splitlines())
    if lines != len(entries):
        yield schema.MANIFEST, f"has {lines:,} lines, of which {len(entries):,} have an image"
    for entry in entries:
        try:
            if manifest.damaged(run.path, entry):
                yield entry["file"], "is damaged (checksum mismatch)"
            else:
                manifest.read_png(run.path / entry["file"])
        except (*UNREADABLE, SyntaxError):
            yield entry["file"], "cannot be decoded"


def _generation(run: Run, record: dict[str, Any]) -> Iterator[Problem]:
    """Of a finished generation, in which every number has a row, a vector and an image."""
    table = yield from _read(run, schema.SYNTHETIC, pq.read_table)
    csv_rows = yield from _read(run, schema.SYNTHETIC_CSV, _rows)
    vectors = yield from _read(run, schema.VECTORS, _array)
    n = record["counts"]["images"]
    entries = {e["index"]: e for e in manifest.read_manifest(run.path)}
    if len(entries) != n:
        yield schema.MANIFEST, f"has {len(entries):,} images, not {n:,}"
    if vectors is not None and vectors.shape[:1] != (n,):
        yield schema.VECTORS, f"does not hold {n:,} vectors"
    if csv_rows is not None and csv_rows != n:
        yield schema.SYNTHETIC_CSV, f"has {csv_rows:,} rows, not {n:,}"
    if table is None:
        return
    if table["index"].to_pylist() != list(range(n)):
        yield schema.SYNTHETIC, f"does not list each of {n:,} images once"
    columns = (table[name].to_pylist() for name in ("index", "content_hash"))
    for index, content in zip(*columns, strict=True):
        entry = entries.get(index)
        if entry and entry.get("content_hash") not in (None, content):
            yield entry["file"], f"is another image than in {schema.SYNTHETIC}"


def _mined(run: Run, record: dict[str, Any]) -> Iterator[Problem]:
    """Of a finished run that mined, in which every image has a row and a vector."""
    table = yield from _read(run, schema.MINED, pq.read_table)
    csv_rows = yield from _read(run, schema.MINED_CSV, _rows)
    vectors = yield from _read(run, schema.VECTORS, _array)
    n = record["counts"]["images"]
    if table is not None and table.num_rows != n:
        yield schema.MINED, f"has {table.num_rows:,} rows, not {n:,}"
    if csv_rows not in (None, n):
        yield schema.MINED_CSV, f"has {csv_rows:,} rows, not {n:,}"
    if vectors is not None and vectors.shape[:1] != (n,):
        yield schema.VECTORS, f"does not hold {n:,} vectors"


def _networks(run: Run, record: dict[str, Any]) -> Iterator[Damage]:
    """Of the classifiers of a run, and of its model if it was trained here."""
    for folder in sorted(p for p in (run.path / schema.GUIDANCE).glob("*") if p.is_dir()):
        repair = f"Delete {folder}; `mincurate guide {run.key}` trains it again."
        for name, problem in digests.mismatches(folder).items():
            yield Damage(folder / name, problem, repair)
    model = Path(str((record.get("model") or {}).get("name")))
    if model.parent == (paths.home() / "models").resolve():
        repair = f"Delete {model}; {_command(run, record)} with --fresh appended trains it again."
        if not model.is_dir():
            yield Damage(model, "is missing", repair)
        for name, problem in digests.mismatches(model).items():
            yield Damage(model / name, problem, repair)


def _repairs(run: Run, record: dict[str, Any]) -> Callable[[str], str]:
    """What repairs a file of a run, by its name."""
    command = _command(run, record)

    def repair(name: str) -> str:
        if name == schema.REPORT:
            return f"`{commands.quoted('mincurate', 'report', run.key)}` writes it again."
        if name == schema.MANIFEST:
            return f"Delete it and repeat {command}: it generates the same images."
        if name.startswith((f"{schema.BASELINE}/", "evaluation")):
            return f"`mincurate evaluate {run.key} --fresh` makes it again."
        if record.get("counts", {}).get("joined") and store.kind_of(run) == store.SCORE:
            return f"Repeat {command}, then `mincurate score-new {run.key}`."
        return f"Repeat {command}: it replaces what is damaged and keeps the rest."

    return repair


def _command(run: Run, record: dict[str, Any]) -> str:
    if store.kind_of(run) == store.SCORE:
        return f"`{commands.command(run)}`"
    if store.kind_of(run) == store.MINE:
        return f"the `mincurate mine` command that made {run.key}, with --fresh appended"
    return f"the `mincurate augment {record.get('base')}` command that made {run.key}"


def _read(run: Run, name: str, reader: Callable[[Path], Any]) -> Generator[Problem, None, Any]:
    """A file of the run as ``reader`` returns it; ``None``, after yielding why, if it cannot."""
    try:
        return reader(run.path / name)
    except FileNotFoundError:
        yield name, "is missing"
    except (*UNREADABLE, pa.ArrowException):
        yield name, "cannot be read"
    return None


def _rows(path: Path) -> int:
    import pandas as pd

    return len(pd.read_csv(path, dtype=str))


def _array(path: Path) -> NDArray[Any]:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
