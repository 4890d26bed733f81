"""The ways to make images of rare labels that `tail.py` compares, and the models they need."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from class_balancing import ClassBalancing
from tail_sets import Tailed

from mincurate.diffusion import models, tail_weights, train_denoiser
from mincurate.diffusion.denoiser import Denoiser, to_tensor
from mincurate.diffusion.load import load_denoiser
from mincurate.diffusion.train_denoiser import DenoiserTrainer
from mincurate.diffusion.training_plan import Training
from mincurate.evaluation import students, training_arms
from mincurate.evaluation.training_arms import Arm
from mincurate.generation import generate, samplers, train_classifier
from mincurate.generation.classifier import Classifier, ClassifierTraining
from mincurate.generation.solvers import Sampler
from mincurate.terminal import choose_reporter

GUIDE_STEPS = 400
"""Of a classifier that guides; they come on top."""
UNCERTAINTIES = 10
"""Ordinal classes of uncertainty."""


@dataclass(frozen=True)
class Model:
    """A model of the long-tailed images alone.

    Attributes:
        tail_weight: as `mincurate train --tail-weight`.
        conditional: it learns the labels.
        class_balancing: it is trained with the class-balancing loss (CBDM).
        after: the model that it goes on from, for ``--further-steps``.
    """

    tail_weight: float = 0.5
    conditional: bool = True
    class_balancing: bool = False
    after: str | None = None


MODELS = {
    "conditional": Model(tail_weight=0.0),
    "tail-weighted": Model(),
    "trained on": Model(after="tail-weighted"),
    "class-balanced": Model(after="tail-weighted", class_balancing=True),
    "label-free": Model(conditional=False),
}


@dataclass(frozen=True)
class Way:
    """One way to make images.

    Attributes:
        name: in tables.
        model: what makes them, a name of `MODELS`.
        scale: of classifier-free guidance.
        start: real images that they start from: of the same label (``own``) or of ``others``.
        strength: how much of these may change.
        guide: scale at which a classifier guides the label-free model to the label.
        uncertain: scale at which a classifier guides to the tenth of the images of which a network
            that has not seen them is least certain.
    """

    name: str
    model: str = "tail-weighted"
    scale: float = 1.0
    start: str | None = None
    strength: float = 1.0
    guide: float = 0.0
    uncertain: float = 0.0


WAYS = (
    Way("conditional", "conditional"),
    Way("tail-weighted"),
    Way("trained on", "trained on"),
    Way("trained on, from their own 0.6", "trained on", start="own", strength=0.6),
    Way("trained on, class-balancing loss", "class-balanced"),
    Way("classifier-free 2", scale=2.0),
    Way("from their own 0.4", start="own", strength=0.4),
    Way("from their own 0.6", start="own", strength=0.6),
    Way("from others 0.6", start="others", strength=0.6),
    Way("from others 0.8", start="others", strength=0.8),
    Way("guided to the uncertain", uncertain=2.0),
    Way("label-free, guided 2", "label-free", guide=2.0),
    Way("label-free, guided 5", "label-free", guide=5.0),
)


def trained(name: str, data: Tailed, options: argparse.Namespace) -> Denoiser:
    """The model of this name; its training goes on where it was stopped."""
    model = MODELS[name]
    plan = Training(
        data.train.shape[-1],
        None,
        steps=options.further_steps if model.after else options.steps,
        channels=tuple(options.channels),
        batch_size=models.images_per_step("cpu", all_levels=True),
        class_names=data.names if model.conditional else (),
    )
    folder = options.work / "models" / name
    if not train_denoiser.finished(folder):
        folder.mkdir(parents=True, exist_ok=True)
        labels = [data.names[k] for k in data.labels]
        trainer = ClassBalancing if model.class_balancing else DenoiserTrainer
        trainer(
            data.train,
            folder,
            plan,
            trained(model.after, data, options) if model.after else None,
            "cpu",
            choose_reporter(None, None),
            classes=data.labels if model.conditional else None,
            weights=tail_weights.by_label(labels, model.tail_weight),
        ).run()
    return load_denoiser(str(folder))


def make(way: Way, model: Denoiser, data: Tailed, work: Path, n: int):
    """Images ``(M, 3, S, S)`` uint8 of the rare labels, ``n`` each, and their labels ``(M,)``."""
    path = work / "made" / f"{way.name}.npz"
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        classifier = _classifier(way, model, data, work)
        labels = np.repeat(np.flatnonzero(data.rare), n)
        rng = np.random.default_rng(0)
        pictures = []
        for i in range(0, len(labels), n):  # a label at a time
            part = labels[i : i + n]
            start = None
            if way.start:
                start = to_tensor(data.train[[_start(way, data, label, rng) for label in part]])
            seeds = [generate.image_seed(0, i + j) for j in range(len(part))]
            sampler = _sampler(way, model, part, classifier, data.names)
            pictures.append(generate.to_pixels(sampler(seeds, start=start, strength=way.strength)))
        np.savez(path, pixels=np.concatenate(pictures), labels=labels)
    saved = np.load(path)
    return saved["pixels"], saved["labels"]


def _sampler(way: Way, model: Denoiser, labels: np.ndarray, classifier, names) -> Sampler:
    """The sampler of images of these labels."""
    common = {"steps": 25, "solver": "sde-dpm++", "dtype": torch.bfloat16}
    if way.guide:
        (label,) = {names[k] for k in labels}
        guidance = {"target_class": None, "label": label, "guidance_scale": way.guide}
        return samplers.minority(model, classifier, **guidance, **common)
    under = torch.from_numpy(labels)
    if way.uncertain:
        guidance = {"target_class": UNCERTAINTIES - 1, "guidance_scale": way.uncertain}
        return samplers.minority(model, classifier, **guidance, **common).under(under)
    return samplers.ddpm(model, guidance_scale=way.scale, **common).under(under)


def _classifier(way: Way, model: Denoiser, data: Tailed, work: Path) -> Classifier | None:
    """A classifier on noised images, trained on the long-tailed ones: of labels or uncertainty."""
    if not (way.guide or way.uncertain):
        return None
    count = len(data.names) if way.guide else UNCERTAINTIES
    classes = data.labels if way.guide else _uncertainty_classes(data)
    plan = ClassifierTraining(count, steps=GUIDE_STEPS)
    labels = [data.names[k] for k in data.labels]
    folder = work / "models" / ("of labels" if way.guide else "of uncertainty")
    return train_classifier.train(model, data.train, classes, folder, plan, labels=labels)


def _uncertainty_classes(data: Tailed) -> np.ndarray:
    """Ordinal classes, ``(N,)``, of the entropy that networks trained on the other half predict."""
    images, labels = torch.from_numpy(data.train), torch.from_numpy(data.labels)
    entropy = np.zeros(len(labels))
    fold = np.arange(len(labels)) % 2
    for held in (0, 1):
        x, y = images[fold != held], labels[fold != held]
        arm = Arm("", x, y, training_arms.balanced(y, torch.ones(len(y))))
        net = students.train(students.NETWORK, arm, len(data.names), held, "cpu")
        with torch.no_grad():
            logits = torch.cat([net(part) for part in images[fold == held].split(256)])
        entropy[fold == held] = torch.distributions.Categorical(logits=logits).entropy().numpy()
    ranks = entropy.argsort().argsort()
    return ranks * UNCERTAINTIES // len(ranks)


def _start(way: Way, data: Tailed, label: int, rng: np.random.Generator) -> int:
    """A real image to start from: of the label, or of any other, all labels equally often."""
    if way.start == "others":
        label = rng.choice(np.flatnonzero(np.arange(len(data.names)) != label))
    return int(rng.choice(np.flatnonzero(data.labels == label)))
