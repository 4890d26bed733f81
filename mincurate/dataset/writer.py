"""Results as a FiftyOne dataset.

The run's files are the truth; the dataset is a view of them that can be written again at any time.
What the user made (fields, labels, tags, views, groups of the side bar) is left alone.
"""

import os
import random
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bson import ObjectId
from pymongo.errors import PyMongoError

from mincurate import hashing
from mincurate.dataset import app_config
from mincurate.dataset.app_config import (
    BRAIN_KEY,
    COLUMN_OF,
    FIELDS,
    LABELS,
    SYNTHETIC,
    UNSCORABLE,
    VIEWS,
)
from mincurate.dataset.database import check_database, fiftyone, load, quiet, writing
from mincurate.errors import UserError
from mincurate.progress import SILENT, Advance, Reporter
from mincurate.runs.store import Run

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


def write_run(run: Run, name: str, reporter: Reporter = SILENT) -> Written:
    """Write a finished run into the dataset ``name``, which is made if need be.

    Samples are found by file path: those that are there are updated, others are added, and doing
    it again changes nothing.

    Raises:
        UserError: the database does not answer.
    """
    check_database()
    with writing(name, reporter):
        return _write_run(run, name, reporter)


def _write_run(run: Run, name: str, reporter: Reporter) -> Written:
    started = time.monotonic()
    fo = fiftyone()
    record, frame = run.record, run.frame()
    # Rows of a table without a path, or with an address, are no files that the App could show.
    frame = frame[frame["path"].str.startswith("/")]
    columns = [COLUMN_OF.get(field, field) for field in FIELDS]
    frame = frame.assign(**{name: None for name in columns if name not in frame})
    is_new = not fo.dataset_exists(name)
    dataset = fo.Dataset(name, persistent=True) if is_new else fo.load_dataset(name)
    if is_new:
        origin = record["source"]["value"]
        dataset.info = {MADE_BY: {"created": True, "runs": [], "source": origin}}
    if MADE_BY not in dataset.info:
        dataset.info[MADE_BY] = {"created": False, "runs": []}
        dataset.save()
    try:
        with reporter.task("Writing dataset", len(frame), "samples") as advance, quiet():
            present = dict(zip(*dataset.values(["filepath", "id"]), strict=True))
            if "sample_id" in frame and _made_again(dataset, frame):
                frame = frame.drop(columns="sample_id")
            if "sample_id" in frame and record["source"]["value"].partition("/")[0] == name:
                # By id, because two samples may share a path; some may have been deleted since.
                frame = frame.assign(id=frame["sample_id"])
                frame, new = frame[frame["id"].isin(present.values())], frame[:0]
            else:
                frame = frame.drop_duplicates("path")
                frame = frame.assign(id=frame["path"].map(present).astype(object))
                new = frame[frame["id"].isna()]
            made = dataset.info[MADE_BY]
            changed = bool(made["runs"]) and made.get("contents") != contents(dataset)
            fields = _declare_fields(fo, dataset, frame)
            frame.loc[new.index, "id"] = _add_samples(fo, dataset, new, fields, advance)
            _write_labels(fo, dataset, frame)
            _write_fields(dataset, frame, fields)
            _write_tags(dataset, frame)
            advance(len(frame) - len(new), "")
            _register(dataset, run, changed)
            write_map(dataset)
            app_config.save_views(fo, dataset, frame)
            app_config.configure(fo, dataset, record)
            dataset.save()
            run.update(datasets=sorted({*record.get("datasets", []), name}))
    except PyMongoError as error:
        raise UserError(
            f"FiftyOne's database was lost while writing ({type(error).__name__}). All results are "
            f"in {run.path}; give the same command again to store them, which takes seconds."
        ) from error
    return Written(name, len(new), len(frame) - len(new), time.monotonic() - started)


def _made_again(dataset: Any, frame: pd.DataFrame) -> bool:
    """Whether mincurate makes this dataset from files, in place of one that was scored and lost."""
    made = dataset.info[MADE_BY]["created"]
    return made and not set(frame["sample_id"]) & set(dataset.values("id"))


