"""``mincurate runs list|show|delete``."""

import json
from typing import Annotated

import typer

from mincurate.cli.console import Terminal

app = typer.Typer(help="List, show and delete runs.", no_args_is_help=True)

Key = Annotated[str, typer.Argument(help="Key, number or folder of a run.")]


@app.command("list")
def list_runs() -> None:
    """List every run: its kind, when, of what, how many images, and where."""
    from rich.table import Table
    from rich.text import Text

    from mincurate import runs

    known = runs.all_runs()
    terminal = Terminal()
    for run in runs.all_runs(damaged=True):
        terminal.say(f"{run.path / runs.RECORD} is damaged; delete {run.path} to be rid of it.")
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
            runs.kind_of(run),
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
    from mincurate import runs

    run = runs.find(key)
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
    from mincurate import runs

    run = runs.find(key)
    record, name = run.record, run.key
    written = sorted({record.get("dataset"), *(record.get("datasets") or [])} - {None})
    what = f"run {name} in {run.path.resolve()}"
    if written and not keep_dataset:
        what += f" and what it wrote to the FiftyOne dataset {' and '.join(written)}"
    if not yes:
        typer.confirm(f"Delete {what}? Your images stay.", abort=True)
    terminal = Terminal()
    if written and not keep_dataset:
        from mincurate import database, removal, synthetic

        database.check_database()
        for place in written:
            if runs.kind_of(run) == runs.AUGMENT:
                synthetic.remove(run, place)
            else:
                removal.delete_run(place, name, terminal)
    runs.delete(run)
    terminal.say(f"Deleted {what}.")
