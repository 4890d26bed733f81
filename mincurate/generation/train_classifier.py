"""Train the classifier of the ordinal classes on noised images, within a budget of minutes."""

import copy
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mincurate.compute import ray_train
from mincurate.compute.device import precision, reduced_precision
from mincurate.compute.ray_map import Cluster
from mincurate.compute.ray_train import ALONE, Team
from mincurate.diffusion.denoiser import Denoiser
from mincurate.diffusion.trainer import Trainer
from mincurate.errors import UserError
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
from mincurate.hashing import fingerprint
from mincurate.progress import SILENT, Reporter
from mincurate.runs.files import write_atomically

EVALUATED_LEVELS = 8
STANDARDISED = 512
"""Images, noised, over which the usual values of the features are taken."""
BRANCHES = {"classes": "log_loss", "labels": "label_log_loss"}
"""The parts of a head, and the held-out figure by which the weights of each are kept."""
HELD_OUT = (0.1, 1024)
"""Share of the images that is held out, and how many at most."""


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

    Timesteps are drawn as ``T * u^2``, u uniform, which is how the samplers are spaced (nearly
    log-uniform in sigma): the classifier is trained where it is asked. The paper, whose steps are
    spaced evenly, draws evenly.

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
    state = HeadTrainer(denoiser, images, members, folder, training, labels, reporter)
    if not finished(folder):
        folder.mkdir(parents=True, exist_ok=True)
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
        there = denoiser.copy_on(device)
        HeadTrainer(there, images, classes, folder, training, labels, reporter, team).run()


