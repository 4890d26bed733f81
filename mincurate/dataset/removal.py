"""What mincurate made in a FiftyOne dataset is removed again; its record says what that is."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mincurate import hashing
from mincurate.curation.review import SEEN_TAG
from mincurate.curation.review import VERDICTS as TAGS
from mincurate.dataset import app_config, frames, object_ranks, ownership
from mincurate.dataset import samples as parts
from mincurate.dataset.app_config import (
    FIELDS,
    LABELS,
    MINED,
    MINED_FIELDS,
    PREDICTED,
    RUN,
    SYNTHETIC,
    SYNTHETIC_FIELDS,
    UNSCORABLE,
    WORKSPACE,
)
from mincurate.dataset.labels import OF_FIFTYONE
from mincurate.errors import UserError
from mincurate.runs.store import Run

REASON = "unscorable_reason"
VERDICTS = (*TAGS, SEEN_TAG)
"""Tags of a review."""
OF_USERS = ("description", "tags", "classes", "default_classes", "mask_targets", "skeletons")
"""Entries of a dataset that mincurate never writes."""


def contents(dataset: Any) -> str:
    """A digest of the real samples and their labels."""
    fields = ownership.read(dataset).fields
    query = {name: None for name in (parts.GENERATION, parts.MINED_BY) if name in fields}
    cursor = dataset._sample_collection.find(query, {"filepath": 1, LABELS: 1}).sort("_id")
    return hashing.hash_chunks(repr((s.get("filepath"), s.get(LABELS))).encode() for s in cursor)


def tagged(dataset: Any) -> Any:
    """The samples that were tagged for being unscorable."""
    from fiftyone import ViewField

    samples = parts.images(dataset)
    if not dataset.has_field(REASON):
        return samples.select([])
    return samples.match_tags(UNSCORABLE).match(ViewField(REASON).exists())


def clear(dataset: Any, key: str) -> None:
    """Remove the values and tags of the samples whose scores are from this run."""
    from fiftyone import ViewField

    object_ranks.clear(dataset, key)
    entries = ownership.read(dataset)
    if RUN not in entries.fields or not dataset.has_field(RUN):
        return
    if UNSCORABLE in entries.tags:
        tagged(dataset).match(ViewField(RUN) == key).untag_samples(UNSCORABLE)
    fields = [f for f in FIELDS if f in entries.fields and dataset.has_field(f)]
    # In one step: FiftyOne would write every field of every sample by itself.
    dataset._sample_collection.update_many(
        {RUN: key}, {"$set": {**dict.fromkeys(fields), "last_modified_at": datetime.now(UTC)}}
    )
    dataset.reload()


def strip_scores(dataset: Any) -> None:
    """Remove fields, views, tags and settings of the App of the scored runs."""
    import fiftyone as fo

    object_ranks.strip(dataset)
    frames.clear(dataset)
    entries = ownership.read(dataset)
    for key in set(entries.brain_runs) & set(dataset.list_brain_runs()):
        dataset.delete_brain_run(key)
    ranked = set(entries.views) - {SYNTHETIC, MINED}
    for view in ranked & set(dataset.list_saved_views()):
        dataset.delete_saved_view(view)
    for name in set(entries.workspaces) & set(dataset.list_workspaces()):
        dataset.delete_workspace(name)
    if UNSCORABLE in entries.tags:
        tagged(dataset).untag_samples(UNSCORABLE)
    fields = [field for field in FIELDS if field in entries.fields]
    app_config.reset(fo, dataset, fields)
    dataset.delete_sample_fields([field for field in fields if dataset.has_field(field)])
    ownership.change(
        dataset,
        fields=[field for field in entries.fields if field not in fields],
        views=[view for view in entries.views if view not in ranked],
        tags=[],
        workspaces=[],
        brain_runs=[],
        current=None,
    )


def strip_generated(dataset: Any) -> None:
    """Remove the fields and the view that generated images alone need."""
    _strip(dataset, SYNTHETIC, (*SYNTHETIC_FIELDS, PREDICTED))


def strip_mined(dataset: Any) -> None:
    """Remove the fields and the view that mined images alone need."""
    _strip(dataset, MINED, tuple(MINED_FIELDS))


def _strip(dataset: Any, view: str, names: tuple[str, ...]) -> None:
    """Remove a saved view and fields, as far as they are ours."""
    entries = ownership.read(dataset)
    if view in entries.views and dataset.has_saved_view(view):
        dataset.delete_saved_view(view)
    fields = [name for name in names if name in entries.fields]
    dataset.delete_sample_fields([field for field in fields if dataset.has_field(field)])
    ownership.change(
        dataset,
        fields=[field for field in entries.fields if field not in fields],
        views=[name for name in entries.views if name != view],
    )


def delete_added(dataset: Any, labels: dict[str, str]) -> None:
    """Delete the samples and labels that were added to a dataset of the user's.

    What the user has changed of them stays.

    Args:
        labels: of the run that goes, by path.
    """
    entries = ownership.read(dataset)
    if entries.created:
        return
    fields = set(dataset.get_field_schema()) - {*OF_FIFTYONE, LABELS}
    documents = dataset._sample_collection.find(
        {"created_at": {"$in": [datetime.fromisoformat(time) for time in entries.added]}},
        dict.fromkeys(["filepath", "tags", LABELS, *fields], 1),
    )
    untouched = [
        str(document["_id"])
        for document in documents
        if not document.get("tags")
        and not any(document.get(field) is not None for field in fields)
        and _as_written(document, labels)
    ]
    dataset.delete_samples(untouched)
    if LABELS in entries.fields and dataset.has_field(LABELS):
        left = dataset._sample_collection.find({LABELS: {"$ne": None}}, {"filepath": 1, LABELS: 1})
        if all(_as_written(document, labels) for document in left):
            dataset.delete_sample_field(LABELS)


def finish(dataset: Any) -> None:
    """Forget the dataset when no run and no generation is left in it.

    One that mincurate created goes, unless the user has made anything in it.
    """
    import fiftyone as fo

    entries = ownership.read(dataset)
    if entries.runs or entries.generations or entries.mines:
        return
    if entries.created and not _holds_work(dataset):
        if entries.frames_of:
            frames.delete_pictures(dataset)
        dataset.delete()
        return
    app_config.reset(fo, dataset, list(FIELDS))
    if not entries.frames_of:
        ownership.forget(dataset)


def labels_of(dataset: Any, key: str) -> dict[str, str]:
    """The labels that a run wrote, by path; empty where its files are gone."""
    run = files(dataset, key)
    if run is None:
        return {}
    frame = run.frame()
    labelled = frame[frame["label"].notna()]
    return dict(zip(labelled["path"], labelled["label"], strict=True))


def files(dataset: Any, key: str) -> Run | None:
    """The run that was written as ``key``, if its files are here and whole."""
    if not dataset.has_run(key):
        return None
    run = Run(Path(dataset.get_run_info(key).config.folder))
    try:
        return run if run.record.get("key") == key and len(run.frame()) else None
    except (UserError, OSError, ValueError, KeyError):
        return None


def _as_written(document: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether the label of a sample is the one that the run had, with nothing added."""
    label = document.get(LABELS)
    if label is None:
        return True
    own = {"_id", "_cls", "tags", "label"}
    added = label.get("tags") or any(v is not None for k, v in label.items() if k not in own)
    return not added and label.get("label") == labels.get(document["filepath"])


def _holds_work(dataset: Any) -> bool:
    """Whether the user has added or changed anything in a dataset that mincurate created."""
    entries = ownership.read(dataset)
    own = {*OF_FIFTYONE, LABELS, *entries.fields}
    return (
        bool(set(dataset.get_field_schema()) - own)
        or bool(set(dataset.distinct("tags")) - {UNSCORABLE})
        or bool(set(dataset.list_saved_views()) - set(entries.views))
        or bool(set(dataset.list_workspaces()) - {WORKSPACE})
        or bool(dataset.list_brain_runs() or dataset.list_runs() or dataset.list_evaluations())
        or bool(set(dataset.info) - {ownership.KEY})
        or any(getattr(dataset, name) for name in OF_USERS)
        or entries.contents != contents(dataset)
    )


def without(entries: ownership.Footprint, key: str) -> ownership.Footprint:
    """The record without a run or generation."""
    return replace(
        entries,
        runs=[run for run in entries.runs if run != key],
        generations={k: v for k, v in entries.generations.items() if k != key},
        mines={k: v for k, v in entries.mines.items() if k != key},
    )
