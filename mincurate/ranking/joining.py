"""Images that join those of a scored run: their vectors, scores, and places among its images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mincurate.compute.device import choose_precision
from mincurate.compute.ray_map import Item
from mincurate.errors import UserError
from mincurate.features.embedder import Embedder
from mincurate.images import regions
from mincurate.images.regions import path_of
from mincurate.progress import SILENT, Reporter
from mincurate.ranking import (
    classes,
    evidence,
    minority_score,
    outliers,
    reference,
    small_kinds,
    table_file,
    umap_map,
    vectors,
)
from mincurate.ranking.minority_score import Scorer
from mincurate.ranking.neighbors import NEIGHBORS, nearest, neighbors
from mincurate.ranking.reference import Base
from mincurate.runs import atomic_files, schema
from mincurate.runs.store import Run


@dataclass(frozen=True, eq=False)
class Networks:
    """What scored a run; without a scorer it is ranked by vectors alone."""

    scorer: Scorer | None
    embedder: Embedder | None
    device: str

    def with_labels(self, hashes: Sequence[str], labels: Sequence[str | None]) -> "Networks":
        """The same for images with these labels; see `reference.with_labels`."""
        if self.scorer is None:
            return self
        return replace(self, scorer=reference.with_labels(self.scorer, hashes, labels))

    def join(
        self, base: Base, files: list[Item], batch_size: int, workers: int, reporter: Reporter
    ) -> tuple[pd.DataFrame, NDArray[np.float32]]:
        """Files among the images of the run, as `join`."""
        common: dict[str, Any] = {
            "batch_size": batch_size,
            "workers": workers,
            "reporter": reporter,
        }
        if self.scorer is not None:
            scorer = replace(self.scorer, embedder=self.embedder)
            return join(base, scorer, files, **common)
        if self.embedder is None:
            raise ValueError("vectors need the embedder of the run")
        return join_by_vectors(base, self.embedder, files, device=self.device, **common)


def networks_of(run: Run, device: str) -> Networks:
    """Load what scored a run; without an embedder where its vectors came from a file."""
    if not run.quick:
        scorer = reference.scorer_of(run, device)
        return Networks(scorer, scorer.embedder, device)
    of_file = reference.has_vectors_of_file(run)
    return Networks(None, None if of_file else reference.embedder_of(run, device), device)


def join(
    base: Base,
    scorer: Scorer,
    files: list[Item],
    *,
    batch_size: int = 32,
    workers: int = 2,
    reporter: Reporter = SILENT,
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """Score ``files`` and place them among the images of a run (`place`).

    Args:
        base: the run.
        scorer: of the run, see `scorer_of`.
        files: M pairs of content hash and path, or region.
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
    joining = vectors_of_scorer(base, scorer, files, batch_size, workers, reporter)
    with reporter.task("Scoring", len(files)) as advance:
        batches = base.reading(base.size, batch_size, workers).batches(files)
        for hashes, pixels, reasons in batches:
            _check_readable(files, reasons)
            parts.append(scorer(pixels, hashes))
            advance(len(hashes))
    draws = np.concatenate([p.draws for p in parts])
    layers = np.concatenate([p.layers for p in parts])
    frame = place(base, files, joining, draws, layers)
    frame["denoising_error"] = np.concatenate([p.denoising_error for p in parts])
    return frame, joining