def _declare_fields(fo: Any, dataset: Any, frame: pd.DataFrame) -> list[str]:
    """Make the fields that the run has values for; those it writes are returned."""
    kinds = {"float": fo.FloatField, "int": fo.IntField, "str": fo.StringField}
    written = []
    for field, (kind, description, indexed) in FIELDS.items():
        column = COLUMN_OF.get(field, field)
        if indexed or dataset.has_field(field) or bool(frame[column].notna().any()):
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
    labels: list[Any] = new["label"].where(new["label"].notna(), None).tolist()
    if not _takes_labels(fo, dataset):
        labels = [None] * len(new)
    # Documents are like the one that FiftyOne makes of a sample: making each takes far longer.
    sample = fo.Sample(filepath="/", **{LABELS: fo.Classification()})
    like, now = dataset._make_dict(sample), datetime.now(UTC)
    # FiftyOne guesses from the suffix, and refuses to mix what it guesses.
    like |= {"_media_type": "image", "created_at": now, "last_modified_at": now}
    label_like = like.pop(LABELS)
    documents = []
    for path, label, *row in zip(
        new["path"], labels, *(_values(new, field) for field in fields), strict=True
    ):
        document = {**like, "filepath": path, "tags": [], "_rand": random.random()}
        document |= {f: value for f, value in zip(fields, row, strict=True) if value is not None}
        if label is not None:
            document[LABELS] = {**label_like, "_id": ObjectId(), "tags": [], "label": label}
        documents.append(document)
    for start in range(0, len(documents), BATCH):
        batch = documents[start : start + BATCH]
        dataset._sample_collection.insert_many(batch)
        advance(len(batch), "")
    return [str(document["_id"]) for document in documents]


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

    A sample that this run does not hold keeps no old rank. A generated image keeps those that it
    has among the images of this run.
    """
    ids, *stored = dataset.exclude(_generated_here(dataset)).values(["id", *fields])
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
    """Tag what could not be scored; no other sample keeps the tag, whether this run holds it or
    not."""
    bad = sorted(set(frame.loc[frame["status"] != "ok", "id"]))
    if bad:
        dataset.select(bad).tag_samples(UNSCORABLE)
    stale = dataset.match_tags(UNSCORABLE).exclude(bad)
    if len(stale):
        stale.untag_samples(UNSCORABLE)


def write_map(dataset: Any) -> None:
    """Register the points of the run that is shown, and of the images generated from it, as a
    brain run, which the Embeddings panel draws."""
    import fiftyone.brain as fob

    if BRAIN_KEY in dataset.list_brain_runs():
        dataset.delete_brain_run(BRAIN_KEY)
    made = dataset.info[MADE_BY]
    if not dataset.has_run(made.get("current") or ""):
        return
    folder = Path(dataset.get_run_info(made["current"]).config.folder)
    tables = [folder / "scores.parquet"]
    tables += [Path(g["folder"]) / "synthetic.parquet" for g in _generations_here(dataset)]
    rows = [
        pd.read_parquet(table, columns=["path", "map_x", "map_y"])
        for table in tables
        if table.is_file()
    ]
    points = pd.concat(rows).drop_duplicates("path").set_index("path").dropna()
    ids, paths = dataset.values(["id", "filepath"])
    here = pd.Series(ids, index=paths)
    here = here[here.index.isin(points.index)]
    if len(here) == 0:
        return
    fob.compute_visualization(
        dataset.select(here.tolist(), ordered=True),
        points=points.loc[here.index].to_numpy(np.float64),
        brain_key=BRAIN_KEY,
        method="manual",
        progress=False,
    )


def _generations_here(dataset: Any) -> list[dict[str, str]]:
    """What was generated from the run that is shown."""
    made = dataset.info.get(MADE_BY) or {}
    found = made.get("generations", {}).values()
    return [g for g in found if g["base"] == made.get("current")]


def _generated_here(dataset: Any) -> list[str]:
    """Ids of the images generated from the run that is shown."""
    made = dataset.info.get(MADE_BY) or {}
    keys = [k for k, g in made.get("generations", {}).items() if g["base"] == made.get("current")]
    return dataset.match_tags(SYNTHETIC).match_tags(keys).values("id") if keys else []


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
        made["contents"] = contents(dataset)
    dataset.info[MADE_BY] = made


def contents(dataset: Any) -> str:
    """A digest of the real samples and their labels."""
    real = dataset.match_tags(SYNTHETIC, bool=False)
    names = ["filepath", f"{LABELS}.label"] if dataset.has_field(LABELS) else ["filepath"]
    return hashing.content_hash(repr(real.values(names)).encode())
