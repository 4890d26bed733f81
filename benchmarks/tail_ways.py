"""The ways to make images of rare labels that `tail.py` compares, and the models they need."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tail_sets import Tailed

from mincurate.diffusion import models, train_denoiser
from mincurate.diffusion.denoiser import Denoiser, to_tensor
from mincurate.diffusion.training_plan import Training
from mincurate.generation import generate, samplers, solvers
from mincurate.generation.free_guidance import FreeGuided
from mincurate.terminal import choose_reporter

BATCH = 64
TAIL_WEIGHT = {"conditional": 0.0, "tail-weighted": 0.5, "class-balanced": 0.5}
"""Of every model: an image of a label with n images is drawn with the weight n^-w."""


@dataclass(frozen=True)
class Way:
    """One way to make images.

    Attributes:
        name: in tables.
        model: what makes them, a name of `TAIL_WEIGHT`.
        scale: of classifier-free guidance.
        start: real images that they start from: of the same label (``own``) or of ``others``.
        strength: how much of these may change.
    """

    name: str
    model: str = "tail-weighted"
    scale: float = 1.0
    start: str | None = None
    strength: float = 1.0


WAYS = (
    Way("conditional", "conditional"),
    Way("tail-weighted"),
    Way("class-balancing loss", "class-balanced"),
    Way("classifier-free 2", scale=2.0),
    Way("from their own 0.4", start="own", strength=0.4),
    Way("from their own 0.6", start="own", strength=0.6),
    Way("from others 0.6", start="others", strength=0.6),
    Way("from others 0.8", start="others", strength=0.8),
)


def trained(name: str, data: Tailed, work: Path, steps: int) -> Denoiser:
    """A class-conditional model of the long-tailed images alone; goes on with what is there."""
    plan = Training(
        data.train.shape[-1],
        None,
        steps=steps,
        batch_size=models.images_per_step("cpu", all_levels=True),
        class_names=data.names,
        class_balancing=name == "class-balanced",
    )
    counts = np.bincount(data.labels)
    times = np.rint((counts.max() / counts) ** TAIL_WEIGHT[name]).astype(int)
    rows = np.repeat(np.arange(len(data.labels)), times[data.labels])
    return train_denoiser.train(
        data.train[rows],
        work / "models" / name,
        plan,
        classes=data.labels[rows],
        reporter=choose_reporter(None, None),
    )


def make(way: Way, model: Denoiser, data: Tailed, work: Path, n: int):
    """Images ``(M, 3, S, S)`` uint8 of the rare labels, ``n`` each, and their labels ``(M,)``."""
    path = work / "made" / f"{way.name}.npz"
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        denoiser = model if way.scale == 1 else FreeGuided(model, way.scale)
        plain = samplers.ddpm(model, steps=25, solver="sde-dpm++", dtype=torch.bfloat16)
        sampler = solvers.Sampler(denoiser, plain.solver, plain.steps, dtype=plain.dtype)
        labels = np.repeat(np.flatnonzero(data.rare), n)
        rng = np.random.default_rng(0)
        pictures = []
        for i in range(0, len(labels), BATCH):
            part = labels[i : i + BATCH]
            start = None
            if way.start:
                start = to_tensor(data.train[[_start(way, data, label, rng) for label in part]])
            seeds = [generate.image_seed(0, i + j) for j in range(len(part))]
            under = sampler.under(torch.from_numpy(part))
            pictures.append(generate.to_pixels(under(seeds, start=start, strength=way.strength)))
        np.savez(path, pixels=np.concatenate(pictures), labels=labels)
    saved = np.load(path)
    return saved["pixels"], saved["labels"]


def _start(way: Way, data: Tailed, label: int, rng: np.random.Generator) -> int:
    """A real image to start from: of the label, or of any other, all labels equally often."""
    if way.start == "others":
        label = rng.choice(np.flatnonzero(np.arange(len(data.names)) != label))
    return int(rng.choice(np.flatnonzero(data.labels == label)))
