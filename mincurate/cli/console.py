"""What the library reports, drawn on a terminal or as plain lines in a log."""

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mincurate.progress import Advance, duration

if TYPE_CHECKING:
    from rich.console import Console

LOG_SECONDS = 15.0
"""Where the output is no terminal, a task writes a line at most this often."""
RATE_LINES = 5
"""Lines over which such a log takes its rate."""


def console() -> "Console":
    """Standard output."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def error_console() -> "Console":
    """Standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


class Terminal:
    """A `mincurate.progress.Reporter` on the terminal, or in a log when there is none."""

    def __init__(self) -> None:
        self.console = console()

    def say(self, text: str) -> None:
        """A line of information."""
        self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """A line the user should not overlook."""
        self.console.print(f"! {text}", style="yellow", markup=False)

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
                progress.update(job, rate=f"{speed:,.0f} {unit}/s" if speed else "")

            yield advance

    @contextmanager
    def _lines(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        started = shown = time.monotonic()
        done, last_note = 0, ""
        # The rate is that of the last lines; what the first call tells may have been there before.
        marks: deque[tuple[float, int]] = deque(maxlen=RATE_LINES)
        self.console.print(f"{title}: {total:,} {unit}", markup=False)

        all_of_it = total

        def advance(n: int, note: str = "", total: int | None = None) -> None:
            nonlocal shown, done, last_note, all_of_it
            all_of_it = total or all_of_it
            done, last_note = done + n, note or last_note
            now = time.monotonic()
            since, before = marks[0] if marks else (started, 0)
            if not marks:
                marks.append((now, done))
            if now - shown < LOG_SECONDS or done >= all_of_it:
                return
            shown = now
            marks.append((now, done))
            rate = (done - before) / max(now - since, 1e-3)
            left = (all_of_it - done) / rate if rate else 0
            tail = f", {last_note}" if last_note else ""
            self.console.print(
                f"{title}: {done:,} of {all_of_it:,} ({done / all_of_it:.0%}), "
                f"{rate:,.0f} {unit}/s, "
                f"{duration(left)} left{tail}",
                markup=False,
            )

        yield advance
        seconds = time.monotonic() - started
        tail = f", {last_note}" if last_note else ""
        self.console.print(
            f"{title}: {done:,} {unit} done in {duration(seconds)}{tail}", markup=False
        )
        sys.stdout.flush()
