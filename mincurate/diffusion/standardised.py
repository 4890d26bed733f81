"""An autoencoder whose latents have mean 0 and standard deviation 1 in every channel."""

from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, ConfigMixin, ModelMixin, VQModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from torch import Tensor

from mincurate.diffusion.taef2 import TAEF2

NETWORKS = {kind.__name__: kind for kind in (AutoencoderKL, AutoencoderTiny, VQModel, TAEF2)}
"""Autoencoders that mincurate reads."""


class StandardisedAutoencoder(ModelMixin, ConfigMixin):
    """What diffusers' `LDMPipeline` opens and decodes with, where ``import mincurate`` came before.

    Args:
        network: config of the autoencoder, with its ``_class_name``.
        latents_mean: of every channel of its own latents.
        latents_std: likewise.
        scaling_factor: what pipelines divide latents by: nothing is left to scale.
    """

    @register_to_config
    def __init__(
        self,
        network: dict[str, Any],
        latents_mean: list[float],
        latents_std: list[float],
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.autoencoder = NETWORKS[network["_class_name"]].from_config(network)

    @classmethod
    def around(
        cls, network: ModelMixin, mean: list[float], std: list[float]
    ) -> "StandardisedAutoencoder":
        """The same network with these statistics; it shares the weights."""
        config = {k: v for k, v in network.config.items() if not k.startswith("_")}
        config["_class_name"] = type(network).__name__
        with torch.device("meta"):
            model = cls(network=config, latents_mean=mean, latents_std=std)
        model.autoencoder = network
        return model

    def encode(self, x: Tensor) -> AutoencoderTinyOutput:
        """Standardised latents of images ``(N, 3, H, W)`` in [-1, 1]."""
        latents = latents_of(self.autoencoder, x)
        return AutoencoderTinyOutput(latents=(latents - self._mean) / self._std)

    def decode(self, z: Tensor) -> DecoderOutput:
        """Images of standardised latents."""
        return DecoderOutput(sample=self.autoencoder.decode(z * self._std + self._mean).sample)

    @property
    def _mean(self) -> Tensor:
        return self._column(self.config.latents_mean)

    @property
    def _std(self) -> Tensor:
        return self._column(self.config.latents_std)

    def _column(self, values: list[float]) -> Tensor:
        return torch.tensor(values, device=self.device, dtype=self.dtype).view(1, -1, 1, 1)


StandardisedAutoencoder.__module__ = "mincurate"
"""Where diffusers looks for the class of a saved pipeline; see `pixel_blocks`."""


def latents_of(network: ModelMixin, images: Tensor) -> Tensor:
    """A network's own latents; of those that are distributions the mode."""
    output = network.encode(images)
    distribution = getattr(output, "latent_dist", None)
    latents: Tensor = output.latents if distribution is None else distribution.mode()
    return latents
