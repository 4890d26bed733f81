"""Rarity and ordinal classes of every file of a table, over the whole set or within labels."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mincurate.ranking import classes as ordinal
from mincurate.ranking import within_labels
from mincurate.ranking.evidence import PERCENTILES, minority_percentiles


def add_ranks(
    frame: pd.DataFrame,
    vectors: NDArray[np.float32],
    position: pd.Series,
    column: str,
    num_classes: int,
    within_label: bool,
) -> dict[str, object]:
    """Add rarity and classes, and return the edges of the classes.

    Args:
        frame: one row per file.
        vectors: ``(N, d)``, of the different images.
        position: by content hash, the row of ``vectors``.
        column: what the ranking follows; higher is rarer.
        num_classes: number of classes (L).
        within_label: rank an image among those of its own label.
    """
    if frame["label"].notna().any():
        rank_vectors_within_labels(frame, vectors, position)
    return rank(frame, column, num_classes, within_label)


def rank_vectors_within_labels(
    frame: pd.DataFrame, vectors: NDArray[np.float32], position: pd.Series
) -> None:
    """Add ``embedding_rarity_within_label`` and ``label_mismatch``, of `within_labels`.

    Images without a label are compared among themselves. A label is taken for one kind, so no
    small kinds are sought in it.

    Args:
        vectors: ``(N, d)``.
        position: by content hash, the row of ``vectors``.
    """
    first = frame[(frame["status"] == "ok") & frame["duplicate_of"].isna()]
    rows = position[first["content_hash"]].to_numpy(np.int64)
    hashes, labels = np.full((2, len(vectors)), "", dtype=object)
    hashes[rows], labels[rows] = first["content_hash"], first["label"].fillna("")
    columns = np.full((len(ordinal.WITHIN_LABELS), len(vectors)), np.nan)
    read = within_labels.labelling(hashes, labels)
    for label, measured in within_labels.measure_all(vectors, read):
        columns[:, label.members] = measured.rarity, measured.evidence[-1]
    for name, values in zip(ordinal.WITHIN_LABELS, columns[:, rows], strict=True):
        by_file = pd.Series(values, first.index).reindex(frame.index)
        frame[name] = _to_copies(frame, by_file)


def rank(
    frame: pd.DataFrame, column: str, num_classes: int, within_label: bool
) -> dict[str, object]:
    """Add rarity and classes, and return the edges of the classes.

    ``rarity`` and ``rarity_class`` follow ``column``, the ranking in force. ``minority_percentile``
    and ``minority_class`` follow the minority score among all images, whatever the ranking follows.
    Within labels the column of `classes.WITHIN` stands for ``column``, if the table has it.

    Args:
        within_label: rank an image among those of its own label, and those without a label among
            themselves. The classes then have no edges that hold for all images, but some for each
            label (``""`` for none).
    """
    first = frame["duplicate_of"].isna()
    labelled = frame["label"].notna()
    labels = frame["label"].where(labelled, None).to_numpy(object)
    minority = frame["minority_score"].where(first).to_numpy(np.float64)
    of_label = frame[ordinal.within_column(column, frame.columns)].where(first).to_numpy(np.float64)
    apart = within_label and bool(labelled.any())
    groups = frame["label"].fillna("").to_numpy(object) if apart else np.full(len(frame), "")
    scores = of_label if apart else frame[column].where(first).to_numpy(np.float64)

    percentiles = pd.Series(ordinal.percentile_within(scores, groups), frame.index)
    frame["rarity"] = _to_copies(frame, percentiles)
    _add_minority_percentiles(frame, minority)
    classes = ordinal.classes_within(scores, groups, num_classes)
    minority_classes = ordinal.ordinal_classes(minority, num_classes)
    columns = {
        "rarity_class": classes,
        "rarity_class_within_label": ordinal.classes_within(of_label, labels, num_classes),
        "minority_class": minority_classes,
        "minority_class_within_label": ordinal.classes_within(minority, labels, num_classes),
    }
    for name, values in columns.items():
        whole = pd.Series(values, frame.index)
        frame[name] = _to_copies(frame, whole.where(whole >= 0).astype("Int64"))

    edges = {
        name: ordinal.class_edges(scores[members], classes[members], num_classes)
        for name, members in ordinal.members_by_label(groups)
    }
    return {
        "class_edges": [] if apart else edges.get("", []),
        "class_edges_by_label": edges if apart else {},
        "minority_class_edges": ordinal.class_edges(minority, minority_classes, num_classes),
    }


def _add_minority_percentiles(frame: pd.DataFrame, minority: NDArray[np.float64]) -> None:
    """Add `PERCENTILES`: the place by the minority score among all, and both ends of its interval.

    Args:
        minority: ``(N,)``, NaN for copies and for what has no score.
    """
    places = minority_percentiles(minority, frame)
    for name, place in zip(PERCENTILES, places.T, strict=True):
        frame[name] = _to_copies(frame, pd.Series(place, frame.index))


def _to_copies(frame: pd.DataFrame, values: pd.Series) -> pd.Series:
    """Give a copy the value of its first file, which alone took part in the ranking."""
    copies = frame["duplicate_of"].notna()
    if not copies.any():
        return values
    firsts = ~copies & frame["content_hash"].notna()
    by_content = pd.Series(values[firsts].to_numpy(), index=frame.loc[firsts, "content_hash"])
    filled = values.copy()
    filled[copies] = frame.loc[copies, "content_hash"].map(by_content).to_numpy()
    return filled
