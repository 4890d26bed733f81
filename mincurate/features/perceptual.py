"""Perceptual distances in the form of LPIPS, with the features of the reference computed once.

LPIPS (Zhang et al., CVPR 2018, equation 1): unit-normalise each layer's features over channels,
weight the channels, sum the squared differences over channels, average over positions, and add up
the layers. Here the square root of the channel weight is folded into the features, so that every
distance is the mean squared length of a feature difference, and K draws cost K + 1 feature passes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mincurate import hashing
from mincurate.diffusion.denoiser import Denoiser
from mincurate.errors import UserError
from mincurate.features import backbone
from mincurate.features.threes import number_of_threes, threes

LPIPS_NETS = {"lpips-vgg": "vgg", "lpips-alex": "alex", "lpips-squeeze": "squeeze"}
LPIPS_TRUNKS = {"vgg": "vgg16", "alex": "alexnet", "squeeze": "squeezenet1_1"}
LPIPS_MIN_SIDE = {"vgg": 16, "alex": 35, "squeeze": 17}
"""Smallest side of an image in pixels; smaller images are enlarged, or the last map is empty."""
VGG_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
"""Of torchvision's VGG16, so that asking for it does not import torchvision: 160 MB, a second."""
UNET_FEATURE_SIGMA = 0.2
"""Noise level given to the denoiser's encoder with clean images (measured: 0.2 ranks better than
0.05 and 0.1)."""


OF_SAMPLES = ("unet", "latent")
"""Distances of a model's samples: they need the model."""


