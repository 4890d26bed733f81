"""``mincurate mine``."""

import time
from typing import Annotated

import typer

from mincurate.cli import summaries
from mincurate.cli.options import BASIC, OfRun
from mincurate.cli.shared import settings_of
from mincurate.progress import duration
from mincurate.terminal import Terminal


def mine(
    ctx: typer.Context,
    pool: Annotated[
        str,
        typer.Argument(
            help="Where to look: a folder, s3://BUCKET/FOLDER or gs://, a table with a path "
            "column, or fiftyone:NAME[/VIEW]. Labels are not needed."
        ),
    ],
    *,
    run: OfRun = None,
    like: Annotated[
        str | None,
        typer.Option(
            help="Examples: label:NAME, tag:NAME, view:NAME or ids. Default: the rarest class.",
            rich_help_panel=BASIC,
        ),
    ] = None,
    n: Annotated[
        int, typer.Option("--n", help="Number of images, at most.", rich_help_panel=BASIC)
    ] = 500,
) -> None:
    """Find real images like the rare ones in a pool.

    They are compared by the vectors of the run. Near copies are left out. The images join the
    FiftyOne dataset with the tag `mined` and a proposed label; those that you tag `rare-keep` count
    for `mincurate rebalance` and `export`. The same command goes on after Ctrl-C or a crash.

    Examples:

        mincurate mine ./unlabelled --like tag:rare-keep --n 200

        mincurate mine s3://bucket/photos --like label:hat --no-fiftyone
    """
    settings = settings_of(locals())
    started = time.monotonic()
    from mincurate.compute.device import keep_freed_memory
    from mincurate.pipelines import mine as pipeline

    keep_freed_memory()
    reporter = Terminal()
    found = pipeline.mine(**settings, reporter=reporter)
    reporter.say(f"Done in {duration(time.monotonic() - started)}.")
    summaries.mined(found, reporter)
