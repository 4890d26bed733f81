"""A run is deleted: out of every FiftyOne dataset it was written to, and from the disk."""

from mincurate import removal, runs, synthetic
from mincurate.database import check_database
from mincurate.progress import SILENT, Reporter
from mincurate.runs import Run


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
    with runs.locked(run):
        written = [] if keep_dataset else datasets_of(run)
        if written:
            check_database()
        for place in written:
            if runs.kind_of(run) == runs.AUGMENT:
                synthetic.remove(run, place)
            else:
                removal.delete_run(place, run.key, reporter)
    runs.delete(run)
