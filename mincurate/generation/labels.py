"""Under which labels a class-conditional model generates: those of the images to be like."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mincurate.diffusion import conditions
from mincurate.diffusion.denoiser import Denoiser
from mincurate.generation.guided_classes import labels_of
from mincurate.ranking.reference import Base


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of images to generate, in turn.

    Attributes:
        names: ``(M,)``; image i is of ``names[i % M]``.
        classes: ``(M,)``, the model's classes of these labels.
    """

    names: Sequence[str | None]
    classes: NDArray[np.int64]


def label_classes(denoiser: Denoiser, base: Base) -> dict[str, int]:
    """The model's class of every label of a run; empty for an unconditional model.

    Raises:
        UserError: the labels are not the model's.
    """
    if not denoiser.num_classes:
        return {}
    record = base.run.record
    if denoiser.content_hash() == record["model"]["hash"]:
        return dict(record["label_classes"])
    return conditions.of_labels(denoiser, labels_of(base))


def classes_of_images(denoiser: Denoiser, base: Base) -> NDArray[np.int64] | None:
    """The model's class of every image of a run, ``(N,)``; ``None`` if it is unconditional."""
    if not denoiser.num_classes:
        return None
    return of(label_classes(denoiser, base), labels_of(base)).classes


def of(classes: dict[str, int], names: Sequence[str | None]) -> Labels:
    """Labels with their classes."""
    numbers = [conditions.NULL if name is None else classes[name] for name in names]
    return Labels(names, np.array(numbers, np.int64))


def in_turn(denoiser: Denoiser, base: Base, members: NDArray[np.bool_], seed: int) -> Labels | None:
    """The labels of some images of a run, in a random order; ``None`` if the model takes none."""
    if not denoiser.num_classes:
        return None
    order = np.random.default_rng(seed).permutation(np.flatnonzero(members))
    names = labels_of(base)
    return of(label_classes(denoiser, base), [names[i] for i in order])
