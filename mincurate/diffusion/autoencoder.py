"""The autoencoder of a latent diffusion model: images to latents and back.

    latents = (encoder(images) - mean) / std,    images = decoder(latents * std + mean)

``mean`` and ``std`` are those of the config (``shift_factor``, and 1 / ``scaling_factor``) or, of
every channel, those that a training here has recorded. Nothing is drawn: of encoders that give a
distribution the mode is taken, so that scores repeat.
"""

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ModelMixin
from torch import Tensor

from mincurate import hashing
from mincurate.diffusion import hub, model_folder, network_files, taef2
from mincurate.diffusion.channels_last import channels_last
from mincurate.diffusion.standardised import NETWORKS, StandardisedAutoencoder, latents_of
from mincurate.errors import UserError

TOGETHER = 2**20
"""Pixels that are encoded or decoded at once: 16 images of 256 px."""
TILED_ABOVE = 512
"""Side in pixels above which diffusers' `AutoencoderKL` works in tiles, which bound its memory."""


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """An autoencoder of RGB images, with latents on the scale of the diffusion model.

    Attributes:
        network: of diffusers or like it.
        mean: ``(C,)``, what is subtracted from the network's own latents.
        std: ``(C,)``, what they are then divided by.
        name: folder or file, for records.
    """

    network: ModelMixin
    mean: Tensor
    std: Tensor
    name: str

    @property
    def kind(self) -> str:
        """Class of the network."""
        return type(self.network).__name__

    @property
    def channels(self) -> int:
        """Of the latents."""
        return len(self.mean)

    @property
    def factor(self) -> int:
        """Side of an image over that of its latents."""
        config = self.network.config
        if isinstance(self.network, taef2.TAEF2):
            return taef2.FACTOR
        widths = config.get("encoder_block_out_channels") or config["block_out_channels"]
        return int(2 ** (len(widths) - 1))

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return self.mean.device

    def encode(self, images: Tensor) -> Tensor:
        """Latents ``(N, C, h, w)``, float32.

        Args:
            images: ``(N, 3, H, W)`` in [-1, 1]; H and W are multiples of `factor`.
        """

        def encoded(part: Tensor) -> Tensor:
            return (latents_of(self.network, part).float() - _column(self.mean)) / _column(self.std)

        return _in_parts(encoded, images, images.shape[2] * images.shape[3])

    def decode(self, latents: Tensor) -> Tensor:
        """Images ``(N, 3, H, W)``, float32, about [-1, 1]; nothing is clamped.

        Args:
            latents: ``(N, C, h, w)``.
        """

        def decoded(part: Tensor) -> Tensor:
            own = part * _column(self.std) + _column(self.mean)
            images: Tensor = self.network.decode(own).sample.float()
            return images

        pixels = latents.shape[2] * latents.shape[3] * self.factor**2
        return _in_parts(decoded, latents, pixels)

    def standardised(self, mean: Tensor, std: Tensor) -> "Autoencoder":
        """The same network with latents of other statistics.

        Args:
            mean: ``(C,)``, of the latents of this autoencoder.
            std: ``(C,)``, likewise.
        """
        mean, std = mean.to(self.mean), std.to(self.std)
        return replace(self, mean=self.mean + self.std * mean, std=self.std * std)

    def copy_on(self, device: str | torch.device) -> "Autoencoder":
        """A copy with weights of its own, on another device."""
        network = copy.deepcopy(self.network).to(device)
        return replace(self, network=network, mean=self.mean.to(device), std=self.std.to(device))

    def content_hash(self) -> str:
        """Hash of the weights and of everything else that the latents depend on."""
        config = {k: v for k, v in self.network.config.items() if not k.startswith("_")}
        statistics = [self.mean.tolist(), self.std.tolist()]
        head = json.dumps([self.kind, config, *statistics], default=str).encode()
        return hashing.hash_tensors(self.network.state_dict(), head)

    def module(self) -> ModelMixin:
        """What to save as part of a pipeline that divides latents by a ``scaling_factor``."""
        mean, std = _statistics(self.network)
        scaled = bool((mean == 0).all()) and torch.equal(mean, self.mean.cpu())
        if scaled and torch.equal(std, self.std.cpu()):
            return self.network
        return StandardisedAutoencoder.around(self.network, self.mean.tolist(), self.std.tolist())

    def save(self, folder: Path) -> None:
        """Write config and weights (safetensors), as `load` reads them."""
        self.module().save_pretrained(folder)


