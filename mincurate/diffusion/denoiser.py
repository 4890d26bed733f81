"""Any diffusion model as one call: ``denoise(x, sigma) -> x0hat``.

The variance-exploding form ``x = x0 + sigma * eps`` is used throughout. A discrete,
variance-preserving model is wrapped: its input is ``x / sqrt(1 + sigma^2)``, its timestep the one
with the nearest noise-to-signal ratio ``sigma = sqrt((1 - alphas_cumprod) / alphas_cumprod)``.
Tweedie's one-shot reconstruction *is* this call. ``x0`` is a *sample*: an image, or the latent of
one (`space`).
"""

import copy
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mincurate import hashing
from mincurate.diffusion import halves, prompts
from mincurate.diffusion.encoded import Encoded
from mincurate.diffusion.halves import Halves
from mincurate.diffusion.prompts import Prompts, Wording
from mincurate.diffusion.space import Latents, Pixels, Space
from mincurate.errors import UserError

if TYPE_CHECKING:
    from diffusers import ModelMixin

    from mincurate.diffusion.autoencoder import Autoencoder


PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
"""diffusers' names; ``sample`` is x0."""


def to_tensor(pixels: NDArray[np.uint8], device: str | torch.device = "cpu") -> Tensor:
    """uint8 ``(N, C, H, W)`` as float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).float() / 127.5 - 1


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A diffusion model at discrete noise levels.

    Attributes:
        unet: the network (`halves.KINDS`, `UNet2DModel`); it predicts epsilon, v or x0, with or
            without learned variance channels.
        alphas_cumprod: ``(T,)``, decreasing in the timestep.
        prediction_type: one of ``PREDICTION_TYPES``.
        name: folder or hub name of the model, for records.
        image_size: side of the square images the model works on, in pixels.
        trained_sigmas: the range of noise levels the model was trained on; ``None`` means all.
        kind: what it was read from, in words.
        bands: channels of an image: RGB, or as many as the images that it was trained on have.
        class_names: labels of the classes of a conditional model, where they are known.
        null_class: the class that stands for no label; ``None`` where there is none.
        classes: ``(N,)``, the classes that N images are denoised under; see `under`.
        autoencoder: of a latent model.
        prompts: of a model that takes text; its classes are their rows.
        hash_as_read: its content hash where its weights were cast since (`weight_precision`).
    """

    unet: "ModelMixin"
    alphas_cumprod: Tensor
    prediction_type: str
    name: str
    image_size: int
    trained_sigmas: tuple[float, float] | None = None
    kind: str = "UNet2DModel"
    bands: int = 3
    class_names: tuple[str, ...] = ()
    null_class: int | None = None
    classes: Tensor | None = None
    autoencoder: "Autoencoder | None" = None
    prompts: Prompts | None = None
    hash_as_read: str = ""

    @property
    def sigmas(self) -> Tensor:
        """``(T,)`` noise-to-signal ratio of every timestep, increasing."""
        return ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()

    @property
    def space(self) -> Space:
        """What its samples are."""
        if self.autoencoder is not None:
            return Latents(self.autoencoder, self.image_size)
        return Pixels(self.bands, self.image_size)

    @property
    def halves(self) -> Halves:
        """The network, whole and in halves."""
        return halves.of(self.unet)

    @property
    def patch(self) -> int:
        """Side of the pixel blocks that are folded into channels; 1 for a plain model."""
        channels = self.bands if self.autoencoder is None else self.autoencoder.channels
        return round((self.unet.config.in_channels / channels) ** 0.5)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.unet.parameters()).device

    def copy_on(self, device: str) -> "Denoiser":
        """A copy of the model, with weights of its own, on another device."""
        unet = copy.deepcopy(self.unet).to(device)
        prompts = self.prompts
        if prompts is not None:
            prompts = replace(prompts, embeddings=prompts.embeddings.to(device))
        return replace(
            self,
            unet=unet,
            alphas_cumprod=self.alphas_cumprod.to(device),
            autoencoder=self.autoencoder and self.autoencoder.copy_on(device),
            prompts=prompts,
        )

    @property
    def wording(self) -> Wording | None:
        """What it is told, where it takes text."""
        return None if self.prompts is None else self.prompts.wording

    @property
    def free_class(self) -> int | None:
        """The class of a model that is told nothing: the null class, or that of an empty prompt."""
        return self.null_class if self.wording is None else len(self.wording.texts) - 1

    @property
    def num_classes(self) -> int:
        """Classes that the network is conditional on, without the null class; 0 for none."""
        if self.prompts is not None:
            return len(self.prompts.wording.labels)
        return self.halves.num_embeddings - (self.null_class is not None)

    def under(self, classes: Tensor | None) -> "Denoiser":
        """The model under the condition that N images are of these classes.

        Without a condition images are of the null class; where the network has none, it gets the
        embedding of the noise level alone.

        Args:
            classes: ``(N,)``; negative ones are the null class. ``None`` is no condition.
        """
        if classes is not None:
            if self.null_class is not None:
                classes = torch.where(classes < 0, self.null_class, classes)
            classes = classes.to(self.device)
        return replace(self, classes=classes)

    def told(self, wording: Wording) -> "Denoiser":
        """A model that takes text, with other prompts.

        Raises:
            UserError: it takes no text.
        """
        if self.prompts is None:
            raise UserError(
                f"The model {self.name} takes no text: leave out --prompt, or take a model of the "
                "Stable Diffusion kind."
            )
        if self.wording == wording:
            return self
        told = prompts.embedded(self.prompts.folder, self.name, wording, str(self.device))
        names = wording.labels
        return replace(self, prompts=told, class_names=names, null_class=len(names))

    def _condition(self, count: int) -> Tensor | None:
        """The classes of ``count`` images, ``(count,)``, or their prompts ``(count, T, D)``."""
        classes = self.classes
        if classes is None and self.null_class is not None:
            classes = torch.full((count,), self.null_class, device=self.device)
        if self.prompts is not None and classes is not None:
            return self.prompts.embeddings[classes]
        return classes

    def timestep(self, sigma: float) -> int:
        """The timestep whose noise level is nearest to ``sigma`` on a logarithmic scale."""
        return int((self.sigmas.log() - torch.tensor(sigma).log()).abs().argmin())

    def nearest_sigma(self, sigma: float) -> float:
        """The noise level of the model that is nearest to ``sigma``."""
        return float(self.sigmas[self.timestep(sigma)])

    def predict(self, x: Tensor, timesteps: Tensor) -> Tensor:
        """What the network predicts (epsilon, v or x0) for ``x = x0 + sigma * eps``.

        Args:
            x: ``(N, C, h, w)``, variance-exploding form.
            timesteps: ``(N,)`` integers; ``sigma`` is ``self.sigmas[timesteps]``.
        """
        return self._unfold(self._output(x, timesteps))

    def _output(self, x: Tensor, timesteps: Tensor) -> Tensor:
        """All that the network returns, pixel blocks folded into channels."""
        return self.halves.whole(self._fold(x, timesteps), timesteps, self._condition(len(x)))

    def encode(self, x: Tensor, timesteps: Tensor) -> Encoded:
        """The encoder half of `predict`; `decode` is the rest.

        Args:
            x: ``(N, C, h, w)``, variance-exploding form.
            timesteps: ``(N,)`` integers, the noise level of each sample.
        """
        return self.halves.encode(self._fold(x, timesteps), timesteps, self._condition(len(x)))

    def decode(self, encoded: Encoded) -> Tensor:
        """What the network predicts from the activations of its encoder half (see `predict`)."""
        return self._unfold(self.halves.decode(encoded))

    def _fold(self, x: Tensor, timesteps: Tensor) -> Tensor:
        """The network's input: variance-preserving, pixel blocks folded into channels."""
        sigma = self.sigmas.to(x.device)[timesteps].view(-1, 1, 1, 1)
        folded = F.pixel_unshuffle(x / (1 + sigma**2).sqrt(), self.patch)
        return folded.contiguous(memory_format=torch.channels_last)

    def _unfold(self, output: Tensor) -> Tensor:
        # A model with learned variance has twice the output channels; the mean comes first.
        return F.pixel_shuffle(output[:, : self.unet.config.in_channels].float(), self.patch)

    @property
    def learns_variance(self) -> bool:
        """Whether the network predicts the variance of a step beside its mean."""
        return bool(self.unet.config.out_channels == 2 * self.unet.config.in_channels)

    def denoise_with_variance(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """`denoise`, and the network's prediction of the variance, ``(N, C, h, w)`` each.

        The variance is a place between the two bounds of a step's variance on a logarithmic scale,
        -1 the lower and 1 the upper one (Nichol and Dhariwal, 2021, equation 15).
        """
        timesteps = torch.full((len(x),), self.timestep(sigma), device=x.device)
        output = self._output(x, timesteps)
        x0 = self.space.clamp(self.to_x0(x, self._unfold(output), timesteps))
        return x0, self._unfold(output[:, output.shape[1] // 2 :])

    def to_x0(self, x: Tensor, prediction: Tensor, timesteps: Tensor) -> Tensor:
        """Turn the network's prediction into the unclamped ``x0hat``, ``(N, C, h, w)``."""
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
            x: ``(N, C, h, w)``; ``sigma`` must be one of the model's own (`nearest_sigma`).

        Returns:
            ``(N, C, h, w)``, float32, within the range of samples (`space`).
        """
        return self.space.clamp(self.reconstruct(x, sigma))

    def reconstruct(self, x: Tensor, sigma: float) -> Tensor:
        """`denoise` without the clamp."""
        timesteps = torch.full((len(x),), self.timestep(sigma), device=x.device)
        return self.to_x0(x, self.predict(x, timesteps), timesteps)

    def features(self, x: Tensor, sigma: float) -> list[Tensor]:
        """Activations of the encoder half, shallow to deep, for samples at noise level ``sigma``.

        Args:
            x: ``(N, C, h, w)``; distances use a clean sample with a small ``sigma``.

        Returns:
            ``Encoded.maps``.
        """
        timesteps = torch.full((len(x),), self.timestep(sigma), device=x.device)
        return self.encode(x, timesteps).maps

    def content_hash(self) -> str:
        """Hash of the weights and of everything else that `denoise` depends on."""
        if self.hash_as_read:
            return self.hash_as_read
        # Keys with an underscore say where diffusers loaded the model from.
        config = {k: v for k, v in self.unet.config.items() if not k.startswith("_")}
        head = json.dumps([self.prediction_type, config], default=str).encode()
        head += self.alphas_cumprod.double().cpu().numpy().tobytes()
        if self.autoencoder is not None:
            head += self.autoencoder.content_hash().encode()
        if self.prompts is not None:
            head += json.dumps(self.prompts.wording.texts).encode()
            head += self.prompts.embeddings.cpu().numpy().tobytes()
        return hashing.hash_tensors(self.unet.state_dict(), head)

    def save(self, folder: Path) -> None:
        """Write the model as a diffusers pipeline folder (safetensors).

        ``DDPMPipeline.from_pretrained(folder)()`` makes pictures, of a latent model
        ``LDMPipeline``; of a model on pixel blocks, or one that was trained here on latents, where
        ``import mincurate`` came before.

        Raises:
            UserError: the network is no `UNet2DModel`.
        """
        from mincurate.diffusion import pipeline_files

        kind = type(self.unet).__name__
        if kind != "UNet2DModel":
            raise UserError(
                f"The model {self.name} has a network of the class {kind}; only models of a "
                "UNet2DModel can be written."
            )
        schedule = {
            "trained_betas": betas(self.alphas_cumprod).tolist(),
            "num_train_timesteps": len(self.alphas_cumprod),
            "prediction_type": self.prediction_type,
        }
        if self.autoencoder is not None:
            pipeline = pipeline_files.of_latents(self.unet, self.autoencoder, schedule)
        else:
            schedule["variance_type"] = "learned_range" if self.learns_variance else "fixed_small"
            pipeline = pipeline_files.of_pixels(self.unet, self.patch, schedule)
        pipeline_files.save(pipeline, folder)


def knows_all_levels(denoiser: Denoiser) -> bool:
    """Whether the model was trained on all of its noise levels, as generating needs."""
    low, high = denoiser.trained_sigmas or (0.0, math.inf)
    return bool(low <= denoiser.sigmas[0] * 1.001 and high >= denoiser.sigmas[-1] * 0.999)


def check_all_levels(denoiser: Denoiser) -> None:
    """Check that a model can generate images.

    Raises:
        UserError: it was trained on some noise levels only.
    """
    if not knows_all_levels(denoiser):
        low, high = denoiser.trained_sigmas or (0.0, math.inf)
        lowest, highest = float(denoiser.sigmas[0]), float(denoiser.sigmas[-1])
        raise UserError(
            f"The model {denoiser.name} was trained on noise levels from {low:.3g} to {high:.3g}, "
            f"which is enough to score; generating images needs all of them, {lowest:.3g} to "
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
