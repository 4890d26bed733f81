"""The published metrics that generated images are judged by: functions of feature vectors.

Every function takes the features of real images ``(N, d)`` and of generated ones ``(M, d)`` in one
feature space, which only the caller knows and has to name: a number means nothing without it. A
metric against the rarest tenth is the same call with those rows as the real ones. Distances are
Euclidean and exact.

==========================  =================================================================
`neighbor_distance`         AvgkNN (Sehwag et al., CVPR 2022); higher is rarer
`lof`                       local outlier factor (Breunig et al., SIGMOD 2000); higher is rarer
`rarity`                    rarity score (Han et al., ICLR 2023); higher is rarer
`precision`, `recall`       improved precision and recall (Kynkäänniemi et al., NeurIPS 2019)
`density`, `coverage`       density and coverage (Naeem et al., ICML 2020)
`frechet_distance`          FID (Heusel et al., NeurIPS 2017) in any features; lower is better
`spatial_vectors`           the features of spatial FID (Nash et al., ICML 2021)
`closer_than_real`          1 - authenticity (Alaa et al., ICML 2022)
`near_copy_distance`        how close two real images rarely are
==========================  =================================================================

Most functions return one value per image; `interval` has their mean with its 95 % interval.
"""

from mincurate.evaluation.metrics.copies import (
    NEAR_COPY_RATE,
    closer_than_real,
    near_copy_distance,
)
from mincurate.evaluation.metrics.frechet import (
    frechet_distance,
    frechet_interval,
    spatial_vectors,
)
from mincurate.evaluation.metrics.intervals import Interval, interval
from mincurate.evaluation.metrics.manifold import (
    COVERAGE_K,
    MANIFOLD_K,
    ball_ratio,
    coverage,
    coverage_interval,
    density,
    off_manifold,
    precision,
    rarity,
    recall,
    recall_interval,
)
from mincurate.evaluation.metrics.neighborhood import (
    DENSITY_NEIGHBORS,
    LOF_NEIGHBORS,
    lof,
    nearest,
    neighbor_distance,
)
from mincurate.evaluation.metrics.vectors import Values, Vectors, as_vectors

__all__ = [
    "COVERAGE_K",
    "DENSITY_NEIGHBORS",
    "LOF_NEIGHBORS",
    "MANIFOLD_K",
    "NEAR_COPY_RATE",
    "Interval",
    "Values",
    "Vectors",
    "as_vectors",
    "ball_ratio",
    "closer_than_real",
    "coverage",
    "coverage_interval",
    "density",
    "frechet_distance",
    "frechet_interval",
    "interval",
    "lof",
    "near_copy_distance",
    "nearest",
    "neighbor_distance",
    "off_manifold",
    "precision",
    "rarity",
    "recall",
    "recall_interval",
    "spatial_vectors",
]
