"""Messages and progress of long work: on a terminal, in a notebook, or in the log."""

import html
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from mincurate.progress import Advance, Pace, Reporter, duration, per_second
from mincurate.text import visible

LOG = logging.getLogger("mincurate")
LOG_SECONDS, NOTEBOOK_SECONDS = 15.0, 0.5
"""Of a task, a log gets a line, and a notebook a new state, at most this often."""
SWITCH = "MINCURATE_PROGRESS"
"""Environment variable: 1 always shows progress, 0 never."""


def choose_reporter(reporter: Reporter | None, progress: bool | None) -> Reporter:
    """The reporter of a call from Python.

    Args:
        reporter: one of the caller's own, which counts first.
        progress: show messages and progress on standard error (True), or write them to the log
            ``mincurate`` alone (False). By default they are shown in a notebook and on a terminal;
            ``MINCURATE_PROGRESS=1`` or ``0`` changes the default.
    """
    if reporter is not None:
        return reporter
    if progress is None and (switch := os.environ.get(SWITCH, "").strip()):
        progress = switch.casefold() not in ("0", "false", "no", "off")
    if progress is False:
        return Log()
    terminal = Terminal(stderr=True)
    if terminal.console.is_jupyter:
        return Notebook()
    return terminal if progress or terminal.console.is_terminal else Log()


def shown(text: str) -> str:
    """A text whose lines hold nothing that a terminal would take for a command."""
    return "\n".join(map(visible, text.split("\n")))


class Log:
    """A `mincurate.progress.Reporter` that writes to the log ``mincurate``."""

    def say(self, text: str) -> None:
        """A line of information."""
        LOG.info("%s", shown(text))

    def warn(self, text: str) -> None:
        """A warning; without any configuration, `logging` prints it on standard error."""
        LOG.warning("%s", shown(text))

    def task(self, title: str, total: int, unit: str = "images") -> AbstractContextManager[Advance]:
        """A line at the beginning, at the end, and every 15 seconds between."""
        return _lines(title, total, unit, self.say)


class Terminal:
    """A `mincurate.progress.Reporter` on the terminal, or as plain lines."""

    def __init__(self, *, stderr: bool = False) -> None:
        from rich.console import Console

        self.console = Console(stderr=stderr, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """A line of information."""
        self.console.print(shown(text), markup=False)

    def warn(self, text: str) -> None:
        """A line the user should not overlook."""
        self.console.print(f"! {shown(text)}", style="yellow", markup=False)

    def task(self, title: str, total: int, unit: str = "images") -> AbstractContextManager[Advance]:
        """A progress bar with rate, time left and note; plain lines where there is no terminal."""
        if self.console.is_terminal:
            return self._bar(title, total, unit)
        return _lines(title, total, unit, self._print)

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False)
        sys.stdout.flush()

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


class Notebook:
    """A `mincurate.progress.Reporter` below the cell of a notebook; Rich would need ipywidgets."""

    def say(self, text: str) -> None:
        """A line of information."""
        _display(shown(text))

    def warn(self, text: str) -> None:
        """A line the user should not overlook."""
        _display(f"! {shown(text)}", "color: darkorange")

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Advance]:
        """A bar with rate, time left and note; a line at the end."""
        line = _display(f"{title}: {total:,} {unit}")

        def show(text: str, pace: Pace) -> None:
            line.update(_content(text, pace=pace), raw=True)

        with _told(title, total, unit, NOTEBOOK_SECONDS, show) as advance:
            yield advance


def _display(text: str, style: str = "") -> Any:
    """Show a line below the cell; it can be updated."""
    from IPython.display import display

    return display(_content(text, style), raw=True, display_id=True)


def _content(text: str, style: str = "", pace: Pace | None = None) -> dict[str, str]:
    bar = ""
    if pace and pace.done < pace.total:
        bar = f'<progress value="{pace.done}" max="{pace.total}"></progress> '
    line = f'<pre style="white-space: pre-wrap; {style}">{bar}{html.escape(text)}</pre>'
    return {"text/plain": text, "text/html": line}


@contextmanager
def _lines(title: str, total: int, unit: str, write: Callable[[str], None]) -> Iterator[Advance]:
    """Progress as lines of text."""
    write(f"{title}: {total:,} {unit}")
    with _told(title, total, unit, LOG_SECONDS, lambda text, pace: write(text)) as advance:
        yield advance


@contextmanager
def _told(
    title: str, total: int, unit: str, seconds: float, show: Callable[[str, Pace], None]
) -> Iterator[Advance]:
    """Progress in words, told at most every so many seconds and at the end."""
    started = last = time.monotonic()
    pace, last_note = Pace(total, started), ""

    def advance(n: int, note: str = "", total: int | None = None) -> None:
        nonlocal last, last_note
        last_note = note or last_note
        now = time.monotonic()
        pace.advance(n, total, now)
        if now - last < seconds or pace.done >= pace.total:
            return
        last = now
        parts = [f"{title}: {pace.done:,} of {pace.total:,} ({pace.done / pace.total:.0%})"]
        if pace.rate:  # nothing may be done yet but steps of the first batch
            parts += [f"{per_second(pace.rate)} {unit}/s", f"{duration(pace.left)} left"]
        show(", ".join([*parts, last_note] if last_note else parts), pace)

    yield advance
    tail = f", {last_note}" if last_note else ""
    spent = duration(time.monotonic() - started)
    pace.total = pace.done
    show(f"{title}: {pace.done:,} {unit} done in {spent}{tail}", pace)
