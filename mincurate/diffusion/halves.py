"""Every kind of network as two halves: the encoder half also feeds the guidance classifier.

Both halves in a row are the network; they are computed apart where only the first is needed.
"""

from typing import Any, Protocol

from torch import Tensor

from mincurate.diffusion.dit_halves import DiTHalves
from mincurate.diffusion.encoded import Encoded
from mincurate.diffusion.text_unet_halves import TextUNetHalves
from mincurate.diffusion.unet_halves import UNetHalves


class Halves(Protocol):
    """A network and its halves."""

    @property
    def num_embeddings(self) -> int:
        """Rows of the network's table of classes, that of no class among them; 0 without one."""

    @property
    def multiple(self) -> int:
        """What the side of a sample is a multiple of."""

    def whole(self, sample: Tensor, timesteps: Tensor, condition: Tensor | None) -> Tensor:
        """What the network returns.

        Args:
            sample: ``(N, C, h, w)``, variance-preserving.
            timesteps: ``(N,)``.
            condition: classes ``(N,)``, or embedded prompts ``(N, T, D)``.
        """

    def encode(self, sample: Tensor, timesteps: Tensor, condition: Tensor | None) -> Encoded:
        """The encoder half; arguments as for `whole`."""

    def decode(self, encoded: Encoded) -> Tensor:
        """What the network returns, from the output of its encoder half."""


KINDS: dict[str, Any] = {
    "DiTTransformer2DModel": DiTHalves,
    "UNet2DConditionModel": TextUNetHalves,
}


def of(network: Any) -> Halves:
    """The halves of a network of diffusers."""
    halves: Halves = KINDS.get(type(network).__name__, UNetHalves)(network)
    return halves
