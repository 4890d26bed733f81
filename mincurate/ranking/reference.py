"""Further images join a finished run: its scorer, its ranks and classes, its neighbours, its map.

What the run says of its own images stays as it is. A joining image gets the rank it would have had
among them, the class between whose edges it falls, and a place among its neighbours on the map.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mincurate.compute.device import choose_precision
from mincurate.diffusion import denoiser as denoisers
from mincurate.errors import UserError
from mincurate.features import embedder as embedders
from mincurate.features import perceptual
from mincurate.images import collection
from mincurate.images.decode import Fit
from mincurate.images.depth import Rendering
from mincurate.progress import SILENT, Reporter
from mincurate.ranking import classes, evidence, minority_score, outliers, umap_map
from mincurate.ranking.minority_score import Edge, Scorer
from mincurate.ranking.neighbors import NEIGHBORS, nearest
from mincurate.runs import store
from mincurate.runs.store import Run


@dataclass(frozen=True, eq=False)
class Base:
    """A finished run that others join.

    Attributes:
        run: the run.
        frame: one row per different scored image, in the order of ``vectors``.
        vectors: ``(N, d)`` float32, L2-normalised embeddings.
        size: side at which the run scores, in pixels.
        fit: how its images become square.
    """

    run: Run
    frame: pd.DataFrame
    vectors: NDArray[np.float32]
    size: int
    fit: Fit

    @property
    def num_classes(self) -> int:
        """L."""
        return int(self.run.record["num_classes"])

    @property
    def column(self) -> str:
        """The column that the run's ranking follows."""
        return classes.RANKINGS[self.run.record["rank_by"]]

    @property
    def rendering(self) -> Rendering:
        """How the run's files became pixels."""
        return Rendering.of_record(self.run.record.get("rendering"))

    def pixels(self, *, size: int | None = None, workers: int = 2) -> NDArray[np.uint8]:
        """The images of ``frame``, ``(N, 3, size, size)``, decoded again.

        Args:
            size: that of the run when absent.

        Raises:
            UserError: some are not there any more, or cannot be read.
        """
        files = list(zip(self.frame["content_hash"], self.frame["path"], strict=True))
        parts: list[NDArray[np.uint8]] = []
        lost: dict[str, str] = {}
        for _, pixels, bad in collection.read_batches(
            files,
            size=size or self.size,
            fit=self.fit,
            rendering=self.rendering,
            batch_size=256,
            workers=workers,
        ):
            parts.append(pixels)
            lost |= bad
        if lost:
            raise UserError(
                f"{len(lost)} of the {len(files)} images of run {self.run.key} cannot be read any "
                f"more ({next(iter(lost.values()))}); put them back, or score again."
            )
        return np.concatenate(parts)


