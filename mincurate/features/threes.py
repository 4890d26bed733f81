"""Networks of photographs see three channels: images of more bands are shown to them by threes.

What is odd in one band of many is lost between the other two, so that the vectors hold `traits` of
every band as well (`benchmarks/bands.py`: 0.65 without them, above 0.9 with them).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

TRAITS = 0.25
"""Weight of a trait beside the network's vector, whose length is 1: in smooth random bands the
traits then make up a fifth of the squared distances."""
_SIDE = 48


def number_of_threes(x: Tensor) -> int:
    """Groups of three bands that make up images ``(N, C, H, W)``."""
    return -(-x.shape[1] // 3)


def threes(x: Tensor) -> Tensor:
    """Images ``(N, C, H, W)`` as ``(N, G, 3, H, W)``; the last band fills up the last group."""
    missing = -x.shape[1] % 3
    filled = torch.cat([x, x[:, -1:].expand(-1, missing, -1, -1)], dim=1)
    return filled.unflatten(1, (-1, 3))


def by_threes(network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A network of vectors for images of any number of bands.

    Of more than three: the vectors of all groups end to end, each group counting alike, and the
    `traits`. Three bands are seen as by the network.
    """

    def whole(x: Tensor) -> Tensor:
        groups = number_of_threes(x)
        if groups == 1:
            return network(x)
        together = threes(x).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        vectors = F.normalize(network(together).float(), dim=1) / groups**0.5
        return torch.cat([vectors.unflatten(0, (-1, groups)).flatten(1), TRAITS * traits(x)], dim=1)

    return whole


def traits(x: Tensor) -> Tensor:
    """Five numbers of every band of images ``(N, C, H, W)`` in [-1, 1], ``(N, 5 C)``.

    Mean, and the logarithms of: the standard deviation; the largest deviation in units of it; the
    root mean square of the Laplacian in units of it; the largest Laplacian in units of that.
    """
    small = F.adaptive_avg_pool2d(x.float(), _SIDE) if min(x.shape[2:]) > _SIDE else x.float()
    mean = small.mean((2, 3), keepdim=True)
    std = small.std((2, 3), correction=0) + 0.02
    around = small[..., :-2, 1:-1] + small[..., 2:, 1:-1]
    around = around + small[..., 1:-1, :-2] + small[..., 1:-1, 2:]
    laplacian = 4 * small[..., 1:-1, 1:-1] - around
    edges = laplacian.square().mean((2, 3)).sqrt() + 0.005
    largest, steepest = (small - mean).abs().amax((2, 3)), laplacian.abs().amax((2, 3))
    logs = [std, largest / std + 0.01, edges / std, steepest / edges + 0.01]
    return torch.stack([mean[..., 0, 0], *(one.log() for one in logs)], dim=2).flatten(1)
