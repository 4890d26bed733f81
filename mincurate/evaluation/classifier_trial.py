"""Does adding the synthetic images help? A small classifier is trained without and with them.

Adding images of a label also shows the label more often. A third training has only that effect:
copies of real images take the place of the synthetic ones (oversampling). Synthetic images are
worth what they add beyond it.
"""

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
    """Recall on held-out real images: without the synthetic ones, with copies, with them.

    Attributes:
        classes: one row per class: ``class``, ``rare``, ``n_train`` (real), ``n_synthetic``,
            ``n_test``, and the figures below.
        groups: the means over classes, one row each for ``rare``, ``rest`` and ``all``: ``group``,
            and the figures below.
        without: recall ``(seeds, classes)``.
        oversampled: the same, with as many copies of real images as there are synthetic ones.
        with_synthetic: the same, with the synthetic images.

    The figures are ``recall_without``, ``recall_oversampled``, ``recall_with``; ``change``,
    ``recall_with`` less ``recall_without``; and ``gain``, ``recall_with`` less
    ``recall_oversampled``. ``low``, ``high``, ``gain_low`` and ``gain_high`` are the ends of the
    95 % intervals of these two over seeds. They cover the randomness of training, not the choice of
    the test images: with few of those in a class, its recall is coarse.
    """

    classes: pd.DataFrame
    groups: pd.DataFrame
    without: NDArray[np.float64]
    oversampled: NDArray[np.float64]
    with_synthetic: NDArray[np.float64]


def compare(
    train: tuple[ArrayLike, Sequence[object]],
    synthetic: tuple[ArrayLike, Sequence[object]],
    test: tuple[ArrayLike, Sequence[object]],
    *,
    rare: Sequence[object],
    like: ArrayLike | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    steps: int = STEPS,
    batch_size: int = BATCH,
    device: str = "cpu",
    advance: Callable[[int], None] = lambda n: None,
) -> Downstream:
    """Train on ``train``, alone, with copies, and with ``synthetic``; test all three on ``test``.

    For every seed all three start from the same weights and train for the same number of steps.
    Batches are drawn uniformly from all images, so that adding images of a class shows it more
    often; the copies show it as often (see `copies`).

    Args:
        train: real images ``(N, 3, H, W)`` uint8, and their labels ``(N,)``.
        synthetic: generated images of the same size, and their labels.
        test: held-out real images, and their labels; none of them may be in the other two.
        rare: the labels that count as rare.
        like: ``(N,)`` true for the images of ``train`` of the kind that was generated: only those
            are copied where a label has any; None for all.
        seeds: at least 3.
        advance: called with 1 after each of the ``3 * len(seeds)`` trainings.

    Raises:
        UserError: there are too few classes or seeds, or a class has no test image.
    """
    if len(set(seeds)) < 3:
        raise UserError("Comparing trainings needs at least 3 different seeds.")
    x, names = _images(train)
    added, added_names = _images(synthetic)
    held, held_names = _images(test)
    classes = sorted(set(names), key=str)
    if len(classes) < 2:
        raise UserError("A classifier needs real images of at least 2 labels.")
    number = {name: i for i, name in enumerate(classes)}
    unknown = (set(added_names) | set(held_names) | set(rare)) - set(classes)
    if unknown:
        raise UserError(f"No real training image has the label {unknown.pop()!r}.")
    if set(held_names) != set(classes):
        missing = sorted(set(classes) - set(held_names), key=str)[0]
        raise UserError(
            f"No held-out image has the label {missing!r}, so its recall cannot be measured."
        )
    if any(len(images) and images.shape[1:] != x.shape[1:] for images in (added, held)):
        raise ValueError("images must all have one size")
    y, added_y, held_y = (
        torch.tensor([number[n] for n in group], dtype=torch.long)
        for group in (names, added_names, held_names)
    )
    recalls = np.zeros((3, len(seeds), len(classes)))
    for i, seed in enumerate(seeds):
        copied = torch.from_numpy(copies(names, added_names, like=like, seed=seed))
        arms = [(x, y), (torch.cat([x, x[copied]]), torch.cat([y, y[copied]]))]
        arms.append((torch.cat([x, added]), torch.cat([y, added_y])) if len(added) else (x, y))
        for arm, (images, labels) in enumerate(arms):
            net = _train(images, labels, len(classes), seed, steps, batch_size, device)
            recalls[arm, i] = _recall(net, held, held_y, device)
            advance(1)
    rare_classes = np.array([name in set(rare) for name in classes])
    table = _changes(recalls)
    table.insert(0, "class", pd.Series(classes, dtype=object))
    table.insert(1, "rare", rare_classes)
    for position, (column, group) in enumerate(
        [("n_train", y), ("n_synthetic", added_y), ("n_test", held_y)], start=2
    ):
        table.insert(position, column, torch.bincount(group, minlength=len(classes)).numpy())
    groups = {"rare": rare_classes, "rest": ~rare_classes, "all": np.ones_like(rare_classes)}
    groups = {name: members for name, members in groups.items() if members.any()}
    means = np.stack([recalls[:, :, members].mean(2) for members in groups.values()], axis=2)
    summary = _changes(means)
    summary.insert(0, "group", list(groups))
    return Downstream(table, summary, *recalls)


