"""The table of all metrics of several sets of generated images, at equal number."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mincurate.evaluation import metrics
from mincurate.evaluation.metrics import Interval, Vectors
from mincurate.evaluation.metrics.intervals import RESAMPLES, SUBSETS

READINGS = {
    "avg_knn": "higher is rarer",
    "lof": "higher is rarer",
    "rarity": "higher is rarer",
    "off_manifold": "lower is better",
    "precision": "higher is better",
    "recall": "higher is better",
    "density": "higher is better",
    "coverage": "higher is better",
    "fid": "lower is better",
    "sfid": "lower is better",
    "frechet_distance": "lower is better",
    "spatial_frechet_distance": "lower is better",
    "nearest_distance": "lower is nearer to the training images",
    "near_copies": "as for real images is best",
    "closer_than_real": "as for real images is best",
}
"""The metrics of `judge` and how to read them. The first three alone also reward artefacts."""


@dataclass(frozen=True)
class FeatureSpace:
    """What features are, as it is shown beside the numbers.

    Attributes:
        name: of the vectors.
        spatial: of the spatial features; empty where there are none.
        inception: they are those of the published FID and sFID. The Fréchet distances have these
            names in no other features.
    """

    name: str
    spatial: str = ""
    inception: bool = False

    @property
    def frechet(self) -> str:
        """The metric that the Fréchet distance of the vectors is."""
        return "fid" if self.inception else "frechet_distance"

    @property
    def spatial_frechet(self) -> str:
        """The metric that the Fréchet distance of the spatial features is."""
        return "sfid" if self.inception else "spatial_frechet_distance"


@dataclass(frozen=True, eq=False)
class Features:
    """The features of a set of images.

    Attributes:
        vectors: ``(N, d)``.
        spatial: ``(N, s)`` from `metrics.spatial_vectors`; None without spatial features.
    """

    vectors: ArrayLike
    spatial: ArrayLike | None = None

    def take(self, rows: ArrayLike) -> "Features":
        """Those of some images."""
        chosen = np.asarray(rows)
        spatial = None if self.spatial is None else np.asarray(self.spatial)[chosen]
        return Features(np.asarray(self.vectors)[chosen], spatial)


def judge(
    real: Features,
    generated: Mapping[str, Features],
    *,
    space: FeatureSpace,
    tail: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    subsets: int = SUBSETS,
    advance: Callable[[int], None] = lambda n: None,
) -> pd.DataFrame:
    """All metrics of named sets of generated images, with 95 % intervals, at equal number.

    Larger sets are cut to the size of the smallest (a seeded draw; sets of one size keep the same
    rows). Each is compared with all real images and, where there is a tail, with the tail alone.
    The set ``real`` compares every real image with the others.

    Args:
        real: every image once.
        generated: a name, such as ``ddpm``, to the features of its images.
        tail: ``(N,)`` true for the rarest real images, or their rows.
        resamples: of the bootstrap of means over images.
        subsets: of the jackknife of Fréchet distances, recall and coverage.
        advance: called with 1 after every set and reference.

    Returns:
        One row per reference, set and metric: ``reference`` (all, tail), ``set``, ``metric``,
        ``value``, ``low``, ``high``, ``reading`` (see `READINGS`), ``n_real``, ``n``,
        ``feature_space``. The intervals are over generated images (of the set ``real``, over real
        ones).

    Raises:
        UserError: a set or the tail has too few images.
    """
    if not space.name:
        raise ValueError("the feature space must have a name")
    if not generated or "real" in generated:
        raise ValueError("generated must hold a set, and none of them may be called real")
    if len({part.spatial is None for part in (real, *generated.values())}) > 1:
        raise ValueError("all sets have spatial features, or none has")
    sizes = [len(metrics.as_vectors(part.vectors, name)) for name, part in generated.items()]
    n, rows = min(sizes), np.arange(len(metrics.as_vectors(real.vectors, "real")))
    references = {"all": rows} | ({} if tail is None else {"tail": rows[np.asarray(tail)]})
    tables: list[pd.DataFrame] = []
    for reference, chosen in references.items():
        reals = real.take(chosen)
        sets = {"real": _real_figures(reals, seed, resamples)}
        advance(1)
        for (name, part), size in zip(generated.items(), sizes, strict=True):
            cut = part.take(np.random.default_rng(seed).permutation(size)[:n])
            sets[name] = _figures(reals, cut, space, (seed, resamples, subsets))
            advance(1)
        for name, figures in sets.items():
            table = pd.DataFrame.from_dict(figures, "index", columns=["value", "low", "high"])
            table = table.rename_axis("metric").reset_index()
            table.insert(0, "reference", reference)
            table.insert(1, "set", name)
            count = len(chosen) if name == "real" else n
            tables.append(table.assign(n_real=len(chosen), n=count))
    table = pd.concat(tables, ignore_index=True)
    table.insert(6, "reading", table["metric"].map(READINGS))
    spatial = table["metric"] == space.spatial_frechet
    return table.assign(feature_space=np.where(spatial, space.spatial, space.name))


def _figures(
    real: Features, generated: Features, space: FeatureSpace, draws: tuple[int, int, int]
) -> dict[str, Interval]:
    """Every metric of a set, with its interval."""
    seed, resamples, subsets = draws
    reals, vectors = np.asarray(real.vectors), np.asarray(generated.vectors)
    figures: dict[str, Interval] = {}
    for name, per_image in _per_image(reals, vectors).items():
        figures[name] = metrics.interval(per_image, seed=seed, resamples=resamples)
        if name == "precision":
            figures["recall"] = metrics.recall_interval(
                reals, vectors, seed=seed, resamples=subsets
            )
        if name == "density":
            figures["coverage"] = metrics.coverage_interval(
                reals, vectors, seed=seed, resamples=subsets
            )
    figures[space.frechet] = metrics.frechet_interval(reals, vectors, seed=seed, resamples=subsets)
    if real.spatial is not None and generated.spatial is not None:
        figures[space.spatial_frechet] = metrics.frechet_interval(
            real.spatial, generated.spatial, seed=seed, resamples=subsets
        )
    return figures


def _per_image(real: Vectors, generated: Vectors) -> dict[str, ArrayLike]:
    """The metrics that have a value per generated image."""
    rarity = metrics.rarity(real, generated)
    distances = metrics.nearest(real, generated)[0]
    return {
        "avg_knn": metrics.neighbor_distance(real, generated),
        "lof": metrics.lof(real, generated),
        "rarity": rarity,
        "off_manifold": np.isnan(rarity),
        "precision": ~np.isnan(rarity),
        "density": metrics.density(real, generated),
        "nearest_distance": distances,
        "near_copies": distances <= metrics.near_copy_distance(real),
        "closer_than_real": metrics.closer_than_real(real, generated),
    }


def _real_figures(real: Features, seed: int, resamples: int) -> dict[str, Interval]:
    """The metrics that compare every real image with the others."""
    vectors = np.asarray(real.vectors)
    rarity = metrics.rarity(vectors)
    distances = metrics.nearest(vectors)[0]
    per_image: dict[str, ArrayLike] = {
        "avg_knn": metrics.neighbor_distance(vectors),
        "lof": metrics.lof(vectors),
        "rarity": rarity,
        "off_manifold": np.isnan(rarity),
        "precision": ~np.isnan(rarity),
        "nearest_distance": distances,
        "near_copies": distances <= metrics.near_copy_distance(vectors),
        "closer_than_real": metrics.closer_than_real(vectors),
    }
    return {
        name: metrics.interval(values, seed=seed, resamples=resamples)
        for name, values in per_image.items()
    }
