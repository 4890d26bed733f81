"""Images that join a scored run, ranked within their labels."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mincurate.progress import SILENT, Reporter
from mincurate.ranking import classes, within_labels
from mincurate.ranking.reference import Base


def rank_by_label(
    base: Base,
    new: pd.DataFrame,
    vectors: NDArray[np.float32],
    labels: list[str | None],
    reporter: Reporter = SILENT,
) -> None:
    """Add the classes within the label; where the run ranks within labels, rank and class too.

    Args:
        new: as `joining.place` gives it, with the ranks among all images.
        vectors: ``(M, d)``, of its rows.
        labels: of its rows. A label that the run does not know leaves the ranks among all.
    """
    own = classes.within_column(base.column, base.frame.columns)
    ranked = base.frame[own].to_numpy(np.float64)
    scores = new[base.column].to_numpy(np.float64).copy()
    for name in classes.WITHIN_LABELS:
        new[name] = np.nan
    for name in ("rarity_class_within_label", "minority_class_within_label"):
        new[name] = pd.array([pd.NA] * len(new), dtype="Int64")
    minority = base.frame["minority_score"].to_numpy(np.float64)
    edges_by_label = base.run.record.get("class_edges_by_label") or {}
    groups = base.frame["label"].astype(object).where(base.frame["label"].notna(), "").to_numpy()
    names = np.array([label or "" for label in labels], dtype=object)
    read = within_labels.labelling(base.frame["content_hash"], groups)
    known = {label.name: label for label in read.labels} if own != base.column else {}
    before = "label_mismatch" not in base.frame
    unknown_labels = []
    for label in sorted(set(names.tolist())):
        here, members = names == label, groups == label
        if label in known:
            found = within_labels.measure_among(
                base.vectors, read, known[label], vectors[here], before
            )
            scores[here] = found[0]
            new.loc[here, classes.WITHIN_LABELS] = np.stack(found, axis=1)
        if label and members.any():
            of_new = new.loc[here, "minority_score"].to_numpy(np.float64)
            _add_class_within(base, new, here, members, "rarity", ranked, scores[here])
            _add_class_within(base, new, here, members, "minority", minority, of_new)
        if label in edges_by_label and members.any():
            edges = np.asarray(edges_by_label[label], np.float64)
            new.loc[here, "rarity_class"] = np.searchsorted(edges, scores[here])
            new.loc[here, "rarity"] = classes.percentile_among(ranked[members], scores[here])
        elif edges_by_label:
            unknown_labels.append(label or "(no label)")
    if unknown_labels:
        reporter.warn(
            f"Run {base.run.key} ranks within labels and knows no image of "
            f"{', '.join(unknown_labels)}: new ones of these are ranked among all images."
        )


def _add_class_within(
    base: Base,
    new: pd.DataFrame,
    here: NDArray[np.bool_],
    members: NDArray[np.bool_],
    of: str,
    ranked: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> None:
    """Fill ``{of}_class_within_label`` of the rows ``here``: where they fall among ``members``."""
    name = f"{of}_class_within_label"
    within = base.frame[name].fillna(-1).to_numpy(np.int64)
    edges = classes.class_edges(ranked[members], within[members], base.num_classes)
    new.loc[here, name] = np.searchsorted(np.asarray(edges, np.float64), scores)
