"""The class-balancing loss (CBDM), which `tail.py` tries; mincurate has not taken it on.

A rare class learns from images of the others: what the network predicts under an image's own class
and under another one, drawn evenly from all classes, may differ little where there is much noise.
Qin et al., "Class-Balancing Diffusion Models", CVPR 2023, with tau = 1.
"""

import torch
from torch import Tensor

from mincurate.compute.device import precision
from mincurate.diffusion.train_denoiser import DenoiserTrainer

COMMITMENT = 0.25
"""The paper's gamma."""


class ClassBalancing(DenoiserTrainer):
    """A training with the loss besides the denoising loss."""

    def _loss(
        self, x0: Tensor, timesteps: Tensor, eps: Tensor, classes: Tensor | None, rows: slice
    ) -> Tensor:
        loss = super()._loss(x0, timesteps, eps, classes, rows)
        if not self.denoiser.unet.training or classes is None or not loss.requires_grad:
            return loss
        own, levels = classes[rows], timesteps[rows]
        draw = self.generator(self.step + 2**31)
        others = torch.randint(self.denoiser.num_classes, (len(own),), generator=draw)
        x = x0[rows] + self.denoiser.sigmas[levels].view(-1, 1, 1, 1) * eps[rows]
        with precision(self.device.type, self.dtype):
            prediction = self.denoiser.under(own).predict(x, levels)
            other = self.denoiser.under(others).predict(x, levels)
        return loss + class_balancing(prediction, other, levels / len(self.denoiser.sigmas))


def class_balancing(prediction: Tensor, other: Tensor, time: Tensor) -> Tensor:
    """The loss, with what the network predicts under the two classes, each held still in turn.

    Args:
        prediction: ``(N, 3, H, W)`` under the image's own class.
        other: the same under the other class.
        time: ``(N,)``, the timestep as a share of the highest.
    """
    weight = time.view(-1, 1, 1, 1)
    pulled = (weight * (prediction - other.detach()).square()).mean()
    committed = (weight * (prediction.detach() - other).square()).mean()
    return pulled + COMMITMENT * committed
