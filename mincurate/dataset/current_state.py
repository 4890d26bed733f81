"""A scored run as its FiftyOne dataset is now: labels corrected, samples deleted, files moved."""

from typing import Any

import pandas as pd

from mincurate.dataset import app_config, database, labels, lookup, mined, object_state, ownership
from mincurate.dataset import samples as parts
from mincurate.dataset.object_state import Now
from mincurate.errors import UserError
from mincurate.progress import SILENT, Reporter
from mincurate.runs.store import Run


def read(run: Run, dataset: str | None = None, reporter: Reporter = SILENT) -> Now:
    """Compare a run with its dataset; a run without one is as it was.

    Args:
        dataset: its name; the one that the run was written to, or was scored from, when absent.

    Raises:
        UserError: the database does not answer, or the dataset is gone.
    """
    frame = run.frame()
    name = dataset or lookup.dataset_of(run, reporter) or _scored_dataset(run)
    if name is None:
        return Now(frame, {}, None, {}, {}, "")
    database.check_database()
    loaded = database.load(name)
    samples = parts.images(loaded)
    ids, paths, tags = samples.values(["id", "filepath", "tags"])
    tags_by_path = {path: list(words or ()) for path, words in zip(paths, tags, strict=True)}
    scored_here = (run.record.get("source") or {}).get("dataset_id") == str(loaded._doc.id)
    if not scored_here and run.key not in ownership.read(loaded).runs:
        return Now(frame, tags_by_path, None, {}, {}, "")
    if run.objects is not None:
        return object_state.read(run, frame, loaded, tags_by_path)
    field = app_config.label_field(samples, run.record)
    present = pd.DataFrame(
        {
            "key": ids if _by_id(frame, ids) else paths,
            "path_now": paths,
            "label_now": labels.read(samples, field) if field else None,
        },
        dtype=object,
    ).drop_duplicates("key")
    now, differences = _compare(frame, present, field is not None, by_id=_by_id(frame, ids))
    if differences:
        differences = f"Since {run.key} was scored, in the dataset {name}: {differences}."
    names = dict(zip(present["path_now"], present["label_now"], strict=True))
    kept = mined.kept_labels(loaded, names)
    if field is None:
        return Now(now, tags_by_path, None, {}, {}, differences, kept)
    several, boxes = labels.several(samples, field), labels.boxes(samples, field.name)
    return Now(now, tags_by_path, field.name, several, boxes, differences, kept)


def differences(run: Run, reporter: Reporter = SILENT) -> str:
    """What the user has changed since a run was scored; empty where the dataset is out of reach."""
    try:
        return read(run, reporter=reporter).differences
    except UserError:
        return ""


def _compare(
    frame: pd.DataFrame, present: pd.DataFrame, labelled: bool, *, by_id: bool
) -> tuple[pd.DataFrame, str]:
    """The table as the samples are now, and what differs."""
    key = frame["sample_id" if by_id else "path"].astype(object)
    now = present.set_index("key").reindex(key)
    no_sample = ~frame["path"].str.startswith("/").to_numpy(bool)
    here = key.isin(present["key"]).to_numpy() | no_sample
    changes = []
    if gone := int((~here).sum()):
        changes.append(f"{gone:,} {'image was' if gone == 1 else 'images were'} deleted")
    frame = frame.copy()
    moved = here & now["path_now"].notna().to_numpy()
    moved &= (now["path_now"].to_numpy() != frame["path"].to_numpy(object)).astype(bool)
    if n := int(moved.sum()):
        frame.loc[moved, "path"] = now["path_now"].to_numpy()[moved]
        changes.append(f"{n:,} {'file has' if n == 1 else 'files have'} another path")
    if labelled:
        before = frame["label"].astype(object).where(frame["label"].notna(), None).to_numpy()
        after = now["label_now"].where(now["label_now"].notna(), None).to_numpy()
        changed = here & now["path_now"].notna().to_numpy() & (before != after)
        if n := int(changed.sum()):
            frame["label"] = frame["label"].astype(object)
            frame.loc[changed, "label"] = after[changed]
            changes.append(f"{n:,} {'label was' if n == 1 else 'labels were'} changed")
    return frame[here].reset_index(drop=True), ", ".join(changes)


def _by_id(frame: pd.DataFrame, ids: list[Any]) -> bool:
    """Whether the samples are those that were scored, so that they are found by their ids."""
    return "sample_id" in frame and bool(frame["sample_id"].isin(ids).any())


def _scored_dataset(run: Run) -> str | None:
    """The dataset that a run without one of its own was scored from."""
    dataset_id = (run.record.get("source") or {}).get("dataset_id")
    if dataset_id is None:
        return None
    database.check_database()
    return database.name_of(dataset_id)
