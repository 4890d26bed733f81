"""Groups of similar images in the tail, named by their traits, and the images that are alone.

HDBSCAN (Campello, Moulavi, Sander, 2013) needs neither the number of groups nor a distance, and
leaves out images that belong to no group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mincurate.errors import UserError
from mincurate.ranking.classes import tail_size
from mincurate.ranking.group_traits import Trait, traits
from mincurate.ranking.tail import MOST_IN_TAIL, LongTail
from mincurate.runs import schema

FEWEST = 4
"""Images of a group, at least."""
AXES = 16
"""Principal components that are clustered: in hundreds of dimensions densities mean little."""
BELONGS = 0.5
"""Lowest membership strength, in [0, 1]: HDBSCAN puts every image near a group into it, however
far."""
BACKGROUND = 3
"""Common images that are clustered with the tail, per image of the tail, at most; altogether
`MOST_IN_TAIL`."""
COMMON = 0.5
"""Highest rarity of a common image."""
NAMING_TRAITS = 3
"""Traits in the name of a group, at most."""
CHUNK = 8192
"""Vectors that are read and compared at once."""


@dataclass(frozen=True, eq=False)
class RareGroup:
    """Similar images of the tail.

    Attributes:
        members: rows of `LongTail.images`, most typical first; of ``alone`` rarest first.
        alone: these images resemble no other image of the tail, nor one another.
        common: row of the common image nearest to the most typical member, if any.
        traits: what sets the group apart from all images, in words.
        name: as in ``rare_group``; empty for ``alone``.
    """

    members: NDArray[np.int64]
    alone: bool
    common: int | None
    traits: tuple[str, ...]
    name: str = ""


@lru_cache(maxsize=2)
def find_groups(tail: LongTail) -> tuple[RareGroup, ...]:
    """The groups of a run's tail, largest first, and last the images that are alone, if any.

    Groups are those of the column ``rare_group``; without it they are computed, about a second for
    2,000 images.

    Raises:
        UserError: the run's embeddings cannot be read.
    """
    return _groups(tail.images, *vectors_of(tail))


def rare_groups(
    frame: pd.DataFrame,
    ranked: pd.DataFrame,
    vectors: NDArray[np.float32],
    position: NDArray[np.int64],
) -> pd.Series:
    """``rare_group`` of every row of a run's table: the name of its group, or ``None``.

    Args:
        frame: the table.
        ranked: its rows that are ranked, rarest first.
        vectors: ``(N, d)``, L2-normalised.
        position: ``(len(ranked),)``, the row of ``vectors`` of each image.
    """
    names = pd.Series(None, frame.index, dtype=object)
    for group in _groups(ranked.reset_index(drop=True), vectors, position):
        names[ranked.index[group.members]] = group.name or None
    return names


def _groups(
    images: pd.DataFrame, vectors: NDArray[np.float32], position: NDArray[np.int64]
) -> tuple[RareGroup, ...]:
    """The groups of ``images``, rarest first; ``position`` is -1 for images without a vector."""
    rare = np.arange(min(tail_size(len(images)), MOST_IN_TAIL))
    rare = rare[position[rare] >= 0]
    if len(rare) < 2:
        return ()
    points = np.asarray(vectors[position[rare]], np.float32)
    common = np.flatnonzero((images["rarity"].to_numpy() <= COMMON) & (position >= 0))
    names: Sequence[str] = ()
    if "rare_group" in images:
        numbers, distinct = pd.factorize(images["rare_group"].iloc[rare])
        names = [str(name) for name in distinct]
    else:
        count = min(len(common), BACKGROUND * len(rare), MOST_IN_TAIL)
        background = common[np.linspace(0, len(common) - 1, count).astype(int)]
        numbers = cluster(points, np.asarray(vectors[position[background]], np.float32))
    members, typical = [], []
    for number in range(numbers.max() + 1):
        inside = points[numbers == number]
        # The most typical image is the one nearest to the mean.
        order = np.linalg.norm(inside - inside.mean(0), axis=1).argsort(kind="stable")
        members.append(rare[numbers == number][order])
        typical.append(inside[order[0]])
    nearest = _nearest(typical, vectors, position, common)
    by_size = sorted(range(len(members)), key=lambda i: (-len(members[i]), members[i].min()))
    groups = []
    for number, i in enumerate(by_size, start=1):
        own = traits(images, members[i], nearest[i])
        name = names[i] if len(names) else _name(number, own)
        groups.append(RareGroup(members[i], False, nearest[i], tuple(t.words for t in own), name))
    alone = rare[numbers == -1]
    if len(alone):
        words = tuple(trait.words for trait in traits(images, alone))
        groups.append(RareGroup(alone, True, None, words))
    return tuple(groups)


def _name(number: int, own: Sequence[Trait]) -> str:
    names = ", ".join(trait.name for trait in own[:NAMING_TRAITS])
    return f"Kind {number} ({names})" if names else f"Kind {number}"


def cluster(
    points: NDArray[np.float32], background: NDArray[np.float32] | None = None
) -> NDArray[np.int64]:
    """Cluster ``points`` ``(N, d)``: the group of each, counted from 0, or -1 for none.

    Args:
        points: the tail.
        background: ``(M, d)``, common images. A single group stands out only against these.
    """
    from sklearn.cluster import HDBSCAN
    from sklearn.decomposition import PCA

    n = len(points)
    fewest = max(FEWEST, n // 100)
    if n < 2 * fewest:
        return np.full(n, -1, np.int64)
    if (points == points[0]).all():
        return np.zeros(n, np.int64)
    joint = points if background is None else np.concatenate([points, background])
    axes = min(AXES, *joint.shape)
    flat = PCA(axes, svd_solver="randomized", random_state=0).fit_transform(joint)
    # Leaves of the tree, not its largest branches: these tend to be one group with everything.
    clustering = HDBSCAN(
        min_cluster_size=fewest, min_samples=2, cluster_selection_method="leaf", copy=True
    ).fit(flat)
    labels = np.where(clustering.probabilities_ >= BELONGS, clustering.labels_, -1)
    groups, number = np.full(n, -1, np.int64), 0
    for label in range(labels.max() + 1):
        inside = labels[:n] == label
        if inside.sum() >= max(fewest, (labels == label).sum() / 2):
            groups[inside] = number
            number += 1
    return groups


def vectors_of(tail: LongTail) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The run's vectors, memory-mapped, and the row of every image (-1: none)."""
    folder = tail.run.path
    try:
        hashes = pd.read_parquet(folder / schema.VECTOR_HASHES)["content_hash"]
        vectors = np.load(folder / schema.VECTORS, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"The embeddings of run {tail.run.key} cannot be read ({error}): score again."
        ) from error
    rows = pd.Series(np.arange(len(hashes)), index=hashes)
    position = tail.images["content_hash"].map(rows).fillna(-1).to_numpy(np.int64)
    return vectors, position


def _nearest(
    points: list[NDArray[np.float32]],
    vectors: NDArray[np.float32],
    position: NDArray[np.int64],
    among: NDArray[np.int64],
) -> list[int | None]:
    """For every point the row, of those ``among``, whose vector is nearest; all have length 1."""
    if len(among) == 0 or len(points) == 0:
        return [None] * len(points)
    directions = np.stack(points).T
    best, row = np.full(len(points), -np.inf), np.zeros(len(points), np.int64)
    for start in range(0, len(among), CHUNK):
        rows = among[start : start + CHUNK]
        cosine = vectors[position[rows]] @ directions
        first = cosine.argmax(0)
        better = cosine.max(0) > best
        best = np.maximum(best, cosine.max(0))
        row[better] = rows[first[better]]
    return [int(r) for r in row]
