"""What is in a run's folder, table or FiftyOne dataset now and was not when it was scored."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from mincurate import sources
from mincurate.errors import UserError
from mincurate.runs import Run
from mincurate.sources import Source


def find_new(run: Run, dataset: str | None = None) -> list[Source]:
    """The files that a run's source, and a FiftyOne dataset, hold now and the run does not.

    A file that was changed keeps the score it has.

    Raises:
        UserError: the source is gone, or only a sample of it was scored.
    """
    settings, source = run.record["settings"], run.record["source"]
    if settings.get("max_images") is not None:
        raise UserError(
            f"Run {run.key} scored a random sample (--max-images), so that nobody knows which "
            "files are new; score without it."
        )
    frame, value = run.frame(), str(source["value"])
    if source["kind"] == "fiftyone":
        from mincurate import dataset as storage

        name, _, view = value.partition("/")
        known = set(frame["sample_id"])
        found = storage.read_sources(name, view or None, settings.get("label_field"))
        return [s for s in _without(found, settings) if s.sample_id not in known]
    place = _root(frame, value) if source["kind"] == "folder" else value
    labelled = bool(frame["label"].notna().any())
    wanted = labelled if source["kind"] == "folder" else settings.get("labels")
    known = set(frame["rel_path"])
    new = [s for s in sources.find(place, wanted) if s.rel_path not in known]
    if dataset:
        new += _added_by_hand(dataset, {*frame["path"], *(s.path for s in new)}, place)
    return new


def _without(found: list[Source], settings: dict[str, Any]) -> list[Source]:
    """Without labels, where the run was scored with --no-labels."""
    return [replace(s, label=None) for s in found] if settings.get("labels") is False else found


def _root(frame: pd.DataFrame, value: str) -> str:
    """The folder under the name that the run's paths begin with, which may be a link."""
    path, rel_path = str(frame["path"].iloc[0]), str(frame["rel_path"].iloc[0])
    return path.removesuffix(rel_path) if path.endswith(f"/{rel_path}") else value


def _added_by_hand(dataset: str, known: set[str], root: str) -> list[Source]:
    """Samples that the user put into the run's dataset."""
    from mincurate import dataset as storage

    folder = root if os.path.isdir(root) else os.path.dirname(root)
    return [
        replace(s, rel_path=os.path.relpath(s.path, folder), sample_id=None)
        if Path(s.path).is_relative_to(folder)
        else replace(s, rel_path=s.path, sample_id=None)
        for s in storage.read_sources(dataset, None)
        if s.path not in known
    ]
