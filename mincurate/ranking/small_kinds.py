"""Small kinds in the middle of the crowd, and whether it is these that are rare in a set.

Rare labels of photographs often look like common ones: blazers lie among shirts, and shoes, of
which there are many, far away. Distances then call shoes rare. Seen from the mean, a large kind
fills its direction, and a small one has few neighbours there.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mincurate.ranking import outliers
from mincurate.ranking.classes import mean_rank, mean_rank_among
from mincurate.ranking.outliers import Vectors

AXES = 32
"""Principal components in which kinds are sought."""
DIRECTIONS = 16
"""Principal components in which directions are compared."""
NEAREST = 0.01
"""Neighbours by direction, as a share of the images that an image is compared with."""
KINDS = 32
"""Clusters that are sought to tell whether a set has many kinds."""
HALVINGS = 10
"""How often the set is halved for that."""
FEWEST = 100
"""With fewer images no kinds are told apart."""
OUTLYING = 1 / 3
"""Share of the images that is called outlying, to see whether large kinds make it up."""
SEVERAL = 0.25
"""Lowest `Pattern.stability` of a set of several kinds."""
LIMIT = 0.145
"""Highest `Pattern.large_kinds` of a set that is ranked by outlying (`benchmarks/study.py`: rare
classes planted in one to six others mostly below it, most tails of ten kinds or more above)."""
REACH = 1.7
"""Lowest `Pattern.reach` of a set that is ranked by outlying, whatever its large kinds are
(`benchmarks/study.py`, tails: the tail of clothes, whose rare kinds are small, and its parts
have 1.54 to 1.68; that of groceries and the objects of coco128, whose are outlying, more)."""


@dataclass(frozen=True)
class Pattern:
    """Whether outlying images are rare, or only of another large kind.

    Attributes:
        stability: of the kinds: adjusted Rand index of the clusters that two halves of the set
            give, 1 if the same, 0 by chance.
        concentration: how far the neighbours of outlying images are outlying too, 0 by chance, 1 at
            most.
        reach: distance to the crowd, above the median: how far two standard deviations are, over
            one, by quantiles. 2 for a normal distribution; less where the farthest images are many,
            as those of a large kind are, and about equally far.
    """

    stability: float
    concentration: float
    reach: float

    @property
    def large_kinds(self) -> float:
        """High where there are many kinds and outlying images are those of the large ones."""
        return self.stability * max(0.0, self.concentration)

    @property
    def weights(self) -> outliers.Weights:
        """How much each evidence of outlying images counts."""
        return outliers.OF_SEVERAL if self.stability >= SEVERAL else outliers.WEIGHTS

    @property
    def column(self) -> str:
        """The evidence to rank by: ``outlying`` or ``small_kind``."""
        level = self.large_kinds > LIMIT and self.reach < REACH
        return "small_kind" if level else "outlying"


def axes(among: Vectors) -> Any:
    """The principal axes of the reference images ``(R, d)``, `AXES` or less, as a fitted PCA."""
    from sklearn.decomposition import PCA

    return PCA(min(AXES, len(among) - 1, among.shape[1]), random_state=0).fit(among)


def pattern(
    among: Vectors, crowd_distance: NDArray[np.float64], outlying: NDArray[np.float64]
) -> Pattern:
    """Measure a set.

    Args:
        among: ``(R, d)``, the `outliers.reference` images.
        crowd_distance: ``(R,)``, of these, one of the `outliers.evidence`.
        outlying: ``(R,)``, `outliers.rarity` of these, with the usual weights.
    """
    if len(among) < FEWEST:
        return Pattern(0.0, 0.0, 2.0)
    places = _places(among, axes(among))
    return Pattern(_stability(places), _concentration(places, outlying), _reach(crowd_distance))


def _stability(places: Vectors) -> float:
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    indices = []
    for seed in range(HALVINGS):
        halves = np.array_split(np.random.default_rng(seed).permutation(len(places)), 2)
        fitted = [KMeans(KINDS, n_init=1, random_state=seed).fit(places[half]) for half in halves]
        indices.append(adjusted_rand_score(*(kinds.predict(places) for kinds in fitted)))
    return float(np.mean(indices))


def _concentration(places: Vectors, outlying: NDArray[np.float64]) -> float:
    far = outlying >= np.quantile(outlying, 1 - OUTLYING)
    neighbors = outliers.nearest_share(places, places, np.arange(len(places)))
    shares = np.concatenate([far[index].mean(1) for _, _, index in neighbors])
    return float((shares[far].mean() - OUTLYING) / (1 - OUTLYING))


def _reach(crowd_distance: NDArray[np.float64]) -> float:
    quantiles = (0.5, outliers.ONE_DEVIATION, outliers.TWO_DEVIATIONS)
    middle, one, two = np.quantile(crowd_distance, quantiles)
    return float((two - middle) / max(one - middle, 1e-12))


def isolation(
    vectors: Vectors, among: Vectors, rows: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Mean distance to the `NEAREST` directions from the mean, ``(N,)``; higher is rarer.

    NaN if there are fewer than three reference images. Arguments as for `outliers.neighborhood`.
    """
    distance = np.full(len(vectors), np.nan)
    if len(among) < 3:
        return distance
    fitted = axes(among)
    directions = _directions(vectors, fitted)
    others = _directions(among, fitted) if rows is None else directions[rows]
    for part, distances, _ in outliers.nearest_share(directions, others, rows, NEAREST):
        distance[part] = distances.mean(1)
    return distance


def rarity(vectors: Vectors, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rank by `isolation`, ``(N,)`` in (0, 1]. Arguments as for `outliers.rarity`."""
    return mean_rank(isolation(vectors, vectors[rows], rows))


def rarity_among(among: Vectors, joining: Vectors) -> NDArray[np.float64]:
    """The `rarity` that images would have among the reference images ``(R, d)``, ``(M,)``."""
    rows = np.arange(len(among))
    return mean_rank_among([isolation(among, among, rows)], [isolation(joining, among)])


def _places(vectors: Vectors, fitted: Any) -> Vectors:
    """Place of each vector on fitted `axes`, ``(N, AXES)`` or less."""
    places = np.empty((len(vectors), fitted.n_components_), np.float32)
    for start in range(0, len(vectors), 4096):
        places[start : start + 4096] = fitted.transform(vectors[start : start + 4096])
    return places


def _directions(vectors: Vectors, fitted: Any) -> Vectors:
    places = np.ascontiguousarray(_places(vectors, fitted)[:, :DIRECTIONS])
    return places / np.maximum(np.linalg.norm(places, axis=1, keepdims=True), 1e-12)
