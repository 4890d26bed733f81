"""Training on the latents of an autoencoder: encoded once, standardised, and a model to use."""

import numpy as np
import pytest
import torch
from latent_models import SIDE, autoencoder_tiny

from mincurate.diffusion import autoencoder as autoencoders
from mincurate.diffusion import latent_cache
from mincurate.diffusion.denoiser import to_tensor
from mincurate.progress import SILENT


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
