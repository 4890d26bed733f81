"""Scores become ordinal classes: 0 is the commonest, ``num_classes - 1`` the rarest."""

from collections.abc import Container, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas as pd


RANKINGS = {
    "minority": "minority_score",
    "calibrated": "minority_score_calibrated",
    "neighbors": "neighbor_distance",
    "embedding": "embedding_rarity",
}
"""What ``rank_by`` may name, and the column of the table it follows."""
WITHIN = {"embedding_rarity": "embedding_rarity_within_label"}
"""Columns in whose place another ranks within labels: where an image stands among all says little
about how well it fits its label."""

TAIL_PARTS = 10
"""The tail is the rarest of so many equal parts."""


def within_column(column: str, columns: Container[str]) -> str:
    """The column that ranks within labels for ``column``: of `WITHIN`, if a table has it."""
    own = WITHIN.get(column, column)
    return own if own in columns else column


def percentile(scores: ArrayLike) -> NDArray[np.float64]:
    """Rank of every score on [0, 1]: 0 for the lowest, 1 for the highest, ties share their mean.

    Args:
        scores: ``(N,)``; NaN marks what could not be scored.

    Returns:
        ``(N,)`` float64, NaN where the score is NaN. A single score gets 0.5.
    """
    from scipy.stats import rankdata

    values = np.asarray(scores, dtype=np.float64)
    found = np.full(values.shape, np.nan)
    known = ~np.isnan(values)
    n = int(known.sum())
    if n == 1:
        found[known] = 0.5
    elif n:
        found[known] = (rankdata(values[known], method="average") - 1) / (n - 1)
    return found


def percentile_among(known: ArrayLike, scores: ArrayLike) -> NDArray[np.float64]:
    """Where ``scores`` stand on [0, 1] among ``known`` ones, which `percentile` places.

    A score that is one of the known gets its percentile; one beyond them 0 or 1.

    Args:
        known: ``(N,)``, NaN left out.
        scores: ``(M,)``.
    """
    values = np.asarray(known, dtype=np.float64)
    values = values[~np.isnan(values)]
    wanted = np.asarray(scores, dtype=np.float64)
    if len(values) == 0:
        return np.full(wanted.shape, np.nan)
    distinct, first = np.unique(values, return_index=True)
    return np.interp(wanted, distinct, percentile(values)[first])


def mean_rank(
    *evidence: NDArray[np.float64], weights: Sequence[float] | None = None
) -> NDArray[np.float64]:
    """Mean rank, above 0 up to 1, of several kinds of evidence, each ``(N,)``; higher is rarer.

    A kind that is not known for every image, NaN, is left out.

    Args:
        weights: what each kind counts; all the same when absent.
    """
    from scipy.stats import rankdata

    n = len(evidence[0])
    counted = zip(evidence, weights or [1.0] * len(evidence), strict=True)
    known = [(rankdata(e), weight) for e, weight in counted if not np.isnan(e).any()]
    ranks, counts = zip(*(known or [(np.ones(n), 1.0)]), strict=True)
    return np.average(ranks, axis=0, weights=counts) / max(1, n)


def mean_rank_among(
    known: Sequence[NDArray[np.float64]],
    joining: Sequence[NDArray[np.float64]],
    weights: Sequence[float] | None = None,
) -> NDArray[np.float64]:
    """`mean_rank` of images that join others, which are ranked already.

    Args:
        known: the kinds of evidence, ``(N,)`` each, of the others.
        joining: the same of those that join, ``(M,)`` each.
        weights: what each kind counts; all the same when absent.
    """
    n = len(known[0])
    counted = zip(known, joining, weights or [1.0] * len(known), strict=True)
    found = [(percentile_among(k, j), w) for k, j, w in counted if not np.isnan(k).any()]
    places, counts = zip(*(found or [(np.ones(len(joining[0])), 1.0)]), strict=True)
    return (np.average(places, axis=0, weights=counts) * (n - 1) + 1) / n


