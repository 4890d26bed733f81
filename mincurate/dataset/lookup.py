"""A FiftyOne dataset as mincurate sees it: the runs that it shows and holds, and its parts."""

from pathlib import Path
from typing import Any

from mincurate import hashing
from mincurate.dataset import database, ownership, reader
from mincurate.dataset import samples as parts
from mincurate.errors import UserError
from mincurate.progress import SILENT, Reporter
from mincurate.runs import store
from mincurate.runs.store import Run

PARTS = "scored-"
"""How saved views of what was scored are called, before a digest of what is in them."""


def current(dataset: Any) -> Run | None:
    """The scored run whose ranks the dataset shows, if its files are here."""
    key = ownership.read(dataset).current
    return _files(dataset, key) if key else None


def scored(dataset: Any) -> list[Run]:
    """The scored runs that were written to the dataset and whose files are here, oldest first."""
    return _with_files(dataset, ownership.read(dataset).runs)


def generations(dataset: Any) -> list[Run]:
    """The generations whose images are in the dataset, oldest first."""
    keys = list(ownership.read(dataset).generations)
    return [run for run in _with_files(dataset, keys) if store.kind_of(run) == store.AUGMENT]


def mines(dataset: Any) -> list[Run]:
    """The runs that mined images into the dataset, oldest first."""
    return _with_files(dataset, list(ownership.read(dataset).mines))


def name_now(run: Run, name: str) -> str:
    """What the dataset is called now that a run was written to as ``name``."""
    dataset_id = (run.record.get("dataset_ids") or {}).get(name)
    return (database.name_of(dataset_id) if dataset_id else None) or name


def dataset_of(run: Run, reporter: Reporter = SILENT) -> str | None:
    """The dataset that a run was written to last, by its present name; ``None`` without one.

    Raises:
        UserError: the database does not answer, or the dataset is gone.
    """
    name = run.record.get("dataset")
    if not name:
        return None
    database.check_database()
    present = name_now(run, str(name))
    if present != name:
        reporter.say(f"The dataset {name} is called {present} now.")
    try:
        database.load(present)
    except UserError as error:
        where = run.record.get("database")
        here = where in (None, database.place())
        hint = f"`mincurate sync {run.key}` writes it again" if here else f"it is in {where}"
        raise UserError(f"{error} Run {run.key} was written to {name!r}: {hint}.") from None
    return present


def source_of(run: Run) -> tuple[str, str | None]:
    """The dataset and the view that a run was scored from, the dataset by its present name."""
    source = run.record["source"]
    if "dataset_id" not in source:  # of an earlier version
        return reader.split(str(source["value"]))
    return database.name_of(source["dataset_id"]) or source["dataset"], source["view"]


def last_dataset(reporter: Reporter = SILENT) -> str | None:
    """The dataset of the run that was scored last and has one, by its present name."""
    name = store.last_dataset()
    runs = [run for run in store.all_runs() if name and run.record.get("dataset") == name]
    return dataset_of(runs[-1], reporter) if runs else None


def find(dataset: Any, key: str | None = None) -> Run:
    """The run of the dataset that is called ``key``, or the one that it shows.

    Raises:
        UserError: there is none.
    """
    if key is not None:
        run = _files(dataset, key)
        if run is None:
            raise UserError(f"The dataset {dataset.name!r} has no run {key!r}.")
        return run
    shown = current(dataset)
    if shown is None:
        raise UserError(
            f"The dataset {dataset.name!r} shows no scored run: score it first "
            f"(operator score, or `mincurate score fiftyone:{dataset.name}`)."
        )
    return shown


def place(samples: Any) -> str:
    """``fiftyone:NAME[/VIEW]`` for a dataset or any view of it.

    A view without a name is saved as the samples it holds now: one that filters by scores would
    hold others once it is scored.

    Raises:
        UserError: the view shows parts of samples, or none.
    """
    dataset = samples._root_dataset
    if samples is dataset or not (samples._stages or samples._is_generated):
        return f"fiftyone:{dataset.name}"
    if samples.name is not None and dataset.has_saved_view(samples.name):
        return f"fiftyone:{dataset.name}/{samples.name}"
    if samples._is_generated or dataset.media_type not in ("group", "video"):
        samples = parts.flat(samples, "This view")
    ids = samples.values("id")
    if not ids:
        raise UserError("There is no sample in this view to score.")
    name = PARTS + hashing.digest("".join(sorted(ids)).encode(), 4).hex()
    if not dataset.has_saved_view(name):
        ownership.claim(dataset, views=[name])
        view = parts.images(dataset).select(ids)
        dataset.save_view(name, view, description="What was scored")
    return f"fiftyone:{dataset.name}/{name}"


def _with_files(dataset: Any, keys: list[str]) -> list[Run]:
    runs = [run for key in keys if (run := _files(dataset, key)) is not None]
    return sorted(runs, key=lambda run: str(run.record.get("created") or ""))


def _files(dataset: Any, key: str) -> Run | None:
    if not dataset.has_run(key):
        return None
    run = Run(Path(dataset.get_run_info(key).config.folder))
    try:
        shown = run.finished or run.ranked
        return run if run.record.get("key") == key and shown else None
    except UserError:  # a damaged record: as good as gone
        return None
