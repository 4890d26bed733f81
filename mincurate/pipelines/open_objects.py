"""Open the objects in the images of a folder or of a FiftyOne dataset: a run's rows are crops."""

import os
from dataclasses import replace
from typing import Any

from mincurate.errors import UserError
from mincurate.images import collection, object_storage, objects
from mincurate.images.collection import FIFTYONE, Collection, Place
from mincurate.images.objects import AUTO
from mincurate.progress import SILENT, Reporter


def lasting(place: Place, where: str | None) -> str | None:
    """``--objects`` as it is valid from any folder: an annotation file becomes absolute."""
    of_dataset = collection.place_name(place).startswith(FIFTYONE)
    if where is None or where == AUTO or of_dataset or not os.path.exists(where):
        return where
    return os.path.abspath(os.path.expanduser(where))


def open_objects(
    place: Place,
    where: str,
    *,
    context: float = 0.0,
    labels: bool | None = None,
    follow_links: bool = False,
    max_images: int | None = None,
    seed: int = 0,
    workers: int = 2,
    reporter: Reporter = SILENT,
    **reading: Any,
) -> Collection:
    """Find and identify the objects in the images of a place.

    Args:
        place: a folder, or ``fiftyone:NAME[/VIEW]``.
        where: the field with the objects; or a COCO file, a folder of YOLO or VOC files, or
            ``auto``.
        context: what is cut out beside each box, as a share of its sides on each side.
        max_images: those in a random sample of this many images; see `open_images` for the others.

    Raises:
        UserError: there are no objects, or not one in a readable image.
    """
    name = collection.place_name(place)
    reading |= {"workers": workers, "reporter": reporter}
    several = not isinstance(place, str | os.PathLike) and len(place) > 1
    if several or object_storage.remote(name):
        raise UserError("--objects takes one folder of this machine, or fiftyone:NAME.")
    if name.startswith(FIFTYONE):
        from mincurate.dataset import reader

        value = name.removeprefix(FIFTYONE)
        dataset = reader.read_objects(
            value, where, context=context, max_images=max_images, seed=seed
        )
        rows, lines = dataset.sources, [dataset.words]
        if labels is False:
            rows = [replace(source, label=None) for source in rows]
        empty = Collection("fiftyone", value, [], origin={**dataset.origin}, lines=lines)
        return collection.identify_all(empty, rows, **reading)
    listing = objects.read(
        name,
        where,
        labels=labels,
        context=context,
        follow_links=follow_links,
        max_images=max_images,
        seed=seed,
        workers=workers,
    )
    origin = {"labels": listing.labels, "passed_over": {}, "notes": listing.notes, "objects": where}
    value = os.path.realpath(os.path.expanduser(name))
    empty = Collection("folder", value, [], origin=origin, lines=listing.lines)
    return collection.identify_all(empty, listing.sources, **reading)