def ordinal_classes(scores: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    """Quantile classes of ``scores`` (method, section 2).

    Sizes differ by at most one unless scores tie; equal scores always share a class, which is the
    class their middle member would have had; the order of the input does not matter. With fewer
    distinct scores than classes some classes are necessarily empty.

    Args:
        scores: ``(N,)``; higher is rarer, NaN marks what could not be scored.
        num_classes: at least 1.

    Returns:
        ``(N,)`` int64 in ``0 .. num_classes - 1``, and -1 where the score is NaN.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, not {num_classes}")
    values = np.asarray(scores, dtype=np.float64)
    classes = np.full(values.shape, -1, dtype=np.int64)
    known = ~np.isnan(values)
    n = int(known.sum())
    if n == 0:
        return classes
    _, inverse, counts = np.unique(values[known], return_inverse=True, return_counts=True)
    starts = np.cumsum(counts) - counts
    middle = starts + (counts - 1) // 2
    classes[known] = (middle * num_classes // n)[inverse]
    return classes


def classes_within(scores: ArrayLike, labels: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    """`ordinal_classes` computed apart within every label; -1 where score or label is missing.

    Args:
        scores: ``(N,)``.
        labels: ``(N,)`` of strings or None.
    """
    values = np.asarray(scores, dtype=np.float64)
    classes = np.full(values.shape, -1, dtype=np.int64)
    for _, members in members_by_label(labels):
        classes[members] = ordinal_classes(values[members], num_classes)
    return classes


def percentile_within(scores: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """`percentile` computed apart within every label; NaN where score or label is missing."""
    values = np.asarray(scores, dtype=np.float64)
    found = np.full(values.shape, np.nan)
    for _, members in members_by_label(labels):
        found[members] = percentile(values[members])
    return found


def members_by_label(labels: ArrayLike) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Every label, sorted, with the positions of its members; None and NaN are no labels."""
    positions: dict[str, list[int]] = {}
    for position, name in enumerate(np.asarray(labels, dtype=object).tolist()):
        if isinstance(name, str):
            positions.setdefault(name, []).append(position)
    for name in sorted(positions):
        yield name, np.array(positions[name], dtype=np.int64)


def tail_size(images: int) -> int:
    """How many of so many ranked images are the rarest tenth, which is called the tail."""
    return -(-images // TAIL_PARTS)


def tail_rows(scores: ArrayLike) -> NDArray[np.int64]:
    """Rows of the rarest tenth, ascending: `tail_size` of them, of equal scores the first.

    Args:
        scores: ``(N,)``; higher is rarer.
    """
    values = np.asarray(scores, dtype=np.float64)
    return np.sort(np.argsort(-values, kind="stable")[: tail_size(len(values))])


def in_tail(rarity: ArrayLike) -> NDArray[np.bool_]:
    """Which images are of the rarest tenth, by their `percentile`: `tail_size` of them and ties.

    Args:
        rarity: ``(N,)`` in [0, 1]; NaN is in no tail.
    """
    return np.asarray(rarity, dtype=np.float64) >= 1 - 1 / TAIL_PARTS


def rarest_first(frame: "pd.DataFrame", column: str) -> "pd.DataFrame":
    """Scored files without their copies, rarest first; equally rare ones follow ``column``."""
    known: Any = frame[(frame["status"] == "ok") & frame["duplicate_of"].isna()]
    order = ["rarity", column, "rel_path"]
    return known.sort_values(order, ascending=[False, False, True], kind="stable")


def class_edges(scores: ArrayLike, classes: ArrayLike, num_classes: int) -> list[float]:
    """Scores at which one class passes into the next, ``num_classes - 1`` non-decreasing values.

    The edge between two classes lies halfway between the highest score of the lower and the lowest
    of the higher one, so that a new image takes the class of the images around it
    (`numpy.searchsorted`). An empty class has no width.
    """
    values = np.asarray(scores, dtype=np.float64)
    members = np.asarray(classes)
    edges: list[float] = []
    for upper in range(1, num_classes):
        below, above = values[(members >= 0) & (members < upper)], values[members >= upper]
        if len(below) and len(above):
            edges.append(float((below.max() + above.min()) / 2))
        elif len(below):
            edges.append(float(below.max()))
        elif len(above):
            edges.append(float(above.min()))
    return edges
