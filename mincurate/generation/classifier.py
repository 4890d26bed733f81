"""A classifier of ordinal classes at every noise level, ``p(l | x, sigma)`` (method, section 3).

It is a small head on the frozen encoder half of the user's own diffusion model, so that one encoder
pass serves both the denoising and the classifier.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mincurate.compute.device import precision
from mincurate.diffusion.denoiser import Denoiser, to_tensor
from mincurate.diffusion.encoded import Encoded
from mincurate.errors import UserError

WEIGHTS = "classifier.safetensors"
RECORD = "classifier.json"
CHECKPOINT = "classifier-checkpoint.pt"
LOSSES = ("cross_entropy", "ordinal")
LAYOUT = 3
"""Version of a classifier's files; raised when those on disk no longer fit, which trains anew."""
SOFTNESS = 0.15
"""Of the ordinal loss: after this share of the classes a class counts 1/e as much."""


@dataclass(frozen=True)
class ClassifierTraining:
    """Settings of the training of a classifier.

    Attributes:
        num_classes: L, ordinal classes; 0 is the commonest.
        loss: ``cross_entropy`` (the paper's) or ``ordinal`` (see `soft_targets`).
        timesteps: how they are drawn: ``quadratic``, as ``T * u^2`` with u uniform, which is how
            the samplers are spaced, or ``uniform`` (the paper's).
        minutes: budget; turned into a number of steps by a measurement before the first step.
        steps: exact number of steps, in place of ``minutes``.
        batch_size: images per step.
        learning_rate: peak of a cosine schedule down to 0 (AdamW, weight decay 0.05: the paper's).
        width: hidden units of the head.
        seed: random seed.
        by: whose classes they are: ``rarity`` or ``minority``.
    """

    num_classes: int
    loss: str = "ordinal"
    timesteps: str = "quadratic"
    minutes: float = 5.0
    steps: int | None = None
    batch_size: int = 128
    learning_rate: float = 1e-3
    width: int = 256
    seed: int = 0
    by: str = "rarity"

    def __post_init__(self) -> None:
        # The plan's text is part of a folder's name: 10 minutes must be the plan of 10.0.
        object.__setattr__(self, "minutes", float(self.minutes))


def soft_targets(num_classes: int, loss: str) -> Tensor:
    """How near the classes are to each other, ``(L, L)``, rows adding up to 1.

    ``cross_entropy``: not at all. ``ordinal``: the nearer, the less wrong (Diaz and Marathe, "Soft
    Labels for Ordinal Regression", CVPR 2019),

        target(l | k) ~ exp(-|k - l| / (SOFTNESS * L))

    since a score has noise of its own and classes of equal size lie close together: the class next
    to an image's is hardly wrong. See `classifier_loss.class_loss`.
    """
    if loss == "cross_entropy":
        return torch.eye(num_classes)
    places = torch.arange(num_classes, dtype=torch.float32)
    near = (-(places[:, None] - places).abs() / (SOFTNESS * num_classes)).exp()
    return near / near.sum(1, keepdim=True)


class Branch(nn.Module):
    """Log-probabilities from pooled features and the embedding of the noise level."""

    def __init__(self, channels: int, embedding: int, width: int, outputs: int) -> None:
        super().__init__()
        self.features = nn.Linear(channels, width)
        self.noise_level = nn.Linear(embedding, width)
        self.hidden = nn.Linear(width, width)
        self.outputs = nn.Linear(width, outputs)

    def forward(self, pooled: Tensor, embedded: Tensor) -> Tensor:
        """``(N, outputs)``."""
        h = F.silu(self.features(pooled) + self.noise_level(F.silu(embedded.to(pooled.dtype))))
        return self.outputs(F.silu(self.hidden(h))).log_softmax(1)


