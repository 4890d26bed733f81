"""A run on disk: its folder, its record, and the list of all runs.

Files are the truth, the database is a view of them. Every file is written to a temporary name and
renamed, so that a file that exists is complete.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mincurate import paths
from mincurate.errors import UserError
from mincurate.progress import Reporter
from mincurate.runs import atomic_files as run_files
from mincurate.runs import schema
from mincurate.runs.schema import RECORD
from mincurate.text import noun

if TYPE_CHECKING:
    import pandas as pd


TIME = "%Y-%m-%dT%H:%M:%SZ"
PREFIX = "mincurate_"
SCORE, AUGMENT, MINE = "score", "augment", "mine"
"""Kinds of runs."""
HOLDS = {AUGMENT: "generated images", MINE: "mined images"}
"""What a run holds that is not a scored one."""


def now() -> str:
    """The time, ISO 8601 in UTC to the second."""
    return datetime.now(UTC).strftime(TIME)


@dataclass(frozen=True)
class Run:
    """A folder that holds one run. See `docs/files.md` for what is in it."""

    path: Path

    @property
    def record(self) -> dict[str, Any]:
        """The contents of ``run.json``; empty before the run has started."""
        try:
            return json.loads((self.path / RECORD).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise UserError(
                f"{self.path / RECORD} is damaged; delete the folder {self.path} and start again."
            ) from None

    @property
    def key(self) -> str:
        """``mincurate_<n>``, unique on this machine."""
        return str(self.record.get("key", self.path.name))

    @property
    def finished(self) -> bool:
        """Whether all images are scored and the table is written."""
        return bool(self.record.get("finished"))

    @property
    def ranked(self) -> bool:
        """Whether the table is written, be it by vectors alone."""
        return bool(self.record.get("rank_by"))

    @property
    def quick(self) -> bool:
        """Whether it was asked to be ranked by vectors alone."""
        return bool((self.record.get("settings") or {}).get("quick"))

    @property
    def objects(self) -> str | None:
        """The field or the annotations of the objects that are its rows; ``None``: whole images."""
        where = (self.record.get("source") or {}).get("objects")
        return None if where is None else str(where)

    @property
    def noun(self) -> str:
        """What its rows are: images, objects or tiles."""
        return noun(self.record.get("source") or {})

    def check_whole_images(self) -> None:
        """Raise `UserError` where the rows are objects, which cannot be generated or joined."""
        if self.objects is not None:
            raise UserError(
                f"The run {self.key} ranks {self.noun}, and this needs a run of whole images: "
                f"score them without --{self.noun}. (For new {self.noun} give the command of the "
                "run again.)"
            )

    def update(self, **changes: object) -> None:
        """Change entries of ``run.json``."""
        text = json.dumps(self.record | changes, indent=1, default=str, ensure_ascii=True)
        run_files.write_atomically(self.path / RECORD, text.encode())

    def frame(self) -> "pd.DataFrame":
        """The table of results, one row per file, with the columns of `schema.COLUMNS`.

        Raises:
            UserError: the run is not finished.
        """
        import pandas as pd

        table = self.path / schema.SCORES
        if not table.is_file():
            raise UserError(
                f"The run {self.key} has no results yet; finish it with the `mincurate score` "
                "command that started it."
            )
        frame = pd.read_parquet(table, dtype_backend="numpy_nullable")
        return frame.astype({name: "float64" for name in schema.names("float") if name in frame})


def create(output: Path | None = None, **facts: object) -> Run:
    """A new run, in the home folder, or in ``output`` with a link to it from there.

    Args:
        facts: first entries of its record. They are written before the run appears under its key,
            so that a process killed at any moment leaves no run of an unknown kind or request.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = paths.home() / "runs"
    try:
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
            return _create_outside(folder, output, facts)
        folder.mkdir(parents=True, exist_ok=True)
        number = _next_number(folder)
        for abandoned in folder.glob(".new.*"):
            if not _alive(abandoned.suffix[1:]):
                shutil.rmtree(abandoned, ignore_errors=True)
        new = Run(folder / f".new.{os.getpid()}")
        shutil.rmtree(new.path, ignore_errors=True)
        new.path.mkdir()
        while True:
            key = f"{PREFIX}{number}"
            new.update(key=key, created=tick(), finished=None, **facts)
            try:
                os.rename(new.path, folder / key)  # fails if another process took this number
                return Run(folder / key)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                number += 1
    except OSError as error:
        raise UserError(
            f"Cannot write to {error.filename or output or folder}: {error.strerror}; choose "
            "another folder with --output, or set MINCURATE_HOME."
        ) from error


def _create_outside(folder: Path, output: Path, facts: dict[str, object]) -> Run:
    try:
        key = _link(folder, output)
    except OSError:  # a home that cannot be written: the run is complete without a link from there
        key = f"{PREFIX}1"
    run = Run(output.resolve())
    run.update(key=key, created=tick(), finished=None, **facts)
    return run


def _link(folder: Path, output: Path) -> str:
    """Link a run from the folder of all runs, and return its key."""
    folder.mkdir(parents=True, exist_ok=True)
    links = [p for p in folder.iterdir() if p.resolve() == output.resolve()]
    number = _next_number(folder)
    while not links:
        place = folder / f"{PREFIX}{number}"
        try:
            place.symlink_to(output.resolve())
            links = [place]
        except FileExistsError:
            number += 1
    return links[0].name


