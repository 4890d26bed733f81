"""Embeddings: which network, and what it gives."""

import pytest
import torch

from mincurate.errors import UserError
from mincurate.features import embedder


def test_auto_follows_the_perceptual_network():
    assert embedder.choose_embedding("auto", "unet") == "unet"
    assert embedder.choose_embedding("auto", "lpips-vgg") == "torchvision:vgg16"
    assert embedder.choose_embedding("auto", "lpips-alex@w.pth") == "torchvision:alexnet@w.pth"
    assert embedder.choose_embedding("auto", "torchvision:resnet18@w") == "torchvision:resnet18@w"
    assert embedder.choose_embedding("unet", "lpips-vgg") == "unet"


def test_a_summary_has_mean_and_deviation_of_every_channel_and_length_one():
    features = torch.rand(2, 4, 8, 8) * 100
    vectors = embedder.summary(features)
    assert vectors.shape == (2, 8)
    torch.testing.assert_close(vectors.square().sum(1), torch.ones(2))
    mean, deviation = features.mean((2, 3)), features.flatten(2).std(2, correction=0)
    torch.testing.assert_close(vectors[:, :4] / vectors[:, 4:], mean / deviation)


@pytest.mark.slow  # needs the extra hub
def test_a_model_of_the_hub_is_read_from_a_folder_too(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=32, patch_size=8,
    )  # fmt: skip
    transformers.ViTModel(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    loaded = embedder.load_embedder(str(tmp_path), None)
    with torch.no_grad():
        assert loaded.embed(torch.rand(2, 3, 16, 16) * 2 - 1).shape == (2, 16)
    assert not loaded.weak


@pytest.mark.parametrize("spec", ["no/such-model-anywhere", "torchvision:none"])
def test_an_embedding_that_is_not_to_be_had_is_one_sentence(spec):
    with pytest.raises(UserError) as error:
        embedder.load_embedder(spec, None)
    assert "\n" not in str(error.value)
