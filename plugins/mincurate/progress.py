"""How a scheduled operation says how far it is, and hears that it shall stop."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mincurate import worker
from mincurate.progress import Advance, Reporter, duration

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
        started, done, first, whole = time.monotonic(), 0, 0, total
        with self.inner.task(title, total, unit) as told:
            self._tell(0.0, f"{title}: {total:,} {unit}", now=True)

            def advance(n: int, note: str = "", total: int | None = None) -> None:
                nonlocal done, first, whole
                whole = total or whole
                if done == 0 and n and time.monotonic() - started < EVERY / 10:
                    first = n  # done before: it says nothing of the speed
                done += n
                told(n, note, total)
                rate = (done - first) / max(time.monotonic() - started, 1e-3)
                left = f", {duration((whole - done) / rate)} left" if rate and done < whole else ""
                share = min(1.0, done / whole) if whole else 0.0
                self._tell(share, f"{title}: {done:,} of {whole:,} {unit}{left}")
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
