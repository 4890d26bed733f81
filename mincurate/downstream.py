"""Does adding the synthetic images help? A small classifier, without and with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from mincurate.errors import UserError

STEPS = 200
BATCH = 64
RATE = 3e-3


@dataclass(frozen=True)
class Downstream:
    """Recall on held-out real images, without and with the synthetic ones.

    Attributes:
        classes: one row per class: ``class``, ``rare``, ``n_train`` (real), ``n_synthetic``,
            ``n_test``, ``recall_without``, ``recall_with``, ``change``, ``low``, ``high``.
        groups: the means over classes, one row each for ``rare``, ``rest`` and ``all``: ``group``,
            ``recall_without``, ``recall_with``, ``change``, ``low``, ``high``.
        without: recall ``(seeds, classes)``.
        with_synthetic: the same, with them.

    ``low`` and ``high`` are the ends of the 95 % interval of the change over seeds. It says how far
    the training's chance goes, not the choice of the test images: with few of those in a class, its
    recall is coarse.
    """

    classes: pd.DataFrame
    groups: pd.DataFrame
    without: NDArray[np.float64]
    with_synthetic: NDArray[np.float64]


def compare(
    train: tuple[ArrayLike, Sequence[object]],
    synthetic: tuple[ArrayLike, Sequence[object]],
    test: tuple[ArrayLike, Sequence[object]],
    *,
    rare: Sequence[object],
    seeds: Sequence[int] = (0, 1, 2),
    steps: int = STEPS,
    batch_size: int = BATCH,
    device: str = "cpu",
    advance: Callable[[int], None] = lambda n: None,
) -> Downstream:
    """Train on ``train`` and on ``train`` plus ``synthetic``, and test both on ``test``.

    Both are trained for the same number of steps from the same start, for every seed. Batches are
    drawn at random from all images alike, so that adding images of a class shows it more often; to
    tell that from what the images themselves bring, give as ``synthetic`` as many copies of real
    images.

    Args:
        train: real images ``(N, 3, H, W)`` uint8, and their labels ``(N,)``.
        synthetic: generated images of the same size, and the labels they were made for.
        test: held-out real images, and their labels; none of them may be in the other two.
        rare: the labels that count as rare.
        seeds: at least 3.
        advance: told after every training that one more, of ``2 * len(seeds)``, is done.

    Raises:
        UserError: there are too few classes or seeds, or a class has no test image.
    """
    if len(set(seeds)) < 3:
        raise UserError("Comparing trainings needs at least 3 different seeds.")
    x, names = _images(train)
    more, more_names = _images(synthetic)
    held, held_names = _images(test)
    classes = sorted(set(names), key=str)
    if len(classes) < 2:
        raise UserError("A classifier needs real images of at least 2 labels.")
    number = {name: i for i, name in enumerate(classes)}
    strange = (set(more_names) | set(held_names) | set(rare)) - set(classes)
    if strange:
        raise UserError(f"No real training image has the label {strange.pop()!r}.")
    if set(held_names) != set(classes):
        missing = sorted(set(classes) - set(held_names), key=str)[0]
        raise UserError(f"No held-out image has the label {missing!r}, so its recall is not known.")
    if {x.shape[1:], held.shape[1:]} | ({more.shape[1:]} if len(more) else set()) != {x.shape[1:]}:
        raise ValueError("images must all have one size")
    y, more_y, held_y = (
        torch.tensor([number[n] for n in group], dtype=torch.long)
        for group in (names, more_names, held_names)
    )
    arms = [(x, y), (torch.cat([x, more]), torch.cat([y, more_y])) if len(more) else (x, y)]
    recalls = np.zeros((2, len(seeds), len(classes)))
    for i, seed in enumerate(seeds):
        for arm, (images, labels) in enumerate(arms):
            net = _train(images, labels, len(classes), seed, steps, batch_size, device)
            recalls[arm, i] = _recall(net, held, held_y, len(classes), device)
            advance(1)
    scarce = np.array([name in set(rare) for name in classes])
    table = _changes(recalls)
    table.insert(0, "class", pd.Series(classes, dtype=object))
    table.insert(1, "rare", scarce)
    for place, (column, group) in enumerate(
        [("n_train", y), ("n_synthetic", more_y), ("n_test", held_y)], start=2
    ):
        table.insert(place, column, torch.bincount(group, minlength=len(classes)).numpy())
    groups = {"rare": scarce, "rest": ~scarce, "all": np.ones_like(scarce)}
    kept = {name: members for name, members in groups.items() if members.any()}
    means = np.stack([recalls[:, :, members].mean(2) for members in kept.values()], axis=2)
    summary = _changes(means)
    summary.insert(0, "group", list(kept))
    return Downstream(table, summary, recalls[0], recalls[1])


def _images(pair: tuple[ArrayLike, Sequence[object]]) -> tuple[Tensor, list[object]]:
    images, labels = np.asarray(pair[0]), list(pair[1])
    if len(images) != len(labels):
        raise ValueError(f"{len(images)} images and {len(labels)} labels")
    if len(images) and (images.ndim != 4 or images.shape[1] != 3 or images.dtype != np.uint8):
        raise ValueError(
            f"images must be (N, 3, H, W) uint8, not {images.shape} {images.dtype.name}"
        )
    return torch.from_numpy(np.ascontiguousarray(images)), labels


def _network(classes: int) -> nn.Sequential:
    """Four stages of convolutions, each at half the size of the one before; any image size."""
    widths = (3, 16, 32, 64, 128)
    stages: list[nn.Module] = []
    for before, width in pairwise(widths):
        stages += [nn.Conv2d(before, width, 3, stride=1 + (before > 3), padding=1)]
        stages += [nn.GroupNorm(8, width), nn.ReLU()]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes))


def _train(
    images: Tensor, labels: Tensor, classes: int, seed: int, steps: int, batch: int, device: str
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _network(classes).to(device)
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(len(images), (batch,), generator=draw)
        logits = net(_scaled(images[chosen], device))
        loss = F.cross_entropy(logits, labels[chosen].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net


@torch.no_grad()
def _recall(
    net: nn.Module, images: Tensor, labels: Tensor, classes: int, device: str
) -> NDArray[np.float64]:
    net.eval()
    found = torch.cat([net(_scaled(x, device)).argmax(1).cpu() for x in images.split(256)])
    right = torch.bincount(labels[found == labels], minlength=classes)
    return (right / torch.bincount(labels, minlength=classes)).double().numpy()


def _scaled(images: Tensor, device: str) -> Tensor:
    return images.to(device).float() / 127.5 - 1


def _changes(recalls: NDArray[np.float64]) -> pd.DataFrame:
    """Recall ``(2, seeds, n)`` as ``n`` rows, with Student's interval of the paired change."""
    from scipy.stats import t

    change = recalls[1] - recalls[0]
    seeds = len(change)
    half = t.ppf(0.975, seeds - 1) * change.std(0, ddof=1) / np.sqrt(seeds)
    return pd.DataFrame(
        {
            "recall_without": recalls[0].mean(0),
            "recall_with": recalls[1].mean(0),
            "change": change.mean(0),
            "low": change.mean(0) - half,
            "high": change.mean(0) + half,
        }
    )
