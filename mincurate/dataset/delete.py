"""A run is deleted: out of every FiftyOne dataset it was written to, and from the disk."""

from pathlib import Path
from typing import Any

from mincurate.dataset import generated
from mincurate.dataset.app_config import (
    BRAIN_KEY,
    FIELDS,
    GROUP,
    LABELS,
    UNSCORABLE,
    VIEWS,
    WORKSPACE,
)
from mincurate.dataset.database import check_database, fiftyone, quiet
from mincurate.dataset.writer import MADE_BY, contents, write_run
from mincurate.errors import UserError
from mincurate.progress import SILENT, Reporter
from mincurate.runs import store
from mincurate.runs.store import Run


def datasets_of(run: Run) -> list[str]:
    """The FiftyOne datasets that a run was written to."""
    record = run.record
    return sorted({record.get("dataset"), *(record.get("datasets") or [])} - {None})


def words(run: Run, *, keep_dataset: bool = False) -> str:
    """What `delete_run` deletes."""
    what = f"run {run.key} in {run.path.resolve()}"
    written = datasets_of(run)
    if written and not keep_dataset:
        what += f" and what it wrote to the FiftyOne dataset {' and '.join(written)}"
    return what


def delete_run(run: Run, *, keep_dataset: bool = False, reporter: Reporter = SILENT) -> None:
    """Delete a run's files, and its fields, views, tags and generated samples in FiftyOne.

    The user's images stay. A dataset that other runs were written to shows the last of them.

    Args:
        keep_dataset: leave what the run wrote to FiftyOne.

    Raises:
        UserError: the database does not answer, or something is working on the run.
    """
    with store.locked(run):
        written = [] if keep_dataset else datasets_of(run)
        if written:
            check_database()
        for place in written:
            if store.kind_of(run) == store.AUGMENT:
                generated.remove(run, place)
            else:
                remove_from_dataset(place, run.key, reporter)
    store.delete(run)


def remove_from_dataset(name: str, key: str, reporter: Reporter = SILENT) -> bool:
    """Remove from a dataset what a run wrote there.

    Where other runs wrote to it too and the dataset shows the one that goes, it shows the last of
    the others again, or no scores when none of their files are left. With the last run all goes
    that mincurate made there. A dataset that mincurate created and in which the user made nothing
    of his own is deleted. Image files are never touched.

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
    others = [other for other in made["runs"] if other != key]
    # The other run is shown before this one is forgotten: if it fails, it can be done again.
    if others and made.get("current", key) == key:
        _show_another(dataset, others, reporter)
        made = dict(dataset.info[MADE_BY])
    with quiet():
        if dataset.has_run(key):
            dataset.delete_run(key)
        if not others and made.get("created") and not _holds_work(dataset, made):
            dataset.delete()
            return True
        if not others:
            _strip(dataset)
            dataset.info.pop(MADE_BY, None)
        else:
            dataset.info[MADE_BY] = made | {"runs": others}
        dataset.save()
    return True


def _show_another(dataset: Any, keys: list[str], reporter: Reporter) -> None:
    """Write the last of these runs again whose files are here; without one, show no scores."""
    known = [run for key in keys if (run := _files(dataset, key)) is not None]
    if known:
        last = max(known, key=lambda run: str(run.record.get("scored_last") or ""))
        write_run(last, dataset.name, reporter)
        dataset.reload()
        reporter.say(f"The dataset {dataset.name} shows run {last.key} again.")
        return
    with quiet():
        _strip(dataset)
        dataset.info[MADE_BY] = dict(dataset.info[MADE_BY]) | {"current": None}
        dataset.save()
    reporter.say(
        f"The dataset {dataset.name} shows no scores now: the files of its other runs "
        f"({', '.join(keys)}) are not here any more."
    )


def _files(dataset: Any, key: str) -> Run | None:
    """The run that was written as ``key``, if its files are here and whole."""
    if not dataset.has_run(key):
        return None
    run = Run(Path(dataset.get_run_info(key).config.folder))
    try:
        return run if run.record.get("key") == key and len(run.frame()) else None
    except (UserError, OSError, ValueError, KeyError):
        return None


def _strip(dataset: Any) -> None:
    """Remove the fields, views, tags and settings of the App that mincurate made."""
    if BRAIN_KEY in dataset.list_brain_runs():
        dataset.delete_brain_run(BRAIN_KEY)
    for view in set(VIEWS) & set(dataset.list_saved_views()):
        dataset.delete_saved_view(view)
    if WORKSPACE in dataset.list_workspaces():
        dataset.delete_workspace(WORKSPACE)
    dataset.untag_samples(UNSCORABLE)
    config = dataset.app_config
    config.sidebar_groups = [g for g in config.sidebar_groups or [] if g.name != GROUP] or None
    if config.color_scheme and config.color_scheme.fields:
        scheme = config.color_scheme
        scheme.fields = [f for f in scheme.fields if f.get("path") not in FIELDS]
    if config.active_fields is not None:
        paths = config.active_fields.paths
        config.active_fields.paths = [path for path in paths if path not in FIELDS]
    dataset.save()
    dataset.delete_sample_fields([field for field in FIELDS if dataset.has_field(field)])


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
        or made.get("contents") != contents(dataset)
    )
