"""How long the trainings before a generation may take, and how the last one of a run was made."""

import json
from dataclasses import dataclass
from typing import Any

from mincurate.runs.store import Run

TRAIN_MINUTES, GUIDE_MINUTES = 20.0, 3.0
"""Of a run's first trainings, where nothing else is asked for."""
CLASSIFIERS = "guidance/[0-9a-f]*/classifier.json"
"""Records of the classifiers of a run's classes, in its folder; ``real-...`` tell fakes."""


@dataclass(frozen=True)
class Budget:
    """How long the trainings before a generation may take.

    Where neither minutes nor steps are given, what was trained for the run before serves, or else
    there are `TRAIN_MINUTES` and `GUIDE_MINUTES`.

    Attributes:
        train_minutes: for all noise levels, where the model knows only some.
        train_steps: exact number of steps, in place of ``train_minutes``.
        guide_minutes: for the classifier.
        guide_steps: exact number of steps, in place of ``guide_minutes``.
    """

    train_minutes: float | None = None
    train_steps: int | None = None
    guide_minutes: float | None = None
    guide_steps: int | None = None


def last_guidance(run: Run) -> dict[str, Any]:
    """How the classifier of a run that was trained last was: minutes, steps, seed; else empty."""
    found = sorted(run.path.glob(CLASSIFIERS), key=lambda path: path.stat().st_mtime_ns)
    return dict(json.loads(found[-1].read_text())["training"]) if found else {}