def open_base(run: Run) -> Base:
    """Read a finished scoring run.

    Raises:
        UserError: it is not one, or its files are not whole.
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
    if "outlier_factor" not in frame:
        raise UserError(
            f"The run {run.key} is of an older version of mincurate; score its images again."
        )
    if "rarity_class" not in frame:
        raise UserError(
            f"The run {run.key} was written when minority_class was the class of the ranking; "
            f"`mincurate sync {run.key}` renames its fields, then try again."
        )
    known = frame[(frame["status"] == "ok") & frame["duplicate_of"].isna()]
    try:
        hashes = pd.read_parquet(run.path / "embeddings.parquet")["content_hash"]
        vectors = np.load(run.path / "embeddings.npy", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"The embeddings of run {run.key} cannot be read ({error}); score again with --fresh."
        ) from error
    rows = known.set_index("content_hash", drop=False).reindex(hashes)
    whole = rows["status"].notna().to_numpy()
    settings = record["settings"]
    return Base(
        run,
        rows[whole].reset_index(drop=True),
        vectors[whole],
        int(settings["image_size"]),
        cast(Fit, settings["fit"]),
    )


def scorer_of(run: Run, device: str) -> Scorer:
    """The scorer that a run was scored with, built again.

    Raises:
        UserError: its model or weights are gone, or are others now.
    """
    record = run.record
    settings = record["settings"]
    try:
        denoiser = denoisers.load(str(record["model"]["name"]), device)
    except UserError as error:
        raise UserError(f"The model of run {run.key} is not here any more: {error}") from error
    if denoiser.content_hash() != record["model"]["hash"]:
        raise UserError(
            f"The model {denoiser.name} is not the one any more that run {run.key} was scored with."
        )
    embedder = embedders.load(settings["embedding"], denoiser, device=device)
    dtype = choose_precision(settings["precision"], device)
    return Scorer(
        denoiser=denoiser,
        perceptual=perceptual.load(settings["perceptual"], denoiser, device=device),
        embed=embedder.embed,
        sigma=denoiser.nearest_sigma(float(settings["sigma"])),
        n_draws=int(settings["n_draws"]),
        seed=int(settings["seed"]),
        dtype=dtype if dtype is not torch.float32 else None,
        edge=Edge(**record["edge"]) if record.get("edge") else None,
    )


def join(
    base: Base,
    scorer: Scorer,
    files: list[tuple[str, str]],
    *,
    batch_size: int = 32,
    workers: int = 2,
    reporter: Reporter = SILENT,
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """Score ``files``, pairs of content hash and path, and place them among the images of a run.

    Returns:
        One row per file in order, with the columns of the run's table that have a meaning for a
        single image, and ``nearest_real`` and ``nearest_real_distance``, the content hash of the
        run's nearest image and how far it is; and the embeddings ``(M, d)``.

    Raises:
        UserError: a file cannot be read.
    """
    parts: list[minority_score.Scored] = []
    with reporter.task("Scoring", len(files)) as advance:
        for hashes, pixels, bad in collection.read_batches(
            files,
            size=base.size,
            fit=base.fit,
            rendering=base.rendering,
            batch_size=batch_size,
            workers=workers,
        ):
            if bad:
                gone = dict(files)[next(iter(bad))]
                raise UserError(f"{gone} cannot be read any more: {next(iter(bad.values()))}.")
            parts.append(scorer(pixels, hashes))
            advance(len(hashes))
    draws = np.concatenate([p.draws for p in parts])
    layers = np.concatenate([p.layers for p in parts])
    # In half precision as the run keeps them, so that an image of the run finds itself.
    vectors = np.concatenate([p.embeddings for p in parts]).astype(np.float16).astype(np.float32)
    frame = place(base, [h for h, _ in files], [p for _, p in files], draws, layers, vectors)
    frame["denoising_error"] = np.concatenate([p.denoising_error for p in parts])
    return frame, vectors


def place(
    base: Base,
    hashes: list[str],
    paths: list[str],
    draws: NDArray[np.float32],
    layers: NDArray[np.float32],
    vectors: NDArray[np.float32],
) -> pd.DataFrame:
    """The table of images that were scored: ranks, classes, neighbours and map of a run."""
    k = min(NEIGHBORS, len(base.vectors))
    among = base.vectors[outliers.reference(base.frame["content_hash"])]
    far, index = nearest(base.vectors, vectors, k)
    frame = pd.DataFrame(
        {
            "path": paths,
            "content_hash": hashes,
            **evidence.summary(draws),
            "layer_distances": list(layers),
            "neighbor_distance": far.mean(1),
            **dict(zip(outliers.NAMES, outliers.evidence(vectors, among), strict=True)),
            "nearest_real": base.frame["content_hash"].to_numpy()[index[:, 0]],
            "nearest_real_distance": far[:, 0],
        }
    )
    known, joining = (
        [table[name].to_numpy(np.float64) for name in outliers.NAMES]
        for table in (base.frame, frame)
    )
    frame["embedding_rarity"] = classes.mean_rank_among(known, joining, outliers.WEIGHTS)
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
