"""Images as a denoiser sees them, each as it is and mirrored: a latent model's are encoded once."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mincurate.compute.device import precision, reduced_precision
from mincurate.diffusion.denoiser import Denoiser, to_tensor
from mincurate.progress import SILENT, Reporter

TOGETHER = 32
"""Images that are encoded at once."""


def encode(
    denoiser: Denoiser, images: NDArray[np.uint8], reporter: Reporter = SILENT
) -> NDArray[Any]:
    """What `batch` takes rows of.

    Args:
        images: ``(N, 3, S, S)``.

    Returns:
        the images of a pixel model; ``(N, 2, C, h, w)`` float16 latents of a latent model.
    """
    if denoiser.autoencoder is None:
        return images
    device, space = denoiser.device, denoiser.space
    latents = np.empty((len(images), 2, *space.shape), np.float16)
    with reporter.task("Encoding", len(images)) as advance:
        for i in range(0, len(images), TOGETHER):
            x0 = to_tensor(images[i : i + TOGETHER], device)
            reduced = reduced_precision(device.type)
            with torch.inference_mode(), precision(device.type, reduced):
                both = torch.stack([space.to_samples(x0), space.to_samples(x0.flip(3))], dim=1)
            latents[i : i + TOGETHER] = both.cpu().numpy()
            advance(len(x0))
    return latents


def batch(
    denoiser: Denoiser, rows: NDArray[Any], index: NDArray[np.int64], flip: Tensor | None = None
) -> Tensor:
    """Samples ``(n, C, h, w)`` on the denoiser's device.

    Args:
        rows: from `encode`.
        index: ``(n,)``, which of them.
        flip: ``(n,)``, whether they are mirrored; none is when absent.
    """
    if denoiser.autoencoder is not None:
        side = np.zeros(len(index), np.int64) if flip is None else flip.long().numpy()
        return torch.from_numpy(rows[index, side]).to(denoiser.device).float()
    x0 = to_tensor(rows[index], denoiser.device)
    return (
        x0 if flip is None else torch.where(flip.to(x0.device)[:, None, None, None], x0.flip(3), x0)
    )
