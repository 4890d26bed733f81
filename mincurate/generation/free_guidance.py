"""Classifier-free guidance: a class-conditional model pushed away from its own unconditional self.

    D_hat(x, sigma) = D(x, sigma) + s * (D(x, sigma, class) - D(x, sigma))

Ho and Salimans, "Classifier-Free Diffusion Guidance", 2021; their w is s - 1.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mincurate.diffusion.denoiser import Denoiser
from mincurate.errors import UserError
from mincurate.generation.around_denoiser import AroundDenoiser


@dataclass(frozen=True, eq=False)
class FreeGuided(AroundDenoiser):
    """A class-conditional denoiser, guided to its class; it has the denoiser's own call.

    Attributes:
        denoiser: the model, which has a null class.
        scale: s; 1 is the model itself.
    """

    scale: float

    def under(self, classes: Tensor | None) -> "FreeGuided":
        """The guided denoiser under a condition, see `Denoiser.under`."""
        return replace(self, denoiser=self.denoiser.under(classes))

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """``x0hat`` of ``x = x0 + sigma * eps``, clamped, ``(N, C, h, w)``."""
        classes, free = self.denoiser.classes, self.denoiser.free_class
        if classes is None and free == self.denoiser.null_class:
            return self.denoiser.denoise(x, sigma)
        if classes is None:  # a prompt without a label
            classes = torch.full((len(x),), -1, device=self.device)
        both = self.denoiser.under(torch.cat([torch.full_like(classes, free or 0), classes]))
        none, given = both.reconstruct(torch.cat([x, x]), sigma).chunk(2)
        return self.space.clamp(torch.lerp(none, given, self.scale))


def check_free(denoiser: Denoiser) -> None:
    """Check that a model can be guided so.

    Raises:
        UserError: it is not class-conditional, or knows no images without a label.
    """
    if denoiser.null_class is None:
        raise UserError(
            f"The sampler ddpm takes --guidance-scale with a class-conditional model that also "
            f"knows images without a label, and {denoiser.name} is none: leave it out, or train "
            "one with `mincurate train --conditional --all-levels`."
        )
