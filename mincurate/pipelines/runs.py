"""A run by whatever names it, and the commands about runs that need no more than that."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mincurate.errors import UserError
from mincurate.images.collection import FIFTYONE
from mincurate.pipelines.open_images import is_dataset, run_of
from mincurate.progress import Reporter
from mincurate.runs import store
from mincurate.runs.store import Run
from mincurate.terminal import choose_reporter

if TYPE_CHECKING:
    from mincurate.ranking.compare import Comparison
    from mincurate.runs.verify import Damage

AnyRun = Any
"""What a call may name a run by; see `find_run`."""


def find_run(run: AnyRun = None, *, kind: str | None = None) -> Run:
    """The run that a call names.

    Args:
        run: a `Run`; the result of a call, such as `Result`; its key (``mincurate_3``), number or
            folder; a FiftyOne dataset, a view of it or ``fiftyone:NAME``, for the run that it
            shows; or ``None`` for the last one.
        kind: ``score`` or ``augment``: without a ``run``, the last one of this kind; of a dataset,
            the last generation in it with ``augment``.

    Raises:
        UserError: there is no such run.
    """
    if (named := run_of(run)) is not None:
        return named
    if isinstance(run, str) and run.startswith(FIFTYONE):
        from mincurate.dataset import database, reader

        database.check_database()
        run = database.load(reader.split(run.removeprefix(FIFTYONE))[0])
    if is_dataset(run):
        return _shown(run, kind)
    if run is None or (isinstance(run, str | Path | int) and not isinstance(run, bool)):
        return store.find(None if run is None else str(run), kind=kind)
    raise UserError(
        "A run is named by the result of a call, its key, number or folder, or its FiftyOne "
        f"dataset, not by {type(run).__name__}."
    )


def _shown(samples: Any, kind: str | None) -> Run:
    """The run that a FiftyOne dataset shows, or its last generation."""
    from mincurate.dataset import lookup

    dataset = samples._root_dataset
    if kind != store.AUGMENT:
        return lookup.find(dataset)
    generations = lookup.generations(dataset)
    if not generations:
        raise UserError(
            f"The dataset {dataset.name!r} has no generated images; make some with "
            "`mincurate augment`."
        )
    return generations[-1]


def verify(run: AnyRun = None) -> "list[Damage]":
    """What is damaged in a run: an empty list where it is whole; see `runs.verify.verify`.

    Args:
        run: see `find_run`; the last one when absent.

    Raises:
        UserError: there is no such run.
    """
    from mincurate.runs import verify as verification

    return verification.verify(find_run(run))


def compare(first: AnyRun, second: AnyRun) -> "Comparison":
    """Compare two scored runs: rank correlation, and the images that moved most.

    Args:
        first: see `find_run`, and ``second`` likewise.

    Raises:
        UserError: no such run, a run that is not scored, or fewer than 3 images in common.
    """
    from mincurate.ranking import compare as ranking

    return ranking.compare(find_run(first), find_run(second))


def delete(
    run: AnyRun,
    *,
    fiftyone: bool = True,
    reporter: Reporter | None = None,
    progress: bool | None = None,
) -> None:
    """Delete a run's files, and its fields, views and tags in FiftyOne. Images stay.

    Args:
        run: see `find_run`. A run that generated images goes with them and their samples.
        fiftyone: delete in FiftyOne, too.
        reporter: as in `score`, and ``progress`` likewise.

    Raises:
        UserError: no such run, something is working on it, or the database does not answer.
    """
    from mincurate.dataset import delete as dataset_delete

    if run is None:
        raise UserError("Name the run to delete.")
    reporter = choose_reporter(reporter, progress)
    dataset_delete.delete_run(find_run(run), keep_dataset=not fiftyone, reporter=reporter)
