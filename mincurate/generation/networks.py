"""The trainings before a generation: a model of all noise levels, then a classifier of the classes.

Each is done once within its budget and kept: the model in ``MINCURATE_HOME``, the classifier in the
folder of the scored run.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mincurate import hashing, paths, progress
from mincurate.compute.ray_map import Cluster
from mincurate.diffusion import denoiser as denoisers
from mincurate.diffusion import models, train_denoiser
from mincurate.diffusion.denoiser import Denoiser
from mincurate.diffusion.load import load_denoiser
from mincurate.diffusion.prompts import Wording
from mincurate.generation import classifier as classifiers
from mincurate.generation import labels as generated_labels
from mincurate.generation import train_classifier
from mincurate.generation.classifier import Classifier, ClassifierTraining
from mincurate.generation.guided_classes import classes_of, labels_of
from mincurate.generation.training_time import GUIDE_MINUTES, TRAIN_MINUTES, Budget, last_guidance
from mincurate.progress import SILENT, Reporter
from mincurate.ranking.reference import Base
from mincurate.runs import digests
from mincurate.runs.store import Run


@dataclass(frozen=True, eq=False)
class Trainings:
    """The two trainings for one scored run. Nothing is trained before its ``train_...`` is called.

    Attributes:
        base: the scored run.
        start: the model that they begin with: the user's, or that of the run.
        model: what the user named the model by; ``None`` for that of the run.
        plan: settings of the training of all noise levels.
        guidance: settings of the training of the classifier.
        cluster: where they compute; this process when absent.
    """

    base: Base
    start: Denoiser
    model: str | None
    plan: train_denoiser.Training
    guidance: ClassifierTraining
    cluster: Cluster | None = None

    @property
    def needs_denoiser(self) -> bool:
        """Whether `train_denoiser` has still to train."""
        return not (
            denoisers.knows_all_levels(self.start) or train_denoiser.finished(self._denoiser_folder)
        )

    def train_denoiser(self, reporter: Reporter = SILENT) -> Denoiser:
        """A model of all noise levels: the one there is, or trained on from it, now or before.

        Raises:
            UserError: the user's model, which is used as it is, does not know all noise levels.
            TrainingInterruptedError: on Ctrl-C; the same call goes on.
        """
        if self.model:
            denoisers.check_all_levels(self.start)
        if denoisers.knows_all_levels(self.start):
            return self.start
        folder, plan = self._denoiser_folder, self.plan
        if train_denoiser.finished(folder):
            return load_denoiser(str(folder), str(self.start.device))
        time = progress.budget(plan.minutes, plan.steps, "--train-minutes")
        reporter.say(
            "The model knows only the noise levels around that of the score; generating needs all "
            f"of them. Training it on, once for this run: {time}. Ctrl-C keeps the progress."
        )
        folder.mkdir(parents=True, exist_ok=True)
        with digests.held(Run(folder)):
            return train_denoiser.train(
                self.base.pixels(),
                folder,
                plan,
                start=self.start,
                classes=generated_labels.classes_of_images(self.start, self.base),
                device=str(self.start.device),
                cluster=self.cluster,
                reporter=reporter,
            )

    def train_classifier(
        self, denoiser: Denoiser, pixels: NDArray[np.uint8], reporter: Reporter = SILENT
    ) -> Classifier:
        """``p(l | x, sigma)`` of the run's classes and labels, trained now or before.

        Args:
            denoiser: the result of `train_denoiser`.
            pixels: the run's images at the denoiser's size, ``(N, 3, S, S)``.

        Raises:
            UserError: there are fewer than two classes.
            TrainingInterruptedError: on Ctrl-C; the same call goes on.
        """
        classes, labels = classes_of(self.base), labels_of(self.base)
        facts = [
            classifiers.LAYOUT,
            str(self.guidance),
            denoiser.content_hash(),
            classes.tolist(),
            labels,
        ]
        folder = self.base.run.path / "guidance" / hashing.fingerprint(facts)
        if not classifiers.finished(folder):
            minutes, steps = self.guidance.minutes, self.guidance.steps
            time = progress.budget(minutes, steps, "--guide-minutes")
            reporter.say(
                f"Training the classifier of {self.base.num_classes} classes on "
                f"{len(classes):,} images ({self.guidance.loss}): {time}."
            )
        folder.mkdir(parents=True, exist_ok=True)
        with digests.held(Run(folder)):
            return train_classifier.train(
                denoiser,
                pixels,
                classes,
                folder,
                self.guidance,
                labels=labels,
                cluster=self.cluster,
                reporter=reporter,
            )

    @property
    def _denoiser_folder(self) -> Path:
        return _folder_of(self.base, self.plan)


def plan_trainings(
    base: Base,
    *,
    model: str | None = None,
    loss: str = ClassifierTraining.loss,
    timesteps: str = ClassifierTraining.timesteps,
    budget: Budget | None = None,
    seed: int | None = None,
    device: str = "cpu",
    cluster: Cluster | None = None,
) -> Trainings:
    """The trainings for generating on top of ``base``; nothing is trained yet.

    Args:
        model: a model of all noise levels to use as it is: folder, hub id or run; by default the
            run's own, trained on.
        loss: of the classifier.
        timesteps: how the training of the classifier draws them.
        seed: of the trainings; ``None`` is that of the run's trainings before, or else 0. The seed
            of what is generated is another: other images need no other networks.

    Raises:
        UserError: the model is gone.
    """
    budget = budget or Budget()
    own = base.run.record["model"]
    start = _given(model, base, device) if model else models.recorded(own, device)
    if seed is None:
        seed = int(last_guidance(base.run).get("seed", 0))
    plan = _plan_denoiser(base, budget, start, seed, device)
    guidance = _plan_classifier(base, budget, loss, timesteps, seed)
    return Trainings(base, start, model, plan, guidance, cluster)


def _given(model: str, base: Base, device: str) -> Denoiser:
    """The user's model; one that takes text is told what the run's model was to be told."""
    denoiser = load_denoiser(models.place(model), device)
    prompt = base.run.record["settings"].get("prompt")
    if denoiser.prompts is None or not prompt:
        return denoiser
    return denoiser.told(Wording.of(prompt, labels_of(base)))


def _plan_denoiser(
    base: Base, budget: Budget, start: Denoiser, seed: int, device: str
) -> train_denoiser.Training:
    minutes, steps = budget.train_minutes, budget.train_steps
    if minutes is None and steps is None and (before := _last_denoiser(base, seed)):
        return before
    return train_denoiser.Training(
        image_size=start.image_size,
        sigmas=None,
        class_names=_class_names(start, base),
        minutes=TRAIN_MINUTES if minutes is None else minutes,
        steps=steps,
        seed=seed,
        batch_size=models.images_per_step(device, all_levels=True),
    )


def _class_names(start: Denoiser, base: Base) -> tuple[str, ...]:
    """Names of the classes of a conditional model: its own, or those that the run's labels give."""
    names = {k: name for name, k in generated_labels.label_classes(start, base).items()}
    return start.class_names or tuple(names.get(k, str(k)) for k in range(start.num_classes))


