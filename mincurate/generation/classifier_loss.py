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
    """Cross entropy of softened predictions with softened truth, summed over the images,

        - sum_l targets(l | k) log sum_j p(j | x) targets(l | j)

    for an image x of class k. Softening the truth alone (Diaz and Marathe) would teach ``p`` the
    softened probabilities: guidance of w = 2 would then act as less. With both softened, the lowest
    loss is that of the true ``p(l | x)``, and w means the same as for the plain cross entropy,
    which is the case of ``targets`` = identity (Patrini et al., CVPR 2017, forward correction).

    Args:
        log_probs: ``(N, L)``.
        classes: ``(N,)``, the true ones.
        targets: ``(L, L)``, from `classifier.soft_targets`.
    """
    truth = torch.from_numpy(classes).to(log_probs.device)
    softened = (log_probs[:, :, None] + targets.log()).logsumexp(1)
    return -(targets[truth] * softened).sum()


def label_loss(log_probs: Tensor, labels: NDArray[np.int64]) -> Tensor:
    """Cross entropy of the true labels, summed over the images that have one.

    Args:
        log_probs: ``(N, labels)``.
        labels: ``(N,)``; -1 where unknown.
    """
    truth = torch.from_numpy(labels).to(log_probs.device)
    return F.nll_loss(log_probs, truth, ignore_index=-1, reduction="sum")
