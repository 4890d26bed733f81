"""Open what the user names: a folder, a URL, a table, files, or a FiftyOne dataset."""

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from mincurate.errors import UserError
from mincurate.images import collection, object_storage
from mincurate.images import tiles as tile_grid
from mincurate.images.collection import FIFTYONE, Collection, Place
from mincurate.images.tiles import Tiling
from mincurate.pipelines.open_objects import open_objects
from mincurate.progress import SILENT, Reporter
from mincurate.ranking import table
from mincurate.runs import store
from mincurate.runs.store import Run

Images = Any
"""What a call from Python may name images by; see `place_of`."""


def place_of(
    images: Images,
    *,
    labels: bool | None = None,
    label_field: str | None = None,
    path_column: str | None = None,
) -> Place:
    """What a call from Python names images by, as a place that later calls can open again.

    Args:
        images: a place (`open_images`); several paths, in whatever holds them; a pandas data frame
            (`data_frame.save`); a ``fiftyone.Dataset`` or view (`lookup.place`); or a scored run,
            or the result of one, for the images that it scored.
        labels: of a data frame, and ``label_field`` and ``path_column`` likewise: as for a table.

    Raises:
        UserError: it is something else.
    """
    if isinstance(images, str):
        return images
    if isinstance(images, os.PathLike):
        return os.fspath(images)
    if (run := run_of(images)) is not None:
        return _place_of_run(run)
    if is_dataset(images):
        from mincurate.dataset import lookup

        return lookup.place(images)
    if _is_instance(images, "pandas", "DataFrame"):
        from mincurate.pipelines import data_frame

        return data_frame.save(
            images, labels=labels, label_column=label_field, path_column=path_column
        )
    if isinstance(images, Iterable) and not isinstance(images, bytes | Mapping):
        return _paths(images)
    raise UserError(_not_images(images))


def run_of(value: Any) -> Run | None:
    """The run of a `Run`, or of a result that has one."""
    run = getattr(value, "run", value)
    return run if isinstance(run, Run) else None


def is_dataset(value: Any) -> bool:
    """Whether a value is a FiftyOne dataset or view; FiftyOne is not imported for it."""
    return _is_instance(value, "fiftyone.core.collections", "SampleCollection")


def _is_instance(value: Any, module: str, name: str) -> bool:
    """Whether a value is of a class that may not have been imported."""
    return module in sys.modules and isinstance(value, getattr(sys.modules[module], name))


def _paths(images: Iterable[Any]) -> Place:
    """Several paths, valid from any folder; of one path, itself."""
    paths = []
    for path in images:
        if not isinstance(path, str | os.PathLike):
            raise UserError(_not_images(images, path))
        paths.append(os.fspath(path))
    if len(paths) == 1:
        return paths
    return [
        path
        if not path.strip() or path.startswith(FIFTYONE) or object_storage.scheme(path)
        else os.path.abspath(os.path.expanduser(path))
        for path in paths
    ]


def _not_images(images: Any, item: Any = None) -> str:
    kind = type(images).__name__ + ("" if item is None else f" of {type(item).__name__}")
    return (
        "The images are a folder, paths, a table, a data frame with a column of paths, a FiftyOne "
        f"dataset or view, or a scored run, not {kind}: save what is in memory as image files."
    )


def _place_of_run(run: Run) -> Place:
    """The place that a run has scored, a FiftyOne dataset by its present name."""
    store.check_scored(run)
    source = run.record.get("source")
    if not source:
        raise UserError(f"Run {run.key} was stopped before it had read its images: name them.")
    if source["kind"] != "fiftyone":
        return source.get("paths") or str(source["value"])
    from mincurate.dataset import database, lookup

    database.check_database()
    name, view = lookup.source_of(run)
    return FIFTYONE + (f"{name}/{view}" if view else name)


def open_images(
    place: Place,
    *,
    labels: bool | None = None,
    label_field: str | None = None,
    path_column: str | None = None,
    follow_links: bool = False,
    objects: str | None = None,
    context: float = 0.0,
    tiles: str | None = None,
    reporter: Reporter = SILENT,
    **reading: Any,
) -> Collection:
    """Find and identify the images of a place, or the objects in them, or their tiles.

    Args:
        place: a folder, a URL, a table, several files and folders, or ``fiftyone:NAME[/VIEW]``.
        labels: take labels (True), none (False), or decide by what the folders look like (None).
        label_field: the label field of a FiftyOne dataset, or the label column of a table.
        path_column: the column of a table with the paths; one with a usual name when absent.
        follow_links: read what symbolic links that leave the folder lead to.
        objects: where the objects are, which then take the place of the images; with ``context``,
            see `open_objects`.
        tiles: ``SIZE[/STRIDE]``: tiles of the images take their place (`images.tiles`).
        reporter: hears of progress.
        reading: ``max_images``, ``background``, ``bands``, ``seed`` and ``workers`` of
            `collection.open_collection`.

    Raises:
        UserError: there is nothing to read, or not one readable image.
    """
    name = collection.place_name(place)
    if tiles is not None:
        tiling = Tiling.parse(tiles)
        whole = open_images(
            place,
            labels=labels,
            label_field=label_field,
            path_column=path_column,
            follow_links=follow_links,
            reporter=reporter,
            **reading,
        )
        return _tiled(whole, tiling, reporter, **reading)
    if objects is not None:
        return open_objects(
            place,
            objects,
            context=context,
            labels=labels,
            follow_links=follow_links,
            reporter=reporter,
            **reading,
        )
    if not name.startswith(FIFTYONE):
        return collection.open_collection(
            place,
            labels=labels,
            path_column=path_column,
            label_column=label_field,
            follow_links=follow_links,
            reporter=reporter,
            **reading,
        )
    from mincurate.dataset import reader

    value = name.removeprefix(FIFTYONE)
    dataset = reader.read(value, label_field)
    files, origin = dataset.sources, dict(dataset.origin)
    if labels is False:
        files = [replace(source, label=None) for source in files]
        origin |= {"label_field": None}
    lines = [] if labels is False else [dataset.words]
    empty = Collection("fiftyone", value, [], origin=origin, lines=lines)
    return collection.identify_all(empty, files, reporter=reporter, **reading)


def _tiled(whole: Collection, tiling: Tiling, reporter: Reporter, **reading: Any) -> Collection:
    """The tiles of all images of a collection."""
    files, identities = zip(*whole.files, strict=True)
    rows = tile_grid.sources(list(files), list(identities), tiling)
    origin = whole.origin | {"objects": f"tiles {tiling}", "tiles": str(tiling)}
    reading.pop("max_images", None)
    return collection.identify_all(
        replace(whole, files=[], origin=origin), rows, reporter=reporter, **reading
    )


def describe(images: Collection) -> str:
    """One line on what was found."""
    counts = table.counts(images)
    if images.of_objects:
        pictures = len({source.path for source, _ in images.files})
        line = f"Found {counts['images']:,} {images.noun} in {pictures:,} images: "
        line += f"{counts['unique']:,} different readable ones"
    else:
        line = f"Found {counts['images']:,} files: {counts['unique']:,} different readable images"
    if counts["duplicates"]:
        line += f", {counts['duplicates']:,} exact duplicates"
    if counts["unscorable"]:
        line += f", {counts['unscorable']:,} that cannot be read (listed in the report)"
    if warned := sum(identity.warning is not None for _, identity in images.files):
        line += f", {warned:,} with a part missing or left out (listed in the report)"
    labels = images.labels
    return line + (f"; {len(labels)} labels." if labels else "; no labels.")
