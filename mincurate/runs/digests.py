"""What the files of a run or a model were when the last command on them ended: a digest of each.

That a file was written whole does not mean that it still is what was written. While a command
works on a folder its seal is open, and only files that did not change since are held to it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mincurate import hashing
from mincurate.runs import files as run_files
from mincurate.runs import schema, store
from mincurate.runs.schema import SEAL
from mincurate.runs.store import Run

SEALED = frozenset((".parquet", ".csv", ".npy", ".npz", ".json", ".jsonl", ".safetensors"))
PLACES = ("*", "unet/*", "scheduler/*", "baseline/*")
"""Shards have markers of their own, generated images their hashes in the manifest."""


@contextmanager
def held(run: Run) -> Iterator[None]:
    """Hold a run, or a folder like one, for this process and seal it at the end.

    Raises:
        UserError: another process is working on it.
    """
    with store.locked(run):
        run_files.sweep(run.path)
        try:
            kept = _read(run.path)
        except ValueError:  # damaged: `broken` says so until now
            kept = {}
        if kept:
            _write(run.path, kept["files"], is_open=True)
        before = kept.get("files", {})
        try:
            yield
        except BaseException:
            with suppress(OSError):  # the user has to hear of what ends the command
                _write(run.path, _digests(run.path, before), is_open=False)
            raise
        _write(run.path, _digests(run.path, before), is_open=False)


def broken(folder: Path) -> dict[str, str]:
    """What is wrong, by the file's path in the folder; a folder without a seal has nothing."""
    try:
        kept = _read(folder)
    except ValueError:
        return {SEAL: "is damaged"}
    found = {}
    for name, then in kept.get("files", {}).items():
        path = folder / name
        if not path.is_file():
            found[name] = "is gone"
        elif (not kept["open"] or _unchanged(path, then)) and hashing.file_digest(path) != then[
            "sha256"
        ]:
            found[name] = "is not what was written"
    return found


def _digests(folder: Path, before: dict[str, Any]) -> dict[str, Any]:
    """A file that nobody wrote keeps the digest it had: else a failing disk would be believed."""
    found = {}
    for place in PLACES:
        for path in sorted(folder.glob(place)):
            name = path.relative_to(folder).as_posix()
            if path.suffix not in SEALED or name in (SEAL, schema.RECORD):
                continue
            then = before.get(name)
            if then is None or not _unchanged(path, then):
                status = path.stat()
                then = {"bytes": status.st_size, "written": status.st_mtime_ns}
                then["sha256"] = hashing.file_digest(path)
            found[name] = then
    return found


def _unchanged(path: Path, then: dict[str, Any]) -> bool:
    status = path.stat()
    return (status.st_size, status.st_mtime_ns) == (then["bytes"], then["written"])


def _read(folder: Path) -> dict[str, Any]:
    with suppress(FileNotFoundError):
        kept = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        if isinstance(kept, dict) and kept.get("digest") == _of(kept):
            return kept
        raise ValueError(SEAL)
    return {}


def _write(folder: Path, files: dict[str, Any], *, is_open: bool) -> None:
    if folder.is_dir() and (files or (folder / SEAL).exists()):
        seal: dict[str, Any] = {"open": is_open, "files": files}
        text = json.dumps(seal | {"digest": _of(seal)}, indent=1)
        run_files.write_atomically(folder / SEAL, text.encode())


def _of(seal: dict[str, Any]) -> str:
    """The digest of the seal itself."""
    return hashing.fingerprint([seal.get("open"), seal.get("files")])
