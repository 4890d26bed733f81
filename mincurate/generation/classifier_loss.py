"""What the classifier is trained to make small: cross entropy of classes and of labels."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mincurate.compute.device import precision
from mincurate.diffusion.denoiser import Denoiser


@torch.no_grad()
def noised_features(
    denoiser: Denoiser, x0: Tensor, timesteps: Tensor, eps: Tensor, dtype: torch.dtype | None
) -> tuple[list[Tensor], Tensor]:
    """What the encoder makes of noised images, the input of a `classifier.Head`.

    Args:
        x0: ``(N, 3, H, W)`` in [-1, 1].
        timesteps: ``(N,)``, the noise level of each image.
        eps: ``(N, 3, H, W)``, standard normal noise.
        dtype: precision of the encoder; ``None`` is float32.
    """
    sigma = denoiser.sigmas.to(x0.device)[timesteps].view(-1, 1, 1, 1)
    with precision(x0.device.type, dtype):
        encoded = denoiser.encode(x0 + sigma * eps, timesteps)
    return encoded.maps, encoded.embedded


def class_loss(log_probs: Tensor, classes: NDArray[np.int64], targets: Tensor) -> Tensor:
    """Cross entropy with the targets of the true classes, summed over the images.

    Args:
        log_probs: ``(N, L)``.
        classes: ``(N,)``.
        targets: ``(L, L)``, from `classifier.soft_targets`.
    """
    truth = torch.from_numpy(classes).to(log_probs.device)
    return -(targets[truth] * log_probs).sum()


def label_loss(log_probs: Tensor, labels: NDArray[np.int64]) -> Tensor:
    """Cross entropy of the true labels, summed over the images that have one.

    Args:
        log_probs: ``(N, labels)``.
        labels: ``(N,)``; -1 where unknown.
    """
    truth = torch.from_numpy(labels).to(log_probs.device)
    return F.nll_loss(log_probs, truth, ignore_index=-1, reduction="sum")
