"""Vectors of images: from a pretrained network, or from the denoiser's own encoder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mincurate import hashing
from mincurate.diffusion import hub
from mincurate.diffusion.denoiser import Denoiser
from mincurate.diffusion.load import check_finite
from mincurate.errors import UserError, reason
from mincurate.features import backbone, packaged
from mincurate.features.threes import by_threes
from mincurate.features.vector_table import VectorTable
from mincurate.images.fit import Resampling

UNET_SIGMA = 0.5
"""Noise level given to the denoiser with a clean image (`benchmarks/tried.py --only own`: higher
than that of the score is better)."""
DINOV2 = "facebook/dinov2-small"
"""The network of ``auto`` where the hub has it and a GPU computes it."""


@dataclass(frozen=True, eq=False)
class Embedder:
    """A function from images to vectors.

    Attributes:
        name: as in a run's record.
        weights_hash: identifies the network's weights.
        network: ``(N, C, side, side)`` in [-1, 1] to ``(N, d)``.
        side: side of the images that the network was trained on, in pixels.
        least: images of at least this side need not be enlarged to ``side``.
        weak: the network was not trained to distinguish kinds of images.
        resampling: the filter that shrinks images to ``side``. The denoiser sees images as sharp as
            those that it is trained on; rankings by other networks do not depend on it.
        table: vectors that the user brought, in place of the network's.
    """

    name: str
    weights_hash: str
    network: Callable[[Tensor], Tensor]
    side: int
    least: int
    weak: bool
    resampling: Resampling = "hamming"
    table: VectorTable | None = None

    def side_for(self, usual: int) -> int:
        """The side to decode images at, in pixels.

        Args:
            usual: median of the images' shorter sides, in pixels.
        """
        return min(self.side, max(self.least, usual))

    def embed(self, x: Tensor) -> Tensor:
        """Vectors ``(N, d)`` of images ``(N, C, H, W)`` in [-1, 1], of whatever size."""
        side = self.side_for(x.shape[-1])
        if x.shape[-2:] != (side, side):
            x = F.interpolate(x, size=side, mode="bicubic", align_corners=False, antialias=True)
        return self.network(x.contiguous(memory_format=torch.channels_last))


def load_embedder(spec: str, denoiser: Denoiser | None, *, device: str = "cpu") -> Embedder:
    """Load an embedding.

    Args:
        spec: ``efficientnet-lite0``, ``unet``, ``torchvision:NAME[@FILE]``, or a hub id or folder
            for ``transformers.AutoModel``.
        denoiser: needed by ``unet`` only.
        device: as for torch.

    Raises:
        UserError: there is no such embedding, or its weights are missing.
    """
    if spec == "unet":
        if denoiser is None:
            raise ValueError("the embedding unet needs the denoiser whose features it takes")
        side = denoiser.image_size
        weights = denoiser.content_hash()
        return Embedder(
            "unet",
            weights,
            lambda x: unet_embedding(denoiser, x),
            side,
            side,
            weak=True,
            resampling="lanczos",
        )
    if spec == packaged.NAME:
        lite = packaged.load_efficientnet(device)
        return Embedder(
            packaged.NAME,
            packaged.WEIGHTS_HASH,
            by_threes(lambda x: summary(lite(x))),
            packaged.SIDE,
            packaged.SIDE,
            weak=False,
        )
    if spec.startswith("torchvision:"):
        net = backbone.load_torchvision(spec.removeprefix("torchvision:"), device=device)
        return Embedder(
            net.name,
            net.weights_hash,
            by_threes(lambda x: summary(net.features(x)[-1])),
            backbone.SIDE,
            net.min_side,
            weak=False,
        )
    return _load_hub_model(spec, device)


def choose_embedding(spec: str, perceptual_spec: str, device: str = "cpu") -> str:
    """Resolve ``auto``: the best network that is here.

    DINOv2 where a GPU computes it and the hub's cache has it; else EfficientNet-Lite0, which the
    extra ``offline`` installs; else the network of the perceptual distance if that is pretrained;
    else the denoiser's own features.
    """
    if spec != "auto":
        return spec
    if device.startswith("cuda") and hub.has(DINOV2):
        return DINOV2
    if packaged.weights_file():
        return packaged.NAME
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
    samples = denoiser.space.to_samples(x)
    return torch.cat([summary(m) for m in denoiser.features(samples, UNET_SIGMA)], dim=1)


def _load_hub_model(spec: str, device: str) -> Embedder:
    try:
        from transformers import AutoConfig, AutoImageProcessor, AutoModel
    except ImportError:
        raise UserError(
            f"The embedding {spec!r} is neither {packaged.NAME}, unet nor torchvision:NAME[@FILE]; "
            "to read it as a hub id install transformers (pip install 'mincurate[hub]')."
        ) from None
    offline = not Path(spec).is_dir() and not hub.reachable()
    try:
        config = AutoConfig.from_pretrained(spec, local_files_only=offline)
        net = AutoModel.from_pretrained(spec, trust_remote_code=False, local_files_only=offline)
        facts = AutoImageProcessor.from_pretrained(spec, local_files_only=offline).to_dict()
    except (OSError, ValueError, RuntimeError) as error:
        if offline:
            raise UserError(hub.unreachable(spec)) from error
        raise UserError(
            f"The embedding model {spec!r} could not be loaded: {reason(error)}"
        ) from error
    # CLIP, SigLIP and their like have a tower for images beside the one for texts.
    if getattr(config, "vision_config", None) is not None:
        net = getattr(net, "vision_model", net)
    check_finite(net.state_dict(), f"The embedding model {spec}")
    net = net.eval().requires_grad_(False).to(device)
    side, mean, std = _preprocessing(facts)

    def network(x: Tensor) -> Tensor:
        output = net(pixel_values=((x + 1) / 2 - mean.to(x)) / std.to(x))
        pooled = getattr(output, "pooler_output", None)
        return (pooled if pooled is not None else output.last_hidden_state[:, 0]).flatten(1)

    weights = hashing.hash_tensors(net.state_dict())
    return Embedder(spec, weights, by_threes(network), side, side, weak=False)


def _preprocessing(facts: dict[str, Any]) -> tuple[int, Tensor, Tensor]:
    """Side in pixels, mean and standard deviation that a hub's image processor names."""
    size = facts.get("crop_size") or facts.get("size") or {}
    side = int(size.get("height") or size.get("shortest_edge") or 224)
    mean, std = facts.get("image_mean"), facts.get("image_std")
    return (
        side,
        torch.tensor(mean or backbone.IMAGENET_MEAN).view(1, 3, 1, 1),
        torch.tensor(std or backbone.IMAGENET_STD).view(1, 3, 1, 1),
    )
