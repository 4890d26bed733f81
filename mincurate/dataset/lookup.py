"""A FiftyOne dataset as mincurate sees it: the runs that it shows and holds, and its parts."""

from pathlib import Path
from typing import Any

from mincurate import hashing
from mincurate.dataset.writer import MADE_BY
from mincurate.errors import UserError
from mincurate.runs import store
from mincurate.runs.store import Run

PARTS = "scored-"
"""How saved views of what was scored are called, before a digest of what is in them."""


def current(dataset: Any) -> Run | None:
    """The scored run whose ranks the dataset shows, if its files are here."""
    key = (dataset.info.get(MADE_BY) or {}).get("current")
    return _files(dataset, key) if key else None


def scored(dataset: Any) -> list[Run]:
    """The scored runs that were written to the dataset and whose files are here, oldest first."""
    keys = (dataset.info.get(MADE_BY) or {}).get("runs", [])
    return _known(dataset, keys)


def generations(dataset: Any) -> list[Run]:
    """The generations whose images are in the dataset, oldest first."""
    keys = (dataset.info.get(MADE_BY) or {}).get("generations", {})
    return [run for run in _known(dataset, list(keys)) if store.kind_of(run) == store.AUGMENT]


def find(dataset: Any, key: str | None = None) -> Run:
    """The run of the dataset that is called ``key``, or the one that it shows.

    Raises:
        UserError: there is none.
    """
    if key is not None:
        found = _files(dataset, key)
        if found is None:
            raise UserError(f"The dataset {dataset.name!r} has no run {key!r}.")
        return found
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
    """
    dataset = samples._root_dataset
    if samples is dataset or not samples._stages:
        return f"fiftyone:{dataset.name}"
    if samples.name is not None and dataset.has_saved_view(samples.name):
        return f"fiftyone:{dataset.name}/{samples.name}"
    ids = samples.values("id")
    if not ids:
        raise UserError("There is no sample in this view to score.")
    name = PARTS + hashing.digest("".join(sorted(ids)).encode(), 4).hex()
    if not dataset.has_saved_view(name):
        dataset.save_view(name, dataset.select(ids), description="What was scored")
    return f"fiftyone:{dataset.name}/{name}"


def ids_of(dataset: Any, paths: list[str]) -> list[str]:
    """Ids of the samples that show these files, in their order; files that none shows left out."""
    ids, present = dataset.values(["id", "filepath"])
    by_path = dict(zip(present, ids, strict=True))
    return [by_path[path] for path in paths if path in by_path]


def _known(dataset: Any, keys: list[str]) -> list[Run]:
    found = [run for key in keys if (run := _files(dataset, key)) is not None]
    return sorted(found, key=lambda run: str(run.record.get("created") or ""))


def _files(dataset: Any, key: str) -> Run | None:
    if not dataset.has_run(key):
        return None
    run = Run(Path(dataset.get_run_info(key).config.folder))
    try:
        return run if run.record.get("key") == key and run.finished else None
    except UserError:  # a damaged record: as good as gone
        return None
