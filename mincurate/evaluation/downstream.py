"""Does adding the synthetic images help? A small classifier, without and with them.

Adding images of a label also shows the label more often. A third training, in which copies of real
images stand in for the synthetic ones, has that gain alone (oversampling): what synthetic images
are worth is what they bring beyond it.
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

    The figures are ``recall_without``, ``recall_oversampled``, ``recall_with``; ``change``, by
    which the synthetic images move recall; and ``gain``, by which they move it beyond the copies.
    ``low``, ``high``, ``gain_low`` and ``gain_high`` are the ends of the 95 % intervals of these
    two over seeds. They say how far the training's chance goes, not the choice of the test images:
    with few of those in a class, its recall is coarse.
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

    They are trained for the same number of steps from the same start, for every seed. Batches are
    drawn at random from all images alike, so that adding images of a class shows it more often.
    The copies show it as often: see `copies`.

    Args:
        train: real images ``(N, 3, H, W)`` uint8, and their labels ``(N,)``.
        synthetic: generated images of the same size, and the labels they were made for.
        test: held-out real images, and their labels; none of them may be in the other two.
        rare: the labels that count as rare.
        like: ``(N,)`` true for the images of ``train`` that are of the kind that was generated:
            those are copied, where a label has some; None for all.
        seeds: at least 3.
        advance: told after every training that one more, of ``3 * len(seeds)``, is done.

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
    recalls = np.zeros((3, len(seeds), len(classes)))
    for i, seed in enumerate(seeds):
        again = torch.from_numpy(copies(names, more_names, like=like, seed=seed))
        arms = [(x, y), (torch.cat([x, x[again]]), torch.cat([y, y[again]]))]
        arms.append((torch.cat([x, more]), torch.cat([y, more_y])) if len(more) else (x, y))
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
    return Downstream(table, summary, *recalls)


def copies(
    labels: Sequence[object],
    wanted: Sequence[object],
    *,
    like: ArrayLike | None = None,
    seed: int,
) -> NDArray[np.int64]:
    """Which real images to copy so that every label is added as often as in ``wanted``.

    The images of a label take turns, in a random order: with 3 of them and 7 copies, each is copied
    twice and one a third time.

    Args:
        labels: ``(N,)``, of the real images.
        wanted: ``(M,)``, of the images that the copies stand in for; each is in ``labels``.
        like: ``(N,)`` true for the images to take, where a label has some; None for all.

    Returns:
        ``(M,)`` indices of real images, in the order of ``wanted``.
    """
    names = np.empty(len(labels), dtype=object)
    names[:] = list(labels)
    chosen = np.ones(len(names), dtype=bool) if like is None else np.asarray(like, dtype=bool)
    if chosen.shape != names.shape:
        raise ValueError(f"{chosen.shape} marks for {len(names)} images")
    rng = np.random.default_rng(seed)
    asked = np.empty(len(wanted), dtype=object)
    asked[:] = list(wanted)
    found = np.zeros(len(asked), dtype=np.int64)
    for name in sorted(set(wanted), key=str):
        own = np.flatnonzero((names == name) & chosen)
        if len(own) == 0:
            own = np.flatnonzero(names == name)
        places = np.flatnonzero(asked == name)
        found[places] = np.resize(rng.permutation(own), len(places))
    return found


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