class Head(nn.Module):
    """Log-probabilities of the classes, and of the labels, from an encoder's activations.

    The mean and the standard deviation of every channel over its positions are standardised by
    their values on training images (`standardise`) and go, with the embedding of the noise level,
    through a network of two hidden layers. Measured on 2,400 images of CIFAR-10 and the encoder of
    a small denoiser, L = 10, held-out log loss over six noise levels (chance is 2.303): a layer
    norm of the means 2.294, the means standardised 2.252, means and deviations 2.161.

    Classes and labels have a network each: labels are learned long after the classes, which are
    noisy, have begun to be learned by heart (docs/results/generating.md).
    """

    center: Tensor
    spread: Tensor

    def __init__(
        self, channels: int, embedding: int, width: int, num_classes: int, labels: int
    ) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(2 * channels))
        self.register_buffer("spread", torch.ones(2 * channels))
        self.classes = Branch(2 * channels, embedding, width, num_classes)
        self.labels = Branch(2 * channels, embedding, width, labels) if labels else None

    def pool(self, maps: list[Tensor]) -> Tensor:
        """Mean and standard deviation of every channel over its positions, ``(N, 2 * channels)``.

        In the head's own precision, whatever the encoder computed in.
        """
        pooled = []
        for m in (m.to(self.center.dtype) for m in maps):
            mean = m.mean((2, 3), keepdim=True)
            variance = (m - mean).square().mean((2, 3))  # torch.var is slow on channels-last maps
            # The small number keeps the gradient of a constant channel finite.
            pooled += [mean[:, :, 0, 0], (variance + 1e-6).sqrt()]
        return torch.cat(pooled, dim=1)

    @torch.no_grad()
    def standardise(self, pooled: Tensor) -> None:
        """Set center and spread of every pooled feature to those of ``pooled``, ``(N, F)``."""
        self.center.copy_(pooled.mean(0))
        spread = pooled.std(0, correction=0)
        self.spread.copy_(spread.clamp(min=0.01 * float(spread.mean())))

    def forward(self, maps: list[Tensor], embedded: Tensor) -> tuple[Tensor, Tensor | None]:
        """Class log-probabilities ``(N, L)``, and label log-probabilities or ``None``."""
        pooled = (self.pool(maps) - self.center) / self.spread
        labels = None if self.labels is None else self.labels(pooled, embedded)
        return self.classes(pooled, embedded), labels


@dataclass(frozen=True, eq=False)
class Classifier:
    """``p(l | x, sigma)`` over ordinal classes and, where there are labels, over those.

    Attributes:
        head: the trained part.
        num_classes: L.
        label_names: what the label head's outputs mean; empty without labels.
        denoiser_hash: of the model whose encoder it reads.
        record: settings, curve and held-out figures, as in ``classifier.json``.
        temperatures: ``(T,)``, by which the log-probabilities of the classes are divided at each
            timestep; 1 everywhere when absent.
    """

    head: Head
    num_classes: int
    label_names: tuple[str, ...]
    denoiser_hash: str
    record: dict[str, Any] = field(default_factory=dict)
    temperatures: Tensor | None = None

    def log_probs(self, encoded: Encoded) -> tuple[Tensor, Tensor | None]:
        """``(N, L)`` and ``(N, labels)`` or ``None``, float32, each row adding up to 1."""
        with precision(encoded.deepest.device.type, None):
            classes, labels = self.head(encoded.maps, encoded.embedded)
            if self.temperatures is not None:
                temperatures = self.temperatures[encoded.timesteps]
                classes = (classes / temperatures[:, None]).log_softmax(1)
            return classes, labels


