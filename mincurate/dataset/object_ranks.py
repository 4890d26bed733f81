"""Ranks of objects in a FiftyOne dataset: on every object, and of every image that of its rarest.

The objects are the user's, in the field that was scored; or, of a folder, detections in a field of
ours. Ranks are attributes of the objects, whose names are claimed like those of fields.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd
from bson import ObjectId
from pymongo import UpdateMany, UpdateOne

from mincurate import hashing
from mincurate.dataset import app_config, boxes, ownership, rarity_maps
from mincurate.dataset import samples as parts
from mincurate.dataset.app_config import (
    COLUMN_OF,
    FIELDS,
    HEATMAP,
    OBJECTS,
    PREVIEW,
    RAREST,
    RUN,
)
from mincurate.dataset.labels import LabelField
from mincurate.errors import UserError
from mincurate.images import regions

VIEW = "rarest-objects"
ATTRIBUTES = (
    *("rarity", "rarity_class", "rarity_class_within_label", "rarity_kind", "rare_group", "broken"),
    *("embedding_rarity", "outlying", "small_kind", "neighbor_distance"),
    *("embedding_rarity_within_label", "label_mismatch"),
    *("minority_score", "minority_score_calibrated", "minority_class"),
    *("content_hash", "duplicate_of", "unscorable_reason", RUN),
)
"""Of `FIELDS`, those that an object has; most of them also where a run has no value for them."""
BATCH = 2000
Filters = list[Mapping[str, Any]] | None
"""Of an update, which of a sample's objects it is for."""


def of_objects(dataset: Any, key: str | None) -> bool:
    """Whether a run that was written to the dataset ranked objects."""
    if key is None or not dataset.has_run(key):
        return False
    return getattr(dataset.get_run_info(key).config, "objects", None) is not None


def is_own(dataset: Any, record: dict[str, Any]) -> bool:
    """Whether the objects of a run are in our field: not in one of this dataset that was scored."""
    source = record.get("source") or {}
    return bool(source.get("tiles")) or source.get("dataset_id") != str(dataset._doc.id)


def field_of(dataset: Any, record: dict[str, Any]) -> LabelField:
    """The field with the objects of a run: ours, or that which was scored.

    Raises:
        UserError: there is none any more.
    """
    if is_own(dataset, record):
        return LabelField(OBJECTS, "Detections")
    return boxes.choose(dataset, str(record["source"]["objects"]))


def check(dataset: Any, field: LabelField, *, own: bool) -> None:
    """Raise `UserError` where ranks would overwrite something of the user's.

    Args:
        own: the field is ours.
    """
    paths = [f"{boxes.inside(field)}.{name}" for name in ATTRIBUTES]
    names = {RAREST, HEATMAP, *paths, *([OBJECTS] if own else [])}
    found = ownership.conflicts(dataset, fields=names, views=[VIEW])
    claimed = set(ownership.read(dataset).fields)
    undeclared = [path for path in paths if path not in claimed]
    for path in undeclared:  # attributes need not be declared
        if dataset._sample_collection.find_one({path: {"$exists": True}}, {"_id": 1}):
            found["fields"] = sorted({*found.get("fields", []), path})
    if found:
        named = " and ".join(f"{kind} ({', '.join(names)})" for kind, names in found.items())
        raise UserError(
            f"The dataset {dataset.name!r} has {named} of yours that mincurate would overwrite: "
            "rename them, choose another --dataset, or use --no-fiftyone."
        )


def label_ids(dataset: Any, frame: pd.DataFrame, record: dict[str, Any]) -> list[str]:
    """The id of each row's object: that which was scored, or one that follows from its name."""
    if not is_own(dataset, record):
        return [str(key) for key in frame["object_id"]]
    return [hashing.digest(name.encode(), 12).hex() for name in frame["rel_path"]]


def write(fo: Any, dataset: Any, frame: pd.DataFrame, record: dict[str, Any]) -> None:
    """Write the ranks of objects, and of each image that of its rarest.

    Args:
        frame: the run's table, with the sample of every row as ``id``.
        record: of the run.

    Raises:
        UserError: something of the user's would be overwritten.
    """
    field = field_of(dataset, record)
    check(dataset, field, own=is_own(dataset, record))
    ids = label_ids(dataset, frame, record)
    if is_own(dataset, record):
        _add_objects(fo, dataset, frame, ids)
    attributes = _declare(fo, dataset, field, frame, str(record.get("rank_by", "minority")))
    _write_values(dataset, field, frame, ids, attributes)
    if not dataset.has_field(RAREST):
        ownership.claim(dataset, fields=[RAREST])
        words = "Rarity of the rarest object in the image: 0 commonest, 1 rarest"
        dataset.add_sample_field(RAREST, fo.FloatField, description=words)
        dataset.create_index(RAREST)
    rarest = frame.groupby("id")["rarity"].max()
    parts.images(dataset).set_values(
        RAREST,
        {sample: None if pd.isna(value) else float(value) for sample, value in rarest.items()},
        key_field="id",
        progress=False,
    )
    if (record.get("source") or {}).get("tiles"):
        rarity_maps.write(fo, dataset, frame)
    dataset.reload()