def copies(
    labels: Sequence[object],
    added: Sequence[object],
    *,
    like: ArrayLike | None = None,
    seed: int,
) -> NDArray[np.int64]:
    """Which real images to copy so that every label is added as often as in ``added``.

    The images of a label are copied in turn, in a random order: with 3 of them and 7 copies, each
    is copied twice and one a third time.

    Args:
        labels: ``(N,)``, of the real images.
        added: ``(M,)``, of the images that the copies replace; each is in ``labels``.
        like: ``(N,)`` true for the images to copy where a label has any; None for all.

    Returns:
        ``(M,)`` rows of real images, in the order of ``added``.
    """
    names = np.empty(len(labels), dtype=object)
    names[:] = list(labels)
    chosen = np.ones(len(names), dtype=bool) if like is None else np.asarray(like, dtype=bool)
    if chosen.shape != names.shape:
        raise ValueError(f"{chosen.shape} marks for {len(names)} images")
    rng = np.random.default_rng(seed)
    added_names = np.empty(len(added), dtype=object)
    added_names[:] = list(added)
    rows = np.zeros(len(added_names), dtype=np.int64)
    for name in sorted(set(added), key=str):
        sources = np.flatnonzero((names == name) & chosen)
        if len(sources) == 0:
            sources = np.flatnonzero(names == name)
        targets = np.flatnonzero(added_names == name)
        rows[targets] = np.resize(rng.permutation(sources), len(targets))
    return rows


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
def _recall(net: nn.Module, images: Tensor, labels: Tensor, device: str) -> NDArray[np.float64]:
    """Recall of every class, ``(classes,)``; all classes have test images."""
    from sklearn.metrics import recall_score

    net.eval()
    logits = torch.cat([net(_scaled(part, device)).cpu() for part in images.split(256)])
    return np.asarray(recall_score(labels, logits.argmax(1), average=None, labels=labels.unique()))


def _scaled(images: Tensor, device: str) -> Tensor:
    return images.to(device).float() / 127.5 - 1


def _changes(recalls: NDArray[np.float64]) -> pd.DataFrame:
    """Recall ``(3, seeds, n)`` as ``n`` rows, with the intervals of the paired differences."""
    without, copied, added = recalls
    change, low, high = _difference(added - without)
    gain, gain_low, gain_high = _difference(added - copied)
    return pd.DataFrame(
        {
            "recall_without": without.mean(0),
            "recall_oversampled": copied.mean(0),
            "recall_with": added.mean(0),
            "change": change,
            "low": low,
            "high": high,
            "gain": gain,
            "gain_low": gain_low,
            "gain_high": gain_high,
        }
    )


def _difference(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean of ``(seeds, n)`` over seeds, and the ends of Student's 95 % interval of it."""
    from scipy.stats import t

    seeds = len(values)
    half = t.ppf(0.975, seeds - 1) * values.std(0, ddof=1) / np.sqrt(seeds)
    mean = values.mean(0)
    return mean, mean - half, mean + half
