"""How long the trainings before a generation may take, and how long they took for a run before."""

import json
from dataclasses import dataclass
from typing import Any

from mincurate.runs import Run, write_atomically

USUAL = {"train": 20.0, "guide": 3.0}
"""Minutes of a run's first trainings, where nothing else is asked for."""
FILE = "trained.json"
"""In a scored run's folder; the run's own files stay as they are, whatever is made of it."""


@dataclass(frozen=True)
class Budget:
    """How long the trainings before a generation may take.

    Attributes:
        train_minutes: for all noise levels, where the model knows only some. ``None`` is what this
            training of the run took before, so that it is not done again, or else `USUAL`.
        train_steps: exact number of steps, in place of ``train_minutes``.
        guide_minutes: for the classifier; ``None`` likewise.
        guide_steps: exact number of steps, in place of ``guide_minutes``.
    """

    train_minutes: float | None = None
    train_steps: int | None = None
    guide_minutes: float | None = None
    guide_steps: int | None = None

    def of(self, what: str, run: Run) -> tuple[float, int | None]:
        """Minutes and exact steps of a training of a run: ``train`` or ``guide``."""
        minutes, steps = getattr(self, f"{what}_minutes"), getattr(self, f"{what}_steps")
        if minutes is None and steps is None:
            minutes, steps = before(run).get(what, (None, None))
        return (USUAL[what] if minutes is None else minutes), steps


def before(run: Run) -> dict[str, Any]:
    """Minutes and steps of the last ``train`` and ``guide`` of a run, and their ``seed``."""
    path = run.path / FILE
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def remember(run: Run, budget: Budget, what: str, seed: int) -> None:
    """Keep what a training of a run was made with: it is the default from now on."""
    known = before(run)
    now = known | {what: list(budget.of(what, run)), "seed": seed}
    if now != known:
        write_atomically(run.path / FILE, json.dumps(now).encode())
