"""Networks of photographs see three channels: images of more bands are shown to them by threes."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def number_of_threes(x: Tensor) -> int:
    """Groups of three bands that make up images ``(N, C, H, W)``."""
    return -(-x.shape[1] // 3)


def threes(x: Tensor) -> Tensor:
    """Images ``(N, C, H, W)`` as ``(N, G, 3, H, W)``; the last band fills up the last group."""
    missing = -x.shape[1] % 3
    filled = torch.cat([x, x[:, -1:].expand(-1, missing, -1, -1)], dim=1)
    return filled.unflatten(1, (-1, 3))


def by_threes(network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A network of vectors for images of any number of bands: those of the groups, end to end.

    Each has length 1, so that every group counts alike. Three bands are seen as by the network.
    """

    def whole(x: Tensor) -> Tensor:
        groups = number_of_threes(x)
        if groups == 1:
            return network(x)
        together = threes(x).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return F.normalize(network(together).float(), dim=1).unflatten(0, (-1, groups)).flatten(1)

    return whole
