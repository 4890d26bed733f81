"""Score further images among those of a finished run, which keep their scores, ranks and classes.

A joining image gets the percentiles that it would have had among the run's images, the classes
between whose edges its scores lie, and a place on the map among its neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mincurate.compute.device import choose_precision
from mincurate.diffusion import conditions
from mincurate.diffusion.conditions import Conditions
from mincurate.diffusion.load import load_denoiser
from mincurate.errors import UserError
from mincurate.features import embedder as embedders
from mincurate.features import perceptual
from mincurate.images import collection
from mincurate.images.bit_depth import Rendering
from mincurate.images.decode import Fit
from mincurate.progress import SILENT, Reporter
from mincurate.ranking import (
    classes,
    evidence,
    minority_score,
    outliers,
    small_kinds,
    umap_map,
    vectors,
)
from mincurate.ranking.minority_score import Edge, Scorer
from mincurate.ranking.neighbors import NEIGHBORS, nearest
from mincurate.ranking.shard_loop import Reading
from mincurate.runs import atomic_files, schema, store
from mincurate.runs.store import Run


@dataclass(frozen=True, eq=False)
class Base:
    """A finished scored run, whose images are the reference for others.

    Attributes:
        run: the run.
        frame: one row per different scored image, in the order of ``vectors``.
        vectors: ``(N, d)`` float32, L2-normalised embeddings.
        size: side at which the images are scored, in pixels.
        fit: how they are made square.
        vector_side: side at which they are embedded, in pixels.
        guided_by: whose classes guide generation: ``rarity`` (the ranking in force) or
            ``minority`` (the minority score).
        rare_are: the evidence that ``embedding_rarity`` follows: ``outlying`` or ``small_kind``.
    """

    run: Run
    frame: pd.DataFrame
    vectors: NDArray[np.float32]
    size: int
    fit: Fit
    vector_side: int
    guided_by: str = "rarity"
    rare_are: str = "outlying"

    @property
    def num_classes(self) -> int:
        """Number of ordinal classes, L."""
        return int(self.run.record["num_classes"])

    @property
    def column(self) -> str:
        """The column of the ranking in force; higher is rarer."""
        return classes.RANKINGS[self.run.record["rank_by"]]

    @property
    def rendering(self) -> Rendering:
        """How the run's files are decoded to pixels."""
        return Rendering.of_record(self.run.record.get("rendering"))

    def pixels(self, *, size: int | None = None, workers: int = 2) -> NDArray[np.uint8]:
        """Decode the images of ``frame``: ``(N, 3, size, size)`` uint8.

        Args:
            size: side in pixels. Default: that of the run.
            workers: processes that decode.

        Raises:
            UserError: some files are gone or cannot be read.
        """
        files = list(zip(self.frame["content_hash"], self.frame["path"], strict=True))
        parts: list[NDArray[np.uint8]] = []
        unreadable: dict[str, str] = {}
        for _, pixels, reasons in collection.read_batches(
            files,
            size=size or self.size,
            fit=self.fit,
            rendering=self.rendering,
            batch_size=256,
            workers=workers,
        ):
            parts.append(pixels)
            unreadable |= reasons
        if unreadable:
            raise UserError(
                f"{len(unreadable)} of the {len(files)} images of run {self.run.key} cannot be "
                f"read any more ({next(iter(unreadable.values()))}); put them back, or score again."
            )
        return np.concatenate(parts)


def open_base(run: Run) -> Base:
    """Read a finished scored run.

    Raises:
        UserError: the run is not one, is of an earlier version, or has damaged files.
    """
    record = run.record
    if store.kind_of(run) != store.SCORE:
        raise UserError(
            f"{run.key} holds generated images; give the scored run that they were made for "
            f"({record.get('base')})."
        )
    if not run.finished:
        raise UserError(f"The run {run.key} is not finished; give its command again to go on.")
    frame = run.frame()
    if run.quick:
        raise UserError(
            f"The run {run.key} is ranked by vectors alone (--quick); give its command without "
            "--quick for the minority scores, then try again."
        )
    if "outlier_factor" not in frame:
        raise UserError(
            f"The run {run.key} is of an older version of mincurate; score its images again."
        )
    if "rarity_class" not in frame:
        raise UserError(
            f"The run {run.key} was written when minority_class was the class of the ranking; "
            f"`mincurate sync {run.key}` renames its fields, then try again."
        )
    scored = frame[(frame["status"] == "ok") & frame["duplicate_of"].isna()]
    try:
        hashes = pd.read_parquet(run.path / schema.VECTOR_HASHES)["content_hash"]
        vectors = np.load(run.path / schema.VECTORS, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"The embeddings of run {run.key} cannot be read ({error}); score again with --fresh."
        ) from error
    rows = scored.set_index("content_hash", drop=False).reindex(hashes)
    present = rows["status"].notna().to_numpy()
    settings = record["settings"]
    return Base(
        run,
        rows[present].reset_index(drop=True),
        vectors[present],
        int(settings["image_size"]),
        cast(Fit, settings["fit"]),
        # Runs of before embedded what the denoiser sees.
        int(record.get("vector_side") or settings["image_size"]),
        rare_are=record.get("rare_are", "outlying"),
    )


