"""Solvers of the reverse process: they ask for nothing but ``denoise(x, sigma)``.

    ancestral    DDPM (Ho et al., 2020, equation 7), stochastic; the paper's
    ddim         DDIM with eta = 0 (Song et al., 2021), deterministic
    dpm++        DPM-Solver++ 2M (Lu et al., 2022), deterministic
    sde-dpm++    the same with new noise at every step, stochastic

Each is one of diffusers' schedulers, fed with ``x0`` predictions on the denoiser's own schedule.

Without guidance, and with guidance of scale w = 1, all tend to the same distribution with more
steps: the model's, or its conditional ``p(x | l)``. With another w they do not. The guided score
``s + w grad log p(l | x, sigma)`` is not the score of any noised density, and what comes out
depends on the path. In a mixture whose rare mode has the weight 0.1 and p(l | mode) 0.8, against
0.2 of the common one, w = 2 gives the rare mode a share of 0.51 with the deterministic solvers and
of 0.55 with the stochastic ones; the density ``p(x) p(l | x)^w`` gives it 0.64
(``tests/generation/test_solvers.py``). Compare values of w with the same solver only.

Few steps lose spread. In a direction of the images that takes shape at the level sigma, an
ancestral step from sigma to sigma / r loses the share ln(r) of the variance: 25 steps keep 0.83 of
the standard deviation that 250 give, 50 keep 0.92.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from numpy.typing import NDArray
from torch import Tensor

from mincurate.compute.device import precision
from mincurate.diffusion.denoiser import Denoiser, betas, linear_alphas_cumprod
from mincurate.diffusion.space import Space
from mincurate.errors import UserError

SOLVERS = ("ancestral", "ddim", "dpm++", "sde-dpm++")
STOCHASTIC = ("ancestral", "sde-dpm++")
"""Solvers that add noise at every step, which corrects errors of earlier steps."""
SPACINGS = ("quadratic", "even")
"""See `timestep_grid`."""
STEPS = {"ancestral": 250, "ddim": 50, "dpm++": 25, "sde-dpm++": 25}
"""Default number of steps of each solver, measured by `benchmarks/sampling.py`."""
OnStep = Callable[[int, int], None]
"""Called after every step with the number done and the number in all."""


class Denoises(Protocol):
    """What can be sampled from: a `Denoiser`, a guided one, or a closed form."""

    @property
    def alphas_cumprod(self) -> Tensor:
        """``(T,)``, decreasing in the timestep."""

    @property
    def space(self) -> Space:
        """What its samples are: images or latents."""

    @property
    def device(self) -> torch.device:
        """Where the images have to be."""

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """``x0hat`` for ``x = x0 + sigma * eps``, ``(N, C, h, w)``."""

    def under(self, classes: Tensor | None) -> "Denoises":
        """The same under a condition; see `Denoiser.under`."""


Push = Callable[[Denoises, Tensor, float, int, list[torch.Generator]], Tensor | None]
"""``(denoiser, x, sigma, steps that follow this one, generators)`` to what the mean of the next
``x_t`` is moved by, ``(N, C, h, w)`` in units of the step's variance; ``None`` leaves the step."""


