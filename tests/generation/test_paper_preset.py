"""The paper's sampling against its published arithmetic: same network, same noise."""

import numpy as np
import pytest
import torch
from test_denoiser import tiny_unet

from mincurate.diffusion.denoiser import Denoiser, linear_alphas_cumprod
from mincurate.errors import UserError
from mincurate.features import perceptual as perception
from mincurate.features.perceptual import Perceptual
from mincurate.generation import classifier as classifiers
from mincurate.generation import samplers, train_classifier
from mincurate.generation.classifier import Classifier, ClassifierTraining
from mincurate.generation.guided_classes import Target
from mincurate.pipelines.augment_settings import AugmentSettings, GuideSettings
from mincurate.pipelines.score_settings import ScoreSettings
from mincurate.progress import SILENT
from mincurate.ranking import minority_score
from mincurate.ranking.minority_score import Scorer

PIXELS = Perceptual("pixels", "", lambda x: [x])


def network(out):
    unet = tiny_unet(out=out).requires_grad_(False)
    return Denoiser(unet, linear_alphas_cumprod(), "epsilon", "tiny", 16)


def random_classifier(model):
    training = ClassifierTraining(num_classes=100, loss="cross_entropy", width=16)
    head = classifiers.new_head(model, training, 0).eval()
    with torch.no_grad():  # an untrained head says nearly nothing
        for weights in head.parameters():
            weights.mul_(2)
    return Classifier(head, 100, (), model.content_hash())


class Published:
    """The reverse process of guided-diffusion on a respaced schedule, for one image."""

    def __init__(self, model, steps, seed):
        self.model = model
        original = model.alphas_cumprod.double().numpy()
        self.timesteps = [round(i * 999 / (steps - 1)) for i in range(steps)]
        a = original[self.timesteps]
        previous = np.append(1.0, a[:-1])
        self.betas = 1 - a / previous
        self.a, self.variance = a, self.betas * (1 - previous) / (1 - a)
        self.log_variance_clipped = np.log(np.append(self.variance[1], self.variance[1:]))
        self.coef1 = self.betas * np.sqrt(previous) / (1 - a)
        self.coef2 = (1 - previous) * np.sqrt(1 - self.betas) / (1 - a)
        self.generator = torch.Generator().manual_seed(seed)

    def noise(self):
        return torch.randn(1, 3, 16, 16, generator=self.generator)

    def predict(self, x_t, i):
        """x0, unclamped, and what the network says of the variance, if anything."""
        output = self.model.unet(x_t, torch.tensor([self.timesteps[i]])).sample
        eps = output[:, :3]
        x0 = (1 / self.a[i]) ** 0.5 * x_t - (1 / self.a[i] - 1) ** 0.5 * eps
        return x0, output[:, 3:]

    def sample(self, shift):
        """``shift(x_t, i)`` is what the mean moves by, in units of the variance."""
        x_t = self.noise()
        for i in range(len(self.timesteps))[::-1]:
            with torch.no_grad():
                x0, place = self.predict(x_t, i)
            if place.shape[1]:
                share = (place + 1) / 2
                log_variance = share * np.log(self.betas[i])
                log_variance = log_variance + (1 - share) * self.log_variance_clipped[i]
                variance = log_variance.exp()
            else:
                variance = torch.tensor(self.variance[i])
                log_variance = torch.tensor(self.log_variance_clipped[i])
            mean = self.coef1[i] * x0.clamp(-1, 1) + self.coef2[i] * x_t
            mean = mean + variance * shift(x_t, i)
            x_t = mean + (0.5 * log_variance).exp() * self.noise() if i else mean
            x_t = x_t.float()
        return x_t.clamp(-1, 1)


@pytest.mark.parametrize("out", [3, 6], ids=["fixed variance", "learned variance"])
def test_the_preset_is_the_published_arithmetic(out):
    model = network(out)
    classifier = random_classifier(model)
    settings = AugmentSettings(preset="paper").settled()
    published = Published(model, 250, seed=7)

    def shift(x_t, i):
        x_t = x_t.detach().requires_grad_()
        t = torch.tensor([published.timesteps[i]])
        encoded = model.encode(x_t / model.alphas_cumprod[t] ** 0.5, t)
        classes, _ = classifier.head(encoded.maps, encoded.embedded)
        return 3.5 * torch.autograd.grad(classes[:, 99].sum(), x_t)[0]

    sampler = samplers.build(
        settings.sampler, model, solver=settings.solver, steps=settings.steps,
        guidance_scale=settings.guidance_scale, target=Target((99,)), classifier=classifier,
        paper=settings.paper,
    )  # fmt: skip
    expected = published.sample(shift)
    torch.testing.assert_close(sampler([7]), expected, atol=1e-4, rtol=0)
    plain = Published(model, 250, seed=7).sample(lambda x_t, i: 0.0)
    assert (expected - plain).abs().max() > 0.01


