"""Weights that are cast once give what autocast gives that casts them at every pass."""

import copy
from dataclasses import replace

import latent_models
import pytest
import torch
from test_denoiser import tiny_unet

from mincurate.compute.device import precision
from mincurate.diffusion.denoiser import Denoiser, linear_alphas_cumprod
from mincurate.diffusion.load import load_denoiser, prepare
from mincurate.diffusion.weight_precision import cast_once


def of_pixels(num_classes):
    network = tiny_unet(
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        add_attention=True,
        num_class_embeds=num_classes,
    )
    return prepare(Denoiser(network, linear_alphas_cumprod(), "epsilon", "of pixels", 16))


@pytest.fixture(params=["pixels", "classes", *latent_models.KINDS])
def denoiser(request, tmp_path):
    if request.param in latent_models.KINDS:
        loaded = load_denoiser(str(latent_models.KINDS[request.param](tmp_path / "model")))
    else:
        loaded = of_pixels(3 if request.param == "classes" else None)
    return loaded.under(torch.tensor([0, 1])) if loaded.num_classes else loaded


def bytes_of(network):
    return sum(p.numel() * p.element_size() for p in network.parameters())


def test_the_results_are_the_same_to_the_last_bit_and_the_weights_half_as_large(denoiser):
    channels, side, _ = denoiser.space.shape
    x = torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))
    sigma = denoiser.nearest_sigma(0.5)
    kept = replace(denoiser, unet=copy.deepcopy(denoiser.unet))
    cast = cast_once(denoiser, torch.bfloat16)
    assert bytes_of(cast.unet) < 0.6 * bytes_of(kept.unet)
    with torch.inference_mode(), precision("cpu", torch.bfloat16):
        assert torch.equal(cast.denoise(x, sigma), kept.denoise(x, sigma))
        for one, other in zip(cast.features(x, sigma), kept.features(x, sigma), strict=True):
            assert torch.equal(one, other)


def test_the_content_hash_is_that_of_the_weights_as_they_were_read(denoiser):
    before = denoiser.content_hash()
    assert cast_once(denoiser, torch.bfloat16).content_hash() == before


def test_in_float32_nothing_is_cast(denoiser):
    assert cast_once(denoiser, None) is denoiser
