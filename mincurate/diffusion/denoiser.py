"""Any diffusion model as one call: ``denoise(x, sigma) -> x0hat``.

The variance-exploding form ``x = x0 + sigma * eps`` is used throughout. A discrete,
variance-preserving model is wrapped: its input is ``x / sqrt(1 + sigma^2)`` and its timestep is the
one whose noise-to-signal ratio ``sigma = sqrt((1 - alphas_cumprod) / alphas_cumprod)`` is nearest.
Tweedie's one-shot reconstruction *is* this call.
"""

import copy
import errno
import hashlib
import json
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from mincurate.diffusion.channels_last import channels_last
from mincurate.errors import UserError

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
BARE_UNET_SCHEDULE: dict[str, object] = {"num_train_timesteps": 1000, "beta_schedule": "linear"}
"""What a network that comes without a schedule is taken to be trained on: DDPM's own."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """What the encoder half of a UNet makes of ``N`` images, and the decoder half goes on from.

    Attributes:
        residuals: activations that the decoder half is handed over, shallow to deep.
        deepest: ``(N, C, h, w)``, after the middle block where there is one.
        timesteps: ``(N,)``, the noise level of each image.
        embedded: ``(N, E)``, the embedding of the timesteps.
        maps: ``(N, C, h, w)`` of every block after the first convolution, which is a mere linear
            filter, and of the middle block; shallow to deep.
    """

    residuals: tuple[Tensor, ...]
    deepest: Tensor
    timesteps: Tensor
    embedded: Tensor
    maps: list[Tensor]

    def detach(self) -> "Encoded":
        """The same values, cut off from the graph of gradients."""
        return Encoded(
            tuple(r.detach() for r in self.residuals),
            self.deepest.detach(),
            self.timesteps,
            self.embedded.detach(),
            [m.detach() for m in self.maps],
        )


def to_tensor(pixels: NDArray[np.uint8], device: str | torch.device = "cpu") -> Tensor:
    """uint8 RGB ``(N, 3, H, W)`` as float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).float() / 127.5 - 1


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A diffusion model at discrete noise levels.

    Attributes:
        unet: predicts epsilon, v or x0, with or without learned variance channels.
        alphas_cumprod: ``(T,)``, decreasing in the timestep.
        prediction_type: one of ``PREDICTION_TYPES``.
        name: where the model comes from, for records.
        image_size: side of the square images the model works on, in pixels.
        trained_sigmas: the range of noise levels the model was trained on; ``None`` means all.
    """

    unet: UNet2DModel
    alphas_cumprod: Tensor
    prediction_type: str
    name: str
    image_size: int
    trained_sigmas: tuple[float, float] | None = None

    @property
    def sigmas(self) -> Tensor:
        """``(T,)`` noise-to-signal ratio of every timestep, increasing."""
        return ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()

    @property
    def patch(self) -> int:
        """Side of the pixel blocks that are folded into channels (1: plain RGB model)."""
        return round((self.unet.config.in_channels / 3) ** 0.5)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.unet.parameters()).device

    def copy_on(self, device: str) -> "Denoiser":
        """The same model on another device, which shares no weights with this one."""
        unet = copy.deepcopy(self.unet).to(device)
        return replace(self, unet=unet, alphas_cumprod=self.alphas_cumprod.to(device))

    def timestep(self, sigma: float) -> int:
        """The timestep whose noise level is nearest to ``sigma`` on a logarithmic scale."""
        return int((self.sigmas.log() - torch.tensor(sigma).log()).abs().argmin())

    def nearest_sigma(self, sigma: float) -> float:
        """``sigma`` quantised to the model's own noise levels."""
        return float(self.sigmas[self.timestep(sigma)])

    def predict(self, x: Tensor, timesteps: Tensor) -> Tensor:
        """What the network predicts (epsilon, v or x0) for ``x = x0 + sigma * eps``.

        Args:
            x: ``(N, 3, H, W)``, variance-exploding form.
            timesteps: ``(N,)`` integers; ``sigma`` is ``self.sigmas[timesteps]``.
        """
        return self._unfold(self.unet(self._fold(x, timesteps), timesteps).sample)

    def encode(self, x: Tensor, timesteps: Tensor) -> Encoded:
        """The encoder half of `predict`; `decode` is the rest.

        Args:
            x: ``(N, 3, H, W)``, variance-exploding form.
            timesteps: ``(N,)`` integers, the noise level of each image.
        """
        unet = self.unet
        folded = self._fold(x, timesteps)
        h = unet.conv_in(2 * folded - 1 if unet.config.center_input_sample else folded)
        embedded = unet.time_embedding(unet.time_proj(timesteps).to(unet.dtype))
        residuals = [h]
        for block in unet.down_blocks:
            h, activations = block(hidden_states=h, temb=embedded)
            residuals.extend(activations)
        maps = residuals[1:]
        if unet.mid_block is not None:
            h = unet.mid_block(h, embedded)
            maps = [*maps, h]
        return Encoded(tuple(residuals), h, timesteps, embedded, maps)

    def decode(self, encoded: Encoded) -> Tensor:
        """What the network predicts from the activations of its encoder half (see `predict`)."""
        unet, h, residuals = self.unet, encoded.deepest, encoded.residuals
        for block in unet.up_blocks:
            n = len(block.resnets)
            h = block(h, residuals[-n:], encoded.embedded)
            residuals = residuals[:-n]
        return self._unfold(unet.conv_out(unet.conv_act(unet.conv_norm_out(h))))

    def _fold(self, x: Tensor, timesteps: Tensor) -> Tensor:
        """The network's input: variance-preserving, pixel blocks folded into channels."""
        sigma = self.sigmas.to(x.device)[timesteps].view(-1, 1, 1, 1)
        folded = F.pixel_unshuffle(x / (1 + sigma**2).sqrt(), self.patch)
        return folded.contiguous(memory_format=torch.channels_last)

    def _unfold(self, output: Tensor) -> Tensor:
        # A learned-variance model doubles its output channels; the mean comes first.
        return F.pixel_shuffle(output[:, : 3 * self.patch**2].float(), self.patch)

    @property
    def learns_variance(self) -> bool:
        """Whether the network predicts the variance of a step beside its mean."""
        return bool(self.unet.config.out_channels == 2 * self.unet.config.in_channels)

    def denoise_with_variance(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """`denoise`, and the network's prediction of the variance, ``(N, 3, H, W)`` each.

        The variance is a place between the two bounds of a step's variance on a logarithmic scale,
        -1 the lower and 1 the upper one (Nichol and Dhariwal, 2021, equation 15).
        """
        timesteps = torch.full((len(x),), self.timestep(sigma), device=x.device)
        output = self.unet(self._fold(x, timesteps), timesteps).sample
        x0 = self.to_x0(x, self._unfold(output), timesteps).clamp(-1, 1)
        return x0, self._unfold(output[:, output.shape[1] // 2 :])

    def to_x0(self, x: Tensor, prediction: Tensor, timesteps: Tensor) -> Tensor:
        """Turn the network's prediction into the unclamped ``x0hat``, ``(N, 3, H, W)``."""
        sigma = self.sigmas.to(x.device)[timesteps].view(-1, 1, 1, 1)
        if self.prediction_type == "epsilon":
            return x - sigma * prediction
        if self.prediction_type == "v_prediction":
            # x_t = x / sqrt(1 + sigma^2); x0 = sqrt(alpha_bar) x_t - sqrt(1 - alpha_bar) v
            return x / (1 + sigma**2) - sigma / (1 + sigma**2).sqrt() * prediction
        return prediction

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """Tweedie's one-shot reconstruction of ``x0`` from ``x = x0 + sigma * eps``.

        Args:
            x: ``(N, 3, H, W)``; ``sigma`` must be one of the model's own (`nearest_sigma`).

        Returns:
            ``(N, 3, H, W)``, float32, clamped to [-1, 1] ("Don't Play Favorites", section 3.2).
        """
        return self.reconstruct(x, sigma).clamp(-1, 1)

    def reconstruct(self, x: Tensor, sigma: float) -> Tensor:
        """`denoise` without the clamp."""
        timesteps = torch.full((len(x),), self.timestep(sigma), device=x.device)
        return self.to_x0(x, self.predict(x, timesteps), timesteps)

    def features(self, x: Tensor, sigma: float) -> list[Tensor]:
        """Activations of the encoder half, shallow to deep, for ``x`` taken to be at ``sigma``.

        Args:
            x: ``(N, 3, H, W)``. A clean image with a small ``sigma`` is what distances use.

        Returns:
            ``Encoded.maps``.
        """
        timesteps = torch.full((len(x),), self.timestep(sigma), device=x.device)
        return self.encode(x, timesteps).maps

    def content_hash(self) -> str:
        """Hash of the weights and of everything that decides what `denoise` returns."""
        digest = hashlib.blake2b(digest_size=16)
        # diffusers keeps where a model was loaded from beside what it is.
        config = {k: v for k, v in self.unet.config.items() if not k.startswith("_")}
        digest.update(json.dumps([self.prediction_type, config], default=str).encode())
        digest.update(self.alphas_cumprod.double().cpu().numpy().tobytes())
        for name, tensor in sorted(self.unet.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the model as a diffusers pipeline folder (safetensors)."""
        scheduler = DDPMScheduler(
            trained_betas=betas(self.alphas_cumprod).tolist(),
            num_train_timesteps=len(self.alphas_cumprod),
            prediction_type=self.prediction_type,
        )
        try:
            DDPMPipeline(unet=self.unet, scheduler=scheduler).save_pretrained(folder)
        except SafetensorError as error:  # its word for a full disk
            raise OSError(errno.EIO, str(error), str(folder)) from error
        # A power cut must not take what a marker is going to vouch for.
        for written in (*folder.glob("*/*.safetensors"), *folder.glob("*/*.json")):
            with written.open("rb") as file:
                os.fsync(file.fileno())


def knows_all_levels(denoiser: Denoiser) -> bool:
    """Whether the model was trained on all of its noise levels, as generating needs."""
    low, high = denoiser.trained_sigmas or (0.0, math.inf)
    return bool(low <= denoiser.sigmas[0] * 1.001 and high >= denoiser.sigmas[-1] * 0.999)


def check_all_levels(denoiser: Denoiser) -> None:
    """Refuse to generate with a model that knows only some noise levels.

    Raises:
        UserError: the model was trained on some noise levels only.
    """
    if not knows_all_levels(denoiser):
        low, high = denoiser.trained_sigmas or (0.0, math.inf)
        lowest, highest = float(denoiser.sigmas[0]), float(denoiser.sigmas[-1])
        raise UserError(
            f"The model {denoiser.name} was trained on the noise levels {low:.3g} to {high:.3g} "
            f"only, which is enough to score; generating images needs all of them, {lowest:.3g} to "
            f"{highest:.3g}. Train it on all noise levels first, or give another with --model."
        )


def betas(alphas_cumprod: Tensor) -> Tensor:
    """The per-step variances whose cumulative product is ``alphas_cumprod``."""
    cumprod = alphas_cumprod.double()
    previous = torch.cat([torch.ones(1, dtype=torch.float64), cumprod[:-1]])
    return 1 - cumprod / previous


def linear_alphas_cumprod(timesteps: int = 1000) -> Tensor:
    """The linear schedule of DDPM (Ho et al., 2020): betas from 1e-4 to 0.02."""
    return torch.cumprod(1 - torch.linspace(1e-4, 0.02, timesteps, dtype=torch.float64), 0).float()


def load(model: str, device: str = "cpu") -> Denoiser:
    """Load a diffusers pipeline folder, a ``UNet2DModel`` folder or a hub id.

    Only safetensors files, or files that ``torch.load(weights_only=True)`` accepts, are read.

    Raises:
        UserError: there is no such model, or it is not an unconditional pixel diffusion model.
    """
    folder = Path(model).expanduser()
    is_folder = folder.is_dir()
    if not is_folder and (folder.exists() or model.startswith((".", "/", "~"))):
        raise UserError(
            f"{model} is not a model folder: give a diffusers pipeline or UNet2DModel folder, "
            "or a hub id such as google/ddpm-cifar10-32."
        )
    source = str(folder) if is_folder else model
    unet, is_pipeline = _load_unet(source, is_folder)
    scheduler = _load_scheduler_config(source, is_pipeline)
    alphas_cumprod = _finite_levels(DDPMScheduler.from_config(scheduler).alphas_cumprod)
    prediction_type = scheduler.get("prediction_type", "epsilon")
    if prediction_type not in PREDICTION_TYPES:
        raise UserError(
            f"The model {model} predicts {prediction_type!r}; mincurate reads models that predict "
            f"one of {', '.join(PREDICTION_TYPES)}."
        )
    record = folder / "mincurate.json"
    trained = json.loads(record.read_text()).get("trained_sigmas") if record.is_file() else None
    patch = _check_unconditional(unet, model)
    unet = unet.eval().requires_grad_(False)
    size = unet.config.sample_size or 32
    side = size if isinstance(size, int) else size[0]
    return Denoiser(
        unet=channels_last(unet.to(device)),
        alphas_cumprod=alphas_cumprod,
        prediction_type=prediction_type,
        name=model,
        image_size=side * patch,
        trained_sigmas=(float(trained[0]), float(trained[1])) if trained else None,
    )


def _finite_levels(alphas_cumprod: Tensor) -> Tensor:
    """The schedule without levels of no signal at all, ``alpha_bar = 0``, whose sigma is infinite.

    The last level of a zero-terminal-SNR schedule is one (Lin et al., WACV 2024). The level below
    it differs from pure noise by less than float32 shows, so that sampling starts there.
    """
    return alphas_cumprod[alphas_cumprod > 0]


def _load_unet(source: str, is_folder: bool) -> tuple[UNet2DModel, bool]:
    """The network, and whether it stands in a pipeline, beside its noise schedule."""
    subfolder = "unet" if not is_folder or (Path(source) / "unet").is_dir() else None
    attempts = [subfolder] if is_folder else ["unet", None]
    failure: Exception | None = None
    for place in attempts:
        try:
            loaded, info = UNet2DModel.from_pretrained(
                source, subfolder=place, output_loading_info=True, low_cpu_mem_usage=False
            )
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            failure = failure or error
            continue
        if info["missing_keys"] or info["mismatched_keys"]:
            raise UserError(
                f"The weights in {source} do not fit its config: "
                f"{len(info['missing_keys'])} tensors are missing and "
                f"{len(info['mismatched_keys'])} have another shape."
            )
        beside = is_folder and (Path(source) / "scheduler").is_dir()
        return loaded, place is not None or beside
    reason = (
        str(failure).strip().splitlines()[0] if str(failure).strip() else type(failure).__name__
    )
    where = "in that folder" if is_folder else "under that name, in the cache or on the hub"
    raise UserError(f"No usable UNet2DModel for {source} {where}: {reason}") from failure


def _load_scheduler_config(source: str, is_pipeline: bool) -> dict[str, object]:
    """The noise schedule beside a network: in a folder of its own in a pipeline, or at its side.

    Raises:
        UserError: a pipeline has none, or it is not a variance-preserving one.
    """
    try:
        subfolder = "scheduler" if is_pipeline else None
        config = dict(DDPMScheduler.load_config(source, subfolder=subfolder))
    except (OSError, ValueError) as error:
        if not is_pipeline:
            return BARE_UNET_SCHEDULE
        raise UserError(
            f"The pipeline {source} has no readable scheduler/scheduler_config.json, so that its "
            "noise levels are not known."
        ) from error
    if "beta_schedule" not in config and "trained_betas" not in config:
        raise UserError(
            f"The noise schedule of {source}, {config.get('_class_name', 'of unknown kind')}, is "
            "not a variance-preserving one (betas); mincurate reads DDPM-like pipelines only."
        )
    return config


def _check_unconditional(unet: UNet2DModel, model: str) -> int:
    """The side of the folded pixel blocks, after checks that the model is one we can use."""
    if unet.class_embedding is not None:
        raise UserError(
            f"The model {model} is class-conditional; the minority score needs an unconditional "
            "one. Train one with `mincurate train`."
        )
    channels = unet.config.in_channels
    patch = round((channels / 3) ** 0.5)
    if 3 * patch * patch != channels or unet.config.out_channels not in (channels, 2 * channels):
        raise UserError(
            f"The model {model} takes {channels} channels and gives {unet.config.out_channels}; "
            "mincurate reads RGB pixel models (3 channels, or 3*p*p of pixel blocks), not latent "
            "or greyscale ones."
        )
    return patch
