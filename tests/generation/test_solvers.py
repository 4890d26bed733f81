"""Solvers where the truth is known: a mixture in every pixel, images of one brightness."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st
from test_denoiser import tiny_unet

from mincurate.diffusion.denoiser import Denoiser, linear_alphas_cumprod
from mincurate.diffusion.encoded import Encoded
from mincurate.diffusion.load import load_denoiser
from mincurate.diffusion.space import Pixels
from mincurate.generation import samplers, solvers, train_classifier
from mincurate.generation.classifier import ClassifierTraining
from mincurate.generation.guidance import Guided
from mincurate.generation.solvers import Sampler, timestep_grid


def cosine_alphas_cumprod():
    """Nichol and Dhariwal, 2021."""

    def level(t):
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - level((i + 1) / 1000) / level(i / 1000), 0.999) for i in range(1000)]
    return torch.cumprod(1 - torch.tensor(betas, dtype=torch.float64), 0).float()


SCHEDULES = {"linear": linear_alphas_cumprod(), "cosine": cosine_alphas_cumprod()}


class Exact:
    """What the exact denoisers below have in common with a `Denoiser`."""

    device, trained_sigmas, name = torch.device("cpu"), None, "exact"
    timestep, sigmas = Denoiser.timestep, Denoiser.sigmas

    def __init__(self, alphas_cumprod):
        self.alphas_cumprod = alphas_cumprod


# The grid of time steps


@pytest.mark.parametrize("steps", [25, 50, 250])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_grid_begins_at_the_start_level(schedule, steps):
    """987 is the timestep of the published 250-step run of boost-and-skip."""
    model = Brightness(SCHEDULES[schedule])
    assert samplers.ddpm(model, steps=steps).timesteps()[0] == 999
    assert samplers.boost_and_skip(model, steps=steps).timesteps()[0] == 987
    assert samplers.ddpm(model, steps=steps).timesteps(strength=0.6)[0] == 599


@given(
    st.integers(1, 1000),
    st.floats(1e-6, 1),
    st.sampled_from(solvers.SPACINGS),
    st.sampled_from(list(SCHEDULES)),
)
def test_a_grid_falls_from_its_start_to_0(steps, share, spacing, schedule):
    grid = timestep_grid(SCHEDULES[schedule], steps, spacing, share)
    assert grid[0] == round(999 * share) and (len(grid) == 1 or grid[-1] == 0)
    assert all(before > after for before, after in itertools.pairwise(grid))
    assert len(grid) <= max(1, steps) and (share < 1 or len(grid) == steps)


def test_the_even_grid_is_the_published_one():
    stride = 999 / 249
    expected = [round(i * stride) for i in range(250)][::-1]
    assert timestep_grid(SCHEDULES["linear"], 250, "even") == expected


def test_the_quadratic_grid_has_the_same_noise_levels_on_every_schedule():
    levels = [
        np.log([float(((1 - a[t]) / a[t]) ** 0.5) for t in timestep_grid(a, 25)][1:-3])
        for a in SCHEDULES.values()
    ]
    np.testing.assert_allclose(*levels, atol=0.35)  # the cosine schedule is coarse at the top


# Boost-and-skip


class Brightness(Exact):
    """Images of one brightness N(0, 0.3^2), and N(0, 0.05^2) in every pixel besides."""

    space, common, own = Pixels(3, 24), 0.3, 0.05

    def denoise(self, x, sigma):
        mean, d = x.mean((1, 2, 3), keepdim=True), 3 * self.space.side**2
        of_mean = self.common**2 + self.own**2 / d
        shared = of_mean / (of_mean + sigma**2 / d) * mean
        return shared + self.own**2 / (self.own**2 + sigma**2) * (x - mean)

    def ancestral_std(self, grid, gamma):
        """Standard deviation of the brightness after ancestral steps, in closed form."""
        a, d = self.alphas_cumprod.double(), 3 * self.space.side**2
        of_mean = self.common**2 + self.own**2 / d
        variance = gamma**2 / d
        for t, following in zip(grid, [*grid[1:], None], strict=True):
            now, after = float(a[t]), float(a[following]) if following is not None else 1.0
            of_x0 = after**0.5 * (1 - now / after) / (1 - now)
            of_x = (now / after) ** 0.5 * (1 - after) / (1 - now)
            shrunk = of_mean / (of_mean + (1 - now) / now / d) / now**0.5
            noise = solvers.posterior_variance(now, after) / d
            variance = (of_x0 * shrunk + of_x) ** 2 * variance + noise
        return variance**0.5

    def published(self):
        """Plain and boosted, after the published 250 even steps."""
        grid = [round(i * 999 / 249) for i in range(250)][::-1]
        return self.ancestral_std(grid, 1.0), self.ancestral_std(grid[3:], 4.0)


@pytest.mark.parametrize(("solver", "steps"), [("sde-dpm++", 25), ("ancestral", 50)])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_boost_and_skip_widens_as_the_published_250_steps_do(schedule, solver, steps):
    model = Brightness(SCHEDULES[schedule])
    of_plain, of_boosted = model.published()
    expected = of_boosted / of_plain
    assert expected > 1.03
    boosted, plain = (
        make(model, solver=solver, steps=steps)(range(600)).mean((1, 2, 3)).std().item()
        for make in (samplers.boost_and_skip, samplers.ddpm)
    )
    assert boosted / plain == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("steps", [25, 50, 250])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ancestral_steps_keep_the_published_excess_and_lose_spread_the_fewer_they_are(
    schedule, steps
):
    """What the boost adds does not depend on the grid. A step from sigma to sigma / r loses the
    share ln(r) of the variance of what takes shape there, whether boosted or not."""
    model = Brightness(SCHEDULES[schedule])
    plain = model.ancestral_std(samplers.ddpm(model, steps=steps).timesteps(), 1.0)
    sampler = samplers.boost_and_skip(model, steps=steps)
    boosted = model.ancestral_std(sampler.timesteps(), sampler.gamma)
    of_plain, of_boosted = model.published()
    excess = of_boosted**2 - of_plain**2
    assert boosted**2 - plain**2 == pytest.approx(excess, rel=0.05)
    assert boosted / plain == pytest.approx(of_boosted / of_plain, rel=0.1)
    assert plain / of_plain == pytest.approx({25: 0.83, 50: 0.92, 250: 1.0}[steps], abs=0.02)


# Guidance


class Mixture(Exact):
    """Every pixel for itself of a common mode at -0.5, weight 0.9, or a rare one at 0.5."""

    space, own = Pixels(3, 64), 0.2
    centers, weights = torch.tensor([-0.5, 0.5]), torch.tensor([0.9, 0.1])
    rare_class = torch.tensor([0.2, 0.8])
    """p(class | mode)"""

    def modes(self, x, sigma):
        far = (x[..., None] - self.centers).square() / (2 * (self.own**2 + sigma**2))
        return (self.weights.log() - far).softmax(-1)

    def denoise(self, x, sigma):
        means = self.own**2 * x[..., None] + sigma**2 * self.centers
        return (self.modes(x, sigma) * means).sum(-1) / (self.own**2 + sigma**2)

    def encode(self, x, timesteps):
        sigma = self.sigmas[timesteps]
        return Encoded((x,), x, timesteps, sigma[:, None], [x])

    def decode(self, encoded):
        return self.denoise(encoded.residuals[0], float(encoded.embedded[0, 0]))

    def to_x0(self, x, prediction, timesteps):
        return prediction

    def rare_share(self, solver, scale, steps=None):
        def log_prob(encoded):
            modes = self.modes(encoded.residuals[0], float(encoded.embedded[0, 0]))
            return (modes @ self.rare_class).log().sum((1, 2, 3))

        model = Guided(self, log_prob, scale)
        images = Sampler(model, solver, steps or solvers.STEPS[solver])(range(4))
        return (images > 0).float().mean().item()


@pytest.mark.parametrize("solver", solvers.SOLVERS)
def test_guidance_of_scale_one_gives_the_conditional_share_with_every_solver(solver):
    """0.1 * 0.8 / (0.1 * 0.8 + 0.9 * 0.2), within the solver's default number of steps."""
    share = Mixture(SCHEDULES["linear"]).rare_share(solver, 1.0)
    assert share == pytest.approx(0.308, abs=0.01)


