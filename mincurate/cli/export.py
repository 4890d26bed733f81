"""``mincurate export``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mincurate.cli.console import Terminal
from mincurate.cli.options import BASIC
from mincurate.errors import UserError

if TYPE_CHECKING:
    from mincurate.runs.store import Run

FOLDERS = "folders"
"""The value of ``--split`` that takes an image's first folder."""


def export(
    folder: Annotated[Path, typer.Argument(help="Where to write: a new folder.")],
    *,
    run: Annotated[
        str | None,
        typer.Option(
            help="Key, number or folder of a scored run. Default: the one scored last.",
            rich_help_panel=BASIC,
        ),
    ] = None,
    format: Annotated[
        Literal["folder", "csv", "parquet", "coco", "yolo"],
        typer.Option(
            help="A folder per class, or images with a table, COCO or YOLO annotations.",
            rich_help_panel=BASIC,
        ),
    ] = "folder",
    by: Annotated[
        Literal["label", "class"],
        typer.Option(help="Classes: labels or ordinal classes.", rich_help_panel=BASIC),
    ] = "label",
    split: Annotated[
        str | None,
        typer.Option(
            help="Column or field with the split of each image, or folders. Default: no splits.",
            rich_help_panel=BASIC,
        ),
    ] = None,
    copy: Annotated[
        bool,
        typer.Option("--copy", help="Copy the files. Default: hard links.", rich_help_panel=BASIC),
    ] = False,
    include_rejected: Annotated[
        bool,
        typer.Option(
            "--include-rejected", help="Also write rejected images.", rich_help_panel=BASIC
        ),
    ] = False,
) -> None:
    """Write a dataset of real and accepted generated images.

    Images tagged `outlier-drop` in FiftyOne are left out. With --split, generated images go to
    train, and those next to an image of another split are left out; `folders` takes the first
    folder of each image (train/..., test/...). The same command goes on after a stop.

    Example:

        mincurate export ./balanced --format coco --copy
    """
    from mincurate.curation import export as exports
    from mincurate.curation import gather
    from mincurate.runs import store

    reporter = Terminal()
    scored = store.find(run, kind=store.SCORE)
    table = gather.gather(scored, **dataset_now(scored, reporter), splits=_splits(scored, split))
    written = exports.export(
        table,
        folder,
        format=format,
        classes="label" if by == "label" else "rarity_class",
        files="copy" if copy else "link",
        include_rejected=include_rejected,
        reporter=reporter,
    )
    reporter.say(
        f"{written.real:,} real and {written.synthetic:,} synthetic images: {written.folder}"
    )
    for reason, n in written.excluded.items():
        reporter.say(f"Left out: {n:,} {reason}")
    for note in written.notes:
        reporter.warn(note)


def dataset_now(scored: "Run", reporter: Terminal) -> dict[str, Any]:
    """Tags and labels of today from the run's FiftyOne dataset; none where it does not answer."""
    from mincurate.pipelines import new_files
    from mincurate.runs import store

    if store.kind_of(scored) != store.SCORE or not scored.finished:
        return {}  # `gather` says what is wrong
    if changed := new_files.words_on_changes(scored):
        reporter.warn(changed)
    if not scored.record.get("dataset") and "dataset_id" not in scored.record["source"]:
        return {}
    from mincurate.dataset import current_state

    try:
        state = current_state.read(scored, reporter=reporter)
    except UserError as error:
        reporter.warn(f"Tags and corrected labels are not taken into account: {error}")
        return {}
    if state.differences:
        reporter.say(state.differences)
    return {
        "tags": state.tags,
        "frame": state.frame,
        "labels": state.several or None,
        "boxes": state.boxes or None,
    }


def _splits(scored: "Run", split: str | None) -> dict[str, str]:
    """The split of every image, by path."""
    from mincurate.curation import gather

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
