"""Write a model as a pipeline folder that diffusers opens and samples."""

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from mincurate.diffusion.denoiser import Denoiser, betas
from mincurate.errors import UserError

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


def save(denoiser: Denoiser, folder: Path) -> None:
    """Write a model of a `UNet2DModel`, on pixels or latents (safetensors).

    Raises:
        UserError: it is of another kind of network.
        OSError: the disk is full.
    """
    kind = type(denoiser.unet).__name__
    if kind != "UNet2DModel":
        raise UserError(
            f"The model {denoiser.name} has a network of the class {kind}; mincurate writes those "
            "of a UNet2DModel."
        )
    try:
        _pipeline(denoiser).save_pretrained(folder)
    except SafetensorError as error:  # raised on a full disk
        raise OSError(errno.EIO, str(error), str(folder)) from error
    # On the disk before a marker says that the model is complete.
    for written in (*folder.glob("*/*.safetensors"), *folder.glob("*/*.json")):
        with written.open("rb") as file:
            os.fsync(file.fileno())


def _pipeline(denoiser: Denoiser) -> "DiffusionPipeline":
    from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, LDMPipeline

    from mincurate.diffusion.pixel_blocks import PixelBlockUNet

    schedule: dict[str, Any] = {
        "trained_betas": betas(denoiser.alphas_cumprod).tolist(),
        "num_train_timesteps": len(denoiser.alphas_cumprod),
        "prediction_type": denoiser.prediction_type,
    }
    unet = denoiser.unet
    if denoiser.autoencoder is not None:
        scheduler = DDIMScheduler(**schedule, clip_sample=False)  # latents have no bounds
        return LDMPipeline(vqvae=denoiser.autoencoder.module(), unet=unet, scheduler=scheduler)
    if denoiser.patch > 1:
        unet = PixelBlockUNet.around(unet, denoiser.patch)
    variance = "learned_range" if denoiser.learns_variance else "fixed_small"
    return DDPMPipeline(unet=unet, scheduler=DDPMScheduler(**schedule, variance_type=variance))