@pytest.mark.parametrize(
    ("solver", "limit"), [("ddim", 0.51), ("dpm++", 0.51), ("ancestral", 0.55), ("sde-dpm++", 0.55)]
)
def test_deterministic_and_stochastic_solvers_have_different_limits_of_stronger_guidance(
    solver, limit
):
    """Neither is the tilted density's 0.1 * 0.8^2 / (0.1 * 0.8^2 + 0.9 * 0.2^2) = 0.64."""
    share = Mixture(SCHEDULES["linear"]).rare_share(solver, 2.0)
    assert share == pytest.approx(limit, abs=0.01)


# Schedules that end without any signal


@pytest.fixture
def without_signal(tmp_path):
    scheduler = DDPMScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    assert scheduler.alphas_cumprod[-1] == 0
    DDPMPipeline(unet=tiny_unet(), scheduler=scheduler).save_pretrained(tmp_path / "model")
    return load_denoiser(str(tmp_path / "model"))


@pytest.mark.parametrize("solver", solvers.SOLVERS)
def test_a_schedule_without_signal_at_the_end_gives_images(without_signal, solver):
    sampler = samplers.ddpm(without_signal, steps=8, solver=solver)
    assert sampler.timesteps()[0] == 999 and without_signal.sigmas.isfinite().all()
    images = sampler(range(2))
    assert torch.isfinite(images).all() and images.std() > 0.1


def test_a_classifier_learns_on_a_schedule_without_signal_at_the_end(without_signal, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (24, 3, 16, 16), dtype=np.uint8)
    plan = ClassifierTraining(num_classes=2, steps=6, batch_size=8, width=8, timesteps="uniform")
    found = train_classifier.train(
        without_signal, images, np.arange(24) % 2, tmp_path / "classifier", plan
    )
    assert all(np.isfinite(point["train_loss"]) for point in found.record["curve"])
    assert np.isfinite(found.record["levels"][-1]["log_loss"])
    assert replace(plan, timesteps="quadratic") != plan
