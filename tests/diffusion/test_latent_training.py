"""Training on the latents of an autoencoder: encoded once, standardised, and a model to use."""

import numpy as np
import pytest
import torch
from latent_models import SIDE, autoencoder_tiny
from PIL import Image

from mincurate.diffusion import autoencoder as autoencoders
from mincurate.diffusion import latent_cache, train_denoiser
from mincurate.diffusion.denoiser import to_tensor
from mincurate.diffusion.load import load_denoiser
from mincurate.diffusion.training_plan import Training
from mincurate.progress import SILENT
from mincurate.runs.store import Run


@pytest.fixture
def autoencoder(tmp_path):
    autoencoder_tiny().save_pretrained(tmp_path / "autoencoder")
    return autoencoders.load(str(tmp_path / "autoencoder"))


def test_images_are_encoded_once_to_standardised_latents_and_a_killed_encoding_goes_on(
    autoencoder, tmp_path, monkeypatch
):
    monkeypatch.setattr(latent_cache, "PART", 8)
    monkeypatch.setattr(latent_cache, "reduced_precision", lambda device: None)
    images = np.random.default_rng(0).integers(0, 256, (20, 3, SIDE, SIDE), np.uint8)
    rows = {f"{i:02d}": i for i in range(20)}
    asked = []

    class Killed(BaseException):
        pass

    def read(names, dies=False):
        asked.extend(names)
        if dies and len(asked) > 8:
            raise Killed
        there = [name for name in names if name != "03"]  # one cannot be read any more
        yield there, images[[rows[name] for name in there]]

    def encode(folder, read):
        how = {"standardise": True, "reporter": SILENT}
        return latent_cache.encode(list(rows), read, autoencoder, tmp_path / folder, **how)

    whole = encode("whole", read)
    asked.clear()
    with pytest.raises(Killed):
        encode("parts", lambda names: read(names, dies=True))
    asked.clear()
    parts = encode("parts", read)
    assert asked == list(rows)[8:]
    asked.clear()
    assert encode("parts", read).hashes == parts.hashes and asked == []
    assert parts.hashes == [name for name in rows if name != "03"]
    np.testing.assert_array_equal(parts.samples, whole.samples)
    first = parts.samples[:7].astype(np.float32)
    np.testing.assert_allclose(first.mean((0, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(first.std((0, 2, 3)), 1, atol=5e-3)
    x = to_tensor(images[[rows[name] for name in parts.hashes]])
    with torch.no_grad():
        latents = parts.autoencoder.encode(x)
        torch.testing.assert_close(
            torch.from_numpy(np.array(parts.samples)).float(), latents, atol=5e-3, rtol=1e-3
        )
        torch.testing.assert_close(
            parts.autoencoder.decode(latents), autoencoder.decode(autoencoder.encode(x))
        )


def test_a_model_trained_on_latents_scores_generates_and_is_trained_further(
    autoencoder, pictures, home, say, tiny, tmp_path
):
    train = ("train", pictures, "-o", tmp_path / "model", "--latent", tmp_path / "autoencoder")
    code, printed = say(*train, "--image-size", 24)
    assert code == 1 and "--image-size is a multiple of 16, not 24" in printed
    code, printed = say(
        *train,
        *("--train-steps", 3, "--conditional", "--tail-weight", 1),
    )
    assert code == 0 and "on all noise levels" in printed, printed
    record = train_denoiser.record(tmp_path / "model")["training"]
    assert (record["image_size"], record["sigmas"]) == (32, None)
    model = load_denoiser(str(tmp_path / "model"))
    assert model.autoencoder is not None and model.space.shape == (4, 8, 8)
    assert not torch.allclose(model.autoencoder.std, autoencoder.std)  # standardised
    code, printed = say(
        *("score", pictures, "--model", tmp_path / "model", "--no-fiftyone", "--no-umap"),
        *("--n-draws", 2, "--num-classes", 2, "--perceptual", "latent", "--embedding", "unet"),
    )
    assert code == 0, printed
    assert Run(home / "runs" / "mincurate_1").frame()["minority_score"].notna().all()
    code, printed = say(
        *("augment", "--no-fiftyone", "--guide-steps", 2, "--steps", 2, "--n", 4),
        *("--batch-size", 4, "--top-fraction", 1),
    )
    assert code == 0, printed
    generated = sorted((home / "runs" / "mincurate_2" / "images").glob("*.png"))
    assert [Image.open(file).size for file in generated] == [(32, 32)] * 4
    code, printed = say(
        *("train", pictures, "-o", tmp_path / "further", "--from", tmp_path / "model"),
        *("--train-steps", 2),
    )
    further = load_denoiser(str(tmp_path / "further"))
    assert code == 0 and torch.equal(further.autoencoder.std, model.autoencoder.std)


def test_diffusers_samples_a_model_trained_on_latents(autoencoder, tmp_path):
    from diffusers import DiffusionPipeline

    samples = np.random.default_rng(0).normal(0, 1, (8, 4, 8, 8)).astype(np.float16)
    plan = Training(image_size=SIDE, sigmas=None, steps=2, batch_size=4, channels=(32, 32))
    shifted = autoencoder.standardised(torch.full((4,), 0.5), torch.full((4,), 2.0))
    trained = train_denoiser.train(samples, tmp_path / "m", plan, autoencoder=shifted)
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "m")
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(
            pipeline.vqvae.decode(latents / pipeline.vqvae.config.scaling_factor).sample,
            trained.autoencoder.decode(latents),
        )
    pictures = pipeline(batch_size=2, num_inference_steps=2).images
    assert [picture.size for picture in pictures] == [(SIDE, SIDE)] * 2
