"""``rarity_kind``: whether a rare image is one of a few, fits nothing, or is broken."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mincurate.ranking.classes import tail_size
from mincurate.ranking.tail import MOST_IN_TAIL

NEAREST, STRANGER = 10, 2
"""An image is odd if at most `STRANGER` of its `NEAREST` neighbours have it among theirs; chosen
on the pairs of `benchmarks/kinds.py`."""
RARE, ODD, BROKEN = "rare", "odd", "broken"
"""Values of ``rarity_kind``: one of a few of its kind, fits nothing, not fit for use."""


def rarity_kinds(frame: pd.DataFrame, ranked: pd.DataFrame, near: NDArray[np.int64]) -> pd.Series:
    """``rarity_kind`` of every row of a run's table; ``None`` for common images.

    Images of the tail are `RARE` if their neighbours are mutual (`mutual_neighbors`), else `ODD`.
    Broken files are `BROKEN` wherever they rank. Only `MOST_IN_TAIL` images of a tail have a kind.

    Args:
        frame: the table, with ``broken``.
        ranked: its rows that are ranked, rarest first.
        near: ``(len(ranked), NEAREST)``, the nearest others of each, as rows of ``ranked``.
    """
    kinds = pd.Series(None, frame.index, dtype=object)
    tail = np.arange(min(tail_size(len(ranked)), MOST_IN_TAIL))
    if len(ranked) >= 10 * NEAREST:
        odd = mutual_neighbors(near, tail) <= STRANGER
        kinds[ranked.index[tail]] = np.where(odd, ODD, RARE)
    kinds[frame["broken"].notna()] = BROKEN
    return kinds


def mutual_neighbors(near: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of an image's nearest neighbours have it among their own, ``(M,)`` in 0..k.

    A member of a group, however small, is a neighbour to its neighbours. An image that fits nothing
    has neighbours, too, but these have closer ones: it is an anti-hub (Radovanovic et al., JMLR
    2010).

    Args:
        near: ``(N, k)``, rows of the nearest others of every image.
        rows: ``(M,)``, of the images in question.
    """
    theirs = near[near[rows]]
    return (theirs == rows[:, None, None]).any(2).sum(1)


def nearest_of_tail(
    ranked: pd.DataFrame,
    vectors: NDArray[np.float32],
    rarity: NDArray[np.float64],
    joining: NDArray[np.float32],
) -> NDArray[np.int64]:
    """For joining images, the row of the nearest image of the tail, ``(M,)``; -1 if common.

    A joining image takes ``rarity_kind`` and ``rare_group`` of that one.

    Args:
        ranked: rows with ``rarity`` and ``rarity_kind``.
        vectors: ``(len(ranked), d)``, L2-normalised.
        rarity: ``(M,)``, of the joining images; below the tail's they are common.
        joining: ``(M, d)``, L2-normalised.
    """
    kind = ranked["rarity_kind"].astype(object).fillna("").to_numpy()
    tail = np.flatnonzero(np.isin(kind, [RARE, ODD]))
    nearest = np.full(len(joining), -1, np.int64)
    if len(tail):
        rare = rarity >= ranked["rarity"].to_numpy(np.float64)[tail].min()
        nearest[rare] = tail[(joining[rare] @ vectors[tail].T).argmax(1)]
    return nearest


def summary(frame: pd.DataFrame) -> str:
    """How many files of a run's table are rare, odd and broken, in two sentences; may be empty."""
    if "rarity_kind" not in frame:
        return ""
    count = frame["rarity_kind"].value_counts()
    sentences = []
    if count.get(RARE, 0) or count.get(ODD, 0):
        sentences.append(
            f"Of the rarest tenth, {count.get(RARE, 0):,} are of a kind, {count.get(ODD, 0):,} "
            "are odd (their neighbours have nearer ones)."
        )
    if count.get(BROKEN, 0):
        parts = frame["broken"].value_counts()
        names = {"copy": "copy" if parts.get("copy") == 1 else "copies"}
        counts = ", ".join(f"{n:,} {names.get(str(name), name)}" for name, n in parts.items())
        sentences.append(f"Broken, wherever they rank: {counts}.")
    return " ".join(sentences)
