"""What a step of a training draws: images, noise levels and noise; some images it never draws."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Draws:
    """The draws of one training.

    Args:
        count: images, N.
        seed: decides which of them are held out.
        levels: ``(T,)``, weight of every noise level.
        weights: ``(N,)``, how often images are drawn; all equally often when absent.

    Attributes:
        train_index: rows of the images to train on.
        held_out: rows of the images to check with: a twentieth, drawn by their weights as well.
    """

    def __init__(
        self, count: int, seed: int, levels: Tensor, weights: NDArray[np.float64] | None
    ) -> None:
        rng = np.random.default_rng(seed)
        order = rng.permutation(count)
        held_out = min(256, count // 20)
        self.train_index = order[held_out:]
        self.held_out = order[:held_out] if held_out else order[: min(64, count)]
        self.levels = levels
        self.weights: Tensor | None = None
        if weights is not None:
            self.weights = torch.from_numpy(weights[self.train_index])
            share = weights[self.held_out] / weights[self.held_out].sum()
            self.held_out = rng.choice(self.held_out, len(self.held_out), p=share)

    def images(self, size: int, generator: torch.Generator) -> NDArray[np.int64]:
        """Rows of the images of a batch, ``(size,)``."""
        if self.weights is None:
            picks = torch.randint(len(self.train_index), (size,), generator=generator)
        else:
            picks = torch.multinomial(self.weights, size, replacement=True, generator=generator)
        return self.train_index[picks.numpy()]

    def noise(
        self, shape: torch.Size, generator: torch.Generator, size: int
    ) -> tuple[Tensor, Tensor]:
        """Timesteps ``(size,)`` and noise ``(size, *shape)`` of a batch."""
        timesteps = torch.multinomial(self.levels, size, replacement=True, generator=generator)
        return timesteps, torch.randn((size, *shape), generator=generator)
