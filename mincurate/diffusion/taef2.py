"""The tiny autoencoder of FLUX.2, TAEF2: 256 px RGB to 32 channels of 32 x 32 (Ollin Boer Bohan).

Its layers are those of diffusers' `AutoencoderTiny`, with a step before the three blocks nearest to
the latents that sees each position through many channels normalised over the whole image.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mincurate.errors import UserError, reason

ENCODER, DECODER = "taef2-encoder.safetensors", "taef2-decoder.safetensors"
WIDTH, POOLED, GROUPS = 64, 256, 4
FACTOR = 8
"""Side of an image over that of its latents."""


class Block(nn.Module):
    """Three convolutions beside the identity; with ``pool`` a normalised step before them."""

    def __init__(self, *, pool: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
        )
        self.pool: nn.Sequential | None = None
        if pool:
            self.pool = nn.Sequential(
                nn.Conv2d(WIDTH, POOLED, 1, bias=False),
                nn.GroupNorm(GROUPS, POOLED),
                nn.ReLU(),
                nn.Conv2d(POOLED, WIDTH, 1, bias=False),
            )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 64, h, w)`` to the same."""
        if self.pool is not None:
            x = x + self.pool(x)
        return F.relu(x + self.conv(x))


class Squash(nn.Module):
    """Latents in (-3, 3)."""

    def forward(self, z: Tensor) -> Tensor:
        """``tanh(z / 3) * 3``."""
        return torch.tanh(z / 3) * 3


def _three(*, pool: bool = False) -> list[nn.Module]:
    return [Block(pool=pool) for _ in range(3)]


def _halve() -> nn.Module:
    return nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1, bias=False)


def _double() -> list[nn.Module]:
    return [nn.Upsample(scale_factor=2), nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)]


class TAEF2(ModelMixin, ConfigMixin):
    """Encoder and decoder, with the calls of diffusers' autoencoders.

    Args:
        latent_channels: of the latents.
        scaling_factor: as diffusers' pipelines read it.
    """

    @register_to_config
    def __init__(self, latent_channels: int = 32, scaling_factor: float = 1.0) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, WIDTH, 3, padding=1),
            Block(),
            *[_halve(), *_three()],
            *[_halve(), *_three()],
            *[_halve(), *_three(pool=True)],
            nn.Conv2d(WIDTH, latent_channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            Squash(),
            nn.Conv2d(latent_channels, WIDTH, 3, padding=1),
            nn.ReLU(),
            *[*_three(pool=True), *_double()],
            *[*_three(), *_double()],
            *[*_three(), *_double()],
            Block(),
            nn.Conv2d(WIDTH, 3, 3, padding=1),
        )

    def encode(self, x: Tensor) -> AutoencoderTinyOutput:
        """Latents of images ``(N, 3, H, W)`` in [-1, 1]: ``(N, C, H / 8, W / 8)``."""
        return AutoencoderTinyOutput(latents=self.encoder((x + 1) / 2))

    def decode(self, z: Tensor) -> DecoderOutput:
        """Images ``(N, 3, H, W)``, about [-1, 1], of latents."""
        return DecoderOutput(sample=2 * self.decoder(z) - 1)


TAEF2.__module__ = "mincurate"
"""Where diffusers looks for the class of a saved pipeline; see `pixel_blocks`."""


def is_in(folder: Path) -> bool:
    """Whether both published files lie in a folder."""
    return (folder / ENCODER).is_file() and (folder / DECODER).is_file()


def load(folder: Path) -> TAEF2:
    """The autoencoder of the two published files in a folder, float32 on the CPU.

    Raises:
        UserError: a file is damaged, or holds other tensors.
    """
    network = TAEF2()
    for half, name in ((network.encoder, ENCODER), (network.decoder, DECODER)):
        try:
            weights = load_file(folder / name)
        except (OSError, SafetensorError) as error:
            raise UserError(f"The file {folder / name} cannot be read: {reason(error)}") from error
        check_shapes(weights, half.state_dict(), name)
        half.load_state_dict({key: tensor.float() for key, tensor in weights.items()})
    return network


def check_shapes(weights: Mapping[str, Tensor], expected: Mapping[str, Any], name: str) -> None:
    """Raise `UserError` unless a file has just the tensors of a network."""
    missing = sorted(expected.keys() - weights.keys())
    other = sorted(weights.keys() - expected.keys())
    shaped = [k for k, t in weights.items() if k in expected and t.shape != expected[k].shape]
    if missing or other or shaped:
        raise UserError(
            f"The tensors of {name} are not those of FLUX.2's tiny autoencoder: {len(missing)} are "
            f"missing, {len(other)} are unknown and {len(shaped)} have another shape, such as "
            f"{(missing + other + shaped)[0]}."
        )
