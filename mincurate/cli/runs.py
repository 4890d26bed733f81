"""``mincurate runs list|show|delete|compare``."""

import json
from typing import Annotated

import typer

from mincurate.cli.console import Terminal, confirm

app = typer.Typer(help="List, show, delete and compare runs.", no_args_is_help=True)

Key = Annotated[str, typer.Argument(help="Key, number or folder of a run.")]


@app.command("list")
def list_runs() -> None:
    """List every run: its kind, when, of what, how many images, and where."""
    from rich.table import Table
    from rich.text import Text

    from mincurate.runs import schema, store

    known = store.all_runs()
    terminal = Terminal()
    for run in store.all_runs(damaged=True):
        terminal.say(f"{run.path / schema.RECORD} is damaged; delete {run.path} to be rid of it.")
    if not known:
        terminal.say("No runs yet; make one with `mincurate score PATH`.")
        return
    table = Table(expand=False)
    for name in ("run", "kind", "created", "state", "images", "dataset", "source"):
        table.add_column(name, justify="right" if name == "images" else "left")
    for run in known:
        record = run.record
        source = record.get("source") or {}
        table.add_row(
            run.key,
            store.kind_of(run),
            str(record.get("created") or "")[:16].replace("T", " "),
            "finished" if run.finished else "unfinished",
            f"{(record.get('counts') or {}).get('images', 0):,}",
            Text(record.get("dataset") or ""),
            Text(str(source.get("value", ""))),
        )
    terminal.console.print(table)


@app.command("show")
def show(key: Key) -> None:
    """Print the record of a run as JSON."""
    from mincurate.runs import store

    run = store.find(key)
    typer.echo(json.dumps({"folder": str(run.path.resolve())} | run.record, indent=1))


@app.command("delete")
def delete(
    key: Key,
    *,
    keep_dataset: Annotated[
        bool,
        typer.Option("--keep-dataset", help="Leave what the run wrote to FiftyOne."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a run: its files, and its fields, views and tags in FiftyOne. Your images stay.

    Of a run that generated images it deletes those, and their samples. A dataset that other runs
    were written to shows the last of them again.
    """
    from mincurate.dataset import delete as dataset_delete
    from mincurate.runs import store

    run = store.find(key)
    what = dataset_delete.words(run, keep_dataset=keep_dataset)
    if not yes:
        confirm(f"Delete {what}? Your images stay.")
    terminal = Terminal()
    dataset_delete.delete_run(run, keep_dataset=keep_dataset, reporter=terminal)
    terminal.say(f"Deleted {what}.")


@app.command("compare")
def compare(
    first: Key,
    second: Key,
    *,
    top: Annotated[int, typer.Option(help="How many of the images that moved most to show.")] = 10,
) -> None:
    """Compare two scored runs: rank correlation, and the images that moved most.

    Example:

        mincurate runs compare 1 2
    """
    from rich.table import Table
    from rich.text import Text

    from mincurate.ranking import compare as comparison

    found = comparison.compare(first, second)
    terminal = Terminal()
    terminal.say(found.words)
    table = Table(title="Moved most", expand=False)
    for name in (found.first.key, found.second.key, "change", "label", "image"):
        table.add_column(name, justify="left" if name in ("label", "image") else "right")
    for row in found.frame.head(top).itertuples():
        label = Text(row.label if isinstance(row.label, str) else "")
        numbers = (f"{row.rarity_first:.3f}", f"{row.rarity_second:.3f}", f"{row.change:+.3f}")
        table.add_row(*numbers, label, Text(str(row.path)))
    terminal.console.print(table)