def split(
    classes: NDArray[np.int64], seed: int, share: float = HELD_OUT[0], most: int = HELD_OUT[1]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices to train on and to hold out, stratified by class; class -1 is in neither.

    A class gives its share, at least one image, and keeps at least one; a class of one image keeps
    it. Where nothing could be held out, the training images themselves are.
    """
    rng = np.random.default_rng(seed)
    share = min(share, most / max(1, int((classes >= 0).sum())))
    kept: list[int] = []
    held_out: list[int] = []
    for k in np.unique(classes[classes >= 0]):
        index = rng.permutation(np.flatnonzero(classes == k))
        n = min(max(1, round(share * len(index))), len(index) - 1)
        held_out.extend(index[:n])
        kept.extend(index[n:])
    train_index = np.sort(np.array(kept, dtype=np.int64))
    return train_index, np.sort(np.array(held_out or kept, dtype=np.int64))


def figures(
    log_probs: NDArray[np.floating], truth: NDArray[np.int64], *, ordinal: bool = True
) -> dict[str, float]:
    """Held-out figures of ``(N, L)`` log-probabilities.

    ``mean_absolute_error`` is that of the class of highest probability, in classes; ``macro_f1``
    is the mean over the classes that occur in ``truth``.
    """
    predicted = log_probs.argmax(1)
    f1 = []
    for k in np.unique(truth):
        hit = np.sum((predicted == k) & (truth == k))
        f1.append(2 * hit / (np.sum(predicted == k) + np.sum(truth == k)))
    found = {
        "log_loss": float(-log_probs[np.arange(len(truth)), truth].mean()),
        "accuracy": float(np.mean(predicted == truth)),
        "macro_f1": float(np.mean(f1)),
    }
    if ordinal:
        found["mean_absolute_error"] = float(np.abs(predicted - truth).mean())
    return found


class HeadTrainer(Trainer):
    """The state of one training: head, optimiser, curve and the best weights so far."""

    what, title = "the classifier's training", "Training the classifier"
    checkpoint = CHECKPOINT
    training: ClassifierTraining

    def __init__(
        self,
        denoiser: Denoiser,
        images: NDArray[np.uint8],
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
        names = sorted({n for n in labels or () if n is not None})
        self.label_names = names if len(names) > 1 else []
        place = {name: i for i, name in enumerate(self.label_names)}
        names_of_all = labels or [None] * len(classes)
        self.labels = np.array([-1 if n is None else place.get(n, -1) for n in names_of_all])
        self.train_index, self.held_out = split(classes, training.seed)
        self.denoiser_hash = denoiser.content_hash()
        self.fingerprint = fingerprint(
            [
                asdict(training),
                self.denoiser_hash,
                self.label_names,
                classes.tolist(),
                self.labels.tolist(),
            ]
        )
        self.head = new_head(denoiser, training, len(self.label_names))
        self.targets = soft_targets(training.num_classes, training.loss).to(self.device)
        self.optimizer = self._new_optimizer()
        self.curve: list[dict[str, float]] = []
        self.best: dict[str, tuple[float, dict[str, Tensor], list[dict[str, float]]]] = {}

    def begin(self) -> None:
        """Give the head the usual values of its features."""
        self.head.load_state_dict(self.team.agree(self._standardised))

    def update(self, step: int) -> float:
        """One step of AdamW under a cosine."""
        generator = self.generator(step)
        size, rows = self.training.batch_size, self.team.rows()
        index, timesteps = self._draw(generator)
        x0 = self.batch(index[rows])
        flip = (torch.rand(size, 1, 1, 1, generator=generator) < 0.5)[rows].to(self.device)
        x0 = torch.where(flip, x0.flip(3), x0)
        loss = self._loss(self._encode(x0, timesteps, generator, rows), index, rows)
        loss.backward()
        value = self.team.add_up(loss, self.head.parameters())
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            cosine = 0.5 * (1 + math.cos(math.pi * step / self.planned))
            group["lr"] = self.training.learning_rate * cosine
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return value

    def _draw(self, generator: torch.Generator) -> tuple[NDArray[np.int64], Tensor]:
        """Images and timesteps of one batch."""
        size = self.training.batch_size
        picks = torch.randint(len(self.train_index), (size,), generator=generator)
        u = torch.rand(size, generator=generator)
        return self.train_index[picks.numpy()], (len(self.denoiser.sigmas) * u**2).long()

    def _standardised(self) -> dict[str, Tensor]:
        """The head with the usual values of its features, over images and noise levels."""
        generator = self.generator(-1)
        pooled = []
        for _ in range(-(-STANDARDISED // self.training.batch_size)):
            index, timesteps = self._draw(generator)
            pooled.append(self.head.pool(self._encode(self.batch(index), timesteps, generator)[0]))
        self.head.standardise(torch.cat(pooled))
        return self.head.state_dict()

    def _encode(
        self,
        x0: Tensor,
        timesteps: Tensor,
        generator: torch.Generator,
        rows: slice = slice(None),
    ) -> tuple[list[Tensor], Tensor]:
        """The encoder's view of ``x0``, noised: what a `Head` takes.

        Noise is drawn for the whole batch, whose levels are ``timesteps``; ``x0`` is its ``rows``.
        """
        eps = torch.randn((len(timesteps), *x0.shape[1:]), generator=generator)
        eps = eps[rows].to(self.device)
        timesteps = timesteps[rows].to(self.device)
        sigma = self.denoiser.sigmas.to(self.device)[timesteps].view(-1, 1, 1, 1)
        with torch.no_grad(), precision(self.device.type, self.dtype):
            encoded = self.denoiser.encode(x0 + sigma * eps, timesteps)
        return encoded.maps, encoded.embedded

    def _loss(
        self, encoded: tuple[list[Tensor], Tensor], index: NDArray[np.int64], rows: slice
    ) -> Tensor:
        """Cross entropy of the classes with their targets, plus that of the labels that are known.

        ``index`` is the whole batch; the loss is the part that its ``rows`` have in the batch's.
        """
        classes, labels = self.head(*encoded)
        truth = torch.from_numpy(self.classes[index[rows]]).to(self.device)
        loss = -(self.targets[truth] * classes).sum() / len(index)
        known = int((self.labels[index] >= 0).sum())
        if labels is not None and known:
            truth = torch.from_numpy(self.labels[index[rows]]).to(self.device)
            loss = loss + F.nll_loss(labels, truth, ignore_index=-1, reduction="sum") / known
        return loss

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
        """`figures` on the held-out images at noise levels spread as in training."""
        self.head.eval()
        sigmas = self.denoiser.sigmas
        found = []
        spread = (len(sigmas) - 1) * np.linspace(0, 1, EVALUATED_LEVELS) ** 2
        for t in np.unique(spread.round().astype(int)):
            generator = self.generator(-2 - int(t))
            parts = []
            for start in range(0, len(self.held_out), self.training.batch_size):
                index = self.held_out[start : start + self.training.batch_size]
                timesteps = torch.full((len(index),), int(t))
                parts.append(self.head(*self._encode(self.batch(index), timesteps, generator)))
            classes = torch.cat([p[0] for p in parts]).double().cpu().numpy()
            level = {"timestep": int(t), "sigma": float(sigmas[t])}
            level |= figures(classes, self.classes[self.held_out])
            truth = self.labels[self.held_out]
            known = truth >= 0
            labels = [p[1] for p in parts if p[1] is not None]
            if labels and known.any():
                values = torch.cat(labels).double().cpu().numpy()[known]
                about = figures(values, truth[known], ordinal=False)
                level |= {f"label_{key}": value for key, value in about.items()}
            found.append(level)
        self.head.train()
        return found

    def _new_optimizer(self) -> torch.optim.AdamW:
        rate = self.training.learning_rate
        return torch.optim.AdamW(self.head.parameters(), lr=rate, weight_decay=0.05)

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Steps of a head that is thrown away."""
        kept = self.head, self.optimizer
        self.head = copy.deepcopy(self.head)
        self.optimizer = self._new_optimizer()
        yield
        self.head, self.optimizer = kept

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
        """Write the best weights, then the record, which says that they are whole."""
        for branch, (_, state, _) in self.best.items():
            self.head.get_submodule(branch).load_state_dict(state)
        levels = [dict(level) for level in self.best["classes"][2]]
        if "labels" in self.best:
            for level, best in zip(levels, self.best["labels"][2], strict=True):
                level |= {key: value for key, value in best.items() if key.startswith("label_")}
        weights = {key: value.cpu().contiguous() for key, value in self.head.state_dict().items()}
        write_atomically(self.folder / WEIGHTS, safetensors.torch.save(weights))
        about = {
            "training": asdict(self.training),
            "fingerprint": self.fingerprint,
            "denoiser": self.denoiser_hash,
            "label_names": self.label_names,
            "steps": self.step,
            "minutes": self.seconds / 60,
            "training_images": len(self.train_index),
            "held_out_images": len(self.held_out),
            "best_held_out": {BRANCHES[branch]: best[0] for branch, best in self.best.items()},
            "levels": levels,
            "curve": self.curve,
        }
        write_atomically(self.folder / RECORD, json.dumps(about, indent=1).encode())


def _other_classifier(folder: Path) -> str:
    return (
        f"{folder} holds a classifier of other settings, classes or model; choose another folder "
        "or delete it."
    )
