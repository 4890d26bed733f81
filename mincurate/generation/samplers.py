"""Images out of noise: solvers of the reverse process, and the samplers built on them.

A solver steps from noise level to noise level and asks for nothing but ``denoise(x, sigma)``; it
is one of diffusers' schedulers, fed with ``x0`` predictions on the denoiser's own schedule. A
sampler is a solver with a way to be drawn to the rare:

    ddpm            plain sampling, the baseline
    minority        the guided denoiser (Um, Lee, Ye, ICLR 2024), with any solver
    self-guided     climbs the model's own reconstruction error (Um, Ye, ECCV 2024)
    boost-and-skip  starts from too much noise (Um, Kim, Ye, ICML 2025)
    low-density     hardness and real/fake guidance (Sehwag et al., CVPR 2022)

Every random number of an image comes from a generator seeded with that image's own seed: the same
image comes out whatever the batch it is in (up to rounding of the network in batches of another
size). ``x0`` is clamped to [-1, 1] at every step, after all guidance that is part of the denoiser
has been added; what `Push` adds to the mean is not clamped; the final image is.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mincurate.diffusion.denoiser import (
    Denoiser,
    Denoises,
    Encoded,
    check_all_levels,
    to_tensor,
)
from mincurate.errors import UserError
from mincurate.features import perceptual as perception
from mincurate.features.perceptual import Perceptual
from mincurate.generation import solvers
from mincurate.generation.classifier import Classifier
from mincurate.generation.guidance import Guided, gradient_of, guided
from mincurate.generation.solvers import SOLVERS, STEPS, Push, Sampler, _checked

GUIDANCE_SCALES = {"minority": 2.0, "self-guided": 0.3, "low-density": 0.5}
"""Guidance scale where nothing is said; the other samplers are not guided."""


def ddpm(
    denoiser: Denoiser,
    *,
    steps: int = 250,
    solver: str = "ancestral",
    dtype: torch.dtype | None = None,
) -> Sampler:
    """Plain sampling, the baseline of every comparison."""
    check_all_levels(denoiser)
    return _checked(Sampler(denoiser, solver, steps, dtype=dtype))


def minority(
    denoiser: Denoiser,
    classifier: Classifier,
    *,
    target_class: int | Sequence[int] | None,
    label: str | None = None,
    guidance_scale: float = GUIDANCE_SCALES["minority"],
    steps: int = 250,
    solver: str = "ancestral",
    dtype: torch.dtype | None = None,
) -> Sampler:
    """Minority guidance (ICLR 2024, algorithm 1): see `guidance.guided`.

    The paper's ``guidance_scale`` is 3.5, with 100 classes. With 10, measured on digits, 2 keeps
    0.94 to 0.97 of the precision of plain samples, and 3.5 keeps 0.82 to 0.88 of it (docs/results).
    """
    model = guided(
        denoiser,
        classifier,
        target_class=target_class,
        label=label,
        guidance_scale=guidance_scale,
    )
    return _checked(Sampler(model, solver, steps, dtype=dtype))


def self_guided(
    denoiser: Denoiser,
    perceptual: Perceptual,
    *,
    guidance_scale: float = GUIDANCE_SCALES["self-guided"],
    steps: int = 250,
    perturb: float = 0.8,
    every: int = 5,
    dtype: torch.dtype | None = None,
) -> Sampler:
    """Self-guided minority generation (ECCV 2024); needs no classifier, ancestral steps only.

    With ``x0hat = D(x_t)``, noised anew to the timestep ``s = perturb * T`` as ``x_s``,

        g     = grad_{x_t} distance(x0hat, stopgrad D(x_s))
        mean += w * variance * g / max|g|        every ``every`` steps

    so that the sample moves to where the model reconstructs it badly. The paper's w is 0.2 to 0.4.
    A guided step costs a gradient through the whole network and a second pass.
    """
    check_all_levels(denoiser)
    push = self_guidance(
        denoiser, perceptual, guidance_scale=guidance_scale, perturb=perturb, every=every
    )
    return _checked(Sampler(denoiser, "ancestral", steps, push=push, dtype=dtype))


def boost_and_skip(
    denoiser: Denoiser,
    *,
    gamma: float = 4.0,
    skip: float = 3 / 250,
    steps: int = 250,
    solver: str = "ancestral",
    dtype: torch.dtype | None = None,
) -> Sampler:
    """Boost-and-skip (ICML 2025): ``x ~ N(0, gamma^2 I)``, taken to be ``x_t`` below the top.

    No training, no classifier, no further passes. The paper takes gamma 4 for CelebA and 2.5 for
    ImageNet-64, and skips the first 3 of 250 evenly spaced steps; ``skip`` is that share of the
    timesteps, so that it means the same whatever the number of steps.
    """
    check_all_levels(denoiser)
    return _checked(Sampler(denoiser, solver, steps, gamma=gamma, skip=skip, dtype=dtype))


def low_density(
    denoiser: Denoiser,
    hardness: "Hardness",
    realness: Classifier,
    *,
    guidance_scale: float = GUIDANCE_SCALES["low-density"],
    real_scale: float = 1.0,
    steps: int = 250,
    solver: str = "ancestral",
    dtype: torch.dtype | None = None,
) -> Sampler:
    """Low-density sampling (Sehwag et al., CVPR 2022) in a form that needs no labels:

        D += sigma^2 * grad_x [ alpha * hardness(x, sigma) + beta * log p(real | x, sigma) ]

    alpha is ``guidance_scale`` and beta ``real_scale``. A step away from the dense regions, and one
    that keeps to the manifold of real images, are the paper's two ideas. What differs from it,
    which guides a class-conditional model: hardness is the negative log-likelihood of an embedding
    under one Gaussian of all images, not of the image's class; the embedding is that of the
    denoiser's encoder at the same noise level, not of a classifier's; and gradients are not
    normalised, because they belong to log-densities here, so that the paper's values of alpha and
    beta do not carry over and the defaults are not its own. In the embedding, alpha < 1 widens the
    Gaussian to ``covariance / (1 - alpha)``; from 1 on nothing but the real/fake guidance and the
    clamp holds it.

    Args:
        realness: a `Classifier` of two classes, 0 for `ddpm` samples and 1 for real images.
    """
    if realness.num_classes != 2:
        raise ValueError(f"realness has {realness.num_classes} classes, not generated and real")
    if hardness.denoiser_hash != realness.denoiser_hash:
        raise UserError("The hardness and the real/fake classifier belong to different models.")
    real = guided(denoiser, realness, target_class=1, guidance_scale=1.0)

    def log_prob(encoded: Encoded) -> Tensor:
        return guidance_scale * hardness(encoded) + real_scale * real.log_prob(encoded)

    return _checked(Sampler(Guided(denoiser, log_prob, 1.0), solver, steps, dtype=dtype))


SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "ddpm": ddpm,
    "minority": minority,
    "self-guided": self_guided,
    "boost-and-skip": boost_and_skip,
    "low-density": low_density,
}


def settle(
    sampler: str,
    solver: str | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
) -> tuple[str, int, float | None]:
    """Solver, evaluations and guidance scale of a sampler: its own where ``None`` is given.

    Raises:
        UserError: there is no such sampler, or it does not take what is given.
    """
    if sampler not in SAMPLERS:
        raise UserError(f"There is no sampler {sampler!r}: take one of {', '.join(SAMPLERS)}.")
    if sampler == "self-guided" and solver not in (None, "ancestral"):
        raise UserError(f"The sampler {sampler} takes ancestral steps only: --solver ancestral.")
    if guidance_scale is not None and sampler not in GUIDANCE_SCALES:
        raise UserError(f"The sampler {sampler} is not guided; it takes no --guidance-scale.")
    if guidance_scale is not None and not math.isfinite(guidance_scale):
        raise UserError(f"--guidance-scale is a finite number, not {guidance_scale}.")
    solver = solver or ("ancestral" if sampler == "self-guided" else "sde-dpm++")
    if solver not in SOLVERS:
        raise UserError(f"There is no solver {solver!r}: take one of {', '.join(SOLVERS)}.")
    if guidance_scale is None:
        guidance_scale = GUIDANCE_SCALES.get(sampler)
    return solver, STEPS[solver] if steps is None else steps, guidance_scale


def self_guidance(
    denoiser: Denoises, perceptual: Perceptual, *, guidance_scale: float, perturb: float, every: int
) -> Push:
    """The shift that `self_guided` adds to the mean."""
    alpha_bar = denoiser.alphas_cumprod
    a = float(alpha_bar[min(int(perturb * len(alpha_bar)), len(alpha_bar) - 1)])
    sigma_s = ((1 - a) / a) ** 0.5

    def push(x: Tensor, sigma: float, i: int, generators: list[torch.Generator]) -> Tensor | None:
        if i % every:
            return None
        eps = solvers.draw(generators, tuple(x.shape[1:]), x.device)

        def reconstruction_error(y: Tensor) -> Tensor:
            x0hat = denoiser.denoise(y, sigma)
            with torch.no_grad():
                again = perceptual.features(denoiser.denoise(x0hat + sigma_s * eps, sigma_s))
            return perception.distance(perceptual.features(x0hat), again).sum(1)

        g = gradient_of(reconstruction_error, x)
        largest = g.abs().amax((1, 2, 3), keepdim=True)
        return guidance_scale * g / largest.clamp(min=torch.finfo(g.dtype).tiny)

    return push


def mean_guidance(log_prob: Callable[[Tensor, float], Tensor], guidance_scale: float) -> Push:
    """Guidance in the form ``mean += variance * w * grad_{x_t} log p`` (ICLR 2024, algorithm 1).

    To first order in the step it is the same as a guided denoiser.
    """

    def push(x: Tensor, sigma: float, i: int, generators: list[torch.Generator]) -> Tensor:
        # x_t = x / sqrt(1 + sigma^2)
        return guidance_scale * (1 + sigma**2) ** 0.5 * gradient_of(lambda y: log_prob(y, sigma), x)

    return push


@dataclass(frozen=True, eq=False)
class Hardness:
    """How unlikely an image's embedding is, at every noise level, under a Gaussian of all images.

    Attributes:
        timesteps: ``(M,)``, the noise levels at which a Gaussian was fitted; the nearest is used.
        mean: ``(M, d)``.
        precision: ``(M, d, d)``, inverse covariances.
        denoiser_hash: of the model whose encoder embeds.
    """

    timesteps: Tensor
    mean: Tensor
    precision: Tensor
    denoiser_hash: str

    def __call__(self, encoded: Encoded) -> Tensor:
        """Half the squared Mahalanobis distance of each image's embedding, ``(N,)``."""
        level = (encoded.timesteps[:, None] - self.timesteps).abs().argmin(1)
        z = _embedding(encoded) - self.mean[level]
        return 0.5 * torch.einsum("ni,nij,nj->n", z, self.precision[level], z)


