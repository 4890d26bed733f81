"""``mincurate evaluate``."""

import time
from pathlib import Path
from typing import Annotated

import typer

from mincurate.cli import summaries
from mincurate.cli.options import BASIC, METHOD
from mincurate.cli.shared import settings_of
from mincurate.errors import UserError
from mincurate.progress import duration
from mincurate.runs import schema
from mincurate.terminal import Terminal


def evaluate(
    ctx: typer.Context,
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            help="A run of `mincurate augment` (default: the last one), or folders of images.",
        ),
    ] = None,
    *,
    run: Annotated[
        str | None,
        typer.Option(
            help="Of folders: the scored run to compare with. Default: the one scored last.",
            rich_help_panel=BASIC,
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--n", help="Judge only the first so many images. Default: all.", rich_help_panel=BASIC
        ),
    ] = None,
    downstream: Annotated[
        bool,
        typer.Option(
            "--downstream",
            help="Also train classifiers of the labels and say whether the images pay.",
            rich_help_panel=BASIC,
        ),
    ] = False,
    features: Annotated[
        str,
        typer.Option(
            help="Features that judge: inception, FILE (weights), run or NAME. Default: auto.",
            rich_help_panel=METHOD,
        ),
    ] = "auto",
) -> None:
    """Measure whether generated images are rarer, real and new.

    As many plain images are generated with the same model and random seeds, to compare with.
    Folders of images made elsewhere are compared with the images of a scored run. Ctrl-C keeps
    what is done.

    Example:

        mincurate evaluate --downstream
    """
    settings = settings_of(locals())
    names, scored = settings.pop("targets") or [], settings.pop("run")
    folders = [name for name in names if _is_folder(name)]
    if len(folders) < len(names) and len(names) > 1:
        raise UserError("Give one run, or folders of images, not both.")
    if scored and not folders:
        raise UserError("--run is for folders of images; a run to evaluate needs no option.")
    started = time.monotonic()
    from mincurate.compute.device import keep_freed_memory
    from mincurate.pipelines import evaluate as pipeline

    keep_freed_memory()
    reporter = Terminal()
    if folders:
        from mincurate.pipelines.evaluate_folders import evaluate_folders

        judged = evaluate_folders(folders, scored, **settings, reporter=reporter)
        summaries.measures(judged.table, judged.sets, reporter)
        page = judged.page
    else:
        evaluation = pipeline.evaluate(*names, **settings, reporter=reporter)
        summaries.evaluation(evaluation, reporter)
        page = evaluation.page
    reporter.say(f"Page:  {page}")
    reporter.say(f"Table: {page.with_name(schema.EVALUATION_CSV)} (and {schema.EVALUATION})")
    reporter.say(f"Done in {duration(time.monotonic() - started)}.")


def _is_folder(name: str) -> bool:
    """Whether an argument is a folder of images: one that is no run."""
    path = Path(name).expanduser()
    return path.is_dir() and not (path / schema.RECORD).is_file()
