"""Samplers against a Gaussian mixture, of which score, classifier and conditionals are known."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from test_denoiser import tiny_unet

from mincurate.diffusion.denoiser import Denoiser, betas, linear_alphas_cumprod
from mincurate.diffusion.encoded import Encoded
from mincurate.diffusion.space import Pixels
from mincurate.errors import UserError
from mincurate.features.perceptual import Perceptual
from mincurate.generation import samplers, solvers
from mincurate.generation.classifier import Classifier
from mincurate.generation.guidance import gradient_of, guided
from mincurate.generation.solvers import Sampler

SEEDS = range(1500)
S = 0.08
CENTERS = (-0.5, 0.1, 0.5)
WEIGHTS = (0.6, 0.3, 0.1)
# P(class | mode); the conditionals are over modes, so that no class is a mode.
CLASSES = ((0.9, 0.1), (0.6, 0.4), (0.1, 0.9))


@dataclass(eq=False)
class Mixture:
    """An exact denoiser of 2 x 2 px images, N(center, s^2) in every pixel.

    Its encoder half hands the noised image on as the only feature map.
    """

    centers: tuple = CENTERS
    weights: tuple = WEIGHTS
    s: float = S
    space: Pixels = field(default_factory=lambda: Pixels(3, 2))
    name: str = "mixture"
    trained_sigmas: None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    alphas_cumprod: torch.Tensor = field(default_factory=linear_alphas_cumprod)

    timestep = Denoiser.timestep
    sigmas = Denoiser.sigmas

    def mode_log_probs(self, x, sigma):
        c, w = torch.tensor(self.centers), torch.tensor(self.weights)
        far = (x[:, None] - c.view(-1, 1, 1, 1)).square().sum((2, 3, 4))
        return (w.log() - far / (2 * (self.s**2 + sigma**2))).log_softmax(1)

    def denoise(self, x, sigma):
        c = torch.tensor(self.centers).view(-1, 1, 1, 1)
        means = (self.s**2 * x[:, None] + sigma**2 * c) / (self.s**2 + sigma**2)
        return (self.mode_log_probs(x, sigma).exp()[..., None, None, None] * means).sum(1)

    def log_prob(self, x, sigma):
        return (self.mode_log_probs(x, sigma).exp() @ torch.tensor(CLASSES)).log()

    def encode(self, x, timesteps):
        sigma = self.sigmas[timesteps].view(-1, 1, 1, 1)
        return Encoded((x,), x / (1 + sigma**2).sqrt(), timesteps, sigma.flatten(1), [x])

    def decode(self, encoded):
        return self.denoise(encoded.residuals[0], float(encoded.embedded[0, 0]))

    def to_x0(self, x, prediction, timesteps):
        return prediction

    def content_hash(self):
        return "mixture"


class ExactHead(torch.nn.Module):
    """p(class | x, sigma), in the place of a trained head."""

    def forward(self, maps, embedded):
        return Mixture().log_prob(maps[0], float(embedded[0, 0])), None


EXACT = Classifier(ExactHead(), 2, (), "mixture")


def modes(images):
    """Which mode each image is of."""
    return (images.mean((1, 2, 3))[:, None] - torch.tensor(CENTERS)).abs().argmin(1)


def shares(images):
    return torch.bincount(modes(images), minlength=3) / len(images)


def assert_is_mixture(images, weights, *, tolerance=0.035):
    """Proportions of the modes, and mean and variance within each."""
    kind = modes(images)
    for k, (center, weight) in enumerate(zip(CENTERS, weights, strict=True)):
        members = images[kind == k]
        assert len(members) / len(images) == pytest.approx(weight, abs=tolerance)
        assert members.mean().item() == pytest.approx(center, abs=0.012)
        assert members.std().item() == pytest.approx(S, rel=0.12)


SOLVERS = [("ancestral", 250), ("ddim", 250), ("dpm++", 25), ("sde-dpm++", 25)]


@pytest.mark.parametrize(("solver", "steps"), SOLVERS)
def test_plain_sampling_gives_the_mixture(solver, steps):
    assert_is_mixture(samplers.ddpm(Mixture(), solver=solver, steps=steps)(SEEDS), WEIGHTS)


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize(("solver", "steps"), SOLVERS)
def test_guidance_of_scale_one_gives_the_true_conditional_distribution(solver, steps, target):
    joint = np.array(WEIGHTS) * np.array(CLASSES)[:, target]
    sampler = samplers.minority(
        Mixture(), EXACT, target_class=target, guidance_scale=1.0, solver=solver, steps=steps
    )
    assert_is_mixture(sampler(SEEDS), joint / joint.sum())


def test_all_classes_together_guide_nowhere():
    sampler = samplers.minority(
        Mixture(), EXACT, target_class=(0, 1), guidance_scale=3.0, solver="ddim", steps=20
    )
    plain = samplers.ddpm(Mixture(), solver="ddim", steps=20)
    torch.testing.assert_close(sampler(range(50)), plain(range(50)), atol=1e-4, rtol=0)


def test_guided_mean_and_guided_denoiser_agree_the_better_the_more_steps():
    """The paper writes guidance as ``mean += variance * w * grad_{x_t} log p`` (algorithm 1)."""
    by_denoiser = guided(Mixture(), EXACT, target_class=1, guidance_scale=1.0)

    def push(denoiser, x, sigma, left, generators):  # x_t = x / sqrt(1 + sigma^2)
        gradient = gradient_of(lambda y: Mixture().log_prob(y, sigma)[:, 1], x)
        return (1 + sigma**2) ** 0.5 * gradient

    def difference(steps):
        # The same seeds: the two differ by their discretisation alone.
        a = Sampler(by_denoiser, "ancestral", steps)(range(300))
        b = Sampler(Mixture(), "ancestral", steps, push=push)(range(300))
        return (a - b).abs().mean().item(), (shares(a) - shares(b)).abs().max().item()

    coarse, fine = difference(25), difference(250)
    assert fine[0] < 0.4 * coarse[0]
    assert fine[1] < 0.03


def test_both_forms_of_guidance_make_the_same_step_to_first_order():
    """The shifts of the mean, one noise level apart: their ratio tends to 1."""
    a = linear_alphas_cumprod().double()
    t = 400
    for gap, tolerance in ((100, 0.6), (10, 0.06), (1, 0.01)):
        previous = a[t - gap]
        # mean = c0 * x0hat + ...; x0hat moves by sigma^2 g_x = (1 - a) / a * sqrt(a) * g_{x_t}
        c0 = previous.sqrt() * (1 - a[t] / previous) / (1 - a[t])
        by_denoiser = c0 * (1 - a[t]) / a[t] * a[t].sqrt()
        by_mean = solvers.posterior_variance(float(a[t]), float(previous))
        assert by_mean / float(by_denoiser) == pytest.approx(1, abs=tolerance)


def test_ddim_is_that_of_diffusers():
    scheduler = DDIMScheduler(
        trained_betas=betas(linear_alphas_cumprod()).tolist(),
        prediction_type="sample",
        clip_sample=False,
    )
    # 1000 steps of 1000: the only grid that both walk through.
    scheduler.set_timesteps(1000)
    generators = [torch.Generator().manual_seed(i) for i in range(4)]
    x_t = solvers.draw(generators, (3, 2, 2), torch.device("cpu"))
    a = Mixture().alphas_cumprod
    for t in scheduler.timesteps:
        x0 = Mixture().denoise(x_t / a[t] ** 0.5, float(((1 - a[t]) / a[t]) ** 0.5))
        x_t = scheduler.step(x0, t, x_t).prev_sample
    ours = Sampler(Mixture(), "ddim", 1000)(range(4))
    torch.testing.assert_close(ours, x_t, atol=2e-4, rtol=0)


def network():
    unet = tiny_unet().requires_grad_(False)
    return Denoiser(unet, linear_alphas_cumprod(), "epsilon", "tiny", 16)


PIXELS = Perceptual("pixels", "", lambda x: [x])


@pytest.mark.parametrize(
    "name", ["ancestral", "ddim", "dpm++", "sde-dpm++", "self-guided", "start"]
)
def test_an_image_depends_on_its_seed_alone(name):
    model, more = network(), {}
    if name == "self-guided":
        sampler = samplers.self_guided(model, PIXELS, steps=6, every=2)
    elif name == "start":
        sampler = samplers.ddpm(model, steps=8)
        more = {"start": torch.zeros(5, 3, 16, 16), "strength": 0.5}
    else:
        sampler = samplers.ddpm(model, steps=6, solver=name)
    seeds = [3, 11, 5, 2**32 - 1, 0]
    together = sampler(seeds, **more)
    if more:
        more["start"] = more["start"][:1]
    for i, seed in enumerate(seeds):
        torch.testing.assert_close(sampler([seed], **more)[0], together[i], atol=1e-3, rtol=0)
    distances = torch.cdist(together.flatten(1), together.flatten(1))
    assert distances[~torch.eye(5, dtype=bool)].min() > 1


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_would_repeat_another_is_refused(seed):
    with pytest.raises(UserError, match="seed"):
        samplers.ddpm(Mixture(), steps=2)([seed])


def test_global_randomness_is_neither_used_nor_changed():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = samplers.ddpm(Mixture(), steps=5)([1, 2])
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(samplers.ddpm(Mixture(), steps=5)([1, 2]), first)


@pytest.mark.parametrize("solver", solvers.SOLVERS)
def test_strength_goes_from_the_start_image_to_a_fresh_one(solver):
    sampler = samplers.ddpm(Mixture(), solver=solver, steps=100)
    start = torch.full((400, 3, 2, 2), CENTERS[2]) + S * torch.randn(
        400, 3, 2, 2, generator=torch.Generator().manual_seed(0)
    )
    kept = sampler(range(400), start=start, strength=1e-4)
    assert (kept - start).abs().max() < 0.05
    distances = []
    for strength in (0.05, 0.2, 0.5):
        images = sampler(range(400), start=start, strength=strength)
        distances.append((images - start).abs().mean().item())
    assert distances == sorted(distances)
    forgotten = sampler(range(400), start=start, strength=1.0)
    fresh = sampler(range(400))
    assert (shares(forgotten) - shares(fresh)).abs().max() < 0.03
    assert shares(forgotten)[2] < 0.2


def test_the_strength_sets_the_evaluations():
    sampler = samplers.ddpm(Mixture(), steps=100)
    assert len(sampler.timesteps(1.0)) == 100
    assert len(sampler.timesteps(0.25)) == pytest.approx(50, abs=1)
    assert sampler.timesteps(1e-9) == [0]
    with pytest.raises(UserError, match="strength"):
        sampler.timesteps(0)


def test_steps_are_reported():
    seen = []
    samplers.ddpm(Mixture(), steps=4)([1], on_step=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


FAR = Mixture(centers=(0.0, 0.1, 0.75), weights=(0.55, 0.43, 0.02), s=0.08)


def rare(images):
    return (images.mean((1, 2, 3)) > 0.45).float().mean().item()


def test_boost_and_skip_raises_the_share_of_the_rare_mode():
    plain = rare(samplers.ddpm(FAR, steps=50)(SEEDS))
    assert plain == pytest.approx(0.02, abs=0.01)
    # In so few pixels the noise begins to tell the modes apart at t = 600, not at 990.
    assert rare(samplers.boost_and_skip(FAR, gamma=4, skip=0.4, steps=50)(SEEDS)) > 2 * plain


def test_without_boost_and_skip_nothing_is_changed():
    plain = samplers.ddpm(FAR, steps=20)(range(10))
    assert torch.equal(samplers.boost_and_skip(FAR, gamma=1, skip=0.0, steps=20)(range(10)), plain)


def test_self_guidance_raises_the_share_of_the_rare_mode():
    raw = Perceptual("pixels", "", lambda x: [x])
    object.__setattr__(raw, "features", lambda x: [x])
    plain = samplers.ddpm(FAR, steps=50)(SEEDS)
    guided_ = samplers.self_guided(FAR, raw, guidance_scale=2.0, every=1, steps=50)(SEEDS)
    assert rare(guided_) > 2 * rare(plain)


def test_images_stay_in_range_whatever_the_scale():
    sampler = samplers.minority(
        Mixture(), EXACT, target_class=1, guidance_scale=500.0, steps=10, solver="dpm++"
    )
    images = sampler(range(20))
    assert torch.isfinite(images).all() and images.abs().max() <= 1


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"solver": "euler"}, "solver"),
        ({"steps": 0}, "steps"),
        ({"steps": 1001}, "steps"),
        ({"skip": 1.0}, "skipped"),
    ],
)
def test_a_sampler_that_cannot_run_is_refused(change, word):
    with pytest.raises(UserError, match=word):
        samplers.boost_and_skip(Mixture(), **{"steps": 10, **change})


def test_a_model_of_some_noise_levels_does_not_generate():
    scorer = replace(network(), trained_sigmas=(0.1, 1.5))
    with pytest.raises(UserError, match="all of them"):
        samplers.ddpm(scorer)
    with pytest.raises(UserError, match="all of them"):
        guided(scorer, EXACT, target_class=1, guidance_scale=1.0)
