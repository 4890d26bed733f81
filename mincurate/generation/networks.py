"""The networks that generating takes: a model of all noise levels, a classifier, samplers.

Each is trained when it is first used, within its budget, and kept beside the scored run.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mincurate import hashing, paths
from mincurate.compute.device import choose_device, choose_precision
from mincurate.compute.ray_map import Cluster
from mincurate.diffusion import denoiser as denoisers
from mincurate.diffusion import models, train_denoiser
from mincurate.diffusion.denoiser import Denoiser, to_tensor
from mincurate.diffusion.load import load_denoiser
from mincurate.errors import UserError
from mincurate.generation import classifier as classifiers
from mincurate.generation import generate, samplers, train_classifier
from mincurate.generation.budget import GUIDE_MINUTES, TRAIN_MINUTES, Budget, last_guidance
from mincurate.generation.classifier import Classifier, ClassifierTraining
from mincurate.generation.solvers import Sampler
from mincurate.generation.target import Target
from mincurate.progress import SILENT, Reporter, duration
from mincurate.ranking import reference
from mincurate.ranking.reference import Base
from mincurate.runs import digests
from mincurate.runs.manifest import read_png
from mincurate.runs.store import Run

FAKES = 512
"""Plain samples that low-density sampling learns to tell from real images."""
GUIDED_COST = {"minority": 1.5, "low-density": 1.5, "self-guided": 4.0}
"""One evaluation in plain ones (``benchmarks/sampling.py``), for estimates of time."""


@dataclass(frozen=True, eq=False)
class Workshop:
    """The networks and images that generating on top of a scored run takes.

    Attributes:
        base: the scored run.
        device: where everything computes.
        dtype: precision of the networks; ``None`` is float32.
        budget: for the trainings.
        model: a generating model given by the user.
        loss: of the classifier.
        seed: of the trainings.
        reporter: hears of it.
        cluster: where the trainings compute; this process when absent.
    """

    base: Base
    device: str
    dtype: torch.dtype | None
    budget: Budget
    model: str | None
    loss: str
    seed: int
    reporter: Reporter
    cluster: Cluster | None = None

    @cached_property
    def known(self) -> Denoiser:
        """The model that is given, or that of the scored run."""
        place = (
            models.place(self.model) if self.model else str(self.base.run.record["model"]["name"])
        )
        return load_denoiser(place, self.device)

    @property
    def ready(self) -> bool:
        """Whether `denoiser` is there without a training."""
        return self._knows_all or train_denoiser.finished(self._place)

    @cached_property
    def denoiser(self) -> Denoiser:
        """A model of all noise levels: the one known, or trained on from it."""
        if self._knows_all:
            return self.known
        if self.model:  # a model of the user's is taken as it is
            denoisers.check_all_levels(self.known)
        self._place.mkdir(parents=True, exist_ok=True)
        if not train_denoiser.finished(self._place):
            plan = self.plan
            budget = f"{plan.steps} steps" if plan.steps else f"about {plan.minutes:g} minutes"
            self.reporter.say(
                "The model knows only the noise levels around that of the score; generating needs "
                f"all of them. It is trained on now ({budget}, once for this run)."
            )
        with digests.held(Run(self._place)):
            return train_denoiser.train(
                self.base.pixels(),
                self._place,
                self.plan,
                start=self.known,
                device=self.device,
                cluster=self.cluster,
                reporter=self.reporter,
            )

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """The run's images at the size of `denoiser`."""
        return self.base.pixels(size=self.denoiser.image_size)

    @property
    def classes(self) -> NDArray[np.int64]:
        """Ordinal class of every image of the run."""
        return self.base.frame["rarity_class"].to_numpy(np.int64)

    @property
    def labels(self) -> list[str | None]:
        """Label of every image of the run."""
        return [n if isinstance(n, str) else None for n in self.base.frame["label"]]

    @cached_property
    def guidance(self) -> ClassifierTraining:
        """What decides the training of `classifier`."""
        minutes, steps = self.budget.guide_minutes, self.budget.guide_steps
        if minutes is None and steps is None:
            before = last_guidance(self.base.run)
            minutes, steps = before.get("minutes"), before.get("steps")
        return ClassifierTraining(
            num_classes=self.base.num_classes,
            loss=self.loss,
            minutes=GUIDE_MINUTES if minutes is None else minutes,
            steps=steps,
            seed=self.seed,
        )

    @cached_property
    def classifier(self) -> Classifier:
        """``p(l | x, sigma)``: trained now, or before."""
        settings = self.guidance
        folder = self._guidance_place("", settings, self.classes.tolist(), self.labels)
        if not classifiers.finished(folder):
            self.reporter.say(
                f"Training the classifier of {self.base.num_classes} classes on "
                f"{len(self.classes):,} images ({settings.loss})."
            )
        return self._fit_classifier(folder, settings, self.pixels, self.classes, self.labels)

    def judges(self, sampler: str) -> bool:
        """Whether the classifier has a say in what a sampler made: it guided, or knows labels."""
        return sampler == "minority" or any(self.labels)

    @property
    def trained_on(self) -> NDArray[np.int64]:
        """Rows of the images that `classifier` was trained on."""
        return train_classifier.split(self.classes, self.seed)[0]

    def sampler(
        self, name: str, target: Target, solver: str, steps: int, scale: float | None
    ) -> Sampler:
        """The sampler called ``name``; see `samplers.settle` for the rest."""
        more: dict[str, Any] = {"steps": steps, "dtype": self.dtype}
        if name != "self-guided":
            more["solver"] = solver
        if scale is not None:
            more["guidance_scale"] = scale
        if name == "ddpm":
            return samplers.ddpm(self.denoiser, **more)
        if name == "boost-and-skip":
            return samplers.boost_and_skip(self.denoiser, **more)
        if name == "self-guided":
            distance = reference.scorer_of(self.base.run, self.device).perceptual
            return samplers.self_guided(self.denoiser, distance, **more)
        if name == "low-density":
            hardness = samplers.fit_hardness(self.denoiser, self.pixels, seed=self.seed)
            return samplers.low_density(
                self.denoiser, hardness, self._realness(solver, steps), **more
            )
        return samplers.minority(
            self.denoiser, self.classifier, target_class=target.classes, label=target.label, **more
        )

    def belief(
        self, target: Target, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float64], list[str | None], NDArray[np.float64]]:
        """What the classifier holds of images: chance of the target, label, its confidence."""
        classes, labels = [], []
        for start in range(0, len(pixels), 256):
            x0 = to_tensor(pixels[start : start + 256], self.device)
            of_classes, of_labels = classifiers.classify(self.denoiser, self.classifier, x0)
            classes.append(of_classes)
            if of_labels is not None:
                labels.append(of_labels)
        found = np.concatenate(classes)[:, list(target.classes)].sum(1, dtype=np.float64)
        names = self.classifier.label_names
        if not labels:
            return found, [None] * len(found), np.full(len(found), np.nan)
        chances = np.concatenate(labels)
        if target.label is not None:
            found = found * chances[:, names.index(target.label)]
        return found, [names[i] for i in chances.argmax(1)], chances.max(1).astype(np.float64)

    def seconds_per_image(self, sampler: str, steps: int, batch_size: int) -> float:
        """Time of generating one image, measured with the model that is known."""
        side = self.known.image_size
        n = min(batch_size, 16)
        x = torch.randn(n, 3, side, side, device=self.device)
        sigma = self.known.nearest_sigma(1.0)
        with torch.inference_mode():
            self.known.denoise(x, sigma)
            started = time.monotonic()
            for _ in range(3):
                self.known.denoise(x, sigma)
        plain = (time.monotonic() - started) / 3 / n
        return plain * steps * GUIDED_COST.get(sampler, 1.0)

    def _realness(self, solver: str, steps: int) -> Classifier:
        """Tells generated images (0) from real ones (1), at every noise level."""
        settings = replace(self.guidance, num_classes=2, loss="cross_entropy")
        folder = self._guidance_place("real-", settings, solver, steps)
        n = min(FAKES, len(self.pixels))
        plain = samplers.ddpm(self.denoiser, steps=steps, solver=solver, dtype=self.dtype)
        self.reporter.say(f"Low-density sampling first needs {n} plain samples to compare with.")
        made = generate.generate(
            folder, plain, n, seed=self.seed, batch_size=64, facts={}, reporter=self.reporter
        )
        fakes = np.stack([read_png(folder / e["file"]) for e in made])
        real = self.pixels[np.random.default_rng(self.seed).permutation(len(self.pixels))[:n]]
        both = np.concatenate([fakes, real])
        kinds = np.repeat(np.array([0, 1], np.int64), [len(fakes), len(real)])
        return self._fit_classifier(folder, settings, both, kinds, None)

    def _guidance_place(self, kind: str, settings: ClassifierTraining, *more: object) -> Path:
        """Where a classifier is kept: another folder for whatever would make it another one."""
        facts = [classifiers.LAYOUT, str(settings), self.denoiser.content_hash(), *more]
        return self.base.run.path / "guidance" / f"{kind}{hashing.fingerprint(facts)}"

    def _fit_classifier(
        self,
        folder: Path,
        settings: ClassifierTraining,
        pixels: NDArray[np.uint8],
        classes: NDArray[np.int64],
        labels: Sequence[str | None] | None,
    ) -> Classifier:
        folder.mkdir(parents=True, exist_ok=True)
        with digests.held(Run(folder)):
            return train_classifier.train(
                self.denoiser,
                pixels,
                classes,
                folder,
                settings,
                labels=labels,
                cluster=self.cluster,
                reporter=self.reporter,
            )

    @property
    def _knows_all(self) -> bool:
        try:
            denoisers.check_all_levels(self.known)
        except UserError:
            return False
        return True

    @cached_property
    def plan(self) -> train_denoiser.Training:
        """What decides the training of `denoiser`."""
        minutes, steps = self.budget.train_minutes, self.budget.train_steps
        if minutes is None and steps is None and (before := self._trained_before()):
            return before
        return train_denoiser.Training(
            image_size=self.known.image_size,
            sigmas=None,
            minutes=TRAIN_MINUTES if minutes is None else minutes,
            steps=steps,
            seed=self.seed,
            batch_size=models.images_per_step(self.device, all_levels=True),
        )

    def _trained_before(self) -> train_denoiser.Training | None:
        """The last training that gave a model of all noise levels for this run."""
        found = []
        for folder in (paths.home() / "models").glob("*"):
            if train_denoiser.finished(folder):
                plan = train_denoiser.Training.of(train_denoiser.record(folder))
                if plan.seed == self.seed and self._place_of(plan) == folder:
                    found.append(((folder / train_denoiser.RECORD).stat().st_mtime_ns, plan))
        return max(found, key=lambda each: each[0])[1] if found else None

    @property
    def _place(self) -> Path:
        return self._place_of(self.plan)

    def _place_of(self, plan: train_denoiser.Training) -> Path:
        """Where a model is kept: another folder for whatever would make it another one."""
        run = self.base.run.record
        images = sorted(self.base.frame["content_hash"])
        key = hashing.fingerprint([images, run["model"]["hash"], str(plan), self.base.fit])
        return paths.home() / "models" / key


