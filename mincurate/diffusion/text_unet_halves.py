"""The halves of diffusers' `UNet2DConditionModel`, which looks at a prompt in every block."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mincurate.diffusion.encoded import Encoded

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


@dataclass(frozen=True, eq=False)
class TextUNetHalves:
    """See `halves.Halves`; the condition is embedded prompts, ``(N, T, D)``."""

    unet: "UNet2DConditionModel"

    @property
    def num_embeddings(self) -> int:
        """It has no classes of its own."""
        return 0

    @property
    def multiple(self) -> int:
        """Every level but the last halves a sample."""
        return int(2 ** (len(self.unet.config.down_block_types) - 1))

    def whole(self, sample: Tensor, timesteps: Tensor, condition: Tensor | None) -> Tensor:
        """What the network returns."""
        output: Tensor = self.unet(sample, timesteps, encoder_hidden_states=condition).sample
        return output

    def encode(self, sample: Tensor, timesteps: Tensor, condition: Tensor | None) -> Encoded:
        """The encoder half and the middle block."""
        unet = self.unet
        if unet.config.center_input_sample:
            sample = 2 * sample - 1
        embedded = unet.time_embedding(unet.get_time_embed(sample=sample, timestep=timesteps))
        h = unet.conv_in(sample)
        residuals = [h]
        for block in unet.down_blocks:
            h, outputs = block(hidden_states=h, temb=embedded, **_prompt(block, condition))
            residuals.extend(outputs)
        maps = residuals[1:]
        if unet.mid_block is not None:
            h = unet.mid_block(h, embedded, **_prompt(unet.mid_block, condition))
            maps = [*maps, h]
        return Encoded(tuple(residuals), h, timesteps, embedded, maps, condition)

    def decode(self, encoded: Encoded) -> Tensor:
        """The decoder half."""
        unet, h, residuals = self.unet, encoded.deepest, encoded.residuals
        for block in unet.up_blocks:
            n = len(block.resnets)
            prompt = _prompt(block, encoded.condition)
            h = block(h, res_hidden_states_tuple=residuals[-n:], temb=encoded.embedded, **prompt)
            residuals = residuals[:-n]
        if unet.conv_norm_out:
            h = unet.conv_act(unet.conv_norm_out(h))
        output: Tensor = unet.conv_out(h)
        return output


def _prompt(block: Any, condition: Tensor | None) -> dict[str, Tensor | None]:
    """The prompt, for blocks that look at it."""
    looks = getattr(block, "has_cross_attention", False)
    return {"encoder_hidden_states": condition} if looks else {}
