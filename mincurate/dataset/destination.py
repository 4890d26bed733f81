"""The dataset that a run is written to: chosen, and checked before the long work."""

import os
import re
from pathlib import Path
from typing import Any

from mincurate.dataset import boxes, object_ranks, ownership, reader
from mincurate.dataset.app_config import (
    BRAIN_KEY,
    FIELDS,
    LABELS,
    MINED,
    MINED_FIELDS,
    OBJECTS,
    PREDICTED,
    SYNTHETIC,
    SYNTHETIC_FIELDS,
    UNSCORABLE,
    VIEWS,
    WORKSPACE,
)
from mincurate.dataset.database import fiftyone, load
from mincurate.dataset.labels import LabelField
from mincurate.errors import UserError
from mincurate.runs.store import Run


def default_name(source: str) -> str:
    """A dataset name for a folder or table: ``mincurate-<its name>``."""
    stem = Path(source).stem or "images"
    return "mincurate-" + (re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-") or "images")


def choose_name(place: str, name: str | None) -> str:
    """The dataset that a run of ``place`` writes to, after checks that it can be.

    Without a ``name``: the dataset that is scored; or the one that mincurate made of this folder or
    table, whatever it is called now; or a new one named after it.

    Raises:
        UserError: the name cannot be used, or the dataset holds something of the user's that would
            be overwritten.
    """
    fo = fiftyone()
    if place.startswith("fiftyone:"):
        source = reader.split(place.removeprefix("fiftyone:"))[0]
        if name in (None, source):
            check(load(source), grouped=True)
            return source
    if name is not None:
        check_name(name)
        return name
    first = default_name(place)
    if (present := _dataset_of(fo, os.path.abspath(place), first)) is not None:
        check(load(present))
        return present
    for number in range(1, 1000):
        candidate = first if number == 1 else f"{first}-{number}"
        if not fo.dataset_exists(candidate) and not _name_problem(fo, candidate):
            return candidate
    raise UserError(f"No free dataset name like {first!r}; choose one with --dataset.")


def check_objects(name: str, place: str, field: str | None) -> None:
    """Raise `UserError` unless ranks of objects can be written to the dataset of this name.

    Args:
        place: what is scored; see `choose_name`.
        field: with the objects, where ``place`` is this dataset; ``None`` for tiles.
    """
    fo = fiftyone()
    if not fo.dataset_exists(name):
        return
    dataset = load(name)
    own = not place.startswith("fiftyone:")
    own = own or reader.split(place.removeprefix("fiftyone:"))[0] != name
    if own or field is None:
        object_ranks.check(dataset, LabelField(OBJECTS, "Detections"), own=True)
    else:
        object_ranks.check(dataset, boxes.choose(dataset, field), own=False)


def check_name(name: str) -> None:
    """Raise `UserError` unless scores can be written to the dataset of this name, or a new one."""
    fo = fiftyone()
    if fo.dataset_exists(name):
        check(load(name))
    elif problem := _name_problem(fo, name):
        raise UserError(f"--dataset {name!r} cannot be used: {problem}")


def check(dataset: Any, *, grouped: bool = False) -> None:
    """Raise `UserError` unless scores can be written to the dataset.

    Args:
        grouped: it may hold groups, because nothing is added to it.
    """
    check_kind(dataset, grouped=grouped)
    _adopt(dataset)
    _check_conflicts(
        dataset,
        ownership.conflicts(
            dataset, fields=FIELDS, views=VIEWS, workspaces=[WORKSPACE], brain_runs=[BRAIN_KEY]
        ),
    )


def check_synthetic(dataset: Any) -> None:
    """Raise `UserError` unless generated images can be added to the dataset."""
    check_kind(dataset)
    names = (*SYNTHETIC_FIELDS, PREDICTED)
    _check_conflicts(dataset, ownership.conflicts(dataset, fields=names, views=[SYNTHETIC]))


def check_mined(dataset: Any) -> None:
    """Raise `UserError` unless mined images can be added to the dataset."""
    check_kind(dataset)
    conflicts = ownership.conflicts(dataset, fields=MINED_FIELDS, views=[MINED])
    _check_conflicts(dataset, conflicts)


def check_run(name: str, run: Run) -> None:
    """Raise `UserError` when the dataset holds another run of this key.

    Keys are unique in one ``MINCURATE_HOME`` alone.
    """
    fo = fiftyone()
    if not fo.dataset_exists(name):
        return
    dataset = fo.load_dataset(name)
    if not dataset.has_run(run.key):
        return
    config = dataset.get_run_info(run.key).config
    same = Path(config.folder).resolve() == run.path.resolve()
    fingerprint = run.record.get("fingerprint")
    if not same and (not fingerprint or getattr(config, "fingerprint", None) != fingerprint):
        raise UserError(
            f"The dataset {name!r} holds another run {run.key}, of {config.folder}: choose another "
            "--dataset."
        )


def check_kind(dataset: Any, *, grouped: bool = False) -> None:
    """Raise `UserError` for a dataset that goes with its program or does not hold images."""
    name = dataset.name
    if not dataset.persistent:
        raise UserError(
            f"The dataset {name!r} is not persistent, so that FiftyOne deletes it: set "
            f"fiftyone.load_dataset({name!r}).persistent = True first."
        )
    if dataset.media_type == "group" and not grouped:
        raise UserError(
            f"The dataset {name!r} is grouped, and images that are added belong to no group: "
            "choose another --dataset."
        )
    if dataset.media_type not in ("image", "group", None):
        raise UserError(
            f"The dataset {name!r} holds {dataset.media_type} samples, not images; "
            "choose another --dataset."
        )


def _adopt(dataset: Any) -> None:
    """Take over what the version of 2026-11-26 made, whose record does not name it.

    That version refused a dataset in which these names were in use.
    """
    entries = dict(dataset.info.get(ownership.KEY) or {})
    if not entries.get("runs") or "fields" in entries:
        return
    dataset.info[ownership.KEY] = entries | {"dataset_id": str(dataset._doc.id)}
    fields, views = [*FIELDS], [*VIEWS]
    if entries.get("created"):
        fields.append(LABELS)
    if entries.get("generations"):
        fields += [*SYNTHETIC_FIELDS, PREDICTED]
        views.append(SYNTHETIC)
    ownership.claim(
        dataset,
        fields=[field for field in fields if dataset.has_field(field)],
        views=[view for view in views if dataset.has_saved_view(view)],
        tags=[UNSCORABLE],
        workspaces=[WORKSPACE],
        brain_runs=[BRAIN_KEY],
    )


def _check_conflicts(dataset: Any, conflicts: dict[str, list[str]]) -> None:
    if conflicts:
        named = " and ".join(f"{kind} ({', '.join(n)})" for kind, n in conflicts.items())
        raise UserError(
            f"The dataset {dataset.name!r} has {named} of yours that mincurate would overwrite: "
            "rename them, choose another --dataset, or use --no-fiftyone."
        )


def _name_problem(fo: Any, name: str) -> str | None:
    """Why FiftyOne refuses a new dataset of this name."""
    try:
        fo.core.dataset._validate_dataset_name(name)
    except ValueError as error:
        return str(error).strip().splitlines()[0]
    return None


def _dataset_of(fo: Any, origin: str, first: str) -> str | None:
    """The dataset that mincurate made of a folder or table under a name like ``first``."""
    record = f"info.{ownership.KEY}"
    documents = fo.core.odm.get_db_conn()["datasets"].find(
        {f"{record}.source": origin, f"{record}.created": True},
        {"name": True, "created_at": True, record: True},
    )
    own = [
        document
        for document in documents
        if (entries := document["info"][ownership.KEY]).get("dataset_id") == str(document["_id"])
        and str(entries.get("name") or document["name"]).startswith(first)
    ]
    return str(min(own, key=lambda d: d["created_at"])["name"]) if own else None
