"""Samplers: a solver of the reverse process, and a way to the rare.

    ddpm            plain sampling, the baseline; of a class-conditional model, with
                    classifier-free guidance
    minority        the guided denoiser (Um, Lee, Ye, ICLR 2024), with any solver
    self-guided     climbs the model's own reconstruction error (Um, Ye, ECCV 2024)
    boost-and-skip  starts from too much noise (Um, Kim, Ye, ICML 2025)

Every random number of an image comes from a generator seeded with that image's own seed: the same
image comes out whatever the batch it is in (up to rounding of the network in batches of another
size). The ``x0`` of a pixel model is clamped to [-1, 1] at every step, after all guidance that is
part of the denoiser has been added; what `Push` adds to the mean is not clamped; the final image
is. A latent model makes latents, which are not clamped and decoded at the end.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from mincurate.diffusion.denoiser import Denoiser, check_all_levels
from mincurate.errors import UserError
from mincurate.features.perceptual import Perceptual
from mincurate.generation import solvers
from mincurate.generation.classifier import Classifier
from mincurate.generation.free_guidance import FreeGuided, check_free
from mincurate.generation.guidance import Guided, gradient_of, guided
from mincurate.generation.guided_classes import Target
from mincurate.generation.solvers import SOLVERS, STEPS, Denoises, Push, Sampler

GUIDANCE_SCALES = {"minority": 2.0, "self-guided": 0.3}
"""Default guidance scales. ``ddpm`` takes one, too, and is not guided without; the other samplers
are never guided."""
PAPER_SCALES = {"minority": 3.5}
"""Those of the papers, where they differ."""


def ddpm(
    denoiser: Denoiser,
    *,
    guidance_scale: float = 1.0,
    steps: int = 250,
    solver: str = "ancestral",
    dtype: torch.dtype | None = None,
    paper: bool = False,
) -> Sampler:
    """Plain sampling, the baseline of every comparison.

    Args:
        guidance_scale: of a class-conditional model, see `free_guidance`; 1 does not guide.

    Raises:
        UserError: the model has no unconditional self to be pushed away from.
    """
    if guidance_scale == 1:
        return _sampler(denoiser, denoiser, solver, steps, dtype, paper)
    check_free(denoiser)
    return _sampler(denoiser, FreeGuided(denoiser, guidance_scale), solver, steps, dtype, paper)


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
    paper: bool = False,
) -> Sampler:
    """Minority guidance (ICLR 2024, algorithm 1): see `guidance.guided`.

    With ``paper`` and ancestral steps, guidance moves the mean of the step, after the clamp, as it
    is published there.

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
    if paper and solver == "ancestral":
        push = mean_guidance(model)
        return _sampler(denoiser, denoiser, solver, steps, dtype, paper, push=push)
    return _sampler(denoiser, model, solver, steps, dtype, paper)


def self_guided(
    denoiser: Denoiser,
    perceptual: Perceptual,
    *,
    guidance_scale: float = GUIDANCE_SCALES["self-guided"],
    steps: int = 250,
    perturb: float = 0.8,
    every: int = 5,
    clamp: bool | None = None,
    dtype: torch.dtype | None = None,
    paper: bool = False,
) -> Sampler:
    """Self-guided minority generation (ECCV 2024); needs no classifier, ancestral steps only.

    With ``x0hat = D(x_t)``, noised anew to the timestep ``s = perturb * T`` as ``x_s``,

        g     = grad_{x_t} distance(x0hat, stopgrad D(x_s))
        mean += w * variance * g / max|g|        every ``every`` steps, counted from the last

    so that the sample moves to where the model reconstructs it badly. The paper's w is 0.2 to 0.4.
    A guided step costs a gradient through the whole network and a second pass.

    Args:
        clamp: clamp both reconstructions to [-1, 1] before they are compared. Where the first one
            is clamped, it has no gradient. The published code clamps neither, and so does
            ``paper``; the default is to clamp.
    """
    s = int(perturb * len(denoiser.alphas_cumprod))
    if paper:  # it counts respaced timesteps
        rising = solvers.timestep_grid(denoiser.alphas_cumprod, steps, "even")[::-1]
        s = rising[int(perturb * steps)]
    push = self_guidance(
        denoiser,
        perceptual,
        guidance_scale=guidance_scale,
        perturb_t=s,
        every=every,
        clamp=not paper if clamp is None else clamp,
    )
    return _sampler(denoiser, denoiser, "ancestral", steps, dtype, paper, push=push)


def boost_and_skip(
    denoiser: Denoiser,
    *,
    gamma: float = 4.0,
    skip: float = 3 / 250,
    steps: int = 250,
    solver: str = "ancestral",
    dtype: torch.dtype | None = None,
    paper: bool = False,
) -> Sampler:
    """Boost-and-skip (ICML 2025): ``x ~ N(0, gamma^2 I)``, taken to be ``x_t`` below the top.

    No training, no classifier, no further passes. The paper takes gamma 4 for CelebA and 2.5 for
    ImageNet-64, and skips the first 3 of 250 evenly spaced steps; ``skip`` is that share of the
    timesteps, so that it means the same whatever the number of steps.
    """
    return _sampler(denoiser, denoiser, solver, steps, dtype, paper, gamma=gamma, skip=skip)