@dataclass(frozen=True, eq=False)
class Perceptual:
    """A perceptual distance.

    Attributes:
        name: as in a run's record.
        weights_hash: identifies the network's weights.
        trunk: ``(N, 3, H, W)`` in [-1, 1] to a list of feature maps ``(N, C, h, w)``.
        channel_weights: one ``(C,)`` tensor per layer, at least 0; ``None`` for all ones.
        every_band: the trunk sees all bands of an image at once, not three.
        of_samples: the trunk sees a model's own samples, which are latents of a latent model.
    """

    name: str
    weights_hash: str
    trunk: Callable[[Tensor], list[Tensor]]
    channel_weights: list[Tensor] | None = None
    every_band: bool = False
    of_samples: bool = False

    def sample_features(self, denoiser: Denoiser, samples: Tensor) -> list[Tensor]:
        """`features` of the samples of a model, decoded where the distance is one of images."""
        return self.features(samples if self.of_samples else denoiser.space.to_images(samples))

    def image_maps(self, denoiser: Denoiser, images: Tensor) -> list[Tensor]:
        """The trunk's feature maps of images, encoded where it sees latents."""
        return self.trunk(denoiser.space.to_samples(images) if self.of_samples else images)

    def between(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """The distance of features, see `distance`."""
        return distance(a, b)

    def features(self, x: Tensor) -> list[Tensor]:
        """Normalised, weighted features, ``(N, C, h, w)`` per layer.

        Of more than three bands the distance is the mean over their `threes`.

        Args:
            x: ``(N, C, H, W)`` in [-1, 1].
        """
        groups = 1 if self.every_band else number_of_threes(x)
        if groups > 1:
            parts = self.features(threes(x).flatten(0, 1))
            return [part.unflatten(0, (-1, groups)).flatten(1, 2) / groups**0.5 for part in parts]
        maps = [unit_normalise(layer.float()) for layer in self.trunk(x)]
        if self.channel_weights is None:
            return maps
        return [
            m * w.sqrt().view(1, -1, 1, 1) for m, w in zip(maps, self.channel_weights, strict=True)
        ]


class LatentDistance(Perceptual):
    """Euclidean distance of latents: neither a network nor decoding."""

    def between(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """``(k N, 1)``, of `features` of N samples and of k N."""
        return distance(a, b).sqrt()

    def features(self, x: Tensor) -> list[Tensor]:
        """``x``, scaled so that the mean over positions in `distance` is a sum."""
        return [x.float() * (x.shape[2] * x.shape[3]) ** 0.5]


def unit_normalise(features: Tensor, eps: float = 1e-10) -> Tensor:
    """Scale each position's channel vector of ``(N, C, h, w)`` to length 1, as LPIPS does."""
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + eps)


def distance(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """Distance per layer between features; the sum over layers is the LPIPS value, at least 0.

    Args:
        a: features of N images, from `Perceptual.features`.
        b: features of k N images: k for each of ``a``, in a row.

    Returns:
        ``(k N, L)``, 0 for equal images.
    """
    layers = []
    for x, y in zip(a, b, strict=True):
        difference = y.unflatten(0, (len(x), -1)) - x.unsqueeze(1)
        square = torch.linalg.vector_norm(difference, dim=(2, 3, 4)).square()
        layers.append(square.flatten() / (y.shape[2] * y.shape[3]))
    return torch.stack(layers, dim=1)


def load_perceptual(
    spec: str, denoiser: Denoiser | None = None, *, device: str = "cpu"
) -> Perceptual:
    """Load a perceptual distance.

    Args:
        spec: ``lpips-vgg|lpips-alex|lpips-squeeze[@FILE]``, ``unet``, ``latent`` or
            ``torchvision:NAME[@FILE]``.
        denoiser: needed by ``unet`` and ``latent`` only.
        device: as for torch.

    Raises:
        UserError: there is no such distance, or its weights are missing.
    """
    name, _, file = spec.partition("@")
    if name in OF_SAMPLES and denoiser is None:
        raise ValueError(f"the distance {name} needs the denoiser whose samples it compares")
    if name == "latent" and denoiser:
        return _latent(denoiser)
    if name == "unet" and denoiser:
        return Perceptual(
            name="unet",
            weights_hash=denoiser.content_hash(),
            trunk=lambda x: denoiser.features(x, UNET_FEATURE_SIGMA),
            every_band=True,
            of_samples=True,
        )
    if name in LPIPS_NETS:
        return _load_lpips(name, file, device)
    if name.startswith("torchvision:"):
        net = backbone.load_torchvision(spec.removeprefix("torchvision:"), device=device)
        return Perceptual(name=net.name, weights_hash=net.weights_hash, trunk=net.features)
    raise UserError(
        f"There is no perceptual distance {spec!r}: take one of {', '.join(LPIPS_NETS)}, unet, "
        "latent (for a latent model) or torchvision:NAME[@FILE]."
    )


def _latent(denoiser: Denoiser) -> Perceptual:
    if denoiser.autoencoder is None:
        raise UserError(
            f"--perceptual latent compares latents, and the model {denoiser.name} works on pixels: "
            "take another distance or a latent model."
        )
    weights = denoiser.autoencoder.content_hash()
    return LatentDistance("latent", weights, trunk=lambda x: [x], of_samples=True)


def choose_perceptual(spec: str) -> tuple[str, str]:
    """Resolve ``auto``: ``lpips-vgg``, the paper's, if its weights are available, else ``unet``.

    Returns:
        The distance to load, and the reason in one line (empty unless ``spec`` is ``auto``).
    """
    if spec != "auto":
        return spec, ""
    if backbone.cached_file(VGG_URL).is_file():
        return "lpips-vgg", "Perceptual distance: lpips-vgg (the paper's)."
    if backbone.reachable(VGG_URL):
        return "lpips-vgg", (
            "Perceptual distance: lpips-vgg (the paper's); downloading its weights once (528 MB)."
        )
    return "unet", (
        "Perceptual distance: unet (the denoiser's own features); the weights of lpips-vgg are not "
        "on this machine and cannot be downloaded (--perceptual torchvision:NAME@FILE reads a "
        "local file)."
    )


def _trunk_weights(net: str) -> Any:
    from torchvision.models import get_model_weights

    return get_model_weights(LPIPS_TRUNKS[net]).IMAGENET1K_V1


def _load_lpips(name: str, file: str, device: str) -> Perceptual:
    """The published LPIPS: trunk weights from torchvision, channel weights from the package."""
    import lpips

    net = LPIPS_NETS[name]
    if file:
        from pathlib import Path

        published = backbone.read_weights(Path(file))
    else:
        published = backbone.published_weights(_trunk_weights(net))
    model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    # The trunk's slices keep torchvision's layer numbers: slice2.4.weight is features.4.weight.
    sources = {key: f"features.{key.split('.', 1)[1]}" for key in model.net.state_dict()}
    if any(
        source not in published or published[source].shape != model.net.state_dict()[key].shape
        for key, source in sources.items()
    ):
        raise UserError(
            f"The weights in {file or 'torch cache'} do not fit torchvision's {LPIPS_TRUNKS[net]}, "
            f"which {name} needs."
        )
    trunk_state = {key: published[source].float() for key, source in sources.items()}
    model.net.load_state_dict(trunk_state)
    model = model.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
    weights = [layer.model[-1].weight.flatten() for layer in model.lins]

    def trunk(x: Tensor) -> list[Tensor]:
        if min(x.shape[2:]) < LPIPS_MIN_SIDE[net]:
            side = LPIPS_MIN_SIDE[net]
            x = F.interpolate(x, size=side, mode="bilinear", align_corners=False)
        return list(model.net(model.scaling_layer(x).contiguous(memory_format=torch.channels_last)))

    return Perceptual(
        name=name,
        weights_hash=hashing.hash_tensors(trunk_state),
        trunk=trunk,
        channel_weights=weights,
    )
