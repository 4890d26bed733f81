"""A network on blocks of pixels as one on pictures: what diffusers opens and samples."""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin, UNet2DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor


class PixelBlockUNet(ModelMixin, ConfigMixin):
    """A `UNet2DModel` that sees pictures in blocks of pixels, folded into its channels.

    Half as wide and high, a picture costs the network a quarter. `DDPMPipeline.from_pretrained`
    opens a folder with such a network where ``import mincurate`` came before.

    Args:
        network: the config of the `UNet2DModel` on blocks.
        block_size: side of a block, in pixels.
        in_channels: of a picture.
        out_channels: of a prediction.
        sample_size: side of a picture, in pixels.
    """

    @register_to_config
    def __init__(
        self,
        network: dict[str, Any],
        block_size: int,
        in_channels: int,
        out_channels: int,
        sample_size: int,
    ) -> None:
        super().__init__()
        self.unet = UNet2DModel.from_config(network)

    @classmethod
    def around(cls, network: UNet2DModel, block_size: int) -> "PixelBlockUNet":
        """The same network, for pictures; it shares the weights."""
        config = {k: v for k, v in network.config.items() if not k.startswith("_")}
        area = block_size**2
        with torch.device("meta"):
            model = cls(
                network=config,
                block_size=block_size,
                in_channels=config["in_channels"] // area,
                out_channels=config["out_channels"] // area,
                sample_size=config["sample_size"] * block_size,
            )
        model.unet = network
        return model

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        class_labels: Tensor | None = None,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[Tensor]:
        """As `UNet2DModel`, of pictures ``(N, C, H, W)``."""
        folded = F.pixel_unshuffle(sample, self.config.block_size)
        output = self.unet(folded, timestep, class_labels).sample
        pictures = F.pixel_shuffle(output, self.config.block_size)
        return UNet2DOutput(sample=pictures) if return_dict else (pictures,)


PixelBlockUNet.__module__ = "mincurate"
"""What diffusers records of where the class is. It imports no module that a folder names, but finds
the class, and `ModelMixin` beside it, once ``import mincurate`` came before."""