def join_by_vectors(
    base: Base,
    embedder: Embedder,
    files: list[Item],
    *,
    device: str,
    batch_size: int = 32,
    workers: int = 2,
    reporter: Reporter = SILENT,
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """Place ``files`` among the images of a run that is ranked by vectors alone; as `join`.

    Args:
        embedder: of the run, see `embedder_of`.
    """
    dtype = choose_precision(base.run.record["settings"]["precision"], device)
    dtype = dtype if dtype is not torch.float32 else None
    joining = _vectors(base, embedder, device, dtype, files, batch_size, workers, reporter)
    return place(base, files, joining), joining


def vectors_of_scorer(
    base: Base,
    scorer: Scorer,
    files: list[Item],
    batch_size: int,
    workers: int,
    reporter: Reporter,
) -> NDArray[np.float32]:
    """Vectors ``(M, d)`` of files by the network of a scorer."""
    if scorer.embedder is None:
        raise ValueError("vectors need the embedder of the run")
    device = str(scorer.denoiser.device)
    return _vectors(
        base, scorer.embedder, device, scorer.dtype, files, batch_size, workers, reporter
    )


def _vectors(
    base: Base,
    embedder: Embedder,
    device: str,
    dtype: torch.dtype | None,
    files: list[Item],
    batch_size: int,
    workers: int,
    reporter: Reporter,
) -> NDArray[np.float32]:
    """Vectors ``(M, d)``, in half precision as the run keeps them: an image of it finds itself."""
    reading = base.vector_reading(batch_size, workers)
    with reporter.task("Vectors", len(files)) as advance:
        rows = vectors.embed_files(embedder, device, dtype, reading, files, advance)
    _check_readable(files, rows.lost)
    return np.concatenate(rows.parts).astype(np.float32)


def _check_readable(files: list[Item], reasons: dict[str, str]) -> None:
    for content, reason in reasons.items():
        raise UserError(f"{dict(files)[content]} cannot be read any more: {reason}.")


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
        files = list(zip(base.frame["content_hash"], regions.places(base.frame), strict=True))
        of_size = replace(base, vector_side=base.size, vector_resampling="lanczos")
        small = vectors_of_scorer(of_size, scorer, files, 32, workers, reporter)
        atomic_files.write_arrays(file, content_hash=hashes, vectors=small.astype(np.float16))
    small = small.astype(np.float32)
    frame = base.frame.copy()
    distances, _ = neighbors(small)
    found = evidence.of_vectors(frame, small, distances, frame["label"])
    return replace(
        base,
        frame=frame,
        vectors=small,
        vector_side=base.size,
        vector_resampling="lanczos",
        rare_are=found["rare_are"],
        weights=tuple(found["outlying_weights"]),
    )


def place(
    base: Base,
    files: list[Item],
    vectors: NDArray[np.float32],
    draws: NDArray[np.float32] | None = None,
    layers: NDArray[np.float32] | None = None,
) -> pd.DataFrame:
    """Percentiles, classes, neighbours and map position of M images among those of a run.

    ``minority_percentile`` and ``minority_class`` follow the minority score, ``rarity`` and
    ``rarity_class`` the ranking in force.

    Args:
        base: the run, of N images.
        files: M pairs of content hash and path, or region.
        vectors: ``(M, d)`` embeddings.
        draws: ``(M, K)`` perceptual distances; ``None`` where the run has no minority scores.
        layers: ``(M, L)`` distances per layer, with ``draws``.

    Returns:
        One row per image, with the columns of the run's table that a single image can have, and
        ``nearest_real`` and ``nearest_real_distance``: the content hash of the run's nearest image
        and the distance to it.
    """
    k = min(NEIGHBORS, len(base.vectors))
    among = base.vectors[outliers.reference(base.frame["content_hash"])]
    distances, index = nearest(base.vectors, vectors, k)
    hashes = [content for content, _ in files]
    scored = table_file.unscored_table(hashes)
    if draws is not None and layers is not None:
        scored = scored.assign(**evidence.summary(draws), layer_distances=list(layers))
    frame = scored.assign(
        **{
            "path": [path_of(place) for _, place in files],
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
    frame["outlying"] = classes.mean_rank_among(reference, joining, base.weights)
    frame["small_kind"] = small_kinds.rarity_among(among, vectors)
    frame["embedding_rarity"] = frame[base.rare_are]
    _add_minority(base, frame)
    ranked = frame[base.column].to_numpy(np.float64)
    scores = base.frame[base.column].to_numpy(np.float64)
    frame["rarity"] = classes.percentile_among(scores, ranked)
    edges = base.run.record["class_edges"]
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


def _add_minority(base: Base, frame: pd.DataFrame) -> None:
    """Ranks by the minority score; missing where there are no scores."""
    if frame["minority_score"].isna().all():
        frame["minority_score_calibrated"] = np.nan
        frame[list(evidence.PERCENTILES)] = np.nan
        frame["minority_class"] = pd.array([pd.NA] * len(frame), dtype="Int64")
        return
    frame["minority_score_calibrated"] = evidence.calibrated_among(base.frame, frame)
    minority = base.frame["minority_score"].to_numpy(np.float64)
    frame[list(evidence.PERCENTILES)] = evidence.minority_percentiles(minority, frame)
    edges = np.asarray(base.run.record["minority_class_edges"], np.float64)
    frame["minority_class"] = np.searchsorted(edges, frame["minority_score"].to_numpy(np.float64))
