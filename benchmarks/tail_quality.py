"""Are generated images of rare labels of these labels, real-looking, and rare? For `tail.py`."""

import argparse
from dataclasses import replace

import numpy as np
import pandas as pd
import tail_sets
import torch
from tail_sets import Tailed
from tail_ways import trained

from mincurate.diffusion.models import SIGMA_PER_PIXEL
from mincurate.evaluation import metrics, students
from mincurate.evaluation.training_arms import Arm
from mincurate.features.perceptual import load_perceptual
from mincurate.ranking.minority_score import Scorer

DRAWS = 4
"""Reconstructions of every image for the minority score."""
JUDGE_STEPS = 800
"""Of the classifier that says whether an image is of its label."""


def quality(data: Tailed, made, vectors, options: argparse.Namespace) -> pd.DataFrame:
    """Label consistency, precision and minority score of every set of images, with intervals.

    Consistency is the share that a small network, trained on as many images of every label, takes
    for the label asked for; the real test images say how good it is. Precision is against the real
    test images of the rare labels, in the vectors of EfficientNet-Lite0. The minority score is that
    of the label-free model.

    Args:
        made: name of a set to pixels and labels.
        vectors: pixels and a name to vectors.
    """
    judge = _judge(options, len(data.names))
    scorer = _scorer(data, options)
    rare = data.rare[data.truth]
    real = vectors(data.test, "test")[rare]
    sets = {"real, of the test": (data.test[rare], data.truth[rare])} | made
    rows = []
    for name, (pixels, labels) in sets.items():
        told = students.predict(judge, torch.from_numpy(pixels), "cpu").numpy() == labels
        values = {"consistency": told}
        if name in made:
            values["precision"] = metrics.precision(real, vectors(pixels, name))
        draws = scorer(pixels, [f"{name} {i}" for i in range(len(pixels))]).draws
        values["minority score"] = np.nanmean(draws, 1)
        values |= {f"consistency of {data.names[k]}": told[labels == k] for k in np.unique(labels)}
        intervals = {
            key: list(map(float, metrics.interval(v, seed=0))) for key, v in values.items()
        }
        rows.append({"set": name} | intervals)
    return pd.DataFrame(rows)


def _judge(options: argparse.Namespace, labels: int) -> torch.nn.Module:
    """A small network trained on ``--head`` images of every label."""
    full = tail_sets.load(
        options.kind,
        options.data,
        size=options.size,
        head=options.head,
        ratio=1,
        test=options.test,
        further=0,
        reverse=options.reverse,
    )
    arm = Arm(
        "full",
        torch.from_numpy(full.train),
        torch.from_numpy(full.labels),
        torch.ones(len(full.labels)),
    )
    student = replace(students.NETWORK, steps=JUDGE_STEPS)
    return students.train(student, arm, labels, 0, "cpu")


def _scorer(data: Tailed, options: argparse.Namespace) -> Scorer:
    model = trained("label-free", data, options)
    sigma = model.nearest_sigma(SIGMA_PER_PIXEL * options.size)
    distance = load_perceptual(options.perceptual, model)
    return Scorer(model, distance, sigma, DRAWS, 0, torch.bfloat16)


def text(table: pd.DataFrame) -> str:
    """The table in Markdown."""
    columns = [name for name in table if name != "set"]
    lines = [f"| images | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row in table.to_dict("records"):
        cells = [
            f"{row[name][0]:.3f} [{row[name][1]:.3f}, {row[name][2]:.3f}]"
            if isinstance(row[name], list)
            else ""
            for name in columns
        ]
        lines.append(f"| {' | '.join([row['set'], *cells])} |")
    return "\n".join(lines)
