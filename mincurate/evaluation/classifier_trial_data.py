"""Whether a generation's accepted images help a classifier of the labels: the images that it is
trained on and tested on.
"""

from typing import Any

import numpy as np
import pandas as pd

from mincurate.errors import UserError
from mincurate.evaluation import classifier_trial
from mincurate.evaluation.classifier_trial import Downstream
from mincurate.generation import guided_classes, held_out
from mincurate.images import collection
from mincurate.progress import Reporter
from mincurate.ranking.reference import Base

HELD_OUT = 0.25
"""Share of the real images of every label that the classifier is tested on."""


class Trial:
    """`downstream.compare` on a run's labels.

    It is built before the long work starts, so that images that cannot be compared are refused
    early.

    Raises:
        UserError: there are too few labels, seeds or images to train with.
    """

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
            raise UserError(f"seeds is at least 3, not {seeds}.")
        self.base, self.seeds = base, [seed + i for i in range(seeds)]
        self.names = sorted(str(name) for name in counts.index)
        code_of = {name: i for i, name in enumerate(self.names)}
        self.labels = labels.to_numpy()
        codes = np.array([code_of.get(name, -1) for name in self.labels], dtype=np.int64)
        self.train, self.test = held_out.split(codes, seed, HELD_OUT, len(codes))
        self.rare = rare_labels({str(name): int(n) for name, n in counts.items()})
        classes = guided_classes.classes_of(base)[self.train]
        self.like = np.isin(classes, settings["target_classes"])
        accepted = frame[frame["accepted"].to_numpy(bool)]
        if len(accepted) == 0:
            raise UserError("The gate accepted no guided image, so there is nothing to train with.")
        held = set(base.frame["path"].iloc[self.test])
        near = accepted["nearest_real"].isin(held) | accepted["start"].isin(held)
        labelled = accepted["label"].isin(self.names)
        self.near_test = int((near & labelled).sum())
        self.synthetic = accepted[~near & labelled]
        if len(self.synthetic) == 0:
            raise UserError(
                f"None of the {len(accepted):,} accepted images can be trained with: they have no "
                "label or are nearest to held-out images; generate more."
            )

    def run(self, device: str, reporter: Reporter) -> Downstream:
        """Train and test."""
        if self.single:
            reporter.warn(f"Labels with a single image are left out: {', '.join(self.single)}.")
        pixels = self.base.pixels()
        synthetic = np.concatenate(
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
            return classifier_trial.compare(
                (pixels[self.train], self.labels[self.train].tolist()),
                (synthetic, self.synthetic["label"].tolist()),
                (pixels[self.test], self.labels[self.test].tolist()),
                rare=self.rare,
                like=self.like,
                seeds=self.seeds,
                steps=classifier_trial.STEPS,
                device=device,
                advance=advance,
            )


def rare_labels(counts: dict[str, int]) -> list[str]:
    """The third of the labels with the fewest images, and those with as few.

    Empty when all labels have the same number of images.
    """
    fewest = sorted(counts.values())[max(1, len(counts) // 3) - 1]
    rare = sorted(name for name, n in counts.items() if n <= fewest)
    return rare if len(rare) < len(counts) else []
