"""Checkpoints of guided-diffusion (ADM): a small network written from the paper is the oracle."""

import math

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDPMPipeline, DDPMScheduler
from torch import nn

from mincurate.diffusion import adm
from mincurate.diffusion.load import load_denoiser
from mincurate.errors import UserError

WIDTH, HEAD = 32, 16


def norm(channels):
    return nn.GroupNorm(32, channels)


class Resnet(nn.Module):
    """A residual block under ADM's names, that may halve or double the resolution."""

    def __init__(self, channels, out, scale_shift, change=None):
        super().__init__()
        self.scale_shift, self.change = scale_shift, change
        self.in_layers = nn.Sequential(
            norm(channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * WIDTH, out * (1 + scale_shift)))
        self.out_layers = nn.Sequential(
            norm(out), nn.SiLU(), nn.Identity(), nn.Conv2d(out, out, 3, padding=1)
        )
        if channels != out:
            self.skip_connection = nn.Conv2d(channels, out, 1)

    def forward(self, x, emb):
        h = F.silu(self.in_layers[0](x))
        if self.change == "down":
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        if self.change == "up":
            h, x = (F.interpolate(v, scale_factor=2) for v in (h, x))
        h, e = self.in_layers[2](h), self.emb_layers(emb)[..., None, None]
        if self.scale_shift:
            scale, shift = e.chunk(2, dim=1)
            h = self.out_layers[0](h) * (1 + scale) + shift
        else:
            h = self.out_layers[0](h + e)
        skip = self.skip_connection(x) if hasattr(self, "skip_connection") else x
        return skip + self.out_layers[3](F.silu(h))


