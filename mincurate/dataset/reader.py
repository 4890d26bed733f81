"""Read the images and labels of a FiftyOne dataset."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mincurate.dataset import labels
from mincurate.dataset import samples as parts
from mincurate.dataset.database import check_database, fiftyone, load
from mincurate.errors import UserError
from mincurate.images.sources import Source


@dataclass(frozen=True)
class Reading:
    """The images of a dataset or view.

    Attributes:
        sources: one per sample.
        origin: what the run's record says of them: ``dataset``, ``dataset_id``, ``view`` and
            ``label_field``.
        words: where the labels are from.
    """

    sources: list[Source]
    origin: dict[str, str | None]
    words: str


def split(value: str) -> tuple[str, str | None]:
    """``NAME[/VIEW]`` as the names of a dataset and of a saved view; both may hold slashes.

    A dataset of the whole name comes first, then the longest name that is one.
    """
    names = set(fiftyone().list_datasets())
    pieces = value.split("/")
    for length in range(len(pieces), 0, -1):
        name = "/".join(pieces[:length])
        if name in names:
            return name, "/".join(pieces[length:]) or None
    name, _, view = value.partition("/")
    if view:
        load(value)  # says that there is none, and what there is
    return name, view or None


def read(value: str, label_field: str | None = None) -> Reading:
    """The images of ``NAME[/VIEW]`` with sample ids; those generated, or mined and not kept, are
    left out.

    Args:
        label_field: the field that holds the labels; by default `labels.choose` finds it.

    Raises:
        UserError: no such dataset, view or field, or it does not show whole images.
    """
    check_database()
    name, view = split(value)
    dataset = load(name)
    samples = _view(dataset, view)
    # By id, because a view may leave out the field that generated images are known by.
    others = [*parts.generated(dataset).values("id"), *parts.candidates(dataset).values("id")]
    samples = samples.exclude(others) if others else samples
    field = labels.choose(samples, label_field)
    ids, paths = samples.values(["id", "filepath"])
    if not ids:
        raise UserError(f"There are no images in {name!r}{f' / {view!r}' if view else ''}.")
    names = labels.read(samples, field) if field else [None] * len(ids)
    root = os.path.commonpath([os.path.dirname(p) for p in paths])
    sources = [
        Source(path=p, rel_path=Path(os.path.relpath(p, root)).as_posix(), label=text, sample_id=i)
        for i, p, text in zip(ids, paths, names, strict=True)
    ]
    origin = {
        "dataset": name,
        "dataset_id": str(dataset._doc.id),
        "view": view,
        "label_field": field.name if field else None,
    }
    return Reading(sources, origin, labels.words(samples, field))


def read_sources(name: str, view: str | None, label_field: str | None = None) -> list[Source]:
    """The sources of `read`."""
    return read(f"{name}/{view}" if view else name, label_field).sources


def _view(dataset: Any, view: str | None) -> Any:
    """A dataset or its saved view as plain samples."""
    if view is None:
        return parts.flat(dataset, f"The dataset {dataset.name!r}").view()
    if view not in dataset.list_saved_views():
        views = ", ".join(dataset.list_saved_views()) or "none"
        raise UserError(
            f"The dataset {dataset.name!r} has no saved view {view!r}; it has: {views}."
        )
    try:
        samples = dataset.load_saved_view(view)
        len(samples)
    except Exception as error:
        # FiftyOne raises whatever the stages of a view raise that do not fit the fields any more.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"The view {view!r} of {dataset.name!r} cannot be opened ({reason}): save it again."
        ) from error
    return parts.flat(samples, f"The view {view!r} of {dataset.name!r}")
