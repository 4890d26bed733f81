"""One call for every kind of model, checked against closed forms and diffusers itself."""

import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

from mincurate.diffusion import denoiser
from mincurate.diffusion.denoiser import Denoiser


def tiny_unet(channels=3, out=None, size=16, **extra):
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=out or channels,
        **{
            "block_out_channels": (16, 16),
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "down_block_types": ("DownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "UpBlock2D"),
            "add_attention": False,
        }
        | extra,
    ).eval()


class Exact(torch.nn.Module):
    """The exact network for images distributed as N(0, s^2) in every pixel."""

    def __init__(self, kind, alphas_cumprod, s, learned_variance=False):
        super().__init__()
        self.config = type("Config", (), {"in_channels": 3, "sample_size": 8})()
        self.kind, self.a, self.s, self.double = kind, alphas_cumprod, s, learned_variance
        self.p = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x_t, t):
        a = self.a[t].view(-1, 1, 1, 1)
        x0 = a.sqrt() * self.s**2 / (a * self.s**2 + 1 - a) * x_t
        eps = (x_t - a.sqrt() * x0) / (1 - a).sqrt()
        out = {"sample": x0, "epsilon": eps, "v_prediction": a.sqrt() * eps - (1 - a).sqrt() * x0}
        prediction = out[self.kind]
        if self.double:
            prediction = torch.cat([prediction, torch.full_like(prediction, 7.0)], dim=1)
        return type("Output", (), {"sample": prediction})()


SCHEDULES = ["linear", "squaredcos_cap_v2", "scaled_linear"]


@pytest.mark.parametrize("kind", denoiser.PREDICTION_TYPES)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("learned_variance", [False, True])
def test_every_prediction_gives_the_posterior_mean(kind, schedule, learned_variance):
    alphas_cumprod = DDPMScheduler(beta_schedule=schedule).alphas_cumprod
    s = 0.2
    net = Exact(kind, alphas_cumprod, s, learned_variance)
    model = Denoiser(net, alphas_cumprod, kind, "exact", 8)
    sigma = model.nearest_sigma(0.3)
    x = torch.randn(4, 3, 8, 8) * 0.3
    expected = s**2 / (s**2 + sigma**2) * x
    torch.testing.assert_close(model.denoise(x, sigma), expected.clamp(-1, 1), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("sigma", [0.05, 0.16, 1.0, 6.37])
def test_noise_is_set_by_sigma_whatever_the_schedule(schedule, sigma):
    model = Denoiser(None, DDPMScheduler(beta_schedule=schedule).alphas_cumprod, "epsilon", "", 8)
    assert model.nearest_sigma(sigma) == pytest.approx(sigma, rel=0.05)


def test_the_papers_noise_level_is_step_605_of_the_linear_schedule():
    model = Denoiser(None, denoiser.linear_alphas_cumprod(), "epsilon", "", 256)
    assert abs(model.timestep(6.37) - 605) <= 1


def test_denoise_is_what_diffusers_calls_the_original_sample():
    unet = tiny_unet()
    schedule = DDIMScheduler(clip_sample=True)
    model = Denoiser(unet, schedule.alphas_cumprod, "epsilon", "", 16)
    sigma = model.nearest_sigma(0.5)
    t = model.timestep(sigma)
    x = torch.randn(2, 3, 16, 16)
    x_t = x / math.sqrt(1 + sigma**2)
    schedule.set_timesteps(1000)
    with torch.no_grad():
        step = schedule.step(unet(x_t, t).sample, t, x_t)
        ours = model.denoise(x, sigma)
    torch.testing.assert_close(ours, step.pred_original_sample, atol=1e-5, rtol=1e-4)


def test_a_model_on_pixel_blocks_returns_images():
    model = Denoiser(
        tiny_unet(12, size=8), denoiser.linear_alphas_cumprod(), "epsilon", "blocks", 16
    )
    assert model.patch == 2
    assert model.denoise(torch.zeros(2, 3, 16, 16), model.nearest_sigma(0.1)).shape == (
        2,
        3,
        16,
        16,
    )


def test_features_are_those_the_whole_network_computes():
    model = Denoiser(tiny_unet(), denoiser.linear_alphas_cumprod(), "epsilon", "", 16)
    seen = []
    model.unet.mid_block.register_forward_hook(lambda m, i, o: seen.append(o))
    x, sigma = torch.randn(2, 3, 16, 16), model.nearest_sigma(0.05)
    with torch.no_grad():
        features = model.features(x, sigma)
        model.denoise(x, sigma)
    torch.testing.assert_close(features[-1], seen[1])
    assert [f.shape[1] for f in features] == [16] * len(features)


@pytest.mark.parametrize("center", [False, True])
def test_the_two_halves_make_the_whole_also_with_skip_blocks(center):
    unet = tiny_unet(
        center_input_sample=center,
        block_out_channels=(32, 32),
        down_block_types=("SkipDownBlock2D", "AttnSkipDownBlock2D"),
        up_block_types=("AttnSkipUpBlock2D", "SkipUpBlock2D"),
    )
    model = Denoiser(unet, denoiser.linear_alphas_cumprod(), "epsilon", "", 16)
    x, timesteps = torch.randn(2, 3, 16, 16), torch.tensor([3, 700])
    with torch.no_grad():
        halves = model.decode(model.encode(x, timesteps))
        torch.testing.assert_close(halves, model.predict(x, timesteps))
