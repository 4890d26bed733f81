"""What every guided denoiser has from the denoiser that it rests on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mincurate.diffusion.denoiser import Denoiser
from mincurate.diffusion.space import Space


@dataclass(frozen=True, eq=False)
class AroundDenoiser:
    """Something with the denoiser's own call.

    Attributes:
        denoiser: the model.
    """

    denoiser: Denoiser

    @property
    def alphas_cumprod(self) -> Tensor:
        """The denoiser's."""
        return self.denoiser.alphas_cumprod

    @property
    def space(self) -> Space:
        """The denoiser's."""
        return self.denoiser.space

    @property
    def device(self) -> torch.device:
        """The denoiser's."""
        return self.denoiser.device
