"""Write a dataset of real and accepted generated images: the call behind ``mincurate export``."""

from pathlib import Path
from typing import Literal

from mincurate.curation import export as exports
from mincurate.curation import gather
from mincurate.curation.export import Exported, Format
from mincurate.errors import UserError
from mincurate.pipelines.images_now import gather_now
from mincurate.pipelines.runs import AnyRun, find_run
from mincurate.progress import Reporter
from mincurate.runs import store
from mincurate.runs.store import Run
from mincurate.terminal import choose_reporter

FOLDERS = "folders"
"""The value of ``split`` that takes an image's first folder."""


def export(
    run: AnyRun,
    folder: str | Path,
    *,
    format: Format = "folder",
    by: Literal["label", "class"] = "label",
    split: str | None = None,
    copy: bool = False,
    include_rejected: bool = False,
    reporter: Reporter | None = None,
    progress: bool | None = None,
) -> Exported:
    """Write the images of a scored run, and the accepted ones generated for it, into a folder.

    Images tagged ``outlier-drop`` in FiftyOne are left out; labels are those of today. The same
    call goes on after a stop.

    Args:
        run: the scored run (`find_run`); the one scored last when ``None``.
        folder: a new folder.
        format: ``folder`` (one per class), ``csv``, ``parquet``, ``coco`` or ``yolo``.
        by: classes are labels, or ordinal classes.
        split: column or field with the split of each real image, or ``folders``, its first folder.
        copy: copy files, in place of hard links.
        include_rejected: also write generated images that the gate rejected.
        reporter: as in `score`, and ``progress`` likewise.

    Raises:
        UserError: something the user can fix.
    """
    reporter = choose_reporter(reporter, progress)
    scored = find_run(run, kind=store.SCORE)
    if scored.objects is not None and format == "folder":
        raise UserError(
            f"The run {scored.key} ranks objects, and a folder per class holds whole images: take "
            "--format coco, yolo, csv or parquet."
        )
    table = gather_now(scored, reporter, splits=_splits(scored, split))
    return exports.export(
        table,
        Path(folder).expanduser(),
        format=format,
        classes="label" if by == "label" else "rarity_class",
        files="copy" if copy else "link",
        include_rejected=include_rejected,
        reporter=reporter,
    )


def _splits(scored: Run, split: str | None) -> dict[str, str]:
    """The split of every image, by path."""
    if split is None:
        return {}
    if split == FOLDERS:
        return gather.folder_splits(scored)
    source = scored.record.get("source") or {}
    if source.get("kind") == "fiftyone":
        from mincurate.dataset import database, lookup, tags

        database.check_database()
        return tags.field(lookup.source_of(scored)[0], split)
    return gather.table_column(scored, split)
