"""Open what the user names: a folder, a URL, a table, or a FiftyOne dataset."""

from dataclasses import replace
from pathlib import Path

from mincurate.images import collection
from mincurate.images.collection import FIFTYONE, Collection
from mincurate.progress import SILENT, Reporter


def open_images(
    place: str | Path,
    *,
    labels: bool | None = None,
    label_field: str | None = None,
    max_images: int | None = None,
    background: str = "auto",
    seed: int = 0,
    workers: int = 2,
    reporter: Reporter = SILENT,
) -> Collection:
    """Find and identify the images of a folder (or URL), a table, or ``fiftyone:NAME[/VIEW]``.

    Args:
        labels: take labels (True), none (False), or decide by what the folders look like (None).
        label_field: the label field of a FiftyOne dataset.
        max_images: a random sample of this many files, decided by ``seed``.
        background: behind transparent pixels (`depth.Rendering`).

    Raises:
        UserError: there is nothing to read, or not one readable image.
    """
    if not str(place).startswith(FIFTYONE):
        return collection.open_collection(
            place,
            labels=labels,
            max_images=max_images,
            background=background,
            seed=seed,
            workers=workers,
            reporter=reporter,
        )
    from mincurate.dataset import reader

    value = str(place).removeprefix(FIFTYONE)
    reading = reader.read(value, label_field)
    sources, origin = reading.sources, reading.origin
    if labels is False:
        sources = [replace(source, label=None) for source in sources]
        origin = origin | {"label_field": None}
    else:
        reporter.say(reading.words)
    images = collection.identify_all(
        "fiftyone",
        value,
        sources,
        max_images=max_images,
        background=background,
        seed=seed,
        workers=workers,
        reporter=reporter,
    )
    return replace(images, origin=origin)