class Attention(nn.Module):
    """Self-attention; in the legacy order each head has its own queries, keys and values."""

    def __init__(self, channels, order):
        super().__init__()
        self.order, self.norm = order, norm(channels)
        self.qkv, self.proj_out = (
            nn.Conv1d(channels, 3 * channels, 1),
            nn.Conv1d(channels, channels, 1),
        )

    def forward(self, x, emb):
        n, c, *_ = x.shape
        qkv = self.qkv(self.norm(x.flatten(2)))
        if self.order == "legacy":
            q, k, v = qkv.view(n, c // HEAD, 3, HEAD, -1).unbind(2)
        else:
            q, k, v = qkv.view(n, 3, c // HEAD, HEAD, -1).unbind(1)
        weights = (q.transpose(2, 3) @ k / math.sqrt(HEAD)).softmax(3)
        h = (v @ weights.transpose(2, 3)).reshape(n, c, -1)
        return x + self.proj_out(h).view_as(x)


class Change(nn.Module):
    """A convolution that halves or doubles the resolution."""

    def __init__(self, channels, name):
        super().__init__()
        self.name = name
        stride = 2 if name == "op" else 1
        self.add_module(name, nn.Conv2d(channels, channels, 3, stride, padding=1))

    def forward(self, x, emb):
        x = x if self.name == "op" else F.interpolate(x, scale_factor=2)
        return getattr(self, self.name)(x)


class Adm(nn.Module):
    """Two levels, of which the second attends, with one residual block each."""

    def __init__(self, order="legacy", resblock_updown=True, scale_shift=True, classes=None):
        super().__init__()
        w, s = WIDTH, scale_shift
        self.time_embed = nn.Sequential(nn.Linear(w, 4 * w), nn.SiLU(), nn.Linear(4 * w, 4 * w))
        if classes:
            self.label_emb = nn.Embedding(classes, 4 * w)
        down = Resnet(w, w, s, "down") if resblock_updown else Change(w, "op")
        up = Resnet(2 * w, 2 * w, s, "up") if resblock_updown else Change(2 * w, "conv")
        inputs = [
            [nn.Conv2d(3, w, 3, padding=1)],
            [Resnet(w, w, s)],
            [down],
            [Resnet(w, 2 * w, s), Attention(2 * w, order)],
        ]
        outputs = [
            [Resnet(4 * w, 2 * w, s), Attention(2 * w, order)],
            [Resnet(3 * w, 2 * w, s), Attention(2 * w, order), up],
            [Resnet(3 * w, w, s)],
            [Resnet(2 * w, w, s)],
        ]
        middle = [Resnet(2 * w, 2 * w, s), Attention(2 * w, order), Resnet(2 * w, 2 * w, s)]
        self.input_blocks = nn.ModuleList(map(nn.ModuleList, inputs))
        self.middle_block = nn.ModuleList(middle)
        self.output_blocks = nn.ModuleList(map(nn.ModuleList, outputs))
        self.out = nn.Sequential(norm(w), nn.SiLU(), nn.Conv2d(w, 6, 3, padding=1))
        torch.manual_seed(0)
        for p in self.parameters():  # zeros, as ADM begins with, would hide mistakes
            nn.init.normal_(p, std=0.3 if p.ndim == 1 else p[0].numel() ** -0.5)

    def forward(self, x, timesteps, label=None):
        frequencies = torch.exp(-math.log(10000) * torch.arange(WIDTH // 2) / (WIDTH // 2))
        angles = timesteps[:, None] * frequencies
        emb = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=1))
        if label is not None:
            emb = emb + self.label_emb(label)
        h, skips = self.input_blocks[0][0](x), []
        skips.append(h)
        for block in self.input_blocks[1:]:
            for layer in block:
                h = layer(h, emb)
            skips.append(h)
        for layer in self.middle_block:
            h = layer(h, emb)
        for block in self.output_blocks:
            h = torch.cat([h, skips.pop()], dim=1)
            for layer in block:
                h = layer(h, emb)
        return self.out(h)


def write(net, file):
    torch.save(net.state_dict(), file)
    return file


@pytest.mark.parametrize("order", ["legacy", "new"])
@pytest.mark.parametrize("resblock_updown", [False, True])
@pytest.mark.parametrize("scale_shift", [False, True])
@pytest.mark.parametrize("classes", [None, 5])
def test_a_checkpoint_is_the_same_network(tmp_path, order, resblock_updown, scale_shift, classes):
    net = Adm(order, resblock_updown, scale_shift, classes)
    choices = adm.Choices(attention_order=order, head_channels=HEAD, image_size=16)
    model = adm.load(write(net, tmp_path / "model.pt"), choices)
    x, timesteps = torch.randn(2, 3, 16, 16), torch.tensor([5, 700])
    label = torch.tensor([1, 4]) if classes else None
    with torch.no_grad():
        ours, theirs = model.unet(x, timesteps, label).sample, net(x, timesteps, label)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert model.learns_variance


def test_convert_writes_a_pipeline_that_diffusers_samples(tmp_path, say):
    file = write(Adm("new"), tmp_path / "celeba.pt")
    options = {
        "attention-order": "new",
        "head-channels": 16,
        "image-size": 16,
        "schedule": "cosine",
    }
    options = [f"--{k}={v}" for k, v in options.items()]
    code, printed = say("convert", file, tmp_path / "out", *options)
    assert "is there already" in say("convert", file, tmp_path / "out", *options)[1]
    assert code == 0 and "predicts the noise and variance" in printed and "16 px" in printed
    model = load_denoiser(str(tmp_path / "out"))
    cosine = DDPMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod
    torch.testing.assert_close(model.alphas_cumprod, cosine, atol=1e-6, rtol=1e-4)
    images = DDPMPipeline.from_pretrained(tmp_path / "out")(
        num_inference_steps=2, output_type="np"
    ).images
    assert images.shape == (1, 16, 16, 3)


def test_a_checkpoint_is_a_model_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setitem(adm.SIZES, 16, (1, 2))  # no network of ADM has so few levels
    net = Adm()
    for part in (net.state_dict(), {"module." + k: v.half() for k, v in net.state_dict().items()}):
        torch.save({"ema": part, "step": 7}, tmp_path / "model.pt")
        model = load_denoiser(str(tmp_path / "model.pt"))
        assert (
            model.image_size == 16
            and model.denoise(torch.zeros(1, 3, 16, 16), 0.1).isfinite().all()
        )
        assert "legacy attention order, 64 channels per head" in model.kind


def test_what_is_not_read_is_one_sentence(tmp_path):
    net, file = Adm(), tmp_path / "model.pt"

    def refused(change, **choices):
        weights = net.state_dict()
        change(weights)
        torch.save(weights, file)
        with pytest.raises(UserError) as error:
            adm.load(file, adm.Choices(**{"head_channels": HEAD, "image_size": 16} | choices))
        return str(error.value)

    def upsampler(weights):
        weights["input_blocks.0.0.weight"] = torch.zeros(WIDTH, 6, 3, 3)

    def classifier(weights):
        for key in [k for k in weights if k.startswith("output_blocks.")]:
            del weights[key]

    assert "--head-channels" in refused(lambda w: None, head_channels=48)
    assert "--image-size" in refused(lambda w: None, image_size=None)
    assert "upsamplers" in refused(upsampler)
    assert "classifier" in refused(classifier)
    cut = refused(lambda w: w.pop("input_blocks.3.0.skip_connection.bias"))
    assert "down_blocks.1.resnets.0.conv_shortcut.bias" in cut
    assert "mystery" in refused(lambda w: w.update(mystery=torch.zeros(1)))
    assert "holds no network" in refused(lambda w: w.clear())
    file.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="cannot be read as a guided-diffusion"):
        adm.load(file)
