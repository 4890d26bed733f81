"""The plain images a generation is judged against: same model, seeds and start, unguided."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from mincurate.compute.device import choose_precision
from mincurate.diffusion import denoiser as denoisers
from mincurate.diffusion.denoiser import Denoiser
from mincurate.errors import UserError
from mincurate.evaluation.metrics import Vectors
from mincurate.generation import generate, samplers
from mincurate.generation.generate import Starts
from mincurate.progress import Reporter
from mincurate.ranking import reference
from mincurate.ranking.minority_score import Scorer
from mincurate.ranking.reference import Base
from mincurate.runs import files as run_files
from mincurate.runs import manifest as manifests
from mincurate.runs import schema
from mincurate.runs.manifest import read_manifest
from mincurate.runs.store import Run

FOLDER = "baseline"
"""Where the plain images are, inside of the folder of the guided ones."""


def make(
    made: Run, base: Base, scorer: Scorer, n: int, device: str, reporter: Reporter
) -> tuple[pd.DataFrame, Vectors]:
    """The baseline: ``n`` images of the same model, seeds, solver and steps without guidance.

    They start where the guided ones do, so that guidance is all that differs. Where nothing
    guided images that vary real ones, the start is all: then the baseline starts from noise.

    Returns:
        As `reference.join`. Images and scores are kept, and computed once.
    """
    settings, folder = made.record["settings"], made.path / FOLDER
    denoiser = _model_of(made, device)
    sampler = samplers.ddpm(
        denoiser,
        steps=int(settings["steps"]),
        solver=str(settings["solver"]),
        dtype=choose_precision(str(settings.get("precision", "auto")), device),
        paper=settings.get("preset") == "paper",
    )
    starts = _starts(made, base, denoiser.image_size) if same_start(made) else None
    known = read_manifest(folder)
    if starts is not None and any("start" not in entry for entry in known):
        shutil.rmtree(folder)  # an earlier version always started from noise
        known = []
    if len(known) < n:
        reporter.say(
            f"Making {n:,} plain (ddpm) images of the same model and seeds to compare"
            f"{', from the same real images' if starts is not None else ''}."
        )
    manifest = generate.generate(
        folder,
        sampler,
        n,
        seed=int(settings["seed"]),
        first=int(settings.get("first", 0)),
        batch_size=int(settings["batch_size"]),
        facts={"sampler": "ddpm", "model": denoiser.content_hash(), "run": made.key}
        | {key: settings[key] for key in ("solver", "steps")},
        starts=starts,
        reporter=reporter,
    )
    files = manifests.files(folder, manifest)
    kept = _kept(folder, [content for content, _ in files])
    if kept is not None:
        return kept
    frame, vectors = reference.join(base, scorer, files, reporter=reporter)
    run_files.write_vectors(folder / schema.VECTORS, vectors)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    run_files.write_table(folder / schema.SYNTHETIC, table)
    return frame, vectors


def same_start(made: Run) -> bool:
    """Whether the plain images start from the real images that the guided ones vary."""
    settings = made.record["settings"]
    return bool(settings["init"] == "real" and settings["sampler"] != "ddpm")


def cause(made: Run) -> str:
    """What the guided images have that the plain ones have not."""
    settings = made.record["settings"]
    varied = settings["init"] == "real" and not same_start(made)
    return "Starting from real images" if varied else "Guidance"


def _starts(made: Run, base: Base, side: int) -> Starts:
    """The real images that the guided ones vary, as the manifest tells them."""
    settings = made.record["settings"]
    names = [str(entry["start"]) for entry in read_manifest(made.path)]
    turn = names[: len(set(names))]  # they take turns
    chosen = base.frame["content_hash"].isin(turn).to_numpy()
    some = replace(base, frame=base.frame[chosen], vectors=base.vectors[chosen])
    place = {name: i for i, name in enumerate(some.frame["content_hash"])}
    # Image i of a generation takes number first + i.
    order = np.roll([place[name] for name in turn], int(settings.get("first", 0)))
    hashes = some.frame["content_hash"].to_numpy()
    return Starts(some.pixels(size=side)[order], hashes[order].tolist(), settings["strength"])


def _model_of(made: Run, device: str) -> Denoiser:
    """The model that generated."""
    about = made.record["model"]
    try:
        model = denoisers.load(str(about["name"]), device)
    except UserError as error:
        raise UserError(f"The model of run {made.key} is not here any more: {error}") from error
    if model.content_hash() != about["hash"]:
        raise UserError(f"The model {model.name} is not the one any more that made run {made.key}.")
    return model


def _kept(folder: Path, hashes: list[str]) -> tuple[pd.DataFrame, Vectors] | None:
    """The scores of plain images from before, where they are of these very images."""
    n = len(hashes)
    try:
        frame = pd.read_parquet(folder / schema.SYNTHETIC).head(n)
        vectors = np.load(folder / schema.VECTORS, allow_pickle=False)[:n]
    except (OSError, ValueError):
        return None
    whole = frame["content_hash"].tolist() == hashes and len(vectors) == n
    return (frame, vectors) if whole else None
