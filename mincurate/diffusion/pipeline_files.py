"""A network and what belongs to it as a pipeline folder that diffusers opens and samples."""

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, LDMPipeline
from safetensors import SafetensorError

from mincurate.diffusion.autoencoder import Autoencoder
from mincurate.diffusion.pixel_blocks import PixelBlockUNet

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, UNet2DModel


def of_pixels(unet: "UNet2DModel", patch: int, schedule: dict[str, Any]) -> "DiffusionPipeline":
    """The pipeline of a pixel model.

    Args:
        patch: side of the blocks of pixels that are folded into its channels.
        schedule: arguments of diffusers' `DDPMScheduler`.
    """
    network = PixelBlockUNet.around(unet, patch) if patch > 1 else unet
    return DDPMPipeline(unet=network, scheduler=DDPMScheduler(**schedule))


def of_latents(
    unet: "UNet2DModel", autoencoder: Autoencoder, schedule: dict[str, Any]
) -> "DiffusionPipeline":
    """The pipeline of a latent model.

    Args:
        schedule: arguments of diffusers' `DDIMScheduler`.
    """
    scheduler = DDIMScheduler(**schedule, clip_sample=False)  # latents have no bounds
    return LDMPipeline(vqvae=autoencoder.module(), unet=unet, scheduler=scheduler)


def save(pipeline: "DiffusionPipeline", folder: Path) -> None:
    """Write a pipeline (safetensors).

    Raises:
        OSError: the disk is full.
    """
    try:
        pipeline.save_pretrained(folder)
    except SafetensorError as error:  # raised on a full disk
        raise OSError(errno.EIO, str(error), str(folder)) from error
    # On the disk before a marker says that the model is complete.
    for written in (*folder.glob("*/*.safetensors"), *folder.glob("*/*.json")):
        with written.open("rb") as file:
            os.fsync(file.fileno())
