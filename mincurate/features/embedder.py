"""Vectors for images, the neighbours among them, and a two-dimensional map of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mincurate import hashing
from mincurate.diffusion import hub
from mincurate.diffusion.denoiser import Denoiser
from mincurate.diffusion.load import check_finite
from mincurate.errors import UserError, reason
from mincurate.features import backbone

UNET_SIGMA = 0.5
"""Noise level the denoiser is told when it looks at a clean image for a vector (measured:
`benchmarks/tried.py --only own`; told of more noise than there is in scoring, it sees more)."""


@dataclass(frozen=True, eq=False)
class Embedder:
    """A function from images to vectors.

    Attributes:
        name: how records call it.
        weights_hash: identifies the network's weights.
        embed: ``(N, 3, H, W)`` in [-1, 1] to ``(N, d)``.
        weak: the network was not trained to tell kinds of images apart.
    """

    name: str
    weights_hash: str
    embed: Callable[[Tensor], Tensor]
    weak: bool


def load(spec: str, denoiser: Denoiser | None, *, device: str = "cpu") -> Embedder:
    """The embedding named ``spec``: ``unet``, ``torchvision:NAME[@FILE]``, or a hub id or folder
    that ``transformers.AutoModel`` reads.

    Raises:
        UserError: no such embedding, or its weights are not to be had.
    """
    if spec == "unet":
        if denoiser is None:
            raise ValueError("the embedding unet needs the denoiser whose features it takes")
        return Embedder(
            "unet", denoiser.content_hash(), lambda x: unet_embedding(denoiser, x), weak=True
        )
    if spec.startswith("torchvision:"):
        net = backbone.load_torchvision(spec.removeprefix("torchvision:"), device=device)
        return Embedder(
            net.name, net.weights_hash, lambda x: summary(net.features(x)[-1]), weak=False
        )
    return _load_hub_model(spec, device)


def choose(spec: str, perceptual_spec: str) -> str:
    """Resolve ``auto``: the network of the perceptual distance where it is a pretrained one."""
    if spec != "auto":
        return spec
    if perceptual_spec.startswith("torchvision:"):
        return perceptual_spec
    if perceptual_spec.startswith("lpips-"):
        name, _, file = perceptual_spec.partition("@")
        trunk = {"lpips-vgg": "vgg16", "lpips-alex": "alexnet", "lpips-squeeze": "squeezenet1_1"}
        return f"torchvision:{trunk[name]}" + (f"@{file}" if file else "")
    return "unet"


def summary(features: Tensor) -> Tensor:
    """Mean and standard deviation of every channel of ``(N, C, h, w)``: ``(N, 2 C)`` of length 1.

    Of a network's last map. Measured (`benchmarks/study.py`, pairs for choosing): the deviation
    tells rare from common better than the mean, and earlier maps add texture.
    """
    flat = features.float().flatten(2)
    return F.normalize(torch.cat([flat.mean(2), flat.std(2, correction=0)], dim=1), dim=1)


def unet_embedding(denoiser: Denoiser, x: Tensor) -> Tensor:
    """Vectors from the denoiser's own encoder, for machines with no pretrained network."""
    return torch.cat([summary(m) for m in denoiser.features(x, UNET_SIGMA)], dim=1)


def _load_hub_model(spec: str, device: str) -> Embedder:
    try:
        from transformers import AutoImageProcessor, AutoModel
    except ImportError:
        raise UserError(
            f"The embedding {spec!r} is neither unet nor torchvision:NAME[@FILE]; to read it as a "
            "hub id install transformers (pip install 'mincurate[hub]')."
        ) from None
    offline = not Path(spec).is_dir() and not hub.reachable()
    try:
        net = AutoModel.from_pretrained(spec, trust_remote_code=False, local_files_only=offline)
        config = AutoImageProcessor.from_pretrained(spec, local_files_only=offline).to_dict()
    except (OSError, ValueError, RuntimeError) as error:
        if offline:
            raise UserError(hub.unreachable(spec)) from error
        raise UserError(
            f"The embedding model {spec!r} could not be loaded: {reason(error)}"
        ) from error
    check_finite(net.state_dict(), f"The embedding model {spec}")
    net = net.eval().requires_grad_(False).to(device)
    size = config.get("crop_size") or config.get("size") or {}
    side = int(size.get("height") or size.get("shortest_edge") or 224)
    mean = torch.tensor(config.get("image_mean") or backbone.IMAGENET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(config.get("image_std") or backbone.IMAGENET_STD).view(1, 3, 1, 1)

    def embed(x: Tensor) -> Tensor:
        x = F.interpolate(x, size=side, mode="bicubic", align_corners=False, antialias=True)
        output = net(((x + 1) / 2 - mean.to(x)) / std.to(x))
        summary = getattr(output, "pooler_output", None)
        return (summary if summary is not None else output.last_hidden_state[:, 0]).flatten(1)

    return Embedder(spec, hashing.hash_tensors(net.state_dict()), embed, weak=False)
