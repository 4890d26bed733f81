"""Networks in channels-last memory, with a group normalisation that is fast there on a CPU.

Convolutions are fastest on channels-last activations, and PyTorch's own group normalisation is slow
on them: it took 44 % of a scoring run in bfloat16, 4 to 10 times as long as this one
(docs/results/speed.md).
"""

from typing import TypeVar

import torch
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm` with the same weights and results.

    Other memory layouts, other devices and gradients in float32 use PyTorch's own.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x``, ``(N, C, H, W)``."""
        fast = (
            x.device.type == "cpu"
            and x.ndim == 4
            and x.is_contiguous(memory_format=torch.channels_last)
            and (x.dtype == torch.bfloat16 or not torch.is_grad_enabled())
        )
        return self._channels_last(x) if fast else super().forward(x)

    def _channels_last(self, x: Tensor) -> Tensor:
        """From the moments of every channel about its rounded mean, which keeps all digits."""
        n, c, h, w = x.shape
        groups = (n, self.num_groups, c // self.num_groups)
        values = x.permute(0, 2, 3, 1).reshape(n, h * w, c)
        mean = values.mean(1, keepdim=True, dtype=torch.float32)
        centre = mean.to(x.dtype)
        centred = values - centre
        offset = (mean - centre).view(groups)
        square = (centred * centred).mean(1, dtype=torch.float32).view(groups)
        mean = mean.view(groups)
        of_group = mean.mean(2, keepdim=True)
        variance = square - offset.square() + (mean - of_group).square()
        deviation = (variance.mean(2, keepdim=True) + self.eps).sqrt()
        scale = self.weight.float().view(groups[1:]) / deviation
        shift = self.bias.float().view(groups[1:]) + (centre.view(groups) - of_group) * scale
        scale, shift = (v.reshape(n, 1, c).to(x.dtype) for v in (scale, shift))
        return torch.addcmul(shift, centred, scale).view(n, h, w, c).permute(0, 3, 1, 2)


def channels_last(net: Net) -> Net:
    """``net`` with weights in channels-last memory and every affine group norm a `GroupNorm`."""
    for module in net.modules():
        if type(module) is nn.GroupNorm and module.affine:
            module.__class__ = GroupNorm
    return net.to(memory_format=torch.channels_last)
