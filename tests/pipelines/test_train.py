"""Training on images that a run has ranked."""

import numpy as np
import pytest

from mincurate.diffusion import train_denoiser
from mincurate.errors import UserError
from mincurate.pipelines.train import train
from mincurate.runs.store import Run

OPTIONS = {"train_steps": 2, "image_size": 16, "progress": False}


@pytest.fixture
def weights(monkeypatch):
    """The weights that trainings were given, which are then made as usual."""
    seen = []
    whole = train_denoiser.train

    def spy(*args, weights=None, **more):
        seen.append(weights)
        return whole(*args, weights=weights, **more)

    monkeypatch.setattr(train_denoiser, "train", spy)
    return seen


def test_the_rarity_of_a_run_says_how_often_images_are_drawn(
    generated, shapes, tmp_path, tiny, weights, monkeypatch
):
    monkeypatch.setenv("MINCURATE_HOME", str(generated))
    model = tmp_path / "model"
    train(shapes, model, tail_weight=0.5, rarity_of="mincurate_1", **OPTIONS)
    rarity = np.sort(Run(generated / "runs" / "mincurate_1").frame()["rarity"])
    drawn = np.sort(weights[0])
    assert len(drawn) == 60 and drawn[-1] == 1 and drawn[-4] == pytest.approx(0.5)
    assert len(np.unique(drawn)) == len(np.unique(rarity))
    record = train_denoiser.record(model)["training"]
    assert (record["tail_weight"], record["rarity_of"]) == (0.5, "mincurate_1")
    with pytest.raises(UserError, match="a training of other images or settings"):
        train(shapes, model, tail_weight=0.5, **OPTIONS)


def test_a_run_that_cannot_weigh_is_refused(generated, pictures, shapes, tmp_path, monkeypatch):
    monkeypatch.setenv("MINCURATE_HOME", str(generated))
    with pytest.raises(UserError, match="give both, or neither"):
        train(shapes, tmp_path / "model", rarity_of=1, **OPTIONS)
    for file in pictures.rglob("*.png"):
        file.write_bytes(file.read_bytes() + b"other")
    with pytest.raises(UserError, match="has ranked none of these images"):
        train(pictures, tmp_path / "model", tail_weight=0.5, rarity_of=1, **OPTIONS)
    assert not (tmp_path / "model").exists()
