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
from mincurate.diffusion import conditions, models
from mincurate.diffusion.conditions import Conditions
from mincurate.diffusion.denoiser import Denoiser
from mincurate.errors import UserError
from mincurate.features import embedder as embedders
from mincurate.features import own_vectors, perceptual
from mincurate.features.embedder import Embedder
from mincurate.features.own_vectors import FUNCTION
from mincurate.images import regions
from mincurate.images.bit_depth import Rendering
from mincurate.images.fit import Fit, Resampling
from mincurate.ranking import classes, outliers
from mincurate.ranking.minority_score import Edge, Scorer
from mincurate.ranking.shard_loop import Reading
from mincurate.runs import schema, store
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
        vector_resampling: the filter that shrinks them to it.
        guided_by: whose classes guide generation: ``rarity`` (the ranking in force) or
            ``minority`` (the minority score).
        rare_are: the evidence that ``embedding_rarity`` follows: ``outlying`` or ``small_kind``.
        weights: of the evidence in ``outlying``.
    """

    run: Run
    frame: pd.DataFrame
    vectors: NDArray[np.float32]
    size: int
    fit: Fit
    vector_side: int
    vector_resampling: Resampling = "lanczos"
    guided_by: str = "rarity"
    rare_are: str = "outlying"
    weights: outliers.Weights = outliers.WEIGHTS

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

    def check_colours(self) -> None:
        """Raise `UserError` where the images are of bands: what is generated is of colours."""
        if self.rendering.bands is not None:
            raise UserError(
                f"The images of run {self.run.key} are scored by their bands: images are generated "
                "and evaluated for runs of colour images only."
            )

    def reading(self, size: int, batch_size: int, workers: int = 2) -> Reading:
        """How files become batches as the run's own did, at a side of ``size`` pixels."""
        return Reading(size, self.fit, batch_size, workers, self.rendering)

    def vector_reading(self, batch_size: int, workers: int = 2) -> Reading:
        """How files become batches to embed, as the run's own did."""
        reading = self.reading(self.vector_side, batch_size, workers)
        return replace(reading, resampling=self.vector_resampling)

    def pixels(self, *, size: int | None = None, workers: int = 2) -> NDArray[np.uint8]:
        """Decode the images of ``frame``: ``(N, C, size, size)`` uint8.

        Args:
            size: side in pixels. Default: that of the run.
            workers: processes that decode.

        Raises:
            UserError: some files are gone or cannot be read.
        """
        files = list(zip(self.frame["content_hash"], regions.places(self.frame), strict=True))
        parts: list[NDArray[np.uint8]] = []
        unreadable: dict[str, str] = {}
        for _, pixels, reasons in self.reading(size or self.size, 256, workers).batches(files):
            parts.append(pixels)
            unreadable |= reasons
        if unreadable:
            raise UserError(
                f"{len(unreadable)} of the {len(files)} images of run {self.run.key} cannot be "
                f"read any more ({next(iter(unreadable.values()))}); put them back, or score again."
            )
        return np.concatenate(parts)


def open_base(run: Run, *, scores: bool = True) -> Base:
    """Read a finished scored run.

    Args:
        scores: the minority scores must be there; without them a run of ``--quick`` will do.

    Raises:
        UserError: the run is not one, is of an earlier version, or has damaged files.
    """
    record = run.record
    store.check_scored(run)
    run.check_whole_images()
    if not run.finished:
        raise UserError(f"The run {run.key} is not finished; give its command again to go on.")
    frame = run.frame()
    if run.quick and scores:
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
        resampling_of(run),
        rare_are=record.get("rare_are", "outlying"),
        weights=weights_of(run),
    )


def resampling_of(run: Run) -> Resampling:
    """The filter that shrank images for a run's vectors; runs of before have no record."""
    return cast(Resampling, run.record.get("vector_resampling") or "lanczos")


def weights_of(run: Run) -> outliers.Weights:
    """How much each evidence counts in the ``outlying`` of a run; runs of before have no record."""
    crowd, factor, deviation = run.record.get("outlying_weights") or outliers.WEIGHTS
    return int(crowd), int(factor), int(deviation)


def has_vectors_of_file(run: Run) -> bool:
    """Whether a run's vectors are the user's own, and no network or function gives further ones."""
    source = str(run.record["settings"].get("vectors") or "")
    return bool(source) and not source.startswith(FUNCTION)


def embedder_of(run: Run, device: str, denoiser: Denoiser | None = None) -> Embedder:
    """Load the network, or the function, that gave a run its vectors.

    Args:
        denoiser: of the run, where it is loaded already.

    Raises:
        UserError: it is not here any more, or the vectors came from a file.
    """
    settings = run.record["settings"]
    source = str(settings.get("vectors") or "")
    if has_vectors_of_file(run):
        raise UserError(
            f"The vectors of run {run.key} came from {source}, so that other images cannot be "
            "compared with them; score without --vectors."
        )
    if source:
        return own_vectors.function_embedder(source, device, run.record["vectors"]["hash"])
    spec = settings["embedding"]
    if spec == "unet" and denoiser is None:
        denoiser = models.recorded(run.record["model"], device)
    return embedders.load_embedder(spec, denoiser, device=device)


def scorer_of(run: Run, device: str) -> Scorer:
    """Load the scorer that a run was scored with; without an embedder where a file had its vectors.

    Raises:
        UserError: its model or weights are gone or have changed.
    """
    record = run.record
    settings = record["settings"]
    if not record.get("model"):
        raise UserError(f"The run {run.key} has no minority scores yet.")
    try:
        denoiser = models.recorded(record["model"], device)
    except UserError as error:
        raise UserError(f"The model of run {run.key} is not here any more: {error}") from error
    if denoiser.content_hash() != record["model"]["hash"]:
        raise UserError(
            f"The model {denoiser.name} has changed since run {run.key} was scored with it."
        )
    embedder = None if has_vectors_of_file(run) else embedder_of(run, device, denoiser)
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