@torch.no_grad()
def fit_hardness(
    denoiser: Denoiser,
    images: NDArray[np.uint8],
    *,
    levels: int = 16,
    batch_size: int = 128,
    seed: int = 0,
) -> Hardness:
    """Fit the Gaussians of `Hardness` to ``images``, ``(N, 3, S, S)`` uint8, shrunk as they must be
    where images are few (Ledoit and Wolf, 2004)."""
    from sklearn.covariance import LedoitWolf

    device = denoiser.device
    timesteps = torch.linspace(0, len(denoiser.sigmas) - 1, levels).round().long()
    means, precisions = [], []
    for t in timesteps.tolist():
        generator = torch.Generator().manual_seed(seed)
        found = []
        for start in range(0, len(images), batch_size):
            x0 = to_tensor(images[start : start + batch_size], device)
            eps = torch.randn(x0.shape, generator=generator).to(device)
            at = torch.full((len(x0),), t, device=device)
            sigma = float(denoiser.sigmas[t])
            found.append(_embedding(denoiser.encode(x0 + sigma * eps, at)).double().cpu())
        fitted = LedoitWolf().fit(torch.cat(found).numpy())
        means.append(torch.from_numpy(fitted.location_).float())
        precisions.append(torch.from_numpy(fitted.precision_).float())
    return Hardness(
        timesteps.to(device),
        torch.stack(means).to(device),
        torch.stack(precisions).to(device),
        denoiser.content_hash(),
    )


def _embedding(encoded: Encoded) -> Tensor:
    """The deepest feature map, averaged over its positions, ``(N, d)``."""
    return encoded.deepest.float().mean((2, 3))
