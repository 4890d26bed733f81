"""``mincurate worker``."""

from typing import Annotated

import typer

from mincurate.cli.console import Terminal


def worker(
    *,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when nothing is scheduled any more.")
    ] = False,
    operation: Annotated[
        str | None,
        typer.Option(
            help="Run this scheduled operation only, and end. Default: all, as they come.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run what was scheduled in the FiftyOne App, oldest first, until Ctrl-C.

    Ctrl-C stops what is running; what is finished is kept.
    """
    from mincurate.compute.device import keep_freed_memory
    from mincurate.dataset import plugin
    from mincurate.dataset import worker as dataset_worker

    keep_freed_memory()
    reporter = Terminal()
    found = plugin.state()
    if not found.current:
        reporter.warn(f"The App's plugin is {found.words}.")
    if operation is not None:
        dataset_worker.work_on(operation, reporter)
        return
    reporter.say("Waiting for scheduled operations. Ctrl-C ends.")
    done = dataset_worker.work(until_idle=until_idle, reporter=reporter)
    reporter.say(f"{done} operations run.")
