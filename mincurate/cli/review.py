"""``mincurate review``."""

from typing import Annotated

import typer

from mincurate.cli import summaries
from mincurate.cli.options import BASIC, Scored
from mincurate.terminal import Terminal


def review(
    run: Scored = None,
    *,
    keep: Annotated[
        str, typer.Option(help="Tag of images of the kind you look for.", rich_help_panel=BASIC)
    ] = "rare-keep",
    drop: Annotated[
        str, typer.Option(help="Tag of images that are not of it.", rich_help_panel=BASIC)
    ] = "outlier-drop",
) -> None:
    """Learn from a review: what to look at next, and how many are left.

    The tags are read from the run's FiftyOne dataset. Without any, the first page shows as many
    kinds as it can. Ten of each tag are enough to begin with. The table `review.csv` in the run's
    folder has all images, in the order to look at them.

    Example:

        mincurate review --keep zebra --drop no-zebra
    """
    from mincurate.pipelines import review as pipeline

    reporter = Terminal()
    summaries.reviewed(pipeline.review(run, keep=keep, drop=drop, reporter=reporter), reporter)
