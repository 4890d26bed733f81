"""What a denoiser is trained to make small."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mincurate.compute.device import precision
from mincurate.diffusion.denoiser import Denoiser


def denoising_loss(
    denoiser: Denoiser, x0: Tensor, timesteps: Tensor, eps: Tensor, dtype: torch.dtype | None
) -> Tensor:
    """Mean squared error of what the network predicts (DDPM's simple loss).

    Args:
        x0: ``(N, 3, H, W)`` in [-1, 1].
        timesteps: ``(N,)``, the noise level of each image.
        eps: ``(N, 3, H, W)``, standard normal noise.
        dtype: precision of the network; ``None`` is float32.
    """
    sigma = denoiser.sigmas.to(x0.device)[timesteps].view(-1, 1, 1, 1)
    with precision(x0.device.type, dtype):
        prediction = denoiser.predict(x0 + sigma * eps, timesteps)
    if denoiser.prediction_type == "epsilon":
        target = eps
    elif denoiser.prediction_type == "v_prediction":
        target = (eps - sigma * x0) / (1 + sigma**2).sqrt()
    else:
        target = x0
    return F.mse_loss(prediction, target)
