"""What commands print with: standard output and error, cells of tables, questions."""

import io
import sys
from typing import TYPE_CHECKING

from mincurate.errors import UserError
from mincurate.text import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def error_console() -> "Console":
    """Standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def cell(value: object) -> "Text":
    """What comes from elsewhere, a name or a label, for a table."""
    from rich.text import Text

    return Text(visible(str(value)))


def print_whatever_comes() -> None:
    """Let standard output and error spell out what their encoding lacks, for all that follows."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def confirm(question: str) -> None:
    """Ask, and go on only after a yes.

    Raises:
        UserError: the answer is no, or there is no terminal.
        KeyboardInterrupt: Ctrl-C.
    """
    import typer

    try:
        yes = typer.confirm(question)
    except typer.Abort:
        if sys.stdin.isatty():
            raise KeyboardInterrupt from None
        print()
        raise UserError("There is no terminal to ask at; add --yes to go on.") from None
    if not yes:
        raise UserError("Your answer was no; nothing was done.")
