"""A scored run rebalanced: what every label or class has and lacks, and the lack generated."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from mincurate.curation import gather
from mincurate.curation.rebalance import COLUMN_OF, By
from mincurate.progress import SILENT, Reporter
from mincurate.runs.store import Run

if TYPE_CHECKING:
    from mincurate.generation.budget import Budget


@dataclass(frozen=True)
class Filled:
    """What generating for one class gave.

    Attributes:
        name: the label or the class.
        run: the generation.
        wanted: images that were missing.
        accepted: images that the gate let pass.
        landed: accepted images that came out as this label or class.
    """

    name: Any
    run: Run
    wanted: int
    accepted: int
    landed: int


def fill(
    scored: Run,
    planned: pd.DataFrame,
    *,
    by: By,
    solver: str | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    model: str | None = None,
    budget: "Budget | None" = None,
    seed: int = 0,
    batch_size: int = 64,
    device: str = "auto",
    dataset: str | None = None,
    reporter: Reporter = SILENT,
) -> list[Filled]:
    """Generate what a plan lacks, one generation per label or class.

    Images that were generated for a label or class before are not made again: the next ones have
    further seeds, so that the same call after a stop goes on, and after the end replaces what the
    gate sent back.

    Raises:
        UserError: something the user can mend.
        StoppedError: Ctrl-C; the same call goes on.
    """
    from mincurate.pipelines import augment  # a plan alone needs no torch

    filled = []
    for name, wanted in zip(planned["class"], planned["generate"], strict=True):
        if not wanted:
            continue
        # Any class will do for a label: its images are wanted, not its rarest ones.
        target: dict[str, Any] = (
            {"label": str(name), "top_fraction": 1.0} if by == "label" else {"target_class": name}
        )
        made = augment.augment(
            scored,
            n=int(wanted),
            first=_made_before(scored, by, name, seed),
            **target,
            solver=solver,
            steps=steps,
            guidance_scale=guidance_scale,
            model=model,
            budget=budget,
            seed=seed,
            batch_size=batch_size,
            device=device,
            dataset=dataset,
            reporter=reporter,
        )
        frame = made.frame
        landed = frame["accepted"] & (frame[COLUMN_OF[by]] == name)
        filled.append(
            Filled(name, made.run, int(wanted), made.counts["accepted"], int(landed.sum()))
        )
    return filled


def _made_before(scored: Run, by: By, name: Any, seed: int) -> int:
    """The seeds that finished generations for a label or class have used up."""
    used = 0
    for run in gather.generations(scored):
        settings = run.record["settings"]
        same = (
            settings["label"] == name
            if by == "label"
            else settings["label"] is None and settings["target_classes"] == [name]
        )
        if run.finished and same and settings["seed"] == seed:
            used = max(used, int(settings.get("first", 0)) + int(settings["n"]))
    return used