@pytest.mark.parametrize("clamp", [True, False])
def test_self_guidance_is_the_published_arithmetic_with_and_without_clamping(clamp):
    """``p_ratio`` 0.8 and ``inter_rate`` 5 are of the indices of the respaced timesteps."""
    model, features = network(3), PIXELS.features
    published = Published(model, 50, seed=3)
    t_s = published.timesteps[int(50 * 0.8)]
    a_s = model.alphas_cumprod[t_s].double()

    def limited(x):
        return x.clamp(-1, 1) if clamp else x

    def shift(x_t, i):
        if i % 5:
            return 0.0
        eps = published.noise()
        x_t = x_t.detach().requires_grad_()
        x0 = limited(published.predict(x_t, i)[0])
        x_s = (a_s**0.5 * x0 + (1 - a_s) ** 0.5 * eps).float()
        with torch.no_grad():
            predicted = model.unet(x_s, torch.tensor([t_s])).sample
            again = limited((x_s - (1 - a_s) ** 0.5 * predicted) / a_s**0.5).float()
        distance = perception.distance(features(x0.float()), features(again)).sum()
        g = torch.autograd.grad(distance, x_t)[0]
        return 0.3 * g / g.abs().max()

    more = {"clamp": True} if clamp else {}  # the published code clamps neither
    sampler = samplers.self_guided(model, PIXELS, steps=50, paper=True, **more)
    torch.testing.assert_close(sampler([3]), published.sample(shift), atol=1e-4, rtol=0)


def test_the_preset_fills_in_the_papers_values_and_no_others():
    settings = AugmentSettings(preset="paper").settled()
    assert (settings.solver, settings.steps) == ("ancestral", 250)
    assert (settings.guidance_scale, settings.loss) == (3.5, "cross_entropy")
    assert settings.classifier_timesteps == "uniform"
    own = AugmentSettings(preset="paper", steps=50, guidance_scale=2.0, loss="ordinal").settled()
    assert (own.steps, own.guidance_scale, own.loss) == (50, 2.0, "ordinal")
    assert GuideSettings(preset="paper").classifier_loss == "cross_entropy"
    assert own.identity([9])["preset"] == "paper"
    assert (settings.by, settings.top_fraction) == ("minority", 0.01)
    own = AugmentSettings(preset="paper", by="rarity", top_fraction=0.1).settled()
    assert (own.by, own.top_fraction) == ("rarity", 0.1)
    plain = AugmentSettings().settled()
    assert (plain.by, plain.top_fraction) == ("rarity", 0.1)
    own = AugmentSettings(preset="paper", solver="ddim").settled()
    assert (own.solver, own.steps, own.guidance_scale) == ("ddim", 50, 3.5)
    sampler = samplers.ddpm(network(3), solver="ddim", steps=50, paper=True)
    assert sampler.spacing == "quadratic"
    with pytest.raises(UserError, match="no preset 'published'"):
        AugmentSettings(preset="published").settled()


def test_the_preset_of_a_score_fills_in_the_papers_values_and_no_others():
    settings = ScoreSettings(preset="paper").settled()
    assert (settings.n_draws, settings.num_classes, settings.rank_by) == (5, 100, "minority")
    assert settings.perceptual == "lpips-vgg"
    own = {"n_draws": 6, "num_classes": 10, "rank_by": "embedding", "perceptual": "unet"}
    assert ScoreSettings(preset="paper", **own).settled().record().items() >= own.items()
    plain = ScoreSettings().settled()
    assert plain.record().items() >= (own | {"perceptual": "auto"}).items()
    with pytest.raises(UserError, match="no preset 'published'"):
        ScoreSettings(preset="published").settled()


def test_the_score_of_the_preset_is_the_published_arithmetic(tmp_path):
    """``perturb_t`` 60 of 100 respaced timesteps, ``n_iter`` 5, LPIPS, the mean."""
    lpips = pytest.importorskip("lpips")
    settings, model = ScoreSettings(preset="paper").settled(), network(6)
    torch.manual_seed(0)
    published = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False).eval()
    trunk = {f"features.{k.split('.', 1)[1]}": v for k, v in published.net.state_dict().items()}
    torch.save(trunk, tmp_path / "trunk.pt")
    distance = perception.load_perceptual(f"lpips-squeeze@{tmp_path / 'trunk.pt'}")
    sigma = model.nearest_sigma(settings.sigma_per_pixel * 256)
    scorer = Scorer(model, distance, sigma, settings.n_draws, seed=0)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    names = ["a", "b", "c", "d"]

    t = round(60 * 999 / 99)
    a = model.alphas_cumprod.double().numpy()[t]
    x0 = torch.tensor(pixels) / 127.5 - 1
    losses = torch.zeros(4, 5)
    for i in range(5):
        eps = minority_score.noise(names, 5, (3, 32, 32), 0)[:, i]
        x_t = (a**0.5 * x0 + (1 - a) ** 0.5 * eps).float()
        with torch.no_grad():
            predicted = model.unet(x_t, torch.tensor([t])).sample[:, :3]
            x0hat = (1 / a) ** 0.5 * x_t - (1 / a - 1) ** 0.5 * predicted
            losses[:, i] = published(x0, x0hat.clamp(-1, 1).float()).flatten()
    scores = scorer(pixels, names).draws.mean(1)
    np.testing.assert_allclose(scores, losses.mean(1), atol=1e-4)
    assert scores.min() > 0.01


@pytest.mark.parametrize(("timesteps", "below_quarter"), [("uniform", 0.25), ("quadratic", 0.5)])
def test_the_classifier_draws_timesteps_uniformly_or_as_the_samplers_are_spaced(
    tmp_path, timesteps, below_quarter
):
    plan = ClassifierTraining(num_classes=2, steps=1, batch_size=4000, timesteps=timesteps)
    images = np.zeros((4, 3, 16, 16), np.uint8)
    training = train_classifier.HeadTrainer(
        network(3), images, np.array([0, 1, 0, 1]), tmp_path, plan, None, SILENT
    )
    _, drawn = training._draw(torch.Generator().manual_seed(0))
    assert (drawn < 250).float().mean().item() == pytest.approx(below_quarter, abs=0.03)
    assert drawn.min() >= 0 and drawn.max() <= 999
