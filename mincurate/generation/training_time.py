"""How long the trainings before a generation may take, and the last one of a run."""

import json
from dataclasses import dataclass
from typing import Any

from mincurate.runs.store import Run

TRAIN_MINUTES, GUIDE_MINUTES = 20.0, 3.0
"""Minutes of a run's first trainings, where the user gives none."""
CLASSIFIERS = "guidance/[0-9a-f]*/classifier.json"
"""Records of the classifiers of a run's classes, in the run's folder."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long the trainings before a generation may take.

    Where neither minutes nor steps are given, the networks trained for the run before are used;
    the first trainings take `TRAIN_MINUTES` and `GUIDE_MINUTES`.

    Attributes:
        train_minutes: for training the model on to all noise levels, where it knows only some.
        train_steps: exact number of those steps, instead of ``train_minutes``.
        guide_minutes: for training the classifier.
        guide_steps: exact number of those steps, instead of ``guide_minutes``.
    """

    train_minutes: float | None = None
    train_steps: int | None = None
    guide_minutes: float | None = None
    guide_steps: int | None = None


def last_guidance(run: Run) -> dict[str, Any]:
    """Settings of the run's classifier that was trained last: minutes, steps, seed; else empty."""
    records = sorted(run.path.glob(CLASSIFIERS), key=lambda path: path.stat().st_mtime_ns)
    return dict(json.loads(records[-1].read_text())["training"]) if records else {}
