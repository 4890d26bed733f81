"""Train a denoiser on a folder's own images, within a budget of minutes.

A score needs one noise level, so a model trained only to score sees the levels around it: from a
little below to some ten times above, where it learns what the coarse structure of an image is. A
model that is to generate sees all levels, most often those at which an image takes its shape.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mincurate.compute import ray_train
from mincurate.compute.device import reduced_precision
from mincurate.compute.ray_map import Cluster
from mincurate.compute.ray_train import ALONE, Team
from mincurate.diffusion import conditions, lora, new_network
from mincurate.diffusion.denoiser import Denoiser
from mincurate.diffusion.denoising_loss import denoising_loss
from mincurate.diffusion.draws import Draws
from mincurate.diffusion.load import load_denoiser
from mincurate.diffusion.noise_levels import LATENT_SCALE, level_weights
from mincurate.diffusion.training_loop import GradientLimit, Trainer
from mincurate.diffusion.training_plan import Training
from mincurate.errors import UserError
from mincurate.progress import SILENT, Reporter
from mincurate.runs.atomic_files import write_atomically

if TYPE_CHECKING:
    from mincurate.diffusion.autoencoder import Autoencoder

RECORD = "mincurate.json"
HELD_OUT_BATCH = 64
"""Held-out images that go through the network at once."""
DIVERGED = 1.3
"""Held-out and training error this many times the best mean that the training ran away.

