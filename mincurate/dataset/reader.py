"""Read the images and labels of a FiftyOne dataset."""

import os
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mincurate.dataset import boxes, labels
from mincurate.dataset import samples as parts
from mincurate.dataset.database import check_database, fiftyone, load
from mincurate.errors import UserError
from mincurate.images.labels import words as label_words
from mincurate.images.sources import Source


@dataclass(frozen=True)
class Reading:
    """The images of a dataset or view.

    Attributes:
        sources: one per sample, or per object.
        origin: what the run's record says of them: ``dataset``, ``dataset_id``, ``view``,
            ``label_field`` and, of objects, their field as ``objects``.
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
    samples, origin = _samples(value)
    field = labels.choose(samples, label_field)
    ids, paths = samples.values(["id", "filepath"])
    names = labels.read(samples, field) if field else [None] * len(ids)
    root = os.path.commonpath([os.path.dirname(p) for p in paths])
    sources = [
        Source(path=p, rel_path=Path(os.path.relpath(p, root)).as_posix(), label=text, sample_id=i)
        for i, p, text in zip(ids, paths, names, strict=True)
    ]
    origin |= {"label_field": field.name if field else None}
    return Reading(sources, origin, labels.words(samples, field))


def _samples(value: str) -> tuple[Any, dict[str, str | None]]:
    """The samples of ``NAME[/VIEW]`` without generated ones, and what the record says of them."""
    check_database()
    name, view = split(value)
    dataset = load(name)
    samples = _view(dataset, view)
    # By id, because a view may leave out the field that generated images are known by.
    others = [*parts.generated(dataset).values("id"), *parts.candidates(dataset).values("id")]
    samples = samples.exclude(others) if others else samples
    if not len(samples):
        raise UserError(f"There are no images in {name!r}{f' / {view!r}' if view else ''}.")
    return samples, {"dataset": name, "dataset_id": str(dataset._doc.id), "view": view}


def read_objects(
    value: str, name: str, *, context: float, max_images: int | None = None, seed: int = 0
) -> Reading:
    """The objects in the images of ``NAME[/VIEW]``, with the ids of samples and of labels.

    Args:
        name: the field that holds them (`boxes.choose`).
        context: of every `Source`.
        max_images: only those in a random sample of this many images, decided by ``seed``.

    Raises:
        UserError: as `read`; or the field holds no boxes.
    """
    samples, origin = _samples(value)
    field = boxes.choose(samples, name)
    ids = samples.values("id")
    if max_images is not None and max_images < len(ids):
        samples = samples.select(random.Random(seed).sample(ids, max_images))
    objects, passed_over = boxes.read(samples, field)
    if not objects:
        raise UserError(f"There are no boxes in the field {name!r} of {value!r}.")
    root = os.path.commonpath([os.path.dirname(o.path) for o in objects])
    count: Counter[str] = Counter()
    sources = []
    for item in objects:
        count[item.path] += 1
        rel_path = Path(os.path.relpath(item.path, root)).as_posix()
        sources.append(
            Source(
                item.path,
                f"{rel_path}#{count[item.path]}",
                item.label,
                sample_id=item.sample_id,
                box=item.box,
                context=context,
                object_id=item.label_id,
            )
        )
    names = [item.label for item in objects if item.label is not None]
    where = f"the field {name!r} ({field.kind})"
    words = f"Labels: {label_words(names, len(names), len(objects), where, 'objects')}."
    if passed_over:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in passed_over.most_common())
        words += f" {passed_over.total():,} objects are passed over: {reasons}."
    return Reading(sources, origin | {"label_field": name, "objects": name}, words)


def read_sources(name: str, view: str | None, label_field: str | None = None) -> list[Source]:
    """The sources of `read`."""
    return read(f"{name}/{view}" if view else name, label_field).sources


def _view(dataset: Any, view: str | None) -> Any:
    """A dataset or its saved view as plain samples."""
    if view is None:
        return parts.flat(dataset, f"The dataset {dataset.name!r}").view()
    return parts.flat(open_view(dataset, view), f"The view {view!r} of {dataset.name!r}")


def open_view(dataset: Any, view: str | None) -> Any:
    """A dataset as it is, or its saved view.

    Raises:
        UserError: there is no such view, or it cannot be opened.
    """
    if view is None:
        return dataset
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
    return samples
