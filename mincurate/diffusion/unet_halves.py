"""The halves of diffusers' `UNet2DModel`, unconditional or with an embedding for each class."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from mincurate.diffusion.encoded import Encoded

if TYPE_CHECKING:
    from diffusers import UNet2DModel


@dataclass(frozen=True, eq=False)
class UNetHalves:
    """See `halves.Halves`; the condition is classes, or none."""

    unet: "UNet2DModel"

    @property
    def num_embeddings(self) -> int:
        """Classes with an embedding."""
        return int(getattr(self.unet.config, "num_class_embeds", None) or 0)

    @property
    def multiple(self) -> int:
        """Every level but the last halves a sample."""
        return int(2 ** (len(self.unet.config.down_block_types) - 1))

    def whole(self, sample: Tensor, timesteps: Tensor, condition: Tensor | None) -> Tensor:
        """What the network returns; without a class, by the embedding of the timestep alone."""
        if not self.num_embeddings:
            output: Tensor = self.unet(sample, timesteps).sample
        elif condition is None:
            output = self.decode(self.encode(sample, timesteps, None))
        else:
            output = self.unet(sample, timesteps, class_labels=condition).sample
        return output

    def encode(self, sample: Tensor, timesteps: Tensor, condition: Tensor | None) -> Encoded:
        """The encoder half and the middle block."""
        unet = self.unet
        if unet.config.center_input_sample:
            sample = 2 * sample - 1
        h = unet.conv_in(sample)
        embedded = unet.time_embedding(unet.time_proj(timesteps).to(unet.dtype))
        if self.num_embeddings and condition is not None:
            embedded = embedded + unet.class_embedding(condition)
        residuals, skip = [h], sample
        for block in unet.down_blocks:
            if hasattr(block, "skip_conv"):  # NCSN++'s, which pass a small image on
                h, outputs, skip = block(hidden_states=h, temb=embedded, skip_sample=skip)
            else:
                h, outputs = block(hidden_states=h, temb=embedded)
            residuals.extend(outputs)
        maps = residuals[1:]
        if unet.mid_block is not None:
            h = unet.mid_block(h, embedded)
            maps = [*maps, h]
        return Encoded(tuple(residuals), h, timesteps, embedded, maps)

    def decode(self, encoded: Encoded) -> Tensor:
        """The decoder half; the classes are in ``encoded.embedded``."""
        unet, h, residuals = self.unet, encoded.deepest, encoded.residuals
        skip = None
        for block in unet.up_blocks:
            n = len(block.resnets)
            if hasattr(block, "skip_conv"):
                h, skip = block(h, residuals[-n:], encoded.embedded, skip)
            else:
                h = block(h, residuals[-n:], encoded.embedded)
            residuals = residuals[:-n]
        h = unet.conv_out(unet.conv_act(unet.conv_norm_out(h)))
        return h if skip is None else h + skip