def _add_objects(fo: Any, dataset: Any, frame: pd.DataFrame, ids: list[str]) -> None:
    """Put the objects that are missing into our field; those that are there stay as they are."""
    unchanged = not dataset.has_field(OBJECTS) or digest(dataset) == ownership.read(dataset).objects
    if not dataset.has_field(OBJECTS):
        ownership.claim(dataset, fields=[OBJECTS])
        dataset.add_sample_field(OBJECTS, fo.EmbeddedDocumentField, fo.Detections)
    samples = parts.images(dataset)
    ids_and_values: Any = zip(*samples.values(["id", OBJECTS]), strict=True)
    present = {key: list(value.detections) if value else [] for key, value in ids_and_values}
    there = {item.id for items in present.values() for item in items}
    rows = frame[["id", "label", *regions.COLUMNS]].itertuples(index=False)
    changed: set[str] = set()
    for key, (sample, label, *box) in zip(ids, rows, strict=True):
        if key not in there and not pd.isna(box[0]):
            text = label if isinstance(label, str) else None
            present[sample].append(fo.Detection(id=key, label=text, bounding_box=list(box)))
            there.add(key)
            changed.add(sample)
    values = {sample: fo.Detections(detections=present[sample]) for sample in changed}
    if values:
        samples.set_values(OBJECTS, values, key_field="id", progress=False)
    if unchanged:
        ownership.change(dataset, objects=digest(dataset))


def digest(dataset: Any) -> str:
    """A digest of the boxes, labels and tags of the objects in our field, without their ranks."""
    inside = f"{OBJECTS}.detections"
    names = ("_id", "label", "bounding_box", "tags")
    fields = {f"{inside}.{name}": 1 for name in names}
    cursor = dataset._sample_collection.find({OBJECTS: {"$ne": None}}, fields).sort("_id")
    objects = (sample[OBJECTS]["detections"] for sample in cursor)
    return hashing.hash_chunks(
        repr([[item.get(name) for name in names] for item in items]).encode() for items in objects
    )


def _declare(
    fo: Any, dataset: Any, field: LabelField, frame: pd.DataFrame, ranking: str
) -> list[str]:
    """Make the attributes that the run has values for; those it writes are returned."""
    kinds = {"float": fo.FloatField, "int": fo.IntField, "str": fo.StringField}
    schema = dataset.get_field_schema(flat=True)
    written = []
    for name in ATTRIBUTES:
        path = f"{boxes.inside(field)}.{name}"
        if path not in schema:
            if not frame[COLUMN_OF.get(name, name)].notna().any():
                continue
            kind, description, _ = FIELDS[name]
            ownership.claim(dataset, fields=[path])
            words = description.format(ranking=ranking).replace("image", "object")
            dataset.add_sample_field(path, kinds[kind], description=words)
        written.append(name)
    for name in ("rarity", "rarity_class"):
        path = f"{boxes.inside(field)}.{name}"
        if name in written and path not in dataset.list_indexes():
            dataset.create_index(path)
    return written


def _write_values(
    dataset: Any, field: LabelField, frame: pd.DataFrame, ids: list[str], attributes: list[str]
) -> None:
    """Write all attributes of an object in one step; an object that is gone stays so."""
    now, alone = datetime.now(UTC), boxes.single(field)
    inside = boxes.inside(field) + ("" if alone else ".$[it]")
    columns = [_values(frame, name) for name in attributes]
    updates = []
    for sample, key, *values in zip(frame["id"], ids, *columns, strict=True):
        changes = {f"{inside}.{n}": v for n, v in zip(attributes, values, strict=True)}
        which: dict[str, Any] = {"_id": ObjectId(sample)}
        if alone:
            which |= {f"{inside}._id": ObjectId(key)}
        filters: Filters = None if alone else [{"it._id": ObjectId(key)}]
        change = {"$set": {**changes, "last_modified_at": now}}
        updates.append(UpdateOne(which, change, array_filters=filters))
    for start in range(0, len(updates), BATCH):
        dataset._sample_collection.bulk_write(updates[start : start + BATCH], ordered=False)


