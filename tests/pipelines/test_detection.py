"""Planted rarity, end to end and without pretrained weights: twelve zeros among 170 sevens."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, roc_auc_score

import mincurate
from mincurate.diffusion import new_network

COMMON, RARE, COMMON_COUNT, RARE_COUNT = 7, 0, 170, 12


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Handwritten digits as PNG of 16 x 16 px; their names tell which is which, and no folder."""
    folder = tmp_path_factory.mktemp("digits")
    digits = load_digits()
    for digit, count in ((COMMON, COMMON_COUNT), (RARE, RARE_COUNT)):
        for i in np.flatnonzero(digits.target == digit)[:count]:
            picture = Image.fromarray((digits.images[i] * 15.9).astype(np.uint8))
            picture.resize((16, 16), Image.Resampling.BICUBIC).save(folder / f"{digit}-{i:04d}.png")
    return folder


@pytest.fixture(scope="module")
def scored(planted, tmp_path_factory):
    """With a small network, so that it takes seconds."""
    network = new_network.new_unet
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            new_network, "new_unet", lambda size, _, *more: network(size, (32, 32), *more)
        )
        patch.setenv("MINCURATE_HOME", str(tmp_path_factory.mktemp("home")))
        return mincurate.score(
            planted,
            train_steps=100,
            n_draws=4,
            perceptual="unet",
            embedding="unet",
            umap=False,
            fiftyone=False,
        )


@pytest.mark.parametrize(
    ("score", "its_class"), [("minority_score", "minority_class"), ("rarity", "rarity_class")]
)
def test_planted_images_are_found_by_the_denoiser_alone(scored, score, its_class):
    """Chance: AUROC 0.5, average precision 0.07, a tenth of them in the rarest class."""
    frame = scored.frame
    rare = frame["rel_path"].str.startswith(f"{RARE}-").to_numpy()
    assert rare.sum() == RARE_COUNT and len(frame) == COMMON_COUNT + RARE_COUNT
    assert roc_auc_score(rare, frame[score]) > 0.85
    assert average_precision_score(rare, frame[score]) > 0.35
    first = rare[np.argsort(-frame[score].to_numpy(), kind="stable")[:RARE_COUNT]]
    assert first.mean() >= 1 / 3
    assert (frame[its_class].to_numpy()[rare] == 9).mean() > 0.5


def test_the_ranking_in_force_follows_the_embedding_and_the_minority_class_its_own_score(scored):
    frame = scored.frame
    assert frame["rarity"].rank().corr(frame["embedding_rarity"].rank()) == pytest.approx(1)
    for score, its_class in (
        ("embedding_rarity", "rarity_class"),
        ("minority_score", "minority_class"),
    ):
        by_class = frame.groupby(its_class)[score].agg(["min", "max"])
        assert (by_class["min"].to_numpy()[1:] >= by_class["max"].to_numpy()[:-1]).all()
        assert frame[its_class].value_counts().between(15, 21).all()
    assert (frame["rarity_class"] != frame["minority_class"]).mean() > 0.3
