"""Scores become ordinal classes: 0 is the commonest, ``num_classes - 1`` the rarest."""

from collections.abc import Container, Iterator, Mapping, Sequence
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
"""Values of ``rank_by``, and the column of the table that each ranks by."""
BY_VECTORS = ("embedding", "neighbors")
"""Rankings that need vectors alone."""
WITHIN = {"embedding_rarity": "embedding_rarity_within_label"}
"""Columns that are computed again within labels, and the column that ranks there."""
WITHIN_LABELS = (*WITHIN.values(), "label_mismatch")
"""Columns that the vectors give within labels."""

TAIL_PARTS = 10
"""The tail is the rarest of so many equal parts."""


def within_column(column: str, columns: Container[str]) -> str:
    """The column that ranks within labels: the one in `WITHIN`, where the table has it."""
    within = WITHIN.get(column, column)
    return within if within in columns else column


def ranking_column(record: Mapping[str, Any], columns: Container[str]) -> str:
    """The column that a run ranks by: within labels `within_column`, else one of `RANKINGS`.

    Args:
        record: of the run.
        columns: of its table.
    """
    settings = record.get("settings") or {}
    column = RANKINGS[record.get("rank_by") or settings.get("rank_by") or "minority"]
    return within_column(column, columns) if settings.get("within_label") else column


def percentile(scores: ArrayLike) -> NDArray[np.float64]:
    """Rank of every score on [0, 1]: 0 for the lowest, 1 for the highest, ties share their mean.

    Args:
        scores: ``(N,)``; NaN marks what could not be scored.

    Returns:
        ``(N,)`` float64, NaN where the score is NaN. A single score gets 0.5.
    """
    from scipy.stats import rankdata

    values = np.asarray(scores, dtype=np.float64)
    percentiles = np.full(values.shape, np.nan)
    scored = ~np.isnan(values)
    n = int(scored.sum())
    if n == 1:
        percentiles[scored] = 0.5
    elif n:
        percentiles[scored] = (rankdata(values[scored], method="average") - 1) / (n - 1)
    return percentiles


def percentile_among(ranked: ArrayLike, scores: ArrayLike) -> NDArray[np.float64]:
    """Percentile of ``scores`` among the scores ``ranked``, on [0, 1].

    A score equal to a ranked one gets the percentile of that one; scores between two ranked ones
    are interpolated, scores beyond all get 0 or 1.

    Args:
        ranked: ``(N,)``; NaN is left out.
        scores: ``(M,)``.

    Returns:
        ``(M,)`` float64, NaN if nothing is ranked.
    """
    values = np.asarray(ranked, dtype=np.float64)
    values = values[~np.isnan(values)]
    joining = np.asarray(scores, dtype=np.float64)
    if len(values) == 0:
        return np.full(joining.shape, np.nan)
    distinct, first = np.unique(values, return_index=True)
    return np.interp(joining, distinct, percentile(values)[first])


def mean_rank(
    *evidence: NDArray[np.float64], weights: Sequence[float] | None = None
) -> NDArray[np.float64]:
    """Weighted mean of the ranks by several kinds of evidence, divided by N.

    Args:
        evidence: ``(N,)`` each; higher is rarer. A kind with any NaN is left out.
        weights: one per kind. Default: equal.

    Returns:
        ``(N,)`` in (0, 1]; higher is rarer.
    """
    from scipy.stats import rankdata

    n = len(evidence[0])
    weighted = zip(evidence, weights or [1.0] * len(evidence), strict=True)
    complete = [(rankdata(e), weight) for e, weight in weighted if not np.isnan(e).any()]
    ranks, counts = zip(*(complete or [(np.ones(n), 1.0)]), strict=True)
    return np.average(ranks, axis=0, weights=counts) / max(1, n)


def mean_rank_among(
    ranked: Sequence[NDArray[np.float64]],
    joining: Sequence[NDArray[np.float64]],
    weights: Sequence[float] | None = None,
) -> NDArray[np.float64]:
    """The `mean_rank` that images would have among others, which keep theirs.

    Args:
        ranked: the kinds of evidence of the ranked images, ``(N,)`` each.
        joining: the same of the joining images, ``(M,)`` each.
        weights: one per kind. Default: equal.

    Returns:
        ``(M,)``; higher is rarer.
    """
    n = len(ranked[0])
    weighted = zip(ranked, joining, weights or [1.0] * len(ranked), strict=True)
    complete = [(percentile_among(r, j), w) for r, j, w in weighted if not np.isnan(r).any()]
    percentiles, counts = zip(*(complete or [(np.ones(len(joining[0])), 1.0)]), strict=True)
    return (np.average(percentiles, axis=0, weights=counts) * (n - 1) + 1) / n


def ordinal_classes(scores: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    """Quantile classes of ``scores``: 0 holds the lowest scores, L - 1 the highest.

    Class sizes differ by at most one unless scores tie: equal scores share the class of their
    middle member. With fewer distinct scores than classes some classes are empty.

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
    scored = ~np.isnan(values)
    n = int(scored.sum())
    if n == 0:
        return classes
    _, inverse, counts = np.unique(values[scored], return_inverse=True, return_counts=True)
    starts = np.cumsum(counts) - counts
    middle = starts + (counts - 1) // 2
    classes[scored] = (middle * num_classes // n)[inverse]
    return classes


def classes_within(scores: ArrayLike, labels: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    """`ordinal_classes` within each label; -1 where score or label is missing.

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
    """`percentile` within each label; NaN where score or label is missing."""
    values = np.asarray(scores, dtype=np.float64)
    percentiles = np.full(values.shape, np.nan)
    for _, members in members_by_label(labels):
        percentiles[members] = percentile(values[members])
    return percentiles


def members_by_label(labels: ArrayLike) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Every label, sorted, with the rows of its members; None and NaN are not labels."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(np.asarray(labels, dtype=object).tolist()):
        if isinstance(name, str):
            rows.setdefault(name, []).append(row)
    for name in sorted(rows):
        yield name, np.array(rows[name], dtype=np.int64)


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
    """The scored images, without copies, rarest first; images of equal rarity by ``column``."""
    scored: Any = frame[(frame["status"] == "ok") & frame["duplicate_of"].isna()]
    order = ["rarity", column, "rel_path"]
    return scored.sort_values(order, ascending=[False, False, True], kind="stable")


def class_edges(scores: ArrayLike, classes: ArrayLike, num_classes: int) -> list[float]:
    """The ``num_classes - 1`` edges between neighbouring classes, in ascending order.

    An edge lies halfway between the highest score of the lower class and the lowest of the higher
    one; `numpy.searchsorted` finds the class of a new score. An empty class has no width.

    Args:
        scores: ``(N,)``; higher is rarer.
        classes: ``(N,)`` of `ordinal_classes`.
        num_classes: L, at least 1.
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
