"""How often a training draws each noise level."""

import torch
from torch import Tensor

GENERATING_LEVELS = (-0.4, 1.4)
"""Mean and standard deviation of log sigma when all levels are trained.

Measured on digits at 16 px, 700 steps of 32: Fréchet distance of 25-step samples 0.077, against
0.147 when timesteps are drawn evenly, which spends most steps where there is only noise to see. A
normal distribution of log sigma is Karras et al.'s (EDM, 2022); theirs is around -1.2."""
LATENT_SCALE = 5.0
"""How much higher the noise levels of latents are than those of pixels.

Latents have a standard deviation of 1, pixels in [-1, 1] about 0.5; the rest is for large shapes,
which go under in more noise than details do. With 2, a model that had seen 7,200 images (1,350
photographs, 256 px) knew details, and the mean of a latent less well than plain averaging does:
squared error 0.005 at sigma 1 and 0.030 at sigma 4, noise of the mean 0.001 and 0.016."""


def level_weights(
    sigmas: Tensor, trained: tuple[float, float] | None, scale: float = 1.0
) -> Tensor:
    """Weight of every timestep in the draw, ``(T,)``, for ``sigmas`` ``(T,)``.

    Args:
        trained: lowest and highest noise level, all equally often; ``None`` draws log sigma from
            the normal distribution of `GENERATING_LEVELS`.
        scale: how much higher the levels are than for pixels.
    """
    if trained is None:
        log_sigma = (sigmas.double() / scale).log()
        edges = torch.cat(
            [log_sigma[:1], (log_sigma[1:] + log_sigma[:-1]) / 2, log_sigma[-1:]]
        )  # of the levels' shares of the logarithmic scale
        share = torch.distributions.Normal(*GENERATING_LEVELS).cdf(edges).diff()
        return (share + 1e-5).float()  # the highest are seen, too
    low, high = trained
    return ((sigmas >= low * 0.999) & (sigmas <= high * 1.001)).float()
