import hashlib

import numpy as np
import pytest
import torch

from mincurate.diffusion import new_network
from mincurate.diffusion.denoiser import to_tensor
from mincurate.diffusion.training_plan import Training
from mincurate.features import perceptual
from mincurate.ranking.minority_score import Scorer
from mincurate.report import error_map

SIDE = 16


@pytest.fixture(scope="module")
def scorer():
    torch.manual_seed(0)
    denoiser = new_network.untrained(Training(SIDE, None), "cpu")
    return Scorer(
        denoiser=denoiser,
        perceptual=perceptual.load_perceptual("unet", denoiser),
        sigma=denoiser.nearest_sigma(0.2),
        n_draws=3,
        seed=0,
    )


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (1, 3, SIDE, SIDE), dtype=np.uint8)


def test_the_mean_of_the_heat_is_the_score(scorer, pixels):
    identity = hashlib.blake2b(pixels.tobytes()).hexdigest()
    heat = error_map.heat_map(scorer, pixels, identity)
    assert heat.shape == (SIDE, SIDE) and (heat >= 0).all()
    score = scorer(pixels, [identity]).draws.mean()
    assert heat.mean() == pytest.approx(score, rel=1e-3)


def test_where_nothing_differs_the_heat_is_cold(scorer, pixels):
    class Perfect:
        device, space = scorer.denoiser.device, scorer.denoiser.space

        def denoise(self, x, sigma):
            return to_tensor(pixels).expand(len(x), -1, -1, -1)

    perfect = Scorer(Perfect(), scorer.perceptual, scorer.sigma, 3, 0)
    assert error_map.heat_map(perfect, pixels, "any").max() < 1e-6


def test_the_overlay_is_grey_where_cold_and_brightest_where_hot():
    picture = np.full((4, 4, 3), 100, np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[1, 2] = 5
    drawn = error_map.overlay(picture, heat)
    assert (drawn[heat == 0] == 100).all()
    assert drawn[1, 2].max() > 180
