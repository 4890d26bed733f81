"""How long work tells its caller how far it is; drawing it is the caller's business."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int, str], None]
"""``advance(n, note)``: ``n`` more units are done; ``note`` is a short status such as a loss."""


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
        def advance(n: int, note: str = "") -> None:
            pass

        yield advance


SILENT: Reporter = _Silent()
