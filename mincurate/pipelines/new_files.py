"""What is in a run's folder, table or FiftyOne dataset now: files that are new, and files that
failed when it was scored."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from mincurate.errors import UserError
from mincurate.images import sources
from mincurate.images.sources import Source
from mincurate.runs.store import Run


def find_new(run: Run, dataset: str | None = None) -> list[Source]:
    """The files that a run's source, and a FiftyOne dataset, hold now and the run does not.

    A file that was changed keeps the score it has.

    Raises:
        UserError: the source is gone, or only a sample of it was scored.
    """
    if run.record["settings"].get("max_images") is not None:
        raise UserError(
            f"Run {run.key} scored a random sample (--max-images), so that nobody knows which "
            "files are new; score without it."
        )
    frame, value = run.frame(), str(run.record["source"]["value"])
    known = set(frame[_identity(frame)])
    new = [s for s in _present(run, frame) if (s.sample_id or s.rel_path) not in known]
    if dataset and "sample_id" not in frame:
        root = _root(frame, value) if run.record["source"]["kind"] == "folder" else value
        new += _added_by_hand(dataset, {*frame["path"], *(s.path for s in new)}, root)
    return new


def find_failed(run: Run) -> list[Source]:
    """The files of a run that could not be scored, and that are there to be tried again.

    Raises:
        UserError: the source is gone.
    """
    frame = run.frame()
    failed = set(frame.loc[frame["status"] != "ok", _identity(frame)])
    return [
        s
        for s in (_present(run, frame) if failed else [])
        if (s.sample_id or s.rel_path) in failed and s.reason is None
    ]


def _identity(frame: pd.DataFrame) -> str:
    """The column that tells one file of a run from another."""
    return "sample_id" if "sample_id" in frame else "rel_path"


def _present(run: Run, frame: pd.DataFrame) -> list[Source]:
    """What the source of a run holds now."""
    settings, source = run.record["settings"], run.record["source"]
    value = str(source["value"])
    if source["kind"] == "fiftyone":
        from mincurate.dataset import reader

        name, _, view = value.partition("/")
        found = reader.read_sources(name, view or None, settings.get("label_field"))
        return _without(found, settings)
    if source["kind"] == "folder":
        return sources.find(_root(frame, value), bool(frame["label"].notna().any()))
    return sources.find(value, settings.get("labels"))


def _without(found: list[Source], settings: dict[str, Any]) -> list[Source]:
    """Without labels, where the run was scored with --no-labels."""
    return [replace(s, label=None) for s in found] if settings.get("labels") is False else found


def _root(frame: pd.DataFrame, value: str) -> str:
    """The folder under the name that the run's paths begin with, which may be a link."""
    path, rel_path = str(frame["path"].iloc[0]), str(frame["rel_path"].iloc[0])
    return path.removesuffix(rel_path) if path.endswith(f"/{rel_path}") else value


def _added_by_hand(dataset: str, known: set[str], root: str) -> list[Source]:
    """Samples that the user put into the run's dataset."""
    from mincurate.dataset import reader

    folder = root if os.path.isdir(root) else os.path.dirname(root)
    return [
        replace(s, rel_path=os.path.relpath(s.path, folder), sample_id=None)
        if Path(s.path).is_relative_to(folder)
        else replace(s, rel_path=s.path, sample_id=None)
        for s in reader.read_sources(dataset, None)
        if s.path not in known
    ]
