"""Score, place and inspect generated images: the table of a generation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from mincurate.diffusion.denoiser import Denoiser
from mincurate.evaluation import gate as gates
from mincurate.evaluation.gate import Gate
from mincurate.generation.classifier import Classifier, Predicted, predict
from mincurate.generation.guided_classes import Target, labels_of
from mincurate.progress import Reporter
from mincurate.ranking import joining, reference
from mincurate.ranking.minority_score import Scorer
from mincurate.ranking.reference import Base
from mincurate.runs import atomic_files as run_files
from mincurate.runs import manifest as manifests
from mincurate.runs import schema
from mincurate.runs.manifest import read_png
from mincurate.runs.store import Run

FROM_MANIFEST = ("index", "seed", "sampler", "solver", "steps", "guidance_scale", "run")
"""Columns of the table that each image's line of the manifest gives."""


@dataclass(frozen=True, eq=False)
class Judge:
    """The classifier, and what it is compared with.

    Attributes:
        classifier: says whether an image is of the target, and its label.
        denoiser: whose encoder the classifier reads.
        pixels: the run's images at the denoiser's size, ``(N, 3, S, S)`` uint8.
        trained_on: indices of those that the classifier was trained on.
    """

    classifier: Classifier
    denoiser: Denoiser
    pixels: NDArray[np.uint8]
    trained_on: NDArray[np.int64]

    def predict(self, target: Target, pixels: NDArray[np.uint8]) -> Predicted:
        """Probability of the target, and labels, of images."""
        return predict(
            self.denoiser, self.classifier, pixels, classes=target.classes, label=target.label
        )


def inspect(
    generation: Run,
    base: Base,
    scorer: Scorer,
    target: Target,
    manifest: list[dict[str, Any]],
    judge: Judge | None,
    reporter: Reporter,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Score the images of a generation, calibrate the gate, and write table and embeddings.

    Returns:
        the table, one row per image; and how many were accepted, and rejected for each reason.
    """
    files = manifests.files(generation.path, manifest)
    base = joining.at_score_size(base, scorer, reporter=reporter)
    pixels = np.stack([read_png(Path(path)) for _, path in files])
    predicted = judge.predict(target, pixels) if judge else None
    labels = _labels(manifest, base, predicted)
    scorer = reference.with_labels(scorer, [name for name, _ in files], labels)
    frame, vectors = joining.join(base, scorer, files, reporter=reporter)
    gate = _calibrate(base, target, judge)
    verdicts = gates.inspect(gate, base.vectors, vectors, predicted.target if predicted else None)
    frame["reason"] = verdicts["reason"].to_numpy()
    frame["accepted"] = verdicts["reason"].isna().to_numpy()
    frame["target_probability"] = verdicts["probability"].to_numpy()
    frame["ball_ratio"] = verdicts["ball_ratio"].to_numpy()
    frame["label"] = labels
    frame["label_confidence"] = predicted.confidence(labels) if predicted else np.nan
    _add_facts(frame, base, target, manifest)
    _write(generation, frame, vectors, gate)
    return frame, gates.counts(frame["reason"])


def _labels(
    manifest: list[dict[str, Any]], base: Base, predicted: Predicted | None
) -> list[str | None]:
    """The label of every image: that it was generated under, or of its start, or the likeliest."""
    frame = base.frame
    of_real = dict(zip(frame["content_hash"], labels_of(base), strict=True))
    likeliest = predicted.labels if predicted else [None] * len(manifest)
    return [
        entry.get("label") or of_real.get(entry.get("start", "")) or other
        for entry, other in zip(manifest, likeliest, strict=True)
    ]


def _calibrate(base: Base, target: Target, judge: Judge | None) -> Gate:
    """The gate's limits, from the real images of the target."""
    members = target.members(base)
    probability = None
    if judge is not None:
        of_real = judge.predict(target, judge.pixels).target
        probability = gates.unseen(of_real, judge.trained_on, members)
    return gates.calibrate(
        base.vectors,
        feature_space=str(base.run.record["embedding"]),
        like=members,
        probability=probability,
    )


def _add_facts(
    frame: pd.DataFrame, base: Base, target: Target, manifest: list[dict[str, Any]]
) -> None:
    """How each image was made, from what, and its nearest real image, as columns."""
    paths = base.frame.set_index("content_hash")["path"]
    frame["nearest_real"] = frame["nearest_real"].map(paths).to_numpy()
    facts = pd.DataFrame(manifest)
    for name in FROM_MANIFEST:
        frame[name] = facts[name].to_numpy()
    frame["start"] = facts["start"].map(paths).to_numpy() if "start" in facts else None
    frame["target_class"] = target.classes[-1]
    frame["by"] = base.guided_by


def _write(generation: Run, frame: pd.DataFrame, vectors: NDArray[np.float32], gate: Gate) -> None:
    """Record the gate's limits, and write embeddings and table."""
    generation.update(
        gate={
            "near_copy": gate.near_copy,
            "allowance": gate.allowance,
            "floor": gate.floor,
            "feature_space": gate.feature_space,
        }
    )
    run_files.write_vectors(generation.path / schema.VECTORS, vectors)
    run_files.write_table(
        generation.path / schema.SYNTHETIC, pa.Table.from_pandas(frame, preserve_index=False)
    )
    flat = frame.drop(columns=["minority_score_draws", "layer_distances"])
    csv = flat.to_csv(index=False).encode()
    run_files.write_atomically(generation.path / schema.SYNTHETIC_CSV, csv)
