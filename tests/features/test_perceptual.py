import lpips
import pytest
import torch
import torchvision
from conftest import SQUEEZENET
from safetensors.torch import save_file
from test_denoiser import tiny_unet

from mincurate.diffusion.denoiser import Denoiser, linear_alphas_cumprod
from mincurate.errors import UserError
from mincurate.features import backbone, perceptual


def weights_of(name, tmp_path):
    torch.manual_seed(0)
    file = tmp_path / f"{name}.safetensors"
    save_file(torchvision.models.get_model(name, weights=None).state_dict(), file)
    return file


@pytest.mark.parametrize(
    ("name", "net", "trunk"),
    [
        ("lpips-vgg", "vgg", "vgg16"),
        ("lpips-alex", "alex", "alexnet"),
        ("lpips-squeeze", "squeeze", "squeezenet1_1"),
    ],
)
def test_the_distance_is_the_one_of_the_lpips_package(tmp_path, name, net, trunk):
    file = weights_of(trunk, tmp_path)
    ours = perceptual.load_perceptual(f"{name}@{file}", None)
    theirs = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    state = backbone.read_weights(file)
    theirs.net.load_state_dict(
        {k: state["features." + k.split(".", 1)[1]] for k in theirs.net.state_dict()}
    )
    x, y = torch.rand(2, 2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        distances = perceptual.distance(ours.features(x), ours.features(y)).sum(1)
        expected = theirs(x, y).flatten()
    torch.testing.assert_close(distances, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("side", [8, 16, 32])
@pytest.mark.parametrize("name", ["lpips-alex", "lpips-squeeze"])
def test_images_too_small_for_a_trunk_are_enlarged(tmp_path, name, side):
    file = weights_of({"lpips-alex": "alexnet", "lpips-squeeze": "squeezenet1_1"}[name], tmp_path)
    distance = perceptual.load_perceptual(f"{name}@{file}", None)
    x, y = torch.rand(2, 1, 3, side, side) * 2 - 1
    distances = perceptual.distance(distance.features(x), distance.features(y))
    assert torch.isfinite(distances).all() and (distances.sum(1) > 0).all()


@pytest.mark.parametrize(
    "net", ["squeezenet1_1", "resnet18", "mobilenet_v3_small", "regnet_y_400mf"]
)
def test_any_convolutional_backbone_gives_an_lpips_form(tmp_path, net):
    distance = perceptual.load_perceptual(f"torchvision:{net}@{weights_of(net, tmp_path)}", None)
    x, y = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        same = perceptual.distance(distance.features(x), distance.features(x))
        other = perceptual.distance(distance.features(x), distance.features(y))
        maps = distance.features(x)
    assert same.abs().max() == 0 and (other > 0).all()
    assert [m.shape[2] for m in maps] == sorted({m.shape[2] for m in maps}, reverse=True)
    torch.testing.assert_close(maps[0].square().sum(1), torch.ones_like(maps[0][:, 0]))


def test_of_many_bands_the_distance_is_the_mean_over_threes():
    convolution = torch.nn.Conv2d(3, 4, 3)
    distance = perceptual.Perceptual("", "", lambda x: [convolution(x)], [torch.rand(4)])
    x, y = torch.rand(2, 2, 5, 16, 16)
    with torch.no_grad():
        whole = perceptual.distance(distance.features(x), distance.features(y))
        parts = [
            perceptual.distance(distance.features(x[:, bands]), distance.features(y[:, bands]))
            for bands in ([0, 1, 2], [3, 4, 4])
        ]
    torch.testing.assert_close(whole, torch.stack(parts).mean(0))


def test_the_denoisers_own_features_are_a_distance():
    model = Denoiser(tiny_unet(), linear_alphas_cumprod(), "epsilon", "", 16)
    own = perceptual.load_perceptual("unet", model)
    x, y = torch.rand(2, 2, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        assert (perceptual.distance(own.features(x), own.features(y)) > 0).all()


def test_rows_of_draws_are_compared_with_their_own_image():
    a, b = ([torch.randn(n, 5, 4, 4)] for n in (3, 6))
    distances = perceptual.distance(a, b)
    for i in range(6):
        alone = (a[0][i // 2] - b[0][i]).square().sum(0).mean()
        torch.testing.assert_close(distances[i], alone.view(1))


def test_auto_takes_the_papers_distance_where_its_weights_lie(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    folder = tmp_path / "checkpoints" / "vgg16-397923af.pth"
    folder.parent.mkdir()
    folder.write_bytes(b"")
    assert perceptual.choose_perceptual("auto")[0] == "lpips-vgg"


def test_the_papers_weights_are_those_of_torchvision():
    from torchvision.models import VGG16_Weights

    assert VGG16_Weights.IMAGENET1K_V1.url == perceptual.VGG_URL


def test_auto_takes_the_own_features_where_nothing_can_be_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(backbone, "reachable", lambda url, timeout=5.0: False)
    name, why = perceptual.choose_perceptual("auto")
    assert name == "unet" and "lpips-vgg" in why and "\n" not in why


@pytest.mark.parametrize(
    "spec",
    ["psnr", "torchvision:nothing", "torchvision:squeezenet1_1@absent.pth", "lpips-vgg@absent.pth"],
)
def test_a_distance_that_is_not_to_be_had_is_one_sentence(spec):
    with pytest.raises(UserError) as error:
        perceptual.load_perceptual(spec, None)
    assert "\n" not in str(error.value)


def test_weights_of_another_network_are_refused(tmp_path):
    file = weights_of("alexnet", tmp_path)
    with pytest.raises(UserError, match="do not fit"):
        perceptual.load_perceptual(f"torchvision:resnet18@{file}", None)
    with pytest.raises(UserError, match="vgg16"):
        perceptual.load_perceptual(f"lpips-vgg@{file}", None)


def test_a_transformer_has_no_feature_maps(tmp_path):
    file = weights_of("vit_b_32", tmp_path)
    with pytest.raises(UserError, match="convolutional"):
        perceptual.load_perceptual(f"torchvision:vit_b_32@{file}", None)


@pytest.mark.skipif(not SQUEEZENET.exists(), reason="no ImageNet weights beside the repository")
def test_a_real_backbone_finds_a_changed_object_further_than_a_little_noise():
    distance = perceptual.load_perceptual(f"torchvision:squeezenet1_0@{SQUEEZENET}", None)
    from sklearn.datasets import load_sample_image

    def crop(name):
        pixels = torch.tensor(load_sample_image(name)[100:228, 200:328].copy()).permute(2, 0, 1)
        return pixels.float()[None] / 127.5 - 1

    china, flower = crop("china.jpg"), crop("flower.jpg")
    noisy = (china + 0.02 * torch.randn(china.shape)).clamp(-1, 1)
    with torch.no_grad():
        base = distance.features(china)
        near = perceptual.distance(base, distance.features(noisy)).sum()
        far = perceptual.distance(base, distance.features(flower)).sum()
    assert near < far / 2
