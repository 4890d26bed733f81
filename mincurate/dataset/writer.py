"""Results as a FiftyOne dataset.

The run's files are the truth; the dataset is a view of them that can be written again at any time.
What the user made (fields, labels, tags, views, groups of the side bar) is left alone, and so are
samples that the run does not hold: these keep the scores of an earlier run.
"""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pandas as pd
from bson import ObjectId
from pymongo.errors import PyMongoError

from mincurate.dataset import (
    app_config,
    brain_map,
    destination,
    frames,
    object_ranks,
    ownership,
    removal,
)
from mincurate.dataset import samples as parts
from mincurate.dataset.app_config import COLUMN_OF, FIELDS, LABELS, PREVIEW, RUN, UNSCORABLE
from mincurate.dataset.database import (
    check_database,
    fiftyone,
    load,
    name_of,
    place,
    quiet,
    writing,
)
from mincurate.errors import UserError
from mincurate.progress import SILENT, Advance, Reporter
from mincurate.runs import schema
from mincurate.runs.store import Run

BATCH = 2000
OF_SCORE = ("minority_score", "minority_class", "minority_score_calibrated")
"""Indexed fields that a run by vectors alone has no values for."""


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


def write_run(
    run: Run, name: str, reporter: Reporter = SILENT, *, recreate: bool = False
) -> Written:
    """Write a finished run into the dataset ``name``, which is created if need be.

    Samples are found by their id where the run is of this dataset, else by file path: those that
    are there are updated, others are added, and doing it again changes nothing.

    Args:
        recreate: create the dataset too where it is the one that was scored and is gone.

    Raises:
        UserError: the database does not answer, the dataset that was scored is gone, or something
            of the user's would be overwritten.
    """
    check_database()
    name = _name_now(run, name, reporter, recreate=recreate)
    with writing(name, reporter):
        return _write_run(run, name, reporter)


def _name_now(run: Run, name: str, reporter: Reporter, *, recreate: bool) -> str:
    """What the dataset is called that was called ``name`` when the run began."""
    source = run.record["source"]
    if fiftyone().dataset_exists(name) or source.get("dataset") != name or recreate:
        return name
    if (present := name_of(source["dataset_id"])) is not None:
        reporter.say(f"The dataset {name} is called {present} now.")
        return present
    raise UserError(
        f"The dataset {name!r} was deleted while it was scored: the same command with another "
        "--dataset stores the scores there."
    )


def _write_run(run: Run, name: str, reporter: Reporter) -> Written:
    started = time.monotonic()
    fo = fiftyone()
    record, frame = run.record, run.frame()
    # Rows of a table without a path, or with an address, are no files that the App could show.
    frame = frame[frame["path"].str.startswith("/")].assign(**{RUN: run.key})
    frame[PREVIEW] = _previews(run, frame)
    columns = [COLUMN_OF.get(field, field) for field in FIELDS]
    frame = frame.assign(**{column: None for column in columns if column not in frame})
    dataset = _open(fo, name, record)
    destination.check_run(name, run)
    scored_here = record["source"].get("dataset_id") == str(dataset._doc.id)
    try:
        with reporter.task("Writing dataset", len(frame), run.noun) as advance, quiet():
            before = ownership.read(dataset)
            changed = bool(before.runs) and before.contents != removal.contents(dataset)
            of_rows = _write_images if run.objects is None else _write_objects
            added, updated = of_rows(fo, dataset, frame, run, scored_here, advance)
            _register(dataset, run, changed)
            brain_map.write(dataset)
            if run.objects is None:
                app_config.save_views(fo, dataset)
            else:
                object_ranks.save_view(dataset, object_ranks.field_of(dataset, record), run.key)
            app_config.configure(fo, dataset, record)
            dataset.save()
            frames.summarise(dataset)
            ownership.copy(dataset)
            run.update(
                datasets=sorted({*record.get("datasets", []), name}),
                dataset_ids=record.get("dataset_ids", {}) | {name: str(dataset._doc.id)},
                database=place(),
            )
    except PyMongoError as error:
        raise UserError(
            f"FiftyOne's database was lost while writing ({type(error).__name__}). All results are "
            f"in {run.path}; give the same command again to store them, which takes seconds."
        ) from error
    return Written(name, added, updated, time.monotonic() - started)


