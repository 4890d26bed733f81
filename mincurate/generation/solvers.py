"""Solvers of the reverse process: they ask for nothing but ``denoise(x, sigma)``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from mincurate.compute.device import precision
from mincurate.diffusion.denoiser import Denoises, betas
from mincurate.errors import UserError

SOLVERS = ("ancestral", "ddim", "dpm++", "sde-dpm++")
STOCHASTIC = ("ancestral", "sde-dpm++")
"""Solvers that add noise at every step, which corrects errors of earlier steps."""
STEPS = {"ancestral": 250, "ddim": 50, "dpm++": 25, "sde-dpm++": 25}
"""Default number of steps of each solver, measured by `benchmarks/sampling.py`."""
Push = Callable[[Tensor, float, int, list[torch.Generator]], Tensor | None]
"""``(x, sigma, index of the step, generators)`` to what the mean of the next ``x_t`` is moved by,
``(N, 3, H, W)`` in units of the step's variance; ``None`` leaves the step as it is."""
OnStep = Callable[[int, int], None]
"""Called after every step with the number done and the number in all."""


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
    """

    denoiser: Denoises
    solver: str = "ancestral"
    steps: int = 250
    gamma: float = 1.0
    skip: float = 0.0
    push: Push | None = None
    dtype: torch.dtype | None = None

    def timesteps(self, strength: float = 1.0) -> list[int]:
        """The timesteps to visit, falling; as many as there are evaluations of the denoiser.

        Raises:
            UserError: there is no such strength.
        """
        if not 0 < strength <= 1:
            raise UserError(f"The strength lies above 0 and at most at 1; {strength} does not.")
        grid = timestep_grid(len(self.denoiser.alphas_cumprod), self.steps)
        highest = (1 - self.skip) * strength * grid[0]
        return [t for t in grid if t <= highest] or grid[-1:]

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
        scheduler = _scheduler(self.solver, self.denoiser, timesteps)
        alpha_bar = self.denoiser.alphas_cumprod.cpu().double()
        device, side = self.denoiser.device, self.denoiser.image_size
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        x_t = self.gamma * draw(generators, (3, side, side), device)
        if start is not None:
            first = float(alpha_bar[timesteps[0]])
            x_t = first**0.5 * start.to(device) + (1 - first) ** 0.5 * x_t
        for i, t in enumerate(timesteps):
            a = float(alpha_bar[t])
            sigma = ((1 - a) / a) ** 0.5
            x = x_t / a**0.5  # x_t = x / sqrt(1 + sigma^2)
            with precision(device.type, self.dtype):
                x0 = self.denoiser.denoise(x, sigma).float().clamp(-1, 1)
                push = self.push and self.push(x, sigma, i, generators)
            noise = {"generator": generators} if self.solver in STOCHASTIC else {}
            x_t = scheduler.step(x0, t, x_t, **noise).prev_sample
            if push is not None:
                previous = float(alpha_bar[timesteps[i + 1]]) if i + 1 < len(timesteps) else 1.0
                x_t = x_t + posterior_variance(a, previous) * push
            if on_step is not None:
                on_step(i + 1, len(timesteps))
        return x_t.clamp(-1, 1)


def timestep_grid(timesteps: int, steps: int) -> list[int]:
    """``steps`` distinct timesteps, falling from the highest to 0, the closer the less noise.

    They are spaced quadratically (Song et al., DDIM, 2021, appendix D.2). Measured on a Gaussian
    mixture whose modes have a standard deviation of 0.08: evenly spaced, 25 steps of ``ddim`` give
    0.045, 25 of ``dpm++`` 0.075 to 0.086 and 250 of ``ancestral`` 0.069; quadratically 0.070,
    0.081 to 0.084 and 0.075.

    Raises:
        UserError: fewer than one step, or more than there are timesteps.
    """
    if not 1 <= steps <= timesteps:
        raise UserError(f"The model has {timesteps} noise levels; {steps} steps are not possible.")
    rising: list[int] = []
    for i in range(steps):
        t = round((timesteps - 1) * (i / (steps - 1)) ** 2) if steps > 1 else timesteps - 1
        # Near 0 the quadratic steps are shorter than one timestep.
        rising.append(max(t, rising[-1] + 1) if rising else t)
    return rising[::-1]


def draw(generators: list[torch.Generator], shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Standard normal noise ``(N, *shape)``, each row from its own generator."""
    return torch.stack([torch.randn(shape, generator=g) for g in generators]).to(device)


def posterior_variance(alpha_bar: float, previous: float) -> float:
    """Variance of ``q(x_previous | x_t, x_0)`` (Ho et al., 2020, equation 7)."""
    return (1 - previous) / (1 - alpha_bar) * (1 - alpha_bar / previous)


def _scheduler(solver: str, denoiser: Denoises, timesteps: list[int]) -> Any:
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
        scheduler = DDPMScheduler(**schedule, clip_sample=False, variance_type="fixed_small")
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
    timestep_grid(len(sampler.denoiser.alphas_cumprod), sampler.steps)
    if not 0 <= sampler.skip < 1:
        raise UserError(f"A share of {sampler.skip} of the timesteps cannot be skipped.")
    return sampler
