"""Latent models of every kind, as diffusers saves them: scored, guided and generated with."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from latent_models import KINDS, SIDE, ldm_tiny, stable_diffusion
from PIL import Image

import mincurate
from mincurate.diffusion.load import load_denoiser
from mincurate.errors import UserError
from mincurate.features.perceptual import (
    UNET_FEATURE_SIGMA,
    Perceptual,
    distance,
    load_perceptual,
)
from mincurate.images.decode_pool import decode_many
from mincurate.pipelines.score import score
from mincurate.ranking.minority_score import Scorer, noise
from mincurate.runs.manifest import read_manifest

QUICK = {"n_draws": 2, "num_classes": 2, "fiftyone": False, "umap": False, "precision": "float32"}
CLASSES = {"disc": 0, "cross": 1}


def of(kind: str):
    """The text encoder of Stable Diffusion needs transformers, of the extra `hub`."""
    return pytest.param(kind, marks=[pytest.mark.slow] if kind == "stable-diffusion" else [])


@pytest.fixture(scope="module", params=map(of, KINDS))
def model(request, tmp_path_factory):
    """The kind of a model, and its folder."""
    return request.param, KINDS[request.param](tmp_path_factory.mktemp("models") / request.param)


def pixels_of(files) -> np.ndarray:
    [decoded] = decode_many(list(files), size=SIDE, fit="crop", workers=1, batch_size=len(files))
    return np.stack(decoded)


def network_of(kind: str, folder: Path, labels):
    """``(x_t, t) -> output`` and the autoencoder, by diffusers alone."""
    if kind == "dit":
        pipe = diffusers.DiTPipeline.from_pretrained(folder)
        classes = torch.tensor([CLASSES[label] for label in labels])
        return lambda x, t: pipe.transformer(x, t, class_labels=classes).sample[:, :4], pipe.vae
    if kind == "stable-diffusion":
        parts = {"safety_checker": None, "feature_extractor": None}
        pipe = StableDiffusionPipeline.from_pretrained(folder, **parts)
        told = pipe.encode_prompt("", "cpu", len(labels), False)[0]
        return lambda x, t: pipe.unet(x, t, told).sample, pipe.vae
    unet = diffusers.UNet2DModel.from_pretrained(folder / "unet")
    if kind == "ldm":
        return lambda x, t: unet(x, t).sample, diffusers.VQModel.from_pretrained(folder / "vqvae")
    return lambda x, t: unet(x, t).sample, diffusers.AutoencoderTiny.from_pretrained(folder / "vae")


@torch.no_grad()
def published_score(kind: str, folder: Path, run, frame) -> np.ndarray:
    """The latent score of some images of a run, from the parts of its pipeline."""
    network, autoencoder = network_of(kind, folder, list(frame["label"]))
    x = torch.from_numpy(pixels_of(frame["path"])).float() / 127.5 - 1
    output = autoencoder.encode(x)
    latents = output.latent_dist.mode() if hasattr(output, "latent_dist") else output.latents
    latents = latents * autoencoder.config.scaling_factor
    config = diffusers.DDPMScheduler.load_config(folder / "scheduler")
    scheduler = DDIMScheduler.from_config(config, clip_sample=False)
    scheduler.set_timesteps(1000)
    a = scheduler.alphas_cumprod
    t = int((((1 - a) / a).sqrt().log() - np.log(run.record["sigma"])).abs().argmin())
    eps = noise(list(frame["content_hash"]), 2, tuple(latents.shape[1:]), 0)
    draws = []
    for k in range(2):
        x_t = scheduler.add_noise(latents, eps[:, k], torch.tensor([t]))
        x0 = scheduler.step(network(x_t, torch.full((len(x),), t)), t, x_t).pred_original_sample
        draws.append(torch.linalg.vector_norm((latents - x0).flatten(1), dim=1))
    return torch.stack(draws).mean(0).numpy()


def test_a_latent_model_scores_guides_and_generates(model, pictures, home):
    kind, folder = model
    result = score(pictures, model=str(folder), perceptual="latent", **QUICK)
    run, frame = result.run, result.frame
    assert run.record["perceptual"] == "latent" and len(frame) == 20
    assert run.record["sigma"] == pytest.approx(0.08, rel=0.1)  # 0.01 per latent of the side
    few = frame.groupby("label").head(2)
    expected = published_score(kind, folder, run, few)
    np.testing.assert_allclose(few["minority_score"], expected, rtol=2e-3)
    reconstructions = np.load(run.path / "reconstructions.npz")["reconstruction"]
    assert reconstructions.shape[1:] == (SIDE, SIDE, 3)

    classifier = mincurate.guide(run, guide_steps=3)
    assert classifier.record["levels"]
    quick = {"n": 3, "batch_size": 2, "steps": 2, "guide_steps": 3, "fiftyone": False}
    generated = mincurate.augment(run, precision="float32", **quick)
    files = [entry["file"] for entry in read_manifest(generated.run.path)]
    pictures_made = [np.asarray(Image.open(generated.run.path / file)) for file in files]
    assert {picture.shape for picture in pictures_made} == {(SIDE, SIDE, 3)}
    assert min(picture.std() for picture in pictures_made) > 1
    assert generated.run.record["guidance"] is not None
    assert np.isfinite(generated.frame["minority_score"]).all()
    if kind == "dit":
        assert run.record["label_classes"] == CLASSES and run.record["settings"]["within_label"]
        assert set(generated.frame["label"]) <= set(CLASSES)


def test_a_distance_of_images_compares_decoded_latents(tmp_path):
    model = load_denoiser(str(ldm_tiny(tmp_path / "model")))
    raw = Perceptual("raw", "", lambda x: [x])
    scorer = Scorer(model, raw, model.nearest_sigma(0.3), 2, 0)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, SIDE, SIDE), dtype=np.uint8)
    draws = scorer(pixels, ["a", "b"]).draws
    vae = diffusers.AutoencoderTiny.from_pretrained(tmp_path / "model" / "vae")
    with torch.no_grad():
        z = vae.encode(torch.from_numpy(pixels).float() / 127.5 - 1).latents
        eps = noise(["a", "b"], 2, tuple(z.shape[1:]), 0)[:, 1]
        again = model.denoise(z + scorer.sigma * eps, scorer.sigma)
        one, other = (raw.features(vae.decode(each).sample.clamp(-1, 1)) for each in (z, again))
    np.testing.assert_allclose(draws[:, 1], distance(one, other)[:, 0], rtol=1e-3)
    unet = load_perceptual("unet", model)  # compares latents, also those of given images
    images = torch.from_numpy(pixels).float() / 127.5 - 1
    with torch.no_grad():
        maps = unet.image_maps(model, images)[0]
        torch.testing.assert_close(maps, model.features(z, UNET_FEATURE_SIGMA)[0])


@pytest.mark.slow
def test_a_prompt_for_each_label_makes_a_model_class_conditional(tmp_path, pictures, home):
    folder = stable_diffusion(tmp_path / "model")
    result = score(pictures, model=str(folder), prompt="a {label}", perceptual="latent", **QUICK)
    record = result.run.record
    assert record["label_classes"] == {"cross": 0, "disc": 1}
    assert record["model"]["prompts"] == {"prompt": "a {label}", "labels": ["cross", "disc"]}
    plain = StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, feature_extractor=None
    )
    told = plain.encode_prompt(["a cross", "a disc", ""], "cpu", 1, False)[0]
    from mincurate.diffusion import models

    model = models.recorded(record["model"], "cpu")
    torch.testing.assert_close(model.prompts.embeddings, told)
    assert model.content_hash() == record["model"]["hash"]
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([500, 500])
    with torch.no_grad():
        ours = model.under(torch.tensor([1, -1])).predict(
            x * (1 + model.sigmas[500] ** 2).sqrt(), t
        )
        torch.testing.assert_close(ours, plain.unet(x, 500, told[1:]).sample)
    guided = mincurate.augment(
        result.run, n=2, steps=2, sampler="ddpm", guidance_scale=3.0, guide_steps=3, fiftyone=False
    )
    assert len(guided.frame) == 2
    with pytest.raises(UserError, match="takes no text: leave out --prompt"):
        score(pictures, model=str(ldm_tiny(tmp_path / "ldm")), prompt="a {label}", **QUICK)
