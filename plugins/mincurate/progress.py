"""Progress of an operator: shown in the App when it is scheduled, and logged."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mincurate.pipelines import scheduled
from mincurate.progress import Advance, Pace, duration

EVERY = 1.0
"""Seconds between two looks at the database."""
LOG = logging.getLogger("fiftyone.mincurate")
"""With the handlers and the level of FiftyOne's own log."""


class OperatorProgress:
    """A `mincurate.progress.Reporter` that logs lines, and shows the progress of scheduled work.

    When the operation is stopped, the next `Advance` raises KeyboardInterrupt, as Ctrl-C does: the
    library then keeps finished work.
    """

    def __init__(self, ctx: Any) -> None:
        self.ctx = ctx
        self.operation = ctx.request_params.get("run_doc") if ctx.delegated else None
        self.last_look = 0.0

    def say(self, text: str) -> None:
        """Log a line of information."""
        LOG.info(text)

    def warn(self, text: str) -> None:
        """Log a warning."""
        LOG.warning(text)

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Advance]:
        """Report the progress of ``total`` units of work."""
        pace = Pace(total, time.monotonic())
        self._tell(0.0, f"{title}: {total:,} {unit}", now=True)

        def advance(n: int, note: str = "", total: int | None = None) -> None:
            pace.advance(n, total, time.monotonic())
            going = pace.rate and pace.done < pace.total
            left = f", {duration(pace.left)} left" if going else ""
            share = min(1.0, pace.done / pace.total) if pace.total else 0.0
            self._tell(share, f"{title}: {pace.done:,} of {pace.total:,} {unit}{left}")

        yield advance

    def _tell(self, share: float, label: str, *, now: bool = False) -> None:
        if not self.ctx.delegated:
            return
        if scheduled.stopping():
            raise KeyboardInterrupt
        if not now and time.monotonic() - self.last_look < EVERY:
            return
        self.last_look = time.monotonic()
        self.ctx.set_progress(progress=share, label=label)
        if self.operation is not None and scheduled.stopped(self.operation):
            raise KeyboardInterrupt
