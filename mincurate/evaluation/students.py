"""The classifiers of a trial: a linear probe on frozen vectors, a small network from scratch."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mincurate.evaluation.training_arms import Arm


@dataclass(frozen=True)
class Student:
    """A kind of classifier, and how it is trained.

    Attributes:
        name: in tables.
        build: makes the network, of an input's shape and the number of labels.
        steps: of every training.
        batch_size: images per step.
        rate: largest learning rate.
    """

    name: str
    build: Callable[[torch.Size, int], nn.Module]
    steps: int
    batch_size: int
    rate: float


def linear(shape: torch.Size, labels: int) -> nn.Module:
    """Logits of vectors ``(N, d)``."""
    return nn.Linear(shape[0], labels)


def small_network(shape: torch.Size, labels: int) -> nn.Module:
    """Logits of images ``(N, C, H, W)`` uint8: four stages of convolutions, each of half the size
    of the one before. While it is trained, every image is shifted at random."""
    widths = (shape[0], 16, 32, 64, 128)
    stages: list[nn.Module] = [_Shift(), _Scale()]
    for i, (before, width) in enumerate(pairwise(widths)):
        stages += [nn.Conv2d(before, width, 3, stride=1 + (i > 0), padding=1)]
        stages += [nn.GroupNorm(8, width), nn.ReLU()]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, labels))


PROBE = Student("linear probe", linear, steps=400, batch_size=256, rate=1e-2)
NETWORK = Student("small network", small_network, steps=200, batch_size=64, rate=3e-3)


def train(student: Student, arm: Arm, labels: int, seed: int, device: str) -> nn.Module:
    """A student trained with an arm; the same seed starts from the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = student.build(arm.inputs.shape[1:], labels).to(device)
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=student.rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=student.rate, total_steps=student.steps
    )
    prior = 0.0 if arm.log_prior is None else arm.log_prior.to(device)
    size = (student.steps, student.batch_size)
    draws = torch.multinomial(arm.sampling, size[0] * size[1], True, generator=draw).view(size)
    for batch in draws:
        logits = net(arm.inputs[batch].to(device)) + prior
        loss = F.cross_entropy(logits, arm.labels[batch].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def predict(net: nn.Module, inputs: Tensor, device: str) -> Tensor:
    """The label of every input, ``(N,)``."""
    return torch.cat([net(part.to(device)).argmax(1).cpu() for part in inputs.split(256)])


class _Scale(nn.Module):
    """Pixels from uint8 to [-1, 1]."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.float() / 127.5 - 1


class _Shift(nn.Module):
    """While training, every image is moved by up to an eighth of its side each way.

    Without this, whatever varies the images looks like a remedy: on digits, generated images beat
    copies by 0.2 of the rare labels' recall, and shifted copies do as well (docs/results).
    """

    def __init__(self) -> None:
        super().__init__()
        seed = int(torch.randint(2**31, (1,)))
        self.draw = torch.Generator().manual_seed(seed)

    def forward(self, pixels: Tensor) -> Tensor:
        n, channels, height, width = pixels.shape
        if not self.training:
            return pixels
        most = (height // 8, width // 8)
        sides = (most[1], most[1], most[0], most[0])
        padded = F.pad(pixels.float(), sides, mode="replicate")
        down, right = (torch.randint(2 * m + 1, (n, 1), generator=self.draw) for m in most)
        rows = (down + torch.arange(height)).view(n, 1, height, 1)
        columns = (right + torch.arange(width)).view(n, 1, 1, width)
        image, channel = torch.arange(n).view(n, 1, 1, 1), torch.arange(channels).view(1, -1, 1, 1)
        return padded[image, channel, rows, columns]
