"""``mincurate export``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mincurate.cli.options import BASIC, OfRun
from mincurate.terminal import Terminal


def export(
    folder: Annotated[Path, typer.Argument(help="Where to write: a new folder.")],
    *,
    run: OfRun = None,
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
    from mincurate.pipelines import export as pipeline

    reporter = Terminal()
    written = pipeline.export(
        run,
        folder,
        format=format,
        by=by,
        split=split,
        copy=copy,
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
