"""Feature maps of pretrained torchvision networks, with published or local weights."""

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mincurate import hashing
from mincurate.diffusion.load import check_finite
from mincurate.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SIDE = 224
"""Side of the images that torchvision's networks were trained on, in pixels."""
POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Dropout)


@dataclass(frozen=True, eq=False)
class Backbone:
    """A pretrained convolutional network.

    Attributes:
        name: ``torchvision:NAME``.
        weights_hash: identifies the weights.
        stages: maps ``(N, 3, H, W)`` to the last feature map at every spatial resolution.
        min_side: smaller images are enlarged to this side, in pixels.
    """

    name: str
    weights_hash: str
    stages: nn.Module
    min_side: int

    def features(self, x: Tensor) -> list[Tensor]:
        """Feature maps ``(N, C, h, w)``, shallow to deep, of images ``(N, 3, H, W)`` in [-1, 1]."""
        if min(x.shape[2:]) < self.min_side:
            x = F.interpolate(x, size=self.min_side, mode="bilinear", align_corners=False)
        mean = x.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
        std = x.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
        x = ((x + 1) / 2 - mean) / std
        return list(self.stages(x.contiguous(memory_format=torch.channels_last)).values())


def load_torchvision(spec: str, *, device: str = "cpu", min_side: int = 96) -> Backbone:
    """Load ``NAME`` with torchvision's published weights, or ``NAME@FILE`` with those of a file.

    Args:
        spec: ``NAME[@FILE]``; FILE as for `read_weights`.
        device: as for torch.
        min_side: see `Backbone`.

    Raises:
        UserError: there is no such network, or its weights are missing or do not fit.
    """
    from torchvision import models

    name, _, file = spec.partition("@")
    if name not in models.list_models(module=models):
        raise UserError(f"torchvision has no classification model named {name!r}.")
    state = read_weights(Path(file)) if file else published_weights(models.get_model_weights(name))
    net = models.get_model(name, weights=None)
    head = {key for key in net.state_dict() if key.split(".")[0] in ("classifier", "fc", "heads")}
    own = net.state_dict()
    fitting = {k: v.float() for k, v in state.items() if k in own and own[k].shape == v.shape}
    missing = set(own) - set(fitting) - head
    if missing:
        raise UserError(
            f"The weights {file or 'published'} do not fit torchvision's {name}: "
            f"{len(missing)} of {len(own)} tensors are missing or have another shape, "
            f"for example {min(missing)}."
        )
    check_finite(fitting, f"The network {spec}")
    net.load_state_dict(fitting, strict=False)
    net = net.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
    return Backbone(
        name=f"torchvision:{name}",
        weights_hash=hashing.hash_tensors(fitting),
        stages=_cut_into_stages(net, name, min_side),
        min_side=min_side,
    )


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read a state dict: a ``.safetensors`` file, or one for ``torch.load(weights_only=True)``.

    Raises:
        UserError: the file is missing, damaged, or holds something other than tensors.
    """
    import pickle

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.expanduser().is_file():
        raise UserError(f"There is no weights file {file}.")
    try:
        if file.suffix == ".safetensors":
            return load_file(file.expanduser())
        state = torch.load(file.expanduser(), map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        raise UserError(
            f"{file} is not a readable weights file (safetensors, or a plain state dict that "
            f"torch.load(weights_only=True) accepts): {type(error).__name__}."
        ) from error
    if isinstance(state, Mapping) and "state_dict" in state:
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{file} holds no state dict of tensors.")
    return dict(state)


def cached_file(url: str) -> Path:
    """Where torch keeps the download of ``url``."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urllib.parse.urlparse(url).path).name


def reachable(url: str, timeout: float = 5.0) -> bool:
    """Whether ``url`` answers within ``timeout`` seconds."""
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=timeout):
            return True
    except (urllib.error.URLError, OSError, ValueError):
        return False


def published_weights(choices: Any) -> dict[str, Tensor]:
    """The default weights of a torchvision weights enum, from torch's cache or downloaded.

    Raises:
        UserError: they are not in the cache and cannot be downloaded, or cannot be read.
    """
    weights = choices.DEFAULT if hasattr(choices, "DEFAULT") else choices
    if not cached_file(weights.url).is_file() and not reachable(weights.url):
        raise UserError(
            f"The weights {weights} are not in {cached_file(weights.url).parent} and cannot be "
            "downloaded from here; put the file there, or name a local one with NAME@FILE."
        )
    try:
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (RuntimeError, OSError) as error:
        raise UserError(f"The weights {weights} could not be read: {error}.") from error


def _candidates(net: nn.Module) -> dict[str, nn.Module]:
    """The blocks of a network in order, by name: those of ``features``, else its children."""
    features = getattr(net, "features", None)
    if isinstance(features, nn.Sequential):
        return {f"features.{name}": m for name, m in features.named_children()}
    blocks: dict[str, nn.Module] = {}
    for name, module in net.named_children():
        if name == "trunk_output":  # RegNet nests its stages one level deeper
            blocks |= {f"{name}.{inner}": m for inner, m in module.named_children()}
        else:
            blocks[name] = module
    return blocks


def _cut_into_stages(net: nn.Module, name: str, side: int) -> nn.Module:
    """A network that returns the output of the last block at every spatial resolution."""
    from torchvision.models.feature_extraction import create_feature_extractor

    blocks = [key for key, m in _candidates(net).items() if not isinstance(m, POOLING)]
    probe = torch.zeros(1, 3, side, side, device=next(net.parameters()).device)
    try:
        outputs = create_feature_extractor(net, return_nodes=blocks)(probe)
    except (AssertionError, RuntimeError, ValueError):  # a network for one input size only
        outputs = {}
    last_at: dict[int, str] = {}
    for key, output in outputs.items():
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] > 1:
            last_at[output.shape[2]] = key
    if len(last_at) < 2:
        raise UserError(
            f"torchvision's {name} gives no feature maps at several resolutions; take a "
            "convolutional network such as vgg16, squeezenet1_1 or resnet18."
        )
    stages = [last_at[resolution] for resolution in sorted(last_at, reverse=True)]
    return create_feature_extractor(net, return_nodes=stages)