def load(place: str, device: str = "cpu") -> Autoencoder:
    """The autoencoder of a place: on ``device``, laid out for speed, and checked.

    Args:
        place: folder of an autoencoder or of a pipeline that has one; folder of, or one of, the two
            files of FLUX.2's tiny autoencoder; or the name of a repository on the Hugging Face hub.

    Raises:
        UserError: there is none, or mincurate does not read it.
    """
    path = Path(place).expanduser()
    folder = path.parent if path.is_file() and path.name in (taef2.ENCODER, taef2.DECODER) else path
    if taef2.is_in(folder):
        return prepare(_of_network(taef2.load(folder), str(folder)), device)
    if not path.exists() and model_folder.may_be_on_the_hub(place):
        folders = ["", *(f"{name}/" for name in model_folder.AUTOENCODER_FOLDERS)]
        kinds = (model_folder.CONFIG, "*.safetensors", "*.bin")
        places = [folder + kind for folder in folders for kind in kinds]
        path = hub.download(place, places, online=hub.reachable())
    return prepare(of_folder(path, place), device)


def of_folder(folder: Path, name: str) -> Autoencoder:
    """The autoencoder of a folder, or of the pipeline in it, on the CPU.

    Args:
        name: of the model, for messages.

    Raises:
        UserError: there is none, or mincurate does not read it.
    """
    place = model_folder.autoencoder_in(folder) or folder
    if not (place / model_folder.CONFIG).is_file():
        raise UserError(
            f"There is no autoencoder in {name}: give the folder of a diffusers AutoencoderTiny, "
            "AutoencoderKL or VQModel, of a pipeline with one, or the two files of taef2."
        )
    kind = model_folder.read_json(place / model_folder.CONFIG, name).get("_class_name")
    if kind == StandardisedAutoencoder.__name__:
        saved = network_files.load(StandardisedAutoencoder, place, name)
        mean, std = (torch.tensor(saved.config[f"latents_{of}"]) for of in ("mean", "std"))
        return Autoencoder(saved.autoencoder, mean, std, name)
    if kind not in NETWORKS:
        raise UserError(
            f"The autoencoder of {name} is of the class {kind}; mincurate reads "
            f"{', '.join(NETWORKS)}."
        )
    return _of_network(network_files.load(NETWORKS[kind], place, name), name)


def prepare(autoencoder: Autoencoder, device: str = "cpu") -> Autoencoder:
    """The autoencoder on ``device``, laid out for speed, after checks that it works.

    Raises:
        UserError: it does not, or is of other images than RGB.
    """
    network = channels_last(autoencoder.network.eval().requires_grad_(False).to(device))
    if isinstance(network, AutoencoderKL):
        network.enable_tiling()
        network.tile_sample_min_size = TILED_ABOVE
        network.tile_latent_min_size = TILED_ABOVE // autoencoder.factor
    mean, std = autoencoder.mean.to(device), autoencoder.std.to(device)
    autoencoder = replace(autoencoder, network=network, mean=mean, std=std)
    _try_out(autoencoder)
    return autoencoder


def _of_network(network: ModelMixin, name: str) -> Autoencoder:
    return Autoencoder(network, *_statistics(network), name)


def _statistics(network: ModelMixin) -> tuple[Tensor, Tensor]:
    """``mean`` and ``std`` of the latents as a network's config has them, ``(C,)`` each.

    As diffusers' pipelines scale: ``(z - shift_factor) * scaling_factor``, or with statistics for
    every channel ``(z - latents_mean) * scaling_factor / latents_std``.
    """
    config = network.config
    channels = config.get("vq_embed_dim") or config["latent_channels"]

    def of(values: float | Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32).expand(channels).contiguous()

    mean = config.get("latents_mean") or config.get("shift_factor") or 0.0
    std = of(config.get("latents_std") or 1.0)
    return of(mean), std / config["scaling_factor"]


def _column(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)


def _in_parts(compute: Callable[[Tensor], Tensor], batch: Tensor, pixels: int) -> Tensor:
    """``compute`` of as many images at once as `TOGETHER` allows, for images of so many pixels."""
    parts = batch.split(max(1, TOGETHER // pixels))
    return torch.cat(
        [compute(part.contiguous(memory_format=torch.channels_last)) for part in parts]
    )


def _try_out(autoencoder: Autoencoder) -> None:
    """Raise `UserError` unless the network encodes and decodes, to numbers of the right shape."""
    side = 8 * autoencoder.factor
    what = f"The autoencoder of {autoencoder.name}"
    config = autoencoder.network.config
    if config.get("in_channels", 3) != 3 or config.get("out_channels", 3) != 3:
        raise UserError(
            f"{what} takes {config['in_channels']} channels; mincurate reads those of RGB images."
        )
    images = torch.zeros(1, 3, side, side, device=autoencoder.device)
    with torch.inference_mode():
        latents = autoencoder.encode(images)
        decoded = autoencoder.decode(latents)
    if latents.shape != (1, autoencoder.channels, 8, 8) or decoded.shape != images.shape:
        raise UserError(
            f"{what} turns {side} x {side} pixels into {tuple(latents.shape[1:])} latents and "
            f"these into {tuple(decoded.shape[1:])} pixels, which its config does not tell."
        )
    if not bool(torch.isfinite(decoded).all()):
        raise UserError(f"{what} returns no finite numbers: its weights are damaged.")
