"""The table of all metrics of several sets of generated images, at equal number."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mincurate.evaluation import metrics
from mincurate.evaluation.metrics import Interval, Vectors

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
    "nearest_distance": "lower is nearer to the training images",
    "near_copies": "as for real images is best",
    "closer_than_real": "as for real images is best",
}
"""The metrics of `judge` and how to read them. The first three alone also reward artefacts."""


def judge(
    real: ArrayLike,
    generated: Mapping[str, ArrayLike],
    *,
    feature_space: str,
    tail: ArrayLike | None = None,
    spatial_real: ArrayLike | None = None,
    spatial_generated: Mapping[str, ArrayLike] | None = None,
    seed: int = 0,
    resamples: int = 1000,
    frechet_resamples: int = 50,
    advance: Callable[[int], None] = lambda n: None,
) -> pd.DataFrame:
    """All metrics of named sets of generated images, with 95 % intervals, at equal number.

    Larger sets are cut to the size of the smallest (a seeded draw; sets of one size keep the same
    rows). Each is compared with all real images and, where there is a tail, with the tail alone.
    The set ``real`` compares every real image with the others.

    Args:
        real: ``(N, d)``, every image once.
        generated: a name, such as ``ddpm``, to ``(M, d)``.
        feature_space: what the features are, as shown beside the numbers.
        tail: ``(N,)`` true for the rarest real images, or their rows.
        spatial_real: ``(N, s)`` from `metrics.spatial_vectors`, where the spatial FID is wanted.
        spatial_generated: the same for every set.
        advance: called with 1 after every set and reference.

    Returns:
        One row per reference, set and metric: ``reference`` (all, tail), ``set``, ``metric``,
        ``value``, ``low``, ``high``, ``reading`` (see `READINGS`), ``n_real``, ``n``,
        ``feature_space``. The intervals of recall and coverage are over real images, the others
        over generated ones.

    Raises:
        UserError: a set or the tail has too few images.
    """
    if not feature_space:
        raise ValueError("feature_space must be named")
    if not generated or "real" in generated:
        raise ValueError("generated must hold a set, and none of them may be called real")
    if (spatial_real is None) != (spatial_generated is None):
        raise ValueError("spatial features are needed of real and of generated images, or of none")
    real_vectors = metrics.as_vectors(real, "real")
    sets = {name: metrics.as_vectors(vectors, name) for name, vectors in generated.items()}
    size = min(map(len, sets.values()))
    drawn = {n: np.random.default_rng(seed).permutation(len(v))[:size] for n, v in sets.items()}
    references = {"all": np.arange(len(real_vectors))}
    if tail is not None:
        references["tail"] = references["all"][np.asarray(tail)]
    tables: list[pd.DataFrame] = []

    def add(reference: str, name: str, n: int, figures: dict[str, Interval]) -> None:
        table = pd.DataFrame.from_dict(figures, orient="index", columns=["value", "low", "high"])
        table = table.rename_axis("metric").reset_index()
        table.insert(0, "reference", reference)
        table.insert(1, "set", name)
        tables.append(table.assign(n_real=len(references[reference]), n=n))
        advance(1)

    for reference, chosen in references.items():
        reals = real_vectors[chosen]
        values = _real_values(reals)
        add(reference, "real", len(chosen), _intervals(values, seed, resamples))
        for name, vectors in sets.items():
            cut = vectors[drawn[name]]
            figures = _intervals(_values(reals, cut), seed, resamples)
            figures["fid"] = metrics.frechet_interval(
                reals, cut, seed=seed, resamples=frechet_resamples
            )
            if spatial_real is not None and spatial_generated is not None:
                figures["sfid"] = metrics.frechet_interval(
                    np.asarray(spatial_real)[chosen],
                    np.asarray(spatial_generated[name])[drawn[name]],
                    seed=seed,
                    resamples=frechet_resamples,
                )
            add(reference, name, size, figures)
    table = pd.concat(tables, ignore_index=True)
    table.insert(6, "reading", table["metric"].map(READINGS))
    return table.assign(feature_space=feature_space)


def _values(real: Vectors, generated: Vectors) -> dict[str, ArrayLike]:
    scores = metrics.rarity(real, generated)
    distances = metrics.nearest(real, generated)[0]
    return {
        "avg_knn": metrics.neighbor_distance(real, generated),
        "lof": metrics.lof(real, generated),
        "rarity": scores,
        "off_manifold": np.isnan(scores),
        "precision": ~np.isnan(scores),
        "recall": metrics.recall(real, generated),
        "density": metrics.density(real, generated),
        "coverage": metrics.coverage(real, generated),
        "nearest_distance": distances,
        "near_copies": distances <= metrics.near_copy_distance(real),
        "closer_than_real": metrics.closer_than_real(real, generated),
    }


def _real_values(real: Vectors) -> dict[str, ArrayLike]:
    scores = metrics.rarity(real)
    distances = metrics.nearest(real)[0]
    return {
        "avg_knn": metrics.neighbor_distance(real),
        "lof": metrics.lof(real),
        "rarity": scores,
        "off_manifold": np.isnan(scores),
        "precision": ~np.isnan(scores),
        "nearest_distance": distances,
        "near_copies": distances <= metrics.near_copy_distance(real),
        "closer_than_real": metrics.closer_than_real(real),
    }


def _intervals(values: dict[str, ArrayLike], seed: int, resamples: int) -> dict[str, Interval]:
    return {
        name: metrics.interval(per_image, seed=seed, resamples=resamples)
        for name, per_image in values.items()
    }
