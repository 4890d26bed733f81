"""With random weights: the real ones (95 MB) are not here, and only their numbers would differ."""

import numpy as np
import pytest
import torch

from mincurate.errors import UserError
from mincurate.evaluation import inception
from mincurate.evaluation.inception import Inception

fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file as torch-fidelity and pytorch-fid have it."""
    from torchvision.models import inception_v3

    torch.manual_seed(0)
    net = inception_v3(num_classes=1008, aux_logits=False, init_weights=False)
    path = tmp_path_factory.mktemp("weights") / inception.FILES[0]
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (3, 3, 24, 24), dtype=np.uint8)


def test_features_are_those_of_torch_fidelity(weights, pixels):
    pooled, spatial = Inception(weights, "cpu")(pixels)
    theirs = fidelity.FeatureExtractorInceptionV3("theirs", ["2048"], str(weights))
    np.testing.assert_allclose(pooled, theirs(torch.from_numpy(pixels))[0], atol=1e-5)
    assert pooled.shape == (3, 2048) and spatial.shape == (3, 7 * 17 * 17)


def test_spatial_features_are_the_first_channels_of_the_block_called_mixed_6(weights, pixels):
    """The blocks in order are called mixed, mixed_1, ...: the seventh is torchvision's Mixed_6d."""
    network = Inception(weights, "cpu")
    net, outputs = network._net, []
    blocks = [name for name, _ in net.named_children() if name.startswith("Mixed_")]
    getattr(net, blocks[6]).register_forward_hook(lambda *call: outputs.append(call[2]))
    _, spatial = network(pixels)
    expected = outputs[0][:, :7].reshape(3, -1)
    np.testing.assert_array_equal(spatial, expected)
    assert blocks[6] == "Mixed_6d" and not np.array_equal(spatial[0], spatial[1])


def test_weights_in_torchs_cache_are_found(weights, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert inception.cached_weights() is None
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / inception.FILES[1]).symlink_to(weights)
    assert inception.cached_weights().name == inception.FILES[1]


@pytest.mark.parametrize(
    ("content", "words"),
    [({"a": torch.zeros(2)}, "does not hold the Inception weights"), (None, "no weights file")],
)
def test_a_file_without_these_weights_is_one_sentence(tmp_path, content, words):
    if content is not None:
        torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match=words) as error:
        Inception(tmp_path / "x.pth", "cpu")
    assert "\n" not in str(error.value)


def test_a_file_that_runs_code_when_it_is_read_is_refused(tmp_path):
    import os
    import pickle

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    (tmp_path / "x.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match="not a readable weights file"):
        Inception(tmp_path / "x.pth", "cpu")
    assert not (tmp_path / "ran").exists()