def at_score_size(
    base: Base, scorer: Scorer, *, workers: int = 2, reporter: Reporter = SILENT
) -> Base:
    """The run with vectors of its images at the size at which the denoiser sees them.

    Generated images have that size. Beside real images that were embedded from their files, all of
    them would look rare for their blur alone. The vectors are kept beside the run.

    Raises:
        UserError: a file cannot be read any more.
    """
    of_this_size = (base.frame[["width", "height"]] == base.size).all(axis=None)
    if base.vector_side <= base.size or of_this_size:
        return base
    file = base.run.path / schema.SMALL_VECTORS
    hashes = base.frame["content_hash"].to_numpy(str)
    saved = atomic_files.read_arrays(file) or {}
    small = saved.get("vectors")
    if small is None or not np.array_equal(saved.get("content_hash", []), hashes):
        files = list(zip(base.frame["content_hash"], base.frame["path"], strict=True))
        small = _vectors(replace(base, vector_side=base.size), scorer, files, 32, workers, reporter)
        atomic_files.write_arrays(file, content_hash=hashes, vectors=small.astype(np.float16))
    small = small.astype(np.float32)
    frame = base.frame.copy()
    rare_are = evidence.of_vectors(frame, small)["rare_are"]
    return replace(base, frame=frame, vectors=small, vector_side=base.size, rare_are=str(rare_are))


def scorer_of(run: Run, device: str) -> Scorer:
    """Load the scorer that a run was scored with.

    Raises:
        UserError: its model or weights are gone or have changed.
    """
    record = run.record
    settings = record["settings"]
    if not record.get("model"):
        raise UserError(f"The run {run.key} has no minority scores yet.")
    try:
        denoiser = load_denoiser(str(record["model"]["name"]), device)
    except UserError as error:
        raise UserError(f"The model of run {run.key} is not here any more: {error}") from error
    if denoiser.content_hash() != record["model"]["hash"]:
        raise UserError(
            f"The model {denoiser.name} has changed since run {run.key} was scored with it."
        )
    embedder = embedders.load_embedder(settings["embedding"], denoiser, device=device)
    dtype = choose_precision(settings["precision"], device)
    return Scorer(
        denoiser=denoiser,
        perceptual=perceptual.load_perceptual(settings["perceptual"], denoiser, device=device),
        sigma=denoiser.nearest_sigma(float(settings["sigma"])),
        n_draws=int(settings["n_draws"]),
        seed=int(settings["seed"]),
        dtype=dtype if dtype is not torch.float32 else None,
        edge=Edge(**record["edge"]) if record.get("edge") else None,
        embedder=embedder,
        conditions=_conditions(run),
    )


def _conditions(run: Run) -> Conditions | None:
    """The classes of a run's images, where its model is conditional on them."""
    if not run.record.get("label_classes"):
        return None
    frame = run.frame()
    frame = frame[(frame["status"] == "ok") & frame["duplicate_of"].isna()]
    labels = [label if isinstance(label, str) else None for label in frame["label"]]
    return conditions.of_images(run.record["label_classes"], list(frame["content_hash"]), labels)


def with_labels(scorer: Scorer, hashes: Sequence[str], labels: Sequence[str | None]) -> Scorer:
    """The scorer for further images with these labels.

    Raises:
        UserError: the model is conditional and knows neither a label nor what to do without.
    """
    if scorer.conditions is None:
        return scorer
    of_label, null = scorer.conditions.of_label, scorer.denoiser.null_class
    further = conditions.of_images(of_label, hashes, labels)
    if null is None and conditions.NULL in further.of_image.values():
        raise UserError(
            f"The model {scorer.denoiser.name} is conditional on the labels of the run "
            f"({', '.join(of_label)}), and some of the images have none of them."
        )
    of_image = scorer.conditions.of_image | further.of_image
    return replace(scorer, conditions=replace(further, of_image=of_image))


