"""A scored run rebalanced: what every label or class has and lacks, and the lack generated."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from mincurate import curated, rebalance
from mincurate.errors import UserError
from mincurate.progress import SILENT, Reporter
from mincurate.rebalance import Target
from mincurate.runs import Run

if TYPE_CHECKING:
    from mincurate.budget import Budget

By = Literal["label", "class"]
COLUMNS: dict[str, str] = {"label": "label", "class": "minority_class"}
"""The columns of `curated.gather` that one may rebalance by."""


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


def plan(images: pd.DataFrame, by: By, to: Target, cap: int | None = None) -> pd.DataFrame:
    """`rebalance.plan` of images in use; ``generate`` is what is missing, at most ``cap``.

    Args:
        images: as `curated.in_use` gives them: accepted generated images count.

    Raises:
        UserError: no image has a label, or there is no such target.
    """
    values = images[COLUMNS[by]]
    if values.isna().all():
        raise UserError(f"No image of this run has a {by}, so that there is none to rebalance by.")
    table = rebalance.plan(rebalance.count(values), to, real=_real(images, by))
    most = table["add"].max() if cap is None else cap
    return table.assign(generate=np.minimum(table["add"], most))


def weights(images: pd.DataFrame, by: By, to: Target) -> pd.DataFrame:
    """``path`` and ``weight`` of every image, for ``WeightedRandomSampler(weights, N)``."""
    labels = images[COLUMNS[by]].tolist()
    found = rebalance.sampling_weights(labels, to, real=_real(images, by))
    return pd.DataFrame({"path": images["path"].to_numpy(), "weight": found})


def _real(images: pd.DataFrame, by: By) -> dict[Hashable, int]:
    return rebalance.count(images.loc[images["source"] == "real", COLUMNS[by]])


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
    from mincurate import augmentation  # a plan alone needs no torch

    filled = []
    for name, wanted in zip(planned["class"], planned["generate"], strict=True):
        if not wanted:
            continue
        # Any class will do for a label: its images are wanted, not its rarest ones.
        target: dict[str, Any] = (
            {"label": str(name), "top_fraction": 1.0} if by == "label" else {"target_class": name}
        )
        made = augmentation.augment(
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
        landed = frame["accepted"] & (frame[COLUMNS[by]] == name)
        filled.append(
            Filled(name, made.run, int(wanted), made.counts["accepted"], int(landed.sum()))
        )
    return filled


def _made_before(scored: Run, by: By, name: Any, seed: int) -> int:
    """The seeds that finished generations for a label or class have used up."""
    used = 0
    for run in curated.generations(scored):
        settings = run.record["settings"]
        same = (
            settings["label"] == name
            if by == "label"
            else settings["label"] is None and settings["target_classes"] == [name]
        )
        if run.finished and same and settings["seed"] == seed:
            used = max(used, int(settings.get("first", 0)) + int(settings["n"]))
    return used
