"""``mincurate evaluate``."""

import time
from typing import Annotated

import typer

from mincurate.cli import summaries
from mincurate.cli.console import Terminal
from mincurate.cli.options import BASIC
from mincurate.cli.shared import settings_of
from mincurate.progress import duration


def evaluate(
    ctx: typer.Context,
    run: Annotated[
        str | None,
        typer.Argument(
            help="Key, number or folder of a run of `mincurate augment`. Default: the last one."
        ),
    ] = None,
    *,
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
            help="Also train a classifier of the labels with and without the images, 3 times each.",
            rich_help_panel=BASIC,
        ),
    ] = False,
) -> None:
    """Measure whether generated images are rarer, real and new.

    As many plain images are generated with the same model and random seeds, to compare with.
    Ctrl-C keeps what is done.

    Example:

        mincurate evaluate --downstream
    """
    settings = settings_of(locals())
    started = time.monotonic()
    from mincurate.compute.device import keep_freed_memory
    from mincurate.pipelines import evaluate as pipeline

    keep_freed_memory()
    reporter = Terminal()
    evaluation = pipeline.evaluate(**settings, reporter=reporter)
    summaries.evaluation(evaluation, reporter)
    reporter.say(f"Page:  {evaluation.page}")
    reporter.say(f"Table: {evaluation.run.path / 'evaluation.csv'} (and evaluation.json)")
    reporter.say(f"Done in {duration(time.monotonic() - started)}.")
