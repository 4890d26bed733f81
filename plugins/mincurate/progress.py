"""How a scheduled operation says how far it is, and hears that it shall stop."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mincurate.dataset import worker
from mincurate.progress import Advance, Pace, Reporter, duration

EVERY = 1.0
"""Seconds between two looks at the database."""


class Told:
    """A `mincurate.progress.Reporter` that tells FiftyOne, and another reporter, of the work.

    Asked to stop, it raises KeyboardInterrupt where the work next says how far it is: the library
    then keeps what is done, as on Ctrl-C.
    """

    def __init__(self, ctx: Any, inner: Reporter) -> None:
        self.ctx, self.inner = ctx, inner
        self.service = worker.service()
        self.operation = ctx.request_params.get("run_doc")
        self.looked = 0.0

    def say(self, text: str) -> None:
        """A line of information."""
        self.inner.say(text)

    def warn(self, text: str) -> None:
        """A line the user should not overlook."""
        self.inner.warn(text)

    @contextmanager
    def task(self, title: str, total: int, unit: str = "images") -> Iterator[Advance]:
        """A piece of long work."""
        pace = Pace(total, time.monotonic())
        with self.inner.task(title, total, unit) as told:
            self._tell(0.0, f"{title}: {total:,} {unit}", now=True)

            def advance(n: int, note: str = "", total: int | None = None) -> None:
                pace.advance(n, total, time.monotonic())
                told(n, note, total)
                going = pace.rate and pace.done < pace.total
                left = f", {duration(pace.left)} left" if going else ""
                share = min(1.0, pace.done / pace.total) if pace.total else 0.0
                self._tell(share, f"{title}: {pace.done:,} of {pace.total:,} {unit}{left}")
                if worker.STOPPING.is_set():
                    raise KeyboardInterrupt

            yield advance

    def _tell(self, share: float, label: str, *, now: bool = False) -> None:
        if not now and time.monotonic() - self.looked < EVERY:
            return
        self.looked = time.monotonic()
        self.ctx.set_progress(progress=share, label=label)
        if self.operation is not None and stopped(self.service, self.operation):
            raise KeyboardInterrupt


def stopped(service: Any, operation: Any) -> bool:
    """Whether an operation that runs was marked as failed: by `stop`, or by FiftyOne's command."""
    return service.get(operation).run_state == "failed"