Both, because the held-out error alone also rises when a model memorises its images."""
LABELS_DROPPED = 0.1
"""Share of the images whose label a class-conditional model does not see, so that it learns the
distribution of all images, too (Ho and Salimans, "Classifier-Free Diffusion Guidance", 2021)."""


def train(
    images: NDArray[np.uint8] | NDArray[np.float16],
    folder: Path,
    training: Training,
    *,
    start: Denoiser | None = None,
    autoencoder: "Autoencoder | None" = None,
    classes: NDArray[np.int64] | None = None,
    weights: NDArray[np.float64] | None = None,
    device: str = "cpu",
    cluster: Cluster | None = None,
    reporter: Reporter = SILENT,
) -> Denoiser:
    """Train on ``images`` and save a diffusers pipeline in ``folder``; go on with what is there.

    Args:
        images: ``(N, C, S, S)`` uint8 of the training's bands and size, or their latents
            ``(N, C, h, w)`` float16; may be memory-mapped.
        folder: where the checkpoint and the finished pipeline go.
        start: a model to go on from; a new one is made when absent.
        autoencoder: that gives these latents; ``None`` for pixels.
        classes: ``(N,)``, of the images, for a class-conditional model; -1 where one has none.
        weights: ``(N,)``, how often images are drawn; all equally often when absent.
        cluster: where workers train together; this process alone when absent. The weights are the
            same but for rounding. All of its nodes must see ``folder`` under the same path.

    Raises:
        UserError: too few images; no such cluster, or its workers die again and again.
        trainer.TrainingInterruptedError: on Ctrl-C, after the checkpoint was written.
    """
    if finished(folder):
        return load_denoiser(str(folder), device)
    if len(images) < 2:
        raise UserError(
            f"Training needs at least 2 readable images and found {len(images)}; "
            "give more images, or a trained model with --model."
        )
    folder.mkdir(parents=True, exist_ok=True)
    if cluster is None:
        trainer = DenoiserTrainer(
            images,
            folder,
            training,
            start,
            device,
            reporter,
            classes=classes,
            weights=weights,
            autoencoder=autoencoder,
        )
        trainer.run()
    else:
        origin = start and start.copy_on("cpu")
        ray_train.on_ray(
            partial(
                _work,
                folder=folder.resolve(),
                training=training,
                start=origin,
                classes=classes,
                weights=weights,
                autoencoder=autoencoder and autoencoder.copy_on("cpu"),
            ),
            images,
            folder,
            cluster,
            batch_size=training.batch_size,
            reporter=reporter,
        )
    return load_denoiser(str(folder), device)


def _work(
    images: NDArray[np.uint8],
    device: str,
    reporter: Reporter,
    team: Team,
    *,
    folder: Path,
    training: Training,
    start: Denoiser | None,
    classes: NDArray[np.int64] | None,
    weights: NDArray[np.float64] | None,
    autoencoder: "Autoencoder | None",
) -> None:
    """Train as one of a team."""
    if not team.agree(lambda: finished(folder)):  # a worker may die when all is done
        origin = start and start.copy_on(device)
        decoder = autoencoder and autoencoder.copy_on(device)
        trainer = DenoiserTrainer(
            images, folder, training, origin, device, reporter, team, classes, weights, decoder
        )
        trainer.run()


def finished(folder: Path) -> bool:
    """Whether a training has been completed in ``folder``."""
    return (folder / RECORD).is_file() and not (folder / DenoiserTrainer.checkpoint).exists()


def record(folder: Path) -> dict[str, Any]:
    """What a finished training says of itself: settings, steps, curve, minutes."""
    return json.loads((folder / RECORD).read_text()) if (folder / RECORD).is_file() else {}


class DenoiserTrainer(Trainer):
    """The state of one training: network, running average, optimiser and loss curve."""

    what, title, checkpoint = "the training", "Training", "checkpoint.pt"
    training: Training

    def __init__(
        self,
        images: NDArray[np.uint8] | NDArray[np.float16],
        folder: Path,
        training: Training,
        start: Denoiser | None,
        device: str,
        reporter: Reporter,
        team: Team = ALONE,
        classes: NDArray[np.int64] | None = None,
        weights: NDArray[np.float64] | None = None,
        autoencoder: "Autoencoder | None" = None,
    ) -> None:
        super().__init__(images, folder, torch.device(device), training, team, reporter)
        self.start, self.classes, self.autoencoder = start, classes, autoencoder
        self.dtype = reduced_precision(device)
        self.denoiser = self._network()
        self.optimizer = self._new_optimizer()
        self.average = _copy(self._weights())
        self.limit, self.rate = GradientLimit(), training.learning_rate
        self.curve: list[tuple[int, float, float]] = []
        self.best: tuple[float, dict[str, Tensor]] = (math.inf, _copy(self.average))
        scale = LATENT_SCALE if autoencoder is not None else 1.0
        levels = level_weights(self.denoiser.sigmas.cpu(), training.sigmas, scale)
        self.draws = Draws(len(images), training.seed, levels, weights)

    def _network(self) -> Denoiser:
        return new_network.begin(self.training, self.start, self.device, self.autoencoder)

    def batch(self, index: NDArray[np.int64]) -> Tensor:
        """Samples ``index`` on the device: images in [-1, 1], or latents."""
        if self.autoencoder is None:
            return super().batch(index)
        return torch.from_numpy(self.images[index].astype(np.float32)).to(self.device)

    def update(self, step: int) -> float:
        """One step of AdamW under warm-up and cosine, and of the running average."""
        generator = self.generator(step)
        progress = step / self.planned
        warm_up = min(1.0, (step + 1) / min(100, 1 + self.planned // 10))
        for group in self.optimizer.param_groups:
            cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
            group["lr"] = self.rate * warm_up * cosine
        size, rows = self.training.batch_size, self.team.rows()
        index = self.draws.images(size, generator)[rows]
        x0 = self.batch(index)
        flip = (torch.rand(size, 1, 1, 1, generator=generator) < 0.5)[rows].to(self.device)
        if self.training.sigmas is not None:
            x0 = torch.where(flip, x0.flip(3), x0)
        timesteps, eps = (drawn[rows] for drawn in self.draws.noise(x0.shape[1:], generator, size))

        classes = self._classes(index)
        if classes is not None and self.denoiser.null_class is not None:
            dropped = (torch.rand(size, generator=generator) < LABELS_DROPPED)[rows]
            classes = classes.masked_fill(dropped, conditions.NULL)

        def loss(part: slice) -> Tensor:
            share = len(x0[part]) / size
            return self._loss(x0, timesteps, eps, classes, part) * share

        parameters = self._parameters()
        value = self.team.add_up(self.parts.backward(loss, len(x0), parameters), parameters)
        self.limit.clip(parameters)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        decay = min(0.999, (step + 1) / (step + 10))
        with torch.no_grad():
            weights = self._weights()
            torch._foreach_lerp_(list(self.average.values()), list(weights.values()), 1 - decay)
        return value

    def _classes(self, index: NDArray[np.int64]) -> Tensor | None:
        """The classes of images ``index``, if the model is conditional on them."""
        return None if self.classes is None else torch.from_numpy(self.classes[index])

    def _loss(
        self, x0: Tensor, timesteps: Tensor, eps: Tensor, classes: Tensor | None, rows: slice
    ) -> Tensor:
        """Mean loss of the rows of a batch."""
        model = self.denoiser if classes is None else self.denoiser.under(classes[rows])
        timesteps, eps = timesteps[rows].to(self.device), eps[rows].to(self.device)
        return denoising_loss(model, x0[rows], timesteps, eps, self.dtype)

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Steps of a network that is thrown away."""
        own = self.denoiser, self.optimizer, self.average, self.limit
        self.denoiser = self._network()
        self.optimizer = self._new_optimizer()
        self.average = _copy(self._weights())
        self.limit = GradientLimit()
        yield
        self.denoiser, self.optimizer, self.average, self.limit = own

    def check(self, train_loss: float) -> float:
        """Error of the averaged weights on the held-out images; the best weights are kept."""
        error = self.team.agree(self._held_out_error)
        lowest = min((point[1] for point in self.curve), default=math.inf)
        self.curve.append((self.step * self.training.batch_size, train_loss, error))
        if error < self.best[0]:
            self.best = (error, _copy(self.average))
        elif not (error < DIVERGED * self.best[0] or train_loss < DIVERGED * lowest):
            self._go_back(error)
        return error

    @torch.no_grad()
    def _held_out_error(self) -> float:
        current = _copy(self._weights())
        self._load(self.average)
        generator = self.generator(-1)
        held_out, error = self.draws.held_out, 0.0
        try:
            for start in range(0, len(held_out), HELD_OUT_BATCH):
                index = held_out[start : start + HELD_OUT_BATCH]
                x0 = self.batch(index)
                drawn = self.draws.noise(x0.shape[1:], generator, len(index))
                loss = partial(self._loss, x0, *drawn, self._classes(index))
                error += sum(self.parts.each(partial(_total, loss, x0), len(x0)))
        finally:
            self._load(current)
        return error / len(held_out)

    def _go_back(self, error: float) -> None:
        """Go on from the best weights at half the rate, after the training ran away."""
        self.reporter.say(
            f"The training became unstable (held-out error {error:.3g} after {self.best[0]:.3g}): "
            "going on from its best weights with half the learning rate."
        )
        self.rate /= 2
        self._load(self.best[1])
        self.average = _copy(self.best[1])
        self.optimizer = self._new_optimizer()
        self.running_loss, self.limit = math.nan, GradientLimit()

    def _new_optimizer(self) -> torch.optim.AdamW:
        rate = self.training.learning_rate
        return torch.optim.AdamW(self._parameters(), lr=rate, betas=(0.9, 0.99), fused=True)

    def _parameters(self) -> list[torch.nn.Parameter]:
        """What is trained: all weights, or those of adapters."""
        return [weight for weight in self.denoiser.unet.parameters() if weight.requires_grad]

    def _weights(self) -> dict[str, Tensor]:
        """The same by name, without gradients."""
        weights = self.denoiser.unet.named_parameters()
        return {name: weight.detach() for name, weight in weights if weight.requires_grad}

    def _load(self, weights: Mapping[str, Tensor]) -> None:
        self.denoiser.unet.load_state_dict(weights, strict=False)

    def state(self) -> dict[str, Any]:
        """Weights, their average, the best of them, the optimiser and the curve."""
        return {
            "unet": self._weights(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "best_error": self.best[0],
            "best": self.best[1],
            "rate": self.rate,
            "usual_norm": self.limit.usual,
            "curve": self.curve,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a `state`."""
        self._load(state["unet"])
        self.average, self.best = state["average"], (state["best_error"], state["best"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rate, self.limit.usual = state["rate"], state["usual_norm"]
        self.curve = state["curve"]

    def interrupted(self) -> str:
        """Write a usable model as of now. The checkpoint, which goes on, does not see this."""
        self.check(self.running_loss)
        if self.team.rank == 0:
            self.save()
        return ", with its best weights so far as a model"

    def save(self) -> None:
        """Write the best weights as a pipeline, and the record of the training."""
        self._load(self.best[1])
        model = self.denoiser
        if self.training.lora:
            model = replace(model, unet=lora.merged(model.unet))
        model.save(self.folder)
        about = {
            "training": asdict(self.training),
            "trained_sigmas": self.training.sigmas,
            "steps": self.step,
            "images_seen": self.step * self.training.batch_size,
            "training_images": len(self.draws.train_index),
            "minutes": self.seconds / 60,
            "threads": self.threads.chosen,
            "curve": self.curve,
            "best_held_out": self.best[0],
        }
        write_atomically(self.folder / RECORD, json.dumps(about, indent=1).encode())


def _total(loss: Callable[[slice], Tensor], x0: Tensor, rows: slice) -> float:
    return loss(rows).item() * len(x0[rows])


def _copy(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in weights.items()}
