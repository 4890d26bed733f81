"""Figures of an evaluation: how rare the generated images are, and what they look like."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from mincurate.generation.training_time import CLASSIFIERS
from mincurate.report.figures import GONE, INK, MUTED, Picture
from mincurate.runs import atomic_files
from mincurate.runs.store import Run

COLORS = {"real": MUTED, "ddpm": "#4c78a8"}
"""Colours of the usual sets; others take `OTHERS` in turn."""
OTHERS = ("#d1242f", "#8250df", "#bf8700", "#1a7f37")
ACROSS = 6
"""Pictures in a row of a grid."""


def rarity_plot(scores: Mapping[str, ArrayLike], *, feature_space: str) -> Figure:
    """Cumulative distributions of rarity scores: a curve further right is rarer.

    Images off the manifold have no score (NaN): the curve ends below 1 by their share, which the
    legend gives, so that artefacts do not make a set look rare.

    Args:
        scores: set, such as ``real``, ``ddpm`` or ``guided``, to `metrics.rarity`.
    """
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.subplots()
    for name, color in _colored(list(scores)):
        values = np.asarray(scores[name], dtype=np.float64)
        scored = np.sort(values[~np.isnan(values)])
        outside = 1 - len(scored) / max(1, len(values))
        label = f"{name}: {len(values):,} images, {outside:.1%} off the manifold"
        share = np.arange(len(scored) + 1) / max(1, len(values))
        start = scored[:1]
        axes.step(
            np.concatenate([start, scored]), share[: len(scored) + len(start)],
            where="post", color=color, linewidth=1.8, label=label,
        )  # fmt: skip
        if len(scored):
            axes.plot(scored[-1], share[-1], "o", color=color, markersize=4)
    axes.axhline(1, color=GONE, linewidth=0.8)
    axes.set_ylim(0, 1.03)
    axes.set_xlabel(f"rarity score in {feature_space} (further right is rarer)", color=INK)
    axes.set_ylabel("share of images up to it", color=INK)
    axes.legend(frameon=False, fontsize=9, loc="lower right", labelcolor=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def grids(
    pictures: Mapping[str, Sequence[Picture]], captions: Mapping[str, str] | None = None
) -> Figure:
    """Sets of pictures side by side, `ACROSS` in a row, each set under its name and caption.

    Args:
        pictures: set to its pictures, ``(h, w, 3)`` each.
        captions: set to the line under its name.
    """
    caption_of = captions or {}
    across = min(ACROSS, max(1, *(len(shown) for shown in pictures.values())))
    rows = max(1, *(-(-len(shown) // across) for shown in pictures.values()))
    cell, gap, top = 0.62, 0.35, 0.62
    wide = across * cell
    width = len(pictures) * (wide + gap) + gap
    height = top + rows * cell + 0.15
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))  # a unit is an inch
    axes.axis("off")
    for i, (name, color) in enumerate(_colored(list(pictures))):
        left = gap + i * (wide + gap)
        axes.text(left, 0.22, name, fontsize=11, color=color, va="center", weight="bold")
        axes.text(left, 0.44, caption_of.get(name, ""), fontsize=7.5, color=MUTED, va="center")
        for j, picture in enumerate(pictures[name]):
            x = left + (j % across + 0.5) * cell
            y = top + (j // across + 0.5) * cell
            h, w = 0.29 * np.array(picture.shape[:2]) / max(picture.shape[:2])
            axes.imshow(picture, extent=(x - w, x + w, y + h, y - h), interpolation="nearest")
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
    return figure


def levels_plot(levels: Sequence[Mapping[str, float]], num_classes: int) -> Figure:
    """The classifier's accuracy on held-out images at every noise level.

    Args:
        levels: ``sigma``, ``accuracy``, ``macro_f1`` and ``mean_absolute_error`` of each, as in
            the classifier's record; ``label_accuracy``, too, where there are labels.
    """
    figure = Figure(figsize=(7.5, 3), layout="constrained")
    axes = figure.subplots(1, 2)
    sigmas = [level["sigma"] for level in levels]
    for key, name, color in (
        ("accuracy", "accuracy", COLORS["ddpm"]),
        ("macro_f1", "macro F1", OTHERS[1]),
    ):
        values = [level[key] for level in levels]
        axes[0].plot(sigmas, values, "o-", color=color, label=name, markersize=4)
    if levels and "label_accuracy" in levels[0]:
        values = [level["label_accuracy"] for level in levels]
        axes[0].plot(
            sigmas, values, "s:", color=OTHERS[3], label="accuracy of labels", markersize=4
        )
    axes[0].axhline(1 / num_classes, color=MUTED, linewidth=0.8, linestyle="--", label="chance")
    axes[0].set_ylim(0, 1.03)
    axes[0].set_ylabel("share (1 is best)", color=INK)
    axes[0].legend(frameon=False, fontsize=8, labelcolor=INK)
    errors = [level["mean_absolute_error"] for level in levels]
    axes[1].plot(sigmas, errors, "o-", color=OTHERS[0], markersize=4)
    axes[1].set_ylim(bottom=0)
    axes[1].set_ylabel("mean class error (0 is best)", color=INK)
    for side in axes:
        side.set_xscale("log")
        side.set_xlabel("noise level (sigma)", color=INK)
        for name in ("top", "right"):
            side.spines[name].set_visible(False)
    return figure


def guidance_plot(run: Run, fingerprint: str | None = None) -> Path | None:
    """Draw `levels_plot` of a scored run's classifier into its folder, as ``levels.png``.

    Args:
        fingerprint: of the classifier, from its record. Default: the one trained last.

    Returns:
        The file; ``None`` where there is no such classifier.
    """
    # `generation.classifier` would import torch to read it.
    records = {path: json.loads(path.read_text()) for path in run.path.glob(CLASSIFIERS)}
    matching = [p for p, r in records.items() if fingerprint in (None, r["fingerprint"])]
    if not matching:
        return None
    newest = max(matching, key=lambda path: path.stat().st_mtime_ns)
    record = records[newest]
    path = newest.with_name("levels.png")
    save(levels_plot(record["levels"], record["training"]["num_classes"]), path)
    return path


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    atomic_files.write_atomically(path, buffer.getvalue())


def _colored(names: list[str]) -> list[tuple[str, str]]:
    others = [name for name in names if name not in COLORS]
    colors = COLORS | {name: OTHERS[i % len(OTHERS)] for i, name in enumerate(others)}
    return [(name, colors[name]) for name in names]