def join(
    base: Base,
    scorer: Scorer,
    files: list[tuple[str, str]],
    *,
    batch_size: int = 32,
    workers: int = 2,
    reporter: Reporter = SILENT,
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """Score ``files`` and place them among the images of a run (`place`).

    Args:
        base: the run.
        scorer: of the run, see `scorer_of`.
        files: M pairs of content hash and path.
        batch_size: images per batch.
        workers: processes that decode.
        reporter: hears of progress.

    Returns:
        The table of `place` with ``denoising_error``, in the order of ``files``; and the
        embeddings ``(M, d)`` float32.

    Raises:
        UserError: a file cannot be read.
    """
    parts: list[minority_score.Scored] = []
    joining = _vectors(base, scorer, files, batch_size, workers, reporter)
    with reporter.task("Scoring", len(files)) as advance:
        reading = Reading(base.size, base.fit, batch_size, workers, base.rendering)
        for hashes, pixels, reasons in reading.batches(files):
            _check_readable(files, reasons)
            parts.append(scorer(pixels, hashes))
            advance(len(hashes))
    draws = np.concatenate([p.draws for p in parts])
    layers = np.concatenate([p.layers for p in parts])
    frame = place(base, [h for h, _ in files], [p for _, p in files], draws, layers, joining)
    frame["denoising_error"] = np.concatenate([p.denoising_error for p in parts])
    return frame, joining


def _vectors(
    base: Base,
    scorer: Scorer,
    files: list[tuple[str, str]],
    batch_size: int,
    workers: int,
    reporter: Reporter,
) -> NDArray[np.float32]:
    """Vectors ``(M, d)``, in half precision as the run keeps them: an image of it finds itself."""
    if scorer.embedder is None:
        raise ValueError("vectors need the embedder of the run")
    reading = Reading(base.vector_side, base.fit, batch_size, workers, base.rendering)
    device = str(scorer.denoiser.device)
    with reporter.task("Vectors", len(files)) as advance:
        rows = vectors.embed_files(scorer.embedder, device, scorer.dtype, reading, files, advance)
    _check_readable(files, rows.lost)
    return np.concatenate(rows.parts).astype(np.float32)


def _check_readable(files: list[tuple[str, str]], reasons: dict[str, str]) -> None:
    for content, reason in reasons.items():
        raise UserError(f"{dict(files)[content]} cannot be read any more: {reason}.")


def place(
    base: Base,
    hashes: list[str],
    paths: list[str],
    draws: NDArray[np.float32],
    layers: NDArray[np.float32],
    vectors: NDArray[np.float32],
) -> pd.DataFrame:
    """Percentiles, classes, neighbours and map position of M scored images among those of a run.

    ``minority_percentile`` and ``minority_class`` follow the minority score, ``rarity`` and
    ``rarity_class`` the ranking in force.

    Args:
        base: the run, of N images.
        hashes: M content hashes.
        paths: M paths.
        draws: ``(M, K)`` perceptual distances.
        layers: ``(M, L)`` distances per layer.
        vectors: ``(M, d)`` embeddings.

    Returns:
        One row per image, with the columns of the run's table that a single image can have, and
        ``nearest_real`` and ``nearest_real_distance``: the content hash of the run's nearest image
        and the distance to it.
    """
    k = min(NEIGHBORS, len(base.vectors))
    among = base.vectors[outliers.reference(base.frame["content_hash"])]
    distances, index = nearest(base.vectors, vectors, k)
    frame = pd.DataFrame(
        {
            "path": paths,
            "content_hash": hashes,
            **evidence.summary(draws),
            "layer_distances": list(layers),
            "neighbor_distance": distances.mean(1),
            **dict(zip(outliers.NAMES, outliers.evidence(vectors, among), strict=True)),
            "nearest_real": base.frame["content_hash"].to_numpy()[index[:, 0]],
            "nearest_real_distance": distances[:, 0],
        }
    )
    reference, joining = (
        [table[name].to_numpy(np.float64) for name in outliers.NAMES]
        for table in (base.frame, frame)
    )
    frame["outlying"] = classes.mean_rank_among(reference, joining, outliers.WEIGHTS)
    frame["small_kind"] = small_kinds.rarity_among(among, vectors)
    frame["embedding_rarity"] = frame[base.rare_are]
    frame["minority_score_calibrated"] = evidence.calibrated_among(base.frame, frame)
    ranked = frame[base.column].to_numpy(np.float64)
    scores = base.frame[base.column].to_numpy(np.float64)
    frame["rarity"] = classes.percentile_among(scores, ranked)
    minority = base.frame["minority_score"].to_numpy(np.float64)
    frame[list(evidence.PERCENTILES)] = evidence.minority_percentiles(minority, frame)
    record = base.run.record
    minority_edges = np.asarray(record["minority_class_edges"], np.float64)
    frame["minority_class"] = np.searchsorted(
        minority_edges, frame["minority_score"].to_numpy(np.float64)
    )
    edges = record["class_edges"]
    if not edges and base.num_classes > 1:  # within labels there are no edges that hold for all
        edges = classes.class_edges(
            scores, classes.ordinal_classes(scores, base.num_classes), base.num_classes
        )
    frame["rarity_class"] = np.searchsorted(np.asarray(edges, np.float64), ranked)
    points = base.frame[["map_x", "map_y"]].to_numpy(np.float32)
    frame["map_x"], frame["map_y"] = np.nan, np.nan
    if len(points) and not np.isnan(points).any():
        frame[["map_x", "map_y"]] = umap_map.join_map(vectors, base.vectors, points)
    return frame