def _next_number(folder: Path) -> int:
    return 1 + max((_number(p.name) for p in folder.iterdir()), default=0)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def begun_or_new(request: str, resume: bool, reporter: Reporter, **facts: object) -> Run:
    """The last run with this request, or a new one.

    Args:
        request: hash of images and settings.
        resume: look for an existing run.
        facts: first entries of a new run's record (see `create`).
    """
    if resume:
        for run in reversed(all_runs()):
            if run.record.get("request") == request:
                state = "finished" if run.finished else "started"
                reporter.say(f"Resuming run {run.key}, {state} before (--fresh starts a new run).")
                return run
    return create(None, request=request, **facts)


def clear(run: Run) -> None:
    """Delete the results of a run but not its folder, for ``--fresh`` with ``--output``."""
    folders = [schema.SHARDS, schema.FIGURES, schema.GUIDANCE, schema.PREVIEWS]
    files = [*schema.OUTPUTS]
    if kind_of(run) == AUGMENT:
        folders += [schema.IMAGES, schema.BASELINE]
        files = [*schema.GENERATED, *files]
    if kind_of(run) == MINE:
        folders += [schema.IMAGES]
        files = [*schema.OF_MINING, *files]
    for name in folders:
        shutil.rmtree(run.path / name, ignore_errors=True)
    for name in files:
        (run.path / name).unlink(missing_ok=True)
    run_files.sweep(run.path)


def all_runs(*, damaged: bool = False) -> list[Run]:
    """All runs of this machine, oldest first; or those whose record cannot be read."""
    folder = paths.home() / "runs"
    try:
        named = [p for p in folder.iterdir() if _number(p.name)]
    except OSError:  # none yet, or a home that cannot be read
        named = []
    complete = [p for p in named if (p / RECORD).is_file()]  # without those that `create` works on
    runs = [Run(p) for p in sorted(complete, key=lambda p: _number(p.name))]
    return [run for run in runs if _readable(run) is not damaged]


def _readable(run: Run) -> bool:
    try:
        return isinstance(run.record, dict)
    except UserError:
        return False


def kind_of(run: Run) -> str:
    """The command that made a run: ``score``, ``augment`` or ``mine``."""
    return str(run.record.get("kind") or SCORE)


def check_scored(run: Run) -> None:
    """Raise `UserError` unless the run is one of `mincurate score`."""
    if (kind := kind_of(run)) != SCORE:
        raise UserError(
            f"{run.key} holds {HOLDS.get(kind, kind)}; give the scored run that they were made for "
            f"({run.record.get('base')})."
        )


def source_dataset(run: Run) -> str | None:
    """The FiftyOne dataset that a run has scored, or ``None`` where it scored something else."""
    source = run.record.get("source") or {}
    if source.get("kind") != "fiftyone":
        return None
    return str(source.get("dataset") or str(source.get("value")).partition("/")[0])


def find(key: str | None = None, *, kind: str | None = None) -> Run:
    """The run ``key`` (a key, its number, or a folder), or the last one.

    Args:
        kind: without a ``key``, the last run of this kind.

    Raises:
        UserError: there is no such run.
    """
    runs = all_runs()
    if key is None:
        candidates = [run for run in runs if kind in (None, kind_of(run))]
        if not candidates:
            raise UserError(
                "There are no generated images yet; make some with `mincurate augment`."
                if kind == AUGMENT
                else "There is no run yet; make one with `mincurate score PATH`."
            )
        return max(candidates, key=_last_used)
    for run in runs:
        if key in (run.path.name, run.path.name.removeprefix(PREFIX)):
            return run
    if (Path(key).expanduser() / RECORD).is_file():
        return Run(Path(key).expanduser().resolve())
    names = ", ".join(run.path.name for run in runs[-5:]) or "none yet"
    raise UserError(f"There is no run {key!r}; the last ones are: {names}.")


def _last_used(run: Run) -> tuple[str, int]:
    record = run.record
    return str(record.get("scored_last") or record.get("created", "")), _number(run.path.name)


def tick() -> str:
    """The time now, but at least a second after the latest time in any run's record.

    So the last run stays the last one when the clock is set back.
    """
    latest = max((_last_used(run)[0] for run in all_runs()), default="")
    present = now()
    if present > latest:
        return present
    return (datetime.strptime(latest, TIME) + timedelta(seconds=1)).strftime(TIME)


def last_dataset() -> str | None:
    """The FiftyOne dataset of the run that was scored last and has one."""
    runs = [run for run in all_runs() if run.record.get("dataset")]
    return str(max(runs, key=_last_used).record["dataset"]) if runs else None


def delete(run: Run) -> None:
    """Delete a run's files, and its folder if nothing else is in it."""
    place, target = run.path, run.path.resolve()
    key = run.key
    clear(Run(target))
    (target / schema.LOCK).unlink(missing_ok=True)
    link = paths.home() / "runs" / key
    if link.is_symlink() and link.resolve() == target:
        link.unlink()
    if place.is_symlink():
        place.unlink()
    if target.is_dir() and not any(target.iterdir()):
        target.rmdir()


@contextmanager
def locked(run: Run) -> Iterator[None]:
    """Hold the lock of a run; it is released when the process ends, however it ends.

    Raises:
        UserError: another process is working on the run.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(run.path / schema.LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"Another mincurate process is working on {run.path}; wait for it to finish."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _number(name: str) -> int:
    digits = name.removeprefix(PREFIX)
    return int(digits) if name.startswith(PREFIX) and digits.isdigit() else 0
