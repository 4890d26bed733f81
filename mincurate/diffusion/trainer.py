"""The loop of every training: a budget that becomes steps, checkpoints, Ctrl-C, a team of workers.

A step draws what is random from ``(seed, step)`` alone, and all that it depends on is in the
checkpoint. A training of a given number of steps that was stopped therefore goes on to the same
weights as one that was not. A budget of minutes becomes a number of steps by measuring, at the
start and again on the way; the number is part of the checkpoint. A batch that does not fit into
memory is computed in parts, whose gradients add up.
"""

import io
import math
import pickle
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mincurate.compute.device import out_of_memory
from mincurate.compute.ray_train import Team
from mincurate.diffusion.denoiser import to_tensor
from mincurate.errors import StoppedError, UserError
from mincurate.progress import Reporter
from mincurate.runs.files import write_atomically

CHECKPOINT_SECONDS = 30.0
CHECKS = 20
"""So often in a training the weights are tried on the held-out images."""
TRIED = (3, 50, 4.0)
"""A step is timed over at least and at most so many, or so many seconds."""


class TrainingInterruptedError(StoppedError):
    """A training was stopped by Ctrl-C; the checkpoint in ``folder`` holds all of its work.

    Args:
        what: how the training is called in a sentence.
        beside: what else is left, in words; may be empty.
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
    """What a training says of its steps."""

    @property
    def steps(self) -> int | None:
        """Exact number of steps, or ``None`` for as many as fit `minutes`."""

    @property
    def minutes(self) -> float:
        """Budget."""

    @property
    def batch_size(self) -> int:
        """Images of a step, over the whole team."""

    @property
    def seed(self) -> int:
        """Decides everything random."""


class Trainer(ABC):
    """One training, in this process, alone or as one of a team.

    Args:
        images: ``(N, 3, S, S)`` uint8 RGB; may be memory-mapped.
        folder: where the checkpoint and what is trained go.

    Attributes:
        step: steps that are done.
        planned: steps in all.
        seconds: time spent, up to the last checkpoint.
        parts: in so many a batch is computed.
    """

    what: ClassVar[str]
    """How the training is called in a sentence."""
    title: ClassVar[str]
    """The same, over its progress."""
    checkpoint: ClassVar[str]
    """Name of the checkpoint's file."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        folder: Path,
        device: torch.device,
        training: Plan,
        team: Team,
        reporter: Reporter,
    ) -> None:
        self.images, self.folder, self.device = images, folder, device
        self.training, self.team, self.reporter = training, team, reporter
        self.step, self.planned, self.seconds = 0, training.steps or 0, 0.0
        self.running_loss, self.parts = math.nan, 1

    @abstractmethod
    def update(self, step: int) -> float:
        """Take one step; gives the loss of its batch."""

    @abstractmethod
    def check(self, train_loss: float) -> float:
        """Try the weights on the held-out images, keep the best; gives the error there."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What the next step depends on, besides the images: tensors and plain values."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Take up a `state`.

        Raises:
            UserError: it is that of another training.
        """

    @abstractmethod
    def rehearsal(self) -> AbstractContextManager[None]:
        """Within it, steps change copies that are thrown away."""

    @abstractmethod
    def save(self) -> None:
        """Write what was trained, and then its record, which says that it is whole."""

    def begin(self) -> None:  # noqa: B027
        """Prepare a training that has no checkpoint."""

    def interrupted(self) -> str:
        """Leave something to use after Ctrl-C, and name it; the checkpoint is written already."""
        return ""

    def run(self) -> None:
        """Train to the end.

        Raises:
            TrainingInterruptedError: on Ctrl-C, after the checkpoint was written.
        """
        if saved := self.team.agree(self._read_checkpoint):
            self.step, self.planned, self.seconds = (
                saved.pop(name) for name in ("step", "planned", "seconds")
            )
            self.restore(saved)
            self.reporter.say(f"Going on with {self.what} at step {self.step} of {self.planned}.")
        else:
            self.begin()
            self.planned = self.planned or self._plan()
            self._write_checkpoint()
        written = since = time.monotonic()
        losses: list[float] = []
        held_out = ""
        batch = self.training.batch_size
        try:
            with self.reporter.task(self.title, self.planned * batch) as advance:
                advance(self.step * batch, "")
                while self.step < self.planned:
                    losses.append(self._update())
                    if self.step % max(1, self.planned // CHECKS) == 0 or self.step == self.planned:
                        held_out = f", held-out {self.check(sum(losses) / len(losses)):.4f}"
                        self._plan_again(self.seconds + time.monotonic() - since)
                        losses.clear()
                    note = f"loss {self.running_loss:.4f}{held_out}"
                    advance(batch, note, self.planned * batch)
                    if time.monotonic() - written > CHECKPOINT_SECONDS:
                        self.seconds += time.monotonic() - since
                        since = time.monotonic()
                        self._write_checkpoint()
                        written = time.monotonic()
        except KeyboardInterrupt:
            self.seconds += time.monotonic() - since
            self._write_checkpoint()
            beside = self.interrupted()
            raise TrainingInterruptedError(
                self.what, self.folder, self.step, self.planned, beside
            ) from None
        self.seconds += time.monotonic() - since
        if self.team.rank == 0:
            self.save()
            (self.folder / self.checkpoint).unlink(missing_ok=True)

    def batch(self, index: NDArray[np.int64]) -> Tensor:
        """Images ``index``, ``(n, 3, S, S)`` in -1..1, on the device."""
        return to_tensor(self.images[index], self.device)

    def backward(
        self, loss: Callable[[slice], Tensor], size: int, parameters: Iterable[Tensor]
    ) -> Tensor:
        """Gradients of a batch, in twice as many parts as before where memory runs out; its loss.

        Args:
            loss: what some of its rows have in the loss of the batch.
            size: its rows.
            parameters: what has gradients, and has none yet.

        Raises:
            UserError: not even a single image fits.
        """
        while True:
            try:
                rows = -(-size // self.parts)
                total = torch.zeros((), device=self.device)
                for start in range(0, size, rows):
                    value = loss(slice(start, start + rows))
                    value.backward()
                    total += value.detach()
                return total
            except (RuntimeError, MemoryError) as error:
                # In a team an error of ours would end this worker alone, and the others wait.
                if not out_of_memory(error) or (self.parts >= size and self.team.world > 1):
                    raise
            if self.parts >= size:
                raise UserError(
                    f"A single image needs more memory for {self.what} than {self.device} has: "
                    "take a smaller --image-size or another --device."
                )
            self.parts *= 2
            for parameter in parameters:
                parameter.grad = None
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def generator(self, step: int) -> torch.Generator:
        """Random numbers that ``(seed, step)`` alone decide; neighbouring steps share nothing."""
        entropy = [self.training.seed % 2**32, step % 2**32]
        mixed = np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(mixed) >> 1)

    def _update(self) -> float:
        loss = self.update(self.step)
        self.step += 1
        before = loss if math.isnan(self.running_loss) else self.running_loss
        self.running_loss = 0.95 * before + 0.05 * loss
        return loss

    def _plan(self) -> int:
        """Number of steps that fit the budget, by timing a few that are thrown away."""
        fewest, most, seconds = TRIED
        self.planned, done = 1, 0
        with self.rehearsal():
            for _ in range(2):
                self.update(0)
            since = time.monotonic()

            def too_few() -> bool:
                return done < fewest or (done < most and time.monotonic() - since < seconds)

            while self.team.agree(too_few):
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
        """Keep the state on disk, in place of the one before: whole, or not there."""
        if self.team.rank != 0:
            return
        buffer = io.BytesIO()
        now = {"step": self.step, "planned": self.planned, "seconds": self.seconds}
        torch.save(self.state() | now, buffer)
        write_atomically(self.folder / self.checkpoint, buffer.getvalue())

    def _read_checkpoint(self) -> dict[str, Any] | None:
        """What was kept, read without running anything in it."""
        path = self.folder / self.checkpoint
        if not path.is_file():
            return None
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            if isinstance(state, dict):
                return state
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError):
            pass
        raise UserError(
            f"The checkpoint {path} is damaged; put a copy of it back, or delete it to train anew."
        )
