"""``mincurate verify`` and ``mincurate sync``."""

from typing import Annotated

import typer

from mincurate.cli.options import BASIC
from mincurate.cli.shared import settings_of
from mincurate.errors import UserError
from mincurate.terminal import Terminal


def verify(
    run: Annotated[
        str | None,
        typer.Argument(help="Key, number or folder of a run. Default: the last one."),
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Verify every run here.", rich_help_panel=BASIC)
    ] = False,
) -> None:
    """Read all files of a run, and print what is damaged.

    It also prints which command repairs it. Checked are checksums, shards, tables, vectors, the
    map, generated images, classifiers and the model. Nothing is changed. Exits with 1 when
    something is damaged.

    Example:

        mincurate verify --all
    """
    from mincurate.runs import store
    from mincurate.runs import verify as verification

    if everything and run is not None:
        raise UserError(f"--all verifies every run; leave out --all or {run}.")
    terminal = Terminal()
    runs = [*store.all_runs(), *store.all_runs(damaged=True)] if everything else [store.find(run)]
    damaged = False
    for one in runs:
        damages = verification.verify(one)
        damaged |= bool(damages)
        for damage in damages:
            terminal.warn(damage.words)
        if not damages:
            state = "is whole" if one.finished else "is not finished; what it has is whole"
            terminal.say(f"{one.key} {state} ({one.path}).")
    if damaged:
        raise typer.Exit(1)


def sync(
    ctx: typer.Context,
    run: Annotated[
        str | None,
        typer.Argument(help="Key, number or folder of a run. Default: the one scored last."),
    ] = None,
) -> None:
    """Write the FiftyOne dataset of a run again from its files.

    This brings it up to date, or restores a lost database, generated images included. Doing it
    twice changes nothing. Your own tags and fields are kept where they still exist; no file holds
    them.

    Example:

        mincurate sync
    """
    settings = settings_of(locals())
    from mincurate.pipelines import sync as pipeline

    terminal = Terminal()
    terminal.say(pipeline.sync(**settings, reporter=terminal).words)