def _write_images(
    fo: Any, dataset: Any, frame: pd.DataFrame, run: Run, scored_here: bool, advance: Advance
) -> tuple[int, int]:
    """Write a row of the table into each sample; how many were added, and how many were there."""
    frame, new = _match(dataset, frame, scored_here=scored_here)
    ranking = str(run.record.get("rank_by", "minority"))
    fields = _declare_fields(fo, dataset, frame, ranking, labelled=not scored_here)
    frame.loc[new.index, "id"] = _add_samples(fo, dataset, new, fields, advance)
    if not scored_here:
        _write_labels(fo, dataset, frame)
    _write_tags(dataset, frame)
    _write_fields(dataset, frame, fields)
    advance(len(frame) - len(new), "")
    return len(new), len(frame) - len(new)


def _write_objects(
    fo: Any, dataset: Any, frame: pd.DataFrame, run: Run, scored_here: bool, advance: Advance
) -> tuple[int, int]:
    """Write a row of the table onto each object; samples are added for images that have none."""
    key = "sample_id" if scored_here else "path"
    images = frame.drop_duplicates(key).assign(label=None)
    images, new = _match(dataset, images, scored_here=scored_here)
    images.loc[new.index, "id"] = _add_samples(fo, dataset, new, [], advance)
    if images[PREVIEW].notna().any():
        declare(fo, dataset, {PREVIEW: FIELDS[PREVIEW]})
        _write_fields(dataset, images, [PREVIEW])
    frame = frame.merge(images[[key, "id"]], on=key)
    object_ranks.write(fo, dataset, frame, run.record)
    advance(len(frame) - len(new), "")
    return len(new), len(images) - len(new)


def _previews(run: Run, frame: pd.DataFrame) -> list[str | None]:
    """Paths of the previews of images; ``None`` where there is none."""
    names = frame["content_hash"]
    if run.objects is not None:
        names = frame["path"].map(schema.preview_of_path)
    folder = run.path.resolve() / schema.PREVIEWS
    present = {path.stem: str(path) for path in folder.glob("*.jpg")}
    return [present.get(name) for name in names]


def _open(fo: Any, name: str, record: dict[str, Any]) -> Any:
    """The dataset, checked; or a new one."""
    if fo.dataset_exists(name):
        dataset = load(name)
        own = record["source"].get("dataset_id") == str(dataset._doc.id)
        destination.check(dataset, grouped=own)
        return dataset
    dataset = fo.Dataset(name, persistent=True)
    ownership.change(dataset, created=True, source=record["source"]["value"], name=name)
    return dataset


