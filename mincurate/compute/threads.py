"""How many threads compute: the number that is fastest now, by measuring.

The threads of an operation wait for one another. Beside other programs one of them is put aside
now and then and holds up the rest: on two busy cores, two threads trained five to ten times slower
than one (`benchmarks/busy.py`). The number changes results by rounding at most.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

TRIES = 3
"""Steps by which a number of threads is measured."""
HOPELESS = 1.5
"""A number that takes so many times as long as the best in its first step gets no further one."""
AGAIN, SHARE = 20.0, 0.02
"""Measured again after so many seconds; each time that the same number wins the wait doubles, until
measuring costs no more than this share. So what was slow beside a short job is soon tried again."""


class Threads:
    """Runs steps with all threads, half of them and one, and keeps to the fastest number.

    Args:
        device: on which the steps compute; anywhere but on a CPU nothing is measured.

    Attributes:
        chosen: the number in force.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.most = torch.get_num_threads()
        numbers = {self.most, max(1, self.most // 2), 1} if device == "cpu" else {self.most}
        self._candidates = sorted(numbers, reverse=True)
        self.chosen = self.most
        self._times: dict[int, list[float]] = {}
        self._spent: list[float] = []
        self._sizes: list[int] = []
        self._due, self._wait, self._warm = 0.0, 0.0, False

    @contextmanager
    def step(self, size: int = 1) -> Iterator[None]:
        """One step of the work, which is measured per unit of ``size``."""
        if len(self._candidates) == 1:
            yield
            return
        # The first step of all loads libraries and compiles: it tells nothing of its threads.
        trying = self._next() if self._warm else None
        self._warm = True
        torch.set_num_threads(trying or self.chosen)
        started = time.perf_counter()
        try:
            yield
        finally:
            torch.set_num_threads(self.most)
        if trying:
            seconds = time.perf_counter() - started
            self._times.setdefault(trying, []).append(seconds / size)
            self._spent.append(seconds)
            self._sizes.append(size)
            if self._next() is None:
                self._choose()

    def _next(self) -> int | None:
        """The number to measure in this step; ``None`` where none is due."""
        if time.monotonic() < self._due:
            return None
        unmeasured = [number for number in self._candidates if number not in self._times]
        if unmeasured:
            return unmeasured[0]
        best = min(min(times) for times in self._times.values())
        short = [
            (len(times), number)
            for number, times in self._times.items()
            if len(times) < TRIES and min(times) < HOPELESS * best
        ]
        return min(short)[1] if short else None

    def _choose(self) -> None:
        means = {number: sum(times) / len(times) for number, times in self._times.items()}
        chosen = min(means, key=lambda number: means[number])
        best = means[chosen]
        lost = sum(self._spent) - sum(self._sizes) * best
        self._times, self._spent, self._sizes = {}, [], []
        same = chosen == self.chosen
        self._wait = max(AGAIN, min(2 * self._wait, lost / SHARE)) if same else AGAIN
        self.chosen = chosen
        self._due = time.monotonic() + self._wait
