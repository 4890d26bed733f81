"""The loop of every training: steps within a budget, checkpoints, Ctrl-C, a team of workers.

A step takes its random numbers from ``(seed, step)`` alone, and all that it depends on is in the
checkpoint. A training of a given number of steps that was stopped therefore goes on to the same
weights as one that was not. A budget of minutes becomes a number of steps by timing a few, at the
start and again on the way; the number is part of the checkpoint. A batch that does not fit into
memory is computed in parts, whose gradients add up.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mincurate.compute.ray_train import Team
from mincurate.compute.threads import Threads
from mincurate.diffusion.checkpoint import read_checkpoint, write_checkpoint
from mincurate.diffusion.denoiser import to_tensor
from mincurate.diffusion.split_batch import Parts
from mincurate.errors import StoppedError
from mincurate.progress import Reporter

CHECKPOINT_SECONDS = 30.0
CHECKS = 20
"""How often in a training the weights are evaluated on the held-out images."""
TIMED = (3, 50, 4.0)
"""Fewest steps, most steps and seconds over which a step is timed."""


class TrainingInterruptedError(StoppedError):
    """A training was stopped by Ctrl-C; the checkpoint in ``folder`` holds all of its work.

    Args:
        what: name of the training in a sentence.
        beside: what else was saved, in words; may be empty.
    """

    def __init__(self, what: str, folder: Path, steps: int, planned: int, beside: str = "") -> None:
        super().__init__(
            f"{what[0].upper()}{what[1:]} is kept in {folder} at step {steps} of {planned}{beside};"
            " give the same command again to go on."
        )
        self.folder, self.steps, self.planned = folder, steps, planned
        self._arguments = what, folder, steps, planned, beside

    def __reduce__(self) -> tuple[Any, ...]:  # from a worker to the caller
        return type(self), self._arguments


class Plan(Protocol):
    """How many steps a training takes, and of how many images."""

    @property
    def steps(self) -> int | None:
        """Exact number of steps, or ``None`` for as many as fit `minutes`."""

    @property
    def minutes(self) -> float:
        """Budget."""

    @property
    def batch_size(self) -> int:
        """Images per step, over the whole team."""

    @property
    def seed(self) -> int:
        """Random seed."""


class GradientLimit:
    """Clips gradients to twice their usual length: one odd batch must not undo the rest.

    Attributes:
        usual: running average of the length; NaN before the first batch.
    """

    def __init__(self) -> None:
        self.usual = math.nan

    def clip(self, parameters: Sequence[Tensor]) -> None:
        """Scale the gradients of ``parameters`` down where they are too long."""
        limit = 1.0 if math.isnan(self.usual) else min(1.0, 2 * self.usual)
        gradients = [p.grad for p in parameters if p.grad is not None]
        total = torch.nn.utils.get_total_norm(gradients)
        norm = total.item()
        if not norm <= limit:  # NaN, too
            torch.nn.utils.clip_grads_with_norm_(parameters, limit, total)
        seen = min(norm, limit)
        self.usual = seen if math.isnan(self.usual) else 0.98 * self.usual + 0.02 * seen


class Trainer(ABC):
    """One training, in this process, alone or as one of a team.

    Args:
        images: ``(N, 3, S, S)`` uint8 RGB, or latents; may be memory-mapped.
        folder: where the checkpoint and the trained weights go.

    Attributes:
        step: steps done.
        planned: steps in all.
        seconds: time spent, up to the last checkpoint.
        parts: in which batches are computed.
        threads: the number that steps compute with.
    """

    what: ClassVar[str]
    """Name of the training in a sentence."""
    title: ClassVar[str]
    """Title of its progress bar."""
    checkpoint: ClassVar[str]
    """File name of the checkpoint."""

    def __init__(
        self,
        images: NDArray[Any],
        folder: Path,
        device: torch.device,
        training: Plan,
        team: Team,
        reporter: Reporter,
    ) -> None:
        self.images, self.folder, self.device = images, folder, device
        self.training, self.team, self.reporter = training, team, reporter
        self.step, self.planned, self.seconds = 0, training.steps or 0, 0.0
        self.running_loss = math.nan
        self.parts = Parts(self.what, device, alone=team.world == 1)
        self.threads = Threads(device.type)

    @abstractmethod
    def update(self, step: int) -> float:
        """Take one step; returns the loss of its batch."""

    @abstractmethod
    def check(self, train_loss: float) -> float:
        """Evaluate the weights on the held-out images, keep the best; returns the error."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What the next step depends on, besides the images: tensors and plain values."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state`.

        Raises:
            UserError: it belongs to another training.
        """

    @abstractmethod
    def rehearsal(self) -> AbstractContextManager[None]:
        """Within it, steps change copies that are thrown away."""

    @abstractmethod
    def save(self) -> None:
        """Write the weights, and then the record, which says that they are complete."""

    def begin(self) -> None:  # noqa: B027
        """Prepare a training that has no checkpoint yet."""

    def interrupted(self) -> str:
        """Save something to use after Ctrl-C, and name it; the checkpoint is already written."""
        return ""

    def run(self) -> None:
        """Train to the end.

        Raises:
            TrainingInterruptedError: on Ctrl-C, after the checkpoint was written.
        """
        self._resume_or_begin()
        started, before = time.monotonic(), self.seconds

        def clock() -> float:
            return before + time.monotonic() - started

        try:
            self._steps(clock)
        except KeyboardInterrupt:
            self.seconds = clock()
            self._write_checkpoint()
            beside = self.interrupted()
            raise TrainingInterruptedError(
                self.what, self.folder, self.step, self.planned, beside
            ) from None
        self.seconds = clock()
        if self.team.rank == 0:
            self.save()
            (self.folder / self.checkpoint).unlink(missing_ok=True)

    def _resume_or_begin(self) -> None:
        """Continue from the checkpoint, or plan the training and write its first one."""
        path = self.folder / self.checkpoint
        if saved := self.team.agree(lambda: read_checkpoint(path, self.device)):
            self.step, self.planned, self.seconds = (
                saved.pop(name) for name in ("step", "planned", "seconds")
            )
            self.restore(saved)
            self.reporter.say(f"Going on with {self.what} at step {self.step} of {self.planned}.")
        else:
            self.begin()
            self.planned = self.planned or self._plan()
            self._write_checkpoint()

    def _steps(self, clock: Callable[[], float]) -> None:
        """Take the steps that are left, with checks, checkpoints and progress.

        Args:
            clock: seconds of this training so far.
        """
        written = clock()
        losses: list[float] = []
        held_out = ""
        batch = self.training.batch_size
        with self.reporter.task(self.title, self.planned * batch) as advance:
            advance(self.step * batch, "")
            while self.step < self.planned:
                losses.append(self._update())
                if self.step % max(1, self.planned // CHECKS) == 0 or self.step == self.planned:
                    held_out = f", held-out {self.check(sum(losses) / len(losses)):.4f}"
                    self._plan_again(clock())
                    losses.clear()
                advance(batch, f"loss {self.running_loss:.4f}{held_out}", self.planned * batch)
                if clock() - written > CHECKPOINT_SECONDS:
                    self.seconds = clock()
                    self._write_checkpoint()
                    written = clock()

    def batch(self, index: NDArray[np.int64]) -> Tensor:
        """Images ``index``, ``(n, 3, S, S)`` in [-1, 1], on the device."""
        return to_tensor(self.images[index], self.device)

    def generator(self, step: int) -> torch.Generator:
        """Random numbers that ``(seed, step)`` alone decide; neighbouring steps share nothing."""
        entropy = [self.training.seed % 2**32, step % 2**32]
        mixed = np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(mixed) >> 1)

    def _update(self) -> float:
        with self.threads.step():
            loss = self.update(self.step)
        self.step += 1
        before = loss if math.isnan(self.running_loss) else self.running_loss
        self.running_loss = 0.95 * before + 0.05 * loss
        return loss

    def _plan(self) -> int:
        """Number of steps that fit the budget, by timing a few that are thrown away."""
        fewest, most, seconds = TIMED
        self.planned, done = 1, 0
        with self.rehearsal():
            for _ in range(2):
                self.update(0)
            since = time.monotonic()

            def too_few() -> bool:
                return done < fewest or (done < most and time.monotonic() - since < seconds)

            while self.team.agree(too_few):
                with self.threads.step():
                    self.update(0)
                done += 1
            per_step = (time.monotonic() - since) / done
        return self.team.agree(lambda: max(20, int(self.training.minutes * 60 / per_step)))

    def _plan_again(self, seconds: float) -> None:
        """Correct the number of steps by the rate so far: a busy machine may have become free.

        The last fifth is left as it is, so that the learning rate ends its descent smoothly.
        """
        if self.training.steps is None and self.step < 0.8 * self.planned:
            left = self.training.minutes * 60 - seconds
            planned = self.step + max(1, round(left / (seconds / self.step)))
            self.planned = self.team.agree(lambda: planned)

    def _write_checkpoint(self) -> None:
        if self.team.rank == 0:
            progress = {"step": self.step, "planned": self.planned, "seconds": self.seconds}
            write_checkpoint(self.folder / self.checkpoint, self.state() | progress)
