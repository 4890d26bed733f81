"""Whether a generation's accepted images help a classifier of the labels: the images that it is
trained on and tested on.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mincurate.compute.ray_map import Item
from mincurate.errors import UserError
from mincurate.evaluation import classifier_trial
from mincurate.evaluation.classifier_trial import Downstream
from mincurate.evaluation.students import NETWORK, PROBE
from mincurate.evaluation.training_arms import Labelled, Material
from mincurate.generation import held_out
from mincurate.progress import Reporter
from mincurate.ranking import joining
from mincurate.ranking.minority_score import Scorer
from mincurate.ranking.reference import Base

HELD_OUT = 0.25
"""Share of the real images of every label that the classifier is tested on."""


class Trial:
    """`classifier_trial.compare` on a run's labels.

    It is built before the long work starts, so that images that cannot be compared are refused
    early.

    Raises:
        UserError: there are too few labels, seeds or images to train with.
    """

    def __init__(
        self,
        base: Base,
        frame: pd.DataFrame,
        settings: dict[str, Any],
        seeds: int,
        mined: Mapping[str, str],
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
        self.seeds = [seed + i for i in range(seeds)]
        self.names = sorted(str(name) for name in counts.index)
        number = {name: i for i, name in enumerate(self.names)}
        self.codes = np.array([number.get(name, -1) for name in labels], dtype=np.int64)
        self.train, self.test = held_out.split(self.codes, seed, HELD_OUT, len(self.codes))
        self.rare = rare_labels({str(name): int(n) for name, n in counts.items()})
        accepted = frame[frame["accepted"].to_numpy(bool)]
        held = set(base.frame["path"].iloc[self.test])
        near = accepted["nearest_real"].isin(held) | accepted["start"].isin(held)
        labelled = accepted["label"].isin(self.names)
        self.near_test = int((near & labelled).sum())
        self.synthetic = accepted[~near & labelled]
        if len(accepted) and len(self.synthetic) == 0:
            raise UserError(
                f"None of the {len(accepted):,} accepted images can be trained with: they have no "
                "label or are nearest to held-out images; generate more."
            )
        self.mined = {path: number[label] for path, label in mined.items() if label in number}
        self.synthetic_codes = self.synthetic["label"].map(number).to_numpy(np.int64)

    def run(
        self,
        base: Base,
        vectors: NDArray[np.float32],
        scorer: Scorer,
        reporter: Reporter,
    ) -> Downstream:
        """Train and test, where the scorer computes.

        Args:
            base: the run, with vectors of its images at the size of the generated ones.
            vectors: ``(M, d)``, of all images of the generation, in its order.
            scorer: of the run; it gives the vectors of mined images.
        """
        if self.single:
            reporter.warn(f"Labels with a single image are left out: {', '.join(self.single)}.")
        device = str(scorer.denoiser.device)
        materials = {
            PROBE: self._vectors(base, vectors, scorer, reporter),
            NETWORK: self._pixels(base),
        }
        total = classifier_trial.trainings(materials, self.seeds)
        steps = " and ".join(f"{s.steps} steps ({s.name})" for s in materials)
        reporter.say(f"Training {total} small classifiers of {steps} each, which takes minutes.")
        with reporter.task("Training classifiers", total, "trainings") as advance:
            return classifier_trial.compare(
                materials, self.names, self.rare, self.seeds, device=device, advance=advance
            )

    def steps(self) -> dict[str, int]:
        """Steps of every training, by student."""
        return {student.name: student.steps for student in (PROBE, NETWORK)}

    def _vectors(
        self, base: Base, generated: NDArray[np.float32], scorer: Scorer, reporter: Reporter
    ) -> Material:
        """Vectors, each number of which has mean 0 and variance 1 among the training images."""
        real = base.vectors
        mean, deviation = real[self.train].mean(0), real[self.train].std(0) + 1e-6
        rows = self.synthetic.index.to_numpy()
        mined = None
        if self.mined:
            files: list[Item] = [(path, path) for path in self.mined]
            found = joining.vectors_of_scorer(base, scorer, files, 32, 2, reporter)
            mined = (found - mean) / deviation
        return self._material(
            (real - mean) / deviation, (generated[rows] - mean) / deviation, mined
        )

    def _pixels(self, base: Base) -> Material:
        mined = _decoded(base, list(self.mined)) if self.mined else None
        real, paths = base.pixels(), list(self.synthetic["path"])
        return self._material(real, _decoded(base, paths) if paths else real[:0], mined)

    def _material(
        self, real: NDArray[Any], generated: NDArray[Any], mined: NDArray[Any] | None
    ) -> Material:
        def labelled(inputs: NDArray[Any], codes: NDArray[Any]) -> Labelled:
            return torch.from_numpy(np.array(inputs)), torch.from_numpy(np.array(codes))

        return Material(
            real=labelled(real[self.train], self.codes[self.train]),
            generated=labelled(generated, self.synthetic_codes),
            mined=None if mined is None else labelled(mined, np.array([*self.mined.values()])),
            test=labelled(real[self.test], self.codes[self.test]),
            vectors=real.ndim == 2,
        )


def _decoded(base: Base, paths: list[str]) -> NDArray[np.uint8]:
    """Pixels ``(N, 3, S, S)`` of files at the size of the run's images."""
    batches = base.reading(base.size, 256).batches([(path, path) for path in paths])
    return np.concatenate([pixels for _, pixels, _ in batches])


def rare_labels(counts: dict[str, int]) -> list[str]:
    """The third of the labels with the fewest images, and those with as few.

    Empty when all labels have the same number of images.
    """
    fewest = sorted(counts.values())[max(1, len(counts) // 3) - 1]
    rare = sorted(name for name, n in counts.items() if n <= fewest)
    return rare if len(rare) < len(counts) else []
