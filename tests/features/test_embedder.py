import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mincurate.errors import UserError
from mincurate.features import embedder
from mincurate.ranking import neighbors, umap_map

RNG = np.random.default_rng(0)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@given(hnp.arrays(np.float32, (12, 3), elements=st.floats(-5, 5, width=16)))
@settings(max_examples=30)
def test_neighbour_distance_is_the_mean_of_the_five_nearest_others(vectors):
    full = np.linalg.norm(vectors[:, None].astype(float) - vectors[None], axis=2)
    np.fill_diagonal(full, np.inf)
    expected = np.sort(full, axis=1)[:, :5].mean(1)
    np.testing.assert_allclose(neighbors.neighbor_distance(vectors), expected, atol=2e-3)


@pytest.mark.slow
def test_approximate_neighbours_agree_with_exact_ones(monkeypatch):
    vectors = unit(RNG.normal(size=(600, 8)))
    exact = neighbors.neighbor_distance(vectors)
    monkeypatch.setattr(neighbors, "EXACT_NEIGHBORS_LIMIT", 100)
    wrong = abs(neighbors.neighbor_distance(vectors) / exact - 1) > 0.01
    assert wrong.mean() < 0.03


@pytest.mark.parametrize(("n", "known"), [(1, False), (2, True), (4, True)])
def test_few_images_have_few_neighbours(n, known):
    found = neighbors.neighbor_distance(unit(RNG.normal(size=(n, 4))))
    assert np.isfinite(found).all() == known and len(found) == n


@pytest.mark.parametrize(("n", "method"), [(2, "none"), (3, "pca"), (29, "pca"), (60, "umap")])
def test_a_map_is_made_by_umap_where_there_are_images_enough(n, method):
    vectors = unit(RNG.normal(size=(n, 8)))
    points, made_by = umap_map.fit_map(vectors, seed=0)
    assert points.shape == (n, 2) and made_by == method
    assert np.isfinite(points).all() == (method != "none")
    again, _ = umap_map.fit_map(vectors, seed=0)
    np.testing.assert_array_equal(points, again)


@pytest.mark.slow
def test_more_images_than_landmarks_are_mapped_in_chunks_among_their_own_kind(monkeypatch):
    monkeypatch.setattr(umap_map, "MAP_LANDMARKS", 200)
    monkeypatch.setattr(umap_map, "MAP_CHUNK", 90)
    kind = np.arange(600) % 3
    vectors = unit(RNG.normal(size=(600, 64)) * 0.05 + np.eye(64)[kind])
    points, method = umap_map.fit_map(vectors, seed=0)
    assert method == "umap" and np.isfinite(points).all()
    centres = np.stack([points[kind == k].mean(0) for k in range(3)])
    nearest = np.linalg.norm(points[:, None] - centres, axis=2).argmin(1)
    np.testing.assert_array_equal(nearest, kind)
    again, _ = umap_map.fit_map(vectors, seed=0)
    np.testing.assert_array_equal(points, again)


def test_a_new_image_joins_the_map_among_its_neighbours():
    left, right = RNG.normal(size=(2, 50, 6)) * 0.05 + np.array([[[0.0]], [[1.0]]])
    vectors = np.concatenate([left, right]).astype(np.float32)
    points = np.concatenate([np.zeros((50, 2)), np.ones((50, 2))]).astype(np.float32)
    joined = umap_map.join_map(vectors[[0, 99]] + 0.001, vectors, points)
    np.testing.assert_allclose(joined, [[0, 0], [1, 1]], atol=1e-6)
    np.testing.assert_array_equal(umap_map.join_map(vectors[[3]], vectors, points), points[[3]])


def test_auto_follows_the_perceptual_network():
    assert embedder.choose("auto", "unet") == "unet"
    assert embedder.choose("auto", "lpips-vgg") == "torchvision:vgg16"
    assert embedder.choose("auto", "lpips-alex@w.pth") == "torchvision:alexnet@w.pth"
    assert embedder.choose("auto", "torchvision:resnet18@w") == "torchvision:resnet18@w"
    assert embedder.choose("unet", "lpips-vgg") == "unet"


def test_a_summary_has_mean_and_deviation_of_every_channel_and_length_one():
    features = torch.rand(2, 4, 8, 8) * 100
    found = embedder.summary(features)
    assert found.shape == (2, 8)
    torch.testing.assert_close(found.square().sum(1), torch.ones(2))
    mean, deviation = features.mean((2, 3)), features.flatten(2).std(2, correction=0)
    torch.testing.assert_close(found[:, :4] / found[:, 4:], mean / deviation)


@pytest.mark.slow  # needs the extra hub
def test_a_model_of_the_hub_is_read_from_a_folder_too(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=32, patch_size=8,
    )  # fmt: skip
    transformers.ViTModel(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    loaded = embedder.load(str(tmp_path), None)
    with torch.no_grad():
        assert loaded.embed(torch.rand(2, 3, 16, 16) * 2 - 1).shape == (2, 16)
    assert not loaded.weak


@pytest.mark.parametrize("spec", ["no/such-model-anywhere", "torchvision:none"])
def test_an_embedding_that_is_not_to_be_had_is_one_sentence(spec):
    with pytest.raises(UserError) as error:
        embedder.load(spec, None)
    assert "\n" not in str(error.value)


def twice(x):
    return 2 * x


@pytest.mark.parametrize("options", [None, {}, {"fastmath": True}])
def test_what_is_compiled_for_the_map_is_kept_where_it_can_be(options, monkeypatch):
    import numba
    from numba.core import caching

    plain = numba.njit
    with umap_map._compiled_once():
        kept = numba.njit(twice) if options is None else numba.njit(**options)(twice)
        monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
        other = numba.njit("i8(i8)")(twice)  # no place may be written to
    assert kept(2) == other(2) == 4 and numba.njit is plain
    assert isinstance(kept._cache, caching.FunctionCache)
    assert isinstance(other._cache, caching.NullCache)
