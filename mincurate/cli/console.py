"""What the library reports, drawn on a terminal or as plain lines in a log."""

import io
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mincurate.errors import UserError
from mincurate.progress import Advance, Pace, duration, per_second
from mincurate.text import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

LOG_SECONDS = 15.0
"""Where the output is no terminal, a task writes a line at most this often."""


def console() -> "Console":
    """Standard output."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def error_console() -> "Console":
    """Standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def shown(text: str) -> str:
    """A text whose lines hold nothing that a terminal would take for a command."""
    return "\n".join(map(visible, text.split("\n")))


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


class Terminal:
    """A `mincurate.progress.Reporter` on the terminal, or in a log when there is none."""

    def __init__(self) -> None:
        self.console = console()

    def say(self, text: str) -> None:
        """A line of information."""
        self.console.print(shown(text), markup=False)

    def warn(self, text: str) -> None:
        """A line the user should not overlook."""
        self.console.print(f"! {shown(text)}", style="yellow", markup=False)

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Advance]:
        """A progress bar with rate, time left and note; plain lines where there is no terminal."""
        draw = self._bar if self.console.is_terminal else self._lines
        with draw(title, total, unit) as advance:
            yield advance

    @contextmanager
    def _bar(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description:<19}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
        )
        with Progress(*columns, console=self.console) as progress:
            job = progress.add_task(title, total=total, rate="", note="")

            def advance(n: int, note: str = "", total: int | None = None) -> None:
                progress.update(job, advance=n, note=note, total=total)
                speed = progress.tasks[job].speed
                progress.update(job, rate=f"{per_second(speed)} {unit}/s" if speed else "")

            yield advance

    @contextmanager
    def _lines(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        started = shown = time.monotonic()
        pace, last_note = Pace(total, started), ""
        self.console.print(f"{title}: {total:,} {unit}", markup=False)

        def advance(n: int, note: str = "", total: int | None = None) -> None:
            nonlocal shown, last_note
            last_note = note or last_note
            now = time.monotonic()
            pace.advance(n, total, now)
            if now - shown < LOG_SECONDS or pace.done >= pace.total:
                return
            shown = now
            parts = [f"{title}: {pace.done:,} of {pace.total:,} ({pace.done / pace.total:.0%})"]
            if pace.rate:  # nothing may be done yet but steps of the first batch
                parts += [f"{per_second(pace.rate)} {unit}/s", f"{duration(pace.left)} left"]
            if last_note:
                parts.append(last_note)
            self.console.print(", ".join(parts), markup=False)

        yield advance
        seconds = time.monotonic() - started
        tail = f", {last_note}" if last_note else ""
        self.console.print(
            f"{title}: {pace.done:,} {unit} done in {duration(seconds)}{tail}", markup=False
        )
        sys.stdout.flush()