def _sampler(
    denoiser: Denoiser,
    model: Denoiser | Guided | FreeGuided,
    solver: str,
    steps: int,
    dtype: torch.dtype | None,
    paper: bool,
    **options: Any,
) -> Sampler:
    """A checked `Sampler` of ``model``, which is ``denoiser`` or rests on it."""
    check_all_levels(denoiser)
    if paper and solver == "ancestral":
        learned = model is denoiser and denoiser.learns_variance
        options |= {"spacing": "even", "learned_variance": learned}
    return solvers.checked(Sampler(model, solver, steps, dtype=dtype, **options))


SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "ddpm": ddpm,
    "minority": minority,
    "self-guided": self_guided,
    "boost-and-skip": boost_and_skip,
}


def build(
    name: str,
    denoiser: Denoiser,
    *,
    solver: str,
    steps: int,
    guidance_scale: float | None,
    dtype: torch.dtype | None = None,
    target: Target | None = None,
    classifier: Classifier | None = None,
    perceptual: Perceptual | None = None,
    paper: bool = False,
) -> Sampler:
    """The sampler called ``name``.

    Args:
        target: what ``minority`` guides to.
        classifier: what ``minority`` guides by.
        perceptual: the distance that ``self-guided`` guides by.
        paper: ancestral steps are even, take the learned variance where the model has one, and
            are guided in the mean.
    """
    options: dict[str, Any] = {"steps": steps, "dtype": dtype, "paper": paper}
    if guidance_scale is not None:
        options["guidance_scale"] = guidance_scale
    if name == "self-guided":
        if perceptual is None:
            raise ValueError("self-guided takes a perceptual distance")
        return self_guided(denoiser, perceptual, **options)
    if name == "minority":
        if classifier is None or target is None:
            raise ValueError("minority takes a classifier and a target")
        options |= {"target_class": target.classes, "label": target.label}
        return minority(denoiser, classifier, solver=solver, **options)
    return SAMPLERS[name](denoiser, solver=solver, **options)


def settle(
    sampler: str,
    solver: str | None = None,
    steps: int | None = None,
    guidance_scale: float | None = None,
    *,
    paper: bool = False,
) -> tuple[str, int, float | None]:
    """Solver, steps and guidance scale of a sampler: its defaults in place of ``None``.

    Raises:
        UserError: there is no such sampler, or it does not take such an option.
    """
    if sampler not in SAMPLERS:
        raise UserError(f"There is no sampler {sampler!r}: take one of {', '.join(SAMPLERS)}.")
    if sampler == "self-guided" and solver not in (None, "ancestral"):
        raise UserError(f"The sampler {sampler} takes ancestral steps only: --solver ancestral.")
    if guidance_scale is not None and sampler not in ("ddpm", *GUIDANCE_SCALES):
        raise UserError(f"The sampler {sampler} is not guided; it takes no --guidance-scale.")
    if guidance_scale is not None and not math.isfinite(guidance_scale):
        raise UserError(f"--guidance-scale is a finite number, not {guidance_scale}.")
    solver = solver or ("ancestral" if paper or sampler == "self-guided" else "sde-dpm++")
    if solver not in SOLVERS:
        raise UserError(f"There is no solver {solver!r}: take one of {', '.join(SOLVERS)}.")
    if guidance_scale is None:
        guidance_scale = (GUIDANCE_SCALES | (PAPER_SCALES if paper else {})).get(sampler)
    return solver, STEPS[solver] if steps is None else steps, guidance_scale


def check_model(
    sampler: str, denoiser: Denoiser, label: str | None, guidance_scale: float | None
) -> None:
    """Check that a model can take a label, or a scale, that the sampler has no classifier for.

    Raises:
        UserError: it is not class-conditional.
    """
    if sampler == "minority":
        return
    if label is not None and not denoiser.num_classes:
        raise UserError(
            f"--label needs --sampler minority or a class-conditional model, and {denoiser.name} "
            f"with the sampler {sampler} uses no labels."
        )
    if sampler == "ddpm" and guidance_scale not in (None, 1):
        check_free(denoiser)


def mean_guidance(model: Guided) -> Push:
    """Guidance in the form ``mean += variance * w * grad_{x_t} log p`` (ICLR 2024, algorithm 1).

    To first order in the step it is the same as the guided denoiser.
    """

    def push(
        _: Denoises, x: Tensor, sigma: float, left: int, generators: list[torch.Generator]
    ) -> Tensor:
        return (1 + sigma**2) ** 0.5 * model.gradient(x, sigma)  # x_t = x / sqrt(1 + sigma^2)

    return push


def self_guidance(
    denoiser: Denoiser,
    perceptual: Perceptual,
    *,
    guidance_scale: float,
    perturb_t: int,
    every: int,
    clamp: bool,
) -> Push:
    """The shift that `self_guided` adds to the mean."""
    sigma_s = float(denoiser.sigmas[perturb_t])

    def push(
        model: Denoises, x: Tensor, sigma: float, left: int, generators: list[torch.Generator]
    ) -> Tensor | None:
        if left % every:
            return None
        reconstruct = model.denoise if clamp else cast(Denoiser, model).reconstruct
        eps = solvers.draw(generators, tuple(x.shape[1:]), x.device)

        def reconstruction_error(y: Tensor) -> Tensor:
            x0hat = reconstruct(y, sigma)
            with torch.no_grad():
                x0again = reconstruct(x0hat + sigma_s * eps, sigma_s)
                again = perceptual.sample_features(denoiser, x0again)
            return perceptual.between(perceptual.sample_features(denoiser, x0hat), again).sum(1)

        g = gradient_of(reconstruction_error, x)
        largest = g.abs().amax((1, 2, 3), keepdim=True)
        return guidance_scale * g / largest.clamp(min=torch.finfo(g.dtype).tiny)

    return push