def open_workshop(
    base: Base,
    *,
    model: str | None = None,
    loss: str = ClassifierTraining.loss,
    budget: Budget | None = None,
    seed: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    cluster: Cluster | None = None,
    reporter: Reporter = SILENT,
) -> Workshop:
    """The networks for generating on top of ``base``; trained when they are first used.

    Args:
        seed: of the trainings; ``None`` is that of the run's trainings before, or else 0. It is not
            that of what is generated: other images need no other networks.
    """
    device = choose_device(device)
    dtype = choose_precision(precision, device)
    if seed is None:
        seed = int(last_guidance(base.run).get("seed", 0))
    return Workshop(base, device, dtype, budget or Budget(), model, loss, seed, reporter, cluster)


def estimate(
    workshop: Workshop, *, n: int, sampler: str, steps: int, batch_size: int
) -> list[tuple[str, str]]:
    """What `augment` would do, in order, and how long each part takes about.

    Args:
        steps: evaluations of an image.
    """
    parts, plan, guidance = [], workshop.plan, workshop.guidance
    if not workshop.ready:
        budget = f"{plan.steps} steps" if plan.steps else duration(plan.minutes * 60)
        parts.append(("train on to all noise levels", budget))
    budget = f"{guidance.steps} steps" if guidance.steps else duration(guidance.minutes * 60)
    if sampler == "low-density":
        fakes = min(FAKES, len(workshop.base.frame))
        seconds = workshop.seconds_per_image("ddpm", steps, batch_size) * fakes
        parts.append(
            (f"generate {fakes:,} plain images, if they are not there yet", duration(seconds))
        )
        parts.append(("learn to tell them from real ones", f"at most {budget}"))
    if workshop.judges(sampler):
        parts.append(("train the classifier, if it is not there yet", f"at most {budget}"))
    seconds = workshop.seconds_per_image(sampler, steps, batch_size)
    parts.append((f"generate {n:,} images", duration(seconds * n)))
    rate = workshop.base.run.record.get("images_per_second")
    if rate:
        parts.append(("score and inspect them", duration(n / float(rate))))
    return parts