@dataclass(frozen=True, eq=False)
class Sampler:
    """Generates batches of images.

    Attributes:
        denoiser: plain or guided.
        solver: ``ancestral`` (DDPM, equation 7, with the posterior variance), ``ddim`` (eta = 0),
            ``dpm++`` (DPM-Solver++ 2M) or ``sde-dpm++`` (the same, with fresh noise at every step).
        steps: noise levels from pure noise to an image.
        gamma: standard deviation of the initial noise; 1 is the model's own.
        skip: share of the timesteps, the noisiest ones, that is skipped.
        push: added to the mean of every ancestral step.
        dtype: precision of the networks; ``None`` is float32.
        spacing: of the timesteps, one of `SPACINGS`.
        learned_variance: whether ancestral steps take the variance that the network predicts; the
            denoiser must be a `Denoiser` that `learns_variance`.
    """

    denoiser: Denoises
    solver: str = "ancestral"
    steps: int = 250
    gamma: float = 1.0
    skip: float = 0.0
    push: Push | None = None
    dtype: torch.dtype | None = None
    spacing: str = "quadratic"
    learned_variance: bool = False

    def under(self, classes: Tensor | None) -> "Sampler":
        """The sampler of N images of these classes, ``(N,)``; see `Denoiser.under`."""
        return replace(self, denoiser=self.denoiser.under(classes))

    def timesteps(self, strength: float = 1.0) -> list[int]:
        """The timesteps to visit, falling; as many as there are evaluations of the denoiser.

        Raises:
            UserError: the strength is out of range.
        """
        if not 0 < strength <= 1:
            raise UserError(f"The strength is above 0 and at most 1, not {strength}.")
        share = (1 - self.skip) * strength
        return timestep_grid(self.denoiser.alphas_cumprod, self.steps, self.spacing, share)

    @torch.no_grad()
    def __call__(
        self,
        seeds: Sequence[int],
        *,
        start: Tensor | None = None,
        strength: float = 1.0,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """One image for each seed, ``(N, 3, H, W)`` float32 in [-1, 1].

        Args:
            seeds: each in ``0 .. 2**32 - 1``; torch's generator takes no more bits in, and larger
                ones would repeat images.
            start: ``(N, 3, H, W)`` in [-1, 1], images to vary: noised to ``strength`` and denoised
                again (SDEdit). ``None`` begins with pure noise.
            strength: share of the way back to pure noise, in (0, 1]; near 0 the start images come
                back, at 1 nothing is left of them. Only with ``start``.

        Raises:
            UserError: a seed or the strength is out of range.
        """
        if any(not 0 <= seed < 2**32 for seed in seeds):
            raise UserError("The seed of an image is a whole number from 0 to 4294967295.")
        timesteps = self.timesteps(strength if start is not None else 1.0)
        kind = "learned_range" if self.learned_variance else "fixed_small"
        scheduler = _scheduler(self.solver, self.denoiser, timesteps, kind)
        alpha_bar = [float(self.denoiser.alphas_cumprod[t].double()) for t in timesteps] + [1.0]
        device, space = self.denoiser.device, self.denoiser.space
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        x_t = self.gamma * draw(generators, space.shape, device)
        if start is not None:
            with precision(device.type, self.dtype):
                x0 = space.to_samples(start.to(device))
            x_t = alpha_bar[0] ** 0.5 * x0 + (1 - alpha_bar[0]) ** 0.5 * x_t
        for i, t in enumerate(timesteps):
            a, previous = alpha_bar[i], alpha_bar[i + 1]
            sigma = ((1 - a) / a) ** 0.5
            x = x_t / a**0.5  # x_t = x / sqrt(1 + sigma^2)
            variance: float | Tensor = posterior_variance(a, previous)
            with precision(device.type, self.dtype):
                output = self._denoise(x, sigma)
                left = len(timesteps) - 1 - i
                push = self.push and self.push(self.denoiser, x, sigma, left, generators)
            if self.learned_variance:
                place = output[:, space.shape[0] :]
                variance = learned_variance(place, a, previous, alpha_bar[max(i - 1, 0)])
            noise = {"generator": generators} if self.solver in STOCHASTIC else {}
            x_t = scheduler.step(output, t, x_t, **noise).prev_sample
            if push is not None:
                x_t = x_t + variance * push
            if on_step is not None:
                on_step(i + 1, len(timesteps))
        with precision(device.type, self.dtype):
            return space.to_images(x_t).clamp(-1, 1)

    def _denoise(self, x: Tensor, sigma: float) -> Tensor:
        """``x0`` within the range of samples, ``(N, C, h, w)``; with the predicted variance as
        further channels where it is learned."""
        if not self.learned_variance:
            return self.denoiser.space.clamp(self.denoiser.denoise(x, sigma).float())
        assert isinstance(self.denoiser, Denoiser)
        x0, variance = self.denoiser.denoise_with_variance(x, sigma)
        return torch.cat([x0, variance], dim=1).float()


def timestep_grid(
    alphas_cumprod: Tensor, steps: int, spacing: str = "quadratic", share: float = 1.0
) -> list[int]:
    """Distinct timesteps, falling to 0 from the given share of the highest.

    ``even`` is the paper's spacing. ``quadratic`` is the closer the less noise (Song et al., DDIM,
    2021, appendix D.2), in the time at which DDPM's linear schedule has the same noise: the levels
    of noise are then the same on every schedule. Measured on a Gaussian mixture whose modes have a
    standard deviation of 0.08: evenly spaced, 25 steps of ``ddim`` give 0.045, 25 of ``dpm++``
    0.075 to 0.086 and 250 of ``ancestral`` 0.069; quadratically 0.070, 0.081 to 0.084 and 0.075.
    Images of one brightness each of standard deviation 0.40, on the cosine schedule: 25 steps of
    ``sde-dpm++`` give 0.39, and 0.26 if the time is the schedule's own.

    Args:
        alphas_cumprod: ``(T,)``, the model's schedule.
        steps: timesteps of the whole way from pure noise; a share of it takes as many as lie there.
        share: of the highest timestep, where to start, in (0, 1]; 1 is pure noise.

    Raises:
        UserError: fewer than one step, or more than there are timesteps.
    """
    timesteps = len(alphas_cumprod)
    if not 1 <= steps <= timesteps:
        raise UserError(f"The model has {timesteps} noise levels; {steps} steps are not possible.")
    highest = round(share * (timesteps - 1))
    quadratic = spacing == "quadratic"
    n = min(max(1, round(steps * (share**0.5 if quadratic else share))), highest + 1)
    if n == 1:
        return [highest]
    places = np.linspace(0, 1, n)
    times = highest * places
    if quadratic:
        own, linear = _log_sigmas(alphas_cumprod), _log_sigmas(linear_alphas_cumprod())
        start = np.interp(own[highest], linear, np.arange(len(linear)))
        levels = np.interp(start * places**2, np.arange(len(linear)), linear)
        times = np.interp(levels, own, np.arange(timesteps))
    rising: list[int] = []
    for i, time in enumerate(times):
        # Near 0 the quadratic steps are shorter than one timestep; the last one is the start.
        t = max(round(time), rising[-1] + 1) if rising else 0
        rising.append(min(t, highest - (n - 1 - i)))
    return [highest, *rising[-2::-1]]


def _log_sigmas(alphas_cumprod: Tensor) -> NDArray[np.float64]:
    a = alphas_cumprod.double().cpu().numpy()
    return np.log((1 - a) / a) / 2


def draw(generators: list[torch.Generator], shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Standard normal noise ``(N, *shape)``, each row from its own generator."""
    return torch.stack([torch.randn(shape, generator=g) for g in generators]).to(device)


def posterior_variance(alpha_bar: float, previous: float) -> float:
    """Variance of ``q(x_previous | x_t, x_0)`` (Ho et al., 2020, equation 7)."""
    return (1 - previous) / (1 - alpha_bar) * (1 - alpha_bar / previous)


def learned_variance(place: Tensor, alpha_bar: float, previous: float, before: float) -> Tensor:
    """The variance of a step that the network predicts (Nichol and Dhariwal, 2021, equation 15).

    Args:
        place: ``(N, C, h, w)``, from -1, the posterior variance, to 1, that of the noise added.
        alpha_bar: of the step's timestep.
        previous: of the timestep that it leads to.
        before: of the timestep before it. The posterior variance of the last step is 0; that of
            the step before stands in its place, as in the published code.
    """
    upper = 1 - alpha_bar / previous
    lower = posterior_variance(*((alpha_bar, previous) if previous < 1 else (before, alpha_bar)))
    share = (place + 1) / 2
    return (share * math.log(upper) + (1 - share) * math.log(max(lower, 1e-20))).exp()


def _scheduler(solver: str, denoiser: Denoises, timesteps: list[int], variance_type: str) -> Any:
    """A scheduler of diffusers on the denoiser's own noise levels, fed with x0.

    DDIM is DPM-Solver++ of first order, which takes any timesteps; `DDIMScheduler` steps by a
    fixed stride and misses the last noise levels unless the steps divide the timesteps.
    """
    schedule = {
        "trained_betas": betas(denoiser.alphas_cumprod.cpu()).tolist(),
        "num_train_timesteps": len(denoiser.alphas_cumprod),
        "prediction_type": "sample",
    }
    if solver == "ancestral":
        scheduler = DDPMScheduler(**schedule, clip_sample=False, variance_type=variance_type)
    else:
        kind = "sde-dpmsolver++" if solver == "sde-dpm++" else "dpmsolver++"
        order = 1 if solver == "ddim" else 2
        scheduler = DPMSolverMultistepScheduler(**schedule, solver_order=order, algorithm_type=kind)
    scheduler.set_timesteps(timesteps=timesteps)
    return scheduler


def checked(sampler: Sampler) -> Sampler:
    """The sampler, after checks that it can run.

    Raises:
        UserError: no such solver, or not that many steps.
    """
    if sampler.solver not in SOLVERS:
        raise UserError(f"There is no solver {sampler.solver!r}: take {', '.join(SOLVERS)}.")
    timestep_grid(sampler.denoiser.alphas_cumprod, sampler.steps)
    if not 0 <= sampler.skip < 1:
        raise UserError(f"A share of {sampler.skip} of the timesteps cannot be skipped.")
    return sampler
