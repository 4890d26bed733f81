"""What a denoiser is trained to make small."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mincurate.compute.device import precision
from mincurate.diffusion.denoiser import Denoiser

COMMITMENT = 0.25
"""The paper's gamma, see `class_balancing`."""


def denoising_loss(
    denoiser: Denoiser,
    x0: Tensor,
    timesteps: Tensor,
    eps: Tensor,
    dtype: torch.dtype | None,
    other_classes: Tensor | None = None,
) -> Tensor:
    """Mean squared error of what the network predicts (DDPM's simple loss).

    Args:
        x0: ``(N, 3, H, W)`` in [-1, 1].
        timesteps: ``(N,)``, the noise level of each image.
        eps: ``(N, 3, H, W)``, standard normal noise.
        dtype: precision of the network; ``None`` is float32.
        other_classes: ``(N,)``, drawn evenly from all classes: adds `class_balancing`.
    """
    sigma = denoiser.sigmas.to(x0.device)[timesteps].view(-1, 1, 1, 1)
    x = x0 + sigma * eps
    with precision(x0.device.type, dtype):
        prediction = denoiser.predict(x, timesteps)
    if denoiser.prediction_type == "epsilon":
        target = eps
    elif denoiser.prediction_type == "v_prediction":
        target = (eps - sigma * x0) / (1 + sigma**2).sqrt()
    else:
        target = x0
    loss = F.mse_loss(prediction, target)
    if other_classes is None:
        return loss
    with precision(x0.device.type, dtype):
        other = denoiser.under(other_classes).predict(x, timesteps)
    return loss + class_balancing(prediction, other, timesteps / len(denoiser.sigmas))


def class_balancing(prediction: Tensor, other: Tensor, time: Tensor) -> Tensor:
    """Class-balancing loss: a rare class learns from images of the others.

    What the network predicts under an image's own class and under another one, drawn evenly from
    all classes, may differ little where there is much noise (Qin et al., "Class-Balancing Diffusion
    Models", CVPR 2023, with tau = 1).

    Args:
        prediction: ``(N, 3, H, W)`` under the image's own class.
        other: the same under the other class.
        time: ``(N,)``, the timestep as a share of the highest.
    """
    weight = time.view(-1, 1, 1, 1)
    pulled = (weight * (prediction - other.detach()).square()).mean()
    committed = (weight * (prediction.detach() - other).square()).mean()
    return pulled + COMMITMENT * committed
