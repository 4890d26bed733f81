"""A run of objects as its FiftyOne dataset is now."""

import dataclasses
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mincurate.curation.gather_objects import UNNAMED, facts
from mincurate.curation.selection import DROP_TAG
from mincurate.dataset import boxes, object_ranks
from mincurate.dataset import samples as parts
from mincurate.dataset.labels import LabelField
from mincurate.runs.store import Run


@dataclass(frozen=True)
class Now:
    """What the dataset says of a run's images.

    Attributes:
        frame: the run's table with the labels and paths of today, without images whose samples
            were deleted.
        tags: of every sample, by path.
        label_field: the field that the labels are from, if any.
        several: all labels of the images that have more than one, by path.
        boxes: of every image, where that field holds boxes; see `labels.boxes`, and for
            objects that were ranked `gather_objects.RankedBox`.
        mined: the mined images that were kept, by path, with the label each has now or that is
            proposed for it.
        differences: what the user has changed since the run was scored, in a sentence; empty where
            nothing was.
    """

    frame: pd.DataFrame
    tags: dict[str, list[str]]
    label_field: str | None
    several: dict[str, list[str]]
    boxes: dict[str, list[Any]]
    differences: str
    mined: dict[str, str | None] = dataclasses.field(default_factory=dict)


def read(run: Run, frame: pd.DataFrame, dataset: Any, tags: dict[str, list[str]]) -> Now:
    """Compare the objects of a run with those in a dataset.

    Args:
        frame: the run's table.
        tags: of every sample, by path.
    """
    record = run.record
    field = object_ranks.field_of(dataset, record)
    samples = parts.images(dataset)
    objects, _ = boxes.read(samples, field)
    present = {item.label_id: item for item in objects}
    ids = object_ranks.label_ids(dataset, frame, record)
    here = [key in present for key in ids]
    frame = frame[here].reset_index(drop=True)
    ids = [key for key in ids if key in present]
    labels = pd.Series([present[key].label for key in ids], frame.index, dtype=object)
    now = frame.assign(label=labels, path=[present[key].path for key in ids])
    rows = dict(zip(ids, frame.to_dict("records"), strict=True))
    by_path: dict[str, list[Any]] = defaultdict(list)
    dropped = _dropped(samples, field)
    for item in objects:
        if item.label_id not in dropped:
            ranks = facts(rows.get(item.label_id, {}))
            by_path[item.path].append((item.label or UNNAMED, list(item.box), ranks))
    changes = {
        "objects were deleted": len(here) - sum(here),
        "objects are new and have no rank": len(set(present) - set(ids)),
        "labels were changed": int(
            (labels.fillna("") != frame["label"].astype(object).fillna("")).sum()
        ),
    }
    words = ", ".join(f"{n:,} {what}" for what, n in changes.items() if n)
    if words:
        words = f"Since {run.key} was scored, in the dataset {dataset.name}: {words}."
    return Now(now, tags, field.name, {}, dict(by_path), words)


def _dropped(samples: Any, field: LabelField) -> set[str]:
    """The ids of the objects that the user wants left out."""
    inside = boxes.inside(field)
    tagged = samples.select_labels(tags=DROP_TAG, fields=field.name)
    return set(tagged.values(f"{inside}.id", unwind=True))
