"""One call for every kind of model, checked against closed forms and diffusers itself."""

import json
import math
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel

from mincurate.diffusion import denoiser
from mincurate.diffusion.denoiser import Denoiser
from mincurate.errors import UserError


def tiny_unet(channels=3, out=None, size=16, **extra):
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=out or channels,
        block_out_channels=(16, 16),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        add_attention=False,
        **extra,
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
        found = out[self.kind]
        if self.double:
            found = torch.cat([found, torch.full_like(found, 7.0)], dim=1)
        return type("Output", (), {"sample": found})()


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


def test_saving_and_loading_changes_nothing(tmp_path):
    model = Denoiser(tiny_unet(), denoiser.linear_alphas_cumprod(), "v_prediction", "m", 16)
    model.save(tmp_path / "m")
    again = denoiser.load(str(tmp_path / "m"))
    sigma = model.nearest_sigma(0.16)
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(again.denoise(x, sigma), model.denoise(x, sigma))
    assert again.prediction_type == "v_prediction" and again.image_size == 16
    assert denoiser.load(str(tmp_path / "m")).content_hash() == again.content_hash()
    assert DDPMPipeline.from_pretrained(tmp_path / "m").unet.config.in_channels == 3
    assert list(tmp_path.rglob("*.safetensors")) and not list(tmp_path.rglob("*.bin"))


def test_a_bare_unet_folder_is_read_with_the_linear_schedule(tmp_path):
    tiny_unet().save_pretrained(tmp_path)
    model = denoiser.load(str(tmp_path))
    torch.testing.assert_close(model.alphas_cumprod, denoiser.linear_alphas_cumprod())


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


class Boom:
    def __reduce__(self):
        return (print, ("executed",))


def test_weights_that_would_run_code_are_refused(tmp_path, capsys):
    tiny_unet().save_pretrained(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps({"x": Boom()}))
    with pytest.raises(UserError):
        denoiser.load(str(tmp_path))
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["absent", "file", "empty", "latent", "conditional", "damaged"])
def test_a_missing_or_wrong_model_is_one_sentence(tmp_path, kind):
    place = tmp_path / "model"
    if kind == "file":
        place.write_text("no model")
    elif kind == "empty":
        place.mkdir()
    elif kind == "latent":
        tiny_unet(4).save_pretrained(place)
    elif kind == "conditional":
        tiny_unet(num_class_embeds=10).save_pretrained(place)
    elif kind == "damaged":
        tiny_unet().save_pretrained(place)
        (place / "diffusion_pytorch_model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError) as error:
        denoiser.load(str(place))
    assert "\n" not in str(error.value) and str(place) in str(error.value)


def test_a_prediction_nobody_knows_is_refused(tmp_path):
    Denoiser(tiny_unet(), denoiser.linear_alphas_cumprod(), "epsilon", "", 16).save(tmp_path)
    config = tmp_path / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"prediction_type": "flow"}))
    with pytest.raises(UserError, match="flow"):
        denoiser.load(str(tmp_path))


def test_a_noise_schedule_that_is_absent_or_of_another_kind_is_not_guessed(tmp_path):
    from diffusers import ScoreSdeVeScheduler

    model = Denoiser(tiny_unet(), denoiser.linear_alphas_cumprod(), "epsilon", "tiny", 16)
    model.save(tmp_path)
    ScoreSdeVeScheduler().save_pretrained(tmp_path / "scheduler")
    with pytest.raises(UserError, match="ScoreSdeVeScheduler"):
        denoiser.load(str(tmp_path))
    (tmp_path / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(UserError, match="noise levels"):
        denoiser.load(str(tmp_path))


def test_a_schedule_beside_a_bare_unet_is_read(tmp_path):
    from diffusers import DDPMScheduler

    tiny_unet().save_pretrained(tmp_path)
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    scheduler.save_pretrained(tmp_path)
    found = denoiser.load(str(tmp_path))
    torch.testing.assert_close(found.alphas_cumprod, scheduler.alphas_cumprod)


def put_on_hub(cache: Path, name: str, folder: Path) -> None:
    """Leave ``folder`` in Hugging Face's cache as a download of the repository ``name`` would."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = cache / "hub" / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    shutil.copytree(folder, place / "snapshots" / commit)


def test_a_hub_id_is_a_model(tmp_path):
    """In a process of its own: where the cache is and that there is no network is read once."""
    Denoiser(tiny_unet(), denoiser.linear_alphas_cumprod(), "v_prediction", "", 16).save(
        tmp_path / "pipeline"
    )
    tiny_unet().save_pretrained(tmp_path / "bare")
    for kind in ("pipeline", "bare"):
        put_on_hub(tmp_path / "cache", f"someone/{kind}", tmp_path / kind)
    code = (
        "from mincurate.diffusion import denoiser\n"
        "for kind in ('pipeline', 'bare'):\n"
        "    found = denoiser.load(f'someone/{kind}')\n"
        "    print(found.name, found.prediction_type, found.content_hash())\n"
        "denoiser.load('someone/nothing')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"},
        timeout=240,
        check=False,
    )
    same = [denoiser.load(str(tmp_path / kind)) for kind in ("pipeline", "bare")]
    assert done.stdout.splitlines() == [
        f"someone/pipeline v_prediction {same[0].content_hash()}",
        f"someone/bare epsilon {same[1].content_hash()}",
    ], done.stderr
    assert "UserError: No usable UNet2DModel for someone/nothing" in done.stderr
