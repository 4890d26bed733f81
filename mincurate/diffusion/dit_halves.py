"""The halves of diffusers' `DiTTransformer2DModel`: the first half of its blocks, and the rest.

Peebles and Xie, "Scalable Diffusion Models with Transformers", ICCV 2023.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor

from mincurate.diffusion.encoded import Encoded

if TYPE_CHECKING:
    from diffusers import DiTTransformer2DModel


@dataclass(frozen=True, eq=False)
class DiTHalves:
    """See `halves.Halves`; the condition is classes, of which the last is none."""

    transformer: "DiTTransformer2DModel"

    @property
    def num_embeddings(self) -> int:
        """Classes, and the one of no class that was learned with them."""
        return int(self.transformer.config.num_embeds_ada_norm) + 1

    @property
    def multiple(self) -> int:
        """It has learned positions for samples of one size."""
        return int(self.transformer.config.sample_size)

    def whole(self, sample: Tensor, timesteps: Tensor, condition: Tensor | None) -> Tensor:
        """What the network returns."""
        output: Tensor = self.transformer(sample, timesteps, class_labels=condition).sample
        return output

    def encode(self, sample: Tensor, timesteps: Tensor, condition: Tensor | None) -> Encoded:
        """The first half of the blocks; the tokens after each are a map."""
        net = self.transformer
        tokens, maps = net.pos_embed(sample), []
        side = sample.shape[-1] // net.config.patch_size
        for block in self._first:
            tokens = block(tokens, timestep=timesteps, class_labels=condition)
            maps.append(tokens.transpose(1, 2).unflatten(2, (-1, side)))
        embedding = net.transformer_blocks[0].norm1.emb
        embedded = embedding.timestep_embedder(embedding.time_proj(timesteps).to(tokens.dtype))
        return Encoded((), tokens, timesteps, embedded, maps, condition)

    def decode(self, encoded: Encoded) -> Tensor:
        """The other half of the blocks, and tokens to samples."""
        net, tokens = self.transformer, encoded.deepest
        timesteps, classes = encoded.timesteps, encoded.condition
        for block in net.transformer_blocks[len(self._first) :]:
            tokens = block(tokens, timestep=timesteps, class_labels=classes)
        embedding = net.transformer_blocks[0].norm1.emb
        condition = embedding(timesteps, classes, hidden_dtype=tokens.dtype)
        shift, scale = net.proj_out_1(F.silu(condition)).chunk(2, dim=1)
        tokens = net.proj_out_2(net.norm_out(tokens) * (1 + scale[:, None]) + shift[:, None])
        side = round(tokens.shape[1] ** 0.5)
        patch = net.config.patch_size
        blocks = tokens.unflatten(1, (side, side)).unflatten(3, (patch, patch, -1))
        return blocks.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)

    @property
    def _first(self) -> Any:
        blocks = self.transformer.transformer_blocks
        return blocks[: -(-len(blocks) // 2)]
