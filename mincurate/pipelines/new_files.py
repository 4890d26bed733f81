"""What is in a run's folder, table or FiftyOne dataset now: files that are new, that failed when it
was scored, and that have changed since."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from mincurate import hashing
from mincurate.errors import UserError
from mincurate.images import regions, sources
from mincurate.images.collection import Place
from mincurate.images.regions import FileOrRegion, path_of
from mincurate.images.sources import Source
from mincurate.progress import Reporter
from mincurate.runs import store
from mincurate.runs.store import Run

MARGIN = 60.0
"""Seconds before a run was created from which on files are read again to see if they changed."""
NAMED = 3
"""Files that a message names."""


def find_new(run: Run, dataset: str | None = None, images: Place | None = None) -> list[Source]:
    """The files that a run's source, and a FiftyOne dataset, hold now and the run does not.

    A file that was changed keeps the score it has; see `find_changed`.

    Args:
        dataset: where the user may have put samples.
        images: further files or another table, where the run's source is files or a table.

    Raises:
        UserError: the source is gone, only a sample of it was scored, or it tells itself what is
            new.
    """
    if run.record["settings"].get("max_images") is not None:
        raise UserError(
            f"Run {run.key} scored a random sample (--max-images), so that nobody knows which "
            "files are new; score without it."
        )
    frame, value = run.frame(), str(run.record["source"]["value"])
    scored = set(frame[_identity(frame)])
    if images is None:
        new = [s for s in _present(run, frame) if (s.sample_id or s.rel_path) not in scored]
    else:
        new = _given(run, images, set(frame["path"]), _root(frame, value))
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


def find_changed(run: Run) -> tuple[list[str], list[str]]:
    """Paths of the run's files that hold another content now, and of those that are gone.

    Only files whose times are younger than the run are read. A hard link, as an export makes it,
    renews one of them.
    """
    frame = run.frame()
    frame = frame[frame["content_hash"].notna() & frame["path"].str.startswith("/")]
    created = datetime.strptime(run.record["created"], store.TIME).replace(tzinfo=UTC)
    since = created.timestamp() - MARGIN
    changed, gone = [], []
    frame = frame.drop_duplicates("path")  # of the objects in an image, one tells
    for place, content in zip(regions.places(frame), frame["content_hash"], strict=True):
        path = path_of(place)
        try:
            status = os.stat(path)
            replaced = status.st_ctime > since and status.st_nlink == 1
            if (status.st_mtime > since or replaced) and _content(place) != content:
                changed.append(path)
        except OSError:
            gone.append(path)
    return changed, gone


def _content(place: FileOrRegion) -> str:
    """The content hash that a file, or a part of it, has now."""
    of_file = hashing.content_hash(Path(path_of(place)).read_bytes())
    return of_file if isinstance(place, str) else regions.content_hash(of_file, place.box)


def warn_of_changes(run: Run, consequence: str, reporter: Reporter) -> None:
    """Say which files and, in the run's FiftyOne dataset, which labels have changed since."""
    if changed := words_on_changes(run):
        reporter.warn(changed)
    if run.record.get("dataset") or "dataset_id" in run.record["source"]:
        from mincurate.dataset import current_state

        if differences := current_state.differences(run):
            reporter.warn(f"{differences} {consequence}")


def words_on_changes(run: Run) -> str:
    """A sentence on the files that have changed or are gone; empty where there are none."""
    changed, gone = find_changed(run)
    sentences = []
    if changed:
        files = "file has" if len(changed) == 1 else "files have"
        sentences.append(
            f"{len(changed):,} {files} changed since {run.key} was scored ({_listed(changed)}), "
            "but scores, classes and labels are from before."
        )
    if gone:
        files = "file is" if len(gone) == 1 else "files are"
        sentences.append(f"{len(gone):,} {files} gone ({_listed(gone)}).")
    return " ".join([*sentences, "Score again to bring it up to date."] if sentences else [])


def _listed(paths: list[str]) -> str:
    names = [os.path.basename(path) for path in paths[:NAMED]]
    return ", ".join([*names, "..."] if len(paths) > NAMED else names)


def _identity(frame: pd.DataFrame) -> str:
    """The column that tells one file of a run from another."""
    return "sample_id" if "sample_id" in frame else "rel_path"


def _present(run: Run, frame: pd.DataFrame) -> list[Source]:
    """What the source of a run holds now."""
    settings, source = run.record["settings"], run.record["source"]
    value = str(source["value"])
    if source["kind"] == "fiftyone":
        from mincurate.dataset import database, lookup, reader

        database.check_database()
        field = settings.get("label_field") or source.get("label_field")
        samples = reader.read_sources(*lookup.source_of(run), field)
        return _without(samples, settings)
    follow_links = bool(settings.get("follow_links"))
    if source["kind"] in ("folder", "files"):
        labels = bool(frame["label"].notna().any())
        place = source.get("paths") or _root(frame, value)
        return sources.read_place(place, labels, follow_links=follow_links).sources
    columns = {
        "path_column": settings.get("path_column"),
        "label_column": settings.get("label_field"),
    }
    listing = sources.read_place(
        value, settings.get("labels"), follow_links=follow_links, **columns
    )
    return listing.sources


def _given(run: Run, images: Place, scored: set[str], root: str) -> list[Source]:
    """The files among ``images`` that a run of files or of a table has not scored."""
    source, settings = run.record["source"], run.record["settings"]
    if source["kind"] not in ("files", "table"):
        raise UserError(
            f"Run {run.key} finds new images in {source['value']} itself: call score_new without "
            "images, or score these as a run of their own."
        )
    table = isinstance(images, str | Path) and sources.is_table(Path(images))
    listing = sources.read_place(
        # With those of before, so that labels are taken from the same folders.
        images if table else [*source.get("paths", []), *_listed_paths(images)],
        settings.get("labels"),
        path_column=settings.get("path_column") if table else None,
        label_column=settings.get("label_field") if table else None,
        follow_links=bool(settings.get("follow_links")),
    )
    return [_below(s, root) for s in listing.sources if s.path not in scored]


def _listed_paths(images: Place) -> list[str | Path]:
    return [images] if isinstance(images, str | Path) else [*images]


def _without(samples: list[Source], settings: dict[str, Any]) -> list[Source]:
    """Without labels, where the run was scored with --no-labels."""
    return [replace(s, label=None) for s in samples] if settings.get("labels") is False else samples


def _root(frame: pd.DataFrame, value: str) -> str:
    """The folder under the name that the run's paths begin with, which may be a link."""
    path, rel_path = str(frame["path"].iloc[0]), str(frame["rel_path"].iloc[0])
    return path.removesuffix(rel_path) if path.endswith(f"/{rel_path}") else value


def _added_by_hand(dataset: str, scored: set[str], root: str) -> list[Source]:
    """Samples that the user put into the run's dataset."""
    from mincurate.dataset import reader

    folder = root if os.path.isdir(root) else os.path.dirname(root)
    return [_below(s, folder) for s in reader.read_sources(dataset, None) if s.path not in scored]


def _below(source: Source, folder: str) -> Source:
    """A file as one of a run's folder; files elsewhere are known by their path."""
    inside = Path(source.path).is_relative_to(folder)
    rel_path = os.path.relpath(source.path, folder) if inside else source.path
    return replace(source, rel_path=rel_path, sample_id=None)