@torch.inference_mode()
def classify(
    denoiser: Denoiser, classifier: Classifier, x0: Tensor
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Probabilities of the classes and of the labels for clean samples, at the lowest noise level.

    Args:
        x0: ``(N, C, h, w)``, see `denoiser.space`.

    Returns:
        ``(N, L)``, and ``(N, labels)`` in the order of ``label_names`` or ``None``.
    """
    timesteps = torch.zeros(len(x0), dtype=torch.long, device=x0.device)
    classes, labels = classifier.log_probs(denoiser.encode(x0, timesteps))
    return classes.exp().cpu().numpy(), None if labels is None else labels.exp().cpu().numpy()


@dataclass(frozen=True, eq=False)
class Predicted:
    """What the classifier predicts for N images.

    Attributes:
        target: ``(N,)``, probability of the target.
        names: of the L labels.
        of_labels: ``(N, L)``, probability of every label.
    """

    target: NDArray[np.float64]
    names: tuple[str, ...]
    of_labels: NDArray[np.float64]

    @property
    def labels(self) -> list[str | None]:
        """``(N,)``, the most probable label; ``None`` without labels."""
        if not self.names:
            return [None] * len(self.target)
        return [self.names[i] for i in self.of_labels.argmax(1)]

    def confidence(self, labels: Sequence[str | None]) -> NDArray[np.float64]:
        """Probability of the label of every image, ``(N,)``; NaN for one that it does not know."""
        number = {name: i for i, name in enumerate(self.names)}
        return np.array(
            [
                row[number[name]] if name in number else np.nan
                for row, name in zip(self.of_labels, labels, strict=True)
            ],
            np.float64,
        )


def predict(
    denoiser: Denoiser,
    classifier: Classifier,
    pixels: NDArray[np.uint8],
    *,
    classes: Sequence[int],
    label: str | None,
) -> Predicted:
    """Probability of a target, and labels, of ``pixels``, ``(N, 3, S, S)`` uint8.

    Args:
        classes: the ordinal classes of the target, any of which will do.
        label: that of the target; ``None`` for any.
    """
    parts = []
    for i in range(0, len(pixels), 256):
        with torch.inference_mode():
            x0 = denoiser.space.to_samples(to_tensor(pixels[i : i + 256], denoiser.device))
        parts.append(classify(denoiser, classifier, x0))
    target = np.concatenate([p[0] for p in parts])[:, list(classes)].sum(1, dtype=np.float64)
    names = tuple(classifier.label_names)
    if not names:
        return Predicted(target, (), np.empty((len(target), 0)))
    of_labels = np.concatenate([p[1] for p in parts if p[1] is not None])
    if label is not None:
        target = target * of_labels[:, names.index(label)]
    return Predicted(target, names, of_labels.astype(np.float64))


def finished(folder: Path) -> bool:
    """Whether a classifier has been trained to the end in ``folder``."""
    return (folder / RECORD).is_file() and not (folder / CHECKPOINT).exists()


def record(folder: Path) -> dict[str, Any]:
    """Settings, curve and held-out figures of a trained classifier; empty where there is none."""
    return json.loads((folder / RECORD).read_text()) if (folder / RECORD).is_file() else {}


def load(folder: Path, denoiser: Denoiser) -> Classifier:
    """Read a classifier back, on to the denoiser's device.

    Raises:
        UserError: there is none, or it belongs to another denoiser.
    """
    entries = record(folder)
    if not entries or not (folder / WEIGHTS).is_file():
        raise UserError(f"There is no classifier in {folder}; train one with `mincurate guide`.")
    check_belongs(entries["denoiser"], denoiser)
    settings = ClassifierTraining(**entries["training"])
    head = new_head(denoiser, settings, len(entries["label_names"]))
    head.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
    head.eval().requires_grad_(False)
    return Classifier(
        head,
        settings.num_classes,
        tuple(entries["label_names"]),
        entries["denoiser"],
        entries,
        _temperatures(entries["levels"], denoiser),
    )


def _temperatures(levels: list[dict[str, float]], denoiser: Denoiser) -> Tensor | None:
    """The temperature of every timestep, ``(T,)``, between those of the evaluated levels."""
    if "temperature" not in levels[0]:
        return None
    at, log = np.array([[np.log(v["sigma"]), np.log(v["temperature"])] for v in levels]).T
    temperatures = np.exp(np.interp(denoiser.sigmas.cpu().double().log().numpy(), at, log))
    return torch.from_numpy(temperatures).float().to(denoiser.device)


@torch.no_grad()
def new_head(denoiser: Denoiser, training: ClassifierTraining, labels: int) -> Head:
    """An untrained head that fits the denoiser's encoder, seeded."""
    probe = torch.zeros(1, *denoiser.space.shape, device=denoiser.device)
    encoded = denoiser.encode(probe, torch.zeros(1, dtype=torch.long, device=denoiser.device))
    channels, embedding = sum(m.shape[1] for m in encoded.maps), encoded.embedded.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        head = Head(channels, embedding, training.width, training.num_classes, labels)
    return head.to(denoiser.device)


def check_belongs(denoiser_hash: str, denoiser: Denoiser) -> None:
    """Raise `UserError` unless ``denoiser`` is the model whose encoder a classifier reads."""
    if denoiser_hash != denoiser.content_hash():
        raise UserError(
            f"The classifier was trained on the encoder of another model than {denoiser.name}; "
            "train one for this model with `mincurate guide`."
        )
