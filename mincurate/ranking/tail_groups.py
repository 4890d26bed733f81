"""Kinds of rare: groups of images in the tail that resemble one another, and those alone.

HDBSCAN (Campello, Moulavi, Sander, 2013) finds groups of any number and density and leaves out
what belongs to none, so that neither the number of kinds nor a distance has to be chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mincurate.errors import UserError
from mincurate.images.appearance import hue_names
from mincurate.ranking.classes import tail_size
from mincurate.ranking.tail import LongTail

FEWEST = 4
"""Images of a kind, at least."""
AXES = 16
"""Principal axes that are clustered: densities mean little in hundreds of dimensions."""
BELONGS = 0.5
"""Strength of membership, of the strongest in the group, below which an image is alone: a group
takes in whatever is nearest to it, however far."""
MOST = 5000
"""Images that are clustered, at most; of a larger tail the rarest."""
BACKGROUND = 3
"""Common images that are clustered along, for one of the tail, at most."""
COMMON = 0.5
"""Rarity up to which an image is common."""
LEANS, OFTEN = 1.5, 0.2
"""A kind leans to a label or a hue that is so many times more frequent in it than in the whole,
and that so many of its images have at least."""
FAR = (0.1, 0.9)
"""Percentiles beyond which a kind's median is worth a word."""
CHUNK = 8192
"""Vectors that are read and compared at a time."""
WORDS = {
    "sharpness": ("blurrier", "sharper"),
    "brightness": ("darker", "brighter"),
    "contrast": ("flatter", "richer in contrast"),
    "colorfulness": ("greyer", "more colourful"),
    "complexity": ("plainer", "busier"),
    "size": ("smaller", "larger"),
    "aspect": ("more upright", "more stretched out"),
}
"""What a low and a high value of a column is called; size and aspect are made of the sides."""
SAID = 3
"""Words that are said of a kind's looks, at most: those that set it apart most. As many traits of
any sort make its name."""
NEAREST, STRANGER = 10, 2
"""An image is odd that at most so many of so many nearest images have among their nearest; chosen
on the pairs for choosing (`benchmarks/kinds.py`)."""
RARE, ODD, BROKEN = "rare", "odd", "broken"
"""Values of ``rarity_kind``: one of a few of its kind, fits nothing, not fit for use."""


@dataclass(frozen=True, eq=False)
class Kind:
    """Images of the tail that belong together.

    Attributes:
        members: rows of `LongTail.images`, the most typical first; of `alone` the rarest first.
        alone: they resemble no other image of the tail, nor one another.
        common: the row of the common image that is nearest to the most typical one, if any.
        traits: what sets them apart from all images, in words.
        name: by the first of them, as in ``rare_group``; empty for those that are alone.
    """

    members: NDArray[np.int64]
    alone: bool
    common: int | None
    traits: tuple[str, ...]
    name: str = ""


class Trait(NamedTuple):
    """What sets a kind apart, in a word or two and in full."""

    name: str
    words: str


@lru_cache(maxsize=2)
def kinds(tail: LongTail) -> tuple[Kind, ...]:
    """The kinds of rare of a run, the largest first, and last those that are alone, if any.

    Read once for a table, and kept. Of a run that was scored before there was a ``rare_group``
    they are sought now, which takes about a second for 2,000 images.

    Raises:
        UserError: the run's vectors are gone.
    """
    return _kinds(tail.images, *_vectors(tail))


def rare_groups(
    frame: pd.DataFrame,
    known: pd.DataFrame,
    vectors: NDArray[np.float32],
    place: NDArray[np.int64],
) -> pd.Series:
    """``rare_group`` of every file of a run's table: the name of its kind, or ``None``.

    Args:
        frame: the table.
        known: its rows that rank, rarest first.
        vectors: ``(N, d)``.
        place: ``(len(known),)``, which of them is whose.
    """
    found = pd.Series(None, frame.index, dtype=object)
    for kind in _kinds(known.reset_index(drop=True), vectors, place):
        found[known.index[kind.members]] = kind.name or None
    return found


def _kinds(
    images: pd.DataFrame, vectors: NDArray[np.float32], place: NDArray[np.int64]
) -> tuple[Kind, ...]:
    """The kinds among images, rarest first, of which some have no vector (``place`` is -1)."""
    rare = np.arange(min(tail_size(len(images)), MOST))
    rare = rare[place[rare] >= 0]
    if len(rare) < 2:
        return ()
    points = np.asarray(vectors[place[rare]], np.float32)
    common = np.flatnonzero((images["rarity"].to_numpy() <= COMMON) & (place >= 0))
    some = common[
        np.linspace(0, len(common) - 1, min(len(common), BACKGROUND * len(rare))).astype(int)
    ]
    names: Sequence[str] = ()
    if "rare_group" in images:
        groups, distinct = pd.factorize(images["rare_group"].iloc[rare])
        names = [str(name) for name in distinct]
    else:
        groups = cluster(points, np.asarray(vectors[place[some]], np.float32))
    found, typical = [], []
    for group in range(groups.max() + 1):
        inside = points[groups == group]
        # The most typical image is the one nearest to the middle.
        order = np.linalg.norm(inside - inside.mean(0), axis=1).argsort(kind="stable")
        found.append(rare[groups == group][order])
        typical.append(inside[order[0]])
    nearest = _nearest(typical, vectors, place, common)
    order = sorted(range(len(found)), key=lambda i: (-len(found[i]), found[i].min()))
    ordered = []
    for number, i in enumerate(order, start=1):
        said = traits(images, found[i], nearest[i])
        name = names[i] if len(names) else _name(number, said)
        ordered.append(Kind(found[i], False, nearest[i], tuple(t.words for t in said), name))
    alone = rare[groups == -1]
    if len(alone):
        said = traits(images, alone)
        ordered.append(Kind(alone, True, None, tuple(t.words for t in said)))
    return tuple(ordered)


