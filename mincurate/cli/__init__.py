"""The command line: parse, call the library, print. Nothing is computed here."""

import os
import sys
from collections.abc import Callable

import typer

from mincurate.cli import (
    convert,
    demo,
    doctor,
    evaluate,
    export,
    generate,
    launch,
    mine,
    plugins,
    rebalance,
    review,
    runs,
    score,
    shared,
    train,
    verify,
    worker,
)
from mincurate.cli.console import error_console, print_whatever_comes
from mincurate.cli.parsing import Command, Group
from mincurate.errors import StoppedError, UserError
from mincurate.terminal import shown

app = typer.Typer(
    name="mincurate",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets in help texts are brackets
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
app.callback()(shared.options)
COMMANDS: dict[str, Callable[..., None]] = {
    "score": score.score,
    "launch": launch.launch,
    "report": launch.report,
    "score-new": score.score_new,
    "retry": score.retry,
    "train": train.train,
    "convert": convert.convert,
    "guide": generate.guide,
    "augment": generate.augment,
    "review": review.review,
    "mine": mine.mine,
    "evaluate": evaluate.evaluate,
    "rebalance": rebalance.rebalance,
    "export": export.export,
    "sync": verify.sync,
    "verify": verify.verify,
    "worker": worker.worker,
    "demo": demo.demo,
    "doctor": doctor.doctor,
}
for name, function in COMMANDS.items():
    app.command(name, cls=Command)(function)
app.add_typer(runs.app, name="runs")
app.add_typer(plugins.app, name="plugins")


def main() -> None:
    """Entry point: errors become one sentence on stderr and an exit code.

    Exit codes: 0 done, 1 something the user can fix, 2 wrong usage, 3 a bug, 130 Ctrl-C.
    """
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    print_whatever_comes()
    try:
        _check_arguments(arguments)
        code = app(arguments, prog_name="mincurate", standalone_mode=False)
        if code == 130:  # how newer versions of Typer report Ctrl-C
            _print_stopped()
        sys.exit(code if isinstance(code, int) else 0)
    except StoppedError as stop:
        _print_stopped(str(stop))
        sys.exit(130)
    except (KeyboardInterrupt, typer.Abort):
        _print_stopped()
        sys.exit(130)
    except UserError as error:
        if debug:
            raise
        _print_error(str(error))
        sys.exit(1)
    except BrokenPipeError:  # the reader of the output has ended: mincurate ... | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except OSError as error:
        if debug:
            raise
        where = f" ({error.filename})" if error.filename else ""
        _print_error(
            f"{error.strerror or error}{where}. What is finished is kept; fix this, and give the "
            "same command again."
        )
        sys.exit(1)
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            # Wrong usage. Typer brings Click's exceptions from a place that varies by version.
            error.show()
            sys.exit(error.exit_code)
        if debug:
            raise
        _print_error(
            f"This is a bug in mincurate: {type(error).__name__}: {error}. What is finished is "
            "kept; add --debug for the details to report."
        )
        sys.exit(3)


def _check_arguments(arguments: list[str]) -> None:
    """Refuse what a shell makes of a variable that is not set: it would mean this folder."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option, _, value = argument.partition("=")
        if not argument.strip() or (option.startswith("--") and "=" in argument and not value):
            name = option if option.strip() else before if before.startswith("-") else "An argument"
            raise UserError(f"{name} is empty: is a variable unset?")


def _print_stopped(
    note: str = "What is finished is kept; give the same command again to go on.",
) -> None:
    error_console().print(f"Stopped. {note}", markup=False)


def _print_error(text: str) -> None:
    from rich.markup import escape

    words = escape(shown(text))
    error_console().print(f"[red]Error:[/red] {words}", soft_wrap=True, highlight=False)
