"""Rebalance a scored run: generate what every label or class lacks."""

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from mincurate.curation import gather
from mincurate.curation import rebalance as curation
from mincurate.curation.rebalance import COLUMN_OF, By, Target
from mincurate.errors import UserError
from mincurate.pipelines.augment_settings import AugmentSettings
from mincurate.pipelines.images_now import gather_now
from mincurate.pipelines.runs import AnyRun, find_run
from mincurate.progress import Reporter
from mincurate.runs import store
from mincurate.runs.store import Run
from mincurate.terminal import choose_reporter


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


@dataclass(frozen=True, repr=False)
class Rebalanced:
    """The result of `rebalance`.

    Attributes:
        run: the scored run.
        by: what is balanced.
        plan: one row per label or class: what it has and lacks; see `curation.rebalance.plan_for`.
        weights: ``path`` and ``weight`` of every image, for
            ``torch.utils.data.WeightedRandomSampler``.
        filled: what was generated, one entry per label or class; nothing with ``dry_run``.
    """

    run: Run
    by: By
    plan: pd.DataFrame
    weights: pd.DataFrame
    filled: list[Filled]

    def __repr__(self) -> str:
        landed, missing = sum(part.landed for part in self.filled), int(self.plan["add"].sum())
        return (
            f"<Rebalanced {self.run.key} by {self.by}: {missing:,} images were missing, "
            f"{landed:,} of them are generated>"
        )

    def _repr_html_(self) -> str:
        return self.plan.to_html(index=False)


def rebalance(
    run: AnyRun = None,
    *,
    to: Target = "uniform",
    by: By = "label",
    cap: int = 5000,
    dry_run: bool = False,
    settings: AugmentSettings | None = None,
    reporter: Reporter | None = None,
    progress: bool | None = None,
    **changes: Any,
) -> Rebalanced:
    """Show what each label or class of a scored run lacks, and generate it.

    Accepted images of earlier generations count, and so do mined images that were kept. The same
    call goes on after a stop; given again
    after the end, it replaces rejected images.

    Args:
        run: the scored run (`find_run`); the one scored last when absent.
        to: images per class: ``uniform``, ``sqrt`` or a number; see `curation.rebalance.plan`.
        by: ``label``, ``class`` or ``minority``.
        cap: most images to generate per class.
        dry_run: only plan.
        settings: how to generate; see `AugmentSettings`.
        reporter: as in `score`, and ``progress`` likewise.
        changes: single settings by name, such as ``steps=50``.

    Raises:
        UserError: something the user can fix.
        StoppedError: Ctrl-C; the same call goes on.
    """
    if cap < 1:
        raise UserError("--cap is at least 1.")
    reporter = choose_reporter(reporter, progress)
    scored = find_run(run, kind=store.SCORE)
    scored.check_whole_images()
    # An image with several labels counts for none of them, as in the run.
    images = gather.in_use(gather_now(scored, reporter, several_labels=False))
    if mined := int((images["mined"] == True).sum()):  # noqa: E712
        reporter.say(f"{mined:,} mined images were kept; they count before any is generated.")
    plan = curation.plan_for(images, by, to, cap)
    weights = curation.weights_for(images, by, to)
    filled = []
    if not dry_run:
        filled = fill(scored, plan, by=by, settings=settings, reporter=reporter, **changes)
    return Rebalanced(scored, by, plan, weights, filled)


def fill(
    scored: Run,
    planned: pd.DataFrame,
    *,
    by: By,
    settings: AugmentSettings | None = None,
    reporter: Reporter | None = None,
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
        reporter: as in `score`.
        changes: single settings by name, such as ``steps=50``.

    Raises:
        UserError: something the user can fix.
        StoppedError: Ctrl-C; the same call goes on.
    """
    from mincurate.pipelines import augment  # a plan alone needs no torch

    reporter = choose_reporter(reporter, None)
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
