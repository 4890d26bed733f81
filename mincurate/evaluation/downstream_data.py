"""Whether a run's accepted images help a classifier of its labels: what it learns from, and what it
is tested on (method, section 5, downstream).
"""

from typing import Any

import numpy as np
import pandas as pd

from mincurate.errors import UserError
from mincurate.evaluation import downstream
from mincurate.evaluation.downstream import Downstream
from mincurate.generation import train_classifier
from mincurate.images import collection
from mincurate.progress import Reporter
from mincurate.ranking.reference import Base

HELD_OUT = 0.25
"""Share of the real images of every label that the classifier is tested on."""


class Trial:
    """The comparison of `downstream.compare` on a run's labels; made early, as it may not be."""

    def __init__(
        self, base: Base, frame: pd.DataFrame, settings: dict[str, Any], seeds: int
    ) -> None:
        seed = int(settings["seed"])
        labels = base.frame["label"].astype(object).where(base.frame["label"].notna(), None)
        counts = labels.dropna().value_counts()
        self.single = sorted(str(name) for name in counts[counts < 2].index)
        counts = counts[counts >= 2]
        if len(counts) < 2:
            raise UserError(
                f"--downstream needs at least 2 labels with 2 images or more, and run "
                f"{base.run.key} has {len(counts)}."
            )
        if seeds < 3:
            raise UserError(f"--seeds is at least 3, not {seeds}.")
        self.base, self.seeds = base, [seed + i for i in range(seeds)]
        self.names = sorted(str(name) for name in counts.index)
        place = {name: i for i, name in enumerate(self.names)}
        self.labels = labels.to_numpy()
        codes = np.array([place.get(name, -1) for name in self.labels], dtype=np.int64)
        share, most = HELD_OUT, len(codes)
        self.train, self.test = train_classifier.split(codes, seed, share, most)
        self.rare = rare_labels({str(name): int(n) for name, n in counts.items()})
        classes = base.frame["rarity_class"].to_numpy(np.int64)[self.train]
        self.like = np.isin(classes, settings["target_classes"])
        fit = frame[frame["accepted"].to_numpy(bool)]
        if len(fit) == 0:
            raise UserError(
                "No guided image passed the gate, so that there is nothing to train with."
            )
        held = set(base.frame["path"].iloc[self.test])
        near = fit["nearest_real"].isin(held) | fit["start"].isin(held)
        known = fit["label"].isin(self.names)
        self.near_test = int((near & known).sum())
        self.synthetic = fit[~near & known]
        if len(self.synthetic) == 0:
            raise UserError(
                f"None of the {len(fit):,} accepted images can be trained with: they have no label "
                "or are next to held-out images; generate more."
            )

    def run(self, device: str, reporter: Reporter) -> Downstream:
        """Train and test."""
        if self.single:
            reporter.warn(
                f"Left out, because one image alone cannot be held out: {', '.join(self.single)}."
            )
        pixels = self.base.pixels()
        made = np.concatenate(
            [
                batch
                for _, batch, _ in collection.read_batches(
                    [(path, path) for path in self.synthetic["path"]],
                    size=self.base.size,
                    fit=self.base.fit,
                    rendering=self.base.rendering,
                    batch_size=256,
                    workers=2,
                )
            ]
        )
        with reporter.task("Training classifiers", 3 * len(self.seeds), "trainings") as advance:
            return downstream.compare(
                (pixels[self.train], self.labels[self.train].tolist()),
                (made, self.synthetic["label"].tolist()),
                (pixels[self.test], self.labels[self.test].tolist()),
                rare=self.rare,
                like=self.like,
                seeds=self.seeds,
                steps=downstream.STEPS,
                device=device,
                advance=advance,
            )


def rare_labels(counts: dict[str, int]) -> list[str]:
    """The labels with the fewest images: a third of them, and those that are as few.

    None when all labels are as frequent.
    """
    fewest = sorted(counts.values())[max(1, len(counts) // 3) - 1]
    found = sorted(name for name, n in counts.items() if n <= fewest)
    return found if len(found) < len(counts) else []
