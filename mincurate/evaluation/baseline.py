"""The plain images that a generation is compared with: same model, seeds and start, unguided."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from mincurate.compute.device import choose_precision
from mincurate.diffusion import models
from mincurate.diffusion.denoiser import Denoiser
from mincurate.errors import UserError
from mincurate.evaluation.metrics import Vectors
from mincurate.generation import generate, labels, samplers
from mincurate.generation.generate import Starts
from mincurate.generation.labels import Labels
from mincurate.progress import Reporter
from mincurate.ranking import joining, reference
from mincurate.ranking.minority_score import Scorer
from mincurate.ranking.reference import Base
from mincurate.runs import atomic_files as run_files
from mincurate.runs import manifest as manifests
from mincurate.runs import schema
from mincurate.runs.manifest import read_manifest
from mincurate.runs.store import Run

FOLDER = "baseline"
"""Folder of the plain images, inside that of the guided ones."""


def make(
    generation: Run, base: Base, scorer: Scorer, n: int, device: str, reporter: Reporter
) -> tuple[pd.DataFrame, Vectors]:
    """The baseline: ``n`` images of the same model, seeds, solver and steps without guidance.

    They start where the guided ones do, so that they differ by guidance alone. Images that vary
    real ones without guidance differ by their start alone: then the baseline starts from noise.

    Returns:
        As `joining.join`. Images and scores stay on disk and are computed once.
    """
    settings, folder = generation.record["settings"], generation.path / FOLDER
    denoiser = _model_of(generation, device)
    sampler = samplers.ddpm(
        denoiser,
        steps=int(settings["steps"]),
        solver=str(settings["solver"]),
        dtype=choose_precision(str(settings.get("precision", "auto")), device),
        paper=settings.get("preset") == "paper",
    )
    starts = _starts(generation, base, denoiser.image_size) if same_start(generation) else None
    under = _labels(generation, base, denoiser)
    existing = read_manifest(folder)
    if starts is not None and any("start" not in entry for entry in existing):
        shutil.rmtree(folder)  # an earlier version always started from noise
        existing = []
    if len(existing) < n:
        reporter.say(
            f"Making {n:,} plain (ddpm) images with the same model and seeds to compare"
            f"{', from the same real images' if starts is not None else ''}."
        )
    manifest = generate.generate(
        folder,
        sampler,
        n,
        seed=int(settings["seed"]),
        first=int(settings.get("first", 0)),
        batch_size=int(settings["batch_size"]),
        facts={"sampler": "ddpm", "model": denoiser.content_hash(), "run": generation.key}
        | {key: settings[key] for key in ("solver", "steps")},
        starts=starts,
        labels=under,
        reporter=reporter,
    )
    files = manifests.files(folder, manifest)
    scored = _scored(folder, [content_hash for content_hash, _ in files])
    if scored is not None:
        return scored
    names = [entry.get("label") for entry in manifest]
    scorer = reference.with_labels(scorer, [name for name, _ in files], names)
    frame, vectors = joining.join(base, scorer, files, reporter=reporter)
    run_files.write_vectors(folder / schema.VECTORS, vectors)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    run_files.write_table(folder / schema.SYNTHETIC, table)
    return frame, vectors


def same_start(generation: Run) -> bool:
    """Whether the plain images start from the real images that the guided ones vary."""
    settings = generation.record["settings"]
    return bool(settings["init"] == "real" and settings["sampler"] != "ddpm")


def cause(generation: Run) -> str:
    """What sets the guided images apart from the plain ones."""
    settings = generation.record["settings"]
    start_differs = settings["init"] == "real" and not same_start(generation)
    return "Starting from real images" if start_differs else "Guidance"


def _starts(generation: Run, base: Base, side: int) -> Starts:
    """The real images that the guided ones vary, from the manifest."""
    settings = generation.record["settings"]
    starts = [str(entry["start"]) for entry in read_manifest(generation.path)]
    cycle = starts[: len(set(starts))]  # they are used in turn
    used = base.frame["content_hash"].isin(cycle).to_numpy()
    varied = replace(base, frame=base.frame[used], vectors=base.vectors[used])
    row_of = {name: i for i, name in enumerate(varied.frame["content_hash"])}
    # Image i of a generation varies number first + i of the cycle.
    order = np.roll([row_of[name] for name in cycle], int(settings.get("first", 0)))
    hashes = varied.frame["content_hash"].to_numpy()
    return Starts(varied.pixels(size=side)[order], hashes[order].tolist(), settings["strength"])


def _labels(generation: Run, base: Base, denoiser: Denoiser) -> Labels | None:
    """The labels of the guided images, for as many plain ones."""
    if not denoiser.num_classes:
        return None
    names = [entry["label"] for entry in read_manifest(generation.path)]
    first = int(generation.record["settings"].get("first", 0))
    turned = [names[(i - first) % len(names)] for i in range(len(names))]
    return labels.of(labels.label_classes(denoiser, base), turned)


def _model_of(generation: Run, device: str) -> Denoiser:
    """The model that generated."""
    recorded = generation.record["model"]
    try:
        model = models.recorded(recorded, device)
    except UserError as error:
        raise UserError(f"The model of run {generation.key} is gone: {error}") from error
    if model.content_hash() != recorded["hash"]:
        raise UserError(
            f"The model {model.name} has changed since it made run {generation.key}; put the old "
            "one back, or generate again."
        )
    return model


def _scored(folder: Path, hashes: list[str]) -> tuple[pd.DataFrame, Vectors] | None:
    """The scores of an earlier evaluation, where they are of these very images."""
    n = len(hashes)
    try:
        frame = pd.read_parquet(folder / schema.SYNTHETIC).head(n)
        vectors = np.load(folder / schema.VECTORS, allow_pickle=False)[:n]
    except (OSError, ValueError):
        return None
    same_images = frame["content_hash"].tolist() == hashes and len(vectors) == n
    return (frame, vectors) if same_images else None
