"""``mincurate verify`` and ``mincurate sync``."""

from typing import Annotated

import typer

from mincurate.cli.console import Terminal


def verify(
    run: Annotated[
        str | None,
        typer.Argument(help="Key, number or folder of a run. Default: the one made last."),
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Every run on this machine, one after the other.")
    ] = False,
) -> None:
    """Read everything a run keeps again, and say what is damaged and which command mends it.

    Digests, shards, tables, vectors, the map, generated images, classifiers and the model. Changes
    nothing. Exits with 1 when something is damaged.

    Example:

        mincurate verify --all
    """
    from mincurate.runs import store
    from mincurate.runs import verify as verification

    terminal = Terminal()
    wanted = [*store.all_runs(), *store.all_runs(damaged=True)] if everything else [store.find(run)]
    damaged = False
    for one in wanted:
        found = verification.verify(one)
        damaged |= bool(found)
        for damage in found:
            terminal.warn(damage.words)
        if not found:
            state = "is whole" if one.finished else "is not finished; what it has is whole"
            terminal.say(f"{one.key} {state} ({one.path}).")
    if damaged:
        raise typer.Exit(1)


def sync(
    run: Annotated[
        str | None,
        typer.Argument(help="Key, number or folder of a run. Default: the one scored last."),
    ] = None,
    *,
    dataset: Annotated[
        str | None,
        typer.Option(help="FiftyOne dataset. Default: the one the run was written to."),
    ] = None,
) -> None:
    """Make a run's FiftyOne dataset from its files, or bring it up to date.

    Also when the database was lost. With it come the images that were generated from the run.
    Doing it again changes nothing. Tags and fields of your own are kept where they still are; they
    are in no file.

    Example:

        mincurate sync
    """
    from mincurate.pipelines import sync as pipeline
    from mincurate.runs import store

    terminal = Terminal()
    found = store.find(run, kind=store.SCORE)
    terminal.say(pipeline.sync(found, dataset, terminal).words)
