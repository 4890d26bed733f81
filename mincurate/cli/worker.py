"""``mincurate worker``."""

from typing import Annotated

import typer

from mincurate.cli.options import BASIC
from mincurate.errors import UserError
from mincurate.terminal import Terminal


def worker(
    operation: Annotated[
        str | None,
        typer.Argument(help="Id of one scheduled operation. Default: all, as they come."),
    ] = None,
    *,
    until_idle: Annotated[
        bool,
        typer.Option(
            "--until-idle", help="End when nothing is scheduled any more.", rich_help_panel=BASIC
        ),
    ] = False,
) -> None:
    """Run what was scheduled in the FiftyOne App.

    Oldest first, until Ctrl-C. Ctrl-C stops the operation that runs; what is finished is kept.
    """
    from mincurate.compute.device import keep_freed_memory
    from mincurate.dataset import plugin
    from mincurate.dataset import worker as dataset_worker

    if operation is not None and until_idle:
        raise UserError("--until-idle has no effect on a single operation.")
    keep_freed_memory()
    reporter = Terminal()
    state = plugin.state()
    if not state.current:
        reporter.warn(f"The App's plugin is {state.words}.")
    if operation is not None:
        dataset_worker.work_on(operation, reporter)
        return
    reporter.say("Waiting for scheduled operations. Ctrl-C ends this.")
    count = dataset_worker.work(until_idle=until_idle, reporter=reporter)
    reporter.say(f"{count} operations run.")
