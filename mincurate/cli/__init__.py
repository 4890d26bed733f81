"""The command line: parse, call the library, print. Nothing is computed here."""

import sys
from typing import Annotated

import typer

from mincurate.cli import (
    augment,
    demo,
    doctor,
    evaluate,
    launch,
    plugins,
    rebalance,
    runs,
    score,
    score_new,
    train,
    verify,
    worker,
)
from mincurate.cli.console import error_console
from mincurate.errors import StoppedError, UserError

app = typer.Typer(
    name="mincurate",
    help="What is rare in my images, and can I have more of it?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets in help texts are brackets
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("score")(score.score)
app.command("score-new")(score_new.score_new)
app.command("guide")(augment.guide)
app.command("augment")(augment.augment)
app.command("evaluate")(evaluate.evaluate)
app.command("rebalance")(rebalance.rebalance)
app.command("export")(rebalance.export)
app.command("train")(train.train)
app.command("verify")(verify.verify)
app.command("sync")(verify.sync)
app.command("launch")(launch.launch)
app.command("worker")(worker.worker)
app.command("report")(launch.report)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.add_typer(runs.app, name="runs")
app.add_typer(plugins.app, name="plugins")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mincurate {version('mincurate')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; goes anywhere.")
    ] = False,
) -> None:
    """What is rare in my images, and can I have more of it?"""


def main() -> None:
    """Entry point: errors become one sentence on stderr and an exit code.

    Exit codes: 0 done, 1 something the user can mend, 2 wrong usage, 3 a bug, 130 Ctrl-C.
    """
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    try:
        code = app(arguments, prog_name="mincurate", standalone_mode=False)
        if code == 130:  # how newer versions of Typer report Ctrl-C
            _say_stopped()
        sys.exit(code if isinstance(code, int) else 0)
    except StoppedError as stop:
        _say_stopped(str(stop))
        sys.exit(130)
    except (KeyboardInterrupt, typer.Abort):
        _say_stopped()
        sys.exit(130)
    except UserError as error:
        if debug:
            raise
        _say_error(str(error))
        sys.exit(1)
    except OSError as error:
        if debug:
            raise
        where = f" ({error.filename})" if error.filename else ""
        _say_error(
            f"{error.strerror or error}{where}. What is finished is kept; give the same command "
            "again once this is mended."
        )
        sys.exit(1)
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            # Wrong usage. Typer brings Click's exceptions from a place that varies by version.
            error.show()
            sys.exit(error.exit_code)
        if debug:
            raise
        _say_error(
            f"This is a bug in mincurate: {type(error).__name__}: {error}. What is finished is "
            "kept; add --debug for the details to report."
        )
        sys.exit(3)


def _say_stopped(
    note: str = "What is finished is kept; give the same command again to go on.",
) -> None:
    error_console().print(f"Stopped. {note}", markup=False)


def _say_error(text: str) -> None:
    error_console().print(f"[red]Error:[/red] {_escape(text)}", soft_wrap=True, highlight=False)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
