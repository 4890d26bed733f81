"""What a classifier of the labels is trained with: the arms of a trial.

Nothing but the real images; the cheap remedies for rare labels (copies, a balanced loss, synthetic
features); real images mined from a pool; and generated images, at several weights.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

NOTHING, COPIES, BALANCED_LOSS = "nothing", "copies", "balanced loss"
FEATURES, MINED, GENERATED = "synthetic features", "mined", "generated"
WEIGHTS = (0.1, 0.3, 1.0)
"""How often a generated image is drawn, compared with a real one of its label."""
Labelled = tuple[Tensor, Tensor]
"""Inputs ``(N, ...)`` and numbers of labels ``(N,)``."""


@dataclass(frozen=True, eq=False)
class Material:
    """What one student sees.

    Attributes:
        real: images to train with.
        generated: generated images that were accepted, perhaps none.
        mined: real images from a pool, or ``None``.
        test: held-out real images.
        vectors: the inputs are vectors, of which synthetic ones can be drawn.
    """

    real: Labelled
    generated: Labelled
    mined: Labelled | None
    test: Labelled
    vectors: bool = False


@dataclass(frozen=True, eq=False)
class Arm:
    """One way to train.

    Attributes:
        name: one of the names above.
        inputs: ``(N, ...)``.
        labels: ``(N,)``.
        sampling: ``(N,)``, how often each is drawn, up to a factor.
        log_prior: ``(L,)``, added to the logits while training; ``None`` adds nothing.
        weight: of generated images.
    """

    name: str
    inputs: Tensor
    labels: Tensor
    sampling: Tensor
    log_prior: Tensor | None = None
    weight: float | None = None


def arms(material: Material, num_labels: int, seed: int) -> list[Arm]:
    """Every arm that the material allows; all with equal shares of labels but for the first and the
    balanced loss.

    Args:
        seed: of the synthetic features.
    """
    x, y = material.real
    counts = torch.bincount(y, minlength=num_labels)
    every = torch.ones(len(y))
    # Logit adjustment with tau = 1: Menon et al., "Long-tail learning via logit adjustment", 2021.
    log_prior = (counts / counts.sum()).log()
    built = [
        Arm(NOTHING, x, y, every),
        Arm(COPIES, x, y, balanced(y, every)),
        Arm(BALANCED_LOSS, x, y, every, log_prior),
    ]
    if material.vectors and len(material.generated[1]):
        drawn = synthetic_features(material.real, material.generated[1], seed)
        built.append(_joined(FEATURES, material.real, drawn, 1.0))
    if material.mined is not None:
        built.append(_joined(MINED, material.real, material.mined, 1.0))
    for weight in WEIGHTS if len(material.generated[1]) else ():
        built.append(_joined(GENERATED, material.real, material.generated, weight, weight))
    return built


def balanced(labels: Tensor, amounts: Tensor) -> Tensor:
    """How often each is drawn where labels have equal shares, ``(N,)``.

    Args:
        amounts: ``(N,)``, how often it is drawn compared with others of its label.
    """
    totals = torch.zeros(int(labels.max()) + 1).index_add_(0, labels, amounts)
    return amounts / totals[labels]


def synthetic_features(real: Labelled, labels: Tensor, seed: int) -> Labelled:
    """A vector for each label: the mean of its own real ones, and how another image deviates.

    The spread of common labels is lent to rare ones (Yin et al., "Feature Transfer Learning for
    Face Recognition with Under-Represented Data", CVPR 2019).

    Args:
        real: vectors ``(N, d)`` and their labels.
        labels: ``(M,)``, of the vectors to draw; each is among those of ``real``.
    """
    x, y = real
    sums = torch.zeros(int(y.max()) + 1, x.shape[1]).index_add_(0, y, x)
    means = sums / torch.bincount(y).clamp(min=1)[:, None]
    generator = torch.Generator().manual_seed(seed)
    lenders = torch.randint(len(y), (len(labels),), generator=generator)
    return means[labels] + x[lenders] - means[y[lenders]], labels


def _joined(
    name: str, real: Labelled, added: Labelled, amount: float, weight: float | None = None
) -> Arm:
    labels = torch.cat([real[1], added[1]])
    amounts = torch.cat([torch.ones(len(real[1])), torch.full((len(added[1]),), amount)])
    inputs = torch.cat([real[0], added[0]])
    return Arm(name, inputs, labels, balanced(labels, amounts), weight=weight)
