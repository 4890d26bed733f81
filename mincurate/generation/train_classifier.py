"""Train the classifier of the ordinal classes on noised images, within a budget of minutes."""

import copy
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors.torch
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mincurate.compute import ray_train
from mincurate.compute.device import reduced_precision
from mincurate.compute.ray_map import Cluster
from mincurate.compute.ray_train import ALONE, Team
from mincurate.diffusion.denoiser import Denoiser
from mincurate.diffusion.training_loop import Trainer
from mincurate.errors import UserError
from mincurate.generation import train_samples
from mincurate.generation.classifier import (
    CHECKPOINT,
    LOSSES,
    RECORD,
    WEIGHTS,
    Classifier,
    ClassifierTraining,
    finished,
    load,
    new_head,
    record,
    soft_targets,
)
from mincurate.generation.classifier_loss import class_loss, label_loss, noised_features
from mincurate.generation.held_out import evaluate, split, temperature
from mincurate.hashing import fingerprint
from mincurate.progress import SILENT, Reporter
from mincurate.runs.atomic_files import write_atomically

T = TypeVar("T")
Best = tuple[float, dict[str, Tensor], list[dict[str, float]]]
"""Lowest held-out log loss, weights of the branch there, and held-out figures per noise level."""
EVALUATED_LEVELS = 8
STANDARDISED = 512
"""Noised images over which the mean and deviation of the features are taken."""
BRANCHES = {"classes": "log_loss", "labels": "label_log_loss"}
"""The branches of a head, and the held-out figure by which the best weights of each are chosen."""


def train(
    denoiser: Denoiser,
    images: NDArray[np.uint8],
    classes: ArrayLike,
    folder: Path,
    training: ClassifierTraining,
    *,
    labels: Sequence[str | None] | None = None,
    cluster: Cluster | None = None,
    reporter: Reporter = SILENT,
) -> Classifier:
    """Train the classifier on noised images and save it in ``folder``; go on with what is there.

    By default timesteps are drawn as the samplers are spaced, nearly log-uniform in sigma: the
    classifier is trained where it is asked. The paper, whose steps are even, draws them uniformly.
    With the ``ordinal`` loss a temperature is fitted on the held-out images at every evaluated
    noise level, and kept with the classifier.

    Args:
        images: ``(N, 3, S, S)`` uint8 RGB, ``S = denoiser.image_size``; may be memory-mapped.
        classes: ``(N,)`` in ``0 .. num_classes - 1``; images of class -1 are left out.
        labels: ``(N,)`` names, ``None`` where unknown; a second head learns them when there are at
            least two different ones.
        cluster: where workers train together; this process alone when absent. The weights are the
            same but for rounding. All of its nodes must see ``folder`` under the same path.

    Raises:
        UserError: fewer than two classes, or the folder holds another classifier; no such cluster,
            or its workers die again and again.
        trainer.TrainingInterruptedError: on Ctrl-C, after the checkpoint was written.
    """
    if training.loss not in LOSSES:
        raise UserError(f"There is no loss {training.loss!r}: take one of {', '.join(LOSSES)}.")
    members = np.asarray(classes, dtype=np.int64)
    if members.max(initial=-1) >= training.num_classes:
        raise ValueError(f"class {members.max()} of {training.num_classes} classes")
    if len(np.unique(members[members >= 0])) < 2:
        raise UserError(
            "The classifier needs images of at least 2 classes and found fewer; score more images, "
            "or ask for more classes with --num-classes."
        )
    if not finished(folder):
        folder.mkdir(parents=True, exist_ok=True)
        images = train_samples.encode(denoiser, images, reporter)
    state = HeadTrainer(denoiser, images, members, folder, training, labels, reporter)
    if not finished(folder):
        if cluster is None:
            state.run()
        else:
            origin, place = denoiser.copy_on("cpu"), folder.resolve()
            ray_train.on_ray(
                partial(_work, origin, members, place, training, labels),
                images,
                folder,
                cluster,
                batch_size=training.batch_size,
                reporter=reporter,
            )
    elif record(folder)["fingerprint"] != state.fingerprint:
        raise UserError(_other_classifier(folder))
    return load(folder, denoiser)


def _work(
    denoiser: Denoiser,
    classes: NDArray[np.int64],
    folder: Path,
    training: ClassifierTraining,
    labels: Sequence[str | None] | None,
    images: NDArray[np.uint8],
    device: str,
    reporter: Reporter,
    team: Team,
) -> None:
    """Train as one of a team."""
    if not team.agree(lambda: finished(folder)):  # a worker may die when all is done
        own = denoiser.copy_on(device)
        HeadTrainer(own, images, classes, folder, training, labels, reporter, team).run()


