"""Pictures of the images that browsers do not show, for the App: in a folder of the run."""

from collections.abc import Mapping

from mincurate.images import decode_pool
from mincurate.images.bit_depth import Rendering
from mincurate.images.collection import Collection
from mincurate.images.decode import UnreadableImage
from mincurate.progress import Reporter
from mincurate.runs import atomic_files, schema
from mincurate.runs.store import Run

SIDE = 1024
"""Longer side in pixels, at most."""


def write_unseen(
    run: Run, images: Collection, dataset: str | None, workers: int, reporter: Reporter
) -> None:
    """Write previews of the images of a run that browsers do not show.

    Args:
        dataset: that the App will show; without one, there are no previews.
    """
    if dataset:
        unseen = {h: s.path for h, (s, known) in images.unique.items() if not known.in_browsers}
        if images.of_objects:  # whole images, of which the App cuts out parts
            unseen = {schema.preview_of_path(path): path for path in unseen.values()}
        write(run, unseen, images.rendering, workers, reporter)


def write(
    run: Run, paths: Mapping[str, str], rendering: Rendering, workers: int, reporter: Reporter
) -> None:
    """Write the previews that are not there yet.

    Args:
        paths: of the images that need one, by the name of the preview: the content hash, or of an
            image whose parts are ranked `schema.preview_of_path`.
        rendering: of the run.
        workers: processes that decode.
    """
    folder = run.path / schema.PREVIEWS
    missing = {h: path for h, path in paths.items() if not (folder / f"{h}.jpg").is_file()}
    if not missing:
        return
    folder.mkdir(exist_ok=True)
    pictures = decode_pool.preview_many(
        missing.values(), side=SIDE, rendering=rendering, workers=workers
    )
    with reporter.task("Previews for the App", len(missing)) as advance:
        for content, picture in zip(missing, pictures, strict=True):
            if not isinstance(picture, UnreadableImage):
                atomic_files.write_atomically(folder / f"{content}.jpg", picture)
            advance(1, "")
