"""Networks in channels-last memory, with a group normalisation that is fast there on a CPU.

Convolutions are fastest on channels-last activations, and PyTorch's own group normalisation is slow
on them: it took 44 % of a scoring run in bfloat16, 4 to 10 times as long as this one
(docs/results/speed.md).
"""

from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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
        n, c, h, w = x.shape
        values = x.permute(0, 2, 3, 1).reshape(n, h * w, c)
        y = _Normalise.apply(values, self.weight, self.bias, self.num_groups, self.eps)
        return cast(Tensor, y).view(n, h, w, c).permute(0, 3, 1, 2)


class _Normalise(torch.autograd.Function):
    """Group normalisation of ``(N, H * W, C)``, with the few sums that its gradient needs.

    PyTorch's gradients of each operation took twice as many passes over the activations.
    """

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, num_groups: int, eps: float
    ) -> Tensor:
        """From the moments of every channel about its rounded mean, which keeps all digits."""
        n, _, c = values.shape
        groups = (n, num_groups, c // num_groups)
        mean = values.mean(1, keepdim=True, dtype=torch.float32)
        centre = mean.to(values.dtype)
        centred = values - centre
        offset = (mean - centre).view(groups)
        square = (centred * centred).mean(1, dtype=torch.float32).view(groups)
        mean = mean.view(groups)
        of_group = mean.mean(2, keepdim=True)
        variance = square - offset.square() + (mean - of_group).square()
        deviation = (variance.mean(2, keepdim=True) + eps).sqrt()
        from_mean = centre.view(groups) - of_group
        scale = weight.float().view(groups[1:]) / deviation
        shift = bias.float().view(groups[1:]) + from_mean * scale
        ctx.save_for_backward(centred, weight, from_mean, deviation)
        scale, shift = (v.reshape(n, 1, c).to(values.dtype) for v in (scale, shift))
        return torch.addcmul(shift, centred, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """With z the normalised values: (g w - mean(g w) - z mean(g w z)) / deviation."""
        centred, weight, from_mean, deviation = ctx.saved_tensors
        n, pixels, c = centred.shape
        groups = from_mean.shape
        total = gradient.sum(1, dtype=torch.float32).view(groups)
        with_centred = (gradient * centred).sum(1, dtype=torch.float32).view(groups)
        with_z = (with_centred + from_mean * total) / deviation
        w = weight.float().view(groups[1:])
        of_all = pixels * groups[2]
        mean = (w * total).sum(2, keepdim=True) / of_all
        mean_z = (w * with_z).sum(2, keepdim=True) / of_all / deviation
        parts = (-(mean + mean_z * from_mean), -mean_z.expand(groups), w.expand(groups))
        shift, of_centred, scale = (
            (v / deviation).reshape(n, 1, c).to(centred.dtype) for v in parts
        )
        slope = torch.addcmul(torch.addcmul(shift, centred, of_centred), gradient, scale)
        of_weight, of_bias = (v.sum(0).view(c).to(weight.dtype) for v in (with_z, total))
        return slope, of_weight, of_bias, None, None


def channels_last(net: Net) -> Net:
    """``net`` with weights in channels-last memory and every affine group norm a `GroupNorm`."""
    for module in net.modules():
        if type(module) is nn.GroupNorm and module.affine:
            module.__class__ = GroupNorm
    return net.to(memory_format=torch.channels_last)
