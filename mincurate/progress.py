"""How long work tells its caller how far it is; drawing it is the caller's business."""

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

MARKS, MARK_SECONDS = 5, 15.0
"""A rate is taken since the first of so many moments, so far apart at least."""


class Advance(Protocol):
    """Tells that work has gone on."""

    def __call__(self, n: int, note: str = "", total: int | None = None) -> None:
        """``n`` more units are done.

        Args:
            note: a short status such as a loss.
            total: the number of units in all, where it has changed.
        """


class Reporter(Protocol):
    """Receives what a run has to say."""

    def say(self, text: str) -> None:
        """A line of information."""

    def warn(self, text: str) -> None:
        """A line the user should not overlook."""

    def task(self, title: str, total: int, unit: str = "images") -> AbstractContextManager[Advance]:
        """A piece of long work of ``total`` units; entering gives the function that advances it."""


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
    """How far work is and how fast it goes, in units per second over the last minute or so.

    What the first call tells may have been there before, and says nothing of the speed after it.

    Attributes:
        done: units that are done.
        total: units in all.
        rate: units per second.
    """

    def __init__(self, total: int, now: float) -> None:
        self.done, self.total, self.rate = 0, total, 0.0
        self._began = now
        self._marks: deque[tuple[float, int]] = deque(maxlen=MARKS)

    def advance(self, n: int, total: int | None, now: float) -> None:
        """Take in an `Advance`, told at the time ``now`` in seconds."""
        self.done, self.total = self.done + n, total or self.total
        since, before = self._marks[0] if self._marks else (self._began, 0)
        self.rate = (self.done - before) / max(now - since, 1e-3)
        if not self._marks or now - self._marks[-1][0] >= MARK_SECONDS:
            self._marks.append((now, self.done))

    @property
    def left(self) -> float:
        """Seconds to the end; 0 where there is no rate."""
        return (self.total - self.done) / self.rate if self.rate else 0.0


def duration(seconds: float) -> str:
    """``75.2`` becomes ``1 min 15 s``."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def per_second(rate: float) -> str:
    """``1234.5`` becomes ``1,234``; what is slow has a digit more: ``4.3``, ``0.26``."""
    return f"{rate:,.0f}" if rate >= 9.95 else f"{rate:.2g}"


def about(seconds: float, how: str = "about") -> str:
    """`duration` as an estimate, of a second at least: ``about 3 s``, ``at most 1 s``."""
    return f"{how} {duration(max(seconds, 1.0))}"