def _plan_classifier(
    base: Base, budget: Budget, loss: str, timesteps: str, seed: int
) -> ClassifierTraining:
    minutes, steps = budget.guide_minutes, budget.guide_steps
    if minutes is None and steps is None:
        before = last_guidance(base.run)
        minutes, steps = before.get("minutes"), before.get("steps")
    return ClassifierTraining(
        num_classes=base.num_classes,
        loss=loss,
        timesteps=timesteps,
        minutes=GUIDE_MINUTES if minutes is None else minutes,
        steps=steps,
        seed=seed,
        by=base.guided_by,
    )


def _last_denoiser(base: Base, seed: int) -> train_denoiser.Training | None:
    """The last training of all noise levels that was finished for this run with this seed."""
    finished = []
    for folder in (paths.home() / "models").glob("*"):
        if train_denoiser.finished(folder):
            plan = train_denoiser.Training.of(train_denoiser.record(folder))
            if plan.seed == seed and _folder_of(base, plan) == folder:
                finished.append(((folder / train_denoiser.RECORD).stat().st_mtime_ns, plan))
    return max(finished, key=lambda each: each[0])[1] if finished else None


def _folder_of(base: Base, plan: train_denoiser.Training) -> Path:
    """Where a model is kept: its own folder for all that decides its weights."""
    images = sorted(base.frame["content_hash"])
    key = hashing.fingerprint([images, base.run.record["model"]["hash"], str(plan), base.fit])
    return paths.home() / "models" / key