def _match(
    dataset: Any, frame: pd.DataFrame, *, scored_here: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of a run with the samples that show them as ``id``, and those that none shows.

    Args:
        scored_here: the run is of this dataset: samples that are gone were deleted since.
    """
    ids, paths = parts.images(dataset).values(["id", "filepath"])
    if "sample_id" in frame:
        by_id = frame.assign(id=frame["sample_id"].astype(object))
        by_id = by_id[by_id["id"].isin(ids)]
        if scored_here or len(by_id):  # a clone has the same ids
            return by_id, by_id[:0]
    present = pd.DataFrame({"path": paths, "id": ids}, dtype=object)
    matched = frame.drop_duplicates("path").merge(present, on="path", how="left")
    return matched, matched[matched["id"].isna()]


def _declare_fields(
    fo: Any, dataset: Any, frame: pd.DataFrame, ranking: str, *, labelled: bool
) -> list[str]:
    """Make the fields that the run has values for; those it writes are returned."""
    kinds = {"float": fo.FloatField, "int": fo.IntField, "str": fo.StringField}
    without = OF_SCORE if frame["minority_score"].isna().all() else ()
    written = [
        field
        for field, (_, _, indexed) in FIELDS.items()
        if (indexed and field not in without)
        or dataset.has_field(field)
        or bool(frame[COLUMN_OF.get(field, field)].notna().any())
    ]
    missing = [field for field in written if not dataset.has_field(field)]
    ownership.claim(dataset, fields=missing)
    for field in written:
        kind, description, _ = FIELDS[field]
        words = description.format(ranking=ranking)
        if field in missing:
            dataset.add_sample_field(field, kinds[kind], description=words)
        elif (existing := dataset.get_field(field)).description != words:
            existing.description = words  # another ranking, or an earlier version
            existing.save()
    if labelled and frame["label"].notna().any() and not dataset.has_field(LABELS):
        ownership.claim(dataset, fields=[LABELS])
        dataset.add_sample_field(LABELS, fo.EmbeddedDocumentField, fo.Classification)
    return written


def _values(frame: pd.DataFrame, field: str) -> list[Any]:
    """The values of a field, in the order of the rows, as FiftyOne takes them: None, never NaN."""
    cast = {"float": float, "int": int, "str": str}[FIELDS[field][0]]
    column = frame[COLUMN_OF.get(field, field)]
    return [None if pd.isna(value) else cast(value) for value in column.tolist()]


def declare(fo: Any, dataset: Any, fields: Mapping[str, tuple[str, str, bool]]) -> None:
    """Make the fields of samples that are not there yet; all of them are ours.

    Args:
        fields: name to kind, description, and whether it is indexed.
    """
    kinds = {
        "int": fo.IntField,
        "float": fo.FloatField,
        "str": fo.StringField,
        "dict": fo.DictField,
    }
    names = [name for name in fields if not dataset.has_field(name)]
    ownership.claim(dataset, fields=names)
    for field, (kind, description, indexed) in fields.items():
        if field in names:
            dataset.add_sample_field(field, kinds[kind], description=description)
        if indexed:
            dataset.create_index(field)


def add_in_batches(dataset: Any, samples: list[Any], advance: Advance) -> None:
    """Add samples, and tell how many."""
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        dataset.add_samples(batch, validate=False, progress=False)
        advance(len(batch), "")


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
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)  # as MongoDB keeps it
    if not ownership.read(dataset).created:
        ownership.claim(dataset, added=[now.replace(tzinfo=None).isoformat()])
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
    """Fill in labels where a sample has none, if the field is ours; corrected ones stay."""
    if LABELS not in ownership.read(dataset).fields or not _takes_labels(fo, dataset):
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
    """Write the values that differ from those stored, of the samples of this run alone."""
    samples = parts.images(dataset)
    ids, *stored = samples.values(["id", *fields])
    for field, values in zip(fields, stored, strict=True):
        of_run = dict(zip(frame["id"], _values(frame, field), strict=True))
        changes = {
            sample: of_run[sample]
            for sample, value in zip(ids, values, strict=True)
            if sample in of_run and value != of_run[sample]
        }
        if changes:
            samples.set_values(field, changes, key_field="id", progress=False)
        if FIELDS[field][2] and field not in dataset.list_indexes():
            dataset.create_index(field)


def _write_tags(dataset: Any, frame: pd.DataFrame) -> None:
    """Tag what could not be scored, and untag what could be scored since.

    A tag of this name that was there before is the user's, and is left alone. The fields still
    hold what the run before wrote: they tell which samples were tagged for it.
    """
    samples = parts.images(dataset)
    ours = UNSCORABLE in ownership.read(dataset).tags
    scored = frame["status"] == "ok"
    failed = sorted(set(frame.loc[~scored, "id"]))
    if failed and not ours and not len(samples.match_tags(UNSCORABLE)):
        ownership.claim(dataset, tags=[UNSCORABLE])
        ours = True
    if not ours:
        return
    untagged = samples.select(failed).match_tags(UNSCORABLE, bool=False)
    if len(untagged):
        untagged.tag_samples(UNSCORABLE)
    stale = set(removal.tagged(dataset).values("id")) & set(frame.loc[scored, "id"])
    if stale:
        samples.select(sorted(stale)).untag_samples(UNSCORABLE)


def _register(dataset: Any, run: Run, changed: bool) -> None:
    """Record the run; a digest tells later whether the user has ``changed`` samples or labels."""
    record = run.record
    model = record.get("model") or {}  # none while the images are ranked by vectors alone
    scored = ("fingerprint", "sigma", "n_draws", "perceptual")
    ranked = ("settings", "seed", "class_edges", "embedding", "warnings", "versions")
    config = dataset.init_run(
        method="mincurate",
        folder=str(run.path),
        model_hash=model.get("hash"),
        model=model.get("name"),
        objects=run.objects,
        **{name: record.get(name) for name in scored},
        **{name: record[name] for name in ranked},
    )
    dataset.register_run(record["key"], config, overwrite=True)
    entries = ownership.read(dataset)
    entries = replace(entries, runs=sorted({*entries.runs, record["key"]}), current=record["key"])
    if entries.created and not changed:
        entries = replace(entries, contents=removal.contents(dataset))
    ownership.save(dataset, entries)
