"""How often a training draws each noise level."""

import torch
from torch import Tensor

GENERATING_LEVELS = (-0.4, 1.4)
"""Mean and standard deviation of log sigma when all levels are trained.

Measured on digits at 16 px, 700 steps of 32: Fréchet distance of 25-step samples 0.077, against
0.147 when timesteps are drawn evenly, which spends most steps where there is only noise to see. A
normal distribution of log sigma is Karras et al.'s (EDM, 2022); theirs is around -1.2."""
LATENT_SCALE = 2.0
"""Standard deviation of standardised latents, 1, over that of pixels in [-1, 1], about 0.5."""


def level_weights(
    sigmas: Tensor, trained: tuple[float, float] | None, scale: float = 1.0
) -> Tensor:
    """Weight of every timestep in the draw, ``(T,)``, for ``sigmas`` ``(T,)``.

    Args:
        trained: lowest and highest noise level, all equally often; ``None`` draws log sigma from
            the normal distribution of `GENERATING_LEVELS`.
        scale: standard deviation of the samples, in that of pixels.
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