class HeadTrainer(Trainer):
    """The state of one training: head, optimiser, curve and the best weights so far."""

    what, title = "the classifier's training", "Training the classifier"
    checkpoint = CHECKPOINT
    training: ClassifierTraining

    def __init__(
        self,
        denoiser: Denoiser,
        images: NDArray[Any],
        classes: NDArray[np.int64],
        folder: Path,
        training: ClassifierTraining,
        labels: Sequence[str | None] | None,
        reporter: Reporter,
        team: Team = ALONE,
    ) -> None:
        super().__init__(images, folder, denoiser.device, training, team, reporter)
        self.denoiser, self.classes = denoiser, classes
        self.dtype = reduced_precision(self.device.type)
        self.label_names, self.labels = _numbered(labels or [None] * len(classes))
        self.train_index, self.held_out = split(classes, training.seed)
        self.denoiser_hash = denoiser.content_hash()
        numbers = classes.tolist(), self.labels.tolist()
        self.fingerprint = fingerprint(
            [asdict(training), self.denoiser_hash, self.label_names, *numbers]
        )
        self.head = new_head(denoiser, training, len(self.label_names))
        self.targets = soft_targets(training.num_classes, training.loss).to(self.device)
        self.optimizer = self._new_optimizer()
        self.curve: list[dict[str, float]] = []
        self.best: dict[str, Best] = {}

    def begin(self) -> None:
        """Give the head the mean and deviation of its features."""
        self.head.load_state_dict(self.team.agree(self._standardised))

    def update(self, step: int) -> float:
        """One step of AdamW under a cosine."""
        for group in self.optimizer.param_groups:
            cosine = 0.5 * (1 + math.cos(math.pi * step / self.planned))
            group["lr"] = self.training.learning_rate * cosine
        generator = self.generator(step)
        index, timesteps = self._draw(generator)
        flip = torch.rand(len(index), generator=generator) < 0.5
        eps = self._noise(len(index), generator)
        rows = self.team.rows()
        own, timesteps, eps, flip = index[rows], timesteps[rows], eps[rows], flip[rows]
        x0 = train_samples.batch(self.denoiser, self.images, own, flip)
        labelled = int((self.labels[index] >= 0).sum())

        def loss(part: slice) -> Tensor:
            classes, labels = self.head(*self._encode(x0[part], timesteps[part], eps[part]))
            images = own[part]
            share = class_loss(classes, self.classes[images], self.targets) / len(index)
            if labels is not None and labelled:
                share = share + label_loss(labels, self.labels[images]) / labelled
            return share

        parameters = list(self.head.parameters())
        value = self.team.add_up(self.parts.backward(loss, len(own), parameters), parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return value

    def _draw(self, generator: torch.Generator) -> tuple[NDArray[np.int64], Tensor]:
        """Images and timesteps of one batch."""
        size = self.training.batch_size
        picks = torch.randint(len(self.train_index), (size,), generator=generator)
        u = torch.rand(size, generator=generator)
        share = u**2 if self.training.timesteps == "quadratic" else u
        return self.train_index[picks.numpy()], (len(self.denoiser.sigmas) * share).long()

    def _noise(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn((n, *self.denoiser.space.shape), generator=generator)

    def _standardised(self) -> dict[str, Tensor]:
        """The head, with the mean and deviation of its features over images and noise levels."""
        generator = self.generator(-1)
        pooled: list[Tensor] = []
        for _ in range(-(-STANDARDISED // self.training.batch_size)):
            index, timesteps = self._draw(generator)
            pooled += self._each_part(index, timesteps, generator, lambda m, _: self.head.pool(m))
        self.head.standardise(torch.cat(pooled))
        return self.head.state_dict()

    def _each_part(
        self,
        index: NDArray[np.int64],
        timesteps: Tensor,
        generator: torch.Generator,
        compute: Callable[[list[Tensor], Tensor], T],
    ) -> list[T]:
        """``compute`` on what the encoder makes of noised images, in parts that fit into memory."""
        x0 = train_samples.batch(self.denoiser, self.images, index)
        eps = self._noise(len(index), generator)

        def part(rows: slice) -> T:
            return compute(*self._encode(x0[rows], timesteps[rows], eps[rows]))

        return self.parts.each(part, len(index))

    def _encode(self, x0: Tensor, timesteps: Tensor, eps: Tensor) -> tuple[list[Tensor], Tensor]:
        timesteps, eps = timesteps.to(self.device), eps.to(self.device)
        return noised_features(self.denoiser, x0, timesteps, eps, self.dtype)

    def check(self, train_loss: float) -> float:
        """Held-out figures per noise level; each branch keeps its weights of the lowest log loss.

        Returns:
            the log loss of the classes, mean over the noise levels.
        """
        levels = self.team.agree(self._evaluate)
        point: dict[str, float] = {"step": self.step, "train_loss": train_loss}
        for branch, key in BRANCHES.items():
            if key not in levels[0]:
                continue
            error = sum(level[key] for level in levels) / len(levels)
            point[f"held_out_{key}"] = error
            if branch not in self.best or error < self.best[branch][0]:
                state = copy.deepcopy(self.head.get_submodule(branch).state_dict())
                self.best[branch] = (error, state, levels)
        self.curve.append(point)
        return point["held_out_log_loss"]

    @torch.no_grad()
    def _evaluate(self) -> list[dict[str, float]]:
        """Held-out figures at noise levels spaced as in training."""
        last = len(self.denoiser.sigmas) - 1
        spaced = np.unique((last * np.linspace(0, 1, EVALUATED_LEVELS) ** 2).round().astype(int))
        classes, labels = self.classes[self.held_out], self.labels[self.held_out]
        levels = []
        self.head.eval()
        for t in spaced.tolist():
            log_probs = self._held_out_log_probs(t)
            level = {"timestep": t, "sigma": float(self.denoiser.sigmas[t])}
            if self.training.loss == "ordinal":
                level["temperature"] = temperature(log_probs[0], classes)
            levels.append(level | evaluate(log_probs, classes, labels))
        self.head.train()
        return levels

    def _held_out_log_probs(self, t: int) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Log-probabilities of classes and labels for the held-out images at one timestep."""
        generator = self.generator(-2 - t)
        predicted: list[tuple[Tensor, Tensor | None]] = []
        for start in range(0, len(self.held_out), self.training.batch_size):
            index = self.held_out[start : start + self.training.batch_size]
            predicted += self._each_part(index, torch.full((len(index),), t), generator, self.head)
        classes = torch.cat([p[0] for p in predicted]).double().cpu().numpy()
        labels = [p[1] for p in predicted if p[1] is not None]
        return classes, torch.cat(labels).double().cpu().numpy() if labels else None

    def _new_optimizer(self) -> torch.optim.AdamW:
        rate = self.training.learning_rate
        return torch.optim.AdamW(self.head.parameters(), lr=rate, weight_decay=0.05)

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Steps of a head that is thrown away."""
        own = self.head, self.optimizer
        self.head = copy.deepcopy(self.head)
        self.optimizer = self._new_optimizer()
        yield
        self.head, self.optimizer = own

    def state(self) -> dict[str, Any]:
        """Weights, the best of them with their figures, the optimiser and the curve."""
        return {
            "fingerprint": self.fingerprint,
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "curve": self.curve,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a `state`, if it is of this training."""
        if state["fingerprint"] != self.fingerprint:
            raise UserError(_other_classifier(self.folder))
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best, self.curve = state["best"], state["curve"]

    def save(self) -> None:
        """Write the best weights, then the record, which says that they are complete."""
        for branch, (_, state, _) in self.best.items():
            self.head.get_submodule(branch).load_state_dict(state)
        weights = {key: value.cpu().contiguous() for key, value in self.head.state_dict().items()}
        write_atomically(self.folder / WEIGHTS, safetensors.torch.save(weights))
        entries = {
            "training": asdict(self.training),
            "fingerprint": self.fingerprint,
            "denoiser": self.denoiser_hash,
            "label_names": self.label_names,
            "steps": self.step,
            "minutes": self.seconds / 60,
            "threads": self.threads.chosen,
            "training_images": len(self.train_index),
            "held_out_images": len(self.held_out),
            "best_held_out": {BRANCHES[branch]: best[0] for branch, best in self.best.items()},
            "levels": _best_levels(self.best),
            "curve": self.curve,
        }
        write_atomically(self.folder / RECORD, json.dumps(entries, indent=1).encode())


def _numbered(labels: Sequence[str | None]) -> tuple[list[str], NDArray[np.int64]]:
    """Names of the labels, where there are at least two, and each image's number; -1 is unknown."""
    names = sorted({name for name in labels if name is not None})
    names = names if len(names) > 1 else []
    number = {name: i for i, name in enumerate(names)}
    numbers = [-1 if name is None else number.get(name, -1) for name in labels]
    return names, np.array(numbers, dtype=np.int64)


def _best_levels(best: dict[str, Best]) -> list[dict[str, float]]:
    """Held-out figures per noise level: of each branch where its own weights were best."""
    levels = [dict(level) for level in best["classes"][2]]
    if "labels" in best:
        for level, labels in zip(levels, best["labels"][2], strict=True):
            level |= {key: value for key, value in labels.items() if key.startswith("label_")}
    return levels


def _other_classifier(folder: Path) -> str:
    return (
        f"{folder} holds a classifier of other settings, classes or model; choose another folder "
        "or delete it."
    )