def _name(number: int, said: Sequence[Trait]) -> str:
    names = ", ".join(trait.name for trait in said[:SAID])
    return f"Kind {number} ({names})" if names else f"Kind {number}"


def cluster(
    points: NDArray[np.float32], background: NDArray[np.float32] | None = None
) -> NDArray[np.int64]:
    """Group of every point ``(N, d)``, counted from 0; -1 for those that belong to none.

    Args:
        background: ``(M, d)``, common images, from which a group has to stand apart: HDBSCAN sees
            no group where there is but one.
    """
    from sklearn.cluster import HDBSCAN
    from sklearn.decomposition import PCA

    n = len(points)
    fewest = max(FEWEST, n // 100)
    if n < 2 * fewest:
        return np.full(n, -1, np.int64)
    if (points == points[0]).all():
        return np.zeros(n, np.int64)
    every = points if background is None else np.concatenate([points, background])
    axes = min(AXES, *every.shape)
    flat = PCA(axes, svd_solver="randomized", random_state=0).fit_transform(every)
    # Leaves of the tree, not its largest branches: these tend to be one group with everything.
    found = HDBSCAN(
        min_cluster_size=fewest, min_samples=2, cluster_selection_method="leaf", copy=True
    ).fit(flat)
    groups = np.where(found.probabilities_ >= BELONGS, found.labels_, -1)
    result, number = np.full(n, -1, np.int64), 0
    for group in range(groups.max() + 1):
        inside = groups[:n] == group
        if inside.sum() >= max(fewest, (groups == group).sum() / 2):
            result[inside] = number
            number += 1
    return result


def rarity_kinds(
    frame: pd.DataFrame, known: pd.DataFrame, vectors: NDArray[np.float32]
) -> pd.Series:
    """``rarity_kind`` of every file of a run's table; ``None`` for what is common.

    An image of the tail is rare, one of a few, where others know it (`acquaintances`), and else
    odd; a file that is broken is broken wherever it ranks. Of a tail of more than `MOST` the others
    have no kind.

    Args:
        frame: the table, with ``broken``.
        known: its rows that rank, rarest first.
        vectors: ``(len(known), d)``, theirs.
    """
    found = pd.Series(None, frame.index, dtype=object)
    tail = np.arange(min(tail_size(len(known)), MOST))
    if len(known) >= 10 * NEAREST:
        odd = acquaintances(vectors, tail) <= STRANGER
        found[known.index[tail]] = np.where(odd, ODD, RARE)
    found[frame["broken"].notna()] = BROKEN
    return found


def acquaintances(vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of an image's `NEAREST` images have it among their own nearest ones.

    Whoever belongs to a kind, however small, is known to it; what fits nothing has neighbours, too,
    but they have nearer ones (an anti-hub: Radovanovic et al., JMLR 2010).

    Args:
        vectors: ``(N, d)``, N above `NEAREST`.
        rows: ``(M,)``, of the images that are asked about.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=NEAREST + 1, algorithm="brute").fit(vectors)

    def nearest(of: NDArray[np.int64]) -> NDArray[np.int64]:
        index = search.kneighbors(vectors[of], return_distance=False)
        # Itself first, and where several are equal anywhere, or not at all: the last one goes.
        own = np.argsort(index != of[:, None], axis=1, kind="stable")[:, 1:]
        return np.take_along_axis(index, own, axis=1)

    near = nearest(rows)
    others, place = np.unique(near, return_inverse=True)
    theirs = nearest(others)[place.reshape(near.shape)]
    return (theirs == rows[:, None, None]).any(2).sum(1)


def nearest_of_tail(
    known: pd.DataFrame,
    vectors: NDArray[np.float32],
    rarity: NDArray[np.float64],
    joining: NDArray[np.float32],
) -> NDArray[np.int64]:
    """For images that join those of ``known`` the row of the one of the tail that is nearest, whose
    ``rarity_kind`` and ``rare_group`` they take; -1 for what is common.

    Args:
        known: rows with ``rarity`` and ``rarity_kind``.
        vectors: ``(len(known), d)``, theirs.
        rarity: ``(M,)``, of those that join; what ranks below the tail of ``known`` is common.
        joining: ``(M, d)``.
    """
    kind = known["rarity_kind"].astype(object).fillna("").to_numpy()
    tail = np.flatnonzero(np.isin(kind, [RARE, ODD]))
    found = np.full(len(joining), -1, np.int64)
    if len(tail):
        rare = rarity >= known["rarity"].to_numpy(np.float64)[tail].min()
        found[rare] = tail[(joining[rare] @ vectors[tail].T).argmax(1)]
    return found


def summary(frame: pd.DataFrame) -> str:
    """How many files of a run's table are rare, odd and broken, in a sentence; or nothing."""
    if "rarity_kind" not in frame:
        return ""
    count = frame["rarity_kind"].value_counts()
    said = []
    if count.get(RARE, 0) or count.get(ODD, 0):
        said.append(
            f"Of the rarest tenth, {count.get(RARE, 0):,} are of a kind, {count.get(ODD, 0):,} "
            "are odd (their neighbours have nearer ones)."
        )
    if count.get(BROKEN, 0):
        parts = frame["broken"].value_counts()
        names = {"copy": "copy" if parts.get("copy") == 1 else "copies"}
        how = ", ".join(f"{n:,} {names.get(str(name), name)}" for name, n in parts.items())
        said.append(f"Broken, wherever they rank: {how}.")
    return " ".join(said)


def traits(
    images: pd.DataFrame, members: NDArray[np.int64], near: int | None = None
) -> tuple[Trait, ...]:
    """What sets rows of a table apart from all of it: what is broken, labels, hue, and looks
    (`WORDS`).

    Args:
        near: the row of the common image that is nearest.
    """
    inside = images.iloc[members]
    said = []
    if "broken" in images:
        shares = inside["broken"].value_counts() / len(inside)
        said += [
            Trait(str(name), f"{share:.0%} are {name}")
            for name, share in shares.items()
            if share >= OFTEN
        ]
    said += _leaning(images["label"], members)
    if near is not None and isinstance(like := images["label"].iloc[near], str):
        said.append(Trait(f"near {like}", f"nearest to {like}"))
    if "hue" in images:
        hues = pd.Series(hue_names(images["hue"].to_numpy(np.float64)))
        said += _leaning(hues, members)[:1]
    looks = []
    for column, (low, high) in WORDS.items():
        every = _look(images, column)
        known = every[~np.isnan(every)]
        if len(known) == 0 or np.isnan(every[members]).all():
            continue
        middle = float(np.nanmedian(every[members]))
        # Half of those equal count as below, so that a column of one value says nothing.
        below = ((known < middle).mean() + (known <= middle).mean()) / 2
        if not FAR[0] < below < FAR[1]:
            word, share = (low, 1 - below) if below <= FAR[0] else (high, below)
            looks.append((share, Trait(word, f"{word} than {share:.0%} of all images")))
    looks.sort(key=lambda look: -look[0])
    return (*said, *(trait for _, trait in looks[:SAID]))


def _look(images: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """A column of `WORDS`; NaN where it is not known, and in runs that did not measure it."""
    if column in ("size", "aspect"):
        width, height = (images[side].to_numpy(np.float64) for side in ("width", "height"))
        return width * height if column == "size" else width / height
    if column not in images:
        return np.full(len(images), np.nan)
    return images[column].to_numpy(np.float64)


def _leaning(every: pd.Series, members: NDArray[np.int64]) -> list[Trait]:
    """The values of a column that rows of it lean to, at most two."""
    usual = {str(value): count / len(every) for value, count in every.value_counts().items()}
    leaning = []
    for value, count in every.iloc[members].value_counts().items():
        name, share = str(value), count / len(members)
        if share >= max(OFTEN, LEANS * usual[name]):
            leaning.append(Trait(name, f"{share:.0%} are {name} ({usual[name]:.0%} of all)"))
    return leaning[:2]


def _vectors(tail: LongTail) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The run's vectors, left on disk until they are used, and where that of every image is
    (-1: nowhere)."""
    folder = tail.run.path
    try:
        hashes = pd.read_parquet(folder / "embeddings.parquet")["content_hash"]
        vectors = np.load(folder / "embeddings.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"The embeddings of run {tail.run.key} cannot be read ({error}): score again."
        ) from error
    where = pd.Series(np.arange(len(hashes)), index=hashes)
    place = tail.images["content_hash"].map(where).fillna(-1).to_numpy(np.int64)
    return vectors, place


def _nearest(
    points: list[NDArray[np.float32]],
    vectors: NDArray[np.float32],
    place: NDArray[np.int64],
    among: NDArray[np.int64],
) -> list[int | None]:
    """For every point the row, of those ``among``, whose vector is nearest; all have length 1."""
    if len(among) == 0 or len(points) == 0:
        return [None] * len(points)
    wanted = np.stack(points).T
    best, row = np.full(len(points), -np.inf), np.zeros(len(points), np.int64)
    for start in range(0, len(among), CHUNK):
        rows = among[start : start + CHUNK]
        likeness = vectors[place[rows]] @ wanted
        first = likeness.argmax(0)
        better = likeness.max(0) > best
        best = np.maximum(best, likeness.max(0))
        row[better] = rows[first[better]]
    return [int(r) for r in row]