def _values(frame: pd.DataFrame, name: str) -> list[Any]:
    cast = {"float": float, "int": int, "str": str}[FIELDS[name][0]]
    column = frame[COLUMN_OF.get(name, name)]
    return [None if pd.isna(value) else cast(value) for value in column.tolist()]


def save_view(dataset: Any, field: LabelField, key: str) -> None:
    """Save the view of a run's objects, rarest first."""
    ownership.claim(dataset, views=[VIEW])
    view = ranked(dataset, field, key)
    dataset.save_view(VIEW, view, description="Objects, rarest first", overwrite=True)


def ranked(dataset: Any, field: LabelField, key: str) -> Any:
    """The objects with ranks of a run as patches, rarest first."""
    rarity = f"{field.name}.rarity"
    return patches(dataset, field, key).exists(rarity).sort_by(rarity, reverse=True)


def patches(dataset: Any, field: LabelField, key: str) -> Any:
    """The objects of a run as patches; samples, where each has one object at most."""
    from fiftyone import ViewField as F

    samples = parts.images(dataset)
    if not boxes.single(field):
        shown = [PREVIEW] if dataset.has_field(PREVIEW) else None  # in place of the file
        samples = samples.to_patches(field.name, other_fields=shown)
    return samples.match(F(f"{field.name}.{RUN}") == key)


def view_ids(dataset: Any, frame: pd.DataFrame, record: dict[str, Any]) -> list[str]:
    """The id of each row's object in `patches`; of one that is gone, its former id."""
    field, keys = field_of(dataset, record), label_ids(dataset, frame, record)
    if not boxes.single(field):
        return keys
    samples = boxes.ids(parts.images(dataset), field)
    return [samples.get(key, key) for key in keys]


def select(dataset: Any, field: LabelField, ids: list[str]) -> Any:
    """The samples with the objects of these patches, whose field holds no others."""
    samples = parts.images(dataset)
    if boxes.single(field):
        return samples.select(ids).exists(field.name)
    return samples.select_labels(ids=ids, fields=field.name)


def clear(dataset: Any, key: str) -> None:
    """Remove the ranks that are from this run."""
    entries = ownership.read(dataset)
    for field in boxes.fields(dataset):
        inside = boxes.inside(field)
        names = [name for name in ATTRIBUTES if f"{inside}.{name}" in entries.fields]
        if not names:
            continue
        of_run, now, alone = {f"{inside}.{RUN}": key}, datetime.now(UTC), boxes.single(field)
        place = inside if alone else f"{inside}.$[it]"
        changes: dict[str, Any] = {f"{place}.{name}": None for name in names}
        of_images = [name for name in (RAREST, HEATMAP) if name in entries.fields]
        changes |= {"last_modified_at": now, **dict.fromkeys(of_images)}
        filters: Filters = None if alone else [{f"it.{RUN}": key}]
        update = UpdateMany(of_run, {"$set": changes}, array_filters=filters)
        dataset._sample_collection.bulk_write([update])
    dataset.reload()


def strip(dataset: Any) -> None:
    """Remove the attributes and fields of the ranks of objects, and the view.

    The objects of our field go, too, unless the user has changed any of them.
    """
    import fiftyone as fo

    entries = ownership.read(dataset)
    schema = dataset.get_field_schema(flat=True)
    ranks = [name for name in entries.fields if name in (RAREST, HEATMAP) or "." in name]
    app_config.reset(fo, dataset, ranks)
    keep = OBJECTS in schema and OBJECTS in entries.fields and digest(dataset) != entries.objects
    ours = [] if keep or OBJECTS not in entries.fields else [OBJECTS]
    inside_ours = [name for name in ranks if ours and name.startswith(f"{OBJECTS}.")]
    dataset.delete_sample_fields([n for n in ranks if n in schema and n not in inside_ours])
    dataset.delete_sample_fields([name for name in ours if name in schema])
    if VIEW in entries.views and dataset.has_saved_view(VIEW):
        dataset.delete_saved_view(VIEW)
    gone = {*ranks, OBJECTS}
    ownership.change(
        dataset,
        fields=[name for name in entries.fields if name not in gone],
        views=[view for view in entries.views if view != VIEW],
        objects=None,
    )
