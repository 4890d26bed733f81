"""Checksums of the files of a run or model, recorded when the last command on it ended.

A file that was written completely can still change later: disks fail, copies are cut short. While
a command works on a folder its checksums are marked as open, and hold only for files whose size
and time have not changed since.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mincurate import hashing
from mincurate.runs import atomic_files as run_files
from mincurate.runs import schema, store
from mincurate.runs.store import Run

SUFFIXES = frozenset((".parquet", ".csv", ".npy", ".npz", ".json", ".jsonl", ".safetensors"))
PATTERNS = ("*", "unet/*", "scheduler/*", f"{schema.BASELINE}/*")
"""Shards have checksums in their markers, generated images in the manifest."""
Entry = dict[str, Any]
"""Of a file: ``bytes``, ``written`` (modification time in nanoseconds) and ``sha256``."""


@contextmanager
def held(run: Run) -> Iterator[None]:
    """Lock a run or model folder for this process, and record its checksums at the end.

    Raises:
        UserError: another process is working on it.
    """
    with store.locked(run):
        run_files.sweep(run.path)
        try:
            record = _read(run.path)
        except ValueError:  # damaged; `mismatches` reported it until now
            record = {}
        if record:
            _write(run.path, record["files"], is_open=True)
        before = record.get("files", {})
        try:
            yield
        except BaseException:
            with suppress(OSError):  # the first error is the one to report
                _write(run.path, _digests(run.path, before), is_open=False)
            raise
        _write(run.path, _digests(run.path, before), is_open=False)


def mismatches(folder: Path) -> dict[str, str]:
    """Files, by path in the folder, that are missing or have another checksum, and which of both.

    Without recorded checksums there are none.
    """
    try:
        record = _read(folder)
    except ValueError:
        return {schema.DIGESTS: "is damaged"}
    problems = {}
    for name, entry in record.get("files", {}).items():
        path = folder / name
        if not path.is_file():
            problems[name] = "is missing"
        elif record["open"] and not _unchanged(path, entry):
            continue
        elif hashing.file_digest(path) != entry["sha256"]:
            problems[name] = "is damaged (checksum mismatch)"
    return problems


def _digests(folder: Path, before: dict[str, Entry]) -> dict[str, Entry]:
    """Entries of all files. One that was not written keeps its old checksum.

    Computing it again would record what a failing disk returns.
    """
    entries = {}
    for pattern in PATTERNS:
        for path in sorted(folder.glob(pattern)):
            name = path.relative_to(folder).as_posix()
            if path.suffix not in SUFFIXES or name in (schema.DIGESTS, schema.RECORD):
                continue
            entry = before.get(name)
            if entry is None or not _unchanged(path, entry):
                status = path.stat()
                entry = {"bytes": status.st_size, "written": status.st_mtime_ns}
                entry["sha256"] = hashing.file_digest(path)
            entries[name] = entry
    return entries


def _unchanged(path: Path, entry: Entry) -> bool:
    status = path.stat()
    return (status.st_size, status.st_mtime_ns) == (entry["bytes"], entry["written"])


def _read(folder: Path) -> dict[str, Any]:
    """The recorded checksums; empty if there are none.

    Raises:
        ValueError: the record itself is damaged.
    """
    with suppress(FileNotFoundError):
        record = json.loads((folder / schema.DIGESTS).read_text(encoding="utf-8"))
        if isinstance(record, dict) and record.get("digest") == _own_digest(record):
            return record
        raise ValueError(schema.DIGESTS)
    return {}


def _write(folder: Path, entries: dict[str, Entry], *, is_open: bool) -> None:
    if folder.is_dir() and (entries or (folder / schema.DIGESTS).exists()):
        record: dict[str, Any] = {"open": is_open, "files": entries}
        text = json.dumps(record | {"digest": _own_digest(record)}, indent=1)
        run_files.write_atomically(folder / schema.DIGESTS, text.encode())


def _own_digest(record: dict[str, Any]) -> str:
    return hashing.fingerprint([record.get("open"), record.get("files")])
