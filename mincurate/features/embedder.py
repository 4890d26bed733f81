"""Embeddings of images: from a pretrained network, or from the denoiser's own encoder."""

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
"""Noise level given to the denoiser with a clean image (`benchmarks/tried.py --only own`: higher
than that of the score is better)."""


@dataclass(frozen=True, eq=False)
class Embedder:
    """A function from images to embeddings.

    Attributes:
        name: as in a run's record.
        weights_hash: identifies the network's weights.
        embed: ``(N, 3, H, W)`` in [-1, 1] to ``(N, d)``.
        weak: the network was not trained to distinguish kinds of images.
    """

    name: str
    weights_hash: str
    embed: Callable[[Tensor], Tensor]
    weak: bool


def load_embedder(spec: str, denoiser: Denoiser | None, *, device: str = "cpu") -> Embedder:
    """Load an embedding.

    Args:
        spec: ``unet``, ``torchvision:NAME[@FILE]``, or a hub id or folder for
            ``transformers.AutoModel``.
        denoiser: needed by ``unet`` only.
        device: as for torch.

    Raises:
        UserError: there is no such embedding, or its weights are missing.
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


def choose_embedding(spec: str, perceptual_spec: str) -> str:
    """Resolve ``auto``: the perceptual distance's network if it is pretrained, else ``unet``."""
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
    """Mean and standard deviation of every channel: ``(N, C, h, w)`` to ``(N, 2 C)`` of length 1.

    Measured on the last feature map (`benchmarks/study.py`): the standard deviation separates rare
    from common better than the mean, and earlier maps add texture.
    """
    flat = features.float().flatten(2)
    return F.normalize(torch.cat([flat.mean(2), flat.std(2, correction=0)], dim=1), dim=1)


def unet_embedding(denoiser: Denoiser, x: Tensor) -> Tensor:
    """Embeddings ``(N, d)`` from the denoiser's encoder, of images ``(N, 3, H, W)`` in [-1, 1]."""
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
        pooled = getattr(output, "pooler_output", None)
        return (pooled if pooled is not None else output.last_hidden_state[:, 0]).flatten(1)

    return Embedder(spec, hashing.hash_tensors(net.state_dict()), embed, weak=False)
