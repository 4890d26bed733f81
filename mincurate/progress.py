"""How long work tells its caller how far it is; drawing it is the caller's business."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


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


def duration(seconds: float) -> str:
    """``75.2`` becomes ``1 min 15 s``."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
