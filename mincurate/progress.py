"""Progress of long work: it is reported to the caller, who draws it."""

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

MARKS, MARK_SECONDS = 5, 15.0
"""A rate is measured over the last ``MARKS`` marks, at least ``MARK_SECONDS`` apart."""


class Advance(Protocol):
    """Reports that work is done."""

    def __call__(self, n: int, note: str = "", total: int | None = None) -> None:
        """``n`` more units are done.

        Args:
            note: a short status such as a loss.
            total: the total number of units, if it has changed.
        """


class Reporter(Protocol):
    """Receives the messages and the progress of a run."""

    def say(self, text: str) -> None:
        """A line of information."""

    def warn(self, text: str) -> None:
        """A line of warning."""

    def task(self, title: str, total: int, unit: str = "images") -> AbstractContextManager[Advance]:
        """Long work of ``total`` units; the context manager returns the function to advance it."""


class _Silent:
    def say(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Advance]:
        def advance(n: int, note: str = "", total: int | None = None) -> None:
            pass

        yield advance


SILENT: Reporter = _Silent()


class Pace:
    """Progress and speed of work, over the last minute or so.

    The first call may report work of an earlier process, so the rate is measured after it.

    Attributes:
        done: finished units.
        total: all units.
        rate: units per second.
    """

    def __init__(self, total: int, now: float) -> None:
        self.done, self.total, self.rate = 0, total, 0.0
        self._started = now
        self._marks: deque[tuple[float, int]] = deque(maxlen=MARKS)

    def advance(self, n: int, total: int | None, now: float) -> None:
        """Count an `Advance` that was reported at the time ``now``, in seconds."""
        self.done, self.total = self.done + n, total or self.total
        since, before = self._marks[0] if self._marks else (self._started, 0)
        self.rate = (self.done - before) / max(now - since, 1e-3)
        if not self._marks or now - self._marks[-1][0] >= MARK_SECONDS:
            self._marks.append((now, self.done))

    @property
    def left(self) -> float:
        """Seconds to the end; 0 while the rate is unknown."""
        return (self.total - self.done) / self.rate if self.rate else 0.0


def duration(seconds: float) -> str:
    """``75.2`` becomes ``1 min 15 s``."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def budget(minutes: float, steps: int | None, option: str) -> str:
    """How long a training takes, and what changes it: ``--train-minutes`` for instance."""
    if steps:
        return f"{steps:,} steps"
    keyword = option.removeprefix("--").replace("-", "_")
    return f"about {minutes:g} min; {option} ({keyword} in Python) changes that"


def per_second(rate: float) -> str:
    """``1234.5`` becomes ``1,234``; small rates keep two digits: ``4.3``, ``0.26``."""
    return f"{rate:,.0f}" if rate >= 9.95 else f"{rate:.2g}"


def about(seconds: float, how: str = "about") -> str:
    """`duration` as an estimate, at least a second: ``about 3 s``, ``at most 1 s``."""
    return f"{how} {duration(max(seconds, 1.0))}"
