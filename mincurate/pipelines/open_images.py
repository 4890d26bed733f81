"""Open what the user names: a folder, a URL, a table, files, or a FiftyOne dataset."""

from dataclasses import replace
from typing import Any

from mincurate.images import collection
from mincurate.images.collection import FIFTYONE, Collection, Place
from mincurate.progress import SILENT, Reporter
from mincurate.ranking import table


def open_images(
    place: Place,
    *,
    labels: bool | None = None,
    label_field: str | None = None,
    path_column: str | None = None,
    follow_links: bool = False,
    reporter: Reporter = SILENT,
    **reading: Any,
) -> Collection:
    """Find and identify the images of a place.

    Args:
        place: a folder, a URL, a table, several files and folders, or ``fiftyone:NAME[/VIEW]``.
        labels: take labels (True), none (False), or decide by what the folders look like (None).
        label_field: the label field of a FiftyOne dataset, or the label column of a table.
        path_column: the column of a table with the paths; one with a usual name when absent.
        follow_links: read what symbolic links that leave the folder lead to.
        reporter: hears of progress.
        reading: ``max_images``, ``background``, ``seed`` and ``workers`` of
            `collection.open_collection`.

    Raises:
        UserError: there is nothing to read, or not one readable image.
    """
    name = collection.place_name(place)
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


def describe(images: Collection) -> str:
    """One line on what was found."""
    counts = table.counts(images)
    line = f"Found {counts['images']:,} files: {counts['unique']:,} different readable images"
    if counts["duplicates"]:
        line += f", {counts['duplicates']:,} exact duplicates"
    if counts["unscorable"]:
        line += f", {counts['unscorable']:,} that cannot be read (listed in the report)"
    labels = images.labels
    return line + (f"; {len(labels)} labels." if labels else "; no labels.")
