"""Rebalance a scored run: generate what every label or class lacks."""

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from mincurate.curation import gather
from mincurate.curation.rebalance import COLUMN_OF, By
from mincurate.pipelines.augment_settings import AugmentSettings
from mincurate.progress import SILENT, Reporter
from mincurate.runs.store import Run


@dataclass(frozen=True)
class Filled:
    """The result of generating for one label or class.

    Attributes:
        name: the label or the class.
        run: the generation.
        missing: images that were missing.
        accepted: images that the gate accepted.
        landed: accepted images that have this label or class.
    """

    name: Any
    run: Run
    missing: int
    accepted: int
    landed: int


def fill(
    scored: Run,
    planned: pd.DataFrame,
    *,
    by: By,
    settings: AugmentSettings | None = None,
    reporter: Reporter = SILENT,
    **changes: Any,
) -> list[Filled]:
    """Generate what a plan lacks, one generation per label or class.

    Images that were generated for a label or class before are not generated again: the next ones
    have further seeds, so that the same call goes on after a stop, and after the end replaces
    rejected images.

    Args:
        scored: the scored run.
        planned: a plan of `curation.rebalance.plan_for`.
        by: what the plan counts, labels or classes.
        settings: how to generate; what, and how many, is of the plan.
        changes: single settings by name, such as ``steps=50``.

    Raises:
        UserError: something the user can fix.
        StoppedError: Ctrl-C; the same call goes on.
    """
    from mincurate.pipelines import augment  # a plan alone needs no torch

    settings = replace(settings or AugmentSettings(), **changes)
    if by == "minority":
        settings = replace(settings, by="minority")
    filled = []
    for name, missing in zip(planned["class"], planned["generate"], strict=True):
        if not missing:
            continue
        # Images of any class count for a label, not only its rarest ones.
        target: dict[str, Any] = (
            {"label": str(name), "top_fraction": 1.0} if by == "label" else {"target_class": name}
        )
        first = _seeds_used(scored, by, name, settings.seed)
        generation = augment.augment(
            scored, settings, n=int(missing), first=first, **target, reporter=reporter
        )
        frame = generation.frame
        landed = frame["accepted"] & (frame[COLUMN_OF[by]] == name)
        accepted = generation.counts["accepted"]
        filled.append(Filled(name, generation.run, int(missing), accepted, int(landed.sum())))
    return filled


def _seeds_used(scored: Run, by: By, name: Any, seed: int) -> int:
    """How many seeds the finished generations for a label or class have used."""
    used = 0
    for run in gather.generations(scored):
        settings = run.record["settings"]
        same = (
            settings["label"] == name
            if by == "label"
            else settings["label"] is None and settings["target_classes"] == [name]
        )
        same = same and (settings.get("by") == "minority") == (by == "minority")
        if run.finished and same and settings["seed"] == seed:
            used = max(used, int(settings.get("first", 0)) + int(settings["n"]))
    return used
