"""Which features an evaluation judges in, and what its tail is ranked by."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SQUEEZENET

from mincurate.errors import UserError
from mincurate.evaluation import feature_spaces, image_sets
from mincurate.evaluation.metric_table import Features
from mincurate.features.perceptual import Perceptual
from mincurate.ranking import classes, outliers, vector_rarity
from mincurate.ranking.reference import Base


def trunk(x):
    return [x, x[:, :, ::4, ::4], x[:, :, ::8, ::8]]


@pytest.fixture
def run():
    """A base of 100 images and a scorer, with names of networks to choose."""

    def make(embedding, distance, rank_by="embedding"):
        record = {"embedding": embedding, "rank_by": rank_by, "settings": {"seed": 0}}
        record["perceptual"] = distance
        vectors = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
        frame = pd.DataFrame({"content_hash": [f"{i:03d}" for i in range(100)]})
        frame["embedding_rarity"] = np.linspace(0, 1, 100)
        frame["minority_score"] = np.linspace(1, 0, 100)
        base = Base(
            SimpleNamespace(record=record, key="mincurate_1"), frame, vectors, 16, "crop", 16
        )
        denoiser = SimpleNamespace(device=torch.device("cpu"))
        return base, SimpleNamespace(perceptual=Perceptual(distance, "", trunk), denoiser=denoiser)

    return make


@pytest.fixture(autouse=True)
def no_inception(monkeypatch):
    monkeypatch.setattr(feature_spaces.inception, "cached_weights", lambda: None)


VGG, RESNET = "torchvision:vgg16", "torchvision:resnet18"


@pytest.mark.parametrize(
    ("embedding", "distance", "rank_by", "by", "judge", "circular"),
    [
        (RESNET, "lpips-vgg", "embedding", "rarity", "lpips-vgg", False),
        (RESNET, "lpips-vgg", "minority", "rarity", RESNET, False),
        (RESNET, "lpips-vgg", "embedding", "minority", RESNET, False),
        (VGG, "lpips-vgg", "embedding", "rarity", VGG, True),  # one network under two names
        (VGG, "lpips-vgg", "neighbors", "minority", VGG, True),
        ("unet", "unet", "embedding", "rarity", "unet", True),
        (RESNET, "unet", "embedding", "rarity", RESNET, True),  # unet tells kinds apart badly
        (RESNET, "unet", "embedding", "minority", RESNET, False),
        (VGG, "lpips-vgg", "embedding", None, VGG, False),
    ],
)
def test_another_network_judges_than_the_one_that_guided_where_there_is_one(
    run, embedding, distance, rank_by, by, judge, circular
):
    chosen = feature_spaces.choose("auto", *run(embedding, distance, rank_by), by, "cpu")
    assert chosen.space.name == f"{judge} at 16 px" and chosen.circular == circular
    assert chosen.space.spatial == f"{distance}, layer 2 of 3 at 4 x 4"
    assert chosen.space.frechet == "frechet_distance"


def test_the_tail_is_ranked_in_the_features_that_judge_unless_these_guided(run):
    base, scorer = run(RESNET, "lpips-vgg")
    judge = feature_spaces.choose("auto", base, scorer, "rarity", "cpu")
    other = np.random.default_rng(1).normal(size=(100, 4)).astype(np.float32)
    tail = image_sets.find_tail(base, Features(other), judge)
    rows = outliers.reference(base.frame["content_hash"])
    expected = vector_rarity.measure(other, rows).rarity
    assert tail.rows.tolist() == classes.tail_rows(expected).tolist()
    assert tail.ranked_by == "rarity in lpips-vgg at 16 px"
    own = feature_spaces.choose("run", base, scorer, "rarity", "cpu")
    tail = image_sets.find_tail(base, Features(base.vectors), own)
    assert tail.rows.tolist() == list(range(90, 100))
    assert tail.ranked_by == f"ranking by embedding, {RESNET} at 16 px"
    tail = image_sets.find_tail(base, Features(other), judge, by_minority_score=True)
    assert tail.rows.tolist() == list(range(10))
    assert tail.ranked_by == "minority score, lpips-vgg at 16 px"


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ("inception", "not in torch's cache"),
        ("nowhere.pth", "no weights file nowhere.pth"),
        ("torchvision:nothing", "no classification model"),
    ],
)
def test_features_that_are_not_there_are_one_sentence(run, features, words):
    if features == "nowhere.pth":
        pytest.importorskip("torch_fidelity")
    with pytest.raises(UserError, match=words) as error:
        feature_spaces.choose(features, *run(RESNET, "unet"), "rarity", "cpu")
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not SQUEEZENET.is_file(), reason="needs the SqueezeNet weights")
def test_an_embedding_can_be_named(run, shapes):
    base, scorer = run("unet", "unet")
    spec = f"torchvision:squeezenet1_0@{SQUEEZENET}"
    judge = feature_spaces.choose(spec, base, scorer, "rarity", "cpu")
    assert judge.space.name == "torchvision:squeezenet1_0 at 16 px" and not judge.circular
    paths = sorted(str(path) for path in shapes.rglob("*.png"))[:5]
    features = judge.extractor.features(base, paths, base.vectors[:5])
    assert features.vectors.shape == (5, 1024) and features.spatial.shape == (5, 3 * 4 * 4)
