"""A run is deleted: out of every FiftyOne dataset it was written to, and from the disk."""

from typing import Any

from mincurate.dataset import generated, lookup, mined, object_ranks, ownership, removal
from mincurate.dataset.database import check_database, fiftyone, place, quiet
from mincurate.dataset.writer import write_run
from mincurate.errors import UserError
from mincurate.progress import SILENT, Reporter
from mincurate.runs import store
from mincurate.runs.store import Run


def datasets_of(run: Run) -> list[str]:
    """The FiftyOne datasets that a run was written to, as they were called then."""
    record = run.record
    return sorted({record.get("dataset"), *(record.get("datasets") or [])} - {None})


def words(run: Run, *, keep_dataset: bool = False) -> str:
    """What `delete_run` deletes."""
    what = f"run {run.key} in {run.path.resolve()}"
    written = datasets_of(run)
    if written and not keep_dataset:
        what += f" and what it wrote to the FiftyOne dataset {' and '.join(written)}"
    if dependents := [r.key for r in _generated_for(run)]:
        what += (
            f" (the images generated for it, {', '.join(dependents)}, stay, but can be neither "
            "evaluated nor exported without it)"
        )
    return what


def delete_run(run: Run, *, keep_dataset: bool = False, reporter: Reporter = SILENT) -> None:
    """Delete a run's files, and its fields, views, tags, generated and mined samples in FiftyOne.

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
        for name in written:
            present = lookup.name_now(run, name)
            _check_here(run, present)
            if store.kind_of(run) == store.AUGMENT:
                generated.remove(run, present)
            elif store.kind_of(run) == store.MINE:
                mined.remove(run, present)
            else:
                remove_from_dataset(present, run.key, reporter)
    store.delete(run)


def _check_here(run: Run, name: str) -> None:
    """Raise `UserError` for a dataset that is in another database."""
    where = run.record.get("database")
    if where not in (None, place()) and not fiftyone().dataset_exists(name):
        raise UserError(
            f"Run {run.key} was written to the dataset {name!r} in the database {where}, and "
            f"FiftyOne uses {place()}: set FIFTYONE_DATABASE_DIR or FIFTYONE_DATABASE_URI to that "
            "one, or leave what it wrote there with --no-fiftyone."
        )


def remove_from_dataset(name: str, key: str, reporter: Reporter = SILENT) -> bool:
    """Remove from a dataset what a run wrote there.

    Samples with its scores show those of the other runs again, as far as their files are here, or
    none. With the last run all goes that mincurate made there. A dataset that mincurate created and
    in which the user made nothing of his own is deleted. Image files are never touched.

    Returns:
        Whether there was anything to remove.
    """
    fo = fiftyone()
    if not fo.dataset_exists(name):
        return False
    dataset = fo.load_dataset(name)
    entries = ownership.read(dataset)
    if key not in entries.runs:
        return False
    ownership.save(dataset, entries)  # it may have been read from the run that goes
    labels = removal.labels_of(dataset, key)
    others = [other for other in entries.runs if other != key]
    with quiet():
        removal.clear(dataset, key)
    # The other runs are shown before this one is forgotten: if that fails, it can be done again.
    if others:
        if not any(object_ranks.of_objects(dataset, other) for other in others):
            with quiet():
                object_ranks.strip(dataset)
        _show_others(dataset, others, reporter)
    with quiet():
        if dataset.has_run(key):
            dataset.delete_run(key)
        ownership.save(dataset, removal.without(ownership.read(dataset), key))
        if not others:
            removal.strip_scores(dataset)
            removal.delete_added(dataset, labels)
        ownership.copy(dataset)
        removal.finish(dataset)
    return True


def _show_others(dataset: Any, keys: list[str], reporter: Reporter) -> None:
    """Write these runs again whose files are here, the one that is to be shown last.

    Where none of them can be shown, the dataset shows no scores.
    """
    shown = ownership.read(dataset).current
    runs = [run for key in keys if (run := removal.files(dataset, key)) is not None]
    if shown in keys:
        if shown not in [run.key for run in runs]:
            return  # its scores are in the database alone
    elif not runs:
        with quiet():
            removal.strip_scores(dataset)
        reporter.say(
            f"The dataset {dataset.name} shows no scores now: the files of its other runs "
            f"({', '.join(keys)}) are gone."
        )
        return
    runs.sort(key=lambda run: (run.key == shown, str(run.record.get("scored_last") or "")))
    for run in runs:
        write_run(run, dataset.name, reporter)
    dataset.reload()
    if shown not in keys:
        reporter.say(f"The dataset {dataset.name} shows run {runs[-1].key} again.")


def _generated_for(run: Run) -> list[Run]:
    """The generations of a scored run."""
    if store.kind_of(run) != store.SCORE:
        return []
    created = run.record.get("created")
    return [
        other
        for other in store.all_runs()
        if store.kind_of(other) == store.AUGMENT
        and other.record.get("base") == run.key
        and other.record.get("base_created") == created
    ]
