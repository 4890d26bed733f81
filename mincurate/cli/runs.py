"""``mincurate runs list|show|delete|compare``."""

import json
from typing import Annotated

import typer

from mincurate.cli import summaries
from mincurate.cli.console import confirm
from mincurate.cli.parsing import Command
from mincurate.terminal import Terminal

app = typer.Typer(help="List, show, delete and compare runs.", no_args_is_help=True)

Key = Annotated[str, typer.Argument(help="Key, number or folder of a run.")]
MOVED = 10
"""Images that `compare` shows."""


@app.command("list", cls=Command)
def list_runs() -> None:
    """List every run: its kind, date, state, images, dataset and source."""
    from mincurate.runs import schema, store

    terminal = Terminal()
    for run in store.all_runs(damaged=True):
        terminal.say(f"{run.path / schema.RECORD} is damaged; delete {run.path} to remove the run.")
    if runs := store.all_runs():
        summaries.run_list(runs, terminal)
    else:
        terminal.say("There is no run yet; make one with `mincurate score PATH`.")


@app.command("show", cls=Command)
def show(key: Key) -> None:
    """Print the record of a run as JSON."""
    from mincurate.runs import store

    run = store.find(key)
    typer.echo(json.dumps({"folder": str(run.path.resolve())} | run.record, indent=1))


@app.command("delete", cls=Command)
def delete(ctx: typer.Context, key: Key) -> None:
    """Delete a run: its files, and its fields, views and tags in FiftyOne. Your images stay.

    With a run that generated images, these images and their samples are deleted. A dataset that
    holds other runs shows the last of them again. --no-fiftyone deletes the files only.
    """
    from mincurate.dataset import delete as dataset_delete
    from mincurate.runs import store

    run = store.find(key)
    keep_dataset = ctx.obj.fiftyone is False
    what = dataset_delete.words(run, keep_dataset=keep_dataset)
    if not ctx.obj.yes:
        confirm(f"Delete {what}? Your images stay.")
    terminal = Terminal()
    dataset_delete.delete_run(run, keep_dataset=keep_dataset, reporter=terminal)
    terminal.say(f"Deleted {what}.")


@app.command("compare", cls=Command)
def compare(first: Key, second: Key) -> None:
    """Compare two scored runs: rank correlation, and the images that moved most.

    Example:

        mincurate runs compare 1 2
    """
    from mincurate.pipelines import runs as pipeline

    summaries.comparison(pipeline.compare(first, second), MOVED, Terminal())
