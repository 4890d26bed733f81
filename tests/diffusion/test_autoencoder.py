"""Autoencoders of latent models: latents on the model's scale, and back."""

import shutil

import numpy as np
import pytest
import torch
from conftest import SHARED
from diffusers import DDIMScheduler, LDMPipeline
from latent_models import SIDE, autoencoder_kl, autoencoder_tiny, vq_model
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from test_denoiser import tiny_unet

from mincurate.diffusion import autoencoder, taef2
from mincurate.errors import UserError

PUBLISHED = SHARED / "models"


def images(count=2, side=SIDE):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize(
    ("network", "latents"),
    [
        (autoencoder_tiny(), lambda net, x: net.encode(x).latents),
        (
            autoencoder_kl(scaling_factor=0.5, shift_factor=0.1),
            lambda net, x: (net.encode(x).latent_dist.mode() - 0.1) * 0.5,
        ),
        (vq_model(), lambda net, x: net.encode(x).latents * 0.18215),
    ],
    ids=lambda value: type(value).__name__,
)
def test_latents_are_scaled_as_diffusers_pipelines_scale_them(tmp_path, network, latents):
    network.save_pretrained(tmp_path / "vae")
    loaded = autoencoder.load(str(tmp_path))
    x = images()
    with torch.no_grad():
        z = loaded.encode(x)
        torch.testing.assert_close(z, latents(network, x))
        decoded = loaded.decode(z)
        own = z * loaded.std.view(1, -1, 1, 1) + loaded.mean.view(1, -1, 1, 1)
        torch.testing.assert_close(decoded, network.decode(own).sample)
    assert decoded.shape == x.shape and z.shape[2:] == (SIDE // loaded.factor,) * 2
    assert (loaded.kind, loaded.channels) == (type(network).__name__, z.shape[1])
    loaded.save(tmp_path / "again")
    assert autoencoder.load(str(tmp_path / "again")).content_hash() == loaded.content_hash()


def test_standardised_latents_decode_to_the_same_images_in_diffusers_pipeline(tmp_path):
    autoencoder_kl(shift_factor=0.2).save_pretrained(tmp_path / "kl")
    plain = autoencoder.load(str(tmp_path / "kl"))
    x = images(8)
    with torch.no_grad():
        z = plain.encode(x)
        model = plain.standardised(z.mean((0, 2, 3)), z.std((0, 2, 3)))
        standard = model.encode(x)
        torch.testing.assert_close(standard.mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
        torch.testing.assert_close(standard.std((0, 2, 3)), torch.ones(4), atol=1e-4, rtol=0)
        decoded = model.decode(standard)
        torch.testing.assert_close(decoded, plain.decode(z), atol=1e-4, rtol=1e-4)
    assert model.content_hash() != plain.content_hash()
    LDMPipeline(model.module(), tiny_unet(4, size=8), DDIMScheduler()).save_pretrained(tmp_path)
    again = autoencoder.load(str(tmp_path))
    assert again.content_hash() == model.content_hash()
    pipe = LDMPipeline.from_pretrained(tmp_path)
    with torch.no_grad():
        theirs = pipe.vqvae.decode(standard / pipe.vqvae.config.scaling_factor).sample
        torch.testing.assert_close(theirs, decoded, atol=1e-4, rtol=1e-4)


def test_the_files_of_flux2s_tiny_autoencoder_are_read_strictly(tmp_path):
    torch.manual_seed(0)
    network = taef2.TAEF2()
    save_file(network.encoder.state_dict(), tmp_path / taef2.ENCODER)
    save_file(network.decoder.state_dict(), tmp_path / taef2.DECODER)
    model = autoencoder.load(str(tmp_path / taef2.DECODER))
    with torch.no_grad():
        z = model.encode(images(1, 64))
        torch.testing.assert_close(z, network.encode(images(1, 64)).latents)
    assert z.shape == (1, 32, 8, 8) and model.factor == 8
    model.save(tmp_path / "again")
    assert autoencoder.load(str(tmp_path / "again")).content_hash() == model.content_hash()
    weights = load_file(tmp_path / taef2.DECODER)
    weights["5.pool.0.weight"] = weights["5.pool.0.weight"][:128].clone()
    save_file(weights, tmp_path / taef2.DECODER)
    with pytest.raises(UserError, match=r"1 have another shape, such as 5\.pool\.0\.weight"):
        autoencoder.load(str(tmp_path))


@pytest.mark.skipif(not (PUBLISHED / taef2.ENCODER).is_file(), reason="the weights are not here")
def test_flux2s_tiny_autoencoder_gives_photographs_back():
    from sklearn.datasets import load_sample_images

    photographs = [
        ImageOps.fit(Image.fromarray(picture), (256, 256))
        for picture in load_sample_images().images
    ]
    pixels = torch.from_numpy(np.stack([np.asarray(p) for p in photographs]))
    x = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
    model = autoencoder.load(str(PUBLISHED))
    with torch.no_grad():
        decoded = model.decode(model.encode(x)).clamp(-1, 1)
    psnr = -10 * ((decoded - x) / 2).square().mean((1, 2, 3)).log10()
    assert psnr.min() > 24, psnr


def test_other_autoencoders_are_refused_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match="There is no autoencoder in"):
        autoencoder.load(str(tmp_path))
    autoencoder_kl(in_channels=1, out_channels=1).save_pretrained(tmp_path / "grey")
    with pytest.raises(UserError, match="takes 1 channels; mincurate reads those of RGB images"):
        autoencoder.load(str(tmp_path / "grey"))
    shutil.copytree(tmp_path / "grey", tmp_path / "dc")
    config = tmp_path / "dc" / "config.json"
    config.write_text(config.read_text().replace("AutoencoderKL", "AutoencoderDC"))
    with pytest.raises(UserError, match="class AutoencoderDC; mincurate reads AutoencoderKL"):
        autoencoder.load(str(tmp_path / "dc"))
